package compat;

import static compat.Player.BOOTSTRAP;
import static compat.Player.check;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.DescribeTopicsResult;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The clients as the scenarios use them: bytes in, bytes out. */
final class Kafka {
    private static final Admin ADMIN = Admin.create(base());

    private Kafka() {}

    private static Map<String, Object> base(Object... more) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", BOOTSTRAP);
        config.put("reconnect.backoff.ms", 50);
        config.put("reconnect.backoff.max.ms", 300);
        for (int i = 0; i < more.length; i += 2) config.put((String) more[i], more[i + 1]);
        return config;
    }

    static Admin admin() {
        return ADMIN;
    }

    static <T> T get(Future<T> future) throws Exception {
        return future.get(40, TimeUnit.SECONDS);
    }

    static KafkaProducer<byte[], byte[]> producer(Object... config) {
        return new KafkaProducer<>(base(config), new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(String group, Object... more) {
        Map<String, Object> config = base("auto.offset.reset", "earliest", "enable.auto.commit", false);
        if (group != null) config.putAll(Map.of("group.id", group, "session.timeout.ms", 6000, "heartbeat.interval.ms", 500));
        for (int i = 0; i < more.length; i += 2) config.put((String) more[i], more[i + 1]);
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static String create(String name, int partitions, String... config) throws Exception {
        Map<String, String> settings = new HashMap<>();
        for (int i = 0; i < config.length; i += 2) settings.put(config[i], config[i + 1]);
        get(ADMIN.createTopics(List.of(new NewTopic(name, partitions, (short) Player.BROKERS).configs(settings))).all());
        // Apache Kafka's controller answers before its broker knows the topic.
        Player.until(() -> partitionsOf(name) == partitions, () -> name + " is known to the broker");
        return name;
    }

    static void delete(String name) throws Exception {
        get(ADMIN.deleteTopics(List.of(name)).all());
    }

    static boolean listed(String name) {
        try {
            return get(ADMIN.listTopics().names()).contains(name);
        } catch (Exception error) {
            throw new AssertionError("listTopics: " + error, error);
        }
    }

    /** How many partitions with a leader the broker knows of the topic. */
    static long partitionsOf(String name) {
        try {
            return describe(name).partitions().stream().filter(p -> p.leader() != null).count();
        } catch (Exception error) {
            if (Player.cause(error) instanceof UnknownTopicOrPartitionException) return 0;
            throw new AssertionError("describeTopics: " + error, error);
        }
    }

    static TopicDescription describe(String name) throws Exception {
        DescribeTopicsResult result = ADMIN.describeTopics(List.of(name));
        try {
            return get(result.allTopicNames()).get(name);
        } catch (NoSuchMethodError error) {
            // Before kafka-clients 3.1 the method had a name that later versions lack.
            @SuppressWarnings("unchecked")
            var all = (Future<Map<String, TopicDescription>>) DescribeTopicsResult.class.getMethod("all").invoke(result);
            return get(all).get(name);
        }
    }

    /** The topic's id, null where the client does not know of any (before 3.1). */
    static Uuid topicId(String name) throws Exception {
        TopicDescription description = describe(name);
        try {
            return description.topicId();
        } catch (NoSuchMethodError error) {
            return null;
        }
    }

    static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }

    static List<String> values(int count, String prefix) {
        List<String> values = new ArrayList<>();
        for (int i = 0; i < count; i++) values.add(prefix + i);
        return values;
    }

    static ProducerRecord<byte[], byte[]> record(String topic, Integer partition, String key, String value) {
        return new ProducerRecord<>(topic, partition, bytes(key), bytes(value));
    }

    /** Sends all, waits, and returns where each record went; the first refusal is thrown. */
    static List<RecordMetadata> send(Collection<ProducerRecord<byte[], byte[]>> records, Object... config) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(config)) {
            List<Future<RecordMetadata>> futures = new ArrayList<>();
            for (ProducerRecord<byte[], byte[]> record : records) futures.add(producer.send(record));
            producer.flush();
            List<RecordMetadata> where = new ArrayList<>();
            for (Future<RecordMetadata> future : futures) where.add(get(future));
            return where;
        }
    }

    /** Sends the values round over the partitions. */
    static void sendValues(String topic, int partitions, List<String> values) throws Exception {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < values.size(); i++) records.add(record(topic, i % partitions, null, values.get(i)));
        send(records);
    }

    /** Polls until there are count records; more than that are an error. */
    static List<ConsumerRecord<byte[], byte[]>> poll(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long deadline = System.nanoTime() + 30_000_000_000L;
        while (records.size() < count) {
            check(System.nanoTime() < deadline, "only " + records.size() + " of " + count + " records within 30 s");
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
        }
        check(records.size() == count, records.size() + " records instead of " + count);
        return records;
    }

    /** Reads exactly count records of all the topic's partitions from the start, and looks that nothing follows. */
    static List<ConsumerRecord<byte[], byte[]>> read(String topic, int partitions, int count) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null)) {
            List<TopicPartition> all = new ArrayList<>();
            for (int p = 0; p < partitions; p++) all.add(new TopicPartition(topic, p));
            consumer.assign(all);
            consumer.seekToBeginning(all);
            List<ConsumerRecord<byte[], byte[]>> records = poll(consumer, count);
            check(consumer.poll(Duration.ofMillis(300)).isEmpty(), "a record too many");
            return records;
        }
    }

    static List<String> valuesOf(Collection<ConsumerRecord<byte[], byte[]>> records) {
        return records.stream().map(r -> text(r.value())).toList();
    }
}
