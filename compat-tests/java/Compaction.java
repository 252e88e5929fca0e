package compat;

import static compat.Kafka.admin;
import static compat.Kafka.bytes;
import static compat.Kafka.consumer;
import static compat.Kafka.create;
import static compat.Kafka.get;
import static compat.Kafka.send;
import static compat.Kafka.text;
import static compat.Player.check;
import static compat.Player.control;
import static compat.Player.equal;
import static compat.Player.until;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

/** Compacted topics, and the one in which groups keep their offsets. The segments have the least size that Kafka takes, 1 MiB. */
final class Compaction {
    private static final int SEGMENT_BYTES = 1 << 20;
    private static final int VALUE_BYTES = 10_000;
    /** More than fills a segment, so that what was before lies in complete ones. */
    private static final int FILLERS = 120;

    private Compaction() {}

    static void register(Player player) {
        player.add("compaction", Compaction::newestOfEachKey)
            .add("compaction-tombstones", Compaction::tombstones)
            .add("compaction-of-offsets", Compaction::offsets);
    }

    static void alter(ConfigResource.Type type, String name, String... config) throws Exception {
        List<AlterConfigOp> changes = new ArrayList<>();
        for (int i = 0; i < config.length; i += 2) changes.add(new AlterConfigOp(new ConfigEntry(config[i], config[i + 1]), AlterConfigOp.OpType.SET));
        get(admin().incrementalAlterConfigs(Map.of(new ConfigResource(type, name), (Collection<AlterConfigOp>) changes)).all());
    }

    /** A compacted topic that is cleaned soon. */
    static TopicPartition compacted(String name, String... more) throws Exception {
        alter(ConfigResource.Type.BROKER, "", "log.cleaner.backoff.ms", "100");
        List<String> config = new ArrayList<>(List.of("cleanup.policy", "compact", "segment.bytes", "" + SEGMENT_BYTES, "min.cleanable.dirty.ratio", "0.001"));
        config.addAll(List.of(more));
        create(name, 1, config.toArray(String[]::new));
        return new TopicPartition(name, 0);
    }

    /** A value that no codec makes small. */
    private static byte[] noise(int seed) {
        byte[] value = new byte[VALUE_BYTES];
        new Random(seed).nextBytes(value);
        return ByteBuffer.wrap(value).putInt(0, seed).array();
    }

    private static int seedOf(ConsumerRecord<byte[], byte[]> record) {
        return ByteBuffer.wrap(record.value()).getInt(0);
    }

    private static ProducerRecord<byte[], byte[]> noisy(TopicPartition partition, String key, int seed) {
        return new ProducerRecord<>(partition.topic(), partition.partition(), bytes(key), noise(seed));
    }

    /** Records of keys of their own that roll the segment; the numbers say which, so that each round has others. */
    static void fill(TopicPartition partition, int round) throws Exception {
        List<ProducerRecord<byte[], byte[]>> fillers = new ArrayList<>();
        for (int i = 0; i < FILLERS; i++) fillers.add(noisy(partition, "filler-" + i, round * 1000 + i));
        send(fillers);
    }

    /** All records of a partition. */
    static List<ConsumerRecord<byte[], byte[]>> all(TopicPartition partition) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, "max.partition.fetch.bytes", 8 << 20)) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
            long deadline = System.nanoTime() + 30_000_000_000L;
            while (consumer.position(partition) < end) {
                check(System.nanoTime() < deadline, "the end was not reached within 30 s");
                consumer.poll(Duration.ofMillis(200)).forEach(records::add);
            }
            return records;
        }
    }

    /** The records of each key. */
    private static Map<String, List<ConsumerRecord<byte[], byte[]>>> byKey(TopicPartition partition) {
        Map<String, List<ConsumerRecord<byte[], byte[]>>> found = new TreeMap<>();
        for (ConsumerRecord<byte[], byte[]> record : all(partition)) found.computeIfAbsent(text(record.key()), key -> new ArrayList<>()).add(record);
        return found;
    }

    /** Fills ten keys again and again with each codec. Returns where the newest of each is. */
    static Map<String, RecordMetadata> overwritten(TopicPartition partition) throws Exception {
        Map<String, RecordMetadata> newest = new HashMap<>();
        int seed = 0;
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
            // Not all keys in each round, so that older segments keep some.
            for (int i = 0; i < 150; i++) records.add(noisy(partition, "key-" + i % (codec.equals("none") ? 10 : 7), seed++));
            List<RecordMetadata> where = send(records, "compression.type", codec, "batch.size", 60_000, "linger.ms", 20);
            for (int i = 0; i < where.size(); i++) newest.put(text(records.get(i).key()), where.get(i));
        }
        return newest;
    }

    private static void newestOfEachKey() throws Exception {
        TopicPartition partition = compacted("compacted", "file.delete.delay.ms", "1000");
        Map<String, RecordMetadata> newest = overwritten(partition);
        fill(partition, 1);
        until(() -> keysLeft(partition) == newest.size(), () -> "one record for each of " + newest.size() + " keys, not " + keysLeft(partition));
        for (Map.Entry<String, List<ConsumerRecord<byte[], byte[]>>> found : byKey(partition).entrySet()) {
            if (!found.getKey().startsWith("key-")) continue;
            ConsumerRecord<byte[], byte[]> record = found.getValue().get(0);
            RecordMetadata expected = newest.get(found.getKey());
            equal(record.offset(), expected.offset(), "offset of " + found.getKey());
            equal(record.timestamp(), expected.timestamp(), "timestamp of " + found.getKey());
            check(java.util.Arrays.equals(record.value(), noise(seedOf(record))), "the value of " + found.getKey() + " is another one");
        }
        List<ConsumerRecord<byte[], byte[]>> left = all(partition);
        for (int i = 1; i < left.size(); i++) check(left.get(i - 1).offset() < left.get(i).offset(), "offsets go back");
        lookUps(partition, left);
        // What was cleaned is what a restarted broker has, and it is written on.
        control("/kill9-and-restart");
        equal(all(partition).stream().map(ConsumerRecord::offset).toList(), left.stream().map(ConsumerRecord::offset).toList(), "offsets after a restart");
        long end = left.get(left.size() - 1).offset() + 1;
        equal(send(List.of(noisy(partition, "key-0", 1))).get(0).offset(), end, "the next offset");
    }

    private static long keysLeft(TopicPartition partition) {
        return byKey(partition).entrySet().stream().filter(found -> found.getKey().startsWith("key-")).mapToLong(found -> found.getValue().size()).sum();
    }

    /** Offsets by kind and by time, and reads from inside holes. */
    private static void lookUps(TopicPartition partition, List<ConsumerRecord<byte[], byte[]>> left) throws Exception {
        ConsumerRecord<byte[], byte[]> first = left.get(0), last = left.get(left.size() - 1);
        check(first.offset() > 0, "nothing was removed at the start");
        equal(get(admin().listOffsets(Map.of(partition, OffsetSpec.earliest())).all()).get(partition).offset(), 0L, "earliest");
        equal(get(admin().listOffsets(Map.of(partition, OffsetSpec.latest())).all()).get(partition).offset(), last.offset() + 1, "latest");
        long newestTime = left.stream().mapToLong(ConsumerRecord::timestamp).max().orElseThrow();
        ConsumerRecord<byte[], byte[]> newest = left.stream().filter(record -> record.timestamp() == newestTime).findFirst().orElseThrow();
        equal(get(admin().listOffsets(Map.of(partition, OffsetSpec.maxTimestamp())).all()).get(partition).offset(), newest.offset(), "largest timestamp");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null)) {
            consumer.assign(List.of(partition));
            for (ConsumerRecord<byte[], byte[]> record : List.of(first, left.get(left.size() / 2), last)) {
                var found = consumer.offsetsForTimes(Map.of(partition, record.timestamp())).get(partition);
                long expected = left.stream().filter(other -> other.timestamp() >= record.timestamp()).findFirst().orElseThrow().offset();
                equal(found.offset(), expected, "offset at the time of " + record.offset());
            }
            for (int i = 0; i + 1 < left.size(); i++) {
                long hole = left.get(i).offset() + 1;
                if (hole == left.get(i + 1).offset()) continue;
                consumer.seek(partition, hole);
                List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
                until(() -> {
                    consumer.poll(Duration.ofMillis(100)).forEach(records::add);
                    return !records.isEmpty();
                }, () -> "a record after the hole at " + hole);
                equal(records.get(0).offset(), left.get(i + 1).offset(), "the first record from " + hole);
            }
        }
    }

    private static void tombstones() throws Exception {
        TopicPartition kept = compacted("tombstones-kept", "delete.retention.ms", "600000");
        TopicPartition dropped = compacted("tombstones-dropped", "delete.retention.ms", "1");
        for (TopicPartition partition : List.of(kept, dropped)) {
            send(List.of(noisy(partition, "gone", 1), noisy(partition, "stays", 2)));
            send(List.of(new ProducerRecord<>(partition.topic(), 0, bytes("gone"), null)));
            fill(partition, 1);
        }
        until(() -> byKey(kept).get("gone").size() == 1, () -> "the value of the deleted key is still there");
        equal(byKey(kept).get("gone").get(0).value(), null, "what is left of the deleted key");
        equal(byKey(kept).get("gone").get(0).offset(), 2L, "the tombstone's offset");
        // Its time has come at the first cleaning after the one that met it.
        for (int round = 2; byKey(dropped).containsKey("gone"); round++) {
            check(round < 30, "the tombstone is still there");
            fill(dropped, round);
            Thread.sleep(300);
        }
        equal(byKey(dropped).get("stays").size(), 1, "records of the other key");
        fill(kept, 2);
        until(() -> byKey(kept).get("filler-0").size() == 1 || all(kept).size() < 2 * FILLERS, () -> "another cleaning");
        equal(byKey(kept).get("gone").size(), 1, "tombstones within their time");
        List<ConsumerRecord<byte[], byte[]>> before = all(kept);
        control("/kill9-and-restart");
        equal(all(kept).stream().map(ConsumerRecord::offset).toList(), before.stream().map(ConsumerRecord::offset).toList(), "offsets after a restart");
    }

    private static final String OFFSETS = "__consumer_offsets";

    private static void offsets() throws Exception {
        alter(ConfigResource.Type.BROKER, "", "log.cleaner.backoff.ms", "100");
        TopicPartition committed = new TopicPartition(create("committed", 1), 0);
        commit("cleaned-group", committed, 1);
        alter(ConfigResource.Type.TOPIC, OFFSETS, "segment.bytes", "" + SEGMENT_BYTES, "min.cleanable.dirty.ratio", "0.001", "file.delete.delay.ms", "1000",
            "delete.retention.ms", "1");
        TopicPartition home = homeOf("cleaned-group");
        commit("cleaned-group", committed, 1200);
        // 1200 commits with 3 kB of metadata each.
        until(() -> size(home) < 2 * SEGMENT_BYTES + SEGMENT_BYTES / 2, () -> "the partition of the offsets has " + size(home) + " bytes");
        control("/kill9-and-restart");
        equal(committedOf("cleaned-group", committed), 1200L, "committed after a restart");
        // What is deleted leaves nothing behind, not even its tombstone; another group of the partition makes it cleaned.
        String other = neighbour("cleaned-group");
        get(admin().deleteConsumerGroups(List.of("cleaned-group")).all());
        for (int round = 0; recordsOf(home, "cleaned-group") > 0; round++) {
            check(round < 20, recordsOf(home, "cleaned-group") + " records of the deleted group are left");
            commit(other, committed, 400);
            Thread.sleep(300);
        }
        control("/kill9-and-restart");
        equal(committedOf("cleaned-group", committed), -1L, "committed by the deleted group");
        equal(committedOf(other, committed), 400L, "committed by the other group");
    }

    private static void commit(String group, TopicPartition partition, int times) {
        String metadata = "m".repeat(3000);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(group)) {
            consumer.assign(List.of(partition));
            for (int i = 1; i <= times; i++) {
                Map<TopicPartition, OffsetAndMetadata> offset = Map.of(partition, new OffsetAndMetadata(i, metadata + i));
                if (i % 50 == 0 || i == times) consumer.commitSync(offset);
                else consumer.commitAsync(offset, null);
            }
        }
    }

    private static long committedOf(String group, TopicPartition partition) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(group)) {
            OffsetAndMetadata found = consumer.committed(java.util.Set.of(partition)).get(partition);
            return found == null ? -1 : found.offset();
        }
    }

    /** Where the group's offsets are. */
    private static TopicPartition homeOf(String group) throws Exception {
        return new TopicPartition(OFFSETS, Math.floorMod(group.hashCode() & Integer.MAX_VALUE, (int) Kafka.partitionsOf(OFFSETS)));
    }

    /** Another group whose offsets are there, too. */
    private static String neighbour(String group) throws Exception {
        for (int i = 0;; i++) if (homeOf("neighbour-" + i).equals(homeOf(group))) return "neighbour-" + i;
    }

    private static long recordsOf(TopicPartition home, String group) {
        return all(home).stream().filter(record -> record.key() != null && text(record.key()).contains(group)).count();
    }

    private static long size(TopicPartition partition) {
        try {
            var directories = get(admin().describeLogDirs(List.of(1)).allDescriptions());
            return directories.get(1).values().stream().flatMap(directory -> directory.replicaInfos().entrySet().stream())
                .filter(replica -> replica.getKey().equals(partition)).mapToLong(replica -> replica.getValue().size()).sum();
        } catch (Exception error) {
            throw new AssertionError("describeLogDirs: " + error, error);
        }
    }
}
