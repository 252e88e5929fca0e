"""The little of Kafka's protocol that the tests speak themselves."""

import socket
import struct

METADATA, LIST_OFFSETS, UNREGISTER_BROKER = 3, 2, 64


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


class Wire:
    """A connection that asks what is needed here, mostly in versions without flexible fields."""

    def __init__(self, address, patience=5.0):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=patience)

    def close(self):
        self.socket.close()

    def call(self, key, version, body, is_flexible=False):
        tags = b"\0" if is_flexible else b""
        frame = struct.pack(">hhi", key, version, 7) + text("cluster-tests") + tags + body + tags
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        (length,) = struct.unpack(">i", self.read(4))
        return self.read(length)[4 + len(tags) :]

    def read(self, length):
        data = b""
        while len(data) < length:
            part = self.socket.recv(length - len(data))
            if not part:
                raise ConnectionError("closed")
            data += part
        return data

    def topics(self, names=None):
        """Of Metadata v7: the controller, and for each topic (all, if none are named) by partition the leader, its epoch and the in-sync replicas."""
        body = struct.pack(">i", -1 if names is None else len(names)) + b"".join(text(name) for name in names or ()) + b"\0"
        answer = Reader(self.call(METADATA, 7, body))
        answer.number("i")
        answer.array(lambda: (answer.number("i"), answer.text(), answer.number("i"), answer.text()))
        answer.text()
        controller = answer.number("i")

        def partition():
            answer.number("h")
            index, leader, epoch = answer.number("i"), answer.number("i"), answer.number("i")
            _replicas, in_sync, _offline = (answer.array(lambda: answer.number("i")) for _ in range(3))
            return index, (leader, epoch, in_sync)

        def topic():
            answer.number("h")
            name = answer.text()
            answer.number("b")
            return name, dict(answer.array(partition))

        return controller, dict(answer.array(topic))

    def high_watermarks(self, topic, epochs):
        """Of ListOffsets v4: the high watermark of each of these partitions that the broker leads under exactly the epoch that is given."""
        rows = b"".join(struct.pack(">iiq", index, epoch, -1) for index, epoch in epochs.items())
        body = struct.pack(">ibi", -1, 0, 1) + text(topic) + struct.pack(">i", len(epochs)) + rows
        answer = Reader(self.call(LIST_OFFSETS, 4, body))
        answer.number("i")

        def partition():
            index, error, _time, offset, _epoch = (answer.number(form) for form in "ihqqi")
            return index, error, offset

        (found,) = answer.array(lambda: (answer.text(), answer.array(partition)))
        return {index: offset for index, error, offset in found[1] if error == 0}

    def unregister(self, broker):
        """The error code of UnregisterBroker."""
        answer = Reader(self.call(UNREGISTER_BROKER, 0, struct.pack(">i", broker), is_flexible=True))
        answer.number("i")
        return answer.number("h")


class Reader:
    """Kafka's primitive types, from the front."""

    def __init__(self, data):
        self.data, self.place = data, 0

    def number(self, form):
        (value,) = struct.unpack_from(">" + form, self.data, self.place)
        self.place += struct.calcsize(">" + form)
        return value

    def text(self):
        length = self.number("h")
        if length < 0:
            return None
        self.place += length
        return self.data[self.place - length : self.place].decode()

    def array(self, item):
        return [item() for _ in range(self.number("i"))]
