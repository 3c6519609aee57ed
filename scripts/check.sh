#!/bin/sh
# Code style: formatting, lints as errors, licences and sources of dependencies.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

cargo fmt --all --check
cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
# Without what may be left out.
cargo clippy --locked --quiet -p tidewire-server --no-default-features -- -D warnings
# With the built-in model, in the profile in which `make build` compiles it, so that it is compiled once.
scripts/setup.sh build
cargo clippy --release --locked --quiet -p tidewire-server -p tidewire-backends --all-targets \
  --features tidewire-server/local,tidewire-backends/local,tidewire-backends/independent-upstream -- -D warnings

# cargo-deny is built once, outside the clone.
deny="$TIDEWIRE_CACHE/tools/bin/cargo-deny"
version=0.20.2
if [ ! -x "$deny" ]; then
  echo "check: building cargo-deny $version, which checks dependencies' licences and sources (once, some minutes)"
  cargo install --quiet --locked --root "$TIDEWIRE_CACHE/tools" --target-dir "$TIDEWIRE_CACHE/tools/target" "cargo-deny@$version"
  rm -rf "$TIDEWIRE_CACHE/tools/target"
fi
"$deny" --log-level error check bans licenses sources
