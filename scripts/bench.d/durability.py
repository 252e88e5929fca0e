#!/usr/bin/env python3
"""What klamm.durability=group costs beside os, and how long a start takes after kill -9, by the data there is.

    scripts/bench.d/durability.py BINARIES [--only cost|restart] [--rounds N] [--gigabytes 1,2,4,8]

BINARIES is the directory of the release binaries klamm and load. The two durabilities take turns; medians are printed.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

# Name, flags of the load: 1 KiB records; MB/s of the offered rows are ticks of one batch of 16 KiB.
THROUGHPUT = [
    ("1 partition, batches of 16 KiB", ["--partitions", "1", "--connections", "2"]),
    ("100 partitions, batches of 16 KiB", ["--partitions", "100", "--connections", "4"]),
    ("100 partitions, batches of 1 MiB", ["--partitions", "100", "--connections", "4", "--batch-bytes", "1048576"]),
]
OFFERED = [("1 MB/s", 64), ("10 MB/s", 640), ("100 MB/s", 6400)]


class Broker:
    def __init__(self, binaries, data, durability):
        self.arguments = [str(binaries / "klamm"), "--listen", "127.0.0.1:0", "--data", str(data), "--override", f"klamm.durability={durability}"]

    def __enter__(self):
        began = time.monotonic()
        self.process = subprocess.Popen(self.arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        self.ready_s = time.monotonic() - began
        self.address = line.removeprefix("klamm is ready on ").split()[0].rstrip(",")
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGTERM)

    def stop(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait()

    def cpu_s(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def load(binaries, broker, verb, flags):
    command = [str(binaries / "load"), verb, "--address", broker.address, "--acks", "all", *flags]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def fdatasync_ms(folder):
    """The median of overwriting 4 KiB with a sync, in a file that has its blocks."""
    path = folder / "probe"
    path.write_bytes(bytes(1 << 20))
    times = []
    with open(path, "r+b", buffering=0) as file:
        os.fsync(file.fileno())
        for number in range(200):
            began = time.monotonic()
            os.pwrite(file.fileno(), bytes([number % 251]) * 4096, number * 4096 % (1 << 20))
            os.fdatasync(file.fileno())
            times.append((time.monotonic() - began) * 1000)
    return statistics.median(times)


def cost(options, folder):
    found = {}
    probes = []
    for round_number in range(options.rounds):
        probes.append(fdatasync_ms(folder))
        for durability in ("os", "group"):
            for name, flags in THROUGHPUT:
                with Broker(options.binaries, folder / "data", durability) as broker:
                    answer = load(options.binaries, broker, "produce", ["--topic", "t", "--total-bytes", str(400 << 20), *flags])
                    cpu = broker.cpu_s() / (answer["payload_bytes"] / 1e9)
                found.setdefault((name, "MB/s"), {}).setdefault(durability, []).append(answer["mb_per_s"])
                found.setdefault((name, "CPU s/GB"), {}).setdefault(durability, []).append(cpu)
                shutil.rmtree(folder / "data")
            for name, rate in OFFERED:
                with Broker(options.binaries, folder / "data", durability) as broker:
                    flags = ["--topic", "t", "--partitions", "100", "--connections", "16", "--rate", str(rate), "--seconds", "4"]
                    answer = load(options.binaries, broker, "latency", flags)
                for share in ("p50", "p99"):
                    found.setdefault((f"{name} offered, 100 partitions, {share}", "ms"), {}).setdefault(durability, []).append(answer[f"{share}_us"] / 1000)
                shutil.rmtree(folder / "data")
    print(f"one fdatasync of 4 KiB: {statistics.median(probes):.2f} ms\n\n| acks=all | | os | group | group : os |\n|---|---|---:|---:|---:|")
    for (name, unit), values in found.items():
        os_value, group = (statistics.median(values[durability]) for durability in ("os", "group"))
        print(f"| {name} | {unit} | {os_value:.2f} | {group:.2f} | {group / os_value:.2f} |")


def restart(options, folder):
    print("| after kill -9 | durability | ready, s | resident, MB |\n|---|---|---:|---:|")
    for gigabytes in options.gigabytes:
        for durability in ("os", "group"):
            with Broker(options.binaries, folder / "data", durability) as broker:
                flags = ["--topic", "t", "--partitions", "100", "--connections", "4", "--total-bytes", str(int(gigabytes * 1e9))]
                load(options.binaries, broker, "produce", flags)
                broker.stop(signal.SIGKILL)
            starts, resident = [], []
            for _ in range(3):
                with Broker(options.binaries, folder / "data", durability) as broker:
                    starts.append(broker.ready_s)
                    resident.append(broker.resident_mb())
                    broker.stop(signal.SIGKILL)
            print(f"| {gigabytes} GB in 100 partitions | {durability} | {starts[0]:.2f} (then {starts[1]:.2f}, {starts[2]:.2f}) | {resident[0]:.0f} |")
            shutil.rmtree(folder / "data")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", type=pathlib.Path)
    parser.add_argument("--only", choices=["cost", "restart"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gigabytes", type=lambda text: [float(word) for word in text.split(",")], default=[1, 2, 4, 8])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("cost", cost), ("restart", restart)):
            if options.only in (None, name):
                part(options, pathlib.Path(folder))


if __name__ == "__main__":
    main()
