package compat;

import static compat.Kafka.consumer;
import static compat.Kafka.create;
import static compat.Kafka.get;
import static compat.Kafka.record;
import static compat.Kafka.text;
import static compat.Player.check;
import static compat.Player.equal;
import static compat.Player.until;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;

/**
 * Tellers move money between accounts, each move a transaction with an entry for either account, while a broker is killed again and again. With
 * several brokers one more begins moves and goes away, so that the coordinator must abort them in time. (A lone Apache Kafka that is killed every few
 * seconds never comes to that: it looks for such ones every 10 s.) Then the books are read. COMPAT_BANK_SECONDS says for how long (default 30).
 */
final class Bank {
    private static final int PARTITIONS = 4;
    private static final int TELLERS = 6;
    private static final int MOVES_BETWEEN_KILLS = 100;
    private static final int TIMEOUT_S = 30;
    private static final Object[] PATIENT =
        {"linger.ms", 0, "max.block.ms", 20000, "delivery.timeout.ms", 20000, "request.timeout.ms", 5000, "transaction.timeout.ms", TIMEOUT_S * 1000};
    /** The timeout of a deserted move, and when it must be over; longer where a stopped broker answers nothing and keeps its connections. */
    private static final int DESERTED_S = 5;
    private static final int ABORTED_WITHIN_S = DESERTED_S + 10 + Integer.parseInt(System.getenv().getOrDefault("COMPAT_SILENT_SECONDS", "0"));
    private static final long SECONDS = Long.parseLong(System.getenv().getOrDefault("COMPAT_BANK_SECONDS", "30"));

    private final String topic;
    private final Set<String> answered = ConcurrentHashMap.newKeySet(), doubtful = ConcurrentHashMap.newKeySet(), aborted = ConcurrentHashMap.newKeySet();
    private final Set<String> committing = ConcurrentHashMap.newKeySet();
    private final List<Throwable> failures = new CopyOnWriteArrayList<>();
    private volatile boolean closing, closed;
    private volatile int deserted;
    private volatile double longestHeldS;

    private Bank(String topic) {
        this.topic = topic;
    }

    /** Moves money until the bank closes. What a failure leaves in doubt is decided before the next move: by the new producer of the same id. */
    private void teller(int number) {
        Random chance = new Random(number);
        KafkaProducer<byte[], byte[]> producer = null;
        try {
            for (int i = 0; !closing; i++) {
                String move = number + "-" + i;
                boolean gives = chance.nextInt(3) != 0;
                try {
                    if (producer == null) producer = Transactions.transactional("teller-" + number, PATIENT);
                    producer.beginTransaction();
                    int from = chance.nextInt(PARTITIONS), to = (from + 1 + chance.nextInt(PARTITIONS - 1)) % PARTITIONS, amount = 1 + chance.nextInt(99);
                    (gives ? doubtful : aborted).add(move);
                    producer.send(record(topic, from, move, String.valueOf(-amount)));
                    producer.send(record(topic, to, move, String.valueOf(amount)));
                    if (gives) {
                        committing.add(move);
                        producer.commitTransaction();
                        doubtful.remove(move);
                        answered.add(move);
                    } else {
                        producer.flush();
                        producer.abortTransaction();
                    }
                } catch (KafkaException error) {
                    if (producer != null) producer.close(Duration.ZERO);
                    producer = null;
                } finally {
                    committing.remove(move);
                }
            }
        } catch (Throwable error) {
            failures.add(error);
        } finally {
            if (producer != null) producer.close();
        }
    }

    /** Leaves moves half done, and sees that none of them holds readers back for longer than it may. */
    private void deserter() {
        try {
            for (int i = 0; !closing; i++) {
                // A new id each time: nobody comes back for the old one.
                TopicPartition from = new TopicPartition(topic, i % PARTITIONS);
                String move = "deserted-" + i;
                aborted.add(move);
                long entry;
                try (KafkaProducer<byte[], byte[]> producer = Transactions.transactional("deserter-" + i, "transaction.timeout.ms", DESERTED_S * 1000)) {
                    producer.beginTransaction();
                    entry = get(producer.send(record(topic, from.partition(), move, "-1000"))).offset();
                    producer.close(Duration.ZERO);
                } catch (KafkaException | ExecutionException error) {
                    // It was aborted before it could be deserted.
                    continue;
                }
                long left = System.nanoTime();
                Faults.awaitStable(from, entry + 1, ABORTED_WITHIN_S);
                longestHeldS = Math.max(longestHeldS, (System.nanoTime() - left) / 1e9);
                deserted++;
            }
        } catch (Throwable error) {
            failures.add(error);
        }
    }

    /** Reads all the while, and notes what it was given. */
    private void clerk(Map<String, List<ConsumerRecord<byte[], byte[]>>> books) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, "isolation.level", "read_committed")) {
            consumer.assign(partitions());
            consumer.seekToBeginning(partitions());
            Map<Integer, Long> next = new HashMap<>();
            boolean last = false;
            while (!last) {
                // What has come before the bank was closed is there with the poll after that.
                last = closed && partitions().stream().allMatch(p -> consumer.position(p) >= consumer.endOffsets(List.of(p)).get(p));
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200))) {
                    check(r.offset() >= next.getOrDefault(r.partition(), 0L), "offset " + r.offset() + " of partition " + r.partition() + " once more");
                    next.put(r.partition(), r.offset() + 1);
                    books.computeIfAbsent(text(r.key()), k -> new ArrayList<>()).add(r);
                }
            }
        } catch (Throwable error) {
            failures.add(error);
        }
    }

    private List<TopicPartition> partitions() {
        return Faults.partitionsOf(topic, PARTITIONS);
    }

    /** No move is half there, twice there, or there although it was taken back; all that was answered is there; the sum is 0. */
    private void audit(Map<String, List<ConsumerRecord<byte[], byte[]>>> books, String who) {
        long total = 0;
        for (Map.Entry<String, List<ConsumerRecord<byte[], byte[]>>> move : books.entrySet()) {
            List<String> amounts = move.getValue().stream().map(r -> r.partition() + "@" + r.offset() + ": " + text(r.value())).toList();
            equal(amounts.size(), 2, who + ", entries of " + fate(move.getKey()) + " move " + move.getKey() + " " + amounts);
            long sum = 0;
            for (ConsumerRecord<byte[], byte[]> r : move.getValue()) sum += Long.parseLong(text(r.value()));
            equal(sum, 0L, who + ", sum of move " + move.getKey() + " " + amounts);
            total += sum;
            check(!aborted.contains(move.getKey()), who + " has seen move " + move.getKey() + ", which was aborted " + amounts);
            check(answered.contains(move.getKey()) || doubtful.contains(move.getKey()), who + " has seen an unknown move " + move.getKey());
        }
        for (String move : answered) check(books.containsKey(move), who + " has not seen move " + move + ", which was committed");
        equal(total, 0L, who + ", total");
    }

    private String fate(String move) {
        return answered.contains(move) ? "committed" : aborted.contains(move) ? "aborted" : "doubtful";
    }

    static void play() throws Exception {
        Bank bank = new Bank(create("bank", PARTITIONS));
        Map<String, List<ConsumerRecord<byte[], byte[]>>> live = new TreeMap<>(), books = new TreeMap<>();
        List<Thread> tellers = new ArrayList<>();
        for (int t = 0; t < TELLERS; t++) {
            int number = t;
            tellers.add(Faults.started(() -> bank.teller(number)));
        }
        if (Player.BROKERS > 1) tellers.add(Faults.started(bank::deserter));
        Thread clerk = Faults.started(() -> bank.clerk(live));
        List<String> ids = IntStream.range(0, TELLERS).mapToObj(t -> "teller-" + t).toList();
        Faults faults = new Faults(ids, bank.partitions(), null, () -> bank.committing);
        long closingTime = System.nanoTime() + SECONDS * 1_000_000_000L;
        while (System.nanoTime() < closingTime) {
            int before = bank.answered.size();
            // Each kill comes when the bank has worked again since the last one.
            until(() -> bank.answered.size() >= before + MOVES_BETWEEN_KILLS, () -> "only " + (bank.answered.size() - before) + " moves since the last kill", 60);
            faults.strike();
        }
        bank.closing = true;
        for (Thread teller : tellers) {
            teller.join(60_000);
            check(!teller.isAlive(), "a teller does not come to an end");
        }
        Faults.awaitStable(bank.partitions(), TIMEOUT_S + 10);
        bank.closed = true;
        clerk.join(60_000);
        check(!clerk.isAlive(), "the clerk does not come to an end");
        bank.clerk(books);
        equal(bank.failures, List.of(), "failures");
        bank.audit(live, "the clerk");
        bank.audit(books, "the auditor");
        equal(live.keySet(), books.keySet(), "moves that clerk and auditor have seen");
        System.err.println("bank: " + faults + "; " + bank.answered.size() + " moves answered, " + bank.doubtful.size() + " in doubt, "
            + bank.aborted.size() + " aborted, " + books.size() + " in the books; " + bank.deserted + " deserted, the longest held readers back for "
            + String.format("%.1f", bank.longestHeldS) + " s");
    }
}
