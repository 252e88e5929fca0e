"""The few Kafka requests that the benchmark itself sends: is a broker ready, create and delete topics."""

import socket
import struct
import time


def text(value):
    data = value.encode()
    return struct.pack(">h", len(data)) + data


def request(key, version, body):
    frame = struct.pack(">hhi", key, version, 7) + text("bench") + body
    return struct.pack(">i", len(frame)) + frame


def receive(connection):
    def exactly(count):
        data = b""
        while len(data) < count:
            part = connection.recv(count - len(data))
            if not part:
                raise OSError("closed")
            data += part
        return data

    (length,) = struct.unpack(">i", exactly(4))
    return exactly(length)


def exchange(port, frame, timeout=60.0):
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(frame)
        return receive(connection)


# Metadata version 4 of no topic.
METADATA = request(3, 4, struct.pack(">ib", 0, 0))


def is_ready(port):
    """Whether Metadata is answered, with at least one broker in it."""
    try:
        answer = exchange(port, METADATA, timeout=5.0)
        return struct.unpack(">i", answer[8:12])[0] > 0
    except (OSError, struct.error):
        return False


def wait_ready(port, process, seconds=300.0):
    deadline = time.monotonic() + seconds
    while not is_ready(port):
        if process.poll() is not None:
            raise RuntimeError(f"the broker ended with code {process.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError("the broker did not get ready")
        time.sleep(0.0005)


def create_topics(port, names, partitions=1):
    body = struct.pack(">i", len(names))
    for name in names:
        body += text(name) + struct.pack(">ihii", partitions, 1, 0, 0)
    answer = exchange(port, request(19, 4, body + struct.pack(">ib", 60000, 0)))
    position = 12
    for _ in names:
        (length,) = struct.unpack_from(">h", answer, position)
        position += 2 + length
        code, message = struct.unpack_from(">hh", answer, position)
        position += 4 + max(message, 0)
        if code != 0:
            raise RuntimeError(f"CreateTopics: error {code}")


def create_assigned(port, name, replicas):
    """A topic with these replicas for each partition, the preferred leader first."""
    body = struct.pack(">i", 1) + text(name) + struct.pack(">ihi", -1, -1, len(replicas))
    for partition, brokers in enumerate(replicas):
        body += struct.pack(f">ii{len(brokers)}i", partition, len(brokers), *brokers)
    answer = exchange(port, request(19, 4, body + struct.pack(">iib", 0, 60000, 0)))
    (code,) = struct.unpack_from(">h", answer, 12 + 2 + len(name.encode()))
    if code != 0:
        raise RuntimeError(f"CreateTopics: error {code}")


def in_sync(port, name):
    """How many replicas of each partition are in sync (Metadata version 4)."""
    answer = exchange(port, request(3, 4, struct.pack(">i", 1) + text(name) + b"\0"))
    place = 8

    def number(form):
        nonlocal place
        (value,) = struct.unpack_from(">" + form, answer, place)
        place += struct.calcsize(">" + form)
        return value

    def skip_text():
        nonlocal place
        length = number("h")
        place += max(length, 0)

    for _ in range(number("i")):
        number("i"), skip_text(), number("i"), skip_text()
    skip_text(), number("i"), number("i"), number("h"), skip_text(), number("b")
    found = []
    for _ in range(number("i")):
        number("h"), number("i"), number("i")
        _replicas, isr = ([number("i") for _ in range(number("i"))] for _ in range(2))
        found.append(len(isr))
    return found


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def varint(value):
    value, out = value << 1 ^ value >> 63, b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def produce(topic, value):
    """Produce version 3, acks=1, one batch of one record for partition 0."""
    record = b"\0" + varint(0) + varint(0) + varint(-1) + varint(len(value)) + value + varint(0)
    record = varint(len(record)) + record
    now = int(time.time() * 1000)
    checked = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1) + record
    batch = struct.pack(">ib", -1, 2) + struct.pack(">I", crc32c(checked)) + checked
    batch = struct.pack(">qi", 0, len(batch)) + batch
    body = struct.pack(">hhii", -1, 1, 30000, 1) + text(topic) + struct.pack(">iii", 1, 0, len(batch)) + batch
    return request(0, 3, body)


def delete_topic(port, name):
    """Frees the disk. The yardstick knows no such request, and its files go with its directory."""
    try:
        exchange(port, request(20, 1, struct.pack(">i", 1) + text(name) + struct.pack(">i", 60000)))
    except OSError:
        pass


def are_usable(port, name, partitions):
    """Whether each partition of a topic tells its end (ListOffsets version 1): Kafka answers CreateTopics before its broker has made them."""
    body = struct.pack(">ii", -1, 1) + text(name) + struct.pack(">i", partitions)
    body += b"".join(struct.pack(">iq", partition, -1) for partition in range(partitions))
    answer = exchange(port, request(2, 1, body))
    position = 8 + 2 + len(name.encode()) + 4
    codes = [struct.unpack_from(">ih", answer, position + 22 * row)[1] for row in range(partitions)]
    return not any(codes)
