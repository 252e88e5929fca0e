"""The loads of scripts/bench once more by a real client: librdkafka with its default settings, which gathers a record's batch itself."""

import json
import os
import subprocess
import time

import systems
import wire

SOURCE = os.path.join(systems.ROOT, "scripts", "bench.d", "librdkafka.c")
# Partitions, bytes of a record, acks.
LOADS = [(6, 1024, "all"), (6, 100, "all"), (1, 1024, "1")]


def compiled(work):
    """The program, with the library and the header that the compatibility tests have."""
    install = [os.path.join(systems.ROOT, "compat-tests", "install.sh"), "librdkafka-flags"]
    words = subprocess.run(install, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\n")
    program = os.path.join(work, "librdkafka-load")
    subprocess.run(["cc", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o", program, SOURCE, *filter(None, words)], check=True)
    return program


def run(program, system, verb, load, topic, records):
    partitions, record_bytes, acks = load
    words = [verb, f"127.0.0.1:{system.port}", topic, partitions, record_bytes, records, acks]
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"code {done.returncode}")
    return json.loads(done.stdout)


def measure_load(options, results, program, system, load, topic):
    partitions, record_bytes, acks = load
    name = f"{record_bytes} B records, {partitions} partition{'s' if partitions > 1 else ''}, acks={acks}, by librdkafka"
    records = options.bytes // record_bytes
    try:
        wire.create_topics(system.port, [topic], partitions)
        os.sync()
        for verb in ["produce", "consume"]:
            before = system.cpu_seconds()
            done = run(program, system, verb, load, topic, records)
            time.sleep(0.3)
            results.add(f"{verb}, {name}", "MB/s", system.name, done["mb_per_s"])
            results.add(f"{verb}, {name}", "CPU s/GB", system.name, (system.cpu_seconds() - before) / (done["payload_bytes"] / 1e9))
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        results.fail(name, system.name, error)
    wire.delete_topic(system.port, topic)


def measure(options, results, running, say):
    if not running:
        return
    program = compiled(os.path.dirname(running[0].directory))
    # The yardstick knows what `load` asks, and no more.
    running = [system for system in running if system.kind != "yardstick"]
    for system in running:
        system.wipe()
        system.start()
        say(f"{system.name}: warming up")
        for number in range(2):
            wire.create_topics(system.port, [f"warm-up-{number}"], 6)
            for verb in ["produce", "consume"]:
                run(program, system, verb, LOADS[0], f"warm-up-{number}", options.bytes // 1024)
            wire.delete_topic(system.port, f"warm-up-{number}")
    for turn in range(options.rounds):
        for number, load in enumerate(LOADS):
            for system in running:
                measure_load(options, results, program, system, load, f"load-{turn}-{number}")
    for system in running:
        system.stop()
        system.wipe()
