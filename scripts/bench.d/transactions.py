"""Transactions: how many per second, how long a commit takes, what a transaction costs the broker of processor time, and what stands on them:
readers of committed records, Kafka Streams. Once with Java's client, once with `load`, which leaves the processors to the broker."""

import json
import os
import subprocess

import systems
import wire

# Partitions of each transaction, producers, and transactions a second of all together: 0 is as many as they can.
SHAPES = [(partitions, producers, 0) for producers in (1, 50) for partitions in (1, 10, 100)] + [(1, 50, 200), (10, 50, 100), (100, 50, 30)]
# The same for `load`; what is offered is less than half of what Apache Kafka reaches.
BARE_SHAPES = [(1, 1, 50), (10, 1, 50), (100, 1, 30), (1, 50, 500), (10, 50, 500), (100, 50, 100)]
BARE_SHAPES += [(partitions, producers, 0) for producers in (1, 50) for partitions in (1, 10, 100)]
WARM_UP_SECONDS = 10
LINES = {"at_least_once": 300_000, "exactly_once_v2": 300_000}


def measure(options, results, running):
    subprocess.run([os.path.join(systems.ROOT, "compat-tests", "install.sh"), "streams"], check=True)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # It has Kafka's client too.
    classpath = os.path.join(cache, "klamm", "compat", "streams", "*")
    for _ in range(options.rounds):
        for system in running:
            if system.name == "yardstick":
                continue
            system.wipe()
            system.start()
            client = Client(system, classpath, results)
            try:
                for shape in SHAPES:
                    transactions(options, client, *shape)
                isolation(options, client)
                for guarantee, lines in LINES.items():
                    word_count(client, guarantee, lines // (20 if options.quick else 1))
            finally:
                system.stop()
                system.wipe()


def commits(options, results, running):
    """How long commits take for a client that costs next to nothing."""
    for turn in range(options.rounds):
        for system in running if turn % 2 == 0 else reversed(running):
            if system.name == "yardstick":
                continue
            system.wipe()
            system.start()
            try:
                bare_load(options, system, "warm-up", 10, 50, 0, WARM_UP_SECONDS)
                for shape in BARE_SHAPES:
                    bare(options, results, system, *shape)
            finally:
                system.stop()
                system.wipe()


def bare_load(options, system, topic, partitions, producers, offered, seconds):
    flags = {"address": f"127.0.0.1:{system.port}", "topic": topic, "partitions": partitions, "producers": producers, "rate": offered, "seconds": seconds}
    words = [word for key, value in flags.items() for word in (f"--{key}", str(value))]
    done = subprocess.run([os.path.join(options.binaries, "load"), "transactions", *words], capture_output=True, text=True, timeout=seconds + 300)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"code {done.returncode}")
    return json.loads(done.stdout)


def bare(options, results, system, partitions, producers, offered):
    row = f"load: transactions of {many(partitions, 'partition')}, {many(producers, 'producer')}" + (f", {offered} a second" if offered else "")
    topic, before = f"bare-{partitions}-{producers}-{offered}", system.cpu_seconds()
    try:
        found = bare_load(options, system, topic, partitions, producers, offered, options.seconds)
    except (RuntimeError, ValueError, subprocess.SubprocessError, OSError) as error:
        results.fail(row, system.name, error)
        return
    results.add(row, "1/s", system.name, found["per_second"])
    for name, key in (("commit, median", "commit_p50_us"), ("commit, 99th percentile", "commit_p99_us"), ("all of it, median", "transaction_p50_us")):
        results.add(f"{row}: {name}", "ms", system.name, found[key] / 1000)
    results.add(f"{row}: the broker's CPU per transaction", "ms", system.name, (system.cpu_seconds() - before) * 1000 / max(1, found["count"]))


class Client:
    """Runs the Java programs beside this file."""

    def __init__(self, system, classpath, results):
        self.system, self.classpath, self.results = system, classpath, results

    def topic(self, name, partitions):
        wire.create_topics(self.system.port, [name], partitions)

    def run(self, program, *arguments, seconds=0):
        """The numbers that it prints, and the broker's seconds of processor time meanwhile."""
        source = os.path.join(systems.ROOT, "scripts", "bench.d", f"{program}.java")
        command = ["java", "-Xmx1g", "-cp", self.classpath, source, f"127.0.0.1:{self.system.port}", *map(str, arguments)]
        before = self.system.cpu_seconds()
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 420)
        if done.returncode != 0:
            raise RuntimeError((done.stderr.strip().splitlines() or ["failed"])[-1])
        return list(map(float, done.stdout.split())), self.system.cpu_seconds() - before

    def measure(self, row, *arguments, seconds=0):
        """The same; `None` and a note in the table if it fails."""
        try:
            return self.run(*arguments, seconds=seconds)
        except (RuntimeError, ValueError, subprocess.SubprocessError, OSError) as error:
            self.results.fail(row, self.system.name, error)
            return None


def many(count, thing):
    return f"{count} {thing}{'s' * (count > 1)}"


def transactions(options, client, partitions, producers, offered):
    row = f"transactions of {many(partitions, 'partition')}, {many(producers, 'producer')}" + (f", {offered} a second" if offered else "")
    topic = f"transactions-{partitions}-{producers}-{offered}"
    client.topic(topic, partitions)
    measured = client.measure(row, "Transactions", topic, partitions, producers, options.seconds, offered, seconds=options.seconds)
    if measured is None:
        return
    (rate, median_ms, slow_ms), cpu_seconds = measured
    add, name = client.results.add, client.system.name
    add(row, "1/s", name, rate)
    add(f"{row}: commit, median", "ms", name, median_ms)
    add(f"{row}: commit, 99th percentile", "ms", name, slow_ms)
    # The warm-up transactions are counted neither here nor there.
    add(f"{row}: the broker's CPU per transaction", "ms", name, cpu_seconds * 1000 / max(1, rate * options.seconds))


def isolation(options, client):
    row, topic, count = "a log of transactions", "isolation", 300 if options.quick else 3000
    client.topic(topic, 1)
    if client.measure(row, "Isolation", topic, "fill", count) is None:
        return
    for level in ("read_uncommitted", "read_committed"):
        measured = client.measure(f"{row}, {level}", "Isolation", topic, level)
        if measured:
            client.results.add(f"{row}, {level}", "records/s", client.system.name, measured[0][0])
            # It is read three times; a tenth of a reading is aborted, and read all the same.
            client.results.add(f"{row}, {level}: the broker's CPU", "s/GB", client.system.name, measured[1] / (3 * count * 100 * 1024 / 1e9))


def word_count(client, guarantee, lines):
    row, suffix = f"Kafka Streams counts words, {guarantee}", guarantee.replace("_", "-")
    for topic in (f"lines-{suffix}", f"counts-{suffix}"):
        client.topic(topic, 4)
    measured = client.measure(row, "WordCount", f"lines-{suffix}", f"counts-{suffix}", guarantee, lines)
    if measured:
        client.results.add(row, "lines/s", client.system.name, measured[0][0])
        client.results.add(f"{row}: the broker's CPU", "ms/1000 lines", client.system.name, measured[1] * 1e6 / lines)
