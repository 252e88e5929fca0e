"""kafka-python as pure.py wants it."""

import sys
import threading
import time

from kafka import errors, ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import KafkaError, NoError
from kafka.structs import OffsetAndMetadata

from player import BOOTSTRAP, until

BASE = {"bootstrap_servers": BOOTSTRAP, "reconnect_backoff_max_ms": 300}


class Member(threading.Thread, ConsumerRebalanceListener):
    """A group member that commits each batch after it has noted it; the library is used by this thread alone."""

    def __init__(self, group, topic, **config):
        super().__init__(daemon=True)
        self.values, self.stopping, self.now = [], False, set()
        self.topic = topic
        self.is_joining, self.owes_commit = True, False
        self.consumer = KafkaConsumer(
            **BASE, group_id=group, session_timeout_ms=6000, heartbeat_interval_ms=500, auto_offset_reset="earliest",
            enable_auto_commit=False, fetch_max_wait_ms=100, **config
        )
        self.start()

    def held(self):
        return self.now

    def on_partitions_revoked(self, revoked):
        self.is_joining = True

    def on_partitions_assigned(self, assigned):
        self.is_joining = False

    def run(self):
        # A leader that joins before it knows the topic's partitions may assign none, and look again only after metadata_max_age_ms.
        until(lambda: self.consumer.partitions_for_topic(self.topic), "the partitions")
        self.consumer.subscribe([self.topic], listener=self)
        while not self.stopping:
            try:
                polled = self.consumer.poll(100)
                self.now = {p.partition for p in self.consumer.assignment()}
                for records in polled.values():
                    self.values += [r.value for r in records]
                    self.owes_commit = True
                # A poll may leave a join under way: a commit meanwhile makes the library forget that it joins, and it stays outside for ever.
                if self.owes_commit and not self.is_joining:
                    self.consumer.commit()
                    self.owes_commit = False
            except KafkaError as error:
                print(f"member: {error!r}", file=sys.stderr)
                time.sleep(0.05)  # A rebalance or a kill came between.
        self.consumer.close()

    def stop(self):
        self.stopping = True
        self.join(20)


class Driver:
    name = "kafka-python"
    bootstrap = BOOTSTRAP
    assignors = (RangePartitionAssignor, RoundRobinPartitionAssignor, StickyPartitionAssignor)
    out_of_range = 1
    member = Member

    def __init__(self):
        self.client = None

    def admin(self):
        self.client = self.client or KafkaAdminClient(**BASE)
        return self.client

    def cluster(self):
        answer = self.admin().describe_cluster()
        return answer["cluster_id"], [f"{b['host']}:{b['port']}" for b in answer["brokers"]]

    def create(self, name, partitions, config=None, replicas=1):
        self.admin().create_topics({name: {"num_partitions": partitions, "replication_factor": replicas, "configs": config or {}}})

    def grow(self, name, count):
        self.admin().create_partitions({name: count})

    def remove(self, name):
        self.admin().delete_topics([name])

    def topics(self):
        return self.admin().list_topics()

    def partitions(self, name):
        found = [t for t in self.admin().describe_topics() if t["name"] == name]
        return sum(p["leader_id"] >= 0 for t in found for p in t["partitions"])

    def config(self, name, key):
        answer = self.admin().describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        return next(iter(answer.values()))[name][key]["value"]

    def produce(self, topic, records, **config):
        producer = KafkaProducer(**BASE, **config)
        try:
            futures = [producer.send(topic, **fields) for fields in records]
            producer.flush(60)
            found = [future.get(60) for future in futures]
            return [(m.partition, m.offset) for m in found]
        finally:
            producer.close(20)

    def read(self, topic, partition, start, count, wait_s):
        consumer = KafkaConsumer(**BASE, auto_offset_reset="none", enable_auto_commit=False, fetch_max_wait_ms=100)
        try:
            where = TopicPartition(topic, partition)
            consumer.assign([where])
            {-2: consumer.seek_to_beginning, -1: consumer.seek_to_end}.get(start, lambda p: consumer.seek(p, start))(where)
            got, deadline = [], time.monotonic() + wait_s
            while len(got) < count and time.monotonic() < deadline:
                for records in consumer.poll(100, max_records=count - len(got)).values():
                    got += [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in records]
            return got
        finally:
            consumer.close()

    def offset_at(self, topic, stamp):
        where = TopicPartition(topic, 0)
        consumer = KafkaConsumer(**BASE)
        try:
            if stamp < 0:
                return (consumer.beginning_offsets if stamp == -2 else consumer.end_offsets)([where])[where]
            found = consumer.offsets_for_times({where: stamp})[where]
            return found and found.offset
        finally:
            consumer.close()

    def groups(self):
        return [g["group_id"] for g in self.admin().list_groups()]

    def group_state(self, group):
        answer = self.admin().describe_groups([group])
        found = answer[group] if isinstance(answer, dict) else answer[0]
        return found["group_state"]

    def committed(self, group, topic, partition=0):
        client = KafkaAdminClient(**BASE)
        try:
            found = client.list_group_offsets({group: [TopicPartition(topic, partition)]})[group]
            return found[TopicPartition(topic, partition)].offset
        finally:
            client.close()

    def commit(self, group, topic, offset):
        for error in self.admin().alter_group_offsets(group, {TopicPartition(topic, 0): OffsetAndMetadata(offset, "", -1)}).values():
            if error is not NoError:
                raise error()

    def ungroup(self, group):
        answer = self.admin().delete_groups([group])
        for error in answer.values() if isinstance(answer, dict) else [error for _, error in answer]:
            if isinstance(error, str) and error != "OK":
                error = getattr(errors, error)
            if isinstance(error, type) and error is not NoError:
                raise error()

    def stream(self, topic):
        producer = KafkaProducer(**BASE, enable_idempotence=True, linger_ms=2, delivery_timeout_ms=60000, request_timeout_ms=10000)
        futures = []

        def finish():
            producer.flush(60)
            for future in futures:
                future.get(60)
            producer.close(20)

        return lambda value: futures.append(producer.send(topic, value)), finish
