#!/usr/bin/env python3
"""A rolling restart: SIGTERM and a new start of one broker after the other, while applications work. None of them may see an error.

    cluster-tests/rolling.py [--rounds N] [--rate N] [--keep]

Three klamm processes. A round stops and starts each of them; the next one's turn comes when every partition is in sync on all three again. Meanwhile a Java
program (RollingLoad.java) produces, reads as a group of two that commits what it read, makes transactions, reads those that are committed, and asks as an
administrator, and a program of librdkafka produces and reads as a group; all with default settings. An error is whatever such a program is given to handle: an
exception, a failed delivery, an error in place of a record, a refused commit. What was acknowledged must be read, once and in order (history.py).
Prints how long acknowledgements paused, then 'N passed, N failed'.
"""

import argparse
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

import history
import run

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 90.0
TOPICS = {"java": "rolling-java", "transactions": "rolling-transactions", "librdkafka": "rolling-librdkafka"}
PARTITIONS = 6
# Who must have done something in each round.
WORKERS = ("transactions", "readers-of-transactions", "administrator")


class Program:
    """One of the programs; what it says, sorted."""

    def __init__(self, name, command):
        self.name, self.acknowledged, self.read, self.errors, self.done = name, [], [], [], dict.fromkeys(WORKERS, 0)
        self.gap, self.last, self.has_stopped = 0.0, None, threading.Event()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.reader = threading.Thread(target=self.take, daemon=True)
        self.reader.start()

    def take(self):
        for line in self.process.stdout:
            word, *rest = line.split(" ", 1)
            if word == "ack":
                self.acknowledged.append(tuple(map(int, rest[0].split())))
                now = time.monotonic()
                self.gap, self.last = max(self.gap, now - (self.last or now)), now
            elif word == "read":
                self.read.append(tuple(map(int, rest[0].split())))
            elif word == "did":
                self.done[rest[0].strip()] += 1
            elif word == "error":
                self.errors.append(rest[0].strip())
            elif word.strip() == "stopped":
                self.has_stopped.set()

    def take_gap(self):
        gap, self.gap = self.gap, 0.0
        return gap

    def progress(self):
        return (len(self.acknowledged), len(self.read), *(self.done.values() if self.name == "java" else ()))

    def await_progress(self, what):
        """Waits until each of its parts has done something more."""
        known, patience = self.progress(), time.monotonic() + PATIENCE
        while any(now <= before for now, before in zip(self.progress(), known)):
            if time.monotonic() > patience or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} stands still {what}: {known} then, {self.progress()} now; errors: {self.errors[:3]}")
            time.sleep(0.05)

    def end(self):
        """Ends its producers, waits until all is read, ends the rest."""
        self.process.stdin.write("stop\n")
        self.process.stdin.flush()
        if not self.has_stopped.wait(PATIENCE):
            raise RuntimeError(f"the producers of {self.name} do not stop")
        wanted, patience = {value for value, _, _ in self.acknowledged}, time.monotonic() + PATIENCE
        while wanted - {value for value, _, _ in list(self.read)} and time.monotonic() < patience:
            time.sleep(0.2)
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)


def librdkafka(bootstrap, topic, rate):
    """What runs in the process of librdkafka."""
    import confluent_kafka

    settings = {"bootstrap.servers": bootstrap}
    producer = confluent_kafka.Producer(settings)
    consumer = confluent_kafka.Consumer({**settings, "group.id": "readers-of-librdkafka", "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([topic])
    ending, ended = threading.Event(), threading.Event()

    def say(line):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def read():
        while not ended.is_set():
            records = [record for record in consumer.consume(100, 0.1) if record.error() is None or say(f"error readers {record.error()}")]
            for record in records:
                say(f"read {record.value().decode()} {record.partition()} {record.offset()}")
            if records:
                try:
                    consumer.commit(asynchronous=False)
                except confluent_kafka.KafkaException as error:
                    say(f"error commit {error}")
        consumer.close()

    def told(error, record):
        say(f"ack {record.value().decode()} {record.partition()} {record.offset()}" if error is None else f"error producer {error}")

    def produce():
        due, number = time.perf_counter(), 0
        while not ending.is_set():
            producer.produce(topic, str(number).encode(), on_delivery=told)
            number, due = number + 1, due + 1.0 / rate
            producer.poll(max(0.0, due - time.perf_counter()))
        producer.flush(PATIENCE)
        say("stopped")

    threads = [threading.Thread(target=read), threading.Thread(target=produce)]
    for thread in threads:
        thread.start()
    sys.stdin.readline()
    ending.set()
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join()


def play(options, cluster):
    for broker in run.BROKERS:
        cluster.start(broker)
    for broker in run.BROKERS:
        cluster.await_ready(broker)
    for topic in TOPICS.values():
        create = [cluster.binary, "topics", "-b", cluster.bootstrap.split(",")[0], "create", topic, "--partitions", str(PARTITIONS)]
        subprocess.run(create, check=True, stdout=subprocess.DEVNULL)
    java = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{run.CACHE}/kafka-4.3.1/libs/*", str(HERE / "RollingLoad.java"), cluster.bootstrap]
    python = [f"{run.CACHE}/compat/python/bin/python", str(HERE / "rolling.py"), "--load", cluster.bootstrap, TOPICS["librdkafka"], str(options.rate)]
    programs = [Program("java", [*java, TOPICS["java"], TOPICS["transactions"], str(options.rate)]), Program("librdkafka", python)]
    try:
        for program in programs:
            program.await_progress("at the beginning")
        for number in range(options.rounds):
            for broker in run.BROKERS:
                cluster.heal()
                for program in programs:
                    program.take_gap()
                cluster.kill(broker, signal.SIGTERM)
                cluster.start(broker)
                cluster.await_ready(broker)
                cluster.heal()
                for program in programs:
                    program.await_progress(f"after the restart of broker {broker}")
                gaps = ", ".join(f"{program.name} {program.take_gap():.2f} s" for program in programs)
                print(f"round {number + 1}: broker {broker} stopped and started; acknowledgements paused: {gaps}", flush=True)
        for program in programs:
            program.end()
    finally:
        for program in programs:
            program.process.kill()
    breaches = {}
    for program in programs:
        for rule, found in history.judge(program.acknowledged, program.read).items():
            breaches[f"{rule} ({program.name})"] = found
        if program.errors:
            breaches[f"errors of {program.name}"] = program.errors
        counts = "".join(f", {who} {count}" for who, count in program.done.items()) if program.name == "java" else ""
        print(f"{program.name}: {len(program.acknowledged)} acknowledged, {len(program.read)} read{counts}; {len(program.errors)} errors")
    return breaches


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rate", type=int, default=300, help="records a second of each producer")
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    parser.add_argument("--binary", type=pathlib.Path, default=run.CACHE / "target" / "release" / "klamm")
    options = parser.parse_args()
    history.check_itself()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="klamm-rolling-"))
    cluster = run.Cluster(options.binary, directory, run.Loopback())
    try:
        breaches = play(options, cluster)
    except (RuntimeError, subprocess.SubprocessError, OSError) as error:
        breaches = {"run": [str(error)]}
    finally:
        cluster.stop()
    history.conclude(breaches, options.keep, directory, [f"broker-{broker}.log" for broker in run.BROKERS])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        librdkafka(sys.argv[2], sys.argv[3], float(sys.argv[4]))
    else:
        main()
