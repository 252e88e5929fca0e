#!/usr/bin/env python3
"""What producers feel while a check of retention drops a gibibyte: the latency of 10 MB/s, with and without such a check in its middle.

    scripts/bench.d/retention.py BINARIES [--rounds N] [--segment-bytes N]

BINARIES is the directory of the release binaries klamm and load. Both durabilities take turns; medians of the rounds are printed.
"""

import argparse
import json
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

DROPPED_BYTES = 1 << 30
# What is older than this at the check is dropped, which is all of the first load and nothing of the second.
RETENTION_S = 25
CHECK_AFTER_S = 6
LOAD_S = 12


class Broker:
    def __init__(self, options, data, **settings):
        self.arguments = [str(options.binaries / "klamm"), "--listen", "127.0.0.1:0", "--data", str(data)]
        for key, value in settings.items():
            self.arguments += ["--override", f"{key.replace('_', '.')}={value}"]

    def __enter__(self):
        self.process = subprocess.Popen(self.arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.address = self.process.stdout.readline().removeprefix("klamm is ready on ").split()[0].rstrip(",")
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def load(options, broker, verb, *flags):
    command = [str(options.binaries / "load"), verb, "--address", broker.address, "--acks", "all", *flags]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def size(data):
    return sum(path.stat().st_size for path in (data / "partitions").rglob("*.log*"))


def measure(options, data, durability, drops):
    common = {"klamm_durability": durability, "log_segment_bytes": options.segment_bytes}
    with Broker(options, data, log_retention_ms=-1, **common) as broker:
        load(options, broker, "produce", "--topic", "old", "--connections", "4", "--batch-bytes", "1048576", "--total-bytes", str(DROPPED_BYTES))
        written = time.monotonic()
    time.sleep(max(0.0, written + RETENTION_S - CHECK_AFTER_S / 2 - time.monotonic()))
    settings = {"log_retention_ms": RETENTION_S * 1000 if drops else -1, "log_segment_delete_delay_ms": 0, "log_initial_task_delay_ms": CHECK_AFTER_S * 1000}
    with Broker(options, data, **settings, **common) as broker:
        flags = ["--topic", "new", "--partitions", "100", "--connections", "16", "--rate", "640", "--seconds", str(LOAD_S)]
        answer = load(options, broker, "latency", *flags)
        left = size(data)
    if (left < DROPPED_BYTES) != drops:
        sys.exit(f"{left} bytes are left, and a gibibyte was {'' if drops else 'not '}to be dropped")
    shutil.rmtree(data)
    return answer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--segment-bytes", type=int, default=64 << 20)
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for durability in ("os", "group"):
                for drops in (False, True):
                    answer = measure(options, pathlib.Path(folder) / "data", durability, drops)
                    found.setdefault((durability, drops), []).append(answer)
                    print(durability, "drops 1 GiB" if drops else "drops nothing", answer, file=sys.stderr, flush=True)
    print("| durability | 1 GiB is dropped | p50, ms | p99, ms | p99.9, ms | largest, ms |\n|---|---|---:|---:|---:|---:|")
    for (durability, drops), answers in found.items():
        values = (statistics.median(answer[f"{share}_us"] for answer in answers) / 1000 for share in ("p50", "p99", "p999", "max"))
        print(f"| {durability} | {'yes' if drops else 'no'} | {' | '.join(f'{value:.1f}' for value in values)} |")


if __name__ == "__main__":
    main()
