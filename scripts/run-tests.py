#!/usr/bin/env python3
"""Runs the workspace's tests, several programs at once: most of their time they wait for servers and disks, not for a processor.

Builds with `cargo test --no-run`, then runs each test program in its package's folder as cargo would. Prints a line for each as it
ends; what failed is shown whole, after all others have run. Examples in the documentation are not run: there are none that could be.

Usage: scripts/run-tests.py [JOBS [part of a name]]
"""

import json
import os
import pathlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

# Three programs of two threads each keep two processors busy; more only makes each of them slower.
JOBS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
PART = sys.argv[2] if len(sys.argv) > 2 else ""
# Stuck, not slow: the longest takes 15 s.
PATIENCE = 900


def programs():
    """The test programs: name, path, folder of the package."""
    command = ["cargo", "test", "--workspace", "--locked", "--quiet", "--no-run", "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if built.returncode:
        sys.exit(built.returncode)
    found = []
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") != "compiler-artifact" or not message["profile"]["test"] or not message["executable"]:
            continue
        folder = pathlib.Path(message["manifest_path"]).parent
        name = f"{folder.name} {message['target']['name']}"
        if PART in name:
            found.append((name, message["executable"], folder))
    return sorted(found)


def run(name, command, folder):
    began = time.monotonic()
    environment = {**os.environ, "CARGO_MANIFEST_DIR": str(folder)}
    try:
        ended = subprocess.run(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE
        )
        good, said = ended.returncode == 0, ended.stdout
    except subprocess.TimeoutExpired as late:
        good, said = False, f"{(late.stdout or b'').decode(errors='replace')}\nnot done after {PATIENCE} s"
    results = [line for line in said.splitlines() if line.startswith("test result:")]
    counts = results[-1].removeprefix("test result: ").split(";")[0].removeprefix("ok. ") if results else "no result"
    print(f"{'ok    ' if good else 'FAILED'} {time.monotonic() - began:6.1f} s  {name} ({counts})", flush=True)
    return None if good else (name, said)


def main():
    found = programs()
    threads = [f"--test-threads={os.cpu_count() or 2}"]
    with ThreadPoolExecutor(JOBS) as pool:
        runs = [pool.submit(run, name, [program, *threads], folder) for name, program, folder in found]
        failed = [result for each in runs if (result := each.result())]
    for name, said in failed:
        print(f"\n==== {name}\n{said}", flush=True)
    print(f"{len(found)} test programs, {len(failed)} failed" + (": " + ", ".join(name for name, _ in failed) if failed else ""))
    sys.exit(1 if failed else 0)


main()
