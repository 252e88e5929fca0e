"""scripts/bench: see there. Runs the loads against all systems, interleaved, and prints medians and ratios."""

import argparse
import collections
import datetime
import itertools
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import durability
import librdkafka
import scale
import systems
import transactions
import wire

PARTS = ["startup", "fsync", "idle", "throughput", "latency", "librdkafka", "subscribe", "scale", "durability", "restart", "transactions", "commits"]
# Minutes of their own.
ONLY_IF_ASKED = ["durability", "restart", "transactions", "commits"]
Cell = collections.namedtuple("Cell", "partitions record batch acks codec window connections", defaults=("none", 5, 1))
CELLS = [
    Cell(1, 1024, 16384, "1"),
    Cell(1, 1024, 16384, "1", window=1),
    Cell(1, 1024, 16384, "all", window=1),
    Cell(6, 1024, 16384, "all"),
    Cell(6, 1024, 16384, "1"),
    Cell(6, 1024, 16384, "all", codec="lz4"),
    Cell(6, 100, 16384, "all"),
    Cell(100, 1024, 16384, "all"),
    Cell(6, 1024, 1 << 20, "all"),
]


def full_cells():
    combinations = itertools.product([1, 6, 100], [100, 1024], [16384, 1 << 20], ["1", "all"])
    return [Cell(*values) for values in combinations]


class Results:
    """Values by (row, system), kept in the order of the first value; a failed measurement is said, not hidden."""

    def __init__(self):
        self.rows = {}
        self.failures = []

    def add(self, row, unit, system, value):
        self.rows.setdefault((row, unit), {}).setdefault(system, []).append(value)
        say(f"{system}: {row}: {value:.4g} {unit}")

    def fail(self, row, system, error):
        self.failures.append(f"{system}: {row}: {error}")
        say(f"FAILED {system}: {row}: {error}")

    def median(self, row, system):
        values = self.rows[row].get(system)
        return statistics.median(values) if values else None


def say(text):
    print(text, file=sys.stderr, flush=True)


def load(options, system, verb, cell, topic, **more):
    flags = {"address": f"127.0.0.1:{system.port}", "topic": topic, "partitions": cell.partitions, "acks": cell.acks}
    flags |= {"record-bytes": cell.record, "batch-bytes": cell.batch, "codec": cell.codec, "window": cell.window, "connections": cell.connections}
    flags |= more
    words = list(itertools.chain.from_iterable((f"--{key}", str(value)) for key, value in flags.items()))
    done = subprocess.run([os.path.join(options.binaries, "load"), verb, *words], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"code {done.returncode}")
    return json.loads(done.stdout)


def measure_cell(options, results, system, cell, topic):
    batch = "1 MiB" if cell.batch >= 1 << 20 else f"{cell.batch >> 10} KiB"
    name = f"{cell.record} B records, {batch} batches, {cell.partitions} partition{'s' if cell.partitions > 1 else ''}, acks={cell.acks}"
    name += (f", {cell.codec}" if cell.codec != "none" else "") + (", one request at a time" if cell.window == 1 else "")
    # What earlier runs have left to be written shall not be charged to this one.
    os.sync()
    cpu, written = system.cpu_seconds(), system.written_bytes()
    try:
        produced = load(options, system, "produce", cell, topic, **{"total-bytes": options.bytes})
        time.sleep(0.3)
        gigabytes = produced["payload_bytes"] / 1e9
        middle = system.cpu_seconds()
        results.add(f"produce, {name}", "MB/s", system.name, produced["mb_per_s"])
        results.add(f"produce, {name}", "CPU s/GB", system.name, (middle - cpu) / gigabytes)
        consumed = load(options, system, "consume", cell, topic)
        results.add(f"consume, {name}", "MB/s", system.name, consumed["mb_per_s"])
        results.add(f"consume, {name}", "CPU s/GB", system.name, (system.cpu_seconds() - middle) / gigabytes)
        os.sync()
        results.add(f"written per payload byte, {name}", "B/B", system.name, (system.written_bytes() - written) / produced["payload_bytes"])
        if consumed["records"] != produced["records"]:
            raise RuntimeError(f"{produced['records']} records went in and {consumed['records']} came out")
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        results.fail(name, system.name, error)
    wire.delete_topic(system.port, topic)


def warm_up(options, system):
    """The JVM's first seconds are interpreted code; the others get the same load."""
    for number in range(2 if options.quick else 4):
        cell = Cell(6, 1024, 16384, "all")
        topic = f"warm-up-{number}"
        load(options, system, "produce", cell, topic, **{"total-bytes": options.bytes})
        load(options, system, "consume", cell, topic)
        wire.delete_topic(system.port, topic)


def measure_loads(options, results, running):
    for system in running:
        system.wipe()
        system.start()
        if "throughput" in options.only or "latency" in options.only:
            say(f"{system.name}: warming up")
            warm_up(options, system)
    for turn in range(options.rounds):
        if "throughput" in options.only:
            for number, cell in enumerate(full_cells() if options.full else CELLS):
                for system in running:
                    measure_cell(options, results, system, cell, f"load-{turn}-{number}")
        if "latency" in options.only:
            for acks in ["1", "all"]:
                for system in running:
                    measure_latency(options, results, system, acks, f"latency-{turn}-{acks}")
                for system in running:
                    measure_latency(options, results, system, acks, f"latency-single-{turn}-{acks}", single=True)
    for system in running:
        results.add("resident memory after the loads", "MB", system.name, system.resident_mb())
        system.stop()
        system.wipe()


def measure_latency(options, results, system, acks, topic, single=False):
    # A producer without linger sends each record on its own.
    cell, rate = (Cell(6, 100, 1, acks), 5 * options.rate) if single else (Cell(6, 100, 1100, acks), options.rate)
    what = f"{rate:,} records/s of 100 B, one a request" if single else f"{rate} requests/s of 1 KB"
    name = f"produce latency at {what}, acks={acks}"
    os.sync()
    try:
        answer = load(options, system, "latency", cell, topic, rate=rate, seconds=options.seconds, connections=2)
        for key, label in [("p50_us", "p50"), ("p99_us", "p99"), ("p999_us", "p99.9")]:
            results.add(f"{name}, {label}", "ms", system.name, answer[key] / 1000)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        results.fail(name, system.name, error)
    wire.delete_topic(system.port, topic)


def measure_startup(options, results, running):
    fresh, again = "exec to the first answered Metadata, fresh directory", "exec to the first answered Metadata, restart after kill -9 with 100 topics"
    for system in running:
        slow = system.name == "kafka"
        if system.name == "yardstick":
            continue
        for _ in range(min(3, options.starts) if slow else options.starts):
            system.wipe()
            seconds = system.start()
            if not slow:
                # Kafka's includes the formatting by another JVM.
                results.add(fresh, "ms", system.name, seconds * 1000)
            system.stop(signal.SIGKILL)
        system.wipe()
        system.start()
        wire.create_topics(system.port, [f"topic-{number}" for number in range(100)])
        for _ in range(min(3, options.starts) if slow else options.starts):
            system.stop(signal.SIGKILL)
            results.add(again, "ms", system.name, system.start() * 1000)
        system.stop()
        system.wipe()


def measure_fsyncs(results, running):
    """Counts the calls up to the first answered Metadata; no clock is involved."""
    for system in running:
        if system.name != "klamm":
            continue
        trace = os.path.join(system.directory, "trace")

        def count(row):
            prefix = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range,syncfs", "-o", trace]
            system.start(prefix)
            with open(trace) as file:
                calls = sum(" fsync(" in line or " fdatasync(" in line for line in file)
            results.add(row, "calls", system.name, calls)
            # The signal must reach the broker, not only its tracer.
            with open(f"/proc/{system.process.pid}/task/{system.process.pid}/children") as file:
                for child in file.read().split():
                    os.kill(int(child), signal.SIGKILL)
            system.process.wait(30)

        system.wipe()
        count("fsync and fdatasync before ready, fresh directory")
        count("fsync and fdatasync before ready, restart after kill -9")
        system.process = None
        system.wipe()


def measure_idle(options, results, running):
    for system in running:
        system.wipe()
        system.start()
        time.sleep(1 if options.quick else 10)
        before, cpu, span = system.wake_ups(), system.cpu_seconds(), 3 if options.quick else 20
        time.sleep(span)
        results.add("wake-ups per second, idle", "1/s", system.name, (system.wake_ups() - before) / span)
        results.add("CPU, idle", "% of a core", system.name, (system.cpu_seconds() - cpu) / span * 100)
        results.add("resident memory, idle", "MB", system.name, system.resident_mb())
        system.stop()
        system.wipe()


def measure_subscribe(options, results, running):
    row = "subscribe to first record, fresh group, Java client's defaults"
    source = os.path.join(systems.ROOT, "scripts", "bench.d", "Subscribe.java")
    for system in running:
        if system.name == "yardstick":
            continue
        system.wipe()
        # The reference broker of the tests has this at zero; Kafka's own default is the one to compare with.
        system.start(extra="group.initial.rebalance.delay.ms=3000")
        try:
            classpath = subprocess.run([systems.KAFKA, "classpath"], capture_output=True, text=True, check=True).stdout.strip()
            wire.create_topics(system.port, ["subscribe"])
            command = ["java", "-cp", classpath, source, f"127.0.0.1:{system.port}", "subscribe", "1" if options.quick else "5"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            if done.returncode != 0:
                raise RuntimeError(done.stderr.strip().splitlines()[-1:] or "failed")
            results.add(row, "ms", system.name, float(done.stdout))
        except (RuntimeError, subprocess.SubprocessError, OSError) as error:
            results.fail(row, system.name, error)
        system.stop()
        system.wipe()


def number(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(value, other):
    return "-" if value is None or not other else f"{value / other:.2f}"


def table(results, names):
    labels = {"kafka": "Apache Kafka 4.3.1", "klamm": "klamm", "yardstick": "yardstick"}
    columns = ["measure", "unit", *(labels[name] for name in names), "klamm : Kafka", "klamm : yardstick"]
    lines = ["| " + " | ".join(columns) + " |", "|---|---|" + "--:|" * (len(names) + 2)]
    for row in results.rows:
        values = {name: results.median(row, name) for name in labels}
        cells = [row[0], row[1], *(number(values[name]) for name in names)]
        cells += [ratio(values["klamm"], values["kafka"]), ratio(values["klamm"], values["yardstick"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(options, results, names, sections):
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    commit = subprocess.run(["git", "-C", systems.ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    text = [
        "# Measured by scripts/bench",
        "",
        f"{datetime.date.today().isoformat()}, commit {commit or 'unknown'}. Machine class: {os.cpu_count()} cores of {model}, {memory} GiB, "
        f"Linux {platform.release().split('-')[0]}, {platform.machine()}. Medians of {options.rounds} interleaved "
        f"round{'s' if options.rounds > 1 else ''}, {options.bytes // 10**6} MB per throughput run.",
        "",
        "All systems get the same load from the same client on the same machine, with batches prepared beforehand and five requests in flight; "
        "Apache Kafka is warmed up first and has its own start script's JVM flags. The yardstick checks CRCs, appends to one file per partition "
        "and serves by sendfile, and does nothing else. MB are of record values; CPU is the broker's, user and system.",
        "",
        *([table(results, names)] if results.rows else []),
        *sections,
    ]
    if results.failures:
        text += ["", "Not measured:", "", *(f"- {failure}" for failure in results.failures)]
    return "\n".join(text) + "\n"


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--binaries", required=True, help="where klamm, yardstick and load are (scripts/bench fills it in)")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--full", action="store_true", help="every combination of record size, partitions, batch size and acks")
    default = ",".join(part for part in PARTS if part not in ONLY_IF_ASKED)
    parser.add_argument("--only", default=default, help=f"parts, comma-separated: {', '.join(PARTS)}")
    parser.add_argument("--without", default="", help="systems to leave out, comma-separated")
    parser.add_argument("--rounds", type=int, help="default 3")
    parser.add_argument("--bytes", type=int, help="per throughput run")
    parser.add_argument("--rate", type=int, default=1000, help="requests per second of the latency load")
    parser.add_argument("--work", help="where the brokers' directories are made (default: a temporary directory)")
    parser.add_argument("--write", nargs="?", const=os.path.join(systems.ROOT, "src", "server", "docs", "bench.md"), help="write the table there too")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.bytes = options.bytes or (50_000_000 if options.quick else 500_000_000)
    options.seconds = 2 if options.quick else 10
    options.starts = 3 if options.quick else 20
    return options


def main():
    options = arguments()
    names = [name for name in ["kafka", "klamm", "yardstick"] if name not in options.without.split(",")]
    work = tempfile.mkdtemp(prefix="klamm-bench-", dir=options.work)
    running = [systems.System(name, work, options.binaries) for name in names]
    if "kafka" in names:
        subprocess.run([systems.KAFKA, "install"], check=True)
    results = Results()
    measures = {
        "startup": lambda: measure_startup(options, results, running),
        "fsync": lambda: measure_fsyncs(results, running),
        "idle": lambda: measure_idle(options, results, running),
        "throughput": lambda: measure_loads(options, results, running),
        "librdkafka": lambda: librdkafka.measure(options, results, running, say),
        "subscribe": lambda: measure_subscribe(options, results, running),
        "scale": lambda: scale.measure(options, results, running),
        "transactions": lambda: transactions.measure(options, results, running),
        "commits": lambda: transactions.commits(options, results, running),
        "durability": lambda: sections.extend(durability.cost(options, work, load, say)),
        "restart": lambda: sections.extend(durability.restart(options, work, load, say)),
    }
    sections = []
    measures["latency"] = measures["throughput"]
    done = set()
    try:
        for part, measure in measures.items():
            if part not in options.only or measure in done:
                continue
            done.add(measure)
            try:
                measure()
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                results.fail(part, "all", error)
    finally:
        for system in running:
            system.stop(signal.SIGKILL)
        shutil.rmtree(work, ignore_errors=True)
    text = report(options, results, names, sections)
    print(text)
    if options.write:
        os.makedirs(os.path.dirname(options.write), exist_ok=True)
        with open(options.write, "w") as file:
            file.write(text)
    return 1 if results.failures else 0


sys.exit(main())
