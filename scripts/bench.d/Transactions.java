import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Producers that make one transaction after the other, each a record to every partition of the topic. Arguments: address, topic, partitions,
 * producers, seconds, transactions a second of all together (0: as many as they can). Prints transactions per second, and the median and 99th percentile of the milliseconds that a commit takes.
 */
public final class Transactions {
    private static long[] work(String address, String topic, int partitions, String id, long seconds, long everyNanos, CountDownLatch ready)
            throws InterruptedException {
        Map<String, Object> config = Map.of("bootstrap.servers", address, "transactional.id", id, "linger.ms", 0, "buffer.memory", 4 << 20);
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            producer.initTransactions();
            transaction(producer, topic, partitions);
            // All begin together: the JVM is warm, the partitions of the transactions' topic are there.
            ready.countDown();
            ready.await();
            long next = System.nanoTime() + ThreadLocalRandom.current().nextLong(everyNanos + 1);
            long end = System.nanoTime() + seconds * 1_000_000_000L;
            long[] commits = new long[1024];
            int count = 0;
            while (System.nanoTime() < end) {
                while (everyNanos > 0 && System.nanoTime() < next) LockSupport.parkNanos(next - System.nanoTime());
                next += everyNanos;
                if (count == commits.length) commits = Arrays.copyOf(commits, count * 2);
                commits[count++] = transaction(producer, topic, partitions);
            }
            return Arrays.copyOf(commits, count);
        }
    }

    /** The nanoseconds of its commit, once all its records are acknowledged. */
    private static long transaction(KafkaProducer<String, String> producer, String topic, int partitions) {
        producer.beginTransaction();
        for (int p = 0; p < partitions; p++) producer.send(new ProducerRecord<>(topic, p, null, "a record of a transaction"));
        producer.flush();
        long began = System.nanoTime();
        producer.commitTransaction();
        return System.nanoTime() - began;
    }

    public static void main(String[] arguments) throws Exception {
        int partitions = Integer.parseInt(arguments[2]), producers = Integer.parseInt(arguments[3]);
        long seconds = Long.parseLong(arguments[4]);
        long rate = Long.parseLong(arguments[5]);
        long everyNanos = rate == 0 ? 0 : producers * 1_000_000_000L / rate;
        CountDownLatch ready = new CountDownLatch(producers);
        List<long[]> all = new ArrayList<>();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < producers; i++) {
            String id = arguments[1] + "-" + i;
            Thread thread = new Thread(() -> {
                try {
                    long[] commits = work(arguments[0], arguments[1], partitions, id, seconds, everyNanos, ready);
                    synchronized (all) {
                        all.add(commits);
                    }
                } catch (Exception error) {
                    error.printStackTrace();
                    System.exit(1);
                }
            });
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) thread.join();
        long[] commits = all.stream().flatMapToLong(Arrays::stream).sorted().toArray();
        System.out.printf("%.1f %.3f %.3f%n", commits.length / (double) seconds, commits[commits.length / 2] / 1e6, commits[(int) (commits.length * 0.99)] / 1e6);
    }
}
