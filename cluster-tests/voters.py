#!/usr/bin/env python3
"""Voters of the metadata quorum come and go while brokers are killed -9 at random moments of it."""

import argparse
import json
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

from cluster import CACHE, ROOT, free_port

BROKERS = (1, 2, 3, 4)
PATIENCE_SECONDS = 60.0


class Wrong(Exception):
    """What must hold does not."""


class Cluster:
    """One broker that was started alone, and others that joined it."""

    def __init__(self, binary, directory):
        self.binary, self.directory = binary, directory
        self.port = free_port()
        self.processes, self.addresses = {}, {}
        for broker in BROKERS:
            self.start(broker)

    def start(self, broker):
        data = self.directory / f"data-{broker}"
        if broker == BROKERS[0]:
            words = ["--listen", f"127.0.0.1:{self.port}"]
        else:
            words = [] if data.exists() else ["--join", f"127.0.0.1:{self.port}", "--broker-id", str(broker)]
        with open(self.directory / f"log-{broker}", "ab") as log:
            self.processes[broker] = subprocess.Popen(
                [self.binary, *words, "--data", data], stdout=subprocess.PIPE, stderr=log, text=True
            )
        if broker not in self.addresses or broker == BROKERS[0]:
            self.await_ready(broker)

    def await_ready(self, broker):
        line = self.processes[broker].stdout.readline()
        found = re.match(r"klamm is ready on ([^ ,]+)", line)
        if not found:
            raise Wrong(f"broker {broker} does not start: {line!r}; see {self.directory}/log-{broker}")
        self.addresses[broker] = found.group(1)

    def kill(self, broker):
        self.processes[broker].send_signal(signal.SIGKILL)
        self.processes[broker].wait()

    def tool(self, *words, at, seconds=20):
        command = [self.binary, *words, "-b", self.addresses[at]]
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)

    def quorum(self, at):
        """Leader's epoch, leader, voters; None if nobody tells."""
        try:
            told = self.tool("voters", "--json", "--timeout-ms", "3000", at=at)
        except subprocess.TimeoutExpired:
            return None
        if told.returncode != 0:
            return None
        known = json.loads(told.stdout)
        rows = known["replicas"]
        leader = [row["broker"] for row in rows if row["role"] == "leader"]
        voters = sorted(row["broker"] for row in rows if row["role"] != "observer")
        return known["leaderEpoch"], leader[0] if leader else None, voters

    def topics(self, at):
        told = self.tool("topics", "--json", "--timeout-ms", "3000", at=at)
        return None if told.returncode != 0 else told.stdout

    def stop(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()


class Watch(threading.Thread):
    """Asks all the time who leads: nobody else ever led in the same epoch."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.leaders, self.wrong, self.ended = cluster, {}, None, threading.Event()

    def run(self):
        while not self.ended.is_set():
            for broker in BROKERS:
                told = self.cluster.quorum(broker)
                if told and told[1] is not None:
                    epoch, leader, _ = told
                    if self.leaders.setdefault(epoch, leader) != leader:
                        self.wrong = f"brokers {self.leaders[epoch]} and {leader} both led in epoch {epoch}"
            self.ended.wait(0.1)


def until(what, found):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        result = found()
        if result:
            return result
        if time.monotonic() > deadline:
            raise Wrong(f"not within {PATIENCE_SECONDS:.0f} s: {what}")
        time.sleep(0.1)


def agreed(cluster):
    told = [cluster.quorum(broker) for broker in BROKERS]
    return told[0] if all(told) and all(one == told[0] for one in told) else None


def play(cluster, rounds, rng):
    watch = Watch(cluster)
    watch.start()
    topics, hits, outcomes = [], {"leader": 0, "other": 0}, {}
    for number in range(rounds):
        _, leader, voters = until("all brokers say the same", lambda: agreed(cluster))
        observers = [broker for broker in BROKERS if broker not in voters]
        adds = len(voters) < 2 or (observers and rng.random() < 0.6)
        subject = rng.choice(observers if adds else voters)
        asked = rng.choice(BROKERS)
        change = threading.Thread(
            target=lambda words=("voters", "add" if adds else "remove", str(subject)), at=asked: outcomes.setdefault(
                number, cluster.tool(*words, "--timeout-ms", "8000", at=at).returncode
            )
        )
        victim = rng.choice([leader, rng.choice(BROKERS)])
        change.start()
        time.sleep(rng.uniform(0, 0.15))
        cluster.kill(victim)
        hits["leader" if victim == leader else "other"] += 1
        if rng.random() < 0.5:
            time.sleep(rng.uniform(0, 1.5))
        cluster.start(victim)
        if victim != BROKERS[0]:
            cluster.await_ready(victim)
        change.join()
        name = f"round-{number}"

        def created(name=name):
            told = cluster.tool("topics", "create", name, at=rng.choice(BROKERS))
            return told.returncode == 0 or "TOPIC_ALREADY_EXISTS" in told.stderr or "exists" in told.stderr

        until(f"topic {name} is created", created)
        topics.append(name)
        if watch.wrong:
            raise Wrong(watch.wrong)
        print(f"round {number + 1}: {'add' if adds else 'remove'} {subject} of {voters}, killed {victim}{' (leader)' if victim == leader else ''}", flush=True)
    _, leader, voters = until("all brokers say the same", lambda: agreed(cluster))
    for broker in BROKERS:
        until(f"broker {broker} knows all topics", lambda at=broker: all(f'"{name}"' in (cluster.topics(at) or "") for name in topics))
    watch.ended.set()
    watch.join()
    if watch.wrong:
        raise Wrong(watch.wrong)
    done = sum(code == 0 for code in outcomes.values())
    print(
        f"{rounds} rounds: {done} changes were told as done, {hits['leader']} kills hit the leader and {hits['other']} others, "
        f"{len(watch.leaders)} epochs seen; in the end {voters} vote, {leader} leads, all brokers know all {len(topics)} topics"
    )


def told_by_kafka(cluster):
    """Kafka's own tool takes a vote, and Kafka's own client gives it back."""
    kafka = CACHE / "kafka-4.3.1"
    _, leader, voters = until("all brokers say the same", lambda: agreed(cluster))
    if len(voters) == 1:
        subject = next(broker for broker in BROKERS if broker not in voters)
        until("a second voter", lambda: cluster.tool("voters", "add", str(subject), at=leader).returncode == 0)
        _, leader, voters = until("all brokers say the same", lambda: agreed(cluster))
    subject = next(voter for voter in voters if voter != leader)
    bootstrap = cluster.addresses[leader]
    rows = json.loads(cluster.tool("voters", "--json", at=leader).stdout)["replicas"]
    directory = next(row["directory"] for row in rows if row["broker"] == subject)
    host, port = cluster.addresses[subject].split(":")
    tool = ["java", "-cp", f"{kafka}/libs/*", "org.apache.kafka.tools.MetadataQuorumCommand", "--bootstrap-server", bootstrap]

    def run(*words):
        told = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        if told.returncode != 0:
            raise Wrong(f"{words}: {told.stdout}{told.stderr}")
        return told.stdout.strip()

    print(run(*tool, "remove-controller", "--controller-id", str(subject), "--controller-directory-id", directory))
    fewer = [voter for voter in voters if voter != subject]
    until(f"{fewer} vote", lambda: (agreed(cluster) or (0, 0, []))[2] == fewer)
    run("java", "-cp", f"{kafka}/libs/*", str(ROOT / "cluster-tests" / "AddVoter.java"), bootstrap, str(subject), directory, host, port)
    until(f"{voters} vote", lambda: (agreed(cluster) or (0, 0, []))[2] == voters)
    print(run(*tool, "describe", "--status"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=pathlib.Path, default=CACHE / "target" / "release" / "klamm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="klamm-voters-"))
    cluster = None
    try:
        cluster = Cluster(options.binary, directory)
        play(cluster, options.rounds, random.Random(options.seed))
        told_by_kafka(cluster)
        wrong = None
    except Wrong as error:
        wrong = error
    finally:
        if cluster:
            cluster.stop()
    if wrong:
        print(f"FAILED: {wrong}; data and logs are in {directory}")
        return 1
    if not options.keep:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
