"""The named scenarios played by confluent-kafka (current librdkafka). README.md tells the contract with the runner."""

import functools
import pathlib
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, TIMESTAMP_LOG_APPEND_TIME, ConsumerGroupState, ConsumerGroupTopicPartitions
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec

from player import BOOTSTRAP, LARGEST_VALUE_BYTES, control, equal, play, scenario, true, until

BASE = {"bootstrap.servers": BOOTSTRAP, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 300}
GROUP = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "auto.offset.reset": "earliest", "enable.auto.commit": False}


@functools.cache
def admin():
    """One admin client for all scenarios: a call fails when its client is collected before the answer."""
    return AdminClient(BASE)


def each(futures):
    """Waits for an admin call's futures; the first error is raised."""
    return {key: future.result(30) for key, future in futures.items()}


def create(name, partitions=1, config=None):
    each(admin().create_topics([NewTopic(name, partitions, 1, config=config or {})]))
    # Apache Kafka's controller answers before its broker knows the topic.
    until(lambda: name in admin().list_topics(timeout=20).topics, f"{name} is known to the broker")
    return name


def refused(code, action, what):
    """The action must fail with the code."""
    try:
        action()
    except KafkaException as error:
        return equal(error.args[0].code(), code, f"{what}, error code")
    raise AssertionError(f"{what} was not refused")


def produce(topic, records, **config):
    """Sends dictionaries of produce() arguments in order; returns (partition, offset) of each, raises its first error."""
    reports = [None] * len(records)
    producer = Producer({**BASE, "linger.ms": 5, **config})
    for index, fields in enumerate(records):

        def delivered(error, message, index=index):
            reports[index] = error or (message.partition(), message.offset())

        producer.produce(topic, on_delivery=delivered, **fields)
    equal(producer.flush(60), 0, "records left after flush")
    for report in reports:
        if isinstance(report, KafkaError):
            raise KafkaException(report)
    return reports


def values(count, prefix="v"):
    return [f"{prefix}{i}".encode() for i in range(count)]


def read(topic, count, offset=OFFSET_BEGINNING, partitions=(0,), quiet_s=0.0):
    """Reads exactly count records from the offset on; quiet_s > 0 also looks that nothing follows."""
    consumer = Consumer({**BASE, "group.id": "reader", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, p, offset) for p in partitions])
    messages = poll(consumer, count)
    if quiet_s:
        extra = consumer.poll(quiet_s)
        true(extra is None, "a record too many")
    consumer.close()
    return messages


def poll(consumer, count, timeout_s=30):
    messages, deadline = [], time.monotonic() + timeout_s
    while len(messages) < count:
        true(time.monotonic() < deadline, f"only {len(messages)} of {count} records within {timeout_s} s")
        for message in consumer.consume(count - len(messages), 0.2):
            if message.error():
                raise KafkaException(message.error())
            messages.append(message)
    return messages


class Member(threading.Thread):
    """A group member that commits each record after it has noted it."""

    def __init__(self, group, topic, **config):
        super().__init__(daemon=True)
        self.values, self.assigned, self.rebalances, self.error = [], set(), 0, None
        self.stopping = False
        self.consumer = Consumer({**BASE, **GROUP, "group.id": group, "error_cb": self.noted, **config})
        self.consumer.subscribe([topic], on_assign=self.given, on_revoke=self.taken, on_lost=self.taken)
        self.start()

    def noted(self, error):
        if error.fatal():
            self.error = error

    def given(self, consumer, partitions):
        self.rebalances += 1
        self.assigned |= {p.partition for p in partitions}

    def taken(self, consumer, partitions):
        self.assigned -= {p.partition for p in partitions}

    def run(self):
        while not self.stopping:
            message = self.consumer.poll(0.1)
            if message is None:
                continue
            if message.error():
                if message.error().code() in (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID):
                    self.error = message.error()
                continue
            self.values.append(message.value())
            try:
                self.consumer.commit(message, asynchronous=False)
            except KafkaException:
                pass  # A rebalance came between: the record is read again by its new owner.
        self.consumer.close()

    def stop(self):
        self.stopping = True
        self.join(20)


def shared_evenly(members, partitions):
    """Whether the members hold all partitions, each once, in shares that differ by at most one."""
    shares = [len(m.assigned) for m in members]
    return sum(shares) == partitions and max(shares) - min(shares) <= 1 and len(set().union(*(m.assigned for m in members))) == partitions


@scenario("describe-cluster")
def describe_cluster():
    first, second = (admin().describe_cluster().result(30) for _ in range(2))
    equal(len(first.nodes), 1, "nodes")
    equal(f"{first.nodes[0].host}:{first.nodes[0].port}", BOOTSTRAP, "address")
    true(first.controller is not None and first.cluster_id, "controller and cluster id")
    equal(second.cluster_id, first.cluster_id, "cluster id")


@scenario("create-describe-delete-topic")
def create_describe_delete():
    name = create("topic-life", 3, {"retention.ms": "123456789"})
    refused(KafkaError.TOPIC_ALREADY_EXISTS, lambda: create(name, 3), "a second create")
    refused(KafkaError.TOPIC_EXCEPTION, lambda: create("bad/name"), "a bad name")
    refused(KafkaError.INVALID_PARTITIONS, lambda: create("no-partitions", 0), "0 partitions")
    refused(KafkaError.INVALID_REPLICATION_FACTOR, lambda: each(admin().create_topics([NewTopic("two", 1, 2)])), "2 replicas on one broker")
    described = each(admin().describe_topics(TopicCollection([name])))[name]
    equal([p.id for p in described.partitions], [0, 1, 2], "partitions")
    true(all(p.leader is not None and len(p.isr) == 1 for p in described.partitions), "leaders and in-sync replicas")
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    config = each(admin().describe_configs([resource]))[resource]
    equal(config["retention.ms"].value, "123456789", "retention.ms")
    equal((config["cleanup.policy"].value, config["cleanup.policy"].is_default), ("delete", True), "cleanup.policy")
    true(name in admin().list_topics(timeout=20).topics, "listed")
    each(admin().delete_topics([name]))
    until(lambda: name not in admin().list_topics(timeout=20).topics, "the topic is gone")
    refused(KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: each(admin().delete_topics([name])), "a second delete")


@scenario("create-partitions")
def create_partitions():
    name = create("growing", 2)
    each(admin().create_partitions([NewPartitions(name, 4)]))
    refused(KafkaError.INVALID_PARTITIONS, lambda: each(admin().create_partitions([NewPartitions(name, 3)])), "shrinking")
    until(lambda: len(admin().list_topics(name, timeout=20).topics[name].partitions) == 4, "four partitions")
    equal(produce(name, [{"value": b"x", "partition": 3}]), [(3, 0)], "position")
    equal(read(name, 1, partitions=(3,))[0].value(), b"x", "value")


@scenario("unknown-topic")
def unknown_topic():
    consumer = Consumer({**BASE, **GROUP, "group.id": "unknown", "allow.auto.create.topics": False})
    error = consumer.list_topics("never-created", timeout=20).topics["never-created"].error
    equal(error.code(), KafkaError.UNKNOWN_TOPIC_OR_PART, "metadata error")
    consumer.subscribe(["never-created"])
    message = consumer.poll(20)
    equal(message.error().code(), KafkaError.UNKNOWN_TOPIC_OR_PART, "poll error")
    consumer.close()
    refused(KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: each(admin().describe_topics(TopicCollection(["never-created"]))), "describe")
    true("never-created" not in admin().list_topics(timeout=20).topics, "it was created by asking")


@scenario("auto-create")
def auto_create():
    equal(produce("made-by-producing", [{"value": b"x"}]), [(0, 0)], "position")
    equal(read("made-by-producing", 1)[0].value(), b"x", "value")


@scenario("readme-example")
def readme_example():
    # README: begin
    producer = Producer({"bootstrap.servers": BOOTSTRAP})
    producer.produce("orders", key="1", value="one")
    producer.flush()
    # README: end
    message = read("orders", 1)[0]
    equal((message.key(), message.value()), (b"1", b"one"), "record")


@scenario("recreate-topic")
def recreate():
    def topic_id():
        return str(each(admin().describe_topics(TopicCollection([name])))[name].topic_id)

    name = create("again")
    old = topic_id()
    produce(name, [{"value": v} for v in values(5, "old")])
    each(admin().delete_topics([name]))
    until(lambda: name not in admin().list_topics(timeout=20).topics, "the topic is gone")
    create(name)
    true(topic_id() != old, "the topic id is the old one")
    equal(produce(name, [{"value": b"new"}]), [(0, 0)], "position")
    equal([m.value() for m in read(name, 1, quiet_s=0.5)], [b"new"], "values")


@scenario("codecs")
def codecs():
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        name = create(f"codec-{codec}")
        sent = [f"{i} ".encode() * 50 for i in range(200)]
        produce(name, [{"value": v} for v in sent], **{"compression.type": codec, "linger.ms": 50})
        equal([m.value() for m in read(name, 200)], sent, codec)


@scenario("acks")
def acks():
    name, sent = create("acks"), []
    # 0 comes last: what a new partition refuses for a moment would be lost without a word.
    for acks in ("all", "1", "0"):
        produce(name, [{"value": v} for v in values(20, acks)], acks=acks)
        sent += values(20, acks)
        equal([m.value() for m in read(name, len(sent))], sent, f"values with acks={acks}")


@scenario("keys-and-partitions")
def keys():
    name = create("keyed", 6)
    sent = [{"key": f"k{i % 40}".encode(), "value": str(i).encode()} for i in range(80)]
    where = produce(name, sent, partitioner="murmur2_random")
    for i in range(40):
        equal(where[i][0], where[i + 40][0], f"partition of key k{i}")
    equal(len({p for p, _ in where}), 6, "partitions used")
    got = {(m.key(), m.value(), m.partition()) for m in read(name, 80, partitions=range(6))}
    equal(got, {(r["key"], r["value"], p) for r, (p, _) in zip(sent, where)}, "records")
    equal(produce(name, [{"key": b"k0", "value": b"x", "partition": 4}])[0][0], 4, "explicit partition")


@scenario("headers")
def headers():
    sent = [("a", b"1"), ("b", b""), ("a", b"2"), ("c", None), ("a", b"1"), ("ü", b"\x00\xff")]
    name = create("headed")
    produce(name, [{"value": b"x", "headers": sent}, {"value": b"y"}])
    first, second = read(name, 2)
    equal(first.headers(), sent, "headers")
    equal(second.headers(), None, "no headers")


@scenario("null-key-and-value")
def nulls():
    sent = [(None, b"v"), (b"", b"v"), (b"k", None), (b"k", b""), (None, None)]
    name = create("nulls")
    produce(name, [{"key": k, "value": v} for k, v in sent])
    equal([(m.key(), m.value()) for m in read(name, 5)], sent, "records")


@scenario("record-near-limit")
def near_limit():
    name, value = create("near"), b"\x07" * LARGEST_VALUE_BYTES
    equal(produce(name, [{"value": value}], **{"message.max.bytes": 3000000}), [(0, 0)], "position")
    true(read(name, 1)[0].value() == value, "the value differs")


@scenario("record-over-limit")
def over_limit():
    name, value = create("over"), b"\x07" * (LARGEST_VALUE_BYTES + 1)
    refused(KafkaError.MSG_SIZE_TOO_LARGE, lambda: produce(name, [{"value": value}], **{"message.max.bytes": 3000000}), "one byte more")
    equal(produce(name, [{"value": b"small"}]), [(0, 0)], "position of the next record")


@scenario("log-append-time")
def log_append_time():
    name = create("stamped", 1, {"message.timestamp.type": "LogAppendTime"})
    before = int(time.time() * 1000)
    produce(name, [{"value": b"x", "timestamp": before - 500000}])
    kind, stamp = read(name, 1)[0].timestamp()
    equal(kind, TIMESTAMP_LOG_APPEND_TIME, "timestamp type")
    true(before - 1000 <= stamp <= int(time.time() * 1000) + 1000, f"timestamp {stamp} is not the broker's")


@scenario("read-from-start")
def from_start():
    name = create("start")
    produce(name, [{"value": v} for v in values(100)])
    messages = read(name, 100, quiet_s=0.3)
    equal([m.value() for m in messages], values(100), "values")
    equal([m.offset() for m in messages], list(range(100)), "offsets")


@scenario("read-from-offset")
def from_offset():
    name = create("middle")
    produce(name, [{"value": v} for v in values(100)])
    equal([m.value() for m in read(name, 63, offset=37)], values(100)[37:], "from offset 37")
    consumer = Consumer({**BASE, "group.id": "tail", "enable.auto.commit": False})
    consumer.assign([TopicPartition(name, 0, OFFSET_END)])
    true(consumer.poll(1.0) is None, "a record before the end")
    produce(name, [{"value": b"last"}])
    equal([(m.value(), m.offset()) for m in poll(consumer, 1)], [(b"last", 100)], "from the end")
    consumer.close()
    beyond = Consumer({**BASE, "group.id": "beyond", "auto.offset.reset": "error", "enable.auto.commit": False})
    beyond.assign([TopicPartition(name, 0, 500)])
    message = beyond.poll(20)
    equal(message.error().code(), KafkaError._AUTO_OFFSET_RESET, "an offset beyond the end")
    beyond.close()


def timed_topic(name):
    """A topic whose record i has the time base + i seconds."""
    base = int(time.time()) * 1000 - 3600000
    create(name)
    produce(name, [{"value": v, "timestamp": base + i * 1000} for i, v in enumerate(values(50))])
    return base


@scenario("read-from-timestamp")
def from_timestamp():
    base = timed_topic("timed")
    consumer = Consumer({**BASE, "group.id": "timed", "enable.auto.commit": False})
    for stamp, expected in ((base + 20000, 20), (base + 20001, 21), (base - 5, 0), (base + 999999, OFFSET_END)):
        found = consumer.offsets_for_times([TopicPartition("timed", 0, stamp)], timeout=20)[0]
        equal(found.offset, expected, f"offset for base + {stamp - base} ms")
    consumer.assign([TopicPartition("timed", 0, 21)])
    message = poll(consumer, 1)[0]
    equal((message.value(), message.timestamp()[1]), (b"v21", base + 21000), "record")
    consumer.close()


@scenario("list-offsets")
def list_offsets():
    base = timed_topic("offsets")
    produce("offsets", [{"value": b"late", "timestamp": base + 100000}, {"value": b"early", "timestamp": base + 1}])
    partition = TopicPartition("offsets", 0)
    expected = {
        "earliest": (OffsetSpec.earliest(), 0),
        "latest": (OffsetSpec.latest(), 52),
        "largest timestamp": (OffsetSpec.max_timestamp(), 50),
        "a time": (OffsetSpec.for_timestamp(base + 30000), 30),
        "a time beyond": (OffsetSpec.for_timestamp(base + 100001), -1),
    }
    for what, (spec, offset) in expected.items():
        result = each(admin().list_offsets({partition: spec}))[partition]
        equal(result.offset, offset, what)
    consumer = Consumer({**BASE, "group.id": "watermarks"})
    equal(consumer.get_watermark_offsets(partition, timeout=20), (0, 52), "watermarks")
    consumer.close()


@scenario("group-of-three-one-killed")
def group_of_three():
    topic = create("shared", 6)
    members = [Member("three", topic) for _ in range(2)]
    child = subprocess.Popen([sys.executable, __file__, "member", "three", topic], stdout=subprocess.PIPE, text=True)
    child_lines = []
    threading.Thread(target=lambda: child_lines.extend(iter(child.stdout.readline, "")), daemon=True).start()
    try:
        until(lambda: "assigned 2\n" in child_lines[-1:] and [len(m.assigned) for m in members] == [2, 2], lambda: f"2 partitions each: {child_lines}")
        produce(topic, [{"value": v, "partition": i % 6} for i, v in enumerate(values(60))])

        def seen():
            own = [v.decode() for m in members for v in m.values]
            return set(own) | {line.split()[1] for line in child_lines if line.startswith("got ")}

        until(lambda: len(seen()) == 60, lambda: f"60 values, got {len(seen())}")
        child.kill()
        produce(topic, [{"value": v, "partition": i % 6} for i, v in enumerate(values(60, "w"))])
        until(lambda: shared_evenly(members, 6), lambda: f"all partitions taken over: {[m.assigned for m in members]}")
        until(lambda: len(seen()) == 120, lambda: f"120 values, got {len(seen())}")
    finally:
        child.kill()
        for member in members:
            member.stop()


def child_member(group, topic):
    """The third member, a process of its own that can be killed."""

    class Talking(list):
        def append(self, value):
            super().append(value)
            print("got", value.decode(), flush=True)

    member = Member(group, topic)
    member.values = Talking()
    before = None
    while True:
        if len(member.assigned) != before:
            before = len(member.assigned)
            print("assigned", before, flush=True)
        time.sleep(0.02)


@scenario("assignors")
def assignors():
    for strategy in ("range", "roundrobin", "cooperative-sticky"):
        topic = create(f"assigned-{strategy}", 6)
        members = []
        try:
            for count in (1, 2, 3):
                members.append(Member(strategy, topic, **{"partition.assignment.strategy": strategy}))
                until(lambda: shared_evenly(members, 6), lambda: f"{strategy}: {[m.assigned for m in members]}")
            produce(topic, [{"value": v, "partition": i % 6} for i, v in enumerate(values(30))])
            until(lambda: sorted(v for m in members for v in m.values) == sorted(values(30)), f"{strategy}: each record once")
            members.pop().stop()
            until(lambda: shared_evenly(members, 6), lambda: f"{strategy} after a leave: {[m.assigned for m in members]}")
        finally:
            for member in members:
                member.stop()


@scenario("static-membership")
def static_membership():
    topic = create("static", 4)
    first, second = (Member("static", topic, **{"group.instance.id": i}) for i in ("one", "two"))
    until(lambda: shared_evenly([first, second], 4), "both members have two partitions")
    held, rebalances = set(first.assigned), second.rebalances
    first.stop()
    back = Member("static", topic, **{"group.instance.id": "one"})
    until(lambda: back.assigned, "the instance is back")
    equal((back.assigned, second.rebalances), (held, rebalances), "assignment of the returned, rebalances of the other")
    double = Member("static", topic, **{"group.instance.id": "two"})
    until(lambda: second.error is not None, "the older double is fenced")
    for member in (back, second, double):
        member.stop()


@scenario("group-admin")
def group_admin():
    topic, client = create("administered"), admin()
    produce(topic, [{"value": v} for v in values(10)])
    consumer = Consumer({**BASE, **GROUP, "group.id": "admin", "client.id": "administered-client"})
    consumer.subscribe([topic])
    poll(consumer, 4)
    consumer.commit(offsets=[TopicPartition(topic, 0, 4, metadata="note")], asynchronous=False)

    def committed():
        request = [ConsumerGroupTopicPartitions("admin", [TopicPartition(topic, 0)])]
        return each(client.list_consumer_group_offsets(request))["admin"].topic_partitions[0].offset

    end = each(client.list_offsets({TopicPartition(topic, 0): OffsetSpec.latest()}))[TopicPartition(topic, 0)].offset
    equal((committed(), end - committed()), (4, 6), "committed offset and lag")
    equal(consumer.committed([TopicPartition(topic, 0)], timeout=20)[0].offset, 4, "committed, asked by the consumer")
    listed = {g.group_id: g.state for g in client.list_consumer_groups().result(30).valid}
    equal(listed.get("admin"), ConsumerGroupState.STABLE, "state in the list")
    group = each(client.describe_consumer_groups(["admin"]))["admin"]
    equal((group.state, group.partition_assignor, len(group.members)), (ConsumerGroupState.STABLE, "range", 1), "description")
    equal(group.members[0].client_id, "administered-client", "client id")
    equal([(p.topic, p.partition) for p in group.members[0].assignment.topic_partitions], [(topic, 0)], "assignment")
    refused(KafkaError.NON_EMPTY_GROUP, lambda: each(client.delete_consumer_groups(["admin"])), "delete of a live group")
    consumer.close()
    until(lambda: each(client.describe_consumer_groups(["admin"]))["admin"].state == ConsumerGroupState.EMPTY, "the group is empty")
    each(client.alter_consumer_group_offsets([ConsumerGroupTopicPartitions("admin", [TopicPartition(topic, 0, 2)])]))
    equal(committed(), 2, "reset offset")
    each(client.delete_consumer_groups(["admin"]))
    true("admin" not in {g.group_id for g in client.list_consumer_groups().result(30).valid}, "still listed")
    refused(KafkaError.GROUP_ID_NOT_FOUND, lambda: each(client.delete_consumer_groups(["admin"])), "a second delete")


@scenario("commit-and-resume-after-kill")
def resume():
    topic = create("resumed")
    produce(topic, [{"value": v} for v in values(100)])
    config = {**BASE, **GROUP, "group.id": "resume"}
    consumer = Consumer(config)
    consumer.subscribe([topic])
    poll(consumer, 40)
    consumer.commit(offsets=[TopicPartition(topic, 0, 40)], asynchronous=False)
    consumer.close()
    control("/kill9-and-restart")
    consumer = Consumer(config)
    consumer.subscribe([topic])
    equal([m.value() for m in poll(consumer, 60)], values(100)[40:], "values after the restart")
    consumer.close()


@scenario("member-survives-kill")
def survive():
    topic = create("survived", 3)
    member = Member("survivor", topic)
    produce(topic, [{"value": v, "partition": i % 3} for i, v in enumerate(values(30))])
    until(lambda: len(set(member.values)) == 30, "30 values before the kill")
    control("/kill9-and-restart")
    produce(topic, [{"value": v, "partition": i % 3} for i, v in enumerate(values(30, "w"))])
    until(lambda: len(set(member.values)) == 60, lambda: f"60 values, got {len(set(member.values))}", 45)
    member.stop()
    offsets = [TopicPartition(topic, p) for p in range(3)]
    consumer = Consumer({**BASE, **GROUP, "group.id": "survivor"})
    equal([p.offset for p in consumer.committed(offsets, timeout=20)], [20, 20, 20], "committed offsets")
    consumer.close()


@scenario("idempotent-across-kill")
def idempotent():
    topic, failures = create("once"), []
    producer = Producer({**BASE, "enable.idempotence": True, "linger.ms": 2, "message.timeout.ms": 60000})
    restart = threading.Thread(target=control, args=("/kill9-and-restart",))
    sent = 0
    while sent < 500 or restart.is_alive() or sent < 1500:
        producer.produce(topic, str(sent).encode(), on_delivery=lambda error, _: error and failures.append(error))
        sent += 1
        if sent == 500:
            restart.start()
        if sent % 5 == 0:
            producer.poll(0.005)
    equal(producer.flush(60), 0, "records left after flush")
    equal(failures, [], "failed deliveries")
    got = [int(m.value()) for m in read(topic, sent, quiet_s=0.5)]
    true(got == list(range(sent)), f"not each value once and in order: {sent} sent, {len(set(got))} different read")


@scenario("retention")
def retention():
    now, hour = int(time.time()) * 1000, 3600000
    topic = create("kept-an-hour", config={"retention.ms": "-1", "segment.ms": "1000"})
    partition = TopicPartition(topic, 0)

    def offset(spec):
        return each(admin().list_offsets({partition: spec}))[partition].offset

    def begins_at(expected):
        until(lambda: offset(OffsetSpec.earliest()) == expected, lambda: f"the log begins at {offset(OffsetSpec.earliest())}, not {expected}")

    for stamp in (now - 2 * hour, now - 2 * hour + 5000, now - 2 * hour + 10000, now, now + 5000, now + 10000):
        produce(topic, [{"value": str(stamp).encode(), "timestamp": stamp}])
    begins_at(0)
    change = ConfigEntry("retention.ms", str(hour), incremental_operation=AlterConfigOpType.SET)
    each(admin().incremental_alter_configs([ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[change])]))
    begins_at(3)
    equal(offset(OffsetSpec.for_timestamp(now - 2 * hour)), 3, "by time")
    equal([m.offset() for m in read(topic, 3, quiet_s=0.5)], [3, 4, 5], "what is left")
    gone = Consumer({**BASE, "group.id": "gone", "auto.offset.reset": "error", "enable.auto.commit": False})
    gone.assign([TopicPartition(topic, 0, 1)])
    equal(gone.poll(20).error().code(), KafkaError._AUTO_OFFSET_RESET, "a record that is gone")
    gone.close()
    reset = Consumer({**BASE, "group.id": "reset", "auto.offset.reset": "earliest", "enable.auto.commit": False})
    reset.assign([TopicPartition(topic, 0, 1)])
    equal(poll(reset, 1)[0].offset(), 3, "where a reset leads")
    reset.close()
    each(admin().delete_records([TopicPartition(topic, 0, 5)]))
    begins_at(5)
    equal([m.offset() for m in read(topic, 1, quiet_s=0.5)], [5], "what is left behind the deleted records")


if __name__ == "__main__":
    if sys.argv[1:2] == ["member"]:
        child_member(*sys.argv[2:4])
    else:
        from transactions import Transactions

        Transactions(sys.modules[__name__])
        play()
