#!/usr/bin/env bash
# Run in a build image that has the manifests only: puts an empty source in the place of each that a
# manifest names, so that the crates of others can be built before ours are there.
set -euo pipefail
cd "$(dirname "$0")/../.."

for manifest in */Cargo.toml; do
    crate=$(dirname "$manifest")
    mkdir -p "$crate/src"
    touch "$crate/src/lib.rs"
    # Targets with a path of their own: tests, benches, and the programs of the harness.
    sed -n 's/^path = "\(.*\.rs\)"/\1/p' "$manifest" | while read -r source; do
        mkdir -p "$crate/$(dirname "$source")"
        echo 'fn main() {}' >"$crate/$source"
    done
    sed -n '/^\[\[bench\]\]/,/^$/s/^name = "\(.*\)"/\1/p' "$manifest" | while read -r bench; do
        mkdir -p "$crate/benches"
        [ -e "$crate/benches/$bench.rs" ] || echo 'fn main() {}' >"$crate/benches/$bench.rs"
    done
done
# Without a build script its dependencies would not be built.
echo "fn main() {}" >proto/build.rs
for program in router manager shardctl; do
    echo 'fn main() {}' >"$program/src/main.rs"
done
