#!/usr/bin/env python3
"""Measures kept and shared answers beside answers that are made: a tidewire in front of a scripted model server, each kind in
alternating slices of one run, streamed.

    scripts/bench-cache.py

`direct` asks the model server itself; `miss` asks for something new each time, over a route that keeps answers, `plain` the same over one
that keeps none; `hit` asks for what is kept; `stale` for what is past its `ttl_s`, while a new one is made every five seconds; `joined`
is a crowd that asks for the same new thing at once. Starts its own servers on free ports with data of their own, and ends them.
CACHE_SECONDS (10) sets how long each kind is asked, CACHE_CLIENTS (4) how many clients ask at once, CACHE_CROWD (64) how many a
crowd has; GATEWAY_PROFILE=debug takes the debug build. Exits with 1 where the cache says otherwise than what was asked for, or the
model server was called more often than it had to be.
"""
import http.client
import json
import os
import sys
import threading
import time

from scripted import Server, Upstream, ask, quantile

SECONDS = float(os.environ.get("CACHE_SECONDS", "10"))
CLIENTS = int(os.environ.get("CACHE_CLIENTS", "4"))
CROWD = int(os.environ.get("CACHE_CROWD", "64"))
SLICE = 1.0
FIRST_MS, PER_MS, TOKENS = 100, 5, 40
KINDS = ("direct", "plain", "miss", "hit", "stale", "joined")
# Which of them a first request makes so, and what each later one is told.
TOLD = {"plain": {None}, "miss": {"miss"}, "hit": {"hit"}, "stale": {"stale", "hit"}, "joined": {"joined", "miss", "hit"}}


def configuration(upstream: Upstream) -> str:
    text = f'[queue]\nrunning = 20000\nrunning_per_tenant = 20000\n[[deployment]]\nname = "bench"\nbackend = "openai"\nurl = "{upstream.url}"\nslots = 4096\n'
    kept = {"plain": "", "kept": "ttl_s = 3600", "stale": "ttl_s = 1\nstale_while_revalidate_s = 3600"}
    for name, cache in kept.items():
        text += f'[[route]]\nname = "{name}"\ndeployments = ["bench"]\n' + (f"[route.cache]\n{cache}\n" if cache else "")
    return text


class Kind:
    """What was seen of one."""

    def __init__(self):
        self.first, self.whole, self.cpu, self.told = [], [], 0.0, {}
        self.lock = threading.Lock()

    def add(self, seen):
        with self.lock:
            self.first.append(seen[0])
            self.whole.append(seen[1])
            self.told[seen[2]] = self.told.get(seen[2], 0) + 1


class Bench:
    """The servers, and one connection for each client."""

    def __init__(self, server: Server, upstream: Upstream):
        direct = upstream.url.removeprefix("http://").split("/")[0]
        self.server = server
        self.direct = [http.client.HTTPConnection(direct, timeout=60) for _ in range(CLIENTS)]
        self.connections = [http.client.HTTPConnection(server.address, timeout=60) for _ in range(CROWD)]
        self.asked = 0
        self.lock = threading.Lock()
        self.kinds = {name: Kind() for name in KINDS}

    def fresh(self) -> str:
        with self.lock:
            self.asked += 1
            return f"question {self.asked}"

    def one(self, name: str, client: int):
        """One request of a kind; nothing of it depends on chance, so that it may be kept and shared."""
        ways = {"direct": ("bench", self.fresh), "plain": ("plain", self.fresh), "miss": ("kept", self.fresh),
                "hit": ("kept", lambda: "the kept one"), "stale": ("stale", lambda: "the old one")}
        route, prompt = ways[name]
        connection = self.direct[client] if name == "direct" else self.connections[client]
        return ask(connection, route, prompt(), temperature=0)

    def slice(self, name: str):
        kind, deadline, before = self.kinds[name], time.monotonic() + SLICE, self.server.cpu()
        if name == "joined":
            while time.monotonic() < deadline:
                prompt = self.fresh()
                together(CROWD, lambda client, prompt=prompt: kind.add(ask(self.connections[client], "kept", prompt, temperature=0)))
        else:
            def until(client: int):
                while time.monotonic() < deadline:
                    kind.add(self.one(name, client))
            together(CLIENTS, until)
        kind.cpu += self.server.cpu() - before


def together(count: int, does):
    """Has `count` clients do it at once; the first failure of one ends all."""
    failed = []

    def run(client: int):
        try:
            does(client)
        except BaseException as error:  # told below, in the thread that can end the run
            failed.append(error)
    threads = [threading.Thread(target=run, args=(client,)) for client in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def main() -> int:
    upstream = Upstream("--models", "bench", "--tokens", str(TOKENS), "--first-ms", str(FIRST_MS), "--per-ms", str(PER_MS))
    with Server(configuration(upstream)) as server:
        bench = Bench(server, upstream)
        for name in ("hit", "stale"):
            bench.one(name, 0)
        end = time.monotonic() + SECONDS * len(KINDS)
        while time.monotonic() < end:
            for name in KINDS:
                bench.slice(name)
        usage = {row["route"]: row for row in json.loads(server.get("/v1/usage?group_by=route"))["rows"]}
    calls = upstream.end()[0]
    return report(bench, calls, usage)


def report(bench: Bench, calls: int, usage) -> int:
    print(f"answers of {TOKENS} tokens, the first after {FIRST_MS} ms, then one each {PER_MS} ms: {FIRST_MS + PER_MS * (TOKENS - 1)} ms")
    print(f"{'':8}{'requests':>9}{'first p50':>12}{'p99':>10}{'whole p50':>12}{'p99':>10}{'server CPU':>13}")
    wrong = []
    for name, kind in bench.kinds.items():
        count = len(kind.first)
        figures = [quantile(times, part) for times in (kind.first, kind.whole) for part in (0.5, 0.99)]
        cpu = "" if name == "direct" else f"{kind.cpu * 1000 / count:10.2f} ms"
        print(f"{name:8}{count:9}{figures[0]:9.1f} ms{figures[1]:7.1f} ms{figures[2]:9.1f} ms{figures[3]:7.1f} ms{cpu:>13}   "
              f"{ {told or 'uncached': times for told, times in kind.told.items()} }")
        if name != "direct" and not set(kind.told) <= TOLD[name]:
            wrong.append(f"{name}: told {kind.told}")
    crowds = len(bench.kinds["joined"].first) // CROWD
    made = sum(len(bench.kinds[name].first) for name in ("direct", "plain", "miss")) + crowds + 2
    refreshes = calls - made
    print(f"the model server was called {calls} times: {made} that had to be, {refreshes} to make the old one anew; "
          f"{crowds} crowds of {CROWD}: {crowds} calls")
    most = SECONDS * len(KINDS) / 5 + 2
    if not 0 <= refreshes <= most:
        wrong.append(f"{refreshes} calls more than had to be, of which at most {most:.0f} are refreshes")
    for line in wrong:
        print(f"WRONG: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
