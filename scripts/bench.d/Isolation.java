import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * What a reader of one partition gets of a log full of transactions. Arguments: address, topic, and `fill` with the number of transactions, or an
 * isolation level. `fill` writes transactions of 100 records of 1 KiB, of which each tenth is aborted; else all is read three times, and the
 * records per second of the fastest time are printed.
 */
public final class Isolation {
    private static final int RECORDS = 100;

    private static void fill(String address, String topic, int transactions) {
        Map<String, Object> config = Map.of("bootstrap.servers", address, "transactional.id", topic, "batch.size", 1 << 20, "linger.ms", 100);
        byte[] value = new byte[1024];
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.initTransactions();
            for (int i = 0; i < transactions; i++) {
                producer.beginTransaction();
                for (int r = 0; r < RECORDS; r++) producer.send(new ProducerRecord<>(topic, 0, null, value));
                if (i % 10 == 9) producer.abortTransaction();
                else producer.commitTransaction();
            }
        }
    }

    /** Records per second, from the first poll to the end of the log. */
    private static double read(String address, String topic, String isolation) {
        Map<String, Object> config = Map.of("bootstrap.servers", address, "isolation.level", isolation, "auto.offset.reset", "earliest",
            "enable.auto.commit", false, "max.poll.records", 5000, "max.partition.fetch.bytes", 8 << 20, "check.crcs", false);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(Set.of(partition));
            long end = consumer.endOffsets(Set.of(partition)).get(partition);
            consumer.seekToBeginning(Set.of(partition));
            long count = 0, began = System.nanoTime();
            while (consumer.position(partition) < end) count += consumer.poll(Duration.ofSeconds(1)).count();
            return count * 1e9 / (System.nanoTime() - began);
        }
    }

    public static void main(String[] arguments) {
        if (arguments[2].equals("fill")) {
            fill(arguments[0], arguments[1], Integer.parseInt(arguments[3]));
            return;
        }
        double[] rates = new double[3];
        Arrays.setAll(rates, round -> read(arguments[0], arguments[1], arguments[2]));
        System.out.printf("%.0f%n", Arrays.stream(rates).max().orElseThrow());
    }
}
