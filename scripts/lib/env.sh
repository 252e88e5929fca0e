# Sourced by the scripts: where the clone and the cache outside it are.
# shellcheck shell=bash
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/klamm"
mkdir -p "$cache"
# Cargo's target lies outside the clone, so that another clone compiles no RocksDB.
export CARGO_TARGET_DIR="$cache/target"
# Cargo takes two clones for the same packages and looks only whether a source is younger than what it compiled: after another clone's build
# the sources of this one must look new, or the other's code would run here.
if [ "$(cat "$cache/clone" 2>/dev/null)" != "$root" ]; then
  find "$root/src" "$root/fuzz" \( -name '*.rs' -o -name Cargo.toml \) -exec touch {} +
  echo "$root" >"$cache/clone"
fi
# It would override .cargo/config.toml and compile RocksDB again, with slower checksums.
unset RUSTFLAGS
klamm_profile="${KLAMM_PROFILE:-release}"
klamm_binary="$CARGO_TARGET_DIR/$klamm_profile/klamm"

# RocksDB's library, kept apart from Cargo's target: Cargo compiles it again (a quarter of an hour on two cores) whenever a feature of one of its
# build dependencies changes, though the result is the same.
rocksdb_version="$(awk '/^name = "librocksdb-sys"$/ { getline; gsub(/version = |"/, ""); print }' "$root/Cargo.lock")"
rocksdb_directory="$cache/rocksdb-$rocksdb_version-$(uname -m)"
use_rocksdb() {
  if [ ! -f "$rocksdb_directory/librocksdb.a" ]; then return 1; fi
  export ROCKSDB_LIB_DIR="$rocksdb_directory" ROCKSDB_STATIC=1
}
use_rocksdb || true

# Compiles RocksDB if that was not done yet.
build_rocksdb() {
  if use_rocksdb; then return; fi
  echo "compiling RocksDB, once: about a quarter of an hour on two cores" >&2
  (cd "$root" && cargo build --release --locked --package librocksdb-sys) || return
  local built
  # The newest, of several that earlier builds may have left.
  built="$(find "$CARGO_TARGET_DIR/release/build" -path '*/librocksdb-sys-*/out/librocksdb.a' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)"
  mkdir -p "$rocksdb_directory"
  cp "$built" "$rocksdb_directory/librocksdb.a.new" && mv "$rocksdb_directory/librocksdb.a.new" "$rocksdb_directory/librocksdb.a"
  use_rocksdb
}
