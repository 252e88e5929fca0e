package compat;

import static compat.Kafka.admin;
import static compat.Kafka.consumer;
import static compat.Kafka.create;
import static compat.Kafka.get;
import static compat.Kafka.poll;
import static compat.Kafka.producer;
import static compat.Kafka.read;
import static compat.Kafka.text;
import static compat.Player.check;
import static compat.Player.control;
import static compat.Player.equal;
import static compat.Player.refused;
import static compat.Player.until;

import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

/** What a client sees of retention. The runner lets these brokers look for old segments twice a second. */
final class Retention {
    private static final long HOUR_MS = 3_600_000;

    private Retention() {}

    static void register(Player player) {
        player.add("retention", Retention::retention);
    }

    private static void retention() throws Exception {
        byTime();
        byTimeWithTheActiveSegment();
        bySize();
        deletedRecords();
        control("/kill9-and-restart");
        equal(offset("kept-an-hour", OffsetSpec.earliest()), 4L, "earliest after kill -9, by time");
        equal(offset("kept-a-second", OffsetSpec.earliest()), 4L, "earliest after kill -9, by time with the active segment");
        equal(offset("kept-by-size", OffsetSpec.earliest()), 60L, "earliest after kill -9, by size");
        equal(read("kept-by-size", 1, 50).get(0).offset(), 60L, "first record after kill -9");
    }

    private static TopicPartition partition(String topic) {
        return new TopicPartition(topic, 0);
    }

    private static long offset(String topic, OffsetSpec spec) {
        try {
            return get(admin().listOffsets(Map.of(partition(topic), spec)).partitionResult(partition(topic))).offset();
        } catch (Exception error) {
            throw new AssertionError("listOffsets: " + error, error);
        }
    }

    private static void untilEarliest(String topic, long expected) throws Exception {
        until(() -> offset(topic, OffsetSpec.earliest()) == expected, () -> topic + " begins at " + offset(topic, OffsetSpec.earliest()));
    }

    private static long size(String topic) {
        try {
            for (LogDirDescription directory : get(admin().describeLogDirs(List.of(1)).allDescriptions()).get(1).values()) {
                var replica = directory.replicaInfos().get(partition(topic));
                if (replica != null) return replica.size();
            }
        } catch (Exception error) {
            throw new AssertionError("describeLogDirs: " + error, error);
        }
        throw new AssertionError("no log directory has " + topic);
    }

    private static void alter(String topic, String key, String value) throws Exception {
        AlterConfigOp change = new AlterConfigOp(new ConfigEntry(key, value), AlterConfigOp.OpType.SET);
        get(admin().incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.TOPIC, topic), List.of(change))).all());
    }

    /** Each record in a batch of its own, all of the same size. */
    private static void send(String topic, long... timestamps) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer("linger.ms", 0)) {
            for (long timestamp : timestamps) get(producer.send(new ProducerRecord<>(topic, 0, timestamp, null, new byte[1000])));
        }
    }

    /** Records of the past go with the change that says so, whole segments at a time. */
    private static void byTime() throws Exception {
        String topic = create("kept-an-hour", 1, "retention.ms", "-1", "segment.ms", "1000");
        long now = System.currentTimeMillis(), old = now - 2 * HOUR_MS;
        send(topic, old, old + 5000, old + 10000, old + 15000, now, now + 1);
        equal(offset(topic, OffsetSpec.earliest()), 0L, "earliest while all is kept");
        equal(offset(topic, OffsetSpec.forTimestamp(old)), 0L, "by time while all is kept");
        long before = size(topic);
        alter(topic, "retention.ms", String.valueOf(HOUR_MS));
        untilEarliest(topic, 4);
        equal(offset(topic, OffsetSpec.latest()), 6L, "latest");
        equal(offset(topic, OffsetSpec.earliestLocal()), 4L, "earliest local");
        equal(offset(topic, OffsetSpec.forTimestamp(old)), 4L, "by time");
        equal(offset(topic, OffsetSpec.maxTimestamp()), 5L, "largest timestamp");
        equal(size(topic), before / 6 * 2, "size of what is left");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, "auto.offset.reset", "none")) {
            consumer.assign(List.of(partition(topic)));
            consumer.seek(partition(topic), 2);
            refused(OffsetOutOfRangeException.class, () -> poll(consumer, 1), "a record that is gone");
            consumer.seek(partition(topic), 5);
            equal(poll(consumer, 1).get(0).offset(), 5L, "a record that is kept");
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, "auto.offset.reset", "earliest")) {
            consumer.assign(List.of(partition(topic)));
            consumer.seek(partition(topic), 2);
            equal(poll(consumer, 2).get(0).offset(), 4L, "where a reset leads");
        }
    }

    private static void byTimeWithTheActiveSegment() throws Exception {
        String topic = create("kept-a-second", 1, "retention.ms", "1000");
        long old = System.currentTimeMillis() - HOUR_MS;
        send(topic, old, old, old);
        untilEarliest(topic, 3);
        equal(offset(topic, OffsetSpec.latest()), 3L, "latest");
        equal(size(topic), 0L, "size");
        alter(topic, "retention.ms", "-1");
        send(topic, old);
        equal(read(topic, 1, 1).get(0).offset(), 3L, "the next record");
        alter(topic, "retention.ms", "1");
        untilEarliest(topic, 4);
        alter(topic, "retention.ms", "-1");
    }

    private static void bySize() throws Exception {
        String topic = create("kept-by-size", 1, "retention.bytes", String.valueOf(2 << 20), "segment.bytes", String.valueOf(1 << 20));
        try (KafkaProducer<byte[], byte[]> producer = producer("linger.ms", 0)) {
            // Twenty fill a segment.
            for (int i = 0; i < 110; i++) get(producer.send(new ProducerRecord<>(topic, 0, null, new byte[50_000])));
        }
        untilEarliest(topic, 60);
        long size = size(topic);
        check(size >= 2 << 20 && size < 3 << 20, "size " + size);
        equal(read(topic, 1, 50).get(0).offset(), 60L, "the first record");
        equal(offset(topic, OffsetSpec.earliest()), 60L, "earliest");
    }

    private static void deletedRecords() throws Exception {
        String topic = create("deleted-records", 1, "retention.ms", "-1", "segment.ms", "1000");
        long now = System.currentTimeMillis();
        send(topic, now, now + 5000, now + 10000, now + 15000);
        long before = size(topic);
        equal(deleteBefore(topic, 3), 3L, "low watermark");
        equal(offset(topic, OffsetSpec.earliest()), 3L, "earliest");
        until(() -> size(topic) == before / 4, () -> "size " + size(topic) + " of " + before);
        // The segment that is appended to stays.
        equal(deleteBefore(topic, -1), 4L, "low watermark at the end");
        equal(offset(topic, OffsetSpec.earliest()), 4L, "earliest at the end");
        equal(size(topic), before / 4, "size at the end");
        send(topic, now + 16000);
        equal(text(read(topic, 1, 1).get(0).value()).length(), 1000, "a record behind the deleted ones");
    }

    private static long deleteBefore(String topic, long offset) throws Exception {
        var deleted = admin().deleteRecords(Map.of(partition(topic), RecordsToDelete.beforeOffset(offset)));
        return get(deleted.lowWatermarks().get(partition(topic))).lowWatermark();
    }
}
