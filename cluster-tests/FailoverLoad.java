import java.time.Instant;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** Sends to topics in turn, so many records a second in all, with the producer's default settings; says of each acknowledgement when it came. */
public class FailoverLoad {
    public static void main(String[] arguments) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", arguments[0]);
        long pauseNanos = 1_000_000_000L / Long.parseLong(arguments[1]);
        String[] topics = arguments[2].split(",");
        String value = "x".repeat(100);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            long next = System.nanoTime();
            for (long number = 0; ; number++) {
                String topic = topics[(int) (number % topics.length)];
                producer.send(new ProducerRecord<>(topic, value), (metadata, error) -> {
                    Instant now = Instant.now();
                    double seconds = now.getEpochSecond() + now.getNano() / 1e9;
                    System.out.println((error == null ? "ack " : "error ") + topic + " " + seconds + (error == null ? "" : " " + error));
                });
                next += pauseNanos;
                long wait = next - System.nanoTime();
                if (wait > 0) {
                    Thread.sleep(wait / 1_000_000, (int) (wait % 1_000_000));
                }
            }
        }
    }
}
