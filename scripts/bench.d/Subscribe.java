import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Prints the median milliseconds from subscribe to the first record, for fresh groups of one consumer with the client's defaults. */
public final class Subscribe {
    public static void main(String[] arguments) throws Exception {
        Map<String, Object> producing = Map.of("bootstrap.servers", arguments[0]);
        try (var producer = new KafkaProducer<>(producing, new StringSerializer(), new StringSerializer())) {
            producer.send(new ProducerRecord<>(arguments[1], "first")).get();
        }
        List<Long> times = new ArrayList<>();
        for (int round = 0; round < Integer.parseInt(arguments[2]) + 1; round++) {
            Map<String, Object> consuming =
                    Map.of("bootstrap.servers", arguments[0], "group.id", UUID.randomUUID().toString(), "auto.offset.reset", "earliest");
            try (var consumer = new KafkaConsumer<>(consuming, new StringDeserializer(), new StringDeserializer())) {
                long began = System.nanoTime();
                consumer.subscribe(List.of(arguments[1]));
                while (consumer.poll(Duration.ofMillis(100)).isEmpty()) {
                    if (System.nanoTime() - began > 60_000_000_000L) {
                        throw new IllegalStateException("no record within 60 s");
                    }
                }
                if (round > 0) {
                    // The first one warms the JVM, and creates the offsets topic.
                    times.add((System.nanoTime() - began) / 1_000_000);
                }
            }
        }
        Collections.sort(times);
        System.out.println(times.get(times.size() / 2));
    }
}
