#!/usr/bin/env python3
"""Plays the compatibility scenarios with real clients against Apache Kafka, klamm or both, and prints the scoreboard.

Each client gets a broker of its own on a fresh directory and plays all its scenarios in one process. It sees a bootstrap
address and a control address, nothing else (README.md says what a client must print). Exit code 1 if a scenario failed.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import queue
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

# No __pycache__ in the work tree.
sys.dont_write_bytecode = True

import control_address
from catalog import AWAITED_SCENARIOS, BROKER_SETTINGS, CLIENTS, NOT_WITH_SEVERAL, SCENARIOS, TARGETS, UNSTEADY_ON_KAFKA
from scoreboard import load, markdown, record, save

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "klamm"
COMPAT = CACHE / "compat"
READY_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
# The clients that take more than a minute.
LONG = ("java", "java-3.9", "kcat", "confluent-js", "programs")


def client_command(name):
    """The command line of a client program, as install.sh has laid it out."""
    libs = f"{COMPAT}/java-classes:{CACHE}/kafka-4.3.1/libs/*"
    java_options = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
    java_options += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"]
    old_java = {version: [f"{COMPAT}/java-classes:{COMPAT}/java-{version}/*", "-Dcompat.old=true", "compat.Client"] for version in ("3.9.2", "2.8.2")}
    java = java_options + [libs]
    return {
        "java": java + ["compat.Client"],
        "java-3.9": java_options + old_java["3.9.2"],
        "java-2.8": java_options + old_java["2.8.2"],
        "java-tools": java + ["compat.Tools"],
        "spring": java_options + [f"{COMPAT}/spring-classes:{COMPAT}/spring/*", "compat.Spring"],
        "python": [f"{COMPAT}/python/bin/python", str(HERE / "python" / "client.py")],
        "aiokafka": [f"{COMPAT}/python/bin/python", str(HERE / "python" / "pure.py"), "aiokafka"],
        "kafka-python": [f"{COMPAT}/python/bin/python", str(HERE / "python" / "pure.py"), "kafka-python"],
        "librdkafka": [f"{COMPAT}/c-client"],
        "rdkafka": [f"{COMPAT}/rust-client", "rdkafka"],
        "rskafka": [f"{COMPAT}/rust-client", "rskafka"],
        "go": [f"{COMPAT}/go-client"],
        "sarama": [f"{COMPAT}/go-client", "sarama"],
        "kafka-go": [f"{COMPAT}/go-client", "kafka-go"],
        "node": ["node", f"{COMPAT}/node/client.js"],
        "confluent-js": ["node", f"{COMPAT}/confluent-js/client.js"],
        "programs": [f"{COMPAT}/python/bin/python", str(HERE / "programs" / "client.py")],
        "kcat": [sys.executable, str(HERE / "kcat" / "client.py")],
        "klamm-tools": [f"{COMPAT}/python/bin/python", str(HERE / "klamm-tools" / "client.py")],
    }[name]


PORTS_GIVEN = set()
PORTS_LOCK = threading.Lock()


def free_port(count=2):
    """A port whose successors are free too (Apache Kafka's controller listens there, or klamm's further brokers)."""
    with PORTS_LOCK:
        for port in range(21000 + os.getpid() % 500 * 8, 32000, count):
            if port in PORTS_GIVEN:
                continue
            try:
                for candidate in range(port, port + count):
                    with socket.socket() as probe:
                        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            PORTS_GIVEN.add(port)
            return port
    raise RuntimeError("no free port pair between 21000 and 32000")


def answers(port):
    """Whether a broker answers ApiVersions v0 on the port."""
    header = struct.pack(">hhih", 18, 0, 1, -1)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.settimeout(2)
            connection.sendall(struct.pack(">i", len(header)) + header)
            return len(connection.recv(4)) == 4
    except OSError:
        return False


class Broker:
    """One broker process of a target, on one port and directory for its whole life, kills included."""

    def __init__(self, target, directory, klamm_binary, settings, brokers=1):
        self.environment = dict(os.environ)
        self.directory = directory
        self.port = free_port(2 * brokers)
        self.log_path = directory / "broker.log"
        self.process = None
        self.lock = threading.Lock()
        self.metrics_port = None
        self.unknown_errors_seen = 0
        self.brokers = brokers
        if target == "kafka":
            self.command = [str(HERE / "kafka" / "kafka.sh"), "run", str(self.port), str(directory / "data")]
            lines = [self.environment.get("KAFKA_EXTRA", ""), *(f"{key}={value}" for key, value in settings.items())]
            self.environment["KAFKA_EXTRA"] = "\n".join(lines)
        else:
            self.metrics_port = self.port + brokers
            self.command = [str(klamm_binary), "--listen", f"127.0.0.1:{self.port}", "--http", f"127.0.0.1:{self.metrics_port}"]
            self.command += ["--data", str(directory / "data"), "--brokers", str(brokers)]
            self.command += [word for key, value in settings.items() for word in ("--override", f"{key}={value}")]

    def start(self):
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not answers(self.port):
            if self.process.poll() is not None:
                raise RuntimeError(f"the broker ended with code {self.process.returncode} while starting; log: {self.log_path}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the broker did not answer within {READY_TIMEOUT_S} s; log: {self.log_path}")
            time.sleep(0.05)

    def order(self, broker_id, what):
        """Kills or restarts one broker of several in klamm's process."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.metrics_port}/brokers/{broker_id}/{what}", method="POST")
        with urllib.request.urlopen(request, timeout=READY_TIMEOUT_S) as answer:
            answer.read()

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def ended_by_itself(self):
        """The exit code of a broker that nobody ended, else None."""
        return self.process.poll() if self.process else None

    def new_unknown_errors(self):
        """How often klamm has answered UNKNOWN_SERVER_ERROR since the last call; a broker that does not run has nothing to tell."""
        if self.metrics_port is None:
            return 0
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return 0
        total = int(re.search(r"^klamm_unknown_server_errors_total (\d+)$", text, re.MULTILINE)[1])
        # A restart begins anew.
        new = total - self.unknown_errors_seen if total >= self.unknown_errors_seen else total
        self.unknown_errors_seen = total
        return new

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill9()


class KillOne:
    """Kills one broker of several a moment after a scenario has begun, and starts it again: each in turn, at moments that a seed gives."""

    DOWN_S = 1.0

    def __init__(self, broker, seed):
        self.broker, self.random, self.threads = broker, random.Random(seed), []
        self.began = self.kills = self.in_scenarios = 0
        self.running = None

    def begin(self, scenario):
        """Not in a scenario while the broker of the last one is still down."""
        self.join()
        self.began, self.running = self.began + 1, scenario
        victim, moment = self.began % self.broker.brokers + 1, self.random.uniform(0.05, 1.0)
        thread = threading.Thread(target=self.kill, args=(victim, moment, scenario), daemon=True)
        thread.start()
        self.threads.append(thread)

    def end(self):
        self.running = None

    def kill(self, victim, moment, scenario):
        time.sleep(moment)
        try:
            with self.broker.lock:
                if self.running != scenario:
                    return
                self.broker.order(victim, "kill")
                self.kills += 1
            time.sleep(self.DOWN_S)
            with self.broker.lock:
                self.broker.order(victim, "restart")
            self.in_scenarios += self.running == scenario
        except urllib.error.HTTPError as error:
            print(f"      broker {victim}: {error.read().decode().strip()}", flush=True)
        except OSError:
            # The scenario itself has killed the process, which starts with all its brokers.
            pass

    def join(self):
        for thread in self.threads:
            thread.join()
        self.threads.clear()


def control_server(broker):
    """Serves POST /kill9, /start and /kill9-and-restart to the clients; each returns when it is done."""

    def act(path):
        steps = {"/kill9": ["kill9"], "/start": ["start"], "/kill9-and-restart": ["kill9", "start"]}.get(path)
        if steps is None:
            raise control_address.UnknownPath
        with broker.lock:
            for step in steps:
                getattr(broker, step)()

    return control_address.serve(act)


def pump(stream, lines):
    for line in stream:
        lines.put(line)
    lines.put(None)


def play_once(name, scenarios, environment, log_path, timeout_s, report, killer=None):
    """Runs the client on the scenarios; returns those that it did not come to after one hung or ended it."""
    environment = {**environment, "COMPAT_SCENARIOS": ",".join(scenarios)}
    with log_path.open("ab") as log:
        client = subprocess.Popen(
            client_command(name), env=environment, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True, start_new_session=True
        )
    lines = queue.Queue()
    threading.Thread(target=pump, args=(client.stdout, lines), daemon=True).start()
    left, running, cause = list(scenarios), None, "ended early"
    while True:
        try:
            line = lines.get(timeout=timeout_s)
        except queue.Empty:
            cause = f"no result within {timeout_s} s"
            break
        if line is None:
            break
        try:
            event = json.loads(line)
            scenario = event["scenario"]
        except (ValueError, KeyError, TypeError):
            with log_path.open("a") as log:
                log.write(line)
            continue
        if event.get("result") is None:
            running = scenario
            if killer:
                killer.begin(scenario)
        elif scenario in left:
            left.remove(scenario)
            running = None
            if killer:
                killer.end()
            report(scenario, event["result"], event.get("reason", ""), event.get("seconds"))
    try:
        os.killpg(client.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    code = client.wait()
    if running in left:
        left.remove(running)
        report(running, "fail", f"client {cause} (exit code {code}); log: {log_path}", None)
    elif left and cause != "ended early":
        report(left.pop(0), "fail", f"client: {cause}; log: {log_path}", None)
    elif left and code != 0:
        report(left.pop(0), "fail", f"client ended with code {code} before a scenario; log: {log_path}", None)
    elif left:
        for scenario in left:
            report(scenario, "-", "not played by this client", None)
        left = []
    return left


def play(name, target, options, work):
    """All scenarios of one client against one broker; returns scenario -> (result, reason)."""
    directory = work / target / name
    directory.mkdir(parents=True)
    results = {}

    def report(scenario, result, reason, seconds):
        code = broker.ended_by_itself()
        if code is not None:
            result, reason = "fail", f"the broker ended by itself with code {code}; {reason}"
            with broker.lock:
                broker.start()
        unknown = broker.new_unknown_errors()
        if unknown:
            result, reason = "fail", f"the broker answered UNKNOWN_SERVER_ERROR {unknown} times; {reason}"
        results[scenario] = (result, reason)
        if result != "-" or options.verbose:
            took = "" if seconds is None else f" {seconds:.1f} s"
            print(f"{target:5} {name:12} {scenario}: {result}{took}{' (' + reason + ')' if reason else ''}", flush=True)

    broker = Broker(target, directory, options.klamm_binary, BROKER_SETTINGS.get(name, {}), options.brokers)
    scenarios = list(options.scenario or SCENARIOS)
    killer = KillOne(broker, name) if options.kill_one and target == "klamm" else None
    if killer and not options.scenario:
        scenarios = [scenario for scenario in scenarios if scenario not in NOT_WITH_SEVERAL]
    try:
        broker.start()
        server = control_server(broker)
        environment = {
            **os.environ,
            "COMPAT_BOOTSTRAP": ",".join(f"127.0.0.1:{broker.port + place}" for place in range(broker.brokers)),
            "COMPAT_CONTROL": f"http://127.0.0.1:{server.server_address[1]}",
            "COMPAT_WORK": str(directory),
            "COMPAT_TRANSCRIPTS": str(HERE / "java" / "transcripts"),
            "COMPAT_KLAMM": str(options.klamm_binary),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        while scenarios:
            scenarios = play_once(name, scenarios, environment, directory / "client.log", options.timeout, report, killer)
        server.shutdown()
        if not options.scenario and all(result == "-" for result, _ in results.values()):
            results[next(iter(SCENARIOS))] = ("fail", f"the client played nothing; log: {directory / 'client.log'}")
    except Exception as error:  # A broker that does not start fails what is left, with its reason.
        for scenario in scenarios:
            results.setdefault(scenario, ("fail", str(error)))
        print(f"{target:5} {name:12} {error}", flush=True)
    finally:
        broker.stop()
    if killer:
        print(f"{target:5} {name:12} a broker was killed in {killer.kills} of {killer.began} scenarios, and back before the end of {killer.in_scenarios}", flush=True)
    return results


def played(name, target, options, work):
    """As `play`; what failed on Apache Kafka is played there once more, since the reference is not what is tested, unless it is known for that. klamm has
    no second try."""
    started = time.monotonic()
    results = play(name, target, options, work)
    count = sum(result != "-" for result, _ in results.values())
    print(f"{target:5} {name:12} {count} scenarios in {time.monotonic() - started:.0f} s", flush=True)
    failed = [scenario for scenario, (result, _) in results.items() if result == "fail"]
    if not failed and not options.keep:
        # Here rather than at the end: it takes seconds for each client, in which others play.
        shutil.rmtree(work / target / name, ignore_errors=True)
    failed = [scenario for scenario in failed if scenario not in UNSTEADY_ON_KAFKA]
    if target != "kafka" or not failed:
        return results
    print(f"{target:5} {name:12} once more, with a new broker: {', '.join(failed)}", flush=True)
    again = argparse.Namespace(**{**vars(options), "scenario": failed})
    return {**results, **play(name, target, again, work / "once-more")}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=(*TARGETS, "both"), default="both")
    parser.add_argument("--client", action="append", choices=CLIENTS, help="may be repeated; default: all")
    names = {**SCENARIOS, **AWAITED_SCENARIOS}
    parser.add_argument("--scenario", action="append", choices=names, metavar="NAME", help="may be repeated; default: all but those that klamm does not pass yet")
    parser.add_argument("--klamm-binary", type=pathlib.Path, default=CACHE / "target" / "release" / "klamm")
    parser.add_argument("--brokers", type=int, default=1, help="how many brokers klamm is, in one process, as one cluster (default 1)")
    parser.add_argument("--kill-one", action="store_true", help="kill one of klamm's brokers in the middle of each scenario and start it again; with --brokers 3")
    parser.add_argument("--jobs", type=int, default=4, help="clients at a time, each with its own broker (default 4: they wait more than they compute)")
    parser.add_argument("--timeout", type=int, default=90, help="seconds that one scenario may take (default 90)")
    parser.add_argument("--write", action="store_true", help="record the results in scoreboard.json")
    parser.add_argument("--keep", action="store_true", help="keep logs and data; they are kept on failure too")
    parser.add_argument("--verbose", action="store_true", help="also print the scenarios that a client cannot express")
    options = parser.parse_args()
    if options.kill_one and options.brokers < 3:
        parser.error("--kill-one needs --brokers 3 or more: fewer have no majority without one")
    return options


def main():
    options = arguments()
    targets = TARGETS if options.target == "both" else (options.target,)
    clients = options.client or list(CLIENTS)
    if ("klamm" in targets or "klamm-tools" in clients) and not options.klamm_binary.exists():
        sys.exit(f"no klamm binary at {options.klamm_binary}; build it, or name one with --klamm-binary")
    subprocess.run([str(HERE / "install.sh"), *clients], check=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix="klamm-compat-"))
    outcome, started = {}, time.monotonic()
    for target in targets:
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            # The longest ones first, so that none of them plays alone in the end.
            order = sorted(clients, key=lambda name: name not in LONG)
            futures = {name: pool.submit(played, name, target, options, work) for name in order}
            for name, future in futures.items():
                for scenario, (result, reason) in future.result().items():
                    outcome.setdefault(name, {}).setdefault(scenario, {})[target] = (result, reason)
    known = load()
    board = record(load(), outcome)
    for name, scenario in ((name, scenario) for name in outcome for scenario in UNSTEADY_ON_KAFKA):
        # A failure there does not take back that it can pass.
        if known.get(name, {}).get(scenario, {}).get("kafka") == "pass":
            board[name][scenario]["kafka"] = "pass"
    print("\n" + markdown(record({}, outcome), targets), flush=True)
    if options.write:
        save(board)
    passed, failed, uncounted, unsteady = 0, [], [], []
    for name, scenarios in outcome.items():
        for scenario, cells in scenarios.items():
            for target, (result, reason) in cells.items():
                has_passed_before = known.get(name, {}).get(scenario, {}).get("kafka") == "pass"
                if result == "fail" and target == "kafka" and has_passed_before:
                    # The reference is not what is tested; that it can pass is on record.
                    known_for = f"; known: {UNSTEADY_ON_KAFKA[scenario]}" if scenario in UNSTEADY_ON_KAFKA else ""
                    unsteady.append(f"{name} {scenario}: {reason}{known_for}")
                elif result == "fail":
                    failed.append(f"{target} {name} {scenario}: {reason}")
                elif result == "pass" and not has_passed_before and board.get(name, {}).get(scenario, {}).get("kafka") != "pass":
                    uncounted.append(f"{name} {scenario}")
                elif result == "pass":
                    passed += 1
    for line in uncounted:
        print(f"does not count, it has not passed on Apache Kafka: {line}")
    for line in unsteady:
        print(f"this time not on Apache Kafka, where it has passed before: {line}")
    for line in failed:
        print(f"FAILED {line}")
    if failed or options.keep:
        print(f"logs and data: {work}")
    else:
        shutil.rmtree(work, ignore_errors=True)
    print(f"compat-tests took {time.monotonic() - started:.0f} s")
    print(f"{passed} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
