#!/bin/sh
# Drives the chat page of a running server with Chromium.
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
cp "$here"/*.mjs "$work/"
CHROMIUM="$chromium" exec node "$work/page.mjs" "$url" "$shots" "${3-}"
