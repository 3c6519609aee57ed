#!/usr/bin/env python3
"""Proves and measures public results behind a real HTTP cache: hits, stale-while-revalidate with the origin stopped, stale-if-error
with the origin killed, revalidation, purge; and what a client waits for an answer that takes 2.3 s to make, with and without it.

    scripts/bench-edge.py [nginx] [varnish] [--install] [--quick]

Both caches unless named. One that is not there is installed with --install (Debian's packages, as root), else passed over with a
message. --quick proves without measuring. Starts its own tidewire (EDGE_PROFILE=debug takes the debug build) and caches on free
loopback ports with data of their own in a temporary directory, and ends them.
"""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

CACHE = os.environ.get("TIDEWIRE_CACHE", os.path.expanduser("~/.cache/tidewire"))
PROFILE = os.environ.get("EDGE_PROFILE", "release")
TIDEWIRE = os.path.join(os.environ.get("CARGO_TARGET_DIR", f"{CACHE}/target"), PROFILE, "tidewire")
HERE = os.path.dirname(os.path.abspath(__file__))
CONFIGURATION = os.path.join(HERE, "..", "docs", "edge-cache.md")
# Tells stuck from slow.
PATIENCE = 60
# Short, so that the proof need not wait for minutes; the caches are told by the server, as in production.
FRESH_S, WHILE_REVALIDATE_S, IF_ERROR_S = 1, 2, 600
# The seed's answer: 2.3 s.
TOKENS, TOKEN_MS = 115, 20
RUNS, READS = 20, 300
PACKAGES = {"nginx": "nginx-light libnginx-mod-http-cache-purge", "varnish": "varnish"}
PROGRAMS = {"nginx": "nginx", "varnish": "varnishd"}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def until(what: str, look):
    """Looks until there is something to see."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        seen = look()
        if seen:
            return seen
        time.sleep(0.02)
    sys.exit(f"bench-edge: waited {PATIENCE} s for {what}")


class Client:
    """One kept connection, as a browser has."""

    def __init__(self, port: int):
        self.port = port
        self.connection = None

    def ask(self, method: str, path: str, headers=None, body=None):
        for tried in (1, 2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
            try:
                self.connection.request(method, path, body=json.dumps(body) if body is not None else None, headers=headers or {})
                answer = self.connection.getresponse()
                return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
            except (http.client.HTTPException, OSError):
                self.connection.close()
                self.connection = None
                if tried == 2:
                    raise

    def state(self, path: str, headers=None):
        status, head, body = self.ask("GET", path, headers)
        return status, head.get("x-cache"), head, body


class Origin:
    def __init__(self, directory: str, edge_port: int, method: str):
        self.port = free_port()
        self.config = os.path.join(directory, "tidewire.toml")
        self.data = os.path.join(directory, "data")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"""[built_in]
enabled = false
[log]
filter = "warn"
[public]
s_maxage_s = {FRESH_S}
stale_while_revalidate_s = {WHILE_REVALIDATE_S}
stale_if_error_s = {IF_ERROR_S}
purge_urls = ["http://127.0.0.1:{edge_port}"]
purge_method = "{method}"
[[deployment]]
name = "scripted"
backend = "scripted"
slots = 64
""")
        self.start()

    def start(self):
        self.process = subprocess.Popen([TIDEWIRE, "serve", "--listen", f"127.0.0.1:{self.port}", "--data", self.data,
                                         "--config", self.config], stdout=subprocess.PIPE, text=True)
        if "is ready" not in self.process.stdout.readline():
            sys.exit("bench-edge: tidewire did not start")
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        self.client = Client(self.port)

    def answer(self, tokens: int, delay_ms: int, public=True) -> str:
        """Makes one. Its task."""
        task = {"public": public, "input": {"messages": [{"role": "user", "content": "go"}],
                                            "script": {"tokens": tokens, "delay_ms": delay_ms}}}
        status, _, body = self.client.ask("POST", "/v1/tasks", {"content-type": "application/json"}, task)
        assert status == 202, body
        return json.loads(body)["id"]

    def end(self):
        self.process.kill()
        self.process.wait()


def blocks(kind: str) -> str:
    """The configuration as docs/edge-cache.md shows it: what is proved here is what is told there."""
    with open(CONFIGURATION, encoding="utf-8") as file:
        text = file.read()
    begin = text.index(f"```{kind}\n") + len(kind) + 4
    return text[begin:text.index("```", begin)]


class Nginx:
    method = "PURGE"

    def __init__(self, directory: str, port: int, origin_port: int):
        path = os.path.join(directory, "nginx.conf")
        shown = blocks("nginx").replace("/var/cache/nginx/tidewire", os.path.join(directory, "cache"))
        shown = shown.replace("127.0.0.1:8080", f"127.0.0.1:{origin_port}").replace("listen 80;", f"listen 127.0.0.1:{port};")
        temporary = "".join(f"  {kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"load_module /usr/lib/nginx/modules/ngx_http_cache_purge_module.so;\nworker_processes 1;\ndaemon off;\n"
                       f"pid {directory}/nginx.pid;\nerror_log {directory}/error.log;\nevents {{ worker_connections 512; }}\n"
                       f"http {{\n  access_log off;\n{temporary}{shown}}}\n")
        # Its workers are another user's unless told: they write into the temporary directory.
        user = ["-g", "user root;"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(["nginx", "-e", f"{directory}/error.log", "-c", path, "-p", directory, *user])

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Varnish:
    method = "BAN"

    def __init__(self, directory: str, port: int, origin_port: int):
        path = os.path.join(directory, "tidewire.vcl")
        with open(path, "w", encoding="utf-8") as file:
            file.write(blocks("vcl").replace('"8080"', f'"{origin_port}"'))
        os.chmod(directory, 0o755)
        self.process = subprocess.Popen(["varnishd", "-F", "-j", "none", "-a", f"127.0.0.1:{port}", "-f", path, "-n", os.path.join(directory, "work"),
                                         "-s", "malloc,64m"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def check(holds, what: str):
    if not holds:
        sys.exit(f"bench-edge: FAILED: {what}")
    print(f"  ok    {what}", flush=True)


def prove(origin: Origin, edge: Client):
    task = origin.answer(5, 100)
    path = f"/v1/public/{task}"
    status, _, head, _ = edge.state(path)
    check(status == 202 and "no-store" in head["cache-control"] and "retry-after" in head, "an answer that is still made is 202, and no cache keeps it")
    until("the answer", lambda: origin.client.ask("GET", path)[0] == 200)
    until("the answer at the edge", lambda: edge.state(path)[0] == 200)
    status, cached, head, text = until("a hit", lambda: (seen := edge.state(path))[1] == "HIT" and seen)
    direct = origin.client.ask("GET", path)
    check(text == direct[2] and head["etag"] == direct[1]["etag"], "a hit is the origin's answer, byte for byte")
    check(edge.state(path, {"if-none-match": head["etag"]})[0] == 304, "the edge answers 304 to whoever has it")
    as_json = edge.state(path, {"accept": "application/json"})
    check(as_json[0] == 200 and json.loads(as_json[3])["text"] == text, "JSON and text of one path are kept apart")
    check(edge.state(path, {"accept": "text/plain"})[3] == text, "and stay apart")
    for other in (f"/v1/tasks/{task}", "/v1/tasks", f"/v1/tasks/{task}/text"):
        for _ in range(2):
            status, cached, head, _ = edge.state(other)
        check(status == 200 and cached != "HIT" and head["cache-control"] == "private, no-store", f"{other.replace(task, 'ID')} is never kept")

    os.kill(origin.process.pid, signal.SIGSTOP)
    # Caches count in whole seconds.
    time.sleep(FRESH_S + 1.1)
    began = time.monotonic()
    status, cached, _, stale = edge.state(path)
    took = time.monotonic() - began
    check(status == 200 and stale == text and cached in ("STALE", "UPDATING"), f"stale-while-revalidate: served at once ({took * 1000:.1f} ms, {cached}) while the origin stands still")
    os.kill(origin.process.pid, signal.SIGCONT)
    until("a fresh one", lambda: edge.state(path)[1] == "HIT")
    check(True, "and fresh again once the origin goes on")

    origin.end()
    time.sleep(FRESH_S + WHILE_REVALIDATE_S + 1)
    status, cached, _, stale = until("the last good one", lambda: (seen := edge.state(path))[0] == 200 and seen)
    check(stale == text and cached in ("STALE", "UPDATING"), f"stale-if-error: the last good one ({cached}) with the origin killed")
    origin.start()
    until("a fresh one", lambda: edge.state(path)[1] == "HIT")
    check(True, "and fresh again once the origin is back")

    for accept in ("text/plain", "application/json"):
        until("a hit", lambda: edge.state(path, {"accept": accept})[1] == "HIT")
    status, _, body = origin.client.ask("POST", f"/v1/tasks/{task}/unpublish")
    check(status == 200 and all(one["done"] for one in json.loads(body)["evicted"]), "unpublish tells the cache, which says that it has forgotten it")
    for accept in ("text/plain", "application/json"):
        check(edge.state(path, {"accept": accept})[0] == 404, f"and nobody gets it any more ({accept})")
    origin.client.ask("POST", f"/v1/tasks/{task}/publish")
    check(until("it is public again", lambda: edge.state(path)[0] == 200), "published again, it is there again")
    status, _, body = origin.client.ask("POST", "/v1/admin/public/purge", {"content-type": "application/json"}, {"task": task})
    check(status == 200 and json.loads(body)["evicted"][0]["done"], "an operator can purge it")
    check(edge.state(path)[1] != "HIT", "and the next one is asked of the origin")


def prove_key(origin: Origin, edge: Client):
    """By surrogate key: all of a route's results at once."""
    paths = [f"/v1/public/{origin.answer(2, 0)}" for _ in range(2)]
    for path in paths:
        until("an answer", lambda: origin.client.ask("GET", path)[0] == 200)
        until("a hit", lambda: edge.state(path)[1] == "HIT")
    keys = [origin.client.ask("GET", path)[1]["surrogate-key"].split() for path in paths]
    route = next(key for key in keys[0] if key.startswith("route-"))
    check(route in keys[1], "two results of a route share a surrogate key")
    origin.client.ask("POST", "/v1/admin/public/purge", {"content-type": "application/json"}, {"key": route})
    check(all(edge.state(path)[1] != "HIT" for path in paths), "and are purged by it together")


def line(name: str, waits: list[float]):
    waits = sorted(1000 * wait for wait in waits)
    at = lambda part: waits[min(len(waits) - 1, int(part * len(waits)))]
    print(f"  {name:48} p50 {at(0.5):9.2f} ms   p99 {at(0.99):9.2f} ms   n {len(waits)}", flush=True)


def measure(origin: Origin, edge: Client):
    print(f"an answer of {TOKENS} tokens, {TOKEN_MS} ms each: {TOKENS * TOKEN_MS / 1000:.1f} s of a model")
    waits, tasks = [], []

    def first():
        client, began = Client(origin.port), time.monotonic()
        task = {"public": True, "input": {"messages": [{"role": "user", "content": "go"}], "script": {"tokens": TOKENS, "delay_ms": TOKEN_MS}}}
        accepted = json.loads(client.ask("POST", "/v1/tasks", {"content-type": "application/json"}, task)[2])
        client.ask("GET", f"/v1/tasks/{accepted['id']}/text?wait_ms=60000")
        waits.append(time.monotonic() - began)
        tasks.append(accepted["id"])

    threads = [threading.Thread(target=first) for _ in range(RUNS)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    line("the first reader, at the origin: the model runs", waits)
    path = f"/v1/public/{tasks[0]}"

    def read(client: Client) -> list[float]:
        waits = []
        for _ in range(READS):
            began = time.monotonic()
            status, _, _ = client.ask("GET", path)
            waits.append(time.monotonic() - began)
            assert status == 200
        return waits

    line("later readers, at the origin: finished", read(origin.client))
    edge.ask("GET", path)
    line("later readers, at the edge: kept there", read(edge))


def there(name: str, install: bool) -> bool:
    module = name != "nginx" or os.path.exists("/usr/lib/nginx/modules/ngx_http_cache_purge_module.so")
    # Debian keeps both where only root's PATH looks.
    os.environ["PATH"] += ":/usr/sbin"
    if shutil.which(PROGRAMS[name]) and module:
        return True
    command = f"apt-get install -y --no-install-recommends {PACKAGES[name]}"
    if install and os.geteuid() == 0:
        print(f"bench-edge: {command}")
        quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run(["apt-get", "update", "-qq"], check=False, **quiet)
        if subprocess.run(command.split(), check=False, **quiet).returncode == 0:
            return True
    print(f"bench-edge: SKIPPED {name}: it is not here; as root: {command}")
    return False


def main():
    names = [name for name in sys.argv[1:] if not name.startswith("--")] or ["nginx", "varnish"]
    kinds = {"nginx": Nginx, "varnish": Varnish}
    for name in names:
        if not there(name, "--install" in sys.argv):
            continue
        print(f"== {name} in front of tidewire", flush=True)
        with tempfile.TemporaryDirectory(prefix="tidewire-edge-") as directory:
            port = free_port()
            origin = Origin(directory, port, kinds[name].method)
            cache = kinds[name](directory, port, origin.port)
            try:
                edge = Client(port)

                def ready():
                    try:
                        return edge.ask("GET", "/healthz")[0] == 200
                    except OSError:
                        return False

                until(f"{name} to listen", ready)
                prove(origin, edge)
                if name == "varnish":
                    prove_key(origin, edge)
                if "--quick" not in sys.argv:
                    measure(origin, edge)
            finally:
                cache.end()
                origin.end()


if __name__ == "__main__":
    main()
