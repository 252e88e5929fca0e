#!/usr/bin/env python3
"""Three klamm processes as one cluster, under transactions, with one kill -9 after the other.

    cluster-tests/transactions.py [--seconds N] [--scenario transactions-bank|transactions-copier] [--how kill,all,pause] [--seed N] [--keep]

Plays scenarios of compat-tests' Java client, which judges itself: money moves between accounts in transactions (no move torn, doubled, lost, or read although
aborted), and three of Kafka's TransactionalMessageCopier copy a topic (the copy is true). Every few seconds the client has a broker killed: in turn the
coordinator of a transactional id, the group's, a partition's leader. It comes back after up to three seconds, and the next kill waits until all
replicas are in sync and the client has got on. Every topic has three replicas. With --how all, all three are killed at once instead, with pause the broker
is stopped (SIGSTOP) for up to twelve seconds, and with several one of them is drawn each time. Prints what the faults hit, then 'N passed, N failed'.
"""

import argparse
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

# No __pycache__ in the work tree.
sys.dont_write_bytecode = True

from cluster import BROKERS, CACHE, ROOT, Cluster, Loopback, free_port

sys.path.insert(0, str(ROOT / "compat-tests"))
import control_address

SCENARIOS = ("transactions-bank", "transactions-copier")
# Beside the seconds under faults: seeding, the last heal, the wait for the last stable offsets, the audit.
MORE_SECONDS_MAX = 240


class Control:
    """Kills and starts brokers when the client asks: POST /kill9/ID and /start/ID, which answer when it is done."""

    def __init__(self, cluster, options):
        self.cluster, self.kinds, self.rng = cluster, options.how, random.Random(options.seed)
        self.kind, self.unknown_errors = None, 0
        self.server = control_address.serve(self.act)

    def act(self, path):
        what, broker = path.strip("/").split("/")
        {"kill9": self.kill, "start": self.start}[what](int(broker))

    def address(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def kill(self, broker):
        self.kind = self.rng.choice(self.kinds)
        if self.kind == "pause":
            self.cluster.processes[broker].send_signal(signal.SIGSTOP)
            return
        for each in self.hit(broker):
            self.count_unknown_errors(each)
        for each in self.hit(broker):
            self.cluster.processes[each].send_signal(signal.SIGKILL)
        for each in self.hit(broker):
            self.cluster.processes[each].wait()

    def start(self, broker):
        if self.kind == "pause":
            time.sleep(self.rng.uniform(1.0, 12.0))
            self.cluster.processes[broker].send_signal(signal.SIGCONT)
        else:
            time.sleep(self.rng.uniform(0.0, 3.0))
            for each in self.hit(broker):
                self.cluster.start(each)
            for each in self.hit(broker):
                self.cluster.await_ready(each)
        self.cluster.heal()

    def hit(self, broker):
        return BROKERS if self.kind == "all" else (broker,)

    def count_unknown_errors(self, broker):
        """How often the broker answered UNKNOWN_SERVER_ERROR in this life."""
        with urllib.request.urlopen(f"http://{self.cluster.http[broker]}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        self.unknown_errors += int(re.search(r"^klamm_unknown_server_errors_total (\d+)$", text, re.MULTILINE)[1])


def play(scenario, options, directory):
    """One scenario on a new cluster; the reason why it failed, empty if it passed."""
    network = Loopback()
    cluster = Cluster(options.binary, directory, network)
    cluster.http = {broker: f"127.0.0.1:{free_port()}" for broker in BROKERS}
    control = Control(cluster, options)
    client = None
    try:
        for broker in BROKERS:
            cluster.start(broker)
        for broker in BROKERS:
            cluster.await_ready(broker)
        environment = {
            **os.environ,
            "COMPAT_BOOTSTRAP": cluster.bootstrap,
            "COMPAT_CONTROL": control.address(),
            "COMPAT_BROKERS": str(len(BROKERS)),
            "COMPAT_SCENARIOS": scenario,
            "COMPAT_WORK": str(directory),
            "COMPAT_BANK_SECONDS": str(options.seconds),
            "COMPAT_COPIER_SECONDS": str(options.seconds),
            # As long as a Java client waits for an answer.
            "COMPAT_SILENT_SECONDS": "30" if "pause" in options.how else "0",
        }
        class_path = f"{CACHE}/compat/java-classes:{CACHE}/kafka-4.3.1/libs/*"
        java = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]
        with (directory / "client.log").open("ab") as log:
            command = [*java, "-cp", class_path, "compat.Client"]
            client = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        said, _ = client.communicate(timeout=options.seconds + MORE_SECONDS_MAX)
        for broker in BROKERS:
            control.count_unknown_errors(broker)
        results = [json.loads(line) for line in said.splitlines() if '"result"' in line]
        if not results:
            return f"the client ended with code {client.returncode} and no result"
        if results[0]["result"] != "pass":
            return results[0]["reason"] or results[0]["result"]
        return f"UNKNOWN_SERVER_ERROR was answered {control.unknown_errors} times" if control.unknown_errors else ""
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    finally:
        # With it go the processes that it has started.
        if client is not None:
            try:
                os.killpg(client.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            client.wait()
        control.server.shutdown()
        cluster.stop()
        network.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30, help="under faults, for each scenario")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="may be repeated; default: all")
    parser.add_argument("--how", type=lambda text: text.split(","), default=["kill"], help="kill, all, pause; default: kill")
    parser.add_argument("--seed", type=int, default=1, help="of how long a killed broker stays away")
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    parser.add_argument("--binary", type=pathlib.Path, default=CACHE / "target" / "release" / "klamm")
    options = parser.parse_args()
    passed = failed = 0
    for scenario in options.scenario or SCENARIOS:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="klamm-transactions-"))
        began = time.monotonic()
        reason = play(scenario, options, directory)
        said = (directory / "client.log").read_text() if (directory / "client.log").exists() else ""
        for line in said.splitlines():
            if " kills, " in line:
                print(line)
        if reason:
            failed += 1
            print(f"FAILED {scenario}: {reason}\n--- client\n{said[-2000:]}")
            for broker in BROKERS:
                print(f"--- broker {broker}\n" + (directory / f"broker-{broker}.log").read_text()[-2000:])
        else:
            passed += 1
            print(f"{scenario}: pass, {time.monotonic() - began:.0f} s")
        if reason or options.keep:
            print(f"data and logs are in {directory}")
        else:
            shutil.rmtree(directory)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
