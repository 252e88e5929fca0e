package compat;

import static compat.Kafka.admin;
import static compat.Kafka.consumer;
import static compat.Kafka.create;
import static compat.Kafka.delete;
import static compat.Kafka.get;
import static compat.Kafka.producer;
import static compat.Player.check;
import static compat.Player.equal;
import static compat.Player.until;

import java.io.DataInputStream;
import java.io.IOException;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ThrottlingQuotaExceededException;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;

/**
 * What a client sees of quotas. Brokers measure over eleven samples of a second, so that ten seconds' worth may be used at once; what is beyond
 * must be waited for, each further second's worth by one second more.
 */
final class Quotas {
    private static final int RATE = 100_000;
    private static final int RECORDS = 13;

    private Quotas() {}

    static void register(Player player) {
        player
            .add("quota-produce", Quotas::produce)
            .add("quota-fetch", Quotas::fetch)
            .add("quota-mutations", Quotas::mutations)
            .add("quota-requests", Quotas::requests)
            .add("quota-connections", Quotas::connections);
    }

    /** Sets a quota, or removes it with null, and waits until the broker knows it. */
    private static void quota(Map<String, String> entity, String key, Double value) throws Exception {
        ClientQuotaEntity whose = new ClientQuotaEntity(new HashMap<>(entity));
        var change = new ClientQuotaAlteration(whose, List.of(new ClientQuotaAlteration.Op(key, value)));
        get(admin().alterClientQuotas(List.of(change)).all());
        until(() -> {
            try {
                var known = get(admin().describeClientQuotas(ClientQuotaFilter.all()).entities()).get(whose);
                return (known == null ? null : known.get(key)) == null ? value == null : known.get(key).equals(value);
            } catch (Exception error) {
                throw new AssertionError("describeClientQuotas: " + error, error);
            }
        }, () -> "the broker knows " + key + " = " + value);
    }

    private static double metric(Map<MetricName, ? extends Metric> metrics, String name) {
        for (Map.Entry<MetricName, ? extends Metric> entry : metrics.entrySet()) {
            boolean whole = entry.getKey().tags().size() == 1;
            if (whole && entry.getKey().name().equals(name) && entry.getValue().metricValue() instanceof Double value) return value;
        }
        throw new AssertionError("no metric " + name);
    }

    private static double secondsSince(long start) {
        return (System.nanoTime() - start) / 1e9;
    }

    /** Each record takes one second's worth: ten are free, the eleventh costs one second, the twelfth two more. */
    private static void between(double seconds) {
        check(seconds > 2.5 && seconds < 6, RECORDS + " seconds' worth took " + seconds + " s");
    }

    private static void produce() throws Exception {
        Map<String, String> mine = Map.of("client-id", "quota-p");
        String topic = create("quota-produce", 1);
        quota(mine, "producer_byte_rate", (double) RATE);
        try (KafkaProducer<byte[], byte[]> limited = producer("client.id", "quota-p"); KafkaProducer<byte[], byte[]> free = producer()) {
            long start = System.nanoTime();
            for (int i = 0; i < RECORDS; i++) get(limited.send(new ProducerRecord<>(topic, new byte[RATE])));
            between(secondsSince(start));
            check(metric(limited.metrics(), "produce-throttle-time-avg") > 0, "no throttle time was reported");
            start = System.nanoTime();
            for (int i = 0; i < RECORDS; i++) get(free.send(new ProducerRecord<>(topic, new byte[RATE])));
            check(secondsSince(start) < 2.5, "a client id without a quota was made to wait");
        }
        quota(mine, "producer_byte_rate", null);
        delete(topic);
    }

    private static void fetch() throws Exception {
        // The user beats the client id, and whoever proves nothing is ANONYMOUS.
        Map<String, String> everybody = new HashMap<>(), mine = Map.of("user", "ANONYMOUS", "client-id", "quota-c");
        everybody.put("client-id", null);
        String topic = create("quota-fetch", 1);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            for (int i = 0; i < RECORDS; i++) get(producer.send(new ProducerRecord<>(topic, new byte[RATE])));
        }
        quota(mine, "consumer_byte_rate", (double) RATE);
        quota(everybody, "consumer_byte_rate", 1e12);
        try (KafkaConsumer<byte[], byte[]> limited = consumer(null, "client.id", "quota-c", "max.partition.fetch.bytes", RATE)) {
            limited.assign(List.of(partition));
            List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
            // What would be too much is not sent and does not count, so that the eleventh record waits until the first ones have left the window.
            until(() -> {
                limited.poll(Duration.ofMillis(50)).forEach(records::add);
                return records.size() >= 9 && metric(limited.metrics(), "fetch-throttle-time-max") > 100;
            }, () -> "the consumer is told to wait; it has " + records.size() + " records");
            check(records.size() <= 10, records.size() + " records where ten seconds allow 10");
            quota(mine, "consumer_byte_rate", null);
            records.addAll(Kafka.poll(limited, RECORDS - records.size()));
            for (int i = 0; i < RECORDS; i++) equal(records.get(i).offset(), (long) i, "offset");
            check(metric(limited.metrics(), "fetch-throttle-time-avg") > 0, "no throttle time was reported");
        }
        quota(everybody, "consumer_byte_rate", null);
        delete(topic);
    }

    private static void mutations() throws Exception {
        Map<String, String> mine = Map.of("client-id", "quota-m");
        quota(mine, "controller_mutation_rate", 1.0);
        Map<String, Object> config = Map.of("bootstrap.servers", Player.BOOTSTRAP, "client.id", "quota-m");
        try (Admin limited = Admin.create(config)) {
            // Eleven are free, and the last permit buys any number.
            get(limited.createTopics(List.of(new NewTopic("quota-first", 13, (short) 1))).all());
            List<NewTopic> second = List.of(new NewTopic("quota-second", 1, (short) 1));
            try {
                get(limited.createTopics(second, new CreateTopicsOptions().retryOnQuotaViolation(false)).all());
                throw new AssertionError("a creation beyond the quota was not refused");
            } catch (ExecutionException error) {
                check(error.getCause() instanceof ThrottlingQuotaExceededException, "refused by " + error.getCause());
                int wait = ((ThrottlingQuotaExceededException) error.getCause()).throttleTimeMs();
                check(wait > 500 && wait <= 2000, "the told wait is " + wait + " ms");
            }
            long start = System.nanoTime();
            get(limited.createTopics(second).all());
            check(secondsSince(start) > 0.5, "the client did not wait");
            until(() -> Kafka.listed("quota-second"), () -> "the second topic is there");
        }
        quota(mine, "controller_mutation_rate", null);
        delete("quota-first");
        delete("quota-second");
    }

    private static void requests() throws Exception {
        Map<String, String> mine = new HashMap<>();
        mine.put("user", null);
        mine.put("client-id", "quota-r");
        String topic = create("quota-requests", 1);
        quota(mine, "request_percentage", 0.001);
        try (KafkaProducer<byte[], byte[]> limited = producer("client.id", "quota-r")) {
            for (int i = 0; i < 40 && !(metric(limited.metrics(), "produce-throttle-time-max") > 0); i++) {
                get(limited.send(new ProducerRecord<>(topic, new byte[100])));
            }
            double most = metric(limited.metrics(), "produce-throttle-time-max");
            check(most > 0 && most <= 1000, "the longest told wait is " + most + " ms");
        }
        quota(mine, "request_percentage", null);
        delete(topic);
    }

    private static void connections() throws Exception {
        Map<String, String> here = Map.of("ip", "127.0.0.1");
        quota(here, "connection_creation_rate", 1.0);
        List<Socket> sockets = new ArrayList<>();
        int answered = 0;
        for (int i = 0; i < 15; i++) sockets.add(ask());
        for (Socket socket : sockets) answered += isAnswered(socket) ? 1 : 0;
        check(answered >= 8 && answered <= 10, answered + " of 15 connections were served where ten seconds allow 10");
        quota(here, "connection_creation_rate", null);
        until(() -> isAnswered(ask()), () -> "a connection without a quota is served");
    }

    /** A connection that asks for ApiVersions, version 0. */
    private static Socket ask() {
        try {
            String[] address = Player.BOOTSTRAP.split("[:,]");
            Socket socket = new Socket(address[0], Integer.parseInt(address[1]));
            socket.setSoTimeout((int) Duration.ofSeconds(10).toMillis());
            ByteBuffer request = ByteBuffer.allocate(14).putInt(10).putShort((short) 18).putShort((short) 0).putInt(7).putShort((short) -1);
            socket.getOutputStream().write(request.array());
            return socket;
        } catch (IOException error) {
            throw new AssertionError("connecting: " + error, error);
        }
    }

    private static boolean isAnswered(Socket socket) {
        try (socket) {
            DataInputStream in = new DataInputStream(socket.getInputStream());
            in.readInt();
            return in.readInt() == 7;
        } catch (IOException closed) {
            return false;
        }
    }
}
