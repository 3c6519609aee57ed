#!/bin/sh
# Measures what README and docs/benchmarks.md claim: sessions over WebSocket, a reader that stands still, the built-in
# model alone, and commits of the bare engine. Takes about fifteen minutes; BENCH_SESSIONS=10000 is the full crowd.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh
. scripts/serve-for-tests.sh
tidewire="$CARGO_TARGET_DIR/release/tidewire"
sessions="${BENCH_SESSIONS:-10000}"
ulimit -n "$(ulimit -H -n)"

say() { printf '\n== %s\n' "$*"; }

say "machine: $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(uname -sr)"
scripted='[built_in]
enabled = false
[log]
filter = "warn"
[limits]
body_bytes = 33554432
[[deployment]]
name = "scripted"
backend = "scripted"'

serve_for_tests "$scripted"
say "1,000 sessions at once, 50 tokens each, 20 ms apart, durable"
"$tidewire" bench --url "$url" --sessions 1000
say "1,000 sessions at once, transient"
"$tidewire" bench --url "$url" --sessions 1000 --transient
end_server

serve_for_tests "$scripted"
say "$sessions sessions, one prompt each within 20 s, durable"
"$tidewire" bench --url "$url" --sessions "$sessions" --ramp 20
end_server

say "a reader that stands still among 200 fast ones"
cargo build --release --locked --quiet -p tidewire-bench --example slow_reader
serve_for_tests "$scripted"
"$CARGO_TARGET_DIR/release/examples/slow_reader" "$url" "$server_pid"
end_server

say "the queue: a restart with 10,000 tasks waiting, and three times more than the workers can do"
scripts/bench-queue.py

say "commits of the engine, and of the bare store beside it"
cargo run --release --locked --quiet -p tidewire-engines --example commits

say "the built-in model, in the process, without clients"
cargo run --release --locked --quiet -p tidewire-backends --features local --example batching -- \
  "$TIDEWIRE_CACHE/models/SmolLM2-135M-Instruct.Q4_1.gguf"
