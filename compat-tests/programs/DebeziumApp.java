package compat;

import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import io.zonky.test.db.postgres.embedded.EmbeddedPostgres;
import java.nio.file.Path;
import java.sql.Connection;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Debezium embedded in an application: it sends the changes of a table of PostgreSQL to Kafka, and its engine keeps its offsets in a topic there.
 * A second engine is to go on where the first one ended, with what was changed in between.
 */
public final class DebeziumApp {
    private static final long PATIENCE_S = 60;

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        var directory = Path.of(arguments[1]);
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap);
        var server = EmbeddedPostgres.builder().setDataDirectory(directory.resolve("data")).setOverrideWorkingDirectory(directory.toFile());
        try (var postgres = server.setServerConfig("wal_level", "logical").setServerConfig("fsync", "off").start();
                var database = postgres.getPostgresDatabase().getConnection();
                var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            run(database, "CREATE TABLE orders (id INT PRIMARY KEY, item TEXT)");
            run(database, "INSERT INTO orders VALUES (1, 'one'), (2, 'two')");
            var engine = new Engine(bootstrap, postgres.getPort(), producer, 2);
            engine.await();
            engine.expect(4);
            run(database, "UPDATE orders SET item = 'ONE' WHERE id = 1");
            run(database, "DELETE FROM orders WHERE id = 2");
            run(database, "INSERT INTO orders VALUES (3, 'three')");
            engine.await();
            engine.close();
            run(database, "INSERT INTO orders VALUES (4, 'four')");
            var second = new Engine(bootstrap, postgres.getPort(), producer, 1);
            second.await();
            second.close();
        }
    }

    private static void run(Connection database, String statement) throws Exception {
        try (var running = database.createStatement()) {
            running.execute(statement);
        }
    }

    /** One life of the engine, which sends each change on before it takes it for done. */
    private static final class Engine {
        private final DebeziumEngine<ChangeEvent<String, String>> engine;
        private final Thread thread;
        private volatile CountDownLatch left;

        Engine(String bootstrap, int port, KafkaProducer<String, String> producer, int expected) {
            left = new CountDownLatch(expected);
            engine = DebeziumEngine.create(Json.class).using(properties(bootstrap, port)).notifying(change -> {
                try {
                    producer.send(new ProducerRecord<>(change.destination(), change.key(), change.value())).get(PATIENCE_S, TimeUnit.SECONDS);
                } catch (Exception failed) {
                    throw new IllegalStateException(failed);
                }
                left.countDown();
            }).build();
            thread = new Thread(engine);
            thread.start();
        }

        void expect(int count) {
            left = new CountDownLatch(count);
        }

        void await() throws Exception {
            if (!left.await(PATIENCE_S, TimeUnit.SECONDS)) {
                throw new IllegalStateException(left.getCount() + " changes did not come");
            }
        }

        /** It writes its last offsets as it ends. */
        void close() throws Exception {
            engine.close();
            thread.join();
        }
    }

    private static Properties properties(String bootstrap, int port) {
        var properties = new Properties();
        properties.putAll(Map.of(
            "name", "orders", "topic.prefix", "shop", "connector.class", "io.debezium.connector.postgresql.PostgresConnector", "plugin.name", "pgoutput",
            "database.hostname", "127.0.0.1", "database.port", Integer.toString(port), "database.user", "postgres", "database.dbname", "postgres",
            "database.password", "postgres", "key.converter.schemas.enable", "false"));
        properties.putAll(Map.of(
            "value.converter.schemas.enable", "false", "table.include.list", "public.orders", "bootstrap.servers", bootstrap,
            "offset.storage", "org.apache.kafka.connect.storage.KafkaOffsetBackingStore", "offset.storage.topic", "debezium-offsets",
            "offset.storage.partitions", "1", "offset.storage.replication.factor", "1", "offset.flush.interval.ms", "200"));
        return properties;
    }
}
