#!/usr/bin/env python3
"""How fast a broker that was away catches up, and what that costs producers.

    scripts/bench.d/catch_up.py BINARIES [--rounds N] [--gigabytes N]

Three klamm processes, one topic of six partitions on all three. Broker 3 stops; so many GB are produced to the two others; it starts again, alone with its
work, and the time until it is in sync everywhere is compared with a bare copy (cp) of the same bytes on the same disk, from memory to memory. Then once more with
a producer of another topic that goes as fast as it can, beside the same producer with broker 3 away. Prints a Markdown table of medians.
"""

import argparse
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import cluster
import wire

PARTITIONS = 6
PATIENCE = 300.0
# What the producer beside it sends; long enough to see, short enough to end before the broker is in sync.
BESIDE_BYTES = 400 << 20


class Three(cluster.Cluster):
    def start_one(self, node):
        log = (self.directory / f"{node}.log").open("a")
        self.processes[node - 1] = subprocess.Popen(self.commands[node - 1], stdout=log, stderr=log)

    def stop_one(self, node):
        self.processes[node - 1].send_signal(signal.SIGTERM)
        self.processes[node - 1].wait()

    def address(self, node):
        return f"127.0.0.1:{self.clients[node - 1]}"

    def make(self, topic, partitions):
        """Led by 1, followed by all: `load` knows one address."""
        wire.create_assigned(self.clients[0], topic, [[1, 2, 3]] * partitions)
        self.await_in_sync(topic, partitions)

    def await_in_sync(self, topic, partitions):
        began = time.monotonic()
        while wire.in_sync(self.clients[0], topic) != [3] * partitions:
            if time.monotonic() - began > PATIENCE:
                raise RuntimeError(f"{topic} is not in sync: {wire.in_sync(self.clients[0], topic)}")
            time.sleep(0.02)
        return time.monotonic() - began

    def produce(self, options, topic, partitions, total_bytes):
        command = [str(options.binaries / "load"), "produce", "--address", self.address(1), "--topic", topic, "--acks", "all", "--partitions", str(partitions)]
        began = time.monotonic()
        subprocess.run([*command, "--batch-bytes", str(64 << 10), "--total-bytes", str(total_bytes)], check=True, stdout=subprocess.DEVNULL)
        return total_bytes / 1e6 / (time.monotonic() - began)


def bare_copy(source, target):
    """MB/s of a copy whose source is in memory as far as it fits, as the leader's log is."""
    shutil.rmtree(target, ignore_errors=True)
    size = sum(file.stat().st_size for file in source.rglob("*") if file.is_file())
    began = time.monotonic()
    subprocess.run(["cp", "-r", "--reflink=never", source, target], check=True)
    seconds = time.monotonic() - began
    shutil.rmtree(target)
    return size / 1e6 / seconds


def play(options, three):
    total = int(options.gigabytes * 1e9)
    three.start()
    three.make("behind", PARTITIONS)
    three.make("beside", 1)
    three.stop_one(3)
    three.produce(options, "behind", PARTITIONS, total)
    data = three.directory / "1" / "data"
    copied = bare_copy(data, three.directory / "copy")
    three.start_one(3)
    alone = total / 1e6 / three.await_in_sync("behind", PARTITIONS)
    three.stop_one(3)
    three.produce(options, "behind", PARTITIONS, total)
    before = three.produce(options, "beside", 1, BESIDE_BYTES)
    three.start_one(3)
    began = time.monotonic()
    during = three.produce(options, "beside", 1, BESIDE_BYTES)
    is_through = wire.in_sync(three.clients[0], "behind") == [3] * PARTITIONS
    three.await_in_sync("behind", PARTITIONS)
    together = (total + 2 * BESIDE_BYTES) / 1e6 / (time.monotonic() - began)
    if is_through:
        print("the broker was in sync before the producer beside it had ended: more gigabytes are needed", file=sys.stderr)
    return {
        "bare copy": copied,
        "catching up": alone,
        "catching up beside a producer": together,
        "the producer, the broker away": before,
        "the producer, the broker catching up": during,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    options = parser.parse_args()
    cluster.Cluster.tool = options.binaries / "klamm"
    found = {}
    for number in range(options.rounds):
        work = pathlib.Path(tempfile.mkdtemp(prefix="klamm-bench-catch-up-"))
        three = Three("klamm", work, options.binaries)
        try:
            rows = play(options, three)
        finally:
            three.stop()
            shutil.rmtree(work, ignore_errors=True)
        print(f"round {number + 1}: {rows}", file=sys.stderr, flush=True)
        for row, value in rows.items():
            found.setdefault(row, []).append(value)
    medians = {row: statistics.median(values) for row, values in found.items()}
    goals = {
        "catching up": ("bare copy", "at least 0.6"),
        "the producer, the broker catching up": ("the producer, the broker away", "at least 0.8"),
    }
    print(f"| {options.gigabytes:g} GB behind | MB/s | ratio | goal |\n|---|---:|---:|---:|")
    for row, value in medians.items():
        of, goal = goals.get(row, (None, "-"))
        print(f"| {row} | {value:.0f} | {f'{value / medians[of]:.2f}' if of else '-'} | {goal} |")


if __name__ == "__main__":
    main()
