#!/usr/bin/env python3
"""Measures the queue of a real server: a restart with 10,000 tasks waiting, and three times more than its workers can do.

    scripts/bench-queue.py [restart] [overload]

Needs a release build (`make build`, or cargo build --release -p tidewire-server). Starts its own servers on free ports with data
of their own, and ends them. OVERLOAD_SECONDS (60) sets how long the overload lasts.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

CACHE = os.environ.get("TIDEWIRE_CACHE", os.path.expanduser("~/.cache/tidewire"))
BINARY = os.path.join(os.environ.get("CARGO_TARGET_DIR", f"{CACHE}/target"), "release", "tidewire")
WAITING_TASKS = 10_000


class Server:
    """A server process on a free port."""

    def __init__(self, config: str, data: str):
        self.data = data
        path = os.path.join(data, "tidewire.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [BINARY, "serve", "--listen", "127.0.0.1:0", "--data", os.path.join(data, "data"), "--config", path],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = self.process.stdout.readline().split()[-1]
        while not self.is_ready():
            pass
        self.ready_seconds = time.monotonic() - self.began

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz")["ready"]
        except OSError:
            return False

    def get(self, path: str):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body):
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def memory_mib(self) -> float:
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait()


def scripted(slots: int, more: str = "") -> str:
    return (f'[built_in]\nenabled = false\n[log]\nfilter = "warn"\n{more}'
            f'[[deployment]]\nname = "scripted"\nbackend = "scripted"\nslots = {slots}\n')


def restart(data: str):
    blocked = Server(scripted(1), data)
    quick = {"input": {"messages": [{"role": "user", "content": "go"}], "script": {"tokens": 5, "delay_ms": 1}}}
    slow = {"input": {"messages": [{"role": "user", "content": "go"}], "script": {"tokens": 9, "delay_ms": 100000}}}
    blocker = blocked.post("/v1/tasks", slow)["id"]
    began = time.monotonic()
    batch = blocked.post("/v1/tasks/batch", {"tasks": [{}] * WAITING_TASKS, "defaults": {**quick, "deadline_ms": 3600000}})
    print(f"a batch of {WAITING_TASKS} tasks acknowledged after {time.monotonic() - began:.2f} s")
    blocked.end(signal.SIGKILL)
    server = Server(scripted(1000), data)
    print(f"restart with {WAITING_TASKS} queued: ready after {server.ready_seconds:.2f} s", flush=True)
    server.post(f"/v1/tasks/{blocker}/stop", {})
    while (view := server.get(f"/v1/tasks/batch/{batch['id']}"))["state"] == "running":
        time.sleep(0.2)
    took = time.monotonic() - server.began
    server.end()
    print(f"all of them ended {took:.1f} s after the start: {view['done']} done, {view['failed']} failed")
    return server.ready_seconds <= 5 and view["done"] == WAITING_TASKS


def bench(server: Server, *arguments: str):
    command = [BINARY, "bench", "--url", server.url, "--json", "--tokens", "20", "--delay-ms", "10", *arguments]
    # Exit code 1 says that tasks were refused; the figures say how many.
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)


def overload(data: str):
    seconds = int(os.environ.get("OVERLOAD_SECONDS", "60"))
    server = Server(scripted(100, "[queue]\nwaiting = 500\n"), data)
    peak = bench(server, "--sessions", "400", "--tasks", "10")
    peak_rate = peak["tasks"]["done"] / peak["run_seconds"]
    before = server.memory_mib()
    rate = 3 * peak_rate
    samples = []
    command = [BINARY, "bench", "--url", server.url, "--json", "--tokens", "20", "--delay-ms", "10",
               "--sessions", "200", "--rate", f"{rate:.0f}", "--duration", str(seconds)]
    load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    began = time.monotonic()
    while load.poll() is None and time.monotonic() - began < seconds:
        samples.append((time.monotonic() - began, server.memory_mib()))
        time.sleep(1)
    report = json.loads(load.communicate()[0])
    goodput = report["tasks"]["done"] / report["run_seconds"]
    drain = report["run_seconds"] - seconds
    waiting = [line for line in urllib.request.urlopen(server.url + "/metrics").read().decode().splitlines()
               if line.startswith("tidewire_tasks_waiting")]
    half = len(samples) // 2
    print(f"peak {peak_rate:.0f} tasks/s; offered {rate:.0f}/s for {seconds} s: done {report['tasks']['done']}, "
          f"refused {report['tasks']['refused']}, failed {report['tasks']['failed']}, unfinished {report['tasks']['unfinished']}")
    print(f"goodput {goodput:.0f} tasks/s ({100 * goodput / peak_rate:.0f} % of the peak); the backlog drained in {drain:.1f} s; {waiting}")
    print(f"ack p99 {report['latency_ms']['ack']['p99']:.1f} ms; memory {before:.0f} MiB before, {samples[half][1]:.0f} half way, "
          f"{samples[-1][1]:.0f} at the end; reasons {report['reasons']}")
    server.end()
    return goodput >= 0.9 * peak_rate


def main():
    parts = {"restart": restart, "overload": overload}
    asked = sys.argv[1:] or list(parts)
    reached = True
    for name in asked:
        with tempfile.TemporaryDirectory() as data:
            print(f"-- {name}", flush=True)
            reached &= parts[name](data)
    sys.exit(0 if reached else 1)


main()
