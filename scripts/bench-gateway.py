#!/usr/bin/env python3
"""Measures the gateway: a tidewire with keys, limits, ledger and metrics on, in front of a scripted model server, and beside it that
server asked directly, in alternating slices of each run.

    scripts/bench-gateway.py [saturation] [added] [paced] [saturated-stream] [refusals]

Starts its own upstream and tidewire on free ports with data of their own, and ends them. GATEWAY_SECONDS (20) sets how long each side
is asked in each part, GATEWAY_RATE (500) the requests a second of `added`, GATEWAY_PROFILE=debug takes the debug build.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

CACHE = os.environ.get("TIDEWIRE_CACHE", os.path.expanduser("~/.cache/tidewire"))
PROFILE = os.environ.get("GATEWAY_PROFILE", "release")
BUILT = os.path.join(os.environ.get("CARGO_TARGET_DIR", f"{CACHE}/target"), PROFILE)
TIDEWIRE = os.path.join(BUILT, "tidewire")
UPSTREAM = os.path.join(BUILT, "examples", "upstream")
SECONDS = float(os.environ.get("GATEWAY_SECONDS", "20"))
RATE = float(os.environ.get("GATEWAY_RATE", "500"))
ADMIN_KEY = "tw_admin_bench_0123456789abcdef0123456789abcdef"
# More than any run uses: the limits are checked on each request, and refuse none.
PLENTY = {"requests_per_minute": 10**9, "input_tokens_per_minute": 10**12, "output_tokens_per_minute": 10**12,
          "usd_per_day": 10**6}


class Upstream:
    """The scripted model server."""

    def __init__(self, tokens: int, first_ms: int = 0, per_ms: int = 0):
        self.process = subprocess.Popen(
            [UPSTREAM, "--models", "bench", "--tokens", str(tokens), "--first-ms", str(first_ms), "--per-ms", str(per_ms)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


class Gateway:
    """A tidewire in front of it, with keys, limits, ledger and metrics."""

    def __init__(self, upstream: Upstream, data: str):
        path = os.path.join(data, "tidewire.toml")
        admin = os.path.join(data, "admin.key")
        with open(admin, "w", encoding="utf-8") as file:
            file.write(ADMIN_KEY)
        os.chmod(admin, 0o600)
        self.has_keys = "keys" in subprocess.run([TIDEWIRE, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
        identity = f'[identity]\nrequired = true\nadmin_key_file = "{admin}"\n' if self.has_keys else ""
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'[built_in]\nenabled = false\n[log]\nfilter = "warn"\n[queue]\nrunning = 20000\nrunning_per_tenant = 20000\n'
                       f'{identity}[[deployment]]\nname = "bench"\nbackend = "openai"\nurl = "{upstream.url}"\nslots = 4096\n')
        self.process = subprocess.Popen(
            [TIDEWIRE, "serve", "--listen", "127.0.0.1:0", "--data", os.path.join(data, "data"), "--config", path],
            stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]
        deadline = time.monotonic() + 30
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise SystemExit("the gateway does not become ready")
            time.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + "/readyz", timeout=5) as answer:
                return json.load(answer)["ready"]
        except OSError:
            return False

    def key(self, limits):
        """A new key with these limits; none before there are keys."""
        if not self.has_keys:
            return None
        request = urllib.request.Request(
            self.url + "/v1/admin/keys", json.dumps({"name": "bench", "limits": limits}).encode(),
            {"content-type": "application/json", "authorization": f"Bearer {ADMIN_KEY}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["secret"]

    def metric(self, name: str) -> dict:
        """All series of a name, by their labels."""
        request = urllib.request.Request(self.url + "/metrics", headers={"authorization": f"Bearer {ADMIN_KEY}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        series = [line.rsplit(" ", 1) for line in lines if line.startswith((name + " ", name + "{"))]
        return {labels[len(name):]: float(value) for labels, value in series}

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def bench(gateway: Gateway, upstream: Upstream, key, *arguments: str, direct: bool = True):
    command = [TIDEWIRE, "bench", "--openai", gateway.url + "/v1", "--model", "bench", "--json", "--slice", "1",
               "--duration", str(SECONDS), *(["--direct", upstream.url] if direct else []), *arguments]
    # Exit code 1 says that requests failed; the figures say how many.
    environment = {**os.environ, **({"TIDEWIRE_KEY": key} if key else {})}
    report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=False).stdout)
    for side in filter(None, (report["server"], report["direct"])):
        if side["requests"]["failed"] or side["requests"]["not_begun"]:
            print(f"   NOT CLEAN: {side['url']}: {side['requests']} {side['reasons']}")
    return report


def show(name: str, ours, control=None, aim: str = "", unit: str = ""):
    beside = "" if control is None else f"   direct {number(control)}{unit}"
    print(f"   {name:46}{number(ours):>10}{unit}{beside}{f'   aim {aim}' if aim else ''}", flush=True)


def number(value) -> str:
    return "-" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"


def cost(report, side: str, what: str):
    found = (report[side] or {}).get("cost") or {}
    return found.get(what)


def costs(report, what: str, name: str, aim: str, unit: str):
    show(f"server CPU, {name}", cost(report, "server", what), cost(report, "direct", what), aim, unit)


def memory(report):
    show("memory, at most", (cost(report, "server", "rss_peak_bytes") or 0) / 2**20, None, "", " MiB")


def saturation(gateway: Gateway, upstream: Upstream):
    report = bench(gateway, upstream, gateway.key(PLENTY), "--tokens", "10", "--saturate")
    print(f"   saturated by {report['saturation']['concurrency']} clients")
    show("requests/s", report["server"]["requests_per_second"], report["direct"]["requests_per_second"])
    costs(report, "cpu_ms_per_request", "a request", "0.09 ms", " ms")
    memory(report)


def added(gateway: Gateway, upstream: Upstream):
    report = bench(gateway, upstream, gateway.key(PLENTY), "--tokens", "10", "--rate", str(RATE))
    ours, control = report["server"]["latency_ms"]["total"], report["direct"]["latency_ms"]["total"]
    show(f"total p50 at {RATE:.0f}/s", ours["p50"], control["p50"], "", " ms")
    show(f"total p99 at {RATE:.0f}/s", ours["p99"], control["p99"], "", " ms")
    show("added p50", report["added"]["total_p50_ms"], None, "", " ms")
    show("added p99", report["added"]["total_p99_ms"], None, "", " ms")
    costs(report, "cpu_ms_per_request", "a request", "0.09 ms", " ms")


def streamed(gateway: Gateway, upstream: Upstream, aim: str, *arguments: str):
    report = bench(gateway, upstream, gateway.key(PLENTY), "--stream", *arguments)
    show("tokens/s", report["server"]["tokens_per_second"], report["direct"]["tokens_per_second"])
    costs(report, "cpu_seconds_per_million_tokens", "a million tokens", aim, " s")
    for which in ("first_token", "per_token"):
        ours, control = report["server"]["latency_ms"][which], report["direct"]["latency_ms"][which]
        if ours and control:
            show(f"{which.replace('_', ' ')} p50", ours["p50"], control["p50"], "", " ms")
            show(f"{which.replace('_', ' ')} p99", ours["p99"], control["p99"], "", " ms")
    memory(report)


def paced(gateway: Gateway, upstream: Upstream):
    streamed(gateway, upstream, "40 s", "--tokens", "50", "--concurrency", "200")


def saturated_stream(gateway: Gateway, upstream: Upstream):
    streamed(gateway, upstream, "7 s", "--tokens", "500", "--concurrency", "16")


def refusals(gateway: Gateway, upstream: Upstream):
    key = gateway.key({**PLENTY, "requests_per_minute": 1})
    if not key:
        print("   this build has no keys, and so no quota to go over")
        return
    report = bench(gateway, upstream, key, "--tokens", "10", "--rate", str(RATE), direct=False)
    refused = report["server"]["latency_ms"]["refused"] or {}
    print(f"   {report['server']['requests']} {report['server']['reasons']}")
    show(f"refusal p50 at {RATE:.0f}/s", refused.get("p50"), None, "", " ms")
    show(f"refusal p99 at {RATE:.0f}/s", refused.get("p99"), None, "0.5 ms", " ms")
    costs(report, "cpu_ms_per_request", "a refusal", "", " ms")


# Each with the answers that its upstream gives: tokens, milliseconds to the first one, and from one to the next.
PARTS = {
    "saturation": (saturation, (10, 0, 0)),
    "added": (added, (10, 0, 0)),
    "paced": (paced, (50, 20, 20)),
    "saturated-stream": (saturated_stream, (500, 0, 0)),
    "refusals": (refusals, (10, 0, 0)),
}


def main():
    balanced = True
    for name in sys.argv[1:] or list(PARTS):
        part, answers = PARTS[name]
        with tempfile.TemporaryDirectory() as data:
            upstream = Upstream(*answers)
            gateway = Gateway(upstream, data)
            print(f"-- {name}" + ("" if gateway.has_keys else " (without keys: this build has none)"), flush=True)
            try:
                part(gateway, upstream)
                imbalance = {labels: value for labels, value in gateway.metric("tidewire_ledger_imbalance").items() if value}
                if imbalance:
                    print(f"   THE LEDGER DOES NOT ADD UP: {imbalance}")
                    balanced = False
            finally:
                gateway.end()
                upstream.end()
    sys.exit(0 if balanced else 1)


if __name__ == "__main__":
    main()
