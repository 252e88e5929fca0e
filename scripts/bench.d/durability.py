"""What klamm.durability=group costs beside os and beside Apache Kafka with flush.messages=1, and how long a start takes after kill -9."""

import collections
import os
import signal
import statistics
import time

import systems
import wire

Load = collections.namedtuple("Load", "name partitions record batch acks codec window connections")
THROUGHPUT = [
    Load("1 partition, batches of 16 KiB, 10 in flight", 1, 1024, 16384, "all", "none", 5, 2),
    Load("100 partitions, batches of 16 KiB", 100, 1024, 16384, "all", "none", 5, 4),
    Load("100 partitions, batches of 1 MiB", 100, 1024, 1 << 20, "all", "none", 5, 4),
]
# Requests of one batch of 16 KiB a second.
OFFERED = [("1 MB/s", 64), ("10 MB/s", 640), ("100 MB/s", 6400)]
GIGABYTES = [1, 2, 4, 5, 8]
COLUMNS = ["klamm, os", "klamm, group", "Kafka, flush.messages=1"]


def fdatasync_ms(folder, rate=None):
    """The median of overwriting 4 KiB with a sync, in a file that has its blocks; one after the other, or so many a second: after a rest, both the
    disk and the processor take longer."""
    times = []
    with open(os.path.join(folder, "probe"), "w+b", buffering=0) as file:
        file.write(bytes(1 << 20))
        os.fsync(file.fileno())
        first = time.monotonic()
        for number in range(200):
            if rate:
                time.sleep(max(0.0, first + number / rate - time.monotonic()))
            began = time.monotonic()
            os.pwrite(file.fileno(), bytes([number % 251]) * 4096, number * 4096 % (1 << 20))
            os.fdatasync(file.fileno())
            times.append((time.monotonic() - began) * 1000)
    return statistics.median(times)


def running(options, work):
    klamm = [systems.System("klamm", work, options.binaries, column, [f"klamm.durability={column.split()[-1]}"]) for column in COLUMNS[:2]]
    kafka = systems.System("kafka", work, options.binaries, COLUMNS[2], ["log.flush.interval.messages=1"])
    wanted = [*klamm, kafka]
    return [system for system in wanted if system.kind not in options.without.split(",")]


def cost(options, work, load, say):
    found, probes = {}, {}

    def add(row, unit, system, value):
        found.setdefault((row, unit), {}).setdefault(system.name, []).append(value)
        say(f"{system.name}: {row}: {value:.4g} {unit}")

    wanted = running(options, work)
    for system in wanted:
        system.wipe()
        system.start()
        # The JVM's first seconds, and the first use of the journal's files.
        for number in range(2):
            load(options, system, "produce", THROUGHPUT[1], f"warm-up-{number}", **{"total-bytes": options.bytes // 2})
            wire.delete_topic(system.port, f"warm-up-{number}")
    for turn in range(options.rounds):
        for number, cell in enumerate(THROUGHPUT):
            for system in wanted:
                os.sync()
                topic, before = f"load-{turn}-{number}", system.cpu_seconds()
                answer = load(options, system, "produce", cell, topic, **{"total-bytes": options.bytes})
                add(cell.name, "MB/s", system, answer["mb_per_s"])
                add(cell.name, "CPU s/GB", system, (system.cpu_seconds() - before) / (answer["payload_bytes"] / 1e9))
                wire.delete_topic(system.port, topic)
        for name, rate in OFFERED:
            for system in wanted:
                os.sync()
                probes.setdefault(None, []).append(fdatasync_ms(work))
                probes.setdefault(name, []).append(fdatasync_ms(work, rate))
                topic = f"offered-{turn}-{rate}"
                flags = {"rate": rate, "seconds": options.seconds, "connections": 16}
                answer = load(options, system, "latency", THROUGHPUT[1], topic, **flags)
                add(f"{name} offered in batches of 16 KiB to 100 partitions, p50", "ms", system, answer["p50_us"] / 1000)
                add(f"{name} offered in batches of 16 KiB to 100 partitions, p99", "ms", system, answer["p99_us"] / 1000)
                wire.delete_topic(system.port, topic)
    for system in wanted:
        system.stop()
        system.wipe()
    return cost_table(found, {name: statistics.median(times) for name, times in probes.items()})


def cost_table(found, probes):
    probe_ms = probes[None]
    paced = ", ".join(f"{probe:.2f} ms at the pace of {name}" for name, probe in probes.items() if name)
    lines = ["", "## Acknowledged on the disk", ""]
    lines += [f"acks=all; one fdatasync of 4 KiB took {probe_ms:.2f} ms one after the other, {paced} (medians of those between the loads).", ""]
    lines += [f"| measure | unit | {' | '.join(COLUMNS)} | group : os | group : Kafka | fdatasyncs | at this pace |", "|---|---|" + "--:|" * (len(COLUMNS) + 4)]
    for (row, unit), values in found.items():
        medians = [statistics.median(values[column]) if column in values else None for column in COLUMNS]
        shares = [f"{medians[1] / other:.2f}" if other and medians[1] else "-" for other in (medians[0], medians[2])]
        paced_ms = probes.get(row.split(" offered")[0]) if unit == "ms" else None
        syncs = [f"{medians[1] / probe:.1f}" if unit == "ms" and medians[1] and probe else "-" for probe in (probe_ms, paced_ms)]
        cells = ["-" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}" for value in medians]
        lines.append(f"| {row} | {unit} | {' | '.join([*cells, *shares, *syncs])} |")
    return lines


def restart(options, work, load, say):
    lines = ["", "## Starts after kill -9", "", "100 partitions; from exec to the first answered Metadata; in brackets the two starts after that.", ""]
    lines += ["| GB | durability | ready, ms | resident, MB |", "|--:|---|--:|--:|"]
    firsts = {}
    for gigabytes in GIGABYTES[: 2 if options.quick else None]:
        for system in running(options, work)[:2]:
            system.wipe()
            system.start()
            load(options, system, "produce", THROUGHPUT[1], "t", **{"total-bytes": gigabytes * 10**9})
            starts, resident = [], []
            for _ in range(3):
                system.stop(signal.SIGKILL)
                starts.append(system.start() * 1000)
                resident.append(system.resident_mb())
            system.stop()
            system.wipe()
            say(f"{system.name}: {gigabytes} GB: {starts} ms, {resident} MB")
            firsts.setdefault(system.name, []).append((gigabytes, starts[0]))
            durability = system.name.split()[-1]
            lines.append(f"| {gigabytes} | {durability} | {starts[0]:.0f} ({starts[1]:.0f}, {starts[2]:.0f}) | {resident[0]:.0f} |")
    slopes = [f"{name}: {statistics.linear_regression(*zip(*points)).slope:.0f} ms" for name, points in firsts.items()]
    return [*lines, "", f"Slope of the first start per GB: {'; '.join(slopes)}."]
