# Sourced by the scripts: where the clone and the cache outside it are.
# shellcheck shell=bash
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/klamm"
mkdir -p "$cache"
# Cargo's target lies outside the clone, so that another clone compiles no RocksDB.
export CARGO_TARGET_DIR="$cache/target"
# It would override .cargo/config.toml and compile RocksDB again, with slower checksums.
unset RUSTFLAGS
klamm_binary="$CARGO_TARGET_DIR/release/klamm"
