#!/usr/bin/env bash
# Brings what the compatibility tests need into the cache folder; does nothing where it is there already.
#   install.sh [CLIENT ...]      default: all clients. Apache Kafka itself is always laid out.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/klamm"
compat="$cache/compat"
mkdir -p "$compat"

# The digest of a client's sources: what was made from others is made again.
digest() { cat "$@" | sha256sum | cut -d' ' -f1; }
current() { [ "$(cat "$compat/$1.stamp" 2>/dev/null || true)" = "$2" ]; }

updated=no
debian() {
  echo "installing the Debian package $1" >&2
  if [ "$updated" = no ]; then apt-get update -qq >&2 && updated=yes; fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >&2
}

# need COMMAND PACKAGE: installs the package where the command is missing.
need() { command -v "$1" >/dev/null 2>&1 || debian "$2"; }

# Where Debian keeps a library of the machine's architecture.
multiarch_lib() { echo "/usr/lib/$(uname -m)-linux-gnu/$1"; }

java_client() {
  local stamp
  need javac openjdk-17-jdk-headless
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
  rm -rf "$compat/java-$1"
  mvn -q -B -f "$here/java/old-clients.xml" -Dkafka.version="$1" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$compat/java-$1" >&2
  echo "$stamp" > "$compat/java-$1.stamp"
}

# The classes that it shares with the Java client are compiled once more, against the kafka-clients that Spring brings.
spring_client() {
  local stamp
  stamp="$(digest "$here/spring/Spring.java" "$here/spring/pom.xml" "$here/java/Player.java" "$here/java/Kafka.java")"
  if current spring "$stamp"; then return; fi
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
  (cd "$here/go" && go build -o "$compat/go-client" .)
  echo "$stamp" > "$compat/go.stamp"
}

node_client() {
  local stamp
  need node nodejs
  need npm npm
  stamp="$(digest "$here/node/package.json" "$here/node/package-lock.json")"
  mkdir -p "$compat/node"
  if ! current node "$stamp" || [ ! -d "$compat/node/node_modules/kafkajs" ]; then
    cp "$here/node/package.json" "$here/node/package-lock.json" "$compat/node/"
    (cd "$compat/node" && npm ci --silent --no-audit --no-fund)
    echo "$stamp" > "$compat/node.stamp"
  fi
  # The program stands beside node_modules, where node looks for it.
  cmp -s "$here/node/client.js" "$compat/node/client.js" || cp "$here/node/client.js" "$compat/node/client.js"
}

need java openjdk-17-jdk-headless
need mvn maven
need python3 python3
"$here/kafka/kafka.sh" install
if [ $# -eq 0 ]; then set -- java java-3.9 java-2.8 java-tools spring python aiokafka go sarama kafka-go node kcat klamm-tools programs; fi
for client in "$@"; do
  case "$client" in
    java | java-tools) java_client ;;
    java-3.9) old_java_client 3.9.2 ;;
    java-2.8) old_java_client 2.8.2 ;;
    spring) spring_client ;;
    python | aiokafka | klamm-tools) python_client ;;
    go | sarama | kafka-go) go_client ;;
    node) node_client ;;
    programs)
      python_client
      need rsyslogd rsyslog
      [ -e "$(multiarch_lib rsyslog/omkafka.so)" ] || debian rsyslog-kafka
      ;;
    kcat) need kcat kcat ;;
    *) echo "unknown client $client" >&2; exit 2 ;;
  esac
done
