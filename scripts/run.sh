#!/usr/bin/env bash
# Builds the programs and starts one of those that run the whole system: demo or bench (tests/).
# The arguments after its name are its own. PROFILE=dev builds without optimisation;
# scripts/tools.sh installs what this needs.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly PROFILE=${PROFILE:-release}
readonly PROGRAM=$1
shift

echo "$PROGRAM: building ($PROFILE)"
cargo build --quiet --workspace --bins --profile "$PROFILE"

target=$(cargo metadata --no-deps --format-version 1 --offline |
    grep -o '"target_directory":"[^"]*"' | cut -d '"' -f 4)
folder=$PROFILE
if [ "$PROFILE" = dev ]; then
    folder=debug
fi
exec "$target/$folder/$PROGRAM" "$@"
