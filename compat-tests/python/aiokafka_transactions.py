"""The scenarios with transactions, played by aiokafka."""

import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from player import BOOTSTRAP, control, equal, scenario, true, until


def values(count, prefix="v"):
    return [f"{prefix}{i}".encode() for i in range(count)]


class Producer:
    """A transactional producer that is ready to begin."""

    def __init__(self, run, name, **config):
        async def start():
            producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id=name, linger_ms=2, **config)
            await producer.start()
            return producer

        self.run, self.inner = run, run(start())

    def begin(self):
        self.run(self.inner.begin_transaction())

    def commit(self):
        self.run(self.inner.commit_transaction())

    def abort(self):
        self.run(self.inner.abort_transaction())

    def offsets(self, offsets, group):
        self.run(self.inner.send_offsets_to_transaction(offsets, group))

    def write(self, topic, texts, partitions=1):
        """Sends the values in the open transaction and waits until the broker has them."""

        async def send():
            futures = [await self.inner.send(topic, value, partition=i % partitions) for i, value in enumerate(texts)]
            for future in futures:
                await future

        self.run(send())

    def stop(self):
        self.run(self.inner.stop())


class Transactions:
    """The scenarios, over the functions of pure.py and the driver."""

    def __init__(self, pure, run):
        self.pure, self.run = pure, run
        for name, play in (
            ("transactions-commit", self.commit),
            ("transactions-abort", self.abort),
            ("transactions-interleaved", self.interleaved),
            ("transactions-consume-transform-produce", self.transform),
            ("transactions-fence-zombie", self.fence),
            ("transactions-timeout", self.timeout),
            ("transactions-across-kill", self.across_kill),
        ):
            scenario(name)(play)

    def producer(self, name, **config):
        return Producer(self.run, name, **config)

    def read(self, isolation, topic, count, partitions=1, offset=0):
        """Exactly count records from the offset on, and nothing behind them."""

        async def poll():
            consumer = AIOKafkaConsumer(
                bootstrap_servers=BOOTSTRAP, auto_offset_reset="none", enable_auto_commit=False, fetch_max_wait_ms=100, isolation_level=isolation
            )
            await consumer.start()
            try:
                where = [TopicPartition(topic, p) for p in range(partitions)]
                consumer.assign(where)
                for partition in where:
                    consumer.seek(partition, offset)
                got, deadline = [], time.monotonic() + 30
                while len(got) < count and time.monotonic() < deadline:
                    for records in (await consumer.getmany(timeout_ms=100)).values():
                        got += records
                more = await consumer.getmany(timeout_ms=400)
                return got + [r for records in more.values() for r in records]
            finally:
                await consumer.stop()

        got = self.run(poll())
        equal(len(got), count, f"records of {topic}, {isolation}")
        return got

    def committed(self, topic, count, **where):
        return [r.value for r in self.read("read_committed", topic, count, **where)]

    def stable(self, topic):
        """The last stable offset of partition 0, where a read_committed consumer's end is."""

        async def ask():
            consumer = AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP, isolation_level="read_committed")
            await consumer.start()
            try:
                return (await consumer.end_offsets([TopicPartition(topic, 0)]))[TopicPartition(topic, 0)]
            finally:
                await consumer.stop()

        return self.run(ask())

    def stable_is(self, topic, offset):
        until(lambda: self.stable(topic) == offset, lambda: f"the last stable offset is {self.stable(topic)}, not {offset}")

    def commit(self):
        topic, producer = self.pure.create("tx-commit", 3), self.producer("committer")
        for t in range(5):
            producer.begin()
            producer.write(topic, values(30, f"t{t}-"), 3)
            producer.commit()
        producer.stop()
        got = sorted((r.partition, r.offset, r.value.decode()) for r in self.read("read_committed", topic, 150, 3))
        # Each transaction's marker takes an offset behind its ten records.
        equal(got, [(p, i + i // 10, f"t{i // 10}-{i % 10 * 3 + p}") for p in range(3) for i in range(50)], "partitions, offsets, values")

    def abort(self):
        topic, producer = self.pure.create("tx-abort"), self.producer("aborter")
        a, b, c = (values(4, part) for part in "abc")
        for part, end in ((a, producer.commit), (b, producer.abort), (c, producer.commit)):
            producer.begin()
            producer.write(topic, part)
            end()
        producer.begin()
        producer.abort()
        producer.stop()
        equal(self.committed(topic, 8), a + c, "read_committed")
        equal([r.value for r in self.read("read_uncommitted", topic, 12)], a + b + c, "read_uncommitted")
        equal(self.committed(topic, 4, offset=7), c, "from inside of the aborted transaction")

    def interleaved(self):
        topic = self.pure.create("tx-interleaved")
        a, b, c = (self.producer(f"mixed-{name}") for name in "abc")
        a.begin()
        b.begin()
        for i in range(5):
            a.write(topic, [f"a{i}".encode()])
            b.write(topic, [f"b{i}".encode()])
            self.pure.sent(topic, [f"plain{i}".encode()])
        equal(self.stable(topic), 0, "last stable offset with two open transactions")
        a.commit()
        self.stable_is(topic, 1)
        b.abort()
        self.stable_is(topic, 17)
        c.begin()
        c.write(topic, values(3, "c"))
        self.pure.sent(topic, [b"behind"])
        equal(self.stable(topic), 17, "last stable offset with one open transaction")
        seen = [text.encode() for i in range(5) for text in (f"a{i}", f"plain{i}")]
        equal(self.committed(topic, 10), seen, "read_committed with an open transaction")
        c.commit()
        equal(self.committed(topic, 14), seen + [b"c0", b"c1", b"c2", b"behind"], "read_committed in the end")
        for producer in (a, b, c):
            producer.stop()

    def transform(self):
        source, target = self.pure.create("tx-input", 2), self.pure.create("tx-output", 2)
        self.pure.sent(source, values(60), 2)
        producer, turns = self.producer("transformer"), 0
        for partition in (0, 1):
            here, done = TopicPartition(source, partition), 0
            while done < 30:
                texts = [r[3] for r in self.pure.D.read(source, partition, done, 10, 30)]
                producer.begin()
                self.run(self.send_to(producer, target, partition, [t + b"'" for t in texts]))
                producer.offsets({here: OffsetAndMetadata(done + len(texts), "")}, "transform")
                turns += 1
                if turns % 2:
                    producer.abort()
                else:
                    producer.commit()
                    done += len(texts)
                expected = done if done else -1
                until(lambda: self.pure.D.committed("transform", source, partition) == expected, f"the group's offset is {expected}")
        producer.stop()
        equal(sorted(r.value for r in self.read("read_committed", target, 60, 2)), sorted(v + b"'" for v in values(60)), "values, each once")

    async def send_to(self, producer, topic, partition, texts):
        futures = [await producer.inner.send(topic, text, partition=partition) for text in texts]
        for future in futures:
            await future

    def refused(self, action, what):
        try:
            action()
        except KafkaError as error:
            return error
        raise AssertionError(f"{what} was not refused")

    def fence(self):
        topic, zombie = self.pure.create("tx-fence"), self.producer("fenced")
        zombie.begin()
        zombie.write(topic, values(5, "zombie"))
        heir = self.producer("fenced")
        self.stable_is(topic, 6)
        error = self.refused(zombie.commit, "a commit of the fenced producer")
        true(type(error).__name__ in ("ProducerFenced", "InvalidProducerEpoch"), f"the fenced producer's error: {error!r}")
        heir.begin()
        heir.write(topic, values(5, "heir"))
        heir.commit()
        heir.stop()
        equal(self.committed(topic, 5), values(5, "heir"), "read_committed")

    def timeout(self):
        topic, slow = self.pure.create("tx-timeout"), self.producer("slow", transaction_timeout_ms=2000)
        slow.begin()
        slow.write(topic, values(5, "slow"))
        self.pure.sent(topic, [b"plain"])
        equal(self.stable(topic), 0, "last stable offset of the open transaction")
        self.stable_is(topic, 7)
        equal(self.committed(topic, 1), [b"plain"], "read_committed")
        self.refused(slow.commit, "a commit after the time-out")
        after = self.producer("slow")
        after.begin()
        after.write(topic, [b"next"])
        after.commit()
        after.stop()
        equal(self.committed(topic, 2), [b"plain", b"next"], "read_committed in the end")

    def across_kill(self):
        topic, expected, producer = self.pure.create("tx-kill"), [], self.producer("survivor")
        for commits in (True, False):
            first, second = values(5, f"{commits}-"), values(5, f"{commits}-after-")
            producer.begin()
            producer.write(topic, first)
            control("/kill9-and-restart")
            producer.write(topic, second)
            if commits:
                producer.commit()
                expected += first + second
            else:
                producer.abort()
            equal(self.committed(topic, len(expected)), expected, f"read_committed, {commits}")
        producer.begin()
        producer.write(topic, values(3, "left-open"))
        control("/kill9-and-restart")
        heir = self.producer("survivor")
        heir.begin()
        heir.write(topic, [b"heir"])
        heir.commit()
        heir.stop()
        equal(self.committed(topic, len(expected) + 1), expected + [b"heir"], "read_committed in the end")
