#!/bin/sh
# Drives the web app of a running server with Chromium, then the plain page that a server without the app has.
# TIDEWIRE_TEST_PROGRAM names the program, for tests that kill a server; TIDEWIRE_TEST_LONG=1 takes many reloads;
# TIDEWIRE_TEST_BUILT_IN=1 takes what can be asked of a server with the built-in model; TIDEWIRE_TEST_PLAIN=1 a server without the app.
# Usage: tests/browser/run.sh URL [FOLDER for screenshots [part of a test's name]]
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
. "$here/install.sh"
url="${1:?usage: tests/browser/run.sh URL [FOLDER for screenshots [part of a name]]}"
shots="${2:-$TIDEWIRE_CACHE/tests/browser/screenshots}"
case "$shots" in /*) ;; *) shots="$PWD/$shots" ;; esac

mkdir -p "$shots"
if [ "${TIDEWIRE_TEST_BUILT_IN:-}" = 1 ]; then
  node "$work/app.mjs" "$url" "$shots" \
    "${3:-suggestion|reloads_in_mid|right_after_sending|stop_in_the_second|second_tab_hears|another_device_finds|lost_connection|is_a_branch}"
  exec node "$work/built-in.mjs" "$url" "$shots" "${3-}"
fi
# The plain page beside the app: both wait for painted frames most of the time.
plain="$(mktemp)"
trap 'rm -f "$plain"' EXIT
TIDEWIRE_PLAIN_PAGE="$here/../../crates/edge/page" node "$work/page.mjs" "$url" "$shots" "${3-}" > "$plain" 2>&1 &
plain_pid=$!
bad=0
if curl -fs "$url/" | grep -q 'src="./theme.js"'; then
  for part in app beside operations; do
    node "$work/$part.mjs" "$url" "$shots" "${3-}" || bad=1
  done
elif [ "${TIDEWIRE_TEST_PLAIN:-}" != 1 ]; then
  echo "browser: this server was built without the web app: make build, or TIDEWIRE_TEST_PLAIN=1 for the plain page alone" >&2
  bad=1
fi
wait "$plain_pid" || bad=1
cat "$plain"
exit "$bad"
