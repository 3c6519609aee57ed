"""Starts llama.cpp's own OpenAI-compatible server on a free port, for tests against an upstream that we did not write.

Usage: python xllamacpp_server.py MODEL.gguf. Prints its base URL as the first line of stdout once it answers, and
runs until its stdin is closed: so it never outlives the test that started it, however that test ends.
"""

import os
import sys

# llama.cpp writes its log to stdout, where only the URL belongs.
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import xllamacpp  # noqa: E402  (its log must not reach the real stdout)


def main() -> None:
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = 2
    # For each of the two at once: room for an answer that a test stops, and small enough to overflow.
    params.n_ctx = 2 * 1024
    # The other core is the test's: two threads spin at a barrier and fall to a tenth when one is taken away.
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)
    print(f"{server.listening_address}/v1", file=answer, flush=True)
    while sys.stdin.buffer.read(4096):
        pass
    # Without the server's own goodbye, which waits for answers that nobody reads any more.
    os._exit(0)


main()
