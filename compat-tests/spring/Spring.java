package compat;

import static compat.Kafka.bytes;
import static compat.Kafka.text;
import static compat.Kafka.values;
import static compat.Player.LARGEST_VALUE_BYTES;
import static compat.Player.check;
import static compat.Player.equal;
import static compat.Player.refused;
import static compat.Player.until;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.kafka.annotation.EnableKafka;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.config.ConcurrentKafkaListenerContainerFactory;
import org.springframework.kafka.config.TopicBuilder;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaAdmin;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.listener.AbstractMessageListenerContainer;
import org.springframework.kafka.listener.AcknowledgingMessageListener;
import org.springframework.kafka.listener.ConcurrentMessageListenerContainer;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.ContainerProperties.AckMode;
import org.springframework.kafka.listener.KafkaMessageListenerContainer;
import org.springframework.kafka.listener.MessageListener;
import org.springframework.kafka.support.SendResult;
import org.springframework.kafka.support.TopicPartitionOffset;
import org.springframework.kafka.support.TopicPartitionOffset.SeekPosition;

/** The scenarios by Spring Kafka: its admin, its template, its listener containers and its annotation. */
public final class Spring {
    private Spring() {}

    public static void main(String[] arguments) {
        new Player()
            .add("create-describe-delete-topic", Spring::createDescribeDelete)
            .add("create-partitions", Spring::createPartitions)
            .add("unknown-topic", Spring::unknownTopic)
            .add("auto-create", Spring::autoCreate)
            .add("codecs", Spring::codecs)
            .add("acks", Spring::acks)
            .add("keys-and-partitions", Spring::keys)
            .add("headers", Spring::headers)
            .add("null-key-and-value", Spring::nulls)
            .add("record-near-limit", Spring::nearLimit)
            .add("record-over-limit", Spring::overLimit)
            .add("log-append-time", Spring::logAppendTime)
            .add("read-from-start", Spring::fromStart)
            .add("read-from-offset", Spring::fromOffset)
            .add("read-from-timestamp", Spring::fromTimestamp)
            .add("assignors", Spring::concurrentListener)
            .add("commit-and-resume-after-kill", Spring::resume)
            .add("member-survives-kill", Spring::survive)
            .add("idempotent-across-kill", Spring::idempotent)
            .play();
        System.exit(0);
    }

    private static Map<String, Object> config(Object... more) {
        Map<String, Object> config = new HashMap<>();
        config.putAll(Map.of("bootstrap.servers", Player.BOOTSTRAP, "reconnect.backoff.ms", 50, "reconnect.backoff.max.ms", 300));
        for (int i = 0; i < more.length; i += 2) config.put((String) more[i], more[i + 1]);
        return config;
    }

    private static KafkaAdmin admin() {
        return new KafkaAdmin(config());
    }

    private static DefaultKafkaProducerFactory<byte[], byte[]> producers(Object... more) {
        return new DefaultKafkaProducerFactory<>(config(more), new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static DefaultKafkaConsumerFactory<byte[], byte[]> consumers(Object... more) {
        Map<String, Object> all = config("auto.offset.reset", "earliest", "session.timeout.ms", 6000, "heartbeat.interval.ms", 500);
        for (int i = 0; i < more.length; i += 2) all.put((String) more[i], more[i + 1]);
        return new DefaultKafkaConsumerFactory<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static String create(String name, int partitions, String... config) throws Exception {
        TopicBuilder topic = TopicBuilder.name(name).partitions(partitions).replicas(1);
        for (int i = 0; i < config.length; i += 2) topic.config(config[i], config[i + 1]);
        admin().createOrModifyTopics(topic.build());
        until(() -> Kafka.partitionsOf(name) == partitions, () -> name + " is known to the broker");
        return name;
    }

    /** Sends by a template, waits for all, and returns where each record went. */
    private static List<RecordMetadata> send(List<ProducerRecord<byte[], byte[]>> records, Object... config) throws Exception {
        DefaultKafkaProducerFactory<byte[], byte[]> factory = producers(config);
        try {
            KafkaTemplate<byte[], byte[]> template = new KafkaTemplate<>(factory);
            List<CompletableFuture<SendResult<byte[], byte[]>>> futures = new ArrayList<>();
            for (ProducerRecord<byte[], byte[]> record : records) futures.add(template.send(record));
            template.flush();
            List<RecordMetadata> where = new ArrayList<>();
            for (var future : futures) where.add(future.get(40, TimeUnit.SECONDS).getRecordMetadata());
            return where;
        } finally {
            factory.destroy();
        }
    }

    private static void sendValues(String topic, int partitions, List<String> values) throws Exception {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < values.size(); i++) records.add(Kafka.record(topic, i % partitions, null, values.get(i)));
        send(records);
    }

    /** What a listener container brings from the given places, until there are count records. */
    private static List<ConsumerRecord<byte[], byte[]>> listen(int count, TopicPartitionOffset... from) throws Exception {
        ContainerProperties properties = new ContainerProperties(from);
        List<ConsumerRecord<byte[], byte[]>> got = new CopyOnWriteArrayList<>();
        properties.setMessageListener((MessageListener<byte[], byte[]>) got::add);
        properties.setGroupId("assigned by hand");
        properties.setAckMode(AckMode.MANUAL);
        gather(properties, got, count);
        equal(got.size(), count, "records");
        return got;
    }

    /** Lets a container listen until its listener got count records. */
    private static void gather(ContainerProperties properties, List<?> got, int count) throws Exception {
        var container = new KafkaMessageListenerContainer<>(consumers(), properties);
        container.start();
        try {
            until(() -> got.size() >= count, () -> count + " records, got " + got.size());
        } finally {
            container.stop();
        }
    }

    private static TopicPartitionOffset beginning(String topic, int partition) {
        return new TopicPartitionOffset(topic, partition, SeekPosition.BEGINNING);
    }

    private static List<ConsumerRecord<byte[], byte[]>> read(String topic, int partitions, int count) throws Exception {
        TopicPartitionOffset[] from = new TopicPartitionOffset[partitions];
        for (int p = 0; p < partitions; p++) from[p] = beginning(topic, p);
        return listen(count, from);
    }

    private static void createDescribeDelete() throws Exception {
        String name = create("spring-life", 3, "retention.ms", "123456789");
        var described = admin().describeTopics(name).get(name);
        equal(described.partitions().size(), 3, "partitions");
        // A second time it is there already, with another configuration: the admin alters it.
        KafkaAdmin admin = admin();
        admin.setModifyTopicConfigs(true);
        admin.createOrModifyTopics(TopicBuilder.name(name).partitions(3).replicas(1).config("retention.ms", "5").build());
        var resource = new org.apache.kafka.common.config.ConfigResource(org.apache.kafka.common.config.ConfigResource.Type.TOPIC, name);
        until(() -> {
            try {
                return Kafka.get(Kafka.admin().describeConfigs(List.of(resource)).all()).get(resource).get("retention.ms").value().equals("5");
            } catch (Exception error) {
                throw new AssertionError(error);
            }
        }, () -> "the altered retention.ms");
        Kafka.delete(name);
        until(() -> !Kafka.listed(name), () -> "the topic is gone");
    }

    private static void createPartitions() throws Exception {
        String name = create("spring-growing", 2);
        admin().createOrModifyTopics(TopicBuilder.name(name).partitions(4).replicas(1).build());
        until(() -> Kafka.partitionsOf(name) == 4, () -> "four partitions");
        equal(send(List.of(Kafka.record(name, 3, null, "x"))).get(0).offset(), 0L, "offset");
        equal(read(name, 4, 1).get(0).partition(), 3, "partition");
    }

    private static void unknownTopic() {
        ContainerProperties properties = new ContainerProperties("spring-never-created");
        properties.setMessageListener((MessageListener<byte[], byte[]>) record -> {});
        properties.setGroupId("nobody");
        properties.setMissingTopicsFatal(true);
        var container = new KafkaMessageListenerContainer<>(consumers(), properties);
        refused(IllegalStateException.class, container::start, "a listener to a topic that is not there");
        check(!Kafka.listed("spring-never-created"), "it was created by asking");
    }

    private static void autoCreate() throws Exception {
        equal(send(List.of(Kafka.record("spring-made", null, null, "x"))).get(0).offset(), 0L, "offset");
        equal(Kafka.valuesOf(read("spring-made", 1, 1)), List.of("x"), "values");
    }

    private static void codecs() throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String name = create("spring-codec-" + codec, 1);
            List<String> sent = values(200, "compressible ".repeat(20));
            send(sent.stream().map(v -> Kafka.record(name, 0, null, v)).toList(), "compression.type", codec, "linger.ms", 50);
            equal(Kafka.valuesOf(read(name, 1, 200)), sent, codec);
        }
    }

    private static void acks() throws Exception {
        String name = create("spring-acks", 1);
        List<String> all = new ArrayList<>();
        for (String acks : List.of("all", "1", "0")) {
            List<String> sent = values(20, acks + "-");
            send(sent.stream().map(v -> Kafka.record(name, 0, null, v)).toList(), "acks", acks, "enable.idempotence", acks.equals("all"));
            all.addAll(sent);
            equal(Kafka.valuesOf(read(name, 1, all.size())), all, "values with acks=" + acks);
        }
    }

    private static void keys() throws Exception {
        String name = create("spring-keyed", 6);
        List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
        for (int i = 0; i < 80; i++) sent.add(Kafka.record(name, null, "k" + i % 40, String.valueOf(i)));
        List<RecordMetadata> where = send(sent);
        Set<String> expected = new TreeSet<>(), got = new TreeSet<>();
        for (int i = 0; i < 80; i++) {
            equal(where.get(i).partition(), where.get(i % 40).partition(), "partition of key k" + i % 40);
            expected.add("k" + i % 40 + "=" + i + "@" + where.get(i).partition());
        }
        for (var r : read(name, 6, 80)) got.add(text(r.key()) + "=" + text(r.value()) + "@" + r.partition());
        equal(got, expected, "records");
    }

    private static void headers() throws Exception {
        String[][] sent = {{"a", "1"}, {"b", ""}, {"a", "2"}, {"c", null}, {"a", "1"}, {"ü", "ö"}};
        String name = create("spring-headed", 1);
        ProducerRecord<byte[], byte[]> with = Kafka.record(name, 0, null, "x");
        for (String[] header : sent) with.headers().add(header[0], bytes(header[1]));
        send(List.of(with, Kafka.record(name, 0, null, "y")));
        var got = read(name, 1, 2);
        List<String> seen = new ArrayList<>(), expected = new ArrayList<>();
        for (Header header : got.get(0).headers()) seen.add(header.key() + "=" + text(header.value()));
        for (String[] header : sent) expected.add(header[0] + "=" + header[1]);
        equal(seen, expected, "headers");
        equal(got.get(1).headers().toArray().length, 0, "headers of the second record");
    }

    private static void nulls() throws Exception {
        String[][] sent = {{null, "v"}, {"", "v"}, {"k", null}, {"k", ""}, {null, null}};
        String name = create("spring-nulls", 1);
        send(Arrays.stream(sent).map(r -> Kafka.record(name, 0, r[0], r[1])).toList());
        var got = read(name, 1, 5).stream().map(r -> Arrays.asList(text(r.key()), text(r.value()))).toList();
        equal(got, Arrays.stream(sent).map(Arrays::asList).toList(), "records");
    }

    private static void nearLimit() throws Exception {
        String name = create("spring-near", 1);
        byte[] value = new byte[LARGEST_VALUE_BYTES];
        Arrays.fill(value, (byte) 7);
        equal(send(List.of(new ProducerRecord<>(name, value)), "max.request.size", 3000000).get(0).offset(), 0L, "offset");
        check(Arrays.equals(read(name, 1, 1).get(0).value(), value), "the value differs");
    }

    private static void overLimit() throws Exception {
        String name = create("spring-over", 1);
        byte[] value = new byte[LARGEST_VALUE_BYTES + 1];
        refused(RecordTooLargeException.class, () -> send(List.of(new ProducerRecord<>(name, value)), "max.request.size", 3000000), "one byte more");
        equal(send(List.of(Kafka.record(name, 0, null, "small"))).get(0).offset(), 0L, "offset of the next record");
    }

    private static void logAppendTime() throws Exception {
        String name = create("spring-stamped", 1, "message.timestamp.type", "LogAppendTime");
        long before = System.currentTimeMillis();
        RecordMetadata where = send(List.of(new ProducerRecord<>(name, 0, before - 500000, null, bytes("x")))).get(0);
        var got = read(name, 1, 1).get(0);
        equal(got.timestampType(), TimestampType.LOG_APPEND_TIME, "timestamp type");
        check(Math.abs(got.timestamp() - before) < 60000, "timestamp " + got.timestamp() + " is not the broker's");
        equal(where.timestamp(), got.timestamp(), "timestamp told to the producer");
    }

    private static void fromStart() throws Exception {
        String name = create("spring-start", 1);
        sendValues(name, 1, values(100, "v"));
        var got = read(name, 1, 100);
        equal(Kafka.valuesOf(got), values(100, "v"), "values");
        for (int i = 0; i < 100; i++) equal(got.get(i).offset(), (long) i, "offset");
    }

    private static void fromOffset() throws Exception {
        String name = create("spring-middle", 1);
        sendValues(name, 1, values(100, "v"));
        equal(Kafka.valuesOf(listen(63, new TopicPartitionOffset(name, 0, 37L))), values(100, "v").subList(37, 100), "from offset 37");
        equal(Kafka.valuesOf(listen(4, new TopicPartitionOffset(name, 0, -4L, false))), values(100, "v").subList(96, 100), "the last four");
    }

    private static void fromTimestamp() throws Exception {
        String name = create("spring-timed", 1);
        long base = System.currentTimeMillis() - 3600000;
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < 50; i++) records.add(new ProducerRecord<>(name, 0, base + i * 1000L, null, bytes("v" + i)));
        send(records);
        var got = listen(29, new TopicPartitionOffset(name, 0, base + 20001, SeekPosition.TIMESTAMP));
        equal(Kafka.valuesOf(got), values(50, "v").subList(21, 50), "values");
    }

    /** Three consumers of one container share the partitions, with each of Kafka's assignors. */
    private static void concurrentListener() throws Exception {
        for (String assignor : List.of("RangeAssignor", "RoundRobinAssignor", "StickyAssignor", "CooperativeStickyAssignor")) {
            String name = create("spring-" + assignor, 6);
            List<String> got = new CopyOnWriteArrayList<>();
            ContainerProperties properties = new ContainerProperties(name);
            properties.setMessageListener((MessageListener<byte[], byte[]>) record -> got.add(text(record.value())));
            properties.setGroupId("spring-" + assignor);
            var factory = consumers("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor);
            var container = new ConcurrentMessageListenerContainer<>(factory, properties);
            container.setConcurrency(3);
            container.start();
            try {
                until(() -> container.getContainers().stream().allMatch(c -> size(c) == 2), () -> assignor + ": two partitions each");
                sendValues(name, 6, values(30, "v"));
                until(() -> got.size() >= 30, () -> "30 values, got " + got.size());
                equal(new TreeSet<>(got), new TreeSet<>(values(30, "v")), "values");
            } finally {
                container.stop();
            }
        }
    }

    private static int size(AbstractMessageListenerContainer<?, ?> container) {
        var assigned = container.getAssignedPartitions();
        return assigned == null ? 0 : assigned.size();
    }

    /** A listener that acknowledges by hand and at once; it stops acknowledging after a number of records. */
    private static List<String> acknowledging(String topic, int acknowledged, int count) throws Exception {
        List<String> got = new CopyOnWriteArrayList<>();
        ContainerProperties properties = new ContainerProperties(topic);
        properties.setAckMode(AckMode.MANUAL_IMMEDIATE);
        properties.setSyncCommits(true);
        properties.setGroupId("spring-resume");
        properties.setMessageListener((AcknowledgingMessageListener<byte[], byte[]>) (record, acknowledgment) -> {
            if (record.offset() < acknowledged) acknowledgment.acknowledge();
            got.add(text(record.value()));
        });
        gather(properties, got, count);
        return got;
    }

    private static void resume() throws Exception {
        String topic = create("spring-resumed", 1);
        sendValues(topic, 1, values(100, "v"));
        acknowledging(topic, 40, 100);
        Player.control("/kill9-and-restart");
        equal(acknowledging(topic, 100, 60), values(100, "v").subList(40, 100), "values after the restart");
    }

    /** An application with an annotated listener. */
    @Configuration
    @EnableKafka
    static class Application {
        @Bean
        Listener listener() {
            return new Listener();
        }

        @Bean
        ConcurrentKafkaListenerContainerFactory<byte[], byte[]> kafkaListenerContainerFactory() {
            var factory = new ConcurrentKafkaListenerContainerFactory<byte[], byte[]>();
            factory.setConsumerFactory(consumers());
            factory.setConcurrency(2);
            return factory;
        }
    }

    static class Listener {
        final List<String> got = new CopyOnWriteArrayList<>();

        @KafkaListener(topics = "spring-survived", groupId = "spring-survivor")
        void on(ConsumerRecord<byte[], byte[]> record) {
            got.add(text(record.value()));
        }
    }

    private static void survive() throws Exception {
        String topic = create("spring-survived", 3);
        try (var context = new AnnotationConfigApplicationContext(Application.class)) {
            List<String> got = context.getBean(Listener.class).got;
            sendValues(topic, 3, values(30, "v"));
            until(() -> Set.copyOf(got).size() == 30, () -> "30 values before the kill, got " + got.size());
            Player.control("/kill9-and-restart");
            sendValues(topic, 3, values(30, "w"));
            until(() -> Set.copyOf(got).size() == 60, () -> "60 values, got " + got.size(), 45);
        }
    }

    private static void idempotent() throws Exception {
        String topic = create("spring-once", 1);
        List<Throwable> failures = new CopyOnWriteArrayList<>();
        Thread restart = Player.restarting(failures);
        DefaultKafkaProducerFactory<byte[], byte[]> factory = producers("enable.idempotence", true, "linger.ms", 2, "delivery.timeout.ms", 60000, "request.timeout.ms", 10000);
        List<CompletableFuture<SendResult<byte[], byte[]>>> futures = new ArrayList<>();
        int sent = 0;
        try {
            KafkaTemplate<byte[], byte[]> template = new KafkaTemplate<>(factory);
            while (sent < 1500 || restart.isAlive()) {
                futures.add(template.send(topic, bytes(String.valueOf(sent))));
                if (++sent == 500) restart.start();
                if (sent % 5 == 0) Thread.sleep(5);
            }
            template.flush();
            for (var future : futures) future.get(70, TimeUnit.SECONDS);
        } finally {
            factory.destroy();
        }
        equal(failures, List.of(), "failures");
        check(Kafka.valuesOf(read(topic, 1, sent)).equals(values(sent, "")), "not each value once and in order");
    }
}
