import java.time.Duration;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Everything that an application does, with default settings: a producer, a group of two that commits what it reads, a producer of transactions and a reader of what it
 * commits, an administrator. Arguments: address, topic, topic of transactions, records a second. Says "ack VALUE PARTITION OFFSET", "read VALUE PARTITION OFFSET",
 * "did WHO" and "error WHO WHAT"; the first line of its input ends the producers, the end of its input all of it.
 */
public final class RollingLoad {
    private static final int RECORDS_OF_A_TRANSACTION = 10;
    private static final int POLLS_TO_THE_END = 200;
    private static volatile boolean produces = true;
    private static volatile boolean runs = true;

    private interface Step {
        void run() throws Exception;
    }

    /** Output is one line at a time, whoever writes it. */
    private static void say(String line) {
        synchronized (System.out) {
            System.out.println(line);
        }
    }

    private static Thread begin(String who, Step all) {
        Thread thread = new Thread(() -> {
            try {
                all.run();
            } catch (Throwable error) {
                say("error " + who + " " + error.toString().replace('\n', ' '));
            }
        });
        thread.start();
        return thread;
    }

    private static void produce(Map<String, Object> base, String topic, long rate) throws Exception {
        try (var producer = new KafkaProducer<>(base, new StringSerializer(), new StringSerializer())) {
            long next = System.nanoTime();
            for (long number = 0; produces; number++) {
                String value = Long.toString(number);
                producer.send(new ProducerRecord<>(topic, value), (told, error) -> {
                    say(error == null ? "ack " + value + " " + told.partition() + " " + told.offset() : "error producer " + error);
                });
                next += 1_000_000_000L / rate;
                long wait = next - System.nanoTime();
                if (wait > 0) Thread.sleep(wait / 1_000_000, (int) (wait % 1_000_000));
            }
        }
    }

    private static void transactions(Map<String, Object> base, String topic) throws Exception {
        Map<String, Object> config = new HashMap<>(base);
        config.put("transactional.id", "rolling");
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            producer.initTransactions();
            for (long number = 0; produces; number++) {
                boolean commits = number % 5 != 4;
                producer.beginTransaction();
                for (int i = 0; i < RECORDS_OF_A_TRANSACTION; i++) producer.send(new ProducerRecord<>(topic, number + " " + i + (commits ? "" : " aborted")));
                if (commits) {
                    producer.commitTransaction();
                } else {
                    producer.flush();
                    producer.abortTransaction();
                }
                say("did transactions");
                Thread.sleep(20);
            }
        }
    }

    private static KafkaConsumer<String, String> consumer(Map<String, Object> base, String group, String isolation) {
        Map<String, Object> config = new HashMap<>(base);
        config.putAll(Map.of("group.id", group, "auto.offset.reset", "earliest", "enable.auto.commit", false, "isolation.level", isolation));
        return new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
    }

    private static void read(Map<String, Object> base, String topic, CountDownLatch assigned) {
        try (var consumer = consumer(base, "readers", "read_uncommitted")) {
            consumer.subscribe(List.of(topic));
            boolean seen = false;
            while (runs) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(100));
                if (!seen && !consumer.assignment().isEmpty()) {
                    seen = true;
                    assigned.countDown();
                }
                for (ConsumerRecord<String, String> record : records) say("read " + record.value() + " " + record.partition() + " " + record.offset());
                if (!records.isEmpty()) consumer.commitSync();
            }
        }
    }

    /** Each transaction is whole or not there at all. */
    private static void readCommitted(Map<String, Object> base, String topic) {
        Map<String, Set<String>> open = new HashMap<>();
        try (var consumer = consumer(base, "readers-of-transactions", "read_committed")) {
            consumer.subscribe(List.of(topic));
            // What it has read a part of when all is to end it reads to its end.
            int pollsLeft = POLLS_TO_THE_END;
            while (runs || (open.values().stream().anyMatch(parts -> !parts.isEmpty()) && pollsLeft-- > 0)) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(100));
                for (ConsumerRecord<String, String> record : records) {
                    String[] words = record.value().split(" ");
                    if (words.length > 2) say("error readers-of-transactions read what was aborted: " + record.value());
                    Set<String> parts = open.computeIfAbsent(words[0], key -> new HashSet<>());
                    if (!parts.add(words[1])) say("error readers-of-transactions read twice: " + record.value());
                    if (parts.size() == RECORDS_OF_A_TRANSACTION) {
                        open.put(words[0], Collections.emptySet());
                        say("did readers-of-transactions");
                    }
                }
                if (!records.isEmpty()) consumer.commitSync();
            }
        }
        for (var entry : open.entrySet()) {
            if (!entry.getValue().isEmpty()) say("error readers-of-transactions transaction " + entry.getKey() + " is not whole");
        }
    }

    private static void administer(Map<String, Object> base, String topic) throws Exception {
        try (Admin admin = Admin.create(base)) {
            while (runs) {
                admin.describeCluster().controller().get();
                admin.describeTopics(List.of(topic)).allTopicNames().get();
                admin.listOffsets(Map.of(new TopicPartition(topic, 0), OffsetSpec.latest())).all().get();
                admin.describeConsumerGroups(List.of("readers")).all().get();
                admin.listConsumerGroupOffsets("readers").partitionsToOffsetAndMetadata().get();
                say("did administrator");
                Thread.sleep(200);
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, Object> base = Map.of("bootstrap.servers", arguments[0]);
        String topic = arguments[1], ofTransactions = arguments[2];
        CountDownLatch assigned = new CountDownLatch(2);
        Step reader = () -> read(base, topic, assigned);
        List<Thread> readers = List.of(begin("readers", reader), begin("readers", reader), begin("readers-of-transactions", () -> readCommitted(base, ofTransactions)));
        assigned.await();
        // It describes the group, which must be there.
        Thread administrator = begin("administrator", () -> administer(base, topic));
        List<Thread> producers = List.of(
                begin("producer", () -> produce(base, topic, Long.parseLong(arguments[3]))), begin("transactions", () -> transactions(base, ofTransactions)));
        Scanner input = new Scanner(System.in);
        input.nextLine();
        produces = false;
        for (Thread thread : producers) thread.join();
        say("stopped");
        while (input.hasNextLine()) input.nextLine();
        runs = false;
        for (Thread thread : readers) thread.join();
        administrator.join();
    }
}
