package compat;

import static compat.Kafka.admin;
import static compat.Kafka.bytes;
import static compat.Kafka.consumer;
import static compat.Kafka.create;
import static compat.Kafka.get;
import static compat.Kafka.text;
import static compat.Player.check;
import static compat.Player.equal;
import static compat.Player.until;

import java.io.File;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * Kafka's own TransactionalMessageCopier, in several processes that are one group and abort at random, copies a topic while a broker is killed again
 * and again. Each partition of the output must be that of the input. COMPAT_COPIER_SECONDS says for how long (default 20).
 */
final class Copier {
    private static final int PARTITIONS = 4;
    private static final int COPIERS = 3;
    private static final int RECORDS_A_PARTITION = 2000;
    private static final int RECORDS_BETWEEN_KILLS = 1500;
    /** Not less than the request timeout, which the tool leaves at its default: what waits for a dead broker must not be taken for left behind. */
    private static final int TIMEOUT_S = 40;
    private static final String INPUT = "copier-input", OUTPUT = "copier-output", GROUP = "copiers";
    private static final long SECONDS = Long.parseLong(System.getenv().getOrDefault("COMPAT_COPIER_SECONDS", "20"));

    private final List<Throwable> failures = new CopyOnWriteArrayList<>();
    private final AtomicInteger starts = new AtomicInteger(), failedOnes = new AtomicInteger();
    private final List<TopicPartition> input = Faults.partitionsOf(INPUT, PARTITIONS), output = Faults.partitionsOf(OUTPUT, PARTITIONS);
    private volatile int seeded;
    private volatile boolean done;

    private Copier() {}

    private static String id(int copier) {
        return "copier-" + copier;
    }

    /** Values that count up in each partition. */
    private void seed() throws Exception {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = seeded; i < seeded + RECORDS_A_PARTITION; i++) {
            for (int p = 0; p < PARTITIONS; p++) records.add(new ProducerRecord<>(INPUT, p, null, bytes(p + "-" + i)));
        }
        Kafka.send(records);
        seeded += RECORDS_A_PARTITION;
    }

    /** What the group has committed, over all partitions. */
    private long copied() {
        try {
            Map<TopicPartition, OffsetAndMetadata> offsets = get(admin().listConsumerGroupOffsets(GROUP).partitionsToOffsetAndMetadata());
            return input.stream().mapToLong(p -> offsets.get(p) == null ? 0 : offsets.get(p).offset()).sum();
        } catch (Exception error) {
            throw new AssertionError("listConsumerGroupOffsets: " + error, error);
        }
    }

    private long toCopy() {
        return (long) seeded * PARTITIONS;
    }

    /** One of the processes. It ends when it has reached what was the end as it got its partitions, or cannot go on; a new one takes its place. */
    private void copy(int number) {
        List<String> command = List.of("java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp", System.getProperty("java.class.path"), "org.apache.kafka.tools.TransactionalMessageCopier", "--broker-list", Player.BOOTSTRAP,
            "--input-topic", INPUT, "--input-partition", "-1", "--output-topic", OUTPUT, "--consumer-group", GROUP, "--group-mode", "--use-group-metadata",
            "--enable-random-aborts", "--transaction-size", "20", "--transaction-timeout", String.valueOf(TIMEOUT_S * 1000), "--transactional-id", id(number));
        File log = Path.of(System.getenv().getOrDefault("COMPAT_WORK", "/tmp"), id(number) + ".log").toFile();
        Process process = null;
        try {
            while (!done) {
                starts.incrementAndGet();
                process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.appendTo(log)).start();
                if (process.waitFor() != 0) failedOnes.incrementAndGet();
                until(() -> done || copied() < toCopy(), () -> "an end or more to copy", 3600);
            }
        } catch (Throwable error) {
            // The end of the copying interrupts what waits.
            if (!done) failures.add(error);
        } finally {
            if (process != null) process.destroyForcibly();
        }
    }

    /** Reads the output from its start until all is there, and looks that each partition is what the input is, and no more. */
    private void compare(String who) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, "isolation.level", "read_committed")) {
            consumer.assign(output);
            consumer.seekToBeginning(output);
            int[] next = new int[PARTITIONS];
            boolean last = false;
            while (!last) {
                // Beyond the last value come only markers and what was aborted; what was there when all was done is there with the poll after that.
                last = done && IntStream.of(next).allMatch(n -> n == seeded)
                    && output.stream().allMatch(p -> consumer.position(p) >= consumer.endOffsets(List.of(p)).get(p));
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200))) {
                    String expected = r.partition() + "-" + next[r.partition()]++;
                    equal(text(r.value()), expected, who + ", offset " + r.offset() + " of partition " + r.partition());
                }
            }
        } catch (Throwable error) {
            failures.add(error);
        }
    }

    static void play() throws Exception {
        create(INPUT, PARTITIONS);
        create(OUTPUT, PARTITIONS);
        Copier copier = new Copier();
        copier.seed();
        List<Thread> copiers = new ArrayList<>();
        for (int c = 0; c < COPIERS; c++) {
            int number = c;
            copiers.add(Faults.started(() -> copier.copy(number)));
        }
        Thread reader = Faults.started(() -> copier.compare("the reader"));
        try {
            copier.underFaults();
        } finally {
            copier.done = true;
            for (Thread thread : copiers) thread.interrupt();
        }
        Faults.awaitStable(copier.output, TIMEOUT_S + 10);
        reader.join(60_000);
        equal(copier.failures, List.of(), "failures");
        check(!reader.isAlive(), "the reader does not come to an end");
        copier.compare("the auditor");
        equal(copier.failures, List.of(), "failures");
    }

    private void underFaults() throws Exception {
        Faults faults = new Faults(IntStream.range(0, COPIERS).mapToObj(Copier::id).toList(), output, GROUP, Set::of);
        long closingTime = System.nanoTime() + SECONDS * 1_000_000_000L;
        while (System.nanoTime() < closingTime && failures.isEmpty()) {
            long before = copied();
            // Each kill comes when something was copied again since the last one.
            while (toCopy() < before + 2 * RECORDS_BETWEEN_KILLS) seed();
            until(() -> copied() >= before + RECORDS_BETWEEN_KILLS, () -> "only " + (copied() - before) + " records since the last kill", 80);
            faults.strike();
        }
        until(() -> copied() == toCopy(), () -> copied() + " records of " + toCopy(), 80);
        System.err.println("copier: " + faults + "; " + toCopy() + " records, " + starts + " processes, " + failedOnes + " of which failed");
    }
}
