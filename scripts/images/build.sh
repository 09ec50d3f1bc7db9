#!/usr/bin/env bash
# Run in a build image: builds programs in a profile, and puts them into /out.
set -euo pipefail
cd "$(dirname "$0")/../.."

profile=$1
shift
# What stands in the place of our crates is older than no file that has just come.
find . -path ./target -prune -o -name '*.rs' -exec touch {} +
packages=()
for program in "$@"; do
    packages+=(--package "$program")
done
cargo build --profile "$profile" --locked --bins "${packages[@]}"
folder=$profile
[ "$profile" != dev ] || folder=debug
mkdir -p /out
for program in "$@"; do
    strip --strip-debug -o "/out/$program" "target/$folder/$program"
done
