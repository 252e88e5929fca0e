"""The named scenarios that the kcat command line can express. README.md tells the contract with the runner."""

import json
import pathlib
import re
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from player import BOOTSTRAP, LARGEST_VALUE_BYTES, WORK, control, equal, play, scenario, true, until

COMMON = ["-X", "reconnect.backoff.ms=50", "-X", "reconnect.backoff.max.ms=300"]
GROUP = ["-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=500", "-X", "auto.offset.reset=earliest", "-X", "auto.commit.interval.ms=200"]
# A text that each Debian has, with lines of many lengths.
DATA_FILE = pathlib.Path("/usr/share/common-licenses/GPL-3")


def kcat(*arguments, stdin=b"", may_fail=False):
    """Runs kcat to its end and returns its standard output, or everything it said if it may fail."""
    done = subprocess.run(["kcat", "-b", BOOTSTRAP, *COMMON, *map(str, arguments)], input=stdin, capture_output=True, timeout=60)
    if may_fail:
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")
    true(done.returncode == 0, f"kcat {' '.join(map(str, arguments))[:120]} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}")
    return done.stdout


def text(value):
    data = value.encode()
    return struct.pack(">h", len(data)) + data


def ask(frame):
    """The answer of a broker; of several the first one that runs."""
    refused = None
    for address in BOOTSTRAP.split(","):
        host, port = address.split(":")
        try:
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                connection.sendall(struct.pack(">i", len(frame)) + frame)
                stream = connection.makefile("rb")
                return stream.read(struct.unpack(">i", stream.read(4))[0])
        except (OSError, struct.error) as error:
            refused = error
    raise refused


def create(name, partitions=1, config=None):
    """CreateTopics v2, written out here because kcat has no such command."""
    config = config or {}
    body = struct.pack(">i", 1) + text(name) + struct.pack(">ih", partitions, 1) + struct.pack(">i", 0) + struct.pack(">i", len(config))
    body += b"".join(text(key) + text(value) for key, value in config.items()) + struct.pack(">ib", 10000, 0)
    frame = struct.pack(">hhi", 19, 2, 1) + text("kcat-scenarios") + body
    answer = ask(frame)
    code = struct.unpack(">h", answer[12 + 2 + len(name.encode()) :][:2])[0]
    equal(code, 0, f"CreateTopics of {name}, error code")
    return name


def produce(topic, lines, *arguments):
    kcat("-P", "-t", topic, *arguments, stdin="".join(f"{line}\n" for line in lines).encode())


def consume(topic, *arguments):
    """The lines that kcat prints until the end of the topic."""
    return kcat("-C", "-q", "-e", "-t", topic, *arguments).decode().splitlines()


def records(topic, *arguments):
    return [json.loads(line) for line in consume(topic, "-J", *arguments)]


def names(count, prefix="v"):
    return [f"{prefix}{i}" for i in range(count)]


class Member:
    """A kcat -G process: what it printed, and the partitions that it said to hold."""

    def __init__(self, group, topic, *arguments):
        command = ["kcat", "-b", BOOTSTRAP, *COMMON, *GROUP, "-u", "-E", "-f", "%p %s\n", *arguments, "-G", group, topic]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.values, self.notes, self.assigned, self.rebalances = [], [], set(), 0
        threading.Thread(target=self.read, daemon=True).start()
        threading.Thread(target=self.note, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.values.append(line.split()[1])

    def note(self):
        for line in self.process.stderr:
            self.notes.append(line)
            if "rebalanced" not in line:
                continue
            partitions = {int(p) for p in re.findall(r"\[(\d+)\]", line)}
            if "incremental assignment" in line or "incrementally assigned" in line:
                self.assigned |= partitions
            elif "incremental revoke" in line or "incrementally revoked" in line:
                self.assigned -= partitions
            elif "revoked" in line:
                self.assigned -= partitions
            else:
                self.assigned |= partitions
                self.rebalances += 1

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def even(members, partitions):
    shares = [len(m.assigned) for m in members]
    return sum(shares) == partitions and max(shares) - min(shares) <= 1 and len(set().union(*(m.assigned for m in members))) == partitions


def shares(members):
    return [(sorted(m.assigned), m.notes[-2:]) for m in members]


@scenario("describe-cluster")
def describe_cluster():
    create("listed", 3)
    shown = kcat("-L").decode()
    true(f"broker 1 at {BOOTSTRAP} (controller)" in shown or f"at {BOOTSTRAP} (controller)" in shown, f"the broker is not shown: {shown}")
    listing = json.loads(kcat("-L", "-J"))
    equal([b["name"] for b in listing["brokers"]], [BOOTSTRAP], "brokers")
    equal(listing["controllerid"], listing["brokers"][0]["id"], "controller")
    topic = next(t for t in listing["topics"] if t["topic"] == "listed")
    equal(sorted(p["partition"] for p in topic["partitions"]), [0, 1, 2], "partitions")
    equal({p["leader"] for p in topic["partitions"]}, {listing["controllerid"]}, "leaders")


@scenario("unknown-topic")
def unknown_topic():
    code, said = kcat("-C", "-e", "-t", "never-created", "-X", "allow.auto.create.topics=false", may_fail=True)
    true(code != 0 and "Unknown topic or partition" in said, f"kcat ended with {code} and said {said}")
    true("never-created" not in kcat("-L").decode(), "it was created by asking")


@scenario("auto-create")
def auto_create():
    produce("made-by-producing", ["x"])
    equal(consume("made-by-producing"), ["x"], "values")


@scenario("codecs")
def codecs():
    sent = DATA_FILE.read_bytes()
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        topic = create(f"codec-{codec}")
        # kcat skips empty lines with a newline as the delimiter, so the records are cut at the spaces.
        kcat("-P", "-t", topic, "-D", " ", "-l", DATA_FILE, "-X", f"compression.codec={codec}")
        got = kcat("-C", "-q", "-e", "-t", topic, "-D", " ")
        expected = [part for part in sent.split(b" ") if part]
        equal([part for part in got.split(b" ") if part], expected, f"{codec}: words")
        whole = create(f"whole-{codec}")
        kcat("-P", "-t", whole, "-X", f"compression.codec={codec}", DATA_FILE)
        true(kcat("-C", "-q", "-e", "-t", whole, "-f", "%s") == sent, f"{codec}: the file's bytes differ")


@scenario("acks")
def acks():
    topic, sent = create("acks"), []
    # 0 comes last: what a new partition refuses for a moment would be lost without a word.
    for level in ("-1", "1", "0"):
        produce(topic, names(20, level), "-X", f"acks={level}")
        sent += names(20, level)
        until(lambda: consume(topic) == sent, f"all values with acks={level}")


@scenario("keys-and-partitions")
def keys():
    topic = create("keyed", 6)
    sent = [f"k{i % 40}:{i}" for i in range(80)]
    produce(topic, sent, "-K", ":", "-X", "partitioner=murmur2_random")
    got = records(topic)
    equal(sorted(f"{r['key']}:{r['payload']}" for r in got), sorted(sent), "records")
    where = {}
    for r in got:
        equal(where.setdefault(r["key"], r["partition"]), r["partition"], f"partition of {r['key']}")
    equal(len(set(where.values())), 6, "partitions used")
    produce(topic, ["explicit"], "-p", 4)
    equal(consume(topic, "-p", 4)[-1], "explicit", "explicit partition")


@scenario("headers")
def headers():
    topic = create("headed")
    produce(topic, ["x"], "-H", "a=1", "-H", "b=", "-H", "a=2", "-H", "c", "-H", "a=1")
    equal(consume(topic, "-f", "%h\n"), ["a=1,b=,a=2,c=NULL,a=1"], "headers")
    equal(records(topic)[0]["headers"], ["a", "1", "b", "", "a", "2", "c", None, "a", "1"], "headers as JSON")


@scenario("null-key-and-value")
def nulls():
    topic = create("nulls")
    produce(topic, ["plain"])
    produce(topic, ["k:"], "-K", ":", "-Z")
    produce(topic, ["k:"], "-K", ":")
    got = [(r["key"], r["payload"]) for r in records(topic)]
    equal(got, [(None, "plain"), ("k", None), ("k", "")], "records")


@scenario("record-near-limit")
def near_limit():
    topic, path = create("near"), pathlib.Path(WORK) / "near.bin"
    path.write_bytes(b"\x07" * LARGEST_VALUE_BYTES)
    kcat("-P", "-t", topic, "-X", "message.max.bytes=3000000", path)
    true(kcat("-C", "-q", "-e", "-t", topic, "-f", "%s") == path.read_bytes(), "the value differs")


@scenario("record-over-limit")
def over_limit():
    topic, path = create("over"), pathlib.Path(WORK) / "over.bin"
    path.write_bytes(b"\x07" * (LARGEST_VALUE_BYTES + 1))
    code, said = kcat("-P", "-t", topic, "-X", "message.max.bytes=3000000", path, may_fail=True)
    true(code != 0 and "Message size too large" in said, f"kcat ended with {code} and said {said}")
    produce(topic, ["small"])
    equal(consume(topic, "-f", "%o %s\n"), ["0 small"], "the next record")


@scenario("log-append-time")
def log_append_time():
    topic, before = create("stamped", 1, {"message.timestamp.type": "LogAppendTime"}), time.time() * 1000
    produce(topic, ["x"])
    record = records(topic)[0]
    equal(record["tstype"], "logappend", "timestamp type")
    true(abs(record["ts"] - before) < 60000, f"timestamp {record['ts']}")


@scenario("read-from-start")
def from_start():
    topic = create("start")
    produce(topic, names(100))
    equal(consume(topic, "-o", "beginning", "-f", "%o %s\n"), [f"{i} v{i}" for i in range(100)], "offsets and values")


@scenario("read-from-offset")
def from_offset():
    topic = create("middle")
    produce(topic, names(100))
    for form, expected in ((37, names(100)[37:]), (-10, names(100)[90:]), ("end", [])):
        equal(consume(topic, "-p", 0, "-o", form), expected, f"-o {form}")
    equal(consume(topic, "-o", 5, "-c", 3), ["v5", "v6", "v7"], "-o 5 -c 3")


@scenario("read-from-timestamp")
def from_timestamp():
    topic = create("timed")
    produce(topic, names(10, "a"))
    time.sleep(0.05)
    between = int(time.time() * 1000)
    time.sleep(0.05)
    produce(topic, names(10, "b"))
    equal(consume(topic, "-o", f"s@{between}"), names(10, "b"), "from the time")
    equal(consume(topic, "-o", f"e@{between}"), names(10, "a"), "up to the time")


@scenario("list-offsets")
def list_offsets():
    topic = create("offsets")
    produce(topic, names(10))
    stamps = [r["ts"] for r in records(topic)]
    for stamp, expected in ((-2, 0), (-1, 10), (stamps[0], 0), (stamps[-1] + 5000, -1)):
        shown = kcat("-Q", "-t", f"{topic}:0:{stamp}").decode().split()
        equal(shown[-1], str(expected), f"offset for {stamp}")


@scenario("group-of-three-one-killed")
def group_of_three():
    topic = create("shared", 6)
    members = [Member("three", topic) for _ in range(3)]
    try:
        until(lambda: [len(m.assigned) for m in members] == [2, 2, 2], lambda: f"2 partitions each: {shares(members)}")
        for i in range(6):
            produce(topic, names(10, f"v{i}-"), "-p", i)
        until(lambda: len({v for m in members for v in m.values}) == 60, "60 values")
        members[2].process.kill()
        for i in range(6):
            produce(topic, names(10, f"w{i}-"), "-p", i)
        until(lambda: even(members[:2], 6), lambda: f"all partitions taken over: {shares(members)}")
        until(lambda: len({v for m in members for v in m.values}) == 120, "120 values")
    finally:
        for member in members:
            member.stop()


@scenario("assignors")
def assignors():
    for strategy in ("range", "roundrobin", "cooperative-sticky"):
        topic = create(f"assigned-{strategy}", 6)
        members = []
        try:
            for _ in range(2):
                members.append(Member(strategy, topic, "-X", f"partition.assignment.strategy={strategy}"))
                until(lambda: even(members, 6), lambda: f"{strategy}: {shares(members)}")
            members.pop().stop()
            until(lambda: even(members, 6), lambda: f"{strategy} after a leave: {shares(members)}")
        finally:
            for member in members:
                member.stop()


@scenario("static-membership")
def static_membership():
    topic = create("static", 4)
    first, second = (Member("static", topic, "-X", f"group.instance.id={i}") for i in ("one", "two"))
    until(lambda: even([first, second], 4), lambda: f"two partitions each: {shares([first, second])}")
    held, rebalances = set(first.assigned), second.rebalances
    first.process.kill()
    back = Member("static", topic, "-X", "group.instance.id=one")
    until(lambda: back.assigned, "the instance is back")
    equal((back.assigned, second.rebalances), (held, rebalances), "assignment of the returned, rebalances of the other")
    double = Member("static", topic, "-X", "group.instance.id=two")
    until(lambda: second.process.poll() is not None or any("fenced" in note for note in second.notes), "the older double is fenced")
    for member in (back, second, double):
        member.stop()


@scenario("commit-and-resume-after-kill")
def resume():
    topic = create("resumed")
    produce(topic, names(100))
    arguments = [*GROUP, "-q", "-G", "resume", topic]
    equal(kcat("-c", 40, *arguments).decode().splitlines(), names(40), "values before the kill")
    control("/kill9-and-restart")
    equal(kcat("-c", 60, *arguments).decode().splitlines(), names(100)[40:], "values after the restart")


@scenario("member-survives-kill")
def survive():
    topic = create("survived", 3)
    member = Member("survivor", topic)
    for i in range(3):
        produce(topic, names(10, f"v{i}-"), "-p", i)
    until(lambda: len(set(member.values)) == 30, lambda: f"30 values before the kill: {member.notes}")
    control("/kill9-and-restart")
    for i in range(3):
        produce(topic, names(10, f"w{i}-"), "-p", i)
    until(lambda: len(set(member.values)) == 60, lambda: f"60 values, got {len(set(member.values))}: {member.notes[-3:]}", 45)
    member.stop()


@scenario("idempotent-across-kill")
def idempotent():
    topic = create("once")
    command = ["kcat", "-b", BOOTSTRAP, *COMMON, "-E", "-P", "-t", topic, "-X", "enable.idempotence=true", "-X", "linger.ms=2"]
    producer = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    restart = threading.Thread(target=control, args=("/kill9-and-restart",))
    sent = 0
    while sent < 1500 or restart.is_alive():
        producer.stdin.write(f"{sent}\n".encode())
        producer.stdin.flush()
        sent += 1
        if sent == 500:
            restart.start()
        if sent % 5 == 0:
            time.sleep(0.005)
    _, said = producer.communicate(timeout=60)
    equal(producer.returncode, 0, f"kcat's exit code ({said[-200:]})")
    got = consume(topic)
    true(got == [str(i) for i in range(sent)], f"not each value once and in order: {sent} sent, {len(got)} read, {len(set(got))} different")


if __name__ == "__main__":
    play()
