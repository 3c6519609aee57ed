# Sourced with `here` as this folder: Chromium, and the packages of the lockfile. They live in the cache, not in the clone, and are
# installed again only when the lockfile changes. Sets `work`, where the tests run, and CHROMIUM.
. "$here/../../scripts/env.sh"
chromium="${CHROMIUM:-/usr/bin/chromium}"
if [ ! -x "$chromium" ]; then
  echo "browser: $chromium is missing; installing Debian's chromium with apt"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi
export CHROMIUM="$chromium"
work="$TIDEWIRE_CACHE/tests/browser"
mkdir -p "$work"
if ! cmp -s "$here/package-lock.json" "$work/node_modules/.installed"; then
  echo "browser: installing playwright-core from npm into $work"
  cp "$here/package.json" "$here/package-lock.json" "$work/"
  npm ci --prefix "$work" --no-audit --no-fund --loglevel=error
  cp "$here/package-lock.json" "$work/node_modules/.installed"
fi
cp "$here"/*.mjs "$here"/*.md "$work/"
