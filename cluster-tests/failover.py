#!/usr/bin/env python3
"""How long acknowledgements pause when a broker goes, as clients with their default settings see it.

    cluster-tests/failover.py [--runs N] [--clients librdkafka,java] [--kinds leader,controller,stop] [--rate N] [--calm SECONDS] [--seed N]

Three klamm processes; three topics of one partition on all three, each led by another broker. A producer with default settings sends to them in turn.
Kinds: leader (kill -9 of a broker that is not the active controller), controller (kill -9 of the one that is), stop (SIGTERM), stop-controller (SIGTERM of
the active controller). The pause is the longest time between two acknowledgements of the topic that the broker led. Where the controller goes it is also
seen when a survivor names another one.
Before the next run all are in sync again and lead what they led before, and another producer takes over: one that has seen a broker die tries it again
only after a pause of up to ten seconds (reconnect.backoff.max.ms), which would count here if the broker died and led once more within it. Then, for
--calm seconds, with both processors kept busy beside the load and no
fault at all, each change of a leader or of the controller is counted: a false alarm.

Prints p50, p99 and the maximum beside the goals; a goal that is missed is no failure, a record that was not delivered is.
"""

import argparse
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

import run
from wire import Reader, Wire as AnyWire, text

HERE = pathlib.Path(__file__).resolve().parent
CACHE = run.CACHE
PATIENCE = 60.0
TOPICS = {broker: f"led-by-{broker}" for broker in run.BROKERS}
# Seconds: median, 99th percentile.
GOALS = {"leader": (0.5, 1.0), "controller": (0.5, 1.5), "stop": (0.1, 0.1), "new controller": (None, 0.7)}
GOALS |= {"stop-controller": GOALS["stop"], "next controller": (None, None)}


class Wire(AnyWire):
    """Knows the topics of one partition."""

    def metadata(self, topics=()):
        """The controller, and for each topic leader, leader epoch and in-sync replicas of partition 0."""
        controller, found = self.topics(topics)
        return controller, {name: partitions[0] for name, partitions in found.items() if partitions}

    def create_topics(self):
        rows = b""
        for broker, name in TOPICS.items():
            replicas = [broker, *(other for other in run.BROKERS if other != broker)]
            rows += text(name) + struct.pack(">ihiii3ii", -1, -1, 1, 0, 3, *replicas, 0)
        answer = Reader(self.call(19, 2, struct.pack(">i", len(TOPICS)) + rows + struct.pack(">i", 30_000) + b"\0"))
        answer.number("i")
        for name, code, message in answer.array(lambda: (answer.text(), answer.number("h"), answer.text())):
            if code:
                raise RuntimeError(f"{name} is not created: {code} {message}")

    def elect_preferred_leaders(self):
        # A null list is all partitions.
        self.call(43, 1, struct.pack(">bii", 0, -1, 10_000))


class Load:
    """A producer in a process of its own; by topic, when its acknowledgements came."""

    def __init__(self, client, bootstrap, rate):
        topics = ",".join(TOPICS.values())
        if client == "java":
            options = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{CACHE}/kafka-4.3.1/libs/*"]
            command = ["java", *options, str(HERE / "FailoverLoad.java"), bootstrap, str(rate), topics]
        else:
            command = [f"{CACHE}/compat/python/bin/python", str(HERE / "failover.py"), "--load", bootstrap, str(rate), topics]
        self.times, self.errors = {topic: [] for topic in TOPICS.values()}, []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        threading.Thread(target=self.take, daemon=True).start()

    def take(self):
        for line in self.process.stdout:
            word, topic, moment, *reason = line.split(" ", 3)
            if word == "ack":
                self.times[topic].append(float(moment))
            else:
                self.errors.append((topic, moment, *reason))

    def acknowledged(self):
        return sum(len(times) for times in self.times.values())

    def await_after(self, topic, moment):
        """Waits for a second of acknowledgements behind a moment."""
        patience = time.monotonic() + PATIENCE
        while not self.times[topic] or self.times[topic][-1] < moment + 1.0:
            if time.monotonic() > patience or self.process.poll() is not None:
                raise RuntimeError(f"{topic}: nothing is acknowledged any more; refused: {self.errors[:3]}")
            time.sleep(0.02)

    def pause(self, topic, moment):
        """The longest time between two acknowledgements of which the later one came after a moment."""
        times = sorted(self.times[topic])
        return max(later - earlier for earlier, later in zip(times, times[1:]) if later > moment)

    def end(self):
        self.process.kill()
        self.process.wait()


def load(bootstrap, rate, topics):
    """What runs in the process of librdkafka's producer."""
    from confluent_kafka import Producer

    producer, names, pause = Producer({"bootstrap.servers": bootstrap}), topics.split(","), 1.0 / float(rate)

    def told(name):
        def callback(error, _message):
            print(f"ack {name} {time.time():.6f}" if error is None else f"error {name} {time.time():.6f} {error}", flush=True)

        return callback

    callbacks = [told(name) for name in names]
    due, number = time.perf_counter(), 0
    while True:
        producer.produce(names[number % len(names)], b"x" * 100, on_delivery=callbacks[number % len(names)])
        number, due = number + 1, due + pause
        while True:
            left = due - time.perf_counter()
            producer.poll(max(0.0, min(left, 0.01)))
            if left <= 0:
                break


class Watch:
    """Asks brokers again and again who the controller is, until one names another one than before."""

    def __init__(self, cluster, survivors, former):
        self.former, self.seen = former, None
        self.wires = [Wire(cluster.network.client_address(broker)) for broker in survivors]
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self):
        patience = time.monotonic() + PATIENCE
        while self.seen is None and time.monotonic() < patience:
            for wire in self.wires:
                controller, _ = wire.metadata()
                if controller not in (self.former, -1):
                    self.seen = time.time()
                    return
            time.sleep(0.003)


class Trial:
    """A cluster under the load of one client, which begins anew for each fault."""

    def __init__(self, options, cluster, client):
        self.cluster, self.client, self.rate = cluster, client, options.rate
        self.rng = random.Random(options.seed)
        self.pauses, self.acknowledged, self.errors = {}, 0, []

    def begin(self):
        self.load = Load(self.client, self.cluster.bootstrap, self.rate)

    def end(self):
        self.load.end()
        self.acknowledged += self.load.acknowledged()
        self.errors += self.load.errors

    def settle(self):
        """Waits until all are in sync and each broker leads its topic; who the controller is."""
        patience, elect = time.monotonic() + PATIENCE, 0.0
        while time.monotonic() < patience:
            try:
                wire = Wire(self.cluster.network.client_address(1))
                controller, topics = wire.metadata(tuple(TOPICS.values()))
                if len(topics) == len(TOPICS) and all(len(in_sync) == 3 for _, _, in_sync in topics.values()) and controller > 0:
                    if all(topics[name][0] == broker for broker, name in TOPICS.items()):
                        return controller
                    if time.monotonic() > elect:
                        wire.elect_preferred_leaders()
                        elect = time.monotonic() + 1.0
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError("the cluster does not settle")

    def inflict(self, kind):
        controller = self.settle()
        others = [broker for broker in run.BROKERS if broker != controller]
        victim = {"leader": self.rng.choice(others), "controller": controller, "stop": self.rng.choice(run.BROKERS), "stop-controller": controller}[kind]
        topic = TOPICS[victim]
        self.begin()
        self.load.await_after(topic, 0.0)
        # The load stands still for nobody: a second of it lies before the fault, too.
        self.load.await_after(topic, time.time())
        watch = Watch(self.cluster, others, controller) if kind in ("controller", "stop-controller") else None
        if watch:
            watch.thread.start()
        moment = time.time()
        self.cluster.processes[victim].send_signal(signal.SIGTERM if kind in ("stop", "stop-controller") else signal.SIGKILL)
        self.load.await_after(topic, moment)
        self.cluster.processes[victim].wait()
        self.note(kind, self.load.pause(topic, moment))
        if watch:
            watch.thread.join(PATIENCE)
            self.note("new controller" if kind == "controller" else "next controller", watch.seen - moment)
        self.end()
        self.cluster.start(victim)
        self.cluster.await_ready(victim)

    def note(self, kind, seconds):
        self.pauses.setdefault(kind, []).append(seconds)


def alarms(options, cluster, trial):
    """Changes of leaders and controllers while nobody is touched, on processors that are busy."""
    trial.settle()
    trial.begin()
    trial.load.await_after(TOPICS[1], 0.0)
    burn = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 2)]
    wire, changes, known = Wire(cluster.network.client_address(2), patience=30.0), [], None
    end = time.monotonic() + options.calm
    try:
        while time.monotonic() < end:
            controller, topics = wire.metadata(tuple(TOPICS.values()))
            now = {"controller": controller, **{name: (leader, epoch) for name, (leader, epoch, _) in topics.items()}}
            if known is not None:
                changes += [(key, known[key], now[key]) for key in now if known.get(key) != now[key]]
            known = now
            time.sleep(0.02)
    finally:
        for process in burn:
            process.kill()
            process.wait()
    trial.end()
    return changes


def quantile(values, share):
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def show(client, pauses):
    for kind, seconds in pauses.items():
        median, tail = quantile(seconds, 0.5), quantile(seconds, 0.99)
        goal_median, goal_tail = GOALS[kind]
        missed = (goal_median is not None and median > goal_median) or (goal_tail is not None and tail > goal_tail)
        print(
            f"{client:<10} {kind:<14} runs {len(seconds):>3}  p50 {median:.3f} s  p99 {tail:.3f} s  max {max(seconds):.3f} s"
            f"  goal p50 {goal_median or '-'}, p99 {goal_tail or '-'}{'  MISSED' if missed else ''}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="of each kind; 100 in the long form")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=lambda value: value.split(","), default=["librdkafka", "java"])
    parser.add_argument("--kinds", type=lambda value: value.split(","), default=["leader", "controller", "stop"])
    parser.add_argument("--rate", type=int, default=600, help="records a second, over all topics")
    parser.add_argument("--calm", type=float, default=0.0, help="seconds without a fault on busy processors")
    parser.add_argument("--verbose", action="store_true", help="print each pause")
    parser.add_argument("--binary", type=pathlib.Path, default=CACHE / "target" / "release" / "klamm")
    options = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="klamm-failover-"))
    cluster, failures = run.Cluster(options.binary, directory, run.Loopback()), []
    try:
        for broker in run.BROKERS:
            cluster.start(broker)
        for broker in run.BROKERS:
            cluster.await_ready(broker)
        Wire(cluster.network.client_address(1)).create_topics()
        for client in options.clients:
            trial = Trial(options, cluster, client)
            trial.settle()
            for number in range(options.runs):
                for kind in options.kinds:
                    trial.inflict(kind)
                if options.verbose:
                    print(client, {kind: f"{seconds[number]:.3f}" for kind, seconds in trial.pauses.items()}, flush=True)
            show(client, trial.pauses)
            if options.calm:
                found = alarms(options, cluster, trial)
                print(f"{client:<10} {len(found)} changes of leaders in {options.calm:.0f} s without a fault {found[:3] if found else ''}")
            print(f"{client:<10} {trial.acknowledged} acknowledged, {len(trial.errors)} not delivered", flush=True)
            failures += trial.errors[:3]
    except RuntimeError as error:
        failures.append(str(error))
    finally:
        cluster.stop()
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"logs are in {directory}")
    print(f"{0 if failures else 1} passed, {1 if failures else 0} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        load(*sys.argv[2:5])
    main()
