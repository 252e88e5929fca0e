"""Scale on one broker: many partitions, connections and groups, and a restart with all of them."""

import contextlib
import os
import resource
import signal
import socket
import struct
import time

import wire

TOPICS, PARTITIONS = 10, 1_000
CONNECTIONS, ACTIVE = 10_000, 1_000
GROUPS = 5_000
HEARTBEAT_SECONDS = 3.0


def measure(options, results, running):
    factor = 10 if options.quick else 1
    # Our own side of the connections; the brokers inherit it.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections = min(CONNECTIONS // factor, hard - 1_000)
    for system in running:
        if system.name == "yardstick":
            continue
        system.wipe()
        system.start()
        try:
            steps(system, results, factor, connections)
        # A system that cannot do a step is said to, and the others go on.
        except (OSError, RuntimeError) as error:
            results.fail("scale", system.name, f"{error} ({system.last_words()})")
        finally:
            system.stop()
            system.wipe()


def steps(system, results, factor, connections):
    partitions(system, results, PARTITIONS // factor)
    idle_connections(system, results, connections, ACTIVE // factor)
    groups(system, results, GROUPS // factor)
    system.stop(signal.SIGKILL)
    row = f"exec to the first answered Metadata, after kill -9, with {TOPICS * PARTITIONS // factor:,} partitions and {GROUPS // factor:,} groups"
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


def idle_connections(system, results, count, active):
    # ApiVersions version 0, as any client's first request.
    hello = wire.request(18, 0, b"")
    before = system.resident_mb()
    with connected(system.port, count) as all_of_them:
        for connection in all_of_them:
            ask(connection, hello)
        results.add(f"resident memory per idle connection, {count:,}", "KB", system.name, (system.resident_mb() - before) * 1024 / count)
        for connection in all_of_them[:active]:
            ask(connection, hello)
        times = [timed(connection, hello) for _ in range(3) for connection in all_of_them[:active]]
        results.add(f"answer to {active:,} of {count:,} connections, p99", "ms", system.name, percentile(times, 0.99))


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


def coordinator_is_there(port):
    answer = wire.exchange(port, wire.request(10, 1, wire.text("scale-0") + b"\0"))
    return struct.unpack_from(">h", answer, 8)[0] == 0


def groups(system, results, count):
    while not coordinator_is_there(system.port):
        time.sleep(0.1)
    before = system.resident_mb()
    with connected(system.port, count) as members:
        began = time.monotonic()
        beats = [join_when_loaded(connection, f"scale-{number}") for number, connection in enumerate(members)]
        results.add(f"{count:,} groups join, one member each", "s", system.name, time.monotonic() - began)
        results.add(f"resident memory per group with its connection, {count:,}", "KB", system.name, (system.resident_mb() - before) * 1024 / count)
        cpu, began, times = system.cpu_seconds(), time.monotonic(), []
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
