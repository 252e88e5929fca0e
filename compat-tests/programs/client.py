"""Programs that people put in front of Kafka, each with a small configuration; what they wrote is read with confluent-kafka."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from player import BOOTSTRAP, WORK, equal, play, scenario, true, until

HERE = pathlib.Path(__file__).resolve().parent
HOME = pathlib.Path(WORK) / "programs"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "klamm"
LIBS = CACHE / "kafka-4.3.1" / "libs"
JAVA = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]


def create(*topics):
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    for future in admin.create_topics([NewTopic(topic, 1, 1) for topic in topics]).values():
        future.result(30)
    until(lambda: set(topics) <= set(admin.list_topics(timeout=20).topics), f"{topics} are known to the broker")


def produce(topic, values):
    producer, failures = Producer({"bootstrap.servers": BOOTSTRAP}), []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: error and failures.append(error))
    equal((producer.flush(30), failures), (0, []), "records left and failures")


def read(topic, count, timeout_s=40):
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "reader-of-" + topic, "auto.offset.reset": "earliest", "topic.metadata.refresh.interval.ms": 500})
    consumer.subscribe([topic])
    got, deadline = [], time.monotonic() + timeout_s
    while len(got) < count:
        true(time.monotonic() < deadline, f"{len(got)} of {count} records in {topic}")
        for message in consumer.consume(count - len(got), 0.2):
            if not message.error():
                got.append((message.value() or b"").decode())
    consumer.close()
    return got


@contextlib.contextmanager
def running(name, *command, **environment):
    """A program in a process of its own, ended with SIGTERM."""
    with (HOME / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.PIPE, cwd=HOME, env={**os.environ, **environment})
    try:
        yield process
        true(process.poll() is None, f"{name} ended by itself; log: {HOME}/{name}.log")
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def lines_of(path):
    return path.read_text().splitlines() if path.exists() else []


def properties(file_name, **fields):
    path = HOME / f"{file_name}.properties"
    path.write_text("".join(f"{key.replace('__', '.')}={value}\n" for key, value in fields.items()))
    return str(path)


@scenario("connect")
def connect():
    create("from-file")
    source, sink = HOME / "source.txt", HOME / "sink.txt"
    lines = [f"line {i}" for i in range(50)]
    source.write_text("".join(line + "\n" for line in lines))
    text = "org.apache.kafka.connect.storage.StringConverter"
    worker = {
        "bootstrap__servers": BOOTSTRAP, "key__converter": text, "value__converter": text, "offset__storage__file__filename": HOME / "connect.offsets",
        "offset__flush__interval__ms": 1000, "listeners": "http://127.0.0.1:0", "plugin__discovery": "service_load",
    }
    kind = "org.apache.kafka.connect.file.FileStream"
    command = [
        *JAVA, "-cp", f"{LIBS}/*", "org.apache.kafka.connect.cli.ConnectStandalone", properties("worker", **worker),
        properties("file-source", name="file-source", connector__class=f"{kind}SourceConnector", tasks__max=1, file=source, topic="from-file"),
        properties("file-sink", name="file-sink", connector__class=f"{kind}SinkConnector", tasks__max=1, file=sink, topics="from-file"),
    ]
    with running("connect", *command):
        equal(read("from-file", 50, 75), lines, "records of the source")
        until(lambda: lines_of(sink) == lines, "the lines in the sink's file", 40)
        with source.open("a") as more:
            more.write("one more\n")
        until(lambda: lines_of(sink) == lines + ["one more"], "the line that was added")
    # A second run goes on where the first one ended: offsets of the source in its file, of the sink in its group.
    with source.open("a") as more:
        more.write("after a restart\n")
    with running("connect", *command):
        until(lambda: lines_of(sink)[-1:] == ["after a restart"], "the line after the restart", 40)
    equal(lines_of(sink), lines + ["one more", "after a restart"], "the sink's file")


@scenario("rsyslog")
def rsyslog():
    create("from-rsyslog", "to-rsyslog")
    inputs, output, config = HOME / "rsyslog-input.txt", HOME / "rsyslog-output.txt", HOME / "rsyslog.conf"
    lines = [f"event {i}" for i in range(50)]
    inputs.write_text("".join(line + "\n" for line in lines))
    host = BOOTSTRAP
    config.write_text(f"""
global(workDirectory="{HOME}")
module(load="imfile" mode="polling" pollingInterval="1")
module(load="omkafka")
module(load="imkafka")
template(name="raw" type="string" string="%msg%")
template(name="line" type="string" string="%rawmsg%\\n")
input(type="imfile" file="{inputs}" tag="file" ruleset="send")
ruleset(name="send") {{ action(type="omkafka" broker=["{host}"] topic="from-rsyslog" template="raw" resubmitOnFailure="on") }}
input(type="imkafka" broker=["{host}"] topic="to-rsyslog" consumergroup="rsyslog" ruleset="receive" confParam=["auto.offset.reset=earliest"])
ruleset(name="receive") {{ action(type="omfile" file="{output}" template="line") }}
""")
    with running("rsyslog", "rsyslogd", "-n", "-f", str(config), "-i", str(HOME / "rsyslog.pid")):
        equal([line.strip() for line in read("from-rsyslog", 50)], lines, "records of omkafka")
        produce("to-rsyslog", lines)
        until(lambda: [line.strip() for line in lines_of(output)] == lines, lambda: f"lines of imkafka: {len(lines_of(output))}", 40)


@scenario("faust")
def faust():
    create("faust-in", "faust-out")
    command = [sys.executable, "-m", "faust", "-A", "faust_app", "worker", "-l", "info", "--without-web"]
    with running("faust", *command, PYTHONPATH=str(HERE), FAUST_DATADIR=str(HOME / "faust")):
        produce("faust-in", [f"w{i % 5}" for i in range(50)])
        equal(sorted(read("faust-out", 50)), sorted(f"w{i % 5}={i // 5 + 1}" for i in range(50)), "counts of the table")


def class_path(program):
    return f"{CACHE}/compat/{program}-classes:{CACHE}/compat/{program}/*"


def committed(group, topic):
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": group})
    offset = consumer.committed([TopicPartition(topic, 0)], timeout=20)[0].offset
    consumer.close()
    return offset


@scenario("flink")
def flink():
    create("flink-in", "flink-out")
    opens = [f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("lang", "util", "time")]
    # It leaves a copy of its own library behind in each run.
    command = [*JAVA, *opens, f"-Djava.io.tmpdir={HOME}", "-cp", class_path("flink"), "compat.FlinkJob", BOOTSTRAP]
    with running("flink", *command) as job:
        produce("flink-in", [f"w{i % 5}" for i in range(50)])
        equal(sorted(read("flink-out", 50, 75)), sorted(f"w{i % 5}={i // 5 + 1}" for i in range(50)), "counts")
        until(lambda: committed("flink", "flink-in") == 50, "the commit with a checkpoint")
        job.stdin.write(b"\n")
        job.stdin.flush()
        until(lambda: "the first run is over" in (HOME / "flink.log").read_text(), "the end of the first run")
        # The second run has no counts, and goes on at the committed offset.
        produce("flink-in", ["w0", "w1", "w0"])
        equal(read("flink-out", 3, 40), ["w0=1", "w1=1", "w0=2"], "counts of the second run")


@scenario("debezium")
def debezium():
    (HOME / "debezium").mkdir()
    with (HOME / "debezium.log").open("ab") as log:
        command = [*JAVA, "-cp", class_path("debezium"), "compat.DebeziumApp", BOOTSTRAP, str(HOME / "debezium")]
        code = subprocess.run(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, timeout=80).returncode
    equal(code, 0, f"exit code; log: {HOME}/debezium.log")
    # A delete is followed by a record without a value.
    changes = [json.loads(value) if value else None for value in read("shop.public.orders", 7)]
    told = [change and (change["op"], (change["after"] or {}).get("item")) for change in changes]
    equal(told, [("r", "one"), ("r", "two"), ("u", "ONE"), ("d", None), None, ("c", "three"), ("c", "four")], "changes")


if __name__ == "__main__":
    import connect as connect_scenarios
    import mirror
    import streams

    HOME.mkdir(parents=True, exist_ok=True)
    connect_scenarios.register(JAVA, LIBS, HOME, create)
    mirror.register(JAVA, f"{CACHE}/compat/mirror/*", HOME)
    streams.register(JAVA, class_path("streams"), HOME)
    play()
