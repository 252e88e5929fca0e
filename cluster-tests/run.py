#!/usr/bin/env python3
"""Three klamm processes as one cluster, under Java's producers and a Java group, with one fault after the other.

    cluster-tests/run.py [--faults N] [--seed N] [--kinds leader,kill,...] [--rate N] [--keep]

Kinds: kill (kill -9 of any broker), leader (of the one that leads most), controller (of the active controller), all (of all three at once), pause (SIGSTOP for
a while), wipe (kill -9, and its data is gone), stop (SIGTERM and a new start), join (a fourth broker joins, takes what another has, gives it back and leaves);
of a network, each for a while: cut, mute and mute-controller (the others do not hear the broker, which hears them), deaf (the other way round), flap (cut again
and again); of a disk: full, power, power-all (what was not synced is gone). With a kind of a network the brokers have a network namespace each, with one of a
disk an ext4 image each, and klamm.durability=group; both need root, and are left out without. Without --kinds all but those of a disk.

A fault counts if it changed something: partitions were led anew, replicas fell out of sync, another controller was there, or acknowledgements paused for
PAUSE_SECONDS. After each the cluster must heal: every partition in sync on three brokers again. In the end all that was acknowledged must have been read by the
group, once, in order, at its offset, and no high watermark may have gone back (history.py). Prints what was done, then 'N passed, N failed'.
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

import faults
import history
from cluster import BROKERS, CACHE, HEAL_SECONDS_MAX, NEWCOMER, Cluster, Disk, Loopback, Namespaces
from watch import Watch

TOPIC, PARTITIONS = "history", 6
# A longer pause of acknowledgements is none of a calm cluster.
PAUSE_SECONDS = 0.3


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
    effective, gaps, inflicted = {kind: 0 for kind in options.kinds}, [], faults.Faults(cluster, rng)
    watch = Watch(cluster, TOPIC)
    for number in range(options.faults):
        kind, before = options.kinds[number % len(options.kinds)], watch.begin()
        what = inflicted.inflict(kind)
        producer.await_next()
        healed = cluster.heal()
        gaps.append(producer.take_gap())
        changes = watch.changes(before)
        effective[kind] += bool(changes) or gaps[-1] >= PAUSE_SECONDS
        told = f"acknowledgements paused {gaps[-1]:.2f} s, in sync after {healed:.1f} s"
        print(f"fault {number + 1}: {what}; {changes or 'nothing led anew'}; {told}", flush=True)
    watermarks = watch.end()
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
    breaches.update({"fell": found for found in [history.fell(watermarks)] if found})
    if producer.refused:
        breaches["refused"] = producer.refused
    if options.faults and not any(effective.values()):
        breaches["idle"] = ["no fault changed anything"]
    ranked = sorted(gaps)
    middle = ranked[len(ranked) // 2] if ranked else 0.0
    print(
        f"{options.faults} faults, {sum(effective.values())} changed something ({', '.join(f'{kind} {count}' for kind, count in effective.items())}); "
        f"{len(producer.acknowledged)} acknowledged, {len(consumer.read)} read, {len(watermarks)} high watermarks; "
        f"pauses: median {middle:.2f} s, longest {ranked[-1] if ranked else 0.0:.2f} s"
    )
    return breaches


def leave_out(options, kinds, needed):
    print(f"skipped, since they need {needed}: {', '.join(kind for kind in options.kinds if kind in kinds)}")
    options.kinds = [kind for kind in options.kinds if kind not in kinds]
    if not options.kinds:
        print("0 passed, 0 failed")
        sys.exit(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=13)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=[kind for kind in faults.KINDS if kind not in faults.OF_DISKS])
    parser.add_argument("--rate", type=int, default=1000, help="records a second")
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    parser.add_argument("--binary", type=pathlib.Path, default=CACHE / "target" / "release" / "klamm")
    options = parser.parse_args()
    history.check_itself()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="klamm-cluster-"))
    network, disks = Loopback(), {}
    if set(faults.OF_NETWORKS) & set(options.kinds):
        if os.geteuid() == 0 and shutil.which("ip"):
            network = Namespaces()
        else:
            leave_out(options, faults.OF_NETWORKS, "root and ip")
    if set(faults.OF_DISKS) & set(options.kinds):
        if os.geteuid() == 0 and shutil.which("mkfs.ext4") and shutil.which("losetup"):
            disks = {broker: Disk(directory, broker) for broker in BROKERS}
        else:
            leave_out(options, faults.OF_DISKS, "root, mkfs.ext4 and losetup")
    cluster = Cluster(options.binary, directory, network, disks)
    if disks:
        cluster.settings["klamm.durability"] = "group"
    try:
        breaches = play(options, cluster)
    except RuntimeError as error:
        breaches = {"run": [str(error)]}
    finally:
        cluster.stop()
        network.remove()
    history.conclude(breaches, options.keep, directory, [f"broker-{broker}.log" for broker in (*BROKERS, NEWCOMER) if broker in cluster.processes])


if __name__ == "__main__":
    main()
