#!/usr/bin/env python3
"""Measures hedging: a tidewire in front of two scripted model servers of which one call in twenty waits two seconds, asked over a route
that hedges and over one that does not, in alternating slices of one run.

    scripts/bench-hedge.py

Starts its own upstreams and tidewire on free ports with data of their own, and ends them. HEDGE_SECONDS (20) sets how long each side is
asked, HEDGE_CLIENTS (8) how many clients ask at once, HEDGE_SLOW_PERMILLE (50) and HEDGE_SLOW_MS (2000) the tail; GATEWAY_PROFILE=debug
takes the debug build. Exits with 1 where what was charged is not what the upstreams counted, but for hedges that never reached one.
"""
import http.client
import json
import os
import re
import sys
import threading
import time

from scripted import Server, Upstream, ask, quantile

SECONDS = float(os.environ.get("HEDGE_SECONDS", "20"))
CLIENTS = int(os.environ.get("HEDGE_CLIENTS", "8"))
SLOW = [os.environ.get("HEDGE_SLOW_PERMILLE", "50"), os.environ.get("HEDGE_SLOW_MS", "2000")]
SLICE = 2.0
FIRST_MS, TOKENS = 50, 10
# Its tokenizer is known, and counts 8 for the request below: what a truthful upstream says as well.
MODEL, INPUT_TOKENS = "gpt-4o-mini", 8
# More of the requests than the tail has, so that one in ten is late; hedges are as many at most.
HEDGE = "hedge = { after = 0.9, min_ms = 10, budget = 0.1 }"
SIDES = {"plain": "", "hedged": HEDGE}


def configuration(upstreams) -> str:
    text = ""
    for number, upstream in enumerate(upstreams):
        text += (f'[[deployment]]\nname = "d{number}"\nbackend = "openai"\nmodel = "{MODEL}"\nurl = "{upstream.url}"\n'
                 "price_input = 1.0\nprice_output = 4.0\n")
    for name, hedge in SIDES.items():
        text += f'[[route]]\nname = "{name}"\ndeployments = ["d0", "d1"]\n{hedge}\n'
    return text


def client(address: str, deadline: float, times):
    connection = http.client.HTTPConnection(address, timeout=60)
    began = time.monotonic()
    while (now := time.monotonic()) < deadline:
        route = list(SIDES)[int((now - began) / SLICE) % len(SIDES)]
        times[route].append(ask(connection, route)[0])


def upstream() -> Upstream:
    """A scripted model server with a slow tail."""
    return Upstream("--models", MODEL, "--tokens", str(TOKENS), "--first-ms", str(FIRST_MS), "--input-tokens", str(INPUT_TOKENS),
                    "--slow-permille", SLOW[0], "--slow-ms", SLOW[1])


def main():
    upstreams = [upstream(), upstream()]
    with Server(configuration(upstreams)) as server:
        times = {name: [] for name in SIDES}
        deadline = time.monotonic() + SECONDS * len(SIDES)
        clients = [threading.Thread(target=client, args=(server.address, deadline, times)) for _ in range(CLIENTS)]
        for one in clients:
            one.start()
        for one in clients:
            one.join()
        usage = {row["route"]: row for row in json.loads(server.get("/v1/usage?group_by=route"))["rows"]}
        hedges = dict(re.findall(r'tidewire_hedges_total\{route="hedged",outcome="(\w+)"\} (\d+)', server.get("/metrics")))
    counted = [sum(part) for part in zip(*(upstream.end() for upstream in upstreams))]
    return report(times, usage, hedges, counted)


def report(times, usage, hedges, counted) -> int:
    for name, seen in times.items():
        figures = "  ".join(f"p{part * 100:g} {quantile(seen, part):8.1f} ms" for part in (0.5, 0.9, 0.95, 0.99))
        print(f"{name:8} {len(seen):6} requests   first token: {figures}")
    each = {name: usage[name]["cost_usd"] / usage[name]["tasks"] for name in SIDES}
    print(f"hedges: {hedges}; a hedged request costs {100 * (each['hedged'] / each['plain'] - 1):+.2f} per cent of a plain one")
    charged = [sum(row[part] for row in usage.values()) for part in ("input_tokens", "output_tokens")]
    calls, tokens, left = counted
    # A hedge that is left before its request is out is charged as read: nobody can know.
    unsent = sum(map(len, times.values())) + sum(int(hedges[outcome]) for outcome in ("won", "lost")) - calls
    print(f"charged {charged[0]} tokens read and {charged[1]} written; the upstreams counted {calls * INPUT_TOKENS} and {tokens} "
          f"in {calls} calls, {left} of them left; {unsent} hedges were left before they reached an upstream")
    if charged != [(calls + unsent) * INPUT_TOKENS, tokens]:
        print("NOT EXACT")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
