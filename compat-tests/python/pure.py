"""The named scenarios played by the clients written in Python alone: pure.py aiokafka | kafka-python. README.md tells the contract with the runner."""

import pathlib
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from player import LARGEST_VALUE_BYTES, control, equal, play, scenario, true, until

EARLIEST, LATEST = -2, -1
D = None  # The driver of the library that is played, set at the program's start.


def values(count, prefix="v"):
    return [f"{prefix}{i}".encode() for i in range(count)]


def create(name, partitions=1, config=None):
    D.create(name, partitions, config)
    # Apache Kafka's controller answers before its broker knows the topic.
    until(lambda: D.partitions(name) == partitions, f"{name} is known to the broker")
    return name


def refused(code, action, what):
    """The action must fail with Kafka's error code."""
    try:
        action()
    except Exception as error:
        while getattr(error, "errno", None) is None and error.__cause__ is not None:
            error = error.__cause__
        return equal(getattr(error, "errno", error), code, f"{what}, error code")
    raise AssertionError(f"{what} was not refused")


def read(topic, count, partition=0, start=EARLIEST):
    """Reads count records and looks that nothing follows; a record is (offset, time, key, value, headers)."""
    got = D.read(topic, partition, start, count, 30)
    equal(len(got), count, f"records of {topic}")
    equal(D.read(topic, partition, got[-1][0] + 1, 1, 0.3), [], "records too many")
    return got


def sent(topic, texts, partitions=1, **config):
    D.produce(topic, [{"value": v, "partition": i % partitions} for i, v in enumerate(texts)], **config)


def read_values(topic, count, **where):
    return [record[3] for record in read(topic, count, **where)]


@scenario("describe-cluster")
def describe_cluster():
    first, second = D.cluster(), D.cluster()
    true(first[0] and first[1] == [D.bootstrap], f"cluster id and address: {first}")
    equal(second, first, "a second look")


@scenario("create-describe-delete-topic")
def create_describe_delete():
    name = create("topic-life", 3, {"retention.ms": "123456789"})
    refused(36, lambda: D.create(name, 3), "a second create")
    refused(17, lambda: D.create("bad/name", 1), "a bad name")
    refused(37, lambda: D.create("no-partitions", 0), "0 partitions")
    refused(38, lambda: D.create("two", 1, replicas=2), "2 replicas on one broker")
    equal(D.config(name, "retention.ms"), "123456789", "retention.ms")
    true(name in D.topics(), "listed")
    D.remove(name)
    until(lambda: name not in D.topics(), "the topic is gone")
    refused(3, lambda: D.remove(name), "a second delete")


@scenario("create-partitions")
def create_partitions():
    name = create("growing", 2)
    D.grow(name, 4)
    refused(37, lambda: D.grow(name, 3), "shrinking")
    until(lambda: D.partitions(name) == 4, "four partitions")
    D.produce(name, [{"value": b"x", "partition": 3}])
    equal(read_values(name, 1, partition=3), [b"x"], "values")


@scenario("unknown-topic")
def unknown_topic():
    equal(D.partitions("never-created"), 0, "partitions")
    refused(3, lambda: D.grow("never-created", 4), "grow")
    true("never-created" not in D.topics(), "it was created by asking")


@scenario("auto-create")
def auto_create():
    D.produce("made-by-producing", [{"value": b"x", "partition": None}])
    equal(read_values("made-by-producing", 1), [b"x"], "values")


@scenario("recreate-topic")
def recreate():
    name = create("again")
    sent(name, values(5, "old"))
    D.remove(name)
    until(lambda: name not in D.topics(), "the topic is gone")
    create(name)
    sent(name, [b"new"])
    equal(read_values(name, 1), [b"new"], "values")


@scenario("codecs")
def codecs():
    for codec in (None, "gzip", "snappy", "lz4", "zstd"):
        name, texts = create(f"codec-{codec}"), [f"{i} ".encode() * 50 for i in range(200)]
        sent(name, texts, compression_type=codec, linger_ms=20)
        equal(read_values(name, 200), texts, str(codec))


@scenario("acks")
def acks():
    name, all_sent = create("acks"), []
    # 0 comes last: what a new partition refuses for a moment would be lost without a word.
    for level in ("all", 1, 0):
        sent(name, values(20, str(level)), acks=level, enable_idempotence=False)
        all_sent += values(20, str(level))
        equal(read_values(name, len(all_sent)), all_sent, f"values with acks={level}")


@scenario("keys-and-partitions")
def keys():
    name = create("keyed", 6)
    where = D.produce(name, [{"key": f"k{i % 40}".encode(), "value": b"x", "partition": None} for i in range(80)])
    for i in range(40):
        equal(where[i][0], where[i + 40][0], f"partition of key k{i}")
    equal({p for p, _ in where}, set(range(6)), "partitions used")
    for partition in range(6):
        count = sum(p == partition for p, _ in where)
        read(name, count, partition=partition)
    equal(D.produce(name, [{"key": b"k0", "value": b"x", "partition": 4}])[0][0], 4, "explicit partition")


@scenario("headers")
def headers():
    all_headers = [("a", b"1"), ("b", b""), ("a", b"2"), ("a", b"1"), ("ü", b"\x00\xff")]
    name = create("headed")
    D.produce(name, [{"value": b"x", "partition": 0, "headers": all_headers}, {"value": b"y", "partition": 0}])
    first, second = read(name, 2)
    equal([list(map(tuple, r[4])) for r in (first, second)], [all_headers, []], "headers")


@scenario("null-key-and-value")
def nulls():
    pairs = [(None, b"v"), (b"", b"v"), (b"k", None), (b"k", b"")]
    name = create("nulls")
    D.produce(name, [{"key": k, "value": v, "partition": 0} for k, v in pairs])
    equal([(r[2], r[3]) for r in read(name, 4)], pairs, "records")


@scenario("record-near-limit")
def near_limit():
    name, value = create("near"), b"\x07" * LARGEST_VALUE_BYTES
    sent(name, [value], max_request_size=3000000)
    true(read_values(name, 1) == [value], "the value differs")


@scenario("record-over-limit")
def over_limit():
    name, value = create("over"), b"\x07" * (LARGEST_VALUE_BYTES + 1)
    refused(10, lambda: sent(name, [value], max_request_size=3000000), "one byte more")
    sent(name, [b"small"])
    equal(read_values(name, 1), [b"small"], "values")


@scenario("log-append-time")
def log_append_time():
    name, before = create("stamped", 1, {"message.timestamp.type": "LogAppendTime"}), int(time.time() * 1000)
    D.produce(name, [{"value": b"x", "partition": 0, "timestamp_ms": before - 500000}])
    stamp = read(name, 1)[0][1]
    true(abs(stamp - before) < 60000, f"timestamp {stamp} is not the broker's")


@scenario("read-from-start")
def from_start():
    name = create("start")
    sent(name, values(100))
    got = read(name, 100)
    equal([(r[0], r[3]) for r in got], list(enumerate(values(100))), "offsets and values")


@scenario("read-from-offset")
def from_offset():
    name = create("middle")
    sent(name, values(100))
    equal(read_values(name, 63, start=37), values(100)[37:], "from offset 37")
    equal(D.read(name, 0, LATEST, 1, 0.7), [], "records before the end")
    refused(D.out_of_range, lambda: D.read(name, 0, 500, 1, 10), "an offset beyond the end")


def timed_topic(name):
    """A topic whose record i has the time base + i seconds."""
    base = int(time.time()) * 1000 - 3600000
    create(name)
    D.produce(name, [{"value": v, "partition": 0, "timestamp_ms": base + i * 1000} for i, v in enumerate(values(50))])
    return base


@scenario("read-from-timestamp")
def from_timestamp():
    base = timed_topic("timed")
    for after, first in ((20000, 20), (20001, 21), (-5, 0)):
        got = read("timed", 50 - first, start=D.offset_at("timed", base + after))
        equal([r[3] for r in got], values(50)[first:], f"from base + {after} ms")
        equal(got[0][1], base + first * 1000, "timestamp")


@scenario("list-offsets")
def list_offsets():
    base = timed_topic("offsets")
    asked = {what: D.offset_at("offsets", what) for what in (EARLIEST, LATEST, base + 30000, base + 100001)}
    equal(list(asked.values()), [0, 50, 30, None], "earliest, latest, a time, a time beyond")


def even(members, partitions):
    """Whether the members hold all partitions, each once, in shares that differ by at most one."""
    shares = [m.held() for m in members]
    sizes = [len(s) for s in shares]
    return sum(sizes) == partitions and max(sizes) - min(sizes) <= 1 and len(set().union(*shares)) == partitions


def seen(members, lines=()):
    return {v for m in members for v in m.values} | {line.split()[1].encode() for line in lines if line.startswith("got ")}


@scenario("group-of-three-one-killed")
def group_of_three():
    topic, lines = create("shared", 6), []
    members = [D.member("three", topic) for _ in range(2)]
    child = subprocess.Popen([sys.executable, __file__, D.name, "three", topic], stdout=subprocess.PIPE, text=True)
    threading.Thread(target=lambda: lines.extend(iter(child.stdout.readline, "")), daemon=True).start()
    try:
        held = lambda: [len(m.held()) for m in members]
        until(lambda: "assigned 2\n" in lines[-1:] and held() == [2, 2], lambda: f"2 partitions each: {lines[-1:]} {held()}")
        sent(topic, values(60), 6)
        until(lambda: len(seen(members, lines)) == 60, lambda: f"60 values, got {len(seen(members, lines))}")
        child.kill()
        sent(topic, values(60, "w"), 6)
        until(lambda: even(members, 6), lambda: f"all partitions taken over: {held()}")
        until(lambda: len(seen(members, lines)) == 120, lambda: f"120 values, got {len(seen(members, lines))}")
    finally:
        child.kill()
        for member in members:
            member.stop()


def child_member(group, topic):
    """The third member, a process of its own that can be killed."""
    member, told, before = D.member(group, topic), 0, None
    while True:
        if len(member.held()) != before:
            before = len(member.held())
            print("assigned", before, flush=True)
        for value in member.values[told:]:
            told += 1
            print("got", value.decode(), flush=True)
        time.sleep(0.02)


@scenario("assignors")
def assignors():
    for assignor in D.assignors:
        topic, members = create(f"assigned-{assignor.name}", 6), []
        try:
            for count in (1, 2, 3):
                members.append(D.member(assignor.name, topic, partition_assignment_strategy=[assignor]))
                until(lambda: even(members, 6), lambda: f"{assignor.name}: {[m.held() for m in members]}")
            sent(topic, values(30), 6)
            until(lambda: sorted(v for m in members for v in m.values) == sorted(values(30)), f"{assignor.name}: each record once")
            members.pop().stop()
            until(lambda: even(members, 6), lambda: f"{assignor.name} after a leave: {[m.held() for m in members]}")
        finally:
            for member in members:
                member.stop()


@scenario("group-admin")
def group_admin():
    topic = create("administered")
    sent(topic, values(10))
    member = D.member("admin", topic)
    until(lambda: D.committed("admin", topic) == 10, "the commit of 10")
    true("admin" in D.groups(), "listed")
    equal(D.group_state("admin"), "Stable", "state")
    if D.ungroup:
        refused(68, lambda: D.ungroup("admin"), "delete of a live group")
    member.stop()
    until(lambda: D.group_state("admin") == "Empty", "the group is empty")
    if D.ungroup:
        D.commit("admin", topic, 2)
        equal(D.committed("admin", topic), 2, "reset offset")
        D.ungroup("admin")
        true("admin" not in D.groups(), "still listed")
        refused(69, lambda: D.ungroup("admin"), "a second delete")


@scenario("commit-and-resume-after-kill")
def resume():
    topic = create("resumed")
    sent(topic, values(40))
    member = D.member("resume", topic)
    until(lambda: D.committed("resume", topic) == 40, "the commit of 40")
    member.stop()
    sent(topic, values(60, "w"))
    control("/kill9-and-restart")
    member = D.member("resume", topic)
    until(lambda: len(member.values) >= 60, "60 values")
    member.stop()
    equal(member.values, values(60, "w"), "values after the restart")


@scenario("member-survives-kill")
def survive():
    topic = create("survived", 3)
    member = D.member("survivor", topic)
    sent(topic, values(30), 3)
    until(lambda: len(seen([member])) == 30, "30 values before the kill")
    control("/kill9-and-restart")
    sent(topic, values(30, "w"), 3)
    until(lambda: len(seen([member])) == 60, lambda: f"60 values, got {len(seen([member]))}", 45)
    until(lambda: [D.committed("survivor", topic, p) for p in range(3)] == [20, 20, 20], "the commits")
    member.stop()


@scenario("idempotent-across-kill")
def idempotent():
    topic = create("once")
    send, finish = D.stream(topic)
    restart = threading.Thread(target=control, args=("/kill9-and-restart",))
    count = 0
    while count < 500 or restart.is_alive() or count < 1500:
        send(str(count).encode())
        count += 1
        if count == 500:
            restart.start()
        if count % 5 == 0:
            time.sleep(0.005)
    finish()
    equal(read_values(topic, count), [str(i).encode() for i in range(count)], "each value once, in order")


if __name__ == "__main__":
    if sys.argv[1] == "aiokafka":
        from aiokafka_driver import Driver, run
        from aiokafka_transactions import Transactions

        Transactions(sys.modules[__name__], run)
    else:
        from kafka_python_driver import Driver

    D = Driver()
    if len(sys.argv) > 2:
        child_member(*sys.argv[2:4])
    else:
        play()
