import java.nio.file.Files;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Produced;

/**
 * Kafka Streams counts words: a repartition topic, a store with its changelog, an output topic. Arguments: address, input topic, output topic,
 * processing guarantee, lines of five words. The lines are written first; then prints how many lines a second were counted, from the application's
 * start to the moment when a reader of committed records has seen the right sum. The topics must be there.
 */
public final class WordCount {
    private static final int WORDS = 5, VOCABULARY = 10_000;

    private static void fill(String address, String topic, int lines) {
        Map<String, Object> config = Map.of("bootstrap.servers", address, "linger.ms", 20, "batch.size", 1 << 17);
        Random random = new Random(1);
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < lines; i++) {
                StringBuilder line = new StringBuilder();
                for (int w = 0; w < WORDS; w++) line.append("word-").append(random.nextInt(VOCABULARY)).append(' ');
                producer.send(new ProducerRecord<>(topic, line.toString()));
            }
        }
    }

    private static KafkaStreams counter(String address, String input, String output, String guarantee) throws Exception {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> lines = builder.stream(input);
        lines.flatMapValues(line -> Arrays.asList(line.trim().split(" "))).groupBy((key, word) -> word).count().toStream()
            .to(output, Produced.with(Serdes.String(), Serdes.Long()));
        Properties config = new Properties();
        config.putAll(Map.of("bootstrap.servers", address, "application.id", "count-" + output, "processing.guarantee", guarantee,
            "default.key.serde", Serdes.StringSerde.class, "default.value.serde", Serdes.StringSerde.class,
            "state.dir", Files.createTempDirectory("klamm-word-count").toString(), "auto.offset.reset", "earliest", "commit.interval.ms", 100));
        return new KafkaStreams(builder.build(), config);
    }

    public static void main(String[] arguments) throws Exception {
        String address = arguments[0], output = arguments[2];
        int lines = Integer.parseInt(arguments[4]);
        fill(address, arguments[1], lines);
        Map<String, Object> reading = Map.of("bootstrap.servers", address, "group.id", "sum-" + output, "auto.offset.reset", "earliest",
            "isolation.level", "read_committed", "fetch.max.wait.ms", 50);
        Map<String, Long> counts = new HashMap<>();
        long sum = 0, due = (long) lines * WORDS;
        CountDownLatch running = new CountDownLatch(1);
        try (var reader = new KafkaConsumer<>(reading, new StringDeserializer(), new LongDeserializer());
                KafkaStreams streams = counter(address, arguments[1], output, arguments[3])) {
            reader.subscribe(List.of(output));
            reader.poll(Duration.ofSeconds(5));
            streams.setStateListener((now, before) -> {
                if (now == KafkaStreams.State.RUNNING) running.countDown();
            });
            streams.start();
            running.await();
            long began = System.nanoTime();
            while (sum < due) {
                for (var record : reader.poll(Duration.ofMillis(200))) {
                    Long before = counts.put(record.key(), record.value());
                    sum += record.value() - (before == null ? 0 : before);
                }
                if (System.nanoTime() - began > 300_000_000_000L) throw new IllegalStateException(sum + " of " + due + " words within 300 s");
            }
            if (sum > due) throw new IllegalStateException(sum + " words were counted, and there are " + due);
            System.out.printf("%.0f%n", lines * 1e9 / (System.nanoTime() - began));
        }
    }
}
