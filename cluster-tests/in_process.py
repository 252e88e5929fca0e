#!/usr/bin/env python3
"""Three brokers in one process (`klamm --brokers 3`), paused, killed and started again by `klamm brokers` and by HTTP, under real producers.

    cluster-tests/in_process.py [--rounds N] [--seed N] [--keep]

Kafka's VerifiableProducer and a Java group write and read one topic, librdkafka's producer with its default settings writes to three others. In each
round the broker that leads the topic is killed and started again, then the active controller is, then a broker is paused for longer than its session.
In the end what was acknowledged must have been read once, in order, at its offset (history.py), and no producer may have given a record up.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import urllib.request

import failover
import history
import run

PATIENCE = 60.0
# More than the session of the brokers of one process.
PAUSE = 3.0


class Network:
    """The addresses of one process's brokers."""

    def __init__(self, addresses):
        self.addresses = dict(zip(run.BROKERS, addresses))

    def client_address(self, broker):
        return self.addresses[broker]


class Brokers:
    """The process."""

    def __init__(self, binary, directory):
        self.binary = binary
        command = [binary, "--brokers", "3", "--data", directory / "data", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=(directory / "klamm.log").open("w"), text=True)
        ready = self.process.stdout.readline()
        if not ready.startswith("klamm is ready on "):
            raise RuntimeError(f"klamm did not start: {ready!r}, see {directory}/klamm.log")
        self.bootstrap = ready.split()[4]
        self.http = self.process.stdout.readline().split("http://")[1].strip().rstrip("/")
        self.network = Network(self.bootstrap.split(","))

    def by_command(self, order, broker):
        subprocess.run([self.binary, "brokers", "--at", self.http, order, str(broker)], check=True, stdout=subprocess.DEVNULL)

    def by_http(self, order, broker):
        request = urllib.request.Request(f"http://{self.http}/brokers/{broker}/{order}", method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            told = json.load(answer)
        expected = {"pause": "paused", "resume": "running", "kill": "killed", "restart": "running"}[order]
        if told != {"id": broker, "state": expected}:
            raise RuntimeError(f"{order} of broker {broker}: {told}")

    def standing(self, but=None):
        """The controller, and by topic leader, epoch and in-sync replicas, as a broker tells that is not this one."""
        topics = (run.TOPIC, *failover.TOPICS.values())
        broker = next(broker for broker in run.BROKERS if broker != but)
        return failover.Wire(self.network.client_address(broker)).metadata(topics)

    def heal(self):
        patience = time.monotonic() + PATIENCE
        while time.monotonic() < patience:
            controller, topics = self.standing()
            if controller > 0 and all(len(in_sync) == 3 and leader > 0 for leader, _, in_sync in topics.values()):
                return controller, topics
            time.sleep(0.05)
        raise RuntimeError(f"the cluster does not heal: {topics}")

    def stop(self):
        self.process.terminate()
        return self.process.wait(30)


def play(options, brokers, directory):
    rng = random.Random(options.seed)
    subprocess.run([brokers.binary, "topics", "-b", brokers.bootstrap, "create", run.TOPIC, "--partitions", "1"], check=True, stdout=subprocess.DEVNULL)
    failover.Wire(brokers.network.client_address(1)).create_topics()
    producer, consumer = run.Producer(brokers.bootstrap, 500, directory), run.Consumer(brokers.bootstrap)
    load = failover.Load("librdkafka", brokers.bootstrap, 300)
    patience = time.monotonic() + PATIENCE
    while len(producer.acknowledged) < 500 or not consumer.read or not load.acknowledged():
        if time.monotonic() > patience:
            raise RuntimeError("the clients do nothing")
        time.sleep(0.1)
    for number in range(options.rounds):
        for what in ("leader", "controller", "pause"):
            controller, topics = brokers.heal()
            victim = {"leader": topics[run.TOPIC][0], "controller": controller, "pause": rng.choice(run.BROKERS)}[what]
            order = brokers.by_command if number % 2 == 0 else brokers.by_http
            producer.take_gap()
            order("pause" if what == "pause" else "kill", victim)
            if what == "pause":
                time.sleep(PAUSE)
            else:
                # It is a fault only once another has taken over.
                until = time.monotonic() + PATIENCE
                while any(leader == victim for leader, _, _ in brokers.standing(but=victim)[1].values()):
                    if time.monotonic() > until:
                        raise RuntimeError(f"broker {victim} is dead and still leads")
                    time.sleep(0.02)
            producer.await_next()
            order("resume" if what == "pause" else "restart", victim)
            brokers.heal()
            producer.await_next()
            print(f"round {number + 1}: {what}, broker {victim}; acknowledgements paused {producer.take_gap():.2f} s", flush=True)
    producer.java.end(run.signal.SIGTERM, 120)
    load.end()
    last, patience = max(offset for _, _, offset in producer.acknowledged), time.monotonic() + PATIENCE
    while max((offset for _, _, offset in list(consumer.read)), default=-1) < last and time.monotonic() < patience:
        time.sleep(0.2)
    consumer.java.end(run.signal.SIGTERM, 60)
    breaches = history.judge(producer.acknowledged, consumer.read)
    if producer.refused:
        breaches["refused"] = producer.refused
    if load.errors:
        breaches["refused by librdkafka"] = load.errors
    print(f"{len(producer.acknowledged)} acknowledged to Java, {len(consumer.read)} read, {load.acknowledged()} acknowledged to librdkafka")
    return breaches


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    parser.add_argument("--binary", type=pathlib.Path, default=run.CACHE / "target" / "release" / "klamm")
    options = parser.parse_args()
    history.check_itself()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="klamm-in-process-"))
    brokers = Brokers(options.binary, directory)
    try:
        breaches = play(options, brokers, directory)
    except (RuntimeError, subprocess.CalledProcessError, OSError) as error:
        breaches = {"run": [str(error)]}
    finally:
        code = brokers.stop()
    if code != 0:
        breaches["stop"] = [f"klamm ended with code {code}"]
    history.conclude(breaches, options.keep, directory, ["klamm.log"])


if __name__ == "__main__":
    main()
