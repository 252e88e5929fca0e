#!/usr/bin/env bash
# Brings what the compatibility tests need into the cache folder; does nothing where it is there already.
#   install.sh [CLIENT ...]      default: all clients. Apache Kafka itself is always laid out.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/klamm"
compat="$cache/compat"
mkdir -p "$compat"
. "$here/../scripts/lib/install.sh"

# The digest of a client's sources: what was made from others is made again.
digest() { cat "$@" | sha256sum | cut -d' ' -f1; }
current() { [ "$(cat "$compat/$1.stamp" 2>/dev/null || true)" = "$2" ]; }

debian() { install_packages "$1"; }

# What takes its time says so, since the programs that do it are told to be quiet.
telling() { echo "$*" >&2; }

# need COMMAND PACKAGE: installs the package where the command is missing, at once.
need() { command -v "$1" >/dev/null 2>&1 || debian "$2"; }

# Where Debian keeps a library of the machine's architecture.
multiarch_lib() { echo "/usr/lib/$(uname -m)-linux-gnu/$1"; }

java_client() {
  local stamp
  need javac default-jdk-headless
  stamp="$(digest "$here"/java/*.java "$here/kafka/pom.xml")"
  if current java "$stamp"; then return; fi
  rm -rf "$compat/java-classes" && mkdir -p "$compat/java-classes"
  javac -nowarn -proc:none -d "$compat/java-classes" -cp "$cache/kafka-4.3.1/libs/*" "$here"/java/*.java
  echo "$stamp" > "$compat/java.stamp"
}

# old_java_client VERSION: an old kafka-clients in a folder of its own, for the classes compiled against the current one.
old_java_client() {
  local stamp
  java_client
  stamp="$(digest "$here/java/old-clients.xml")"
  if current "java-$1" "$stamp"; then return; fi
  telling "fetching kafka-clients $1 with Maven"
  rm -rf "$compat/java-$1"
  mvn -q -B -f "$here/java/old-clients.xml" -Dkafka.version="$1" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$compat/java-$1" >&2
  echo "$stamp" > "$compat/java-$1.stamp"
}

# The classes that it shares with the Java client are compiled once more, against the kafka-clients that Spring brings.
spring_client() {
  local stamp
  stamp="$(digest "$here/spring/Spring.java" "$here/spring/pom.xml" "$here/java/Player.java" "$here/java/Kafka.java")"
  if current spring "$stamp"; then return; fi
  telling "fetching Spring Kafka with Maven"
  rm -rf "$compat/spring" "$compat/spring-classes" && mkdir -p "$compat/spring-classes"
  mvn -q -B -f "$here/spring/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$compat/spring" >&2
  javac -nowarn -proc:none -d "$compat/spring-classes" -cp "$compat/spring/*" "$here/spring/Spring.java" "$here/java/Player.java" "$here/java/Kafka.java"
  echo "$stamp" > "$compat/spring.stamp"
}

python_client() {
  local stamp
  stamp="$(digest "$here/python/requirements.txt")"
  if current python "$stamp" && [ -x "$compat/python/bin/python" ]; then return; fi
  python3 -c 'import venv, ensurepip' 2>/dev/null || debian python3-venv
  telling "fetching the Python clients with pip"
  rm -rf "$compat/python"
  python3 -m venv "$compat/python"
  "$compat/python/bin/pip" install --quiet --disable-pip-version-check -r "$here/python/requirements.txt"
  echo "$stamp" > "$compat/python.stamp"
}

go_client() {
  local stamp
  need go golang-go
  stamp="$(digest "$here"/go/*.go "$here/go/go.mod" "$here/go/go.sum")"
  if current go "$stamp" && [ -x "$compat/go-client" ]; then return; fi
  telling "fetching and compiling the Go clients"
  (cd "$here/go" && go build -o "$compat/go-client" .)
  echo "$stamp" > "$compat/go.stamp"
}

# The programs of a Node client stand beside node_modules, where node looks for it.
beside_node_modules() {
  local client="$1" file
  shift
  for file in "$@"; do
    cmp -s "$here/$file" "$compat/$client/${file##*/}" || cp "$here/$file" "$compat/$client/"
  done
}

# artifacts NAME: what programs/NAME.xml lists.
artifacts() {
  local stamp
  stamp="$(digest "$here/programs/$1.xml")"
  if current "$1" "$stamp"; then return; fi
  telling "fetching what $1 is made of with Maven"
  rm -rf "${compat:?}/$1"
  mvn -q -B -f "$here/programs/$1.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$compat/$1" >&2
  echo "$stamp" > "$compat/$1.stamp"
}

# java_program NAME CLASS: a program over the artifacts that NAME.xml lists.
java_program() {
  local stamp
  need javac default-jdk-headless
  stamp="$(digest "$here/programs/$1.xml" "$here/programs/$2.java")"
  if current "$1" "$stamp"; then return; fi
  telling "fetching what $1 is made of with Maven"
  rm -rf "$compat/$1" "$compat/$1-classes" && mkdir -p "$compat/$1-classes"
  mvn -q -B -f "$here/programs/$1.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$compat/$1" >&2
  javac -nowarn -proc:none -d "$compat/$1-classes" -cp "$compat/$1/*" "$here/programs/$2.java"
  echo "$stamp" > "$compat/$1.stamp"
}

node_client() {
  local stamp
  need node nodejs
  need npm npm
  stamp="$(digest "$here/node/package.json" "$here/node/package-lock.json")"
  mkdir -p "$compat/node"
  if ! current node "$stamp" || [ ! -d "$compat/node/node_modules/kafkajs" ]; then
    telling "fetching kafkajs with npm"
    cp "$here/node/package.json" "$here/node/package-lock.json" "$compat/node/"
    (cd "$compat/node" && npm ci --silent --no-audit --no-fund)
    echo "$stamp" > "$compat/node.stamp"
  fi
  beside_node_modules node node/client.js node/player.js node/transactions.js
}

# The package of @confluentinc/kafka-javascript, which has the sources of librdkafka in it, before anything is compiled.
confluent_js_package() {
  local stamp
  need node nodejs
  need npm npm
  stamp="$(digest "$here/confluent-js/package.json" "$here/confluent-js/package-lock.json")"
  mkdir -p "$compat/confluent-js"
  if current confluent-js-package "$stamp" && [ -d "$compat/confluent-js/node_modules" ]; then return; fi
  telling "fetching @confluentinc/kafka-javascript with npm"
  rm -f "$compat/confluent-js.stamp"
  cp "$here/confluent-js/package.json" "$here/confluent-js/package-lock.json" "$compat/confluent-js/"
  (cd "$compat/confluent-js" && npm ci --silent --no-audit --no-fund --ignore-scripts)
  echo "$stamp" > "$compat/confluent-js-package.stamp"
}

# What its addon is compiled with: the prebuilt one is on a server of its own, and so are the libraries that it would link statically.
confluent_js_client() {
  local stamp
  confluent_js_package
  stamp="$(cat "$compat/confluent-js-package.stamp") $(node --version)"
  if ! current confluent-js "$stamp"; then
    need make make
    need g++ g++
    [ -e /usr/include/node/node.h ] || debian libnode-dev
    [ -e /usr/include/openssl/ssl.h ] || debian libssl-dev
    [ -e /usr/include/zlib.h ] || debian zlib1g-dev
    [ -e /usr/include/zstd.h ] || debian libzstd-dev
    pkg-config --exists libcurl 2>/dev/null || debian libcurl4-openssl-dev
    telling "compiling @confluentinc/kafka-javascript, once: some minutes"
    (cd "$compat/confluent-js" && CKJS_LINKING=dynamic npm_config_nodedir=/usr npm_config_build_from_source=true npm rebuild --silent @confluentinc/kafka-javascript) ||
      return
    echo "$stamp" > "$compat/confluent-js.stamp"
  fi
  beside_node_modules confluent-js confluent-js/client.js node/player.js
}

# What a C compiler needs for librdkafka, a word a line. The library is the newest release, as confluent-kafka's wheel brings it; its header is in none but
# source packages, here one of the release before.
librdkafka_flags() {
  local library
  library="$(echo "$compat"/python/lib/python3*/site-packages/confluent_kafka.libs/librdkafka-*.so.1)"
  printf '%s\n' -isystem "$compat/confluent-js/node_modules/@confluentinc/kafka-javascript/deps/librdkafka/src" "$library" "-Wl,-rpath,${library%/*}" -pthread
}

c_client() {
  local stamp flags
  need cc gcc
  python_client
  confluent_js_package
  stamp="$(digest "$here"/c/*.[ch] "$here/python/requirements.txt" "$here/confluent-js/package-lock.json")"
  if current c "$stamp" && [ -x "$compat/c-client" ]; then return; fi
  mapfile -t flags < <(librdkafka_flags)
  cc -O1 -g -std=gnu11 -Wall -Wextra -Werror -o "$compat/c-client" "$here"/c/*.c "${flags[@]}"
  echo "$stamp" > "$compat/c.stamp"
}

rust_client() {
  local stamp
  stamp="$(digest "$here"/rust/*.rs "$here/rust/Cargo.toml" "$here/rust/Cargo.lock")"
  if current rust "$stamp" && [ -x "$compat/rust-client" ]; then return; fi
  need cargo cargo
  need make make
  need g++ g++
  telling "fetching and compiling the Rust clients, once: some minutes"
  (cd "$here/rust" && CARGO_TARGET_DIR="$compat/rust-target" cargo build --release --locked --quiet)
  cp "$compat/rust-target/release/rust-client" "$compat/rust-client"
  echo "$stamp" > "$compat/rust.stamp"
}

need java default-jdk-headless
need mvn maven
need python3 python3
"$here/kafka/kafka.sh" install
if [ $# -eq 0 ]; then set -- java java-3.9 java-2.8 java-tools spring python aiokafka kafka-python librdkafka rdkafka rskafka go sarama kafka-go node confluent-js kcat klamm-tools programs; fi
for client in "$@"; do
  case "$client" in
    java | java-tools) java_client ;;
    java-3.9) old_java_client 3.9.2 ;;
    java-2.8) old_java_client 2.8.2 ;;
    spring) spring_client ;;
    python | aiokafka | kafka-python | klamm-tools) python_client ;;
    go | sarama | kafka-go) go_client ;;
    node) node_client ;;
    confluent-js) confluent_js_client ;;
    librdkafka) c_client ;;
    # For other programs in C; the flags alone go to standard output.
    librdkafka-flags)
      { python_client && confluent_js_package; } >&2
      librdkafka_flags
      ;;
    rdkafka | rskafka) rust_client ;;
    streams) java_program streams StreamsApp ;;
    programs)
      python_client
      java_program flink FlinkJob
      java_program debezium DebeziumApp
      java_program streams StreamsApp
      artifacts mirror
      need rsyslogd rsyslog
      [ -e "$(multiarch_lib rsyslog/omkafka.so)" ] || debian rsyslog-kafka
      ;;
    kcat) need kcat kcat ;;
    *) echo "unknown client $client" >&2; exit 2 ;;
  esac
done
