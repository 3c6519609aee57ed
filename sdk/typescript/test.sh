#!/bin/sh
# Checks the TypeScript packages: types, style, licences, behaviour in a made-up world and on a real server, sizes.
# The server is the release build, or the program that TIDEWIRE_BINARY names.
set -eu
cd "$(dirname "$0")"
. ../../scripts/env.sh

say() { echo "sdk/typescript: $*"; }

# Installed again only when the lockfile changes.
if ! cmp -s package-lock.json node_modules/.installed; then
  say "installing development packages from npm"
  npm ci --no-audit --no-fund --loglevel=error
  cp package-lock.json node_modules/.installed
fi
bin="$PWD/node_modules/.bin"

export TIDEWIRE_BINARY="${TIDEWIRE_BINARY:-$CARGO_TARGET_DIR/release/tidewire}"
[ -x "$TIDEWIRE_BINARY" ] || { say "$TIDEWIRE_BINARY is missing: make build, or set TIDEWIRE_BINARY" >&2; exit 1; }

say "types, style, and the licences of development packages"
"$bin/tsc" -b
"$bin/tsc" -p tsconfig.test.json
"$bin/prettier" --check --log-level warn .
node licences.mjs
say "sizes"
node size.mjs
say "tests, some of them on $TIDEWIRE_BINARY"
"$bin/vitest" run --reporter=dot
