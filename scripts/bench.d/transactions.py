"""Transactions: how many per second, how long a commit takes, and what a transaction costs the broker of processor time."""

import os
import subprocess

import systems
import wire

SHAPES = [(partitions, producers) for producers in (1, 50) for partitions in (1, 10, 100)]


def measure(options, results, running):
    source = os.path.join(systems.ROOT, "scripts", "bench.d", "Transactions.java")
    classpath = subprocess.run([systems.KAFKA, "classpath"], capture_output=True, text=True, check=True).stdout.strip()
    for _ in range(options.rounds):
        for system in running:
            if system.name == "yardstick":
                continue
            system.wipe()
            system.start()
            try:
                for partitions, producers in SHAPES:
                    topic = f"transactions-{partitions}-{producers}"
                    wire.create_topics(system.port, [topic], partitions)
                    one(options, results, system, classpath, source, topic, partitions, producers)
            finally:
                system.stop()
                system.wipe()


def one(options, results, system, classpath, source, topic, partitions, producers):
    row = f"transactions of {partitions} partition{'s' * (partitions > 1)}, {producers} producer{'s' * (producers > 1)}"
    command = ["java", "-Xmx1g", "-cp", classpath, source, f"127.0.0.1:{system.port}", topic, str(partitions), str(producers), str(options.seconds)]
    before = system.cpu_seconds()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds + 180)
        if done.returncode != 0:
            raise RuntimeError((done.stderr.strip().splitlines() or ["failed"])[-1])
        rate, median_ms, slow_ms = map(float, done.stdout.split())
    except (RuntimeError, ValueError, subprocess.SubprocessError, OSError) as error:
        results.fail(row, system.name, error)
        return
    results.add(row, "1/s", system.name, rate)
    results.add(f"{row}: commit, median", "ms", system.name, median_ms)
    results.add(f"{row}: commit, 99th percentile", "ms", system.name, slow_ms)
    # The warm-up transactions are counted neither here nor there.
    results.add(f"{row}: the broker's CPU per transaction", "ms", system.name, (system.cpu_seconds() - before) * 1000 / max(1, rate * options.seconds))
