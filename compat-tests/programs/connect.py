"""Kafka Connect distributed, driven by its REST API, and MirrorMaker 2 between the broker and an Apache Kafka."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request

from confluent_kafka import Consumer, TopicPartition

from player import BOOTSTRAP, equal, scenario, true, until

TEXT = "org.apache.kafka.connect.storage.StringConverter"
FILE = "org.apache.kafka.connect.file.FileStream"


def free_ports():
    """Two neighbouring ports: Apache Kafka's controller takes the second."""
    while True:
        with socket.socket() as probe, socket.socket() as second:
            probe.bind(("127.0.0.1", 0))
            try:
                second.bind(("127.0.0.1", probe.getsockname()[1] + 1))
            except OSError:
                continue
            return probe.getsockname()[1]


class Worker:
    """One Connect worker of a group; killed, it is started anew with the same settings."""

    def __init__(self, java, libs, home, name):
        self.port, self.home, self.name = free_ports(), home, name
        settings = {
            "bootstrap.servers": BOOTSTRAP, "group.id": "connect-workers", "key.converter": TEXT, "value.converter": TEXT,
            "config.storage.topic": "connect-configs", "offset.storage.topic": "connect-offsets", "status.storage.topic": "connect-status",
            "config.storage.replication.factor": 1, "offset.storage.replication.factor": 1, "status.storage.replication.factor": 1,
            "offset.storage.partitions": 5, "status.storage.partitions": 2, "listeners": f"http://127.0.0.1:{self.port}",
            "exactly.once.source.support": "enabled", "session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "rebalance.timeout.ms": 10000,
            "scheduled.rebalance.max.delay.ms": 2000, "offset.flush.interval.ms": 1000, "plugin.discovery": "service_load",
        }
        path = home / f"{name}.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        self.command = [*java, "-cp", f"{libs}/*", "org.apache.kafka.connect.cli.ConnectDistributed", str(path)]
        self.start()

    def start(self):
        with (self.home / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.home)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ask(self, method, path, body=None):
        """The answer; None while the worker cannot answer yet."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method, data=data, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                text = answer.read()
                return json.loads(text) if text else {}
        except (OSError, urllib.error.HTTPError):
            return None


def committed_values(topic, count, timeout_s=60):
    """Exactly the first count values of partition 0 that read_committed gives; and what follows within a moment."""
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "connect-reader", "enable.auto.commit": False, "isolation.level": "read_committed"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    got, deadline = [], time.monotonic() + timeout_s
    while len(got) < count:
        true(time.monotonic() < deadline, f"{len(got)} of {count} records in {topic}")
        got += [m.value().decode() for m in consumer.consume(500, 0.2) if not m.error()]
    got += [m.value().decode() for m in consumer.consume(500, 1) if not m.error()]
    consumer.close()
    return got


def lines_of(path):
    return path.read_text().splitlines() if path.exists() else []


def running(worker, connector):
    state = worker.ask("GET", f"/connectors/{connector}/status")
    return bool(state) and state["connector"]["state"] == "RUNNING" and [task["state"] for task in state["tasks"]] == ["RUNNING"]


def distributed(java, libs, home, create):
    create("from-workers")
    source, sink, lines = home / "distributed-source.txt", home / "distributed-sink.txt", [f"line {i}" for i in range(50)]
    source.write_text("".join(line + "\n" for line in lines))
    workers = [Worker(java, libs, home, name) for name in ("worker-1", "worker-2")]
    try:
        for worker in workers:
            until(lambda: worker.ask("GET", "/connectors") == [], f"{worker.name} answers", 90)
        made = {
            "file-source": {"connector.class": f"{FILE}SourceConnector", "file": str(source), "topic": "from-workers", "transaction.boundary": "poll"},
            "file-sink": {"connector.class": f"{FILE}SinkConnector", "file": str(sink), "topics": "from-workers"},
        }
        for name, config in made.items():
            body = {"name": name, "config": {**config, "tasks.max": "1"}}
            until(lambda: workers[0].ask("POST", "/connectors", body) or workers[0].ask("GET", f"/connectors/{name}"), f"{name} is made", 60)
            until(lambda: running(workers[1], name), lambda: f"{name} runs: {workers[1].ask('GET', f'/connectors/{name}/status')}", 60)
        until(lambda: lines_of(sink) == lines, lambda: f"{len(lines_of(sink))} lines in the sink's file", 60)
        for turn in (0, 1):
            more = [f"turn {turn} line {i}" for i in range(50)]
            lines += more
            workers[turn].kill()
            with source.open("a") as file:
                file.write("".join(line + "\n" for line in more))
            workers[turn].start()
            until(lambda: all(running(worker, name) for worker in workers for name in made), "both connectors run again", 90)
            # The source's records and its offsets are one transaction: each line once. The sink may write lines again that it had not committed.
            equal(committed_values("from-workers", len(lines)), lines, "records of the source")
            until(lambda: set(lines) <= set(lines_of(sink)), lambda: f"{len(set(lines_of(sink)))} different lines in the sink's file", 60)
        for name in made:
            workers[0].ask("DELETE", f"/connectors/{name}")
        until(lambda: workers[1].ask("GET", "/connectors") == [], "no connector is left", 30)
    finally:
        for worker in workers:
            worker.kill()


def register(java, libs, home, create):
    scenario("connect-distributed")(lambda: distributed(java, libs, home, create))
