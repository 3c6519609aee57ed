#!/bin/sh
# Measures the web app that is built into the program, in Chromium, beside the budgets that docs/web.md names. Takes about seven
# minutes; LONG=1 streams for half an hour to see whether the heap grows. Usage: scripts/bench-web.sh [part of a name]
set -eu
cd "$(dirname "$0")/.."
here="$PWD/tests/browser"
. tests/browser/install.sh
. scripts/serve-for-tests.sh
echo "machine: $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $("$CHROMIUM" --version 2>/dev/null | head -n 1), load $(cut -d ' ' -f 1 /proc/loadavg)"
node web/budgets.mjs || true
serve_for_tests '[built_in]
enabled = false
[log]
filter = "warn"
[[deployment]]
name = "scripted"
backend = "scripted"
slots = 24'
[ "${LONG:-}" != 1 ] || export TIDEWIRE_BENCH_MINUTES=30
node "$work/bench.mjs" "$url" - "${1-}"
