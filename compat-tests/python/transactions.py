"""The scenarios with transactions, played by confluent-kafka."""

from confluent_kafka import OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec

from player import control, equal, scenario, true, until


class Transactions:
    """The scenarios, over the covers of client.py."""

    def __init__(self, client):
        self.client = client
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

    def transactional(self, name, **config):
        """A producer that is ready to begin."""
        producer = Producer({**self.client.BASE, "transactional.id": name, "linger.ms": 2, **config})
        producer.init_transactions(40)
        return producer

    def write(self, producer, topic, values, partitions=1):
        """Sends the values in the open transaction and waits until the broker has them."""
        for i, value in enumerate(values):
            producer.produce(topic, value, partition=i % partitions)
        equal(producer.flush(40), 0, "records left after flush")

    def read(self, isolation, topic, count, partitions=1, offset=OFFSET_BEGINNING):
        """Exactly count records from the offset on, and nothing behind them."""
        consumer = Consumer({**self.client.BASE, "group.id": "reader", "enable.auto.commit": False, "isolation.level": isolation})
        consumer.assign([TopicPartition(topic, p, offset) for p in range(partitions)])
        messages = self.client.poll(consumer, count)
        true(consumer.poll(0.4) is None, f"a record too many, {isolation}")
        consumer.close()
        return messages

    def committed(self, topic, count, **where):
        return [m.value() for m in self.read("read_committed", topic, count, **where)]

    def stable(self, topic, level=IsolationLevel.READ_COMMITTED):
        """The last stable offset, or the end; None while nobody leads the partition."""
        partition = TopicPartition(topic, 0)
        try:
            asked = self.client.admin().list_offsets({partition: OffsetSpec.latest()}, isolation_level=level)
            return self.client.each(asked)[partition].offset
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NOENT:
                raise
            return None

    def stable_is(self, topic, offset):
        until(lambda: self.stable(topic) == offset, lambda: f"the last stable offset is {self.stable(topic)}, not {offset}")

    def commit(self):
        topic = self.client.create("tx-commit", 3)
        producer = self.transactional("committer")
        for t in range(5):
            producer.begin_transaction()
            self.write(producer, topic, self.client.values(30, f"t{t}-"), 3)
            producer.commit_transaction(40)
        got = sorted((m.partition(), m.offset(), m.value().decode()) for m in self.read("read_committed", topic, 150, 3))
        # Each transaction's marker takes an offset behind its ten records.
        equal(got, [(p, i + i // 10, f"t{i // 10}-{i % 10 * 3 + p}") for p in range(3) for i in range(50)], "partitions, offsets, values")

    def abort(self):
        topic = self.client.create("tx-abort")
        producer = self.transactional("aborter")
        a, b, c = (self.client.values(4, part) for part in "abc")
        for part, end in ((a, producer.commit_transaction), (b, producer.abort_transaction), (c, producer.commit_transaction)):
            producer.begin_transaction()
            self.write(producer, topic, part)
            end(40)
        producer.begin_transaction()
        producer.abort_transaction(40)
        equal(self.committed(topic, 8), a + c, "read_committed")
        equal([m.value() for m in self.read("read_uncommitted", topic, 12)], a + b + c, "read_uncommitted")
        equal(self.committed(topic, 4, offset=7), c, "from inside of the aborted transaction")

    def interleaved(self):
        topic = self.client.create("tx-interleaved")
        a, b, c = (self.transactional(f"mixed-{name}") for name in "abc")
        a.begin_transaction()
        b.begin_transaction()
        for i in range(5):
            self.write(a, topic, [f"a{i}".encode()])
            self.write(b, topic, [f"b{i}".encode()])
            self.client.produce(topic, [{"value": f"plain{i}".encode()}])
        equal(self.stable(topic), 0, "last stable offset with two open transactions")
        a.commit_transaction(40)
        self.stable_is(topic, 1)
        b.abort_transaction(40)
        self.stable_is(topic, 17)
        c.begin_transaction()
        self.write(c, topic, self.client.values(3, "c"))
        self.client.produce(topic, [{"value": b"behind"}])
        equal(self.stable(topic), 17, "last stable offset with one open transaction")
        equal(self.stable(topic, IsolationLevel.READ_UNCOMMITTED), 21, "end")
        seen = [text.encode() for i in range(5) for text in (f"a{i}", f"plain{i}")]
        equal(self.committed(topic, 10), seen, "read_committed with an open transaction")
        c.commit_transaction(40)
        equal(self.committed(topic, 14), seen + [b"c0", b"c1", b"c2", b"behind"], "read_committed in the end")

    def transform(self):
        source, target = self.client.create("tx-input", 2), self.client.create("tx-output", 2)
        values = self.client.values(60)
        self.client.produce(source, [{"value": v, "partition": i % 2} for i, v in enumerate(values)])
        producer = self.transactional("transformer")
        consumer = Consumer({**self.client.BASE, **self.client.GROUP, "group.id": "transform", "isolation.level": "read_committed"})
        consumer.subscribe([source])
        done = turns = 0
        while done < 60:
            messages = [m for m in consumer.consume(10, 0.3) if not m.error()]
            if not messages:
                continue
            producer.begin_transaction()
            for m in messages:
                producer.produce(target, m.value() + b"'", partition=m.partition())
            assigned = consumer.assignment()
            producer.send_offsets_to_transaction(consumer.position(assigned), consumer.consumer_group_metadata(), 40)
            turns += 1
            if turns % 2:
                producer.abort_transaction(40)
                for p in consumer.committed(assigned, 40):
                    consumer.seek(TopicPartition(p.topic, p.partition, max(p.offset, 0)))
            else:
                producer.commit_transaction(40)
                done += len(messages)
        true(turns >= 12, f"only {turns} transactions")
        equal([p.offset for p in consumer.committed([TopicPartition(source, p) for p in (0, 1)], 40)], [30, 30], "committed offsets")
        consumer.close()
        equal(sorted(m.value() for m in self.read("read_committed", target, 60, 2)), sorted(v + b"'" for v in values), "values, each once")

    def fenced(self, action, what):
        try:
            action()
        except KafkaException as error:
            code = error.args[0].code()
            return true(code in (KafkaError._FENCED, KafkaError._FATAL) or error.args[0].fatal(), f"{what}: {error.args[0]}")
        raise AssertionError(f"{what} was not refused")

    def fence(self):
        topic = self.client.create("tx-fence")
        zombie = self.transactional("fenced")
        zombie.begin_transaction()
        self.write(zombie, topic, self.client.values(5, "zombie"))
        heir = self.transactional("fenced")
        self.stable_is(topic, 6)
        self.fenced(lambda: zombie.commit_transaction(40), "a commit of the fenced producer")
        self.fenced(zombie.begin_transaction, "its next transaction")
        heir.begin_transaction()
        self.write(heir, topic, self.client.values(5, "heir"))
        heir.commit_transaction(40)
        equal(self.committed(topic, 5), self.client.values(5, "heir"), "read_committed")

    def timeout(self):
        topic = self.client.create("tx-timeout")
        # librdkafka wants no message to outlive its transaction.
        slow = self.transactional("slow", **{"transaction.timeout.ms": 2000, "message.timeout.ms": 2000, "socket.timeout.ms": 1900})
        slow.begin_transaction()
        self.write(slow, topic, self.client.values(5, "slow"))
        self.client.produce(topic, [{"value": b"plain"}])
        equal(self.stable(topic), 0, "last stable offset of the open transaction")
        self.stable_is(topic, 7)
        equal(self.committed(topic, 1), [b"plain"], "read_committed")
        try:
            slow.commit_transaction(40)
            raise AssertionError("a commit after the time-out was not refused")
        except KafkaException:
            pass
        after = self.transactional("slow")
        after.begin_transaction()
        self.write(after, topic, [b"next"])
        after.commit_transaction(40)
        equal(self.committed(topic, 2), [b"plain", b"next"], "read_committed in the end")

    def across_kill(self):
        topic, expected = self.client.create("tx-kill"), []
        producer = self.transactional("survivor")
        for commits in (True, False):
            first, second = self.client.values(5, f"{commits}-"), self.client.values(5, f"{commits}-after-")
            producer.begin_transaction()
            self.write(producer, topic, first)
            control("/kill9-and-restart")
            for value in second:
                producer.produce(topic, value)
            if commits:
                producer.commit_transaction(60)
                expected += first + second
            else:
                producer.abort_transaction(60)
            equal(self.committed(topic, len(expected)), expected, f"read_committed, {commits}")
        producer.begin_transaction()
        self.write(producer, topic, self.client.values(3, "left-open"))
        control("/kill9-and-restart")
        heir = self.transactional("survivor")
        heir.begin_transaction()
        self.write(heir, topic, [b"heir"])
        heir.commit_transaction(40)
        equal(self.committed(topic, len(expected) + 1), expected + [b"heir"], "read_committed in the end")
