#!/usr/bin/env bash
# Builds the programs and starts the demo (tests/demo); its arguments are the demo's.
# PROFILE=dev builds without optimisation. scripts/tools.sh installs what this needs.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly PROFILE=${PROFILE:-release}

echo "demo: building ($PROFILE)"
cargo build --quiet --workspace --bins --profile "$PROFILE"

target=$(cargo metadata --no-deps --format-version 1 --offline |
    grep -o '"target_directory":"[^"]*"' | cut -d '"' -f 4)
folder=$PROFILE
if [ "$PROFILE" = dev ]; then
    folder=debug
fi
exec "$target/$folder/demo" "$@"
