#!/usr/bin/env bash
# Run in a build image: builds the programs in a profile, and puts them into /out. All of them at
# once, since a choice of packages is a choice of features of the crates that they share.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly PROFILE=$1
readonly PROGRAMS=(router manager shardctl)

# What stands in the place of our crates must be older than what has come.
find . -path ./target -prune -o -name '*.rs' -exec touch {} +
cargo build --profile "$PROFILE" --locked --bins "${PROGRAMS[@]/#/--package=}"
folder=$PROFILE
[ "$PROFILE" != dev ] || folder=debug
mkdir -p /out
for program in "${PROGRAMS[@]}"; do
    strip --strip-debug -o "/out/$program" "target/$folder/$program"
done
