"""klamm's own command line tools. Each output is written once, so that Apache Kafka and klamm must give the same one."""

import json
import os
import pathlib
import re
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from confluent_kafka import Consumer, Producer

from player import BOOTSTRAP, WORK, control, equal, play, scenario, true, until

KLAMM = os.environ.get("COMPAT_KLAMM", "klamm")


def run(*arguments, lines=None, code=0):
    """Runs a command to its end; what it says on the stream that belongs to the exit code is returned."""
    text = None if lines is None else "".join(line + "\n" for line in lines)
    ended = subprocess.run([KLAMM, *arguments, "-b", BOOTSTRAP], input=text or "", capture_output=True, text=True, timeout=60)
    equal(ended.returncode, code, f"exit code of {arguments}: {ended.stdout}{ended.stderr}")
    equal((ended.stderr if code == 0 else ended.stdout), "", f"the other stream of {arguments}")
    return ended.stdout if code == 0 else ended.stderr


def says(expected, *arguments, **more):
    equal(run(*arguments, **more), expected, " ".join(arguments))


def as_json(*arguments, **more):
    return json.loads(run(*arguments, "--json", **more))


def refused(expected, *arguments):
    """One sentence and exit code 1."""
    says(f"klamm: {expected}\n", *arguments, code=1)


def create(name, partitions=1, *more):
    run("topics", "create", name, "-p", str(partitions), *more)


@scenario("klamm-topics")
def topics():
    says("created topic tool-a with 3 partitions\n", "topics", "create", "tool-a", "--partitions", "3", "--config", "retention.ms=3600000", "-c", "max.message.bytes=2000")
    says("created topic tool-b with 1 partition\n", "topics", "create", "tool-b", "--partitions", "1", "--replication-factor", "1")
    equal(as_json("topics", "create", "tool-c", "tool-d", "-p", "2"), [{"created": "tool-c", "partitions": 2}, {"created": "tool-d", "partitions": 2}], "JSON of create")
    exists = "the broker answers TOPIC_ALREADY_EXISTS (Topic 'tool-a' already exists); choose another name, or pass --if-not-exists"
    refused(f"topic 'tool-a': {exists}", "topics", "create", "tool-a")
    says("", "topics", "create", "tool-a", "--if-not-exists")
    unknown = "the broker answers INVALID_CONFIG (Unknown topic config name: x); correct the --config that it names"
    refused(f"topic 'tool-e': {unknown}", "topics", "create", "tool-e", "-c", "x=1")
    true("INVALID_REPLICATION_FACTOR" in run("topics", "create", "tool-e", "-r", "9", code=1), "a replication factor of 9")
    true("INVALID_TOPIC_EXCEPTION" in run("topics", "create", "tool e", code=1), "a name with a blank")
    listed = run("topics").splitlines()
    equal(listed[0].split(), ["TOPIC", "PARTITIONS", "REPLICAS"], "head of the list")
    equal([line.split() for line in listed if "tool-" in line], [["tool-a", "3", "1"], ["tool-b", "1", "1"], ["tool-c", "2", "1"], ["tool-d", "2", "1"]], "list")
    true({"topic": "tool-a", "partitions": 3, "replicas": 1, "internal": False} in as_json("topics"), "JSON of list")
    run("produce", "tool-a", "-p", "1", lines=["x", "y"])
    says("""topic tool-a with 3 partitions
config max.message.bytes=2000
config retention.ms=3600000
PARTITION  LEADER  REPLICAS  ISR  START  END
        0       1         1    1      0    0
        1       1         1    1      0    2
        2       1         1    1      0    0
""", "topics", "describe", "tool-a")
    described = as_json("topics", "describe", "tool-b")
    partition = {"partition": 0, "leader": 1, "replicas": [1], "isr": [1], "start": 0, "end": 0}
    equal(described, [{"topic": "tool-b", "internal": False, "configs": {}, "partitions": [partition]}], "JSON of describe")
    says("deleted topic tool-a\ndeleted topic tool-b\n", "topics", "delete", "tool-a", "tool-b")
    missing = "topic 'tool-a' does not exist; 'klamm topics' lists those that do, 'klamm topics create tool-a' creates it"
    until(lambda: "tool-a" not in run("topics"), "the topic is gone")
    refused(missing, "topics", "describe", "tool-a")
    refused(missing, "topics", "delete", "tool-a")
    refused(missing, "consume", "tool-a", "-e")


@scenario("klamm-produce")
def produce():
    create("tool-produce", 4)
    # A key's partition is the Java client's; librdkafka calls it murmur2.
    keys = [f"key-{i}" for i in range(40)]
    run("produce", "tool-produce", "-K", ":", lines=[f"{key}:mine" for key in keys])
    where, failures = {}, []
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "partitioner": "murmur2"})
    for key in keys:
        producer.produce("tool-produce", "theirs", key, on_delivery=lambda error, message: failures.append(error) if error else where.update({message.key().decode(): message.partition()}))
    equal((producer.flush(30), failures), (0, []), "records left and failures")
    mine = [line.split() for line in run("consume", "tool-produce", "-e", "-f", "%p %k %s\\n").splitlines()]
    equal({key: int(partition) for partition, key, value in mine if value == "mine"}, where, "partitions of the keys")
    create("tool-codecs")
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        for acks in ("all", "1"):
            run("produce", "tool-codecs", "-z", codec, "--acks", acks, lines=[f"{codec}-{acks}-{i}" for i in range(50)])
    values = [f"{codec}-{acks}-{i}" for codec in ("none", "gzip", "snappy", "lz4", "zstd") for acks in ("all", "1") for i in range(50)]
    equal(run("consume", "tool-codecs", "-e").splitlines(), values, "values of all codecs")
    # Another client reads them too.
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "tool-codecs", "auto.offset.reset": "earliest"})
    consumer.subscribe(["tool-codecs"])
    got = []
    until(lambda: got.extend(m.value().decode() for m in consumer.consume(500, 0.2) if not m.error()) or len(got) >= len(values), lambda: f"{len(got)} records")
    consumer.close()
    equal(got, values, "values as librdkafka reads them")
    create("tool-nulls")
    summary = as_json("produce", "tool-nulls", "-K", ":", "-Z", "-H", "a=1", "-H", "b=2=3", "-p", "0", lines=["k:", ":v", "none", "k:v:w"])
    equal(summary, {"topic": "tool-nulls", "records": 4, "partitions": [{"partition": 0, "records": 4, "first_offset": 0, "last_offset": 3}]}, "summary")
    says("k -1 1 a=1,b=2=3\n 1 -1 a=1,b=2=3\n 4 -1 a=1,b=2=3\nk 3 1 a=1,b=2=3\n", "consume", "tool-nulls", "-e", "-f", "%k %S %K %h\\n")
    create("tool-small", 1, "-c", "max.message.bytes=1000")
    told = run("produce", "tool-small", lines=["x" * 2000], code=1)
    true(told.startswith("klamm: partition 0 of 'tool-small': the broker answers MESSAGE_TOO_LARGE"), told)
    true(told.endswith("; shorten the record, or raise the topic's max.message.bytes\n"), told)
    create("tool-compacted", 1, "-c", "cleanup.policy=compact")
    true("INVALID_RECORD" in run("produce", "tool-compacted", lines=["no key"], code=1), "a record without a key")
    refused("topic 'tool-small' has no partition 5; it has 1, from 0 on", "produce", "tool-small", "-p", "5")
    run("produce", "tool-by-itself", lines=["hello"])
    says("hello\n", "consume", "tool-by-itself", "-e")
    create("tool-many", 3)
    many = [f"line {i}" for i in range(200_000)]
    equal(as_json("produce", "tool-many", "-z", "lz4", lines=many)["records"], len(many), "records of a long input")
    equal(sorted(run("consume", "tool-many", "-e").splitlines()), sorted(many), "a long input")


@scenario("klamm-consume")
def consume():
    create("tool-consume", 2)
    for partition in ("0", "1"):
        run("produce", "tool-consume", "-p", partition, lines=[f"{partition}-{i}" for i in range(10)])
    one = ("consume", "tool-consume", "-p", "1", "-e")
    whole = [f"1-{i}\n" for i in range(10)]
    says("".join(whole), *one)
    says("".join(whole[7:]), *one, "--from", "7")
    says("".join(whole[7:]), *one, "-o", "-3")
    says("".join(whole), *one, "--from", "-99")
    says("", *one, "--from", "end")
    says("".join(whole[2:6]), *one, "--from", "2", "-c", "4")
    says("tool-consume 1 9 1-9 3%\n", *one, "--from", "9", "-f", "%t %p %o %s %S%%\\n")
    equal(sorted(run("consume", "tool-consume", "-e").splitlines()), sorted(f"{p}-{i}" for p in "01" for i in range(10)), "both partitions")
    equal(len(run("consume", "tool-consume", "-c", "20").splitlines()), 20, "a count ends it without -e")
    refused("partition 1 of 'tool-consume' has no offset 11, only 0 up to 10; use --from beginning or --from end", *one, "--from", "11")
    refused("the format is not understood: '%q' means nothing; see klamm consume --help", *one, "-f", "%q")
    create("tool-times")
    producer = Producer({"bootstrap.servers": BOOTSTRAP})
    for i in range(5):
        producer.produce("tool-times", b"\xff" if i == 4 else f"t{i}", key=None if i else "", timestamp=1_700_000_000_000 + i * 1000, headers=[("h", b"v"), ("n", None)] if i == 0 else None)
    equal(producer.flush(30), 0, "records left")
    says("t2\nt3\n", "consume", "tool-times", "-e", "--from", "@1700000001500", "-c", "2")
    says("", "consume", "tool-times", "-e", "--from", "@1700000009999")
    says("t2\nt3\n", "consume", "tool-times", "-e", "--from", "@2023-11-14T23:13:21.5+01:00", "-c", "2")
    says("", "consume", "tool-times", "-e", "--from", "-P7D")
    says("0\n1\n2\n3\n4\n", "consume", "tool-times", "-e", "--from", "-P36500D", "-f", "%o\\n")
    records = [json.loads(line) for line in run("consume", "tool-times", "-e", "--json").splitlines()]
    base = {"topic": "tool-times", "partition": 0, "tstype": "create"}
    equal(records[0], {**base, "offset": 0, "ts": 1_700_000_000_000, "headers": ["h", "v", "n", None], "key": "", "payload": "t0"}, "JSON of the first record")
    equal(records[4], {**base, "offset": 4, "ts": 1_700_000_004_000, "key": None, "payload_hex": "ff"}, "JSON of the last record")
    # Without -e it goes on with what comes later.
    following = subprocess.Popen([KLAMM, "consume", "tool-consume", "-o", "end", "-c", "2", "-b", BOOTSTRAP], stdout=subprocess.PIPE, text=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(following.stdout))
    reader.start()
    # Where it begins is not seen from outside, so records are sent until it has two.
    until(lambda: run("produce", "tool-consume", lines=["later"]) == "" and following.poll() is not None, "two records that come later")
    reader.join(30)
    equal((following.returncode, lines), (0, ["later\n"] * 2), "what came later")


def described(group):
    return as_json("groups", "describe", group)


def committed(group):
    return {row["partition"]: row["committed"] for row in described(group)["partitions"]}


class Following:
    """klamm consume in the background; its lines as they come."""

    def __init__(self, *arguments):
        self.lines = []
        self.process = subprocess.Popen([KLAMM, "consume", *arguments, "-b", BOOTSTRAP], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=lambda: self.lines.extend(line.rstrip("\n") for line in self.process.stdout))
        self.reader.start()

    def ends(self, code):
        equal(self.process.wait(30), code, "exit code")
        self.reader.join(30)
        equal(self.process.stderr.read(), "", "standard error")


@scenario("klamm-consume-group")
def consume_group():
    create("tool-shared", 3)
    for partition in range(3):
        run("produce", "tool-shared", "-p", str(partition), lines=[f"{partition}-{i}" for i in range(10)])
    read = ("consume", "tool-shared", "--group", "tool-members", "-e")
    equal(sorted(run(*read).splitlines()), sorted(f"{p}-{i}" for p in range(3) for i in range(10)), "the first time")
    equal((committed("tool-members"), described("tool-members")["state"]), ({0: 10, 1: 10, 2: 10}, "Empty"), "what is left of it")
    says("", *read)
    run("produce", "tool-shared", "-p", "2", lines=["a", "b", "c"])
    says("a\nb\n", "consume", "tool-shared", "-g", "tool-members", "-c", "2")
    equal(committed("tool-members")[2], 12, "what was printed is committed, and no more")
    last = json.loads(run(*read, "--json"))
    equal((last["partition"], last["offset"], last["payload"]), (2, 12, "c"), "JSON of the rest")
    # Without an offset it begins where it is told.
    says("", "consume", "tool-shared", "-g", "tool-late", "-e", "--from", "end")
    equal(committed("tool-late"), {0: 10, 1: 10, 2: 13}, "the end is remembered, too")
    # It shares with another client's member, and takes over what that one has.
    other = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "tool-members", "session.timeout.ms": 6000, "partition.assignment.strategy": "range"})
    other.subscribe(["tool-shared"])
    mine = Following("tool-shared", "-g", "tool-members", "--session-timeout-ms", "6000")
    got = []
    until(lambda: got.extend(m for m in other.consume(20, 0.2) if not m.error()) or sorted(m["partitions"] for m in described("tool-members")["members"]) == [1, 2], "two members that share")
    assignor = described("tool-members")["assignor"]
    equal(assignor, "range", "assignor")
    for partition in range(3):
        run("produce", "tool-shared", "-p", str(partition), lines=[f"shared-{partition}"])
    until(lambda: got.extend(m for m in other.consume(20, 0.2) if not m.error()) or len(got) + len(mine.lines) == 3, lambda: f"{len(got)} and {len(mine.lines)} records")
    equal(sorted([m.value().decode() for m in got] + mine.lines), [f"shared-{p}" for p in range(3)], "each record once")
    other.commit(asynchronous=False)
    other.close()
    until(lambda: [m["partitions"] for m in described("tool-members")["members"]] == [3], "all partitions are klamm's")
    run("produce", "tool-shared", "-p", "0", lines=["alone"])
    until(lambda: "alone" in mine.lines, lambda: f"{mine.lines}")
    # A signal ends it cleanly: it has committed, and the group does not wait for its session.
    for signal in ("INT", "TERM"):
        subprocess.run(["kill", f"-{signal}", str(mine.process.pid)], check=True)
        mine.ends(0)
        equal((described("tool-members")["state"], committed("tool-members")), ("Empty", {0: 12, 1: 11, 2: 14}), f"after SIG{signal}")
        mine = Following("tool-shared", "-g", "tool-members", "--session-timeout-ms", "6000")
        until(lambda: described("tool-members")["state"] == "Stable", "it is back")
    # After a kill the next one has its partitions when the session is over.
    mine.process.kill()
    mine.process.wait()
    run("produce", "tool-shared", "-p", "1", lines=["after the kill"])
    says("after the kill\n", "consume", "tool-shared", "-g", "tool-members", "-c", "1")
    told = run("consume", "tool-shared", "-g", "tool-members", "--session-timeout-ms", "10", code=1)
    true("INVALID_SESSION_TIMEOUT" in told and "group.min.session.timeout.ms" in told, told)


@scenario("klamm-consume-across-kill")
def consume_across_kill():
    create("tool-kill", 2)
    for partition in range(2):
        run("produce", "tool-kill", "-p", str(partition), lines=[f"{partition}-before"])
    member = Following("tool-kill", "-g", "tool-kill-members", "--session-timeout-ms", "6000")
    alone = Following("tool-kill")
    before = ["0-before", "1-before"]
    until(lambda: sorted(member.lines) == sorted(alone.lines) == before, lambda: f"{member.lines} and {alone.lines}")
    control("/kill9")
    # What is asked of nobody is told after the time-out; whoever follows waits.
    told = run("consume", "tool-kill", "-e", "--timeout-ms", "300", code=1)
    true("no broker answers at" in told, told)
    control("/start")
    for partition in range(2):
        run("produce", "tool-kill", "-p", str(partition), lines=[f"{partition}-after"])
    both = sorted(before + ["0-after", "1-after"])
    until(lambda: sorted(member.lines) == sorted(alone.lines) == both, lambda: f"{member.lines} and {alone.lines}")
    for follower in (member, alone):
        follower.process.terminate()
    member.ends(0)
    alone.process.wait(30)
    equal(committed("tool-kill-members"), {0: 2, 1: 2}, "what was printed is committed")
    equal((sorted(member.lines), sorted(alone.lines)), (both, both), "each record once")


@scenario("klamm-groups")
def groups():
    create("tool-grouped", 2)
    for partition in ("0", "1"):
        run("produce", "tool-grouped", "-p", partition, lines=[str(i) for i in range(10)])
    refused("group 'tool-nobody' does not exist; 'klamm groups' lists those that do", "groups", "describe", "tool-nobody")
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "tool-group", "client.id": "tool-client", "auto.offset.reset": "earliest", "session.timeout.ms": 6000})
    consumer.subscribe(["tool-grouped"])
    got = []
    until(lambda: got.extend(m for m in consumer.consume(20, 0.2) if not m.error()) or len(got) == 20, lambda: f"{len(got)} records")
    consumer.commit(asynchronous=False)
    described = as_json("groups", "describe", "tool-group")
    member = described["members"][0]["member"]
    true(member.startswith("tool-client-"), member)
    equal({**described["members"][0], "member": "", "host": ""}, {"member": "", "instance": None, "client": "tool-client", "host": "", "partitions": 2}, "member")
    rows = [{"topic": "tool-grouped", "partition": p, "committed": 10, "end": 10, "lag": 0, "member": member} for p in (0, 1)]
    equal(described["partitions"], rows, "partitions")
    equal((described["state"], described["type"], described["assignor"]), ("Stable", "classic", "range"), "state")
    true("group tool-group (classic) is Stable with 1 member, assignor range\n" in run("groups", "describe", "tool-group"), "text of describe")
    refused("group 'tool-group' is in use by 1 member; stop them, then reset it", "groups", "reset", "tool-group", "-t", "tool-grouped", "--to", "earliest")
    told = run("groups", "delete", "tool-group", code=1)
    equal(told, "klamm: group 'tool-group': the broker answers NON_EMPTY_GROUP; stop the group's members first\n", "delete of a group in use")
    consumer.close()
    true(["tool-group", "classic", "consumer", "Empty"] in [line.split() for line in run("groups").splitlines()], "list")
    true({"group": "tool-group", "type": "classic", "protocol": "consumer", "state": "Empty"} in as_json("groups"), "JSON of list")
    says("""TOPIC         PARTITION  BEFORE  AFTER
tool-grouped          0      10      4
nothing was changed (--dry-run)
""", "groups", "reset", "tool-group", "-t", "tool-grouped", "-p", "0", "--to", "4", "--dry-run")
    for to, expected in (("4", 4), ("earliest", 0), ("latest", 10), ("999", 10), ("@1", 0), ("@1970-01-01T00:00:00Z", 0), ("-P1D", 0), ("-PT0S", 10), ("7", 7)):
        after = as_json("groups", "reset", "tool-group", "--topic", "tool-grouped", "--to", to)
        equal([row["after"] for row in after["partitions"]], [expected] * 2, f"reset to {to}")
    says("""group tool-group (classic) is Empty with 0 members
TOPIC         PARTITION  COMMITTED  END  LAG  MEMBER  CLIENT  HOST
tool-grouped          0          7   10    3  -       -       -
tool-grouped          1          7   10    3  -       -       -
""", "groups", "describe", "tool-group")
    says("deleted group tool-group\n", "groups", "delete", "tool-group")
    refused("group 'tool-group' does not exist; 'klamm groups' lists those that do", "groups", "delete", "tool-group")


@scenario("klamm-describe")
def describe():
    described = as_json("describe")
    equal(described["brokers"], [{"id": 1, "address": BOOTSTRAP, "rack": None}], "brokers")
    equal(described["controller"], 1, "controller")
    true(described["cluster_id"], "an id")
    true(described["features"]["metadata.version"] >= 30, "metadata.version")
    before = described["topics"], described["partitions"]
    create("tool-described", 5)
    after = as_json("describe")
    equal((after["topics"], after["partitions"]), (before[0] + 1, before[1] + 5), "topics and partitions")
    text = run("describe")
    expected = rf"cluster   \S+\ntopics    {after['topics']} with {after['partitions']} partitions\nfeatures  .*metadata\.version=\d+.*\nbrokers   1\n"
    expected += rf"ID  ADDRESS +RACK  CONTROLLER\n 1  {re.escape(BOOTSTRAP)}  -     yes\n"
    true(re.fullmatch(expected, text), text)
    told = subprocess.run([KLAMM, "describe", "-b", "127.0.0.1:1"], capture_output=True, text=True)
    equal((told.returncode, told.stdout), (1, ""), "where nobody listens")
    true(re.fullmatch(r"klamm: no broker answers at 127\.0\.0\.1:1 \(.*\); start one with 'klamm', or name another with -b HOST:PORT\n", told.stderr), told.stderr)


if __name__ == "__main__":
    pathlib.Path(WORK).mkdir(parents=True, exist_ok=True)
    play()
