# Sourced by the scripts: installs what is not there, with Debian's packages. What is there is left alone.
# shellcheck shell=bash

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; return; fi
  if command -v sudo >/dev/null 2>&1; then sudo "$@"; return; fi
  echo "not root and no sudo: run this as root, then try again: $*" >&2
  return 1
}

# install_packages PACKAGE...
install_packages() {
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "please install (their names on Debian): $*" >&2
    return 1
  fi
  echo "installing $*" >&2
  # Package lists may be missing or old; only then are they fetched.
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 && return
  as_root apt-get update -qq >/dev/null
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# need COMMAND PACKAGE: collects the package if the command is not there.
missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }

# RocksDB's bindings are made with libclang; libclang-cpp, which lies in the same folders, is another library.
has_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return
  local folder name
  for folder in '/usr/lib/llvm-*/lib' '/usr/lib/*'; do
    for name in 'libclang.so*' 'libclang-[0-9]*.so*'; do compgen -G "$folder/$name" >/dev/null && return; done
  done
  return 1
}

install_missing() {
  if [ "${#missing[@]}" = 0 ]; then return; fi
  install_packages "${missing[@]}"
  missing=()
}

# at_least WANTED FOUND
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# offers_rust WANTED: whether Debian has it. What it builds its browsers with is new, where its plain cargo is old.
offers_rust() {
  local offered
  command -v apt-cache >/dev/null 2>&1 || return
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null 2>&1 || return
  as_root apt-get update -qq >/dev/null || true
  offered="$(apt-cache policy cargo-web | sed -n 's/^ *Candidate: \([0-9][0-9.]*\).*/\1/p')"
  [ -n "$offered" ] && at_least "$1" "$offered"
}

# Cargo itself would fetch all first, then name a dependency and advise to take other versions.
has_rust() {
  local wanted found
  wanted="$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")"
  if ! command -v cargo >/dev/null 2>&1; then
    if offers_rust "$wanted"; then
      install_packages cargo-web
      return
    fi
    echo "klamm is written in Rust, and cargo is not there: install Rust $wanted or later with rustup (https://rustup.rs), then try again" >&2
    return 1
  fi
  # Where rustup has no toolchain yet, it says so itself.
  found="$(cd "$root" && rustc --version | cut -d' ' -f2)" && [ -n "$found" ] || return
  if at_least "$wanted" "$found"; then return; fi
  echo "klamm needs Rust $wanted or later, and $(command -v rustc) is $found: update it (rustup update; Debian's own is old), then try again" >&2
  return 1
}

install_for_build() {
  has_rust || return
  need cc gcc
  need c++ g++
  need make make
  has_libclang || missing+=(libclang-dev)
  install_missing || return
  build_rocksdb
}

# Those of rustup come with it.
install_for_check() {
  install_for_build || return
  need cargo-fmt rustfmt-web
  need cargo-clippy rust-web-clippy
  install_missing
}

install_for_demo() {
  need kcat kcat
  install_missing
}

install_for_image() {
  need buildah buildah
  need strip binutils
  need ip iproute2
  need kcat kcat
  install_missing
}

aarch64=aarch64-unknown-linux-gnu
has_aarch64() {
  [ -d "$(rustc --print sysroot)/lib/rustlib/$aarch64" ] && command -v aarch64-linux-gnu-gcc >/dev/null 2>&1
}

# What it takes to check the code for another kind of machine: Rust's library for it, and a C compiler for the codecs' C.
install_for_aarch64() {
  has_aarch64 && return
  need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
  command -v aarch64-linux-gnu-gcc >/dev/null 2>&1 || missing+=(libc6-dev-arm64-cross)
  install_missing || return
  (cd "$root" && rustup -q target add "$aarch64" 2>/dev/null)
}

# Kafka and the clients, Go and Node with them: compat-tests/install.sh. Kafka's jars, which Maven brings, are wanted by other stages too.
install_for_tests() {
  need javac default-jdk-headless
  need mvn maven
  need kcat kcat
  need strace strace
  need prometheus prometheus
  need python3 python3
  install_missing
}
