#!/bin/sh
# The official clients of OpenAI and Anthropic, for Python and JavaScript, talk to a running server.
# Usage: tests/openai/run.sh URL [MODEL]; without MODEL: the first one that the server lists.
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
. "$here/../../scripts/env.sh"
url="${1:?usage: tests/openai/run.sh URL [MODEL]}"
[ $# -lt 2 ] || model="$2"

# The packages live in the cache, not in the clone, and are installed again only when their versions change.
work="$TIDEWIRE_CACHE/tests/openai"
mkdir -p "$work"
if ! cmp -s "$here/requirements.txt" "$work/venv/.installed"; then
  echo "openai: installing the Python client from PyPI into $work/venv"
  rm -rf "$work/venv"
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$here/requirements.txt"
  cp "$here/requirements.txt" "$work/venv/.installed"
fi
if ! cmp -s "$here/package-lock.json" "$work/node_modules/.installed"; then
  echo "openai: installing the JavaScript clients from npm into $work"
  cp "$here/package.json" "$here/package-lock.json" "$work/"
  npm ci --prefix "$work" --no-audit --no-fund --loglevel=error
  cp "$here/package-lock.json" "$work/node_modules/.installed"
fi
cp "$here/suite.mjs" "$here/chat.mjs" "$here/responses.mjs" "$here/messages.mjs" "$work/"

# All run, also where an earlier one fails: the last line counts them all.
count() { # count passed|failed FILE...: the sum over the clients' closing lines
  word="$1"; shift
  sed -n "s/^[a-z]* ([a-z]* [0-9].*[ :]\([0-9][0-9]*\) $word.*/\1/p" "$@" | awk '{ sum += $1 } END { print sum + 0 }'
}
bad=0
logs=""
# client LOG COMMAND...: one client's tests.
client() {
  log="$work/$1.log"; shift
  "$@" >"$log" 2>&1 || bad=1
  cat "$log"
  logs="$logs $log"
}
client python "$work/venv/bin/python" "$here/chat.py" "$url" ${model+"$model"}
client javascript node "$work/chat.mjs" "$url" ${model+"$model"}
# Responses, batches and messages are played by the scripted backend alone: they are about the face, not about the model.
if [ "${model-}" = scripted ]; then
  client responses "$work/venv/bin/python" "$here/responses.py" "$url"
  client javascript-responses node "$work/responses.mjs" "$url"
  client javascript-messages node "$work/messages.mjs" "$url"
  # The last one: it has the upstream fail until its breaker opens.
  client messages "$work/venv/bin/python" "$here/messages.py" "$url"
fi
# shellcheck disable=SC2086  # Several files.
failed="$(count failed $logs)"
# A client that broke off before its closing line counts as one failure.
[ "$bad" = 0 ] || [ "$failed" != 0 ] || failed=1
# shellcheck disable=SC2086
echo "$(count passed $logs) passed, $failed failed"
exit "$bad"
