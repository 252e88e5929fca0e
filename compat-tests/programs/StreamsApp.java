package compat;

import java.time.Duration;
import java.util.Arrays;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.TimeWindows;

/** A Kafka Streams application with each kind of state: counted words, windows, a join with a table, a join of streams. Every step of a count is sent on. */
public final class StreamsApp {
    private StreamsApp() {}

    /** Arguments: the broker's address, the state folder, the processing guarantee, the application's name, with which its topics begin. */
    public static void main(String[] arguments) throws InterruptedException {
        String name = arguments[3];
        Properties config = new Properties();
        config.put("application.id", name);
        config.put("bootstrap.servers", arguments[0]);
        config.put("state.dir", arguments[1]);
        config.put("processing.guarantee", arguments[2]);
        config.put("default.key.serde", Serdes.StringSerde.class);
        config.put("default.value.serde", Serdes.StringSerde.class);
        config.put("statestore.cache.max.bytes", 0);
        config.put("commit.interval.ms", 100);
        config.put("num.stream.threads", 1);
        config.put("replication.factor", 1);
        config.put("consumer.auto.offset.reset", "earliest");
        config.put("consumer.session.timeout.ms", 6000);
        config.put("consumer.heartbeat.interval.ms", 500);
        config.put("reconnect.backoff.max.ms", 300);

        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> words = builder.stream(name + "-words");
        words.flatMapValues(line -> Arrays.asList(line.split(" "))).groupBy((key, word) -> word).count().toStream()
            .mapValues(String::valueOf).to(name + "-counts");
        KStream<String, String> clicks = builder.stream(name + "-clicks");
        clicks.groupByKey().windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), Duration.ofDays(1))).count().toStream()
            .map((window, count) -> KeyValue.pair(window.key() + "@" + window.window().start(), String.valueOf(count))).to(name + "-windows");
        KStream<String, String> orders = builder.stream(name + "-orders");
        orders.join(builder.<String, String>table(name + "-users"), (order, user) -> order + " by " + user).to(name + "-enriched");
        KStream<String, String> left = builder.stream(name + "-left"), right = builder.stream(name + "-right");
        left.join(right, (l, r) -> l + "+" + r, JoinWindows.ofTimeDifferenceAndGrace(Duration.ofHours(1), Duration.ofDays(1))).to(name + "-pairs");

        KafkaStreams streams = new KafkaStreams(builder.build(), config);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
        streams.start();
        Thread.currentThread().join();
    }
}
