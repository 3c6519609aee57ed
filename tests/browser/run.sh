#!/bin/sh
# Drives the web app of a running server with Chromium, then the plain page that a server without the app has.
# TIDEWIRE_TEST_PROGRAM names the program, for tests that kill a server; TIDEWIRE_TEST_LONG=1 takes many reloads.
# Usage: tests/browser/run.sh URL [FOLDER for screenshots [part of a test's name]]
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
. "$here/../../scripts/env.sh"
url="${1:?usage: tests/browser/run.sh URL [FOLDER for screenshots [part of a name]]}"
shots="${2:-$TIDEWIRE_CACHE/tests/browser/screenshots}"
case "$shots" in /*) ;; *) shots="$PWD/$shots" ;; esac

chromium="${CHROMIUM:-/usr/bin/chromium}"
if [ ! -x "$chromium" ]; then
  echo "browser: $chromium is missing; installing Debian's chromium with apt"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi

# The packages live in the cache, not in the clone, and are installed again only when the lockfile changes.
work="$TIDEWIRE_CACHE/tests/browser"
mkdir -p "$work" "$shots"
if ! cmp -s "$here/package-lock.json" "$work/node_modules/.installed"; then
  echo "browser: installing playwright-core from npm into $work"
  cp "$here/package.json" "$here/package-lock.json" "$work/"
  npm ci --prefix "$work" --no-audit --no-fund --loglevel=error
  cp "$here/package-lock.json" "$work/node_modules/.installed"
fi
cp "$here"/*.mjs "$here"/*.md "$work/"
export CHROMIUM="$chromium"
if curl -fs "$url/" | grep -q 'src="./theme.js"'; then
  node "$work/app.mjs" "$url" "$shots" "${3-}"
  node "$work/beside.mjs" "$url" "$shots" "${3-}"
  node "$work/operations.mjs" "$url" "$shots" "${3-}"
else
  echo "browser: this server was built without the web app"
fi
TIDEWIRE_PLAIN_PAGE="$here/../../crates/edge/page" exec node "$work/page.mjs" "$url" "$shots" "${3-}"
