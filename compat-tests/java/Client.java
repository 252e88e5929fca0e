package compat;

import static compat.Kafka.admin;
import static compat.Kafka.bytes;
import static compat.Kafka.consumer;
import static compat.Kafka.create;
import static compat.Kafka.delete;
import static compat.Kafka.describe;
import static compat.Kafka.get;
import static compat.Kafka.listed;
import static compat.Kafka.poll;
import static compat.Kafka.read;
import static compat.Kafka.record;
import static compat.Kafka.send;
import static compat.Kafka.sendValues;
import static compat.Kafka.text;
import static compat.Kafka.values;
import static compat.Kafka.valuesOf;
import static compat.Player.LARGEST_VALUE_BYTES;
import static compat.Player.BOOTSTRAP;
import static compat.Player.check;
import static compat.Player.equal;
import static compat.Player.refused;
import static compat.Player.until;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.StringSerializer;

/** The named scenarios played by the Java clients; groups and kills are in Groups. README.md tells the contract with the runner. */
public final class Client {
    private Client() {}

    public static void main(String[] arguments) throws Exception {
        if (arguments.length == 3 && arguments[0].equals("member")) {
            Groups.childMember(arguments[1], arguments[2]);
            return;
        }
        Player player = new Player()
            .add("describe-cluster", Client::describeCluster)
            .add("create-describe-delete-topic", Client::createDescribeDelete)
            .add("create-partitions", Client::createPartitions)
            .add("unknown-topic", Client::unknownTopic)
            .add("auto-create", Client::autoCreate)
            .add("readme-example", Client::readmeExample)
            .add("recreate-topic", Client::recreate)
            .add("codecs", Client::codecs)
            .add("acks", Client::acks)
            .add("keys-and-partitions", Client::keys)
            .add("headers", Client::headers)
            .add("null-key-and-value", Client::nulls)
            .add("record-near-limit", Client::nearLimit)
            .add("record-over-limit", Client::overLimit)
            .add("log-append-time", Client::logAppendTime)
            .add("read-from-start", Client::fromStart)
            .add("read-from-offset", Client::fromOffset)
            .add("read-from-timestamp", Client::fromTimestamp)
            .add("list-offsets", Client::listOffsets);
        Groups.register(player);
        Quotas.register(player);
        Connections.register(player);
        Compaction.register(player);
        Retention.register(player);
        Transactions.register(player);
        player.play();
        // The clients' threads are daemons or closed; the exit makes the end certain.
        System.exit(0);
    }

    private static void describeCluster() throws Exception {
        DescribeClusterResult first = admin().describeCluster(), second = admin().describeCluster();
        List<Node> nodes = new ArrayList<>(get(first.nodes()));
        equal(nodes.size(), 1, "nodes");
        equal(nodes.get(0).host() + ":" + nodes.get(0).port(), Player.BOOTSTRAP, "address");
        check(get(first.controller()) != null, "no controller");
        check(!get(first.clusterId()).isEmpty(), "no cluster id");
        equal(get(second.clusterId()), get(first.clusterId()), "cluster id");
    }

    private static void createDescribeDelete() throws Exception {
        String name = create("topic-life", 3, "retention.ms", "123456789");
        refused(TopicExistsException.class, () -> create(name, 3), "a second create");
        refused(InvalidTopicException.class, () -> create("bad/name", 1), "a bad name");
        refused(InvalidPartitionsException.class, () -> create("no-partitions", 0), "0 partitions");
        refused(InvalidReplicationFactorException.class,
            () -> get(admin().createTopics(List.of(new NewTopic("two", 1, (short) 2))).all()), "2 replicas on one broker");
        var description = describe(name);
        equal(description.partitions().stream().map(p -> p.partition()).toList(), List.of(0, 1, 2), "partitions");
        check(description.partitions().stream().allMatch(p -> p.leader() != null && p.isr().size() == 1), "leaders and in-sync replicas");
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, name);
        Config config = get(admin().describeConfigs(List.of(resource)).all()).get(resource);
        equal(config.get("retention.ms").value(), "123456789", "retention.ms");
        equal(config.get("retention.ms").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "source of retention.ms");
        equal(config.get("cleanup.policy").value(), "delete", "cleanup.policy");
        equal(config.get("cleanup.policy").source(), ConfigEntry.ConfigSource.DEFAULT_CONFIG, "source of cleanup.policy");
        check(listed(name), "not listed");
        delete(name);
        until(() -> !listed(name), () -> "the topic is gone");
        refused(UnknownTopicOrPartitionException.class, () -> delete(name), "a second delete");
    }

    private static void createPartitions() throws Exception {
        String name = create("growing", 2);
        get(admin().createPartitions(Map.of(name, NewPartitions.increaseTo(4))).all());
        refused(InvalidPartitionsException.class, () -> get(admin().createPartitions(Map.of(name, NewPartitions.increaseTo(3))).all()), "shrinking");
        until(() -> Kafka.partitionsOf(name) == 4, () -> "four partitions");
        equal(send(List.of(record(name, 3, null, "x"))).get(0).offset(), 0L, "offset");
        equal(read(name, 4, 1).get(0).partition(), 3, "partition");
    }

    private static void unknownTopic() throws Exception {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, "allow.auto.create.topics", false)) {
            List<?> partitions = consumer.partitionsFor("never-created", Duration.ofSeconds(5));
            check(partitions == null || partitions.isEmpty(), "partitions of an unknown topic");
        }
        refused(UnknownTopicOrPartitionException.class, () -> describe("never-created"), "describe");
        if (!Player.OLD) TopicIds.unknown();
        check(!listed("never-created"), "it was created by asking");
    }

    private static void autoCreate() throws Exception {
        equal(send(List.of(record("made-by-producing", null, null, "x"))).get(0).offset(), 0L, "offset");
        equal(valuesOf(read("made-by-producing", 1, 1)), List.of("x"), "values");
    }

    private static void readmeExample() throws Exception {
        // README: begin
        var config = Map.<String, Object>of("bootstrap.servers", BOOTSTRAP);
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            producer.send(new ProducerRecord<>("orders", "1", "one"));
        }
        // README: end
        ConsumerRecord<byte[], byte[]> record = read("orders", 1, 1).get(0);
        equal(Kafka.text(record.key()) + "=" + Kafka.text(record.value()), "1=one", "record");
    }

    private static void recreate() throws Exception {
        String name = create("again", 1);
        Uuid old = Kafka.topicId(name);
        sendValues(name, 1, values(5, "old"));
        try (KafkaConsumer<byte[], byte[]> reader = consumer(null)) {
            // This reader knows the old topic, and its fetch is parked when the topic goes.
            reader.assign(List.of(new TopicPartition(name, 0)));
            poll(reader, 5);
            delete(name);
            until(() -> !listed(name), () -> "the topic is gone");
            create(name, 1);
            check(old == null || !old.equals(Kafka.topicId(name)), "the topic id is the old one");
            equal(send(List.of(record(name, 0, null, "new"))).get(0).offset(), 0L, "offset");
            equal(valuesOf(read(name, 1, 1)), List.of("new"), "values");
            reader.seekToBeginning(reader.assignment());
            equal(valuesOf(poll(reader, 1)), List.of("new"), "values seen by the old reader");
        }
    }

    private static void codecs() throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String name = create("codec-" + codec, 1);
            List<String> sent = values(200, "compressible ".repeat(20));
            send(sent.stream().map(v -> record(name, 0, null, v)).toList(), "compression.type", codec, "linger.ms", 50);
            equal(valuesOf(read(name, 1, 200)), sent, codec);
        }
    }

    private static void acks() throws Exception {
        String name = create("acks", 1);
        List<String> all = new ArrayList<>();
        // 0 comes last: what a new partition refuses for a moment would be lost without a word.
        for (String acks : List.of("all", "1", "0")) {
            List<String> sent = values(20, acks + "-");
            send(sent.stream().map(v -> record(name, 0, null, v)).toList(), "acks", acks, "enable.idempotence", acks.equals("all"));
            all.addAll(sent);
            equal(valuesOf(read(name, 1, all.size())), all, "values with acks=" + acks);
        }
    }

    private static void keys() throws Exception {
        String name = create("keyed", 6);
        List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
        for (int i = 0; i < 80; i++) sent.add(record(name, null, "k" + i % 40, String.valueOf(i)));
        List<RecordMetadata> where = send(sent);
        Set<Integer> used = new HashSet<>();
        Map<String, Integer> expected = new HashMap<>();
        for (int i = 0; i < 80; i++) {
            equal(where.get(i).partition(), where.get(i % 40).partition(), "partition of key k" + i % 40);
            used.add(where.get(i).partition());
            expected.put("k" + i % 40 + "=" + i, where.get(i).partition());
        }
        equal(used.size(), 6, "partitions used");
        Map<String, Integer> got = new HashMap<>();
        for (ConsumerRecord<byte[], byte[]> r : read(name, 6, 80)) got.put(text(r.key()) + "=" + text(r.value()), r.partition());
        equal(got, expected, "records");
        equal(send(List.of(record(name, 4, "k0", "x"))).get(0).partition(), 4, "explicit partition");
    }

    private static void headers() throws Exception {
        String[][] sent = {{"a", "1"}, {"b", ""}, {"a", "2"}, {"c", null}, {"a", "1"}, {"ü", "ö"}};
        String name = create("headed", 1);
        ProducerRecord<byte[], byte[]> with = record(name, 0, null, "x");
        for (String[] header : sent) with.headers().add(header[0], bytes(header[1]));
        send(List.of(with, record(name, 0, null, "y")));
        List<ConsumerRecord<byte[], byte[]>> got = read(name, 1, 2);
        List<String> seen = new ArrayList<>(), expected = new ArrayList<>();
        for (Header header : got.get(0).headers()) seen.add(header.key() + "=" + text(header.value()));
        for (String[] header : sent) expected.add(header[0] + "=" + header[1]);
        equal(seen, expected, "headers");
        equal(got.get(1).headers().toArray().length, 0, "headers of the second record");
    }

    private static void nulls() throws Exception {
        String[][] sent = {{null, "v"}, {"", "v"}, {"k", null}, {"k", ""}, {null, null}};
        String name = create("nulls", 1);
        send(Arrays.stream(sent).map(r -> record(name, 0, r[0], r[1])).toList());
        List<List<String>> got = read(name, 1, 5).stream().map(r -> Arrays.asList(text(r.key()), text(r.value()))).toList();
        equal(got, Arrays.stream(sent).map(Arrays::asList).toList(), "records");
    }

    private static void nearLimit() throws Exception {
        String name = create("near", 1);
        byte[] value = new byte[LARGEST_VALUE_BYTES];
        Arrays.fill(value, (byte) 7);
        equal(send(List.of(new ProducerRecord<>(name, value)), "max.request.size", 3000000).get(0).offset(), 0L, "offset");
        check(Arrays.equals(read(name, 1, 1).get(0).value(), value), "the value differs");
    }

    private static void overLimit() throws Exception {
        String name = create("over", 1);
        byte[] value = new byte[LARGEST_VALUE_BYTES + 1];
        refused(RecordTooLargeException.class, () -> send(List.of(new ProducerRecord<>(name, value)), "max.request.size", 3000000), "one byte more");
        equal(send(List.of(record(name, 0, null, "small"))).get(0).offset(), 0L, "offset of the next record");
    }

    private static void logAppendTime() throws Exception {
        String name = create("stamped", 1, "message.timestamp.type", "LogAppendTime");
        long before = System.currentTimeMillis();
        RecordMetadata where = send(List.of(new ProducerRecord<>(name, 0, before - 500000, null, bytes("x")))).get(0);
        ConsumerRecord<byte[], byte[]> got = read(name, 1, 1).get(0);
        equal(got.timestampType(), TimestampType.LOG_APPEND_TIME, "timestamp type");
        check(Math.abs(got.timestamp() - before) < 60000, "timestamp " + got.timestamp() + " is not the broker's");
        equal(where.timestamp(), got.timestamp(), "timestamp told to the producer");
    }

    private static void fromStart() throws Exception {
        String name = create("start", 1);
        sendValues(name, 1, values(100, "v"));
        List<ConsumerRecord<byte[], byte[]>> got = read(name, 1, 100);
        equal(valuesOf(got), values(100, "v"), "values");
        for (int i = 0; i < 100; i++) equal(got.get(i).offset(), (long) i, "offset");
    }

    private static void fromOffset() throws Exception {
        String name = create("middle", 1);
        TopicPartition partition = new TopicPartition(name, 0);
        sendValues(name, 1, values(100, "v"));
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, "auto.offset.reset", "none")) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 37);
            equal(valuesOf(poll(consumer, 63)), values(100, "v").subList(37, 100), "from offset 37");
            consumer.seekToEnd(List.of(partition));
            equal(consumer.position(partition), 100L, "end");
            check(consumer.poll(Duration.ofMillis(300)).isEmpty(), "a record before the end");
            send(List.of(record(name, 0, null, "last")));
            equal(valuesOf(poll(consumer, 1)), List.of("last"), "from the end");
            consumer.seek(partition, 500);
            refused(OffsetOutOfRangeException.class, () -> poll(consumer, 1), "an offset beyond the end");
        }
    }

    /** A topic whose record i has the time base + i seconds. */
    private static long timedTopic(String name) throws Exception {
        long base = System.currentTimeMillis() - 3600000;
        create(name, 1);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < 50; i++) records.add(new ProducerRecord<>(name, 0, base + i * 1000L, null, bytes("v" + i)));
        send(records);
        return base;
    }

    private static void fromTimestamp() throws Exception {
        long base = timedTopic("timed");
        TopicPartition partition = new TopicPartition("timed", 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null)) {
            Map<Long, Long> expected = Map.of(20000L, 20L, 20001L, 21L, -5L, 0L);
            for (Map.Entry<Long, Long> entry : expected.entrySet()) {
                OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(partition, base + entry.getKey())).get(partition);
                equal(found.offset(), entry.getValue(), "offset for base + " + entry.getKey() + " ms");
                equal(found.timestamp(), base + entry.getValue() * 1000, "timestamp found");
            }
            equal(consumer.offsetsForTimes(Map.of(partition, base + 999999)).get(partition), null, "beyond the end");
            consumer.assign(List.of(partition));
            consumer.seek(partition, 21);
            equal(valuesOf(poll(consumer, 29)), values(50, "v").subList(21, 50), "values");
        }
    }

    private static void listOffsets() throws Exception {
        long base = timedTopic("offsets");
        TopicPartition partition = new TopicPartition("offsets", 0);
        send(List.of(new ProducerRecord<>("offsets", 0, base + 100000, null, bytes("late")),
            new ProducerRecord<>("offsets", 0, base + 1, null, bytes("early"))));
        Map<OffsetSpec, Long> expected = new LinkedHashMap<>();
        expected.put(OffsetSpec.earliest(), 0L);
        expected.put(OffsetSpec.latest(), 52L);
        expected.put(OffsetSpec.maxTimestamp(), 50L);
        expected.put(OffsetSpec.forTimestamp(base + 30000), 30L);
        expected.put(OffsetSpec.forTimestamp(base + 100001), -1L);
        expected.put(OffsetSpec.earliestLocal(), 0L);
        expected.put(OffsetSpec.latestTiered(), -1L);
        for (Map.Entry<OffsetSpec, Long> entry : expected.entrySet()) {
            ListOffsetsResultInfo info = get(admin().listOffsets(Map.of(partition, entry.getKey())).partitionResult(partition));
            equal(info.offset(), entry.getValue(), entry.getKey().getClass().getSimpleName());
            if (entry.getValue() == 50L) equal(info.timestamp(), base + 100000, "largest timestamp");
        }
    }

    /** Apart, because the verifier would look for classes that kafka-clients 2.8 lacks. */
    private static final class TopicIds {
        static void unknown() {
            refused(UnknownTopicIdException.class,
                () -> get(admin().describeTopics(TopicCollection.ofTopicIds(List.of(new Uuid(7, 7)))).allTopicIds()), "an unknown id");
        }
    }
}
