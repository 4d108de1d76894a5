#!/usr/bin/env bash
# Builds perennial-executor, statically linked, and prints where it is. Quick when there is nothing to do.
#
# It has a target directory of its own: the flag that links statically changes the fingerprint of all it is built from, and the
# rest of the workspace is not to be built again for it. For the usual target of glibc and not for musl, because that needs no
# other toolchain.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
dir=${PERENNIAL_STATIC_DIR:-$PWD/target/static}
# Flags of the build around this one are for its target directory, not for this one.
env -u CARGO_ENCODED_RUSTFLAGS -u CARGO_INCREMENTAL RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --quiet --locked --profile hands --target "$host" --target-dir "$dir" \
    -p perennial-executor --bin perennial-executor --no-default-features --features standalone >&2
echo "$dir/$host/hands/perennial-executor"
