"""Kafka Streams: an application with each kind of state, killed and its broker too; its output is exact.

STREAMS_KILLS and STREAMS_BROKER_KILLS say how often (default 3 and 1; the long form is 20 and 10, with run.py's --timeout 1200).
"""

import collections
import os
import shutil
import subprocess
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from player import BOOTSTRAP, control, equal, scenario, true, until

INPUTS = ("words", "clicks", "orders", "users", "left", "right")
OUTPUTS = ("counts", "windows", "enriched", "pairs")
PARTITIONS = 2
USERS = 8
WORDS = ("broker", "topic", "offset", "epoch", "leader")
# A round moment of ten minutes ago: what is older than retention.ms would be gone as soon as a broker looks, half a minute after its start.
BEGIN_MS = int(time.time() * 1000) // 10000 * 10000 - 600_000


class Inputs:
    """What is sent in rounds, and what must come of it."""

    def __init__(self, name):
        self.producer = Producer({"bootstrap.servers": BOOTSTRAP, "message.timeout.ms": 120000, "linger.ms": 5})
        self.name, self.failures, self.rounds = name, [], 0
        self.expected = {name: collections.defaultdict(list) for name in OUTPUTS}

    def send(self, topic, key, value, time_ms):
        note = lambda error, _: error and self.failures.append(error)
        self.producer.produce(f"{self.name}-{topic}", value, key=key, timestamp=time_ms, on_delivery=note)

    def users(self):
        for u in range(USERS):
            self.send("users", f"u{u}", f"name-{u}", BEGIN_MS - 1000)
        self.flush()

    def flush(self):
        equal((self.producer.flush(120), self.failures), (0, []), "records left and failures")

    def round(self):
        number, at = self.rounds, BEGIN_MS + self.rounds * 1000
        self.rounds += 1
        for i in range(20):
            user = f"u{(number + i) % USERS}"
            words = [WORDS[(number + i) % 5], WORDS[(number * 3 + i) % 5]]
            self.send("words", user, " ".join(words), at)
            for word in words:
                self.count("counts", word)
            self.send("clicks", user, "click", at)
            self.count("windows", f"{user}@{at - at % 10000}")
            self.send("orders", user, f"order-{number}-{i}", at)
            self.expected["enriched"][user].append(f"order-{number}-{i} by name-{user[1:]}")
        # A pair's halves come in one round; their key is theirs alone.
        for i in range(5):
            key = f"k{number}-{i}"
            self.send("left", key, f"l{number}-{i}", at)
            self.send("right", key, f"r{number}-{i}", at)
            self.expected["pairs"][key].append(f"l{number}-{i}+r{number}-{i}")
        self.flush()

    def count(self, topic, key):
        steps = self.expected[topic][key]
        steps.append(str(len(steps) + 1))


class Outputs:
    """What a reader of committed records is given of the four outputs, in the order of each key."""

    def __init__(self, name):
        self.name = name
        self.consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "streams-reader", "enable.auto.commit": False, "isolation.level": "read_committed"})
        self.consumer.assign([TopicPartition(f"{name}-{topic}", p, 0) for topic in OUTPUTS for p in range(PARTITIONS)])
        self.got = {name: collections.defaultdict(list) for name in OUTPUTS}

    def read(self, wait_s=0.2):
        for message in self.consumer.consume(1000, wait_s):
            if not message.error():
                self.got[message.topic().removeprefix(f"{self.name}-")][message.key().decode()].append(message.value().decode())

    def total(self):
        return sum(len(values) for keys in self.got.values() for values in keys.values())


class App:
    """The application; a new start goes on with the old one's state folder."""

    def __init__(self, java, class_path, home, guarantee, name):
        self.command, self.log = [*java, "-cp", class_path, "compat.StreamsApp", BOOTSTRAP, str(home / f"{name}-state"), guarantee, name], home / f"{name}.log"
        self.start()

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self):
        true(self.process.poll() is None, f"the application ended by itself; log: {self.log}")
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def begin(names):
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    for future in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names]).values():
        future.result(30)
    until(lambda: set(names) <= set(admin.list_topics(timeout=20).topics), "the topics are known to the broker")


def committed(name):
    """How many records of the table the application has committed; none while the group has no coordinator."""
    group = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": name})
    try:
        return sum(max(p.offset, 0) for p in group.committed([TopicPartition(f"{name}-users", p) for p in range(PARTITIONS)], timeout=20))
    except KafkaException:
        return 0
    finally:
        group.close()


def caught_up(inputs, outputs, patience_s=90):
    """Reads until as much has come as must come; then a little more, which must be nothing."""
    wanted = sum(len(values) for keys in inputs.expected.values() for values in keys.values())
    deadline = time.monotonic() + patience_s
    while outputs.total() < wanted:
        true(time.monotonic() < deadline, f"{outputs.total()} of {wanted} records within {patience_s} s")
        outputs.read()
    outputs.read(1)
    for topic in OUTPUTS:
        for key, values in inputs.expected[topic].items():
            equal(outputs.got[topic].get(key), values, f"{topic}, key {key}")
        equal(sorted(outputs.got[topic]), sorted(inputs.expected[topic]), f"keys of {topic}")


def play_app(java, class_path, home, guarantee, name, kills, broker_kills):
    begin([f"{name}-{topic}" for topic in INPUTS + OUTPUTS])
    inputs, outputs = Inputs(name), Outputs(name)
    inputs.users()
    app = App(java, class_path, home, guarantee, name)
    try:
        # The table is there before what is joined with it: its offsets are committed.
        until(lambda: committed(name) == USERS, "the application has read the table", 80)
        inputs.round()
        caught_up(inputs, outputs)
        for turn in range(max(kills, broker_kills)):
            # In the middle of work: the outputs of the round have begun to come.
            before = outputs.total()
            for _ in range(5):
                inputs.round()
            deadline = time.monotonic() + 60
            while outputs.total() == before:
                true(time.monotonic() < deadline, "no progress within 60 s")
                outputs.read()
            if turn < kills:
                app.kill()
            if turn < broker_kills:
                control("/kill9-and-restart")
            inputs.round()
            if turn < kills:
                app.start()
        caught_up(inputs, outputs, 180)
        # A last start, with an empty folder: all state comes from the changelogs.
        app.stop()
        shutil.rmtree(home / f"{name}-state")
        app.start()
        inputs.round()
        caught_up(inputs, outputs, 120)
    finally:
        app.stop()
        outputs.consumer.close()


def register(java, class_path, home):
    scenario("streams")(lambda: play_app(java, class_path, home, "at_least_once", "plain-app", 0, 0))
    kills, broker_kills = (int(os.environ.get(name, default)) for name, default in (("STREAMS_KILLS", 3), ("STREAMS_BROKER_KILLS", 1)))
    scenario("streams-exactly-once")(lambda: play_app(java, class_path, home, "exactly_once_v2", "exact-app", kills, broker_kills))
