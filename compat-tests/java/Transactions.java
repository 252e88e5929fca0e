package compat;

import static compat.Kafka.admin;
import static compat.Kafka.bytes;
import static compat.Kafka.consumer;
import static compat.Kafka.create;
import static compat.Kafka.get;
import static compat.Kafka.poll;
import static compat.Kafka.producer;
import static compat.Kafka.record;
import static compat.Kafka.send;
import static compat.Kafka.sendValues;
import static compat.Kafka.text;
import static compat.Kafka.values;
import static compat.Kafka.valuesOf;
import static compat.Player.check;
import static compat.Player.equal;
import static compat.Player.refused;
import static compat.Player.until;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TimeoutException;

/** The scenarios with transactional producers and read_committed consumers. */
final class Transactions {
    private Transactions() {}

    static void register(Player player) {
        player.add("transactions-commit", Transactions::commit)
            .add("transactions-abort", Transactions::abort)
            .add("transactions-interleaved", Transactions::interleaved)
            .add("transactions-consume-transform-produce", Transactions::transform)
            .add("transactions-fence-zombie", Transactions::fence)
            .add("transactions-timeout", Transactions::timeout)
            .add("transactions-across-kill", Transactions::acrossKill)
            .add("transactions-kill-behind-end", Transactions::killBehindEnd)
            .add("transactions-admin", TransactionsAdmin::play);
        // Once is enough: it is the broker that is tried.
        if (!Player.OLD) player.add("transactions-bank", Bank::play).add("transactions-copier", Copier::play);
    }

    /** A producer that is ready to begin. */
    static KafkaProducer<byte[], byte[]> transactional(String id, Object... more) {
        List<Object> config = new ArrayList<>(List.of("transactional.id", id, "linger.ms", 2));
        config.addAll(List.of(more));
        KafkaProducer<byte[], byte[]> producer = producer(config.toArray());
        try {
            producer.initTransactions();
        } catch (RuntimeException error) {
            // Left open it would go on asking for its id in the background, and fence the next one.
            producer.close(Duration.ZERO);
            throw error;
        }
        return producer;
    }

    /** Sends the values round over the partitions, in the open transaction, and waits until the broker has them. */
    static void write(KafkaProducer<byte[], byte[]> producer, String topic, int partitions, List<String> values) {
        for (int i = 0; i < values.size(); i++) producer.send(record(topic, i % partitions, null, values.get(i)));
        producer.flush();
    }

    /** Reads exactly the given number of records from the start under the isolation level, and looks that nothing follows. */
    static List<ConsumerRecord<byte[], byte[]>> readUnder(String isolation, String topic, int partitions, int count) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, "isolation.level", isolation)) {
            List<TopicPartition> all = new ArrayList<>();
            for (int p = 0; p < partitions; p++) all.add(new TopicPartition(topic, p));
            consumer.assign(all);
            consumer.seekToBeginning(all);
            List<ConsumerRecord<byte[], byte[]>> records = poll(consumer, count);
            check(consumer.poll(Duration.ofMillis(400)).isEmpty(), "a record too many, " + isolation);
            return records;
        }
    }

    static List<String> committed(String topic, int count) {
        return valuesOf(readUnder("read_committed", topic, 1, count));
    }

    static List<String> uncommitted(String topic, int count) {
        return valuesOf(readUnder("read_uncommitted", topic, 1, count));
    }

    /** The last stable offset, or the high watermark, of partition 0. */
    static long end(String topic, IsolationLevel isolation) {
        TopicPartition partition = new TopicPartition(topic, 0);
        try {
            return get(admin().listOffsets(Map.of(partition, OffsetSpec.latest()), new ListOffsetsOptions(isolation)).partitionResult(partition)).offset();
        } catch (Exception error) {
            throw new AssertionError("listOffsets: " + error, error);
        }
    }

    static long stable(String topic) {
        return end(topic, IsolationLevel.READ_COMMITTED);
    }

    private static void commit() throws Exception {
        String topic = create("tx-commit", 3);
        try (KafkaProducer<byte[], byte[]> producer = transactional("committer")) {
            for (int t = 0; t < 5; t++) {
                producer.beginTransaction();
                write(producer, topic, 3, values(30, "t" + t + "-"));
                producer.commitTransaction();
            }
        }
        Map<Integer, List<String>> got = new TreeMap<>(), expected = new TreeMap<>();
        for (ConsumerRecord<byte[], byte[]> r : readUnder("read_committed", topic, 3, 150)) {
            got.computeIfAbsent(r.partition(), p -> new ArrayList<>()).add(r.offset() + " " + text(r.value()));
        }
        for (int p = 0; p < 3; p++) {
            // Each transaction's marker takes an offset behind its ten records.
            for (int i = 0; i < 50; i++) expected.computeIfAbsent(p, x -> new ArrayList<>()).add((i + i / 10) + " t" + i / 10 + "-" + (i % 10 * 3 + p));
        }
        equal(got, expected, "offsets and values of the partitions");
        until(() -> stable(topic) == 55, () -> "the last stable offset is " + stable(topic));
    }

    private static void abort() throws Exception {
        String topic = create("tx-abort", 1);
        try (KafkaProducer<byte[], byte[]> producer = transactional("aborter")) {
            for (String part : List.of("a", "b", "c")) {
                producer.beginTransaction();
                write(producer, topic, 1, values(4, part));
                if (part.equals("b")) producer.abortTransaction();
                else producer.commitTransaction();
            }
            producer.beginTransaction();
            producer.abortTransaction();
        }
        List<String> all = new ArrayList<>(values(4, "a"));
        all.addAll(values(4, "c"));
        equal(committed(topic, 8), all, "read_committed");
        all.addAll(4, values(4, "b"));
        equal(uncommitted(topic, 12), all, "read_uncommitted");
        // From inside of what was aborted: the answer's list of aborted transactions must still name it.
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, "isolation.level", "read_committed")) {
            TopicPartition partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            consumer.seek(partition, 7);
            equal(valuesOf(poll(consumer, 4)), values(4, "c"), "from inside of the aborted transaction");
        }
    }

    /** Commits, aborts, an open transaction and plain records between one another in one partition. */
    private static void interleaved() throws Exception {
        String topic = create("tx-interleaved", 1);
        try (var a = transactional("mixed-a");
            var b = transactional("mixed-b");
            var c = transactional("mixed-c")) {
            a.beginTransaction();
            b.beginTransaction();
            for (int i = 0; i < 5; i++) {
                write(a, topic, 1, List.of("a" + i));
                write(b, topic, 1, List.of("b" + i));
                send(List.of(record(topic, 0, null, "plain" + i)));
            }
            equal(stable(topic), 0L, "last stable offset with two open transactions");
            a.commitTransaction();
            until(() -> stable(topic) == 1, () -> "the last stable offset is the first of the open one, not " + stable(topic));
            b.abortTransaction();
            until(() -> stable(topic) == 17, () -> "the last stable offset is the end, not " + stable(topic));
            c.beginTransaction();
            write(c, topic, 1, values(3, "c"));
            send(List.of(record(topic, 0, null, "behind")));
            a.beginTransaction();
            write(a, topic, 1, List.of("later"));
            a.commitTransaction();
            equal(stable(topic), 17L, "last stable offset with one open transaction");
            equal(end(topic, IsolationLevel.READ_UNCOMMITTED), 23L, "end");
            List<String> seen = new ArrayList<>();
            for (int i = 0; i < 5; i++) seen.addAll(List.of("a" + i, "plain" + i));
            equal(committed(topic, 10), seen, "read_committed with an open transaction");
            equal(uncommitted(topic, 20).subList(15, 20), List.of("c0", "c1", "c2", "behind", "later"), "read_uncommitted");
            try (KafkaConsumer<byte[], byte[]> waiting = consumer(null, "isolation.level", "read_committed")) {
                waiting.assign(List.of(new TopicPartition(topic, 0)));
                waiting.seek(new TopicPartition(topic, 0), 17);
                check(waiting.poll(Duration.ofMillis(300)).isEmpty(), "a record of an open transaction");
                c.commitTransaction();
                equal(valuesOf(poll(waiting, 5)), List.of("c0", "c1", "c2", "behind", "later"), "what the commit let through");
            }
            seen.addAll(List.of("c0", "c1", "c2", "behind", "later"));
            equal(committed(topic, 15), seen, "read_committed in the end");
        }
    }

    private static Map<TopicPartition, OffsetAndMetadata> groupOffsets(String group) throws Exception {
        return get(admin().listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
    }

    private static void transform() throws Exception {
        String input = create("tx-input", 2), output = create("tx-output", 2);
        sendValues(input, 2, values(60, "v"));
        Set<TopicPartition> partitions = Set.of(new TopicPartition(input, 0), new TopicPartition(input, 1));
        int done = 0, transactions = 0;
        try (KafkaProducer<byte[], byte[]> producer = transactional("transformer");
            KafkaConsumer<byte[], byte[]> consumer = consumer("transform", "isolation.level", "read_committed", "max.poll.records", 10)) {
            consumer.subscribe(List.of(input));
            while (done < 60) {
                var records = consumer.poll(Duration.ofMillis(200));
                if (records.isEmpty()) continue;
                producer.beginTransaction();
                Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                for (ConsumerRecord<byte[], byte[]> r : records) {
                    producer.send(record(output, r.partition(), null, text(r.value()) + "'"));
                    offsets.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
                }
                var before = groupOffsets("transform");
                producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
                equal(groupOffsets("transform"), before, "the group's offsets while the transaction is open");
                if (transactions == 0) {
                    // The client asks for stable offsets and is told to ask again for as long as the transaction is open.
                    refused(TimeoutException.class, () -> consumer.committed(offsets.keySet(), Duration.ofMillis(700)), "a stable offset");
                }
                if (transactions++ % 2 == 0) {
                    producer.abortTransaction();
                    equal(groupOffsets("transform"), before, "the group's offsets after the abort");
                    var stable = consumer.committed(partitions);
                    for (TopicPartition p : partitions) consumer.seek(p, stable.get(p) == null ? 0 : stable.get(p).offset());
                } else {
                    producer.commitTransaction();
                    var stable = consumer.committed(offsets.keySet());
                    offsets.forEach((p, o) -> equal(stable.get(p).offset(), o.offset(), "offset of " + p + " after the commit"));
                    done += records.count();
                }
            }
        }
        check(transactions >= 12, "only " + transactions + " transactions");
        Set<String> expected = new TreeSet<>(), got = new TreeSet<>();
        for (String value : values(60, "v")) expected.add(value + "'");
        for (var r : readUnder("read_committed", output, 2, 60)) got.add(text(r.value()));
        equal(got, expected, "values, each once");
        groupOffsets("transform").forEach((p, o) -> equal(o.offset(), 30L, "committed offset of " + p));
    }

    private static void fence() throws Exception {
        String topic = create("tx-fence", 1);
        try (KafkaProducer<byte[], byte[]> zombie = transactional("fenced")) {
            zombie.beginTransaction();
            write(zombie, topic, 1, values(5, "zombie"));
            try (KafkaProducer<byte[], byte[]> heir = transactional("fenced")) {
                // What the first had open was aborted before the second one was ready.
                until(() -> stable(topic) == 6, () -> "the last stable offset is " + stable(topic));
                refused(ProducerFencedException.class, zombie::commitTransaction, "a commit of the fenced producer");
                refused(KafkaException.class, () -> zombie.beginTransaction(), "a fenced producer's next transaction");
                heir.beginTransaction();
                write(heir, topic, 1, values(5, "heir"));
                heir.commitTransaction();
            }
        }
        try (KafkaProducer<byte[], byte[]> zombie = transactional("fenced")) {
            zombie.beginTransaction();
            write(zombie, topic, 1, values(2, "second zombie"));
            try (KafkaProducer<byte[], byte[]> heir = transactional("fenced")) {
                // A fenced producer that only writes learns it from the partition's leader.
                try {
                    get(zombie.send(record(topic, 0, null, "late")));
                    throw new AssertionError("a fenced producer's record was taken");
                } catch (Exception error) {
                    Throwable cause = Player.cause(error);
                    check(cause instanceof InvalidProducerEpochException || cause instanceof ProducerFencedException, "a fenced producer's record: " + cause);
                }
                heir.beginTransaction();
                heir.abortTransaction();
            }
        }
        equal(committed(topic, 5), values(5, "heir"), "read_committed");
    }

    private static void timeout() throws Exception {
        String topic = create("tx-timeout", 1);
        try (KafkaProducer<byte[], byte[]> slow = transactional("slow", "transaction.timeout.ms", 2000)) {
            slow.beginTransaction();
            write(slow, topic, 1, values(5, "slow"));
            send(List.of(record(topic, 0, null, "plain")));
            equal(stable(topic), 0L, "last stable offset of the open transaction");
            until(() -> stable(topic) == 7, () -> "the broker aborts it; the last stable offset is " + stable(topic));
            equal(committed(topic, 1), List.of("plain"), "read_committed");
            refused(KafkaException.class, slow::commitTransaction, "a commit after the time-out");
        }
        try (KafkaProducer<byte[], byte[]> next = transactional("slow")) {
            next.beginTransaction();
            write(next, topic, 1, List.of("next"));
            next.commitTransaction();
        }
        equal(committed(topic, 2), List.of("plain", "next"), "read_committed in the end");
        refused(KafkaException.class, () -> transactional("too-long", "transaction.timeout.ms", 900001), "more than transaction.max.timeout.ms");
    }

    private static final Object[] PATIENT = {"delivery.timeout.ms", 60000, "request.timeout.ms", 10000, "max.block.ms", 60000};

    private static void acrossKill() throws Exception {
        String topic = create("tx-kill", 1);
        List<String> expected = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = transactional("survivor", PATIENT)) {
            for (boolean commits : List.of(true, false)) {
                producer.beginTransaction();
                write(producer, topic, 1, values(5, commits + "-"));
                Player.control("/kill9-and-restart");
                check(stable(topic) < end(topic, IsolationLevel.READ_UNCOMMITTED), "the open transaction does not hold the last stable offset");
                for (String value : values(5, commits + "-after")) producer.send(record(topic, 0, null, value));
                if (commits) {
                    producer.commitTransaction();
                    expected.addAll(values(5, "true-"));
                    expected.addAll(values(5, "true-after"));
                } else {
                    producer.abortTransaction();
                }
                equal(committed(topic, expected.size()), expected, "read_committed");
            }
            producer.beginTransaction();
            write(producer, topic, 1, values(3, "left-open"));
            // No time to say good-bye: the transaction stays open.
            producer.close(Duration.ZERO);
        }
        Player.control("/kill9-and-restart");
        try (KafkaProducer<byte[], byte[]> heir = transactional("survivor", PATIENT)) {
            heir.beginTransaction();
            write(heir, topic, 1, List.of("heir"));
            heir.commitTransaction();
        }
        expected.add("heir");
        equal(committed(topic, expected.size()), expected, "read_committed in the end");
    }

    /**
     * What was answered holds. The markers that are owed after the restart are the broker's duty; Apache Kafka writes them within seconds or, where it
     * finds no leader while it starts, never.
     */
    private static void killBehindEnd() throws Exception {
        String topic = create("tx-answered", 1);
        try (KafkaProducer<byte[], byte[]> producer = transactional("answered", PATIENT)) {
            producer.beginTransaction();
            write(producer, topic, 1, values(5, "aborted"));
            producer.abortTransaction();
            producer.beginTransaction();
            write(producer, topic, 1, values(5, "v"));
            producer.commitTransaction();
            Player.control("/kill9-and-restart");
            until(() -> stable(topic) == 12, () -> "the last stable offset is " + stable(topic), 70);
            equal(committed(topic, 5), values(5, "v"), "read_committed");
            producer.beginTransaction();
            write(producer, topic, 1, List.of("next"));
            producer.commitTransaction();
        }
        equal(committed(topic, 6).get(5), "next", "the next transaction");
    }
}
