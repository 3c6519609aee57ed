#!/bin/sh
# The official OpenAI clients for Python and JavaScript, and Anthropic's for Python, chat with a running server.
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
  echo "openai: installing the JavaScript client from npm into $work"
  cp "$here/package.json" "$here/package-lock.json" "$work/"
  npm ci --prefix "$work" --no-audit --no-fund --loglevel=error
  cp "$here/package-lock.json" "$work/node_modules/.installed"
fi
cp "$here/chat.mjs" "$work/"

# Both run, also where the first one fails: the last line counts them all.
count() { # count passed|failed FILE...: the sum over the clients' closing lines
  word="$1"; shift
  sed -n "s/^[a-z]* ([a-z]* [0-9].*[ :]\([0-9][0-9]*\) $word.*/\1/p" "$@" | awk '{ sum += $1 } END { print sum + 0 }'
}
bad=0
"$work/venv/bin/python" "$here/chat.py" "$url" ${model+"$model"} >"$work/python.log" 2>&1 || bad=1
cat "$work/python.log"
# Responses and batches are played by the scripted backend alone: they are about the face, not about the model.
: >"$work/responses.log"; : >"$work/messages.log"
if [ "${model-}" = scripted ]; then
  "$work/venv/bin/python" "$here/responses.py" "$url" >"$work/responses.log" 2>&1 || bad=1
  cat "$work/responses.log"
  "$work/venv/bin/python" "$here/messages.py" "$url" >"$work/messages.log" 2>&1 || bad=1
  cat "$work/messages.log"
fi
node "$work/chat.mjs" "$url" ${model+"$model"} >"$work/javascript.log" 2>&1 || bad=1
cat "$work/javascript.log"
logs="$work/python.log $work/responses.log $work/messages.log $work/javascript.log"
# shellcheck disable=SC2086  # Several files.
failed="$(count failed $logs)"
# A client that broke off before its closing line counts as one failure.
[ "$bad" = 0 ] || [ "$failed" != 0 ] || failed=1
# shellcheck disable=SC2086
echo "$(count passed $logs) passed, $failed failed"
exit "$bad"
