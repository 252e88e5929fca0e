#!/usr/bin/env python3
"""Three klamm processes beside three of Apache Kafka on this machine: replication factor 3, acks=all, min.insync.replicas=2.

    scripts/bench.d/cluster.py BINARIES [--rounds N] [--seconds N] [--without klamm,kafka] [--synced]

BINARIES is the directory of the release binaries klamm and load. With --synced what is acknowledged is on the disk: klamm.durability=group beside
flush.messages=1. Throughput comes from `load` (all partitions led by broker 1, whose address it knows; pre-encoded frames), latency from Kafka's own kafka-producer-perf-test at 5,000 records of 1 KiB a second. CPU is of all three brokers. Prints a Markdown table of medians.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import wire

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "klamm"
LIBRARIES = f"{CACHE}/kafka-4.3.1/libs/*"
NODES = (1, 2, 3)
TICKS = os.sysconf("SC_CLK_TCK")
CLUSTER_ID = "klammBenchCluster00000"
SETTINGS = """\
process.roles=broker,controller
node.id={node}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters={voters}
log.dirs={data}
default.replication.factor=3
offsets.topic.replication.factor=3
min.insync.replicas=2
{own}
"""
SYNCED = {"klamm": "klamm.durability=group", "kafka": "log.flush.interval.messages=1"}
# What it is called: partitions, bytes of a record, of a batch, of all.
LOADS = {
    "16 KiB batches": (1, 1024, 16 << 10, 128 << 20),
    "16 KiB batches, 6 partitions": (6, 1024, 16 << 10, 128 << 20),
    "16 KiB batches, 100 partitions": (100, 1024, 16 << 10, 128 << 20),
    "16 KiB batches of 100 B records, 6 partitions": (6, 100, 16 << 10, 128 << 20),
    "1 MiB batches": (1, 1024, 1 << 20, 1 << 30),
    "1 MiB batches, 6 partitions": (6, 1024, 1 << 20, 1 << 30),
}


def free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Cluster:
    def __init__(self, name, directory, binaries, is_synced=False):
        self.name, self.directory = name, directory / name
        ports = free_ports(2 * len(NODES))
        clients, controllers = ports[: len(NODES)], ports[len(NODES) :]
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port in clients)
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in zip(NODES, controllers))
        self.commands = []
        for node, port, controller in zip(NODES, clients, controllers):
            home = self.directory / str(node)
            home.mkdir(parents=True)
            file = home / "server.properties"
            file.write_text(SETTINGS.format(node=node, port=port, controller=controller, voters=voters, data=home / "data", own=SYNCED[name] if is_synced else ""))
            if name == "klamm":
                self.commands.append([str(binaries / "klamm"), "server", "-c", str(file)])
            else:
                java = ["java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", LIBRARIES]
                subprocess.run([*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(file)], check=True, stdout=subprocess.DEVNULL)
                self.commands.append([java[0], "-Xms1g", "-Xmx1g", "-XX:+UseG1GC", *java[1:], "kafka.Kafka", str(file)])
        self.clients, self.processes = clients, []

    def start(self):
        """Starts all; the seconds until each knows of three brokers."""
        began = time.monotonic()
        for number, command in enumerate(self.commands):
            log = (self.directory / f"{number + 1}.log").open("w")
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        for port in self.clients:
            while True:
                asked = subprocess.run(["kcat", "-b", f"127.0.0.1:{port}", "-L", "-J", "-m", "2"], capture_output=True, text=True)
                if asked.returncode == 0 and len(json.loads(asked.stdout)["brokers"]) == len(NODES):
                    break
                if time.monotonic() - began > 90 or any(process.poll() is not None for process in self.processes):
                    logs = "\n".join((self.directory / f"{node}.log").read_text()[-2000:] for node in NODES)
                    raise RuntimeError(f"{self.name} does not come up:\n{logs}")
        return time.monotonic() - began

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
        for process in self.processes:
            process.wait()

    def cpu_seconds(self):
        total = 0
        for process in self.processes:
            fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def resident_bytes(self):
        found = [re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{process.pid}/status").read_text()) for process in self.processes]
        return sum(int(match[1]) * 1024 for match in found)

    def create(self, topic, partitions):
        """Creates a topic; the leader's address of partition 0, once all replicas are in sync."""
        command = ["topics", "-b", f"127.0.0.1:{self.clients[0]}", "create", topic, "--partitions", str(partitions), "--replication-factor", "3"]
        subprocess.run([str(self.tool), *command], check=True, stdout=subprocess.DEVNULL)
        while True:
            asked = subprocess.run(["kcat", "-b", self.bootstrap, "-L", "-J", "-t", topic], capture_output=True, text=True)
            known = json.loads(asked.stdout) if asked.returncode == 0 else {"topics": []}
            rows = [row for found in known["topics"] for row in found["partitions"]]
            if len(rows) == partitions and all(len(row["isrs"]) == 3 and row["leader"] > 0 for row in rows):
                leader = next(row["leader"] for row in rows if row["partition"] == 0)
                return next(broker["name"] for broker in known["brokers"] if broker["id"] == leader)
            time.sleep(0.1)


def throughput(cluster, options, topic, partitions, record_bytes, batch_bytes, total_bytes):
    wire.create_assigned(cluster.clients[0], topic, [[1, 2, 3]] * partitions)
    while wire.in_sync(cluster.clients[0], topic) != [len(NODES)] * partitions:
        time.sleep(0.1)
    command = [str(options.binaries / "load"), "produce", "--address", f"127.0.0.1:{cluster.clients[0]}", "--topic", topic, "--acks", "all"]
    command += ["--partitions", str(partitions), "--record-bytes", str(record_bytes)]
    command += ["--connections", "1", "--batch-bytes", str(batch_bytes), "--total-bytes"]
    # The first bytes warm it.
    subprocess.run([*command, str(total_bytes // 4)], check=True, stdout=subprocess.DEVNULL)
    before, began = cluster.cpu_seconds(), time.monotonic()
    subprocess.run([*command, str(total_bytes)], check=True, stdout=subprocess.DEVNULL)
    seconds, cpu = time.monotonic() - began, cluster.cpu_seconds() - before
    wire.delete_topic(cluster.clients[0], topic)
    return {"MB/s": total_bytes / 1e6 / seconds, "CPU s/GB": cpu / (total_bytes / 1e9)}


def latency(cluster, options, topic):
    cluster.create(topic, 6)
    java = ["java", "-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", LIBRARIES, "org.apache.kafka.tools.ProducerPerformance"]
    rate = 5000
    settings = ["--command-property", f"bootstrap.servers={cluster.bootstrap}", "acks=all", "linger.ms=0"]
    shape = ["--topic", topic, "--record-size", "1024", "--throughput", str(rate), "--num-records", str(rate * (options.seconds + 5))]
    told = subprocess.run([*java, *shape, "--warmup-records", str(rate * 5), *settings], check=True, capture_output=True, text=True).stdout
    row = re.findall(r"([\d.]+) ms (avg latency|max latency|50th|95th|99th|99.9th)", told.strip().splitlines()[-1])
    named = {name: float(value) for value, name in row}
    return {"p50 ms": named["50th"], "p99 ms": named["99th"], "p99.9 ms": named["99.9th"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--without", default="")
    parser.add_argument("--synced", action="store_true", help="what is acknowledged is on the disk")
    options = parser.parse_args()
    Cluster.tool = options.binaries / "klamm"
    names = [name for name in ("klamm", "kafka") if name not in options.without.split(",")]
    found = {}
    for number in range(options.rounds):
        for name in names:
            work = pathlib.Path(tempfile.mkdtemp(prefix="klamm-bench-cluster-"))
            cluster = Cluster(name, work, options.binaries, options.synced)
            try:
                ready = cluster.start()
                rows = {"start": {"s": ready}}
                for number_of_load, (what, load) in enumerate(LOADS.items()):
                    rows[what] = throughput(cluster, options, f"load-{number_of_load}", *load)
                rows["5,000 records/s"] = latency(cluster, options, "paced")
                rows["memory after it"] = {"MB": cluster.resident_bytes() / 1e6}
            finally:
                cluster.stop()
                shutil.rmtree(work, ignore_errors=True)
            for row, figures in rows.items():
                for unit, value in figures.items():
                    found.setdefault((row, unit), {}).setdefault(name, []).append(value)
            print(f"round {number + 1} {name}: {rows}", file=sys.stderr, flush=True)
    print(f"| three brokers, RF 3, acks=all | {' | '.join(names)} | klamm : kafka |\n|---|{'---:|' * (len(names) + 1)}")
    for (row, unit), by_name in found.items():
        medians = {name: statistics.median(values) for name, values in by_name.items()}
        ratio = f"{medians['klamm'] / medians['kafka']:.2f}" if len(medians) == 2 and medians["kafka"] else "-"
        print(f"| {row}, {unit} | {' | '.join(f'{medians[name]:.2f}' for name in names)} | {ratio} |")


if __name__ == "__main__":
    main()
