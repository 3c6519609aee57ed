#!/bin/sh
# Builds the web app into web/dist/app: files with a hash in their names, each also compressed for browsers that take it.
# The program has in it what lies there when it is compiled. Needs node 20.19 or newer.
set -eu
cd "$(dirname "$0")"
. ./install.sh
# Not made again of the same: the program would be compiled anew for each other time of its files.
of="$(find src public ../sdk/typescript/client/src ../sdk/typescript/react/src index.html package-lock.json vite.config.ts tsconfig.json compress.mjs build.sh -type f \
  | LC_ALL=C sort | xargs sha256sum | sha256sum)"
if [ -z "${TIDEWIRE_SDK:-}" ] && [ -f dist/app/index.html ] && [ "$(cat node_modules/.made-of 2>/dev/null)" = "$of" ]; then exit 0; fi
rm -f node_modules/.made-of
npx --no-install vite build --logLevel warn
node compress.mjs dist/app
printf '%s\n' "$of" > node_modules/.made-of
