#!/bin/sh
# The web app: types, form, unit tests, build, and its weight beside the bars. Its tests in a browser are in tests/browser.
set -eu
cd "$(dirname "$0")"
. ./install.sh
npx --no-install tsc --noEmit
npx --no-install prettier --check --log-level warn .
npx --no-install vitest run --reporter=dot
./build.sh
node budgets.mjs
