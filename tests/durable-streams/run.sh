#!/bin/sh
# The public conformance tests of the Durable Streams protocol against a running server. Its `limits.long_poll_ms`
# must be under 5000, and `access.origins` must have https://example.com: one test is a preflight from there.
# Usage: tests/durable-streams/run.sh URL LONG_POLL_MS
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
. "$here/../../scripts/env.sh"
export TIDEWIRE_URL="${1:?usage: tests/durable-streams/run.sh URL LONG_POLL_MS}"
export TIDEWIRE_LONG_POLL_MS="${2:?usage: tests/durable-streams/run.sh URL LONG_POLL_MS}"
# All but the tests of subscriptions, which the protocol leaves to each server and this one does not have.
expected=332

# The packages live in the cache, not in the clone, and are installed again only when their versions change.
work="$TIDEWIRE_CACHE/tests/durable-streams"
mkdir -p "$work"
if ! cmp -s "$here/package-lock.json" "$work/node_modules/.installed"; then
  echo "durable streams: installing the conformance tests from npm into $work"
  cp "$here/package.json" "$here/package-lock.json" "$work/"
  npm ci --prefix "$work" --no-audit --no-fund --loglevel=error
  cp "$here/package-lock.json" "$work/node_modules/.installed"
fi
cp "$here/conformance.test.mjs" "$work/"

bad=0
(cd "$work" && NO_COLOR=1 node_modules/.bin/vitest run conformance.test.mjs --reporter=dot >"$work/log" 2>&1) || bad=1
count() { # count passed|failed: what vitest's closing line says
  sed -n "s/^ *Tests .*[^0-9]\([0-9][0-9]*\) $1.*/\1/p" "$work/log" | tail -n 1
}
passed="$(count passed)" failed="$(count failed)"
# A run that ends early, or a suite that lost tests, is not a good one.
if [ "$bad" != 0 ] || [ "${passed:-0}" -lt "$expected" ]; then cat "$work/log"; bad=1; fi
echo "durable streams: ${passed:-0} passed, ${failed:-0} failed"
exit "$bad"
