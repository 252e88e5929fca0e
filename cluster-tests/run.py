#!/usr/bin/env python3
"""Three klamm processes as one cluster, under Java's producers and a Java group, with one fault after the other.

    cluster-tests/run.py [--faults N] [--seed N] [--kinds leader,kill,controller,cut,pause,wipe,stop,all] [--rate N] [--keep]

Kinds: kill (kill -9 of any broker), leader (of the one that leads most), controller (of the active controller), cut (of a broker's network, for a while;
it needs root, for a network namespace per broker, and is left out without), pause (SIGSTOP for a while), wipe (kill -9, and its data is gone), stop (SIGTERM and a new start), all (kill -9 of
all three at once). A fault counts if the broker led something or was the controller. After each the cluster
must heal: every partition in sync on all three again. In the end all that was acknowledged must have been read by the group, once, in order, at its offset
(history.py). Prints what was done and the gaps in acknowledgements, then 'N passed, N failed'.
"""

import argparse
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import history
from cluster import BROKERS, CACHE, HEAL_SECONDS_MAX, Cluster, Loopback, Namespaces

KINDS = ("leader", "kill", "controller", "cut", "pause", "wipe", "stop", "all")
TOPIC, PARTITIONS = "history", 6


class Java:
    """A tool of Kafka's whose lines are read as they come."""

    def __init__(self, name, arguments, take):
        class_path = f"{CACHE}/kafka-4.3.1/libs/*"
        options = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", class_path]
        self.process = subprocess.Popen(["java", *options, name, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.reader = threading.Thread(target=self.read, args=(take,), daemon=True)
        self.reader.start()

    def read(self, take):
        for line in self.process.stdout:
            take(line)

    def end(self, how, patience):
        if self.process.poll() is None and how is not None:
            self.process.send_signal(how)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.reader.join(patience)


class Producer:
    """VerifiableProducer: every value is a number that it sends once. It tries again, as clients do by default; by its own default it does not."""

    def __init__(self, bootstrap, rate, directory):
        settings = directory / "producer.properties"
        settings.write_text("retries=2147483647\nenable.idempotence=true\n")
        self.acknowledged, self.refused, self.gap, self.last = [], [], 0.0, None
        arguments = ["--bootstrap-server", bootstrap, "--topic", TOPIC, "--throughput", str(rate), "--acks", "-1", "--command-config", str(settings)]
        self.java = Java("org.apache.kafka.tools.VerifiableProducer", arguments, self.take)

    def take(self, line):
        if '"producer_send_success"' in line:
            told, now = json.loads(line), time.monotonic()
            self.acknowledged.append((int(told["value"]), told["partition"], told["offset"]))
            if self.last is not None:
                self.gap = max(self.gap, now - self.last)
            self.last = now
        elif '"producer_send_error"' in line:
            self.refused.append(line.strip())

    def await_next(self):
        """Waits until something is acknowledged that was not yet, so that a pause is seen to its end."""
        known, patience = len(self.acknowledged), time.monotonic() + HEAL_SECONDS_MAX
        while len(self.acknowledged) == known:
            if time.monotonic() > patience:
                raise RuntimeError("nothing is acknowledged any more")
            time.sleep(0.02)

    def take_gap(self):
        """The longest time without an acknowledgement since this was asked last."""
        gap, self.gap = self.gap, 0.0
        return gap


class Consumer:
    """A group of one that reads everything, and goes on where it committed."""

    ROW = re.compile(r"^Partition:(\d+)\tOffset:(\d+)\t(\d+)$")

    def __init__(self, bootstrap):
        self.read = []
        arguments = ["--bootstrap-server", bootstrap, "--topic", TOPIC, "--group", "readers", "--from-beginning"]
        for setting in ("print.partition=true", "print.offset=true"):
            arguments += ["--formatter-property", setting]
        self.java = Java("org.apache.kafka.tools.consumer.ConsoleConsumer", arguments, self.take)

    def take(self, line):
        row = self.ROW.match(line)
        if row:
            partition, offset, value = map(int, row.groups())
            self.read.append((value, partition, offset))


def inflict(cluster, kind, rng):
    """One fault; a word on it, and whether it changed anything."""
    metadata = cluster.metadata()
    if metadata is None:
        raise RuntimeError("no broker answers before the fault")
    standings = {broker: cluster.standing(metadata, broker) for broker in BROKERS}
    victim = rng.choice(BROKERS)
    if kind == "leader":
        victim = max(BROKERS, key=lambda broker: standings[broker][0])
    elif kind == "controller":
        victim = next((broker for broker in BROKERS if standings[broker][1]), victim)
    led, controls = standings[victim]
    what = f"{kind} of broker {victim} (led {led}{', controller' if controls else ''})"
    if kind == "cut":
        cluster.network.cut(victim, rng.uniform(1.0, 12.0))
        return what, led > 0 or controls
    if kind == "pause":
        cluster.processes[victim].send_signal(signal.SIGSTOP)
        time.sleep(rng.uniform(1.0, 12.0))
        cluster.processes[victim].send_signal(signal.SIGCONT)
        return what, led > 0 or controls
    if kind == "all":
        for broker in BROKERS:
            cluster.processes[broker].send_signal(signal.SIGKILL)
        for broker in BROKERS:
            cluster.processes[broker].wait()
            cluster.start(broker)
        for broker in BROKERS:
            cluster.await_ready(broker)
        return "kill -9 of all three", True
    cluster.kill(victim, signal.SIGTERM if kind == "stop" else signal.SIGKILL)
    if kind == "wipe":
        shutil.rmtree(cluster.directory / f"data-{victim}")
    time.sleep(rng.uniform(0.0, 3.0))
    cluster.start(victim)
    cluster.await_ready(victim)
    return what, led > 0 or controls


def play(options, cluster):
    """Faults under load; the breaches of the rules, as sentences."""
    rng = random.Random(options.seed)
    for broker in BROKERS:
        cluster.start(broker)
    for broker in BROKERS:
        cluster.await_ready(broker)
    create = [str(cluster.binary), "topics", "-b", cluster.bootstrap.split(",")[0], "create", TOPIC, "--partitions", str(PARTITIONS)]
    subprocess.run(create, check=True, stdout=subprocess.DEVNULL)
    producer, consumer = Producer(cluster.bootstrap, options.rate, cluster.directory), Consumer(cluster.bootstrap)
    while len(producer.acknowledged) < options.rate or not consumer.read:
        if producer.java.process.poll() is not None or consumer.java.process.poll() is not None:
            raise RuntimeError("a Java program ended before it did anything")
        time.sleep(0.1)
    producer.take_gap()
    effective, gaps = 0, []
    for number in range(options.faults):
        what, changed = inflict(cluster, options.kinds[number % len(options.kinds)], rng)
        producer.await_next()
        healed = cluster.heal()
        effective += changed
        gaps.append(producer.take_gap())
        print(f"fault {number + 1}: {what}; acknowledgements paused {gaps[-1]:.2f} s, in sync after {healed:.1f} s", flush=True)
    producer.java.end(signal.SIGTERM, 120)
    ends = {}
    for _, partition, offset in producer.acknowledged:
        ends[partition] = max(ends.get(partition, -1), offset)
    patience = time.monotonic() + 90
    while time.monotonic() < patience:
        reached = {}
        for _, partition, offset in list(consumer.read):
            reached[partition] = max(reached.get(partition, -1), offset)
        if all(reached.get(partition, -1) >= end for partition, end in ends.items()):
            break
        time.sleep(0.2)
    consumer.java.end(signal.SIGTERM, 60)
    breaches = history.judge(producer.acknowledged, consumer.read)
    if producer.refused:
        breaches["refused"] = producer.refused
    if options.faults and not effective:
        breaches["idle"] = ["no fault changed anything"]
    ranked = sorted(gaps)
    middle = ranked[len(ranked) // 2] if ranked else 0.0
    print(
        f"{options.faults} faults, {effective} of them of a leader or the controller; {len(producer.acknowledged)} acknowledged, {len(consumer.read)} read; "
        f"pauses: median {middle:.2f} s, longest {ranked[-1] if ranked else 0.0:.2f} s"
    )
    return breaches


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=list(KINDS))
    parser.add_argument("--rate", type=int, default=1000, help="records a second")
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    parser.add_argument("--binary", type=pathlib.Path, default=CACHE / "target" / "release" / "klamm")
    options = parser.parse_args()
    history.check_itself()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="klamm-cluster-"))
    network = Loopback()
    if "cut" in options.kinds:
        if os.geteuid() == 0 and shutil.which("ip"):
            network = Namespaces()
        else:
            print("cut: skipped, it needs root and ip")
            options.kinds = [kind for kind in options.kinds if kind != "cut"]
    cluster = Cluster(options.binary, directory, network)
    try:
        breaches = play(options, cluster)
    except RuntimeError as error:
        breaches = {"run": [str(error)]}
    finally:
        cluster.stop()
        network.remove()
    history.conclude(breaches, options.keep, directory, [f"broker-{broker}.log" for broker in BROKERS])


if __name__ == "__main__":
    main()
