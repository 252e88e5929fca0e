"""Scale on one broker: many partitions, connections and groups, each on a broker of its own, and a restart with partitions and groups."""

import contextlib
import os
import resource
import selectors
import signal
import socket
import struct
import subprocess
import time

import wire

TOPICS, PARTITIONS = 10, 1_000
CONNECTIONS, ACTIVE = 10_000, 1_000
ACTIVE_SECONDS = 10
GROUPS = 5_000
HEARTBEAT_SECONDS = 3.0
# The whole of a JVM's resident memory says when it last collected, not what it needs.
MEMORY = "(klamm: resident, Apache Kafka: live heap)"


def measure(options, results, running):
    factor = 10 if options.quick else 1
    # Our own side of the connections; the brokers inherit it.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections = min(CONNECTIONS // factor, hard - 1_000)
    for system in running:
        if system.name == "yardstick":
            continue
        step(system, results, lambda: partitions_and_restart(system, results, PARTITIONS // factor, GROUPS // factor))
        step(system, results, lambda: open_connections(system, results, connections, ACTIVE // factor))
        step(system, results, lambda: groups(system, results, GROUPS // factor))


def step(system, results, play):
    """Plays on a broker with a fresh directory. A system that cannot is said to, and the others go on."""
    system.wipe()
    try:
        system.start()
        play()
    except (OSError, RuntimeError) as error:
        results.fail("scale", system.name, f"{error} ({system.last_words()})")
    finally:
        system.stop()
        system.wipe()


def used_mb(system):
    if system.kind != "kafka":
        return system.resident_mb()
    # The histogram's last line is the sum of what a full collection has left.
    histogram = subprocess.run(["jcmd", str(system.process.pid), "GC.class_histogram"], capture_output=True, text=True, check=False)
    words = histogram.stdout.split()[-2:]
    if len(words) < 2 or not words[1].isdigit():
        raise RuntimeError("jcmd does not tell the live heap: " + histogram.stderr.strip()[:100])
    return int(words[1]) / (1 << 20)


def partitions_and_restart(system, results, count, groups_count):
    partitions(system, results, count)
    wait_for_coordinator(system.port)
    with connected(system.port, 1) as [connection]:
        for number in range(groups_count):
            join_when_loaded(connection, f"scale-{number}")
    system.stop(signal.SIGKILL)
    row = f"exec to the first answered Metadata, after kill -9, with {TOPICS * count:,} partitions and {groups_count:,} groups"
    results.add(row, "ms", system.name, system.start() * 1000)


def partitions(system, results, count):
    before, slowest, first = system.resident_mb(), 0.0, time.monotonic()
    for number in range(TOPICS):
        began = time.monotonic()
        wire.create_topics(system.port, [f"scale-{number}"], count)
        slowest = max(slowest, time.monotonic() - began)
    total = TOPICS * count
    while not all(wire.are_usable(system.port, f"scale-{number}", count) for number in range(TOPICS)):
        if time.monotonic() - first > 300:
            raise RuntimeError("the partitions did not get usable within 300 s")
        time.sleep(0.1)
    results.add(f"{total:,} partitions, until all are usable", "s", system.name, time.monotonic() - first)
    results.add(f"create {count:,} partitions, slowest of {TOPICS} calls", "ms", system.name, slowest * 1000)
    results.add(f"resident memory per partition, {total:,} without a record", "KB", system.name, (system.resident_mb() - before) * 1024 / total)
    # Segments and their indexes are named by their base offset, in klamm as in Kafka.
    names = (name for _, _, names in os.walk(os.path.join(system.directory, "data")) for name in names)
    files = [name for name in names if len(name.split(".")[0]) == 20]
    results.add(f"files of {total:,} partitions without a record", "files", system.name, len(files))


@contextlib.contextmanager
def connected(port, count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)) for _ in range(count)]


def ask(connection, frame):
    connection.sendall(frame)
    return wire.receive(connection)


def percentile(values, share):
    return sorted(values)[int((len(values) - 1) * share)] if values else 0.0


def timed(connection, frame):
    began = time.monotonic()
    ask(connection, frame)
    return (time.monotonic() - began) * 1000


def open_connections(system, results, count, active):
    # ApiVersions version 0, as any client's first request.
    hello = wire.request(18, 0, b"")
    wire.create_topics(system.port, ["scale-active"])
    while not wire.are_usable(system.port, "scale-active", 1):
        time.sleep(0.01)
    before = used_mb(system)
    with connected(system.port, count) as all_of_them:
        for connection in all_of_them:
            ask(connection, hello)
        results.add(f"memory per idle connection, {count:,} {MEMORY}", "KB", system.name, (used_mb(system) - before) * 1024 / count)
        produce = wire.produce("scale-active", bytes(1024))
        # Apache Kafka's first ones pay for its compiler.
        for connection in all_of_them[:active]:
            ask(connection, produce)
        times = at_a_rate(all_of_them[:active], produce)
        row = f"{active:,} of {count:,} connections send 1 KB a second each, acks=1"
        results.add(f"{row}, p50", "ms", system.name, percentile(times, 0.5))
        results.add(f"{row}, p99", "ms", system.name, percentile(times, 0.99))


def at_a_rate(connections, frame):
    """Each connection sends once a second, evenly spread, whether or not others are answered; the times run from when a request was due."""
    times, due_of, sent = [], {}, 0
    total = len(connections) * ACTIVE_SECONDS
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        began = time.monotonic()
        while len(times) < total:
            now = time.monotonic()
            while sent < total and (due := began + sent / len(connections)) <= now:
                connection = connections[sent % len(connections)]
                due_of.setdefault(connection, []).append(due)
                connection.sendall(frame)
                sent += 1
            if now - began > ACTIVE_SECONDS + 30:
                raise RuntimeError(f"{total - len(times)} of {total} requests were not answered")
            wait = max(0.0, began + sent / len(connections) - time.monotonic()) if sent < total else 1.0
            for key, _ in selector.select(wait):
                wire.receive(key.fileobj)
                times.append((time.monotonic() - due_of[key.fileobj].pop(0)) * 1000)
    return times


def join(connection, group):
    """One member joins alone and is given nothing; its heartbeat from now on."""
    name = wire.text(group)
    body = name + struct.pack(">ii", 60_000, 60_000) + wire.text("") + wire.text("consumer")
    answer = ask(connection, wire.request(11, 2, body + struct.pack(">i", 1) + wire.text("range") + struct.pack(">i", 0)))
    error, generation, protocol = struct.unpack_from(">hih", answer, 8)
    position = 16 + protocol
    (leader,) = struct.unpack_from(">h", answer, position)
    position += 2 + leader
    (length,) = struct.unpack_from(">h", answer, position)
    member = answer[position + 2 : position + 2 + length].decode()
    if error != 0:
        raise RuntimeError(f"JoinGroup: error {error}")
    of_member = name + struct.pack(">i", generation) + wire.text(member)
    assigned = struct.pack(">i", 1) + wire.text(member) + struct.pack(">i", 0)
    (error,) = struct.unpack_from(">h", ask(connection, wire.request(14, 1, of_member + assigned)), 8)
    if error != 0:
        raise RuntimeError(f"SyncGroup: error {error}")
    return wire.request(12, 1, of_member)


def wait_for_coordinator(port):
    while struct.unpack_from(">h", wire.exchange(port, wire.request(10, 1, wire.text("scale-0") + b"\0")), 8)[0] != 0:
        time.sleep(0.1)


def groups(system, results, count):
    wait_for_coordinator(system.port)
    with connected(system.port, count) as members:
        for connection in members:
            ask(connection, wire.request(18, 0, b""))
        # The first group of each offsets partition makes Apache Kafka load it.
        join_when_loaded(members[0], "scale-first")
        before, began = used_mb(system), time.monotonic()
        beats = [join_when_loaded(connection, f"scale-{number}") for number, connection in enumerate(members)]
        results.add(f"{count:,} groups join, one member each", "s", system.name, time.monotonic() - began)
        times = [timed(connection, beat) for connection, beat in zip(members, beats)]
        results.add(f"memory per group of one member, {count:,} {MEMORY}", "KB", system.name, (used_mb(system) - before) * 1024 / count)
        cpu, began = system.cpu_seconds(), time.monotonic()
        for turn in range(1, 5):
            times += [timed(connection, beat) for connection, beat in zip(members, beats)]
            time.sleep(max(0.0, began + turn * HEARTBEAT_SECONDS - time.monotonic()))
        share = (system.cpu_seconds() - cpu) / (time.monotonic() - began) * 100
        results.add(f"CPU, {count:,} groups with a heartbeat every {HEARTBEAT_SECONDS:.0f} s", "% of a core", system.name, share)
        results.add(f"answer to a heartbeat, {count:,} groups, p99", "ms", system.name, percentile(times, 0.99))


def join_when_loaded(connection, group, seconds=60.0):
    """Apache Kafka first makes and loads the offsets topic's partitions."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return join(connection, group)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
