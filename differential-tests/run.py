#!/usr/bin/env python3
"""Plays every API at every version against klamm and compares its answers with those that Apache Kafka gave.

    run.py [--target klamm] [--only PART]   compares with recording/; the last line is 'N passed, M failed'
    run.py --target kafka                   plays Apache Kafka against its own recording: a check of the normalising
    run.py --record                         plays Apache Kafka 4.3.1 and rewrites recording/, or with --only that part of it
    run.py --live PERCENT [--seed N]        plays that part of the cases against Apache Kafka: a check of the recording
    run.py --list                           the names of all cases
"""

import argparse
import fnmatch
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

# No __pycache__ in the work tree.
sys.dont_write_bytecode = True

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compat-tests"))
import run as compat

CLASSES = compat.CACHE / "differential-classes"
LIBS = f"{compat.CACHE}/kafka-4.3.1/libs/*"
SHOWN_DIFFERENCES = 6
# What compat-tests/kafka/kafka.sh tells Apache Kafka: klamm is given the same file.
PROPERTIES = """process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=10
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=300
controller.quorum.election.timeout.ms=300
controller.quorum.fetch.timeout.ms=600
"""


def install():
    """Kafka's jars and the driver's classes, into the cache."""
    subprocess.run([str(HERE.parent / "compat-tests" / "install.sh"), "java"], check=True)
    sources = sorted((HERE / "java").glob("*.java"))
    stamp = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    stamp_path = CLASSES / "stamp"
    if stamp_path.exists() and stamp_path.read_text() == stamp:
        return
    CLASSES.mkdir(parents=True, exist_ok=True)
    subprocess.run(["javac", "-nowarn", "-Xlint:-deprecation", "-proc:none", "-d", str(CLASSES), "-cp", LIBS, *map(str, sources)], check=True)
    stamp_path.write_text(stamp)


def driver(*arguments):
    """The driver's output lines."""
    command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-cp", f"{CLASSES}:{LIBS}"]
    command += ["differential.Driver", str(HERE / "scenarios"), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def drawn(percent, seed):
    """The names of some cases."""
    names = driver("list")
    return random.Random(seed).sample(names, max(1, len(names) * percent // 100))


def play(target, klamm_binary, only, names=None):
    """name -> answers of a broker started for this; None for what it does not offer."""
    with tempfile.TemporaryDirectory(prefix="klamm-differential-") as folder:
        folder = pathlib.Path(folder)
        broker = compat.Broker(target, folder, klamm_binary, settings={})
        if target == "klamm":
            properties = folder / "server.properties"
            properties.write_text(PROPERTIES.format(port=broker.port, controller=broker.port + 1, data=folder / "data"))
            broker.command = [str(klamm_binary), "server", "-c", str(properties)]
        if names:
            (folder / "names").write_text("\n".join(names))
            only = f"@{folder}/names"
        broker.start()
        try:
            lines = [json.loads(line) for line in driver(str(broker.port), "waits" if target == "kafka" else "-", *([only] if only else []))]
            if broker.ended_by_itself() is not None:
                raise RuntimeError(f"the broker ended by itself: {broker.log_path.read_text()[-2000:]}")
        finally:
            broker.stop()
    names = [line["name"] for line in lines]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise RuntimeError(f"names of cases that are not distinct: {sorted(twice)}")
    return {line["name"]: line.get("answers") for line in lines}


def save_recording(answers):
    """One file per API; a case at several versions with the same answers is one line."""
    folder = HERE / "recording"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.jsonl"):
        old.unlink()
    files = {}
    for name, answer in answers.items():
        if answer is None:
            continue
        api, version, case = name.split(" ", 2)
        text = json.dumps(answer, separators=(",", ":"), ensure_ascii=False)
        text = text.replace(f"{case}-{version[1:]}", "${t}")
        files.setdefault(api, {}).setdefault((case, text), []).append(version)
    for api, rows in files.items():
        lines = [f'{{"case":{json.dumps(case)},"versions":{json.dumps(" ".join(versions))},"answers":{text}}}\n' for (case, text), versions in rows.items()]
        (folder / f"{api}.jsonl").write_text("".join(lines))


def load_recording():
    """name -> answers."""
    answers = {}
    for path in sorted((HERE / "recording").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            for version in row["versions"].split():
                text = json.dumps(row["answers"], ensure_ascii=False).replace("${t}", f"{row['case']}-{version[1:]}")
                answers[f"{path.stem} {version} {row['case']}"] = json.loads(text)
    return answers


def by_name(elements):
    """A list whose elements tell themselves apart by a name or an API key, by that; else None."""
    for key in ("name", "apiKey"):
        named = {element[key]: element for element in elements if isinstance(element, dict) and isinstance(element.get(key), (str, int))}
        if elements and len(named) == len(elements):
            return named
    return None


def differences(path, kafka, klamm):
    """(path, Kafka's value, klamm's value) of each difference; a list of other length is one, unless its elements have names."""
    if isinstance(kafka, list) and isinstance(klamm, list) and by_name(kafka) and by_name(klamm):
        kafka, klamm = by_name(kafka), by_name(klamm)
    if isinstance(kafka, dict) and isinstance(klamm, dict):
        for key in sorted(kafka.keys() | klamm.keys()):
            yield from differences(f"{path}/{key}", kafka.get(key, "$absent"), klamm.get(key, "$absent"))
    elif isinstance(kafka, list) and isinstance(klamm, list) and len(kafka) == len(klamm):
        for place, (one, other) in enumerate(zip(kafka, klamm)):
            yield from differences(f"{path}/{place}", one, other)
    elif kafka != klamm:
        yield path, kafka, klamm


def is_not_offered(path, kafka, klamm):
    """Whether this says that ApiVersions lists an API, or a version of one, that klamm does not offer."""
    parts = path.split("/")
    if len(parts) < 4 or parts[2] != "apiKeys":
        return False
    return klamm == "$absent" if len(parts) == 4 else parts[4] == "maxVersion" and klamm < kafka


def load_deviations():
    """Lines 'NAME PATTERN | PATH PATTERN | REASON'."""
    rows = []
    for line in (HERE / "deviations.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            name, path, reason = (part.strip() for part in line.split(" | ", 2))
            kind = reason.split(":", 1)[0]
            if kind not in ("impossible", "unsafe", "better"):
                raise RuntimeError(f"a deviation's reason begins with impossible, unsafe or better: {line}")
            rows.append((name, path, reason))
    return rows


def short(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 240 else text[:240] + "..."


def compare(recorded, answers, partial, deviations):
    used = set()
    passed = failed = 0
    skipped = {}
    for name, answer in answers.items():
        api = name.split(" ", 1)[0]
        if answer is None:
            skipped[api] = skipped.get(api, 0) + 1
            continue
        if name not in recorded:
            failed += 1
            print(f"FAILED {name}: not recorded; run --record")
            continue
        found = []
        for path, kafka, klamm in differences("", recorded[name], answer):
            if api == "ApiVersions" and is_not_offered(path, kafka, klamm):
                continue
            matching = [row for row in deviations if fnmatch.fnmatchcase(name, row[0]) and fnmatch.fnmatchcase(path, row[1])]
            used.update(matching)
            if not matching:
                found.append((path, kafka, klamm))
        if not found:
            passed += 1
            continue
        failed += 1
        print(f"FAILED {name}")
        for path, kafka, klamm in found[:SHOWN_DIFFERENCES]:
            print(f"    {path}: Kafka {short(kafka)}, here {short(klamm)}")
    if not partial:
        for row in deviations:
            if row not in used:
                failed += 1
                print(f"FAILED deviations.txt: nothing deviates any more at: {row[0]} | {row[1]}")
        for name in recorded.keys() - answers.keys():
            failed += 1
            print(f"FAILED {name}: recorded, but no scenario any more; run --record")
    for api, count in sorted(skipped.items()):
        print(f"not offered: {count} cases of {api}")
    print(f"{passed} passed, {failed} failed")
    return failed == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=["klamm", "kafka"], default="klamm")
    parser.add_argument("--record", action="store_true", help="play Apache Kafka and rewrite the recording")
    parser.add_argument("--list", action="store_true", help="print the names of all cases")
    parser.add_argument("--live", type=int, metavar="PERCENT", help="play a part of the cases against Apache Kafka")
    parser.add_argument("--seed", type=int, help="draws the cases of --live")
    parser.add_argument("--only", metavar="PART", help="only cases whose name has this part")
    parser.add_argument("--klamm-binary", type=pathlib.Path, default=compat.CACHE / "target" / "release" / "klamm")
    arguments = parser.parse_args()
    install()
    if arguments.list:
        print("\n".join(driver("list")))
        return 0
    if arguments.record:
        answers = play("kafka", arguments.klamm_binary, arguments.only)
        # Of a part only that part is new.
        save_recording({**load_recording(), **answers} if arguments.only else answers)
        print(f"recorded {sum(answer is not None for answer in answers.values())} cases")
        return 0
    if arguments.live:
        seed = random.randrange(1 << 32) if arguments.seed is None else arguments.seed
        names = drawn(arguments.live, seed)
        print(f"seed {seed}: {len(names)} cases")
        return 0 if compare(load_recording(), play("kafka", arguments.klamm_binary, None, names), True, set()) else 1
    answers = play(arguments.target, arguments.klamm_binary, arguments.only)
    # Apache Kafka must not deviate from itself.
    deviations = load_deviations() if arguments.target == "klamm" else []
    return 0 if compare(load_recording(), answers, arguments.only is not None, deviations) else 1


if __name__ == "__main__":
    sys.exit(main())
