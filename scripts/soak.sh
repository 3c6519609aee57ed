#!/bin/sh
# The long proofs, whole: `make test` runs a small share of each. Usage: scripts/soak.sh [PART ...]; without a part: all.
# Times are of two cores. Variables such as SOAK_KILLS make a part shorter or longer.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh
. scripts/serve-for-tests.sh

parts="kills cuts faults joiners crashes prefixes disk points seeds ledger model noise typescript web load"
ran=""
failed=""

# say PART WORDS...: what a part does, before it does it.
say() { part="$1"; shift; printf '\n== %s: %s\n' "$part" "$*"; began="$(date +%s)"; }

# verdict STATUS WORDS...: the part's one line.
verdict() {
  status="$1"; shift
  took="$(( $(date +%s) - began ))"
  if [ "$status" = 0 ]; then word=PASSED; else word=FAILED; failed="$failed $part"; fi
  ran="$ran
$word $part ($took s): $*"
  printf '%s\n' "$ran" | tail -n 1
}

# proof WORDS CRATE TEST [FILTER]: one test file, or those of its tests that match.
proof() {
  words="$1"; crate="$2"; test="$3"; shift 3
  status=0
  cargo test --locked --quiet -p "$crate" --test "$test" -- --nocapture "$@" || status=$?
  verdict "$status" "$words"
}

part_kills() {
  export TIDEWIRE_TEST_KILLS="${SOAK_KILLS:-200}"
  say kills "$TIDEWIRE_TEST_KILLS times kill -9 at a random moment under load (about 6 minutes for 200)"
  proof "$TIDEWIRE_TEST_KILLS kills, nothing acknowledged is lost or doubled" tidewire-server kill
}

part_cuts() {
  export TIDEWIRE_TEST_CLIENTS="${SOAK_CLIENTS:-1000}" TIDEWIRE_TEST_CUTS="${SOAK_CUTS:-20}"
  say cuts "$TIDEWIRE_TEST_CLIENTS clients, each cut $TIDEWIRE_TEST_CUTS times at random places (half a minute for 1000 x 20)"
  proof "$TIDEWIRE_TEST_CLIENTS clients x $TIDEWIRE_TEST_CUTS cuts, every text is the log's" tidewire-server cuts
}

part_faults() {
  export TIDEWIRE_TEST_FAULTS=all
  say faults "each way in which an upstream can fail, at each token of an answer, read over every face (two minutes)"
  proof "every fault at every token, no truncated answer looks whole" tidewire-server faults
}

part_joiners() {
  export TIDEWIRE_TEST_JOINERS="${SOAK_JOINERS:-1000}"
  say joiners "$TIDEWIRE_TEST_JOINERS requests that are the same at once: one call, whole answers, one charge (half a minute for 1,000)"
  proof "$TIDEWIRE_TEST_JOINERS riders of one answer, one upstream call, one charge" tidewire-server cache a_crowd
}

part_crashes() {
  export TIDEWIRE_TEST_CRASHES="${SOAK_CRASHES:-300}"
  say crashes "the power fails after each of the first $TIDEWIRE_TEST_CRASHES writes and syncs (half a minute for 300)"
  proof "$TIDEWIRE_TEST_CRASHES crashes in three ways, nothing acknowledged is lost" tidewire-engines power_loss a_crash_at_each
}

part_prefixes() {
  export TIDEWIRE_TEST_PREFIXES="${SOAK_PREFIXES:-10000}"
  say prefixes "$TIDEWIRE_TEST_PREFIXES prefixes with torn tails and flipped bits (about 9 minutes for 10,000)"
  proof "$TIDEWIRE_TEST_PREFIXES prefixes, nothing is lost or wrong in silence" tidewire-engines power_loss torn_tails
}

part_disk() {
  export TIDEWIRE_TEST_DISK_FAILURES="${SOAK_DISK_FAILURES:-40}"
  say disk "$TIDEWIRE_TEST_DISK_FAILURES failing syncs (EIO, ENOSPC) at as many places, and a full disk (about 4 minutes for 40)"
  proof "$TIDEWIRE_TEST_DISK_FAILURES failing disks, no later ack and nothing shown is gone" tidewire-server disk_failures
}

part_points() {
  export TIDEWIRE_TEST_CRASH_POINTS="${SOAK_CRASH_POINTS:-10}"
  say points "kills between a commit and its ack, $TIDEWIRE_TEST_CRASH_POINTS rounds (about a minute for 10)"
  proof "one idempotency key over $TIDEWIRE_TEST_CRASH_POINTS rounds of kills, one task" tidewire-server crash_points
}

part_seeds() {
  export TIDEWIRE_TEST_SEEDS="${SOAK_SEEDS:-1000}"
  say seeds "$TIDEWIRE_TEST_SEEDS seeds of the simulation"
  proof "$TIDEWIRE_TEST_SEEDS seeds of the simulation" tidewire-simulation seeds
}

part_ledger() {
  export TIDEWIRE_TEST_LEDGER_CRASHES="${SOAK_LEDGER_CRASHES:-60}"
  say ledger "$TIDEWIRE_TEST_LEDGER_CRASHES crashes under load, the account book adds up (about 3 minutes for 60)"
  proof "$TIDEWIRE_TEST_LEDGER_CRASHES crashes, nothing secured is forgotten" tidewire-engines embedded_ledger whenever_it_crashes
}

part_model() {
  export TIDEWIRE_TEST_CASES="${SOAK_CASES:-5000}"
  say model "$TIDEWIRE_TEST_CASES cases of the reference model"
  proof "$TIDEWIRE_TEST_CASES cases, every engine answers as the model" tidewire-engines model
}

part_noise() {
  export TIDEWIRE_TEST_NOISE="${SOAK_NOISE:-200000}"
  say noise "$TIDEWIRE_TEST_NOISE damaged answers for each reader of upstreams (about 3 minutes for 200,000)"
  proof "$TIDEWIRE_TEST_NOISE damaged answers, no panic and no clean end of a cut one" tidewire-backends adapters noise
}

# Memory in KB, sampled as "SECONDS KB": MB per 10 minutes by least squares, over all but the first quarter, in which
# bounded memory (newest events, blocks of the store) fills up.
slope() {
  awk -v whole="$2" '$1 >= whole / 4 { n++; x += $1; y += $2; xx += $1 * $1; xy += $1 * $2 }
    END { if (n < 3) exit 1; printf "%.2f", (n * xy - x * y) / (n * xx - x * x) * 600 / 1024 }' "$1"
}

part_typescript() {
  export TIDEWIRE_TEST_ROUNDS="${SOAK_TYPESCRIPT:-1000}"
  say typescript "the TypeScript client: $TIDEWIRE_TEST_ROUNDS logs, each cut at every frame's border (a minute for 1,000)"
  status=0
  sdk/typescript/test.sh || status=$?
  verdict "$status" "$TIDEWIRE_TEST_ROUNDS logs, every text is the log's"
}

part_web() {
  export TIDEWIRE_TEST_LONG=1 TIDEWIRE_TEST_ROUNDS="${SOAK_MARKDOWN:-20000}"
  say web "the web app: $TIDEWIRE_TEST_ROUNDS made-up texts cut anywhere, 20 reloads in 3 tabs (about 5 minutes)"
  status=0
  web/test.sh || status=$?
  cargo build --release --locked --quiet -p tidewire-server
  serve_for_tests '[built_in]
enabled = false
[[deployment]]
name = "scripted"
backend = "scripted"
slots = 24'
  TIDEWIRE_TEST_PROGRAM="$CARGO_TARGET_DIR/release/tidewire" tests/browser/run.sh "$url" || status=$?
  end_server
  verdict "$status" "$TIDEWIRE_TEST_ROUNDS texts, 20 reloads, every text is the log's"
}

part_load() {
  minutes="${SOAK_MINUTES:-60}"
  rate="${SOAK_RATE:-100}"
  say load "$rate tasks a second for $minutes minutes against a release build; memory may grow by 1 MB in 10 minutes at most"
  [ "$minutes" -ge 20 ] || echo "under 20 minutes memory is still filling up: its growth is shown and not judged"
  cargo build --release --locked --quiet -p tidewire-server
  # Bounds so small that they are reached within the first quarter: what grows after it grows for ever.
  serve_for_tests '[built_in]
enabled = false
[log]
filter = "warn"
[retention]
bytes = 67108864
hot_bytes = 16777216
[[deployment]]
name = "scripted"
backend = "scripted"
slots = 1024'
  seconds="$(( minutes * 60 ))"
  every="$(( seconds < 1200 ? 10 : 60 ))"
  "$CARGO_TARGET_DIR/release/tidewire" bench --url "$url" --sessions 200 --rate "$rate" --duration "$seconds" \
    --pid "$server_pid" > "$server_dir/bench" 2>&1 &
  bench_pid=$!
  at=0
  while kill -0 "$bench_pid" 2>/dev/null && [ "$at" -lt "$seconds" ]; do
    sleep "$every"
    at="$(( at + every ))"
    kb="$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$server_pid/status")"
    echo "$at $kb" >> "$server_dir/memory"
    printf 'after %s s: %s MB\n' "$at" "$(( kb / 1024 ))"
  done
  status=0
  wait "$bench_pid" || status=$?
  cat "$server_dir/bench"
  grows="$(slope "$server_dir/memory" "$seconds")" || grows=unknown
  echo "memory: $grows MB per 10 minutes"
  awk -v grows="$grows" -v minutes="$minutes" 'BEGIN { exit !(minutes < 20 || (grows != "unknown" && grows <= 1)) }' || status=1
  end_server
  verdict "$status" "$minutes minutes at $rate tasks a second, memory grows by $grows MB per 10 minutes"
}

for name in ${*:-$parts}; do
  case " $parts " in
    *" $name "*) "part_$name" ;;
    *) echo "soak: no part $name; there are: $parts" >&2; exit 2 ;;
  esac
done
printf '\n== verdicts%s\n' "$ran"
[ -z "$failed" ] || { echo "soak: failed:$failed" >&2; exit 1; }
