#!/bin/sh
# The long proofs, whole: `make test` runs a small share of each.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh
TIDEWIRE_TEST_KILLS="${TIDEWIRE_TEST_KILLS:-200}" cargo test --locked -p tidewire-server --test kill -- --nocapture
TIDEWIRE_TEST_SEEDS="${TIDEWIRE_TEST_SEEDS:-1000}" cargo test --locked -p tidewire-simulation --test seeds -- --nocapture
TIDEWIRE_TEST_CASES="${TIDEWIRE_TEST_CASES:-5000}" cargo test --locked -p tidewire-engines --test model -- --nocapture
