#!/bin/sh
# Builds the web app into web/dist/app: files with a hash in their names, each also compressed for browsers that take it.
# The program has in it what lies there when it is compiled. Needs node 20.19 or newer.
set -eu
cd "$(dirname "$0")"
. ./install.sh
npx --no-install vite build --logLevel warn
node compress.mjs dist/app
