#!/bin/sh
# The official OpenAI clients, and Anthropic's, speak to Anthropic, Gemini, Azure and OpenAI, through a server of their own and
# providers that play recorded transcripts. Usage: tests/openai/providers.sh (after tests/openai/run.sh, which installs them)
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
. "$here/../../scripts/env.sh"
. "$here/../../scripts/serve-for-tests.sh"
work="$TIDEWIRE_CACHE/tests/openai"
played="$(mktemp -d)"
"$work/venv/bin/python" "$here/providers.py" "$here/../../crates/backends/tests/transcripts" > "$played/port" &
provider_pid=$!
end_provider() { kill "$provider_pid" 2>/dev/null || true; rm -rf "$played"; }
trap end_provider EXIT
while [ ! -s "$played/port" ]; do kill -0 "$provider_pid"; sleep 0.05; done
at="http://127.0.0.1:$(cat "$played/port")"

config='[built_in]
enabled = false
[worker]
backoff_ms = 10'
for transcript in text tools rate key context; do
  for provider in openai anthropic gemini azure; do
    config="$config
[[deployment]]
name = \"$provider-$transcript\"
backend = \"$provider\"
model = \"$transcript\"
url = \"$at\"
key_env = \"TIDEWIRE_TEST_PROVIDER_KEY\""
    # Azure's dated form, which names the deployment in the path.
    [ "$provider" != azure ] || config="$config
api_version = \"2024-10-21\""
  done
done
TIDEWIRE_TEST_PROVIDER_KEY=a-key-of-a-provider
export TIDEWIRE_TEST_PROVIDER_KEY
serve_for_tests "$config"
trap 'end_server; end_provider' EXIT
cp "$here/conversation.mjs" "$work/"
bad=0
"$work/venv/bin/python" "$here/conversation.py" "$url" "$at" || bad=1
"$work/venv/bin/python" "$here/round_trip.py" "$url" "$at" || bad=1
node "$work/conversation.mjs" "$url" "$at" || bad=1
exit "$bad"
