#!/bin/sh
# All tests: the workspace's, the built-in model's, other people's clients and a browser against running servers.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh
. scripts/serve-for-tests.sh

started=$(date +%s)
# Each part says how far into the run it begins, so that a log shows where the time goes.
say() { printf '\n== %s (after %s s)\n' "$*" "$(($(date +%s) - started))"; }

scripts/setup.sh build test
scripts/fetch-model.sh

# Before the program, which has the built app in it.
say "the web app"
web/test.sh

say "the workspace"
scripts/run-tests.py

model_tests() {
  cargo test --release --locked --quiet -p tidewire-backends --features local,independent-upstream \
    --test local --test wordllama --test independent_upstream "$@"
}

# Everything is compiled before anything in a browser begins, which would wait for it.
say "the program with the built-in model, and its tests"
cargo build --release --locked -p tidewire-server --features local
model_tests --no-run
export TIDEWIRE_TEST_MODEL="$TIDEWIRE_CACHE/models/SmolLM2-135M-Instruct.Q4_1.gguf"
export TIDEWIRE_TEST_EMBEDDINGS="$TIDEWIRE_CACHE/models/wordllama-l2-supercat-256/model.safetensors"
TIDEWIRE_TEST_XLLAMACPP="$(scripts/xllamacpp.sh | tail -n 1)"
export TIDEWIRE_TEST_XLLAMACPP

scripted='[built_in]
enabled = false
[limits]
long_poll_ms = 1000
[access]
origins = ["https://example.com"]
[[deployment]]
name = "scripted"
backend = "scripted"
slots = 24'

# The browser has a server of its own, and a lane of its own: it waits for painted frames most of the time, as the clients in
# the other lane wait for words.
in_browser() {
  serve_for_tests "$scripted"
  TIDEWIRE_TEST_PROGRAM="$CARGO_TARGET_DIR/release/tidewire" tests/browser/run.sh "$url"
  end_server
}
lane="$(mktemp -d)"
(in_browser) > "$lane/out" 2>&1 &
lane_pid=$!

with_clients() {
  say "the built-in models, and an independent upstream"
  model_tests

  say "public results behind nginx"
  scripts/bench-edge.py nginx --quick

  say "the official OpenAI clients, on the scripted backend"
  serve_for_tests "$scripted"
  tests/openai/run.sh "$url" scripted
  say "the official OpenAI clients, with what Anthropic, Gemini and Azure answer"
  # In a shell of its own: it starts a server of its own beside the one that runs.
  (tests/openai/providers.sh)
  say "the clients of screens: AI SDK, AG-UI, Centrifugo, EventSource"
  tests/clients/run.sh "$url"
  say "the conformance tests of Durable Streams"
  tests/durable-streams/run.sh "$url" 1000
  end_server

  say "the official OpenAI clients, on the built-in model"
  serve_for_tests ""
  tests/openai/run.sh "$url"
  say "the web app in a browser, on the built-in model"
  TIDEWIRE_TEST_BUILT_IN=1 TIDEWIRE_TEST_PROGRAM="$CARGO_TARGET_DIR/release/tidewire" tests/browser/run.sh "$url"
  end_server

  say "the TypeScript SDK"
  sdk/typescript/test.sh
}
# In a shell of its own, whose servers end with it; behind `&`, because before `||` it would go on after a failure.
(with_clients) &
clients_pid=$!
bad=0
wait "$clients_pid" || bad=$?

say "the web app and the plain chat page in a browser, which began beside the clients"
wait "$lane_pid" || bad=$?
cat "$lane/out"
rm -rf "$lane"
[ "$bad" = 0 ] || exit "$bad"

say "all tests passed"
