"""aiokafka as pure.py wants it: one event loop in a thread, asked from outside."""

import asyncio
import threading
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, for_code

from player import BOOTSTRAP

LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


def run(coroutine, timeout_s=80):
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result(timeout_s)


def raise_first(answers):
    """Of (name, code, ...) tuples."""
    for answer in answers:
        if answer[1]:
            raise for_code(answer[1])(str(answer))


class Member(ConsumerRebalanceListener):
    """A group member that commits each batch after it has noted it."""

    def __init__(self, group, topic, **config):
        self.values, self.now, self.stopping = [], set(), False
        self.task = asyncio.run_coroutine_threadsafe(self.play(group, topic, config), LOOP)

    def held(self):
        return self.now

    async def on_partitions_revoked(self, revoked):
        self.now = set()

    async def on_partitions_assigned(self, assigned):
        self.now = {p.partition for p in assigned}

    async def play(self, group, topic, config):
        consumer = AIOKafkaConsumer(
            bootstrap_servers=BOOTSTRAP, group_id=group, session_timeout_ms=6000, heartbeat_interval_ms=500, auto_offset_reset="earliest",
            enable_auto_commit=False, fetch_max_wait_ms=100, **config
        )
        await consumer.start()
        consumer.subscribe([topic], listener=self)
        while not self.stopping:
            try:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    self.values += [r.value for r in records]
                    await consumer.commit()
            except KafkaError:
                await asyncio.sleep(0.05)  # A rebalance or a kill came between: what was not committed is read again.
        await consumer.stop()

    def stop(self):
        self.stopping = True
        self.task.result(20)


class Driver:
    name = "aiokafka"
    bootstrap = BOOTSTRAP
    assignors = (RangePartitionAssignor, RoundRobinPartitionAssignor, StickyPartitionAssignor)
    out_of_range = 1
    member = Member
    ungroup = None  # Its admin client cannot delete groups.

    def asked(self, call):
        async def ask():
            admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
            await admin.start()
            try:
                return await call(admin)
            finally:
                await admin.close()

        return run(ask())

    def cluster(self):
        answer = self.asked(lambda a: a.describe_cluster())
        return answer["cluster_id"], [f"{b['host']}:{b['port']}" for b in answer["brokers"]]

    def create(self, name, partitions, config=None, replicas=1):
        topic = NewTopic(name, partitions, replicas, topic_configs=config or {})
        raise_first(self.asked(lambda a: a.create_topics([topic])).topic_errors)

    def grow(self, name, count):
        raise_first(self.asked(lambda a: a.create_partitions({name: NewPartitions(count)})).topic_errors)

    def remove(self, name):
        raise_first(self.asked(lambda a: a.delete_topics([name])).topic_error_codes)

    def topics(self):
        return self.asked(lambda a: a.list_topics())

    def partitions(self, name):
        found = [t for t in self.asked(lambda a: a.describe_topics()) if t["topic"] == name]
        return sum(p["leader"] >= 0 for t in found for p in t["partitions"])

    def config(self, name, key):
        answer = self.asked(lambda a: a.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name, {key: None})]))
        return answer[0].resources[0][4][0][1]

    def produce(self, topic, records, **config):
        async def send():
            producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, **config)
            await producer.start()
            try:
                futures = [await producer.send(topic, **fields) for fields in records]
                found = [await future for future in futures]
                return [(m.partition, m.offset) if m else None for m in found]
            finally:
                await producer.stop()

        return run(send())

    def read(self, topic, partition, start, count, wait_s):
        async def poll():
            consumer = AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP, auto_offset_reset="none", enable_auto_commit=False, fetch_max_wait_ms=100)
            await consumer.start()
            try:
                where = TopicPartition(topic, partition)
                consumer.assign([where])
                if start >= 0:
                    consumer.seek(where, start)
                elif start == -2:
                    await consumer.seek_to_beginning(where)
                else:
                    await consumer.seek_to_end(where)
                got, deadline = [], time.monotonic() + wait_s
                while len(got) < count and time.monotonic() < deadline:
                    for records in (await consumer.getmany(timeout_ms=100, max_records=count - len(got))).values():
                        got += [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in records]
                return got
            except OffsetOutOfRangeError as error:
                raise for_code(OffsetOutOfRangeError.errno)(str(error))
            finally:
                await consumer.stop()

        return run(poll())

    def offset_at(self, topic, stamp):
        async def ask():
            consumer = AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP)
            await consumer.start()
            try:
                where = TopicPartition(topic, 0)
                if stamp < 0:
                    return (await (consumer.beginning_offsets if stamp == -2 else consumer.end_offsets)([where]))[where]
                found = (await consumer.offsets_for_times({where: stamp}))[where]
                return found and found.offset
            finally:
                await consumer.stop()

        return run(ask())

    def groups(self):
        return [g[0] for g in self.asked(lambda a: a.list_consumer_groups())]

    def group_state(self, group):
        return self.asked(lambda a: a.describe_consumer_groups([group]))[0].groups[0][2]

    def committed(self, group, topic, partition=0):
        where = TopicPartition(topic, partition)
        return self.asked(lambda a: a.list_consumer_group_offsets(group, partitions=[where]))[where].offset

    def stream(self, topic):
        async def begin():
            producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, enable_idempotence=True, linger_ms=2, request_timeout_ms=60000)
            await producer.start()
            return producer

        producer, futures = run(begin()), []

        def finish():
            async def end():
                for future in futures:
                    await future
                await producer.stop()

            run(end())

        return lambda value: futures.append(run(producer.send(topic, value, partition=0))), finish
