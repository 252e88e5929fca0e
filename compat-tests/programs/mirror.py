"""MirrorMaker 2 between the broker and an Apache Kafka of its own: records and translated group offsets, both ways."""

import pathlib
import subprocess
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from connect import free_ports
from player import BOOTSTRAP, equal, scenario, true, until

KAFKA_SH = pathlib.Path(__file__).resolve().parent.parent / "kafka" / "kafka.sh"
RECORDS = 200


class Side:
    """One of the two clusters."""

    def __init__(self, alias, address):
        self.alias, self.address, self.admin = alias, address, AdminClient({"bootstrap.servers": address})

    def make(self, topic, prefix):
        """A topic with records."""
        until(lambda: self.topics() is not None, f"{self.alias} answers", 60)
        self.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
        until(lambda: topic in (self.topics() or ()), f"{topic} is known to {self.alias}")
        self.count, self.topic, self.prefix = 0, topic, prefix
        self.fill(RECORDS)

    def fill(self, count):
        """More records; then the group commits that it has read all but the last five."""
        producer, failures = Producer({"bootstrap.servers": self.address}), []
        for i in range(count):
            producer.produce(self.topic, f"{self.prefix}{self.count + i}", on_delivery=lambda error, _: error and failures.append(error))
        equal((producer.flush(30), failures), (0, []), "records left and failures")
        self.count += count
        group = f"readers-of-{self.topic}"
        self.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [TopicPartition(self.topic, 0, self.count - 5)])])[group].result(30)

    def topics(self):
        try:
            return self.admin.list_topics(timeout=5).topics
        except KafkaException:
            return None

    def read(self, topic, offset, count, timeout_s=60):
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "mirror-reader", "enable.auto.commit": False, "isolation.level": "read_committed"})
        consumer.assign([TopicPartition(topic, 0, offset)])
        got, deadline = [], time.monotonic() + timeout_s
        while len(got) < count:
            true(time.monotonic() < deadline, f"{len(got)} of {count} records of {topic} in {self.alias}")
            got += [m.value().decode() for m in consumer.consume(500, 0.2) if not m.error()]
        got += [m.value().decode() for m in consumer.consume(500, 1) if not m.error()]
        consumer.close()
        return got

    def committed(self, group, topic):
        """The group's offset; -1001 where it has none yet."""
        try:
            consumer = Consumer({"bootstrap.servers": self.address, "group.id": group})
            return consumer.committed([TopicPartition(topic, 0)], timeout=10)[0].offset
        except KafkaException:
            return -1001
        finally:
            consumer.close()


def play_mirror(java, class_path, home):
    port = free_ports()
    with (home / "other-kafka.log").open("ab") as log:
        kafka = subprocess.Popen([str(KAFKA_SH), "run", str(port), str(home / "other-kafka")], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    here, other, mirror = Side("here", BOOTSTRAP), Side("other", f"127.0.0.1:{port}"), None
    try:
        here.make("payments", "p")
        other.make("orders", "o")
        settings = {
            "clusters": "here, other", "here.bootstrap.servers": here.address, "other.bootstrap.servers": other.address,
            "other->here.enabled": "true", "other->here.topics": "orders", "here->other.enabled": "true", "here->other.topics": "payments",
            "groups": "readers-of-.*", "replication.factor": 1, "checkpoints.topic.replication.factor": 1, "heartbeats.topic.replication.factor": 1,
            "offset-syncs.topic.replication.factor": 1, "offset.storage.replication.factor": 1, "status.storage.replication.factor": 1,
            "config.storage.replication.factor": 1, "refresh.topics.interval.seconds": 2, "refresh.groups.interval.seconds": 2,
            "emit.checkpoints.interval.seconds": 1, "sync.group.offsets.enabled": "true", "sync.group.offsets.interval.seconds": 1, "offset.lag.max": 0,
            "here.exactly.once.source.support": "enabled", "other.exactly.once.source.support": "enabled",
            "dedicated.mode.enable.internal.rest": "true", "listeners": "http://127.0.0.1:0",
        }
        (home / "mirror.properties").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        with (home / "mirror.log").open("ab") as log:
            command = [*java, "-cp", class_path, "org.apache.kafka.connect.mirror.MirrorMaker", str(home / "mirror.properties")]
            mirror = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=home)
        for side, from_side in ((here, other), (other, here)):
            topic, group = f"{from_side.alias}.{from_side.topic}", f"readers-of-{from_side.topic}"
            until(lambda: topic in (side.topics() or ()), f"{topic} is in {side.alias}", 90)
            side.read(topic, 0, RECORDS)
            # Only what is committed behind the point where MirrorMaker began can be translated: the group goes on until it is.
            deadline = time.monotonic() + 60
            while (translated := side.committed(group, topic)) <= 0:
                true(time.monotonic() < deadline, f"{group} has no translated offset in {side.alias}")
                from_side.fill(10)
            equal(side.read(topic, 0, from_side.count), [f"{from_side.prefix}{i}" for i in range(from_side.count)], f"records of {topic}")
            # Never beyond what the group has read; the markers of transactions lie between the records.
            first = side.read(topic, translated, 1)[0]
            true(0 < int(first[1:]) <= from_side.count - 5, f"{group} would go on at {first} in {side.alias}, and has read {from_side.count - 5} records")
        true(mirror.poll() is None, f"MirrorMaker ended by itself; log: {home}/mirror.log")
    finally:
        for process in (mirror, kafka):
            if process:
                process.kill()
                process.wait()


def register(java, class_path, home):
    scenario("mirror-maker")(lambda: play_mirror(java, class_path, home))
