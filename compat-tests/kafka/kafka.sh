#!/usr/bin/env bash
# Apache Kafka 4.3.1 (KRaft, one node) from its Maven artifacts: the reference that each scenario passes first.
#
#   kafka.sh install                  lays the jars out in the cache folder (does nothing when they are there)
#   kafka.sh classpath                prints the class path of broker and tools
#   kafka.sh run PORT DIR             formats DIR if it is empty, then becomes the broker (SIGTERM or SIGKILL its pid)
#   kafka.sh start PORT DIR           the same in the background; prints 'ready PID' once the port answers
#   kafka.sh stop DIR                 ends the broker that 'start' left in DIR
#
# KAFKA_JVM_FLAGS replaces the flags of the broker's JVM (default: a small heap and the quick compiler, for short test runs;
# a benchmark wants its own). KAFKA_EXTRA holds further lines for server.properties.
set -euo pipefail

version=4.3.1
cache="${XDG_CACHE_HOME:-$HOME/.cache}/klamm"
home="$cache/kafka-$version"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

install() {
  local stamp
  stamp="$(sha256sum "$here/pom.xml" | cut -d' ' -f1)"
  if [ "$(cat "$home/complete" 2>/dev/null || true)" = "$stamp" ]; then return; fi
  mkdir -p "$home/libs"
  echo "laying out Apache Kafka $version in $home" >&2
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$home/libs" >&2
  rm -rf "$home/shared.jsa" "$home/formatted"
  echo "$stamp" > "$home/complete"
}

# What each of the many starts would do anew, done once: the classes that the JVM loads (it ignores the archive where it is another JVM's), and
# a formatted directory. A start then costs a third less.
prepare_starts() {
  if [ -e "$home/shared.jsa" ]; then return; fi
  local scratch pid port
  scratch="$(mktemp -d)"
  port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
  KAFKA_JVM_FLAGS="$(flags) -XX:ArchiveClassesAtExit=$scratch/shared.jsa" setsid "$here/kafka.sh" run "$port" "$scratch" >"$scratch/kafka.log" 2>&1 </dev/null &
  pid=$!
  for _ in $(seq 300); do
    if ! kill -0 "$pid" 2>/dev/null || (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
    sleep 0.1
  done
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  # Where that did not work (the next port was taken, say), starts are as they were, until the next install.
  if [ -s "$scratch/shared.jsa" ]; then
    mkdir -p "$home/formatted"
    cp "$scratch/logs/bootstrap.checkpoint" "$scratch/logs/meta.properties" "$home/formatted/"
    mv "$scratch/shared.jsa" "$home/shared.jsa"
  fi
  rm -rf "$scratch"
}

# Formats the directory once. A kill -9 during formatting leaves no meta.properties, so that it is done again.
prepare() {
  local port="$1" dir="$2"
  mkdir -p "$dir"
  local controller=$((port + 1))
  cat > "$dir/server.properties" <<EOF
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters=1@127.0.0.1:$controller
log.dirs=$dir/logs
offsets.topic.replication.factor=1
offsets.topic.num.partitions=10
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=300
controller.quorum.election.timeout.ms=300
controller.quorum.fetch.timeout.ms=600
${KAFKA_EXTRA:-}
EOF
  if [ ! -f "$dir/logs/meta.properties" ] && [ -f "$home/formatted/meta.properties" ]; then
    mkdir -p "$dir/logs"
    cp "$home/formatted/bootstrap.checkpoint" "$dir/logs/"
    cp "$home/formatted/meta.properties" "$dir/logs/formatted.meta" && mv "$dir/logs/formatted.meta" "$dir/logs/meta.properties"
  fi
  if [ ! -f "$dir/logs/meta.properties" ]; then
    "${java[@]}" kafka.tools.StorageTool format -t klammReferenceKafka0w -c "$dir/server.properties" >/dev/null
  fi
}

flags() {
  local own="-Xms256m -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto"
  if [ -e "$home/shared.jsa" ]; then own+=" -XX:SharedArchiveFile=$home/shared.jsa"; fi
  echo "${KAFKA_JVM_FLAGS:-$own}"
}

run() {
  install
  local port="$1" dir
  mkdir -p "$2"
  dir="$(cd "$2" && pwd)"
  # shellcheck disable=SC2046
  java=(java $(flags) -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$home/libs/*")
  prepare "$port" "$dir"
  exec "${java[@]}" kafka.Kafka "$dir/server.properties"
}

start() {
  install
  local port="$1" dir="$2"
  mkdir -p "$dir"
  setsid "$here/kafka.sh" run "$port" "$dir" > "$dir/kafka.log" 2>&1 < /dev/null &
  local pid=$!
  echo "$pid" > "$dir/kafka.pid"
  for _ in $(seq 600); do
    if ! kill -0 "$pid" 2>/dev/null; then tail -5 "$dir/kafka.log" >&2; exit 1; fi
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "ready $pid"; return; fi
    sleep 0.1
  done
  echo "Apache Kafka did not open port $port within 60 s" >&2
  exit 1
}

stop() {
  local pid
  pid="$(cat "$1/kafka.pid")"
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
  kill -9 "$pid"
}

case "${1:-}" in
  install) install; prepare_starts ;;
  classpath) install; echo "$home/libs/*" ;;
  run | start) [ $# -eq 3 ] || { sed -n '2,10p' "$0"; exit 2; }; "$1" "$2" "$3" ;;
  stop) [ $# -eq 2 ] || { sed -n '2,10p' "$0"; exit 2; }; stop "$2" ;;
  *) sed -n '2,12p' "$0"; exit 2 ;;
esac
