"""What the benchmarks share that ask with their own clients: the scripted model server, a tidewire in front of it, one streamed
request, and the CPU seconds of a process."""
import http.client
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.request

CACHE = os.environ.get("TIDEWIRE_CACHE", os.path.expanduser("~/.cache/tidewire"))
BUILT = os.path.join(os.environ.get("CARGO_TARGET_DIR", f"{CACHE}/target"), os.environ.get("GATEWAY_PROFILE", "release"))


class Upstream:
    """The scripted model server."""

    def __init__(self, *options: str):
        self.process = subprocess.Popen(
            [os.path.join(BUILT, "examples", "upstream"), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def end(self):
        """Calls, tokens, and calls whose client went away."""
        self.process.send_signal(signal.SIGINT)
        line = self.process.stdout.readline()
        self.process.wait()
        return [int(number) for number in re.findall(r"\d+", line)]


class Server:
    """A tidewire with this configuration, on a free port, with data of its own that go with it."""

    def __init__(self, configuration: str):
        self.data = tempfile.TemporaryDirectory()
        path = os.path.join(self.data.name, "tidewire.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write('[built_in]\nenabled = false\n[log]\nfilter = "warn"\n' + configuration)
        self.process = subprocess.Popen(
            [os.path.join(BUILT, "tidewire"), "serve", "--listen", "127.0.0.1:0", "--data", os.path.join(self.data.name, "data"),
             "--config", path], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]
        self.address = self.url.removeprefix("http://")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.data.cleanup()

    def cpu(self) -> float:
        """CPU seconds that it has used."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read().decode()


def ask(connection: http.client.HTTPConnection, route: str, prompt: str = "go", **fields):
    """One streamed request: the seconds to its first token and to its end, and what the cache said."""
    body = json.dumps({"model": route, "stream": True, "messages": [{"role": "user", "content": prompt}], **fields})
    began = time.monotonic()
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    first, whole = None, False
    while line := answer.readline():
        if first is None and b'"content"' in line:
            first = time.monotonic() - began
        whole = whole or line.startswith(b"data: [DONE]")
    if answer.status != 200 or first is None or not whole:
        raise SystemExit(f"an answer of {route} is not whole: {answer.status}")
    return first, time.monotonic() - began, answer.getheader("tidewire-cache")


def quantile(times, part: float) -> float:
    """In milliseconds."""
    return sorted(times)[min(len(times) - 1, int(len(times) * part))] * 1000
