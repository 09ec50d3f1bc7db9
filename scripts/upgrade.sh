#!/usr/bin/env bash
# Builds the programs of an older commit and has the end-to-end test replace them, under load, by
# those of the working tree, and come back: docs/upgrade.md.
#
#   scripts/upgrade.sh COMMIT
set -euo pipefail
cd "$(dirname "$0")/.."

readonly from=${1:?names a commit to upgrade from: make upgrade FROM=COMMIT}
commit=$(git rev-parse --verify --short "$from^{commit}")
target=$(cargo metadata --no-deps --format-version 1 --offline |
    grep -o '"target_directory":"[^"]*"' | cut -d '"' -f 4)
readonly commit target
readonly work=$target/upgrade programs=$target/upgrade/$commit

if [ ! -x "$programs/router" ]; then
    source=$(mktemp -d)
    trap 'rm -rf "$source"' EXIT
    git archive "$commit" | tar -x -C "$source"
    # Apart from the working tree's: its programs have the same names.
    CARGO_TARGET_DIR=$work/build cargo build --locked --manifest-path "$source/Cargo.toml" --bins \
        --package router --package manager --package shardctl
    mkdir -p "$programs"
    cp "$work"/build/debug/{router,manager,shardctl} "$programs/"
fi
cargo build --workspace --bins
OLDER_PROGRAMS=$programs cargo test -p tests --test e2e -- --ignored deploy::upgrade --nocapture
