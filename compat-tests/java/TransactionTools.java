package compat;

import static compat.Kafka.create;
import static compat.Player.check;
import static compat.Player.equal;
import static compat.Player.until;
import static compat.Transactions.committed;
import static compat.Transactions.stable;
import static compat.Transactions.transactional;
import static compat.Transactions.write;

import java.util.List;
import java.util.stream.Stream;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.tools.FeatureCommand;
import org.apache.kafka.tools.TransactionsCommand;

/** kafka-transactions, and kafka-features where it switches the rules of transactions. */
final class TransactionTools {
    private static final String ID = "tools-id";

    private TransactionTools() {}

    static void addTo(Player player) {
        player.add("kafka-transactions", TransactionTools::transactions).add("features-transaction-version", TransactionTools::features);
    }

    private static Tools.Outcome tool(String... arguments) throws Exception {
        return Tools.bootstrapped(TransactionsCommand::main, arguments);
    }

    private static void transactions() throws Exception {
        String topic = create("tx-tools", 1);
        tool("describe", "--transactional-id", "nobody").has("because the ID could not be found");
        try (KafkaProducer<byte[], byte[]> producer = transactional(ID)) {
            producer.beginTransaction();
            write(producer, topic, 1, List.of("a", "b"));
            List<String> listed = tool("list").good().columns(ID);
            String producerId = listed.get(2);
            equal(listed, List.of(ID, "1", producerId, "Ongoing"), "list");
            tool("list", "--duration-filter", "3600000").good().lacks(ID);
            tool("list", "--transactional-id-pattern", "tools-.*").good().has(ID);
            tool("list", "--transactional-id-pattern", "other-.*").good().lacks(ID);
            List<String> described = tool("describe", "--transactional-id", ID).good().columns(ID);
            equal(described.subList(0, 3), List.of("1", ID, producerId), "describe: coordinator, id, producer id");
            equal(described.subList(4, 6), List.of("Ongoing", "60000"), "describe: state, time-out");
            equal(described.get(8), topic + "-0", "describe: partitions");
            // Columns: producer id and epoch, the coordinator's epoch, the last sequence, its time, where the open transaction begins.
            List<String> state = tool("describe-producers", "--topic", topic, "--partition", "0").good().columns(producerId);
            equal(Stream.of(0, 1, 2, 3, 5).map(state::get).toList(), List.of(producerId, described.get(3), "-1", "1", "0"), "describe-producers");
            tool("find-hanging", "--broker-id", "1").good().lacks(producerId + " ");
            tool("abort", "--topic", topic, "--partition", "0", "--start-offset", "17").has("Could not find any open transactions starting at offset 17");
            tool("abort", "--topic", topic, "--partition", "0", "--start-offset", "0").good();
            until(() -> stable(topic) == 3, () -> "the last stable offset is " + stable(topic));
            equal(tool("describe-producers", "--topic", topic, "--partition", "0").good().columns(producerId).get(5), "None", "open transaction after abort");
            producer.abortTransaction();
            producer.beginTransaction();
            write(producer, topic, 1, List.of("c"));
            tool("forceTerminateTransaction", "--transactionalId", ID).good();
            until(() -> stable(topic) == 6, () -> "the last stable offset is " + stable(topic));
        }
    }

    private static void moves(String topic, String id, String value) {
        try (KafkaProducer<byte[], byte[]> producer = transactional(id)) {
            producer.beginTransaction();
            write(producer, topic, 1, List.of(value));
            producer.commitTransaction();
        }
    }

    private static void features() throws Exception {
        String topic = create("tx-features", 1);
        Transcript transcript = new Transcript("features-transaction-version").mask("Epoch: \\d+", "Epoch: N");
        transcript.play("transaction.version", "kafka-features", FeatureCommand::main, "describe");
        transcript.play("transaction.version", "kafka-features", FeatureCommand::main, "version-mapping");
        moves(topic, "before", "before");
        for (String level : List.of("1", "0", "2")) {
            String way = level.equals("2") ? "upgrade" : "downgrade";
            transcript.play(".*", "kafka-features", FeatureCommand::main, way, "--feature", "transaction.version=" + level);
            transcript.play("transaction.version", "kafka-features", FeatureCommand::main, "describe");
            // An id that began under other rules, and a new one.
            moves(topic, "before", "old " + level);
            moves(topic, "new-" + level, "new " + level);
        }
        transcript.play(".*", "kafka-features", FeatureCommand::main, "upgrade", "--feature", "transaction.version=3");
        transcript.play(".*", "kafka-features", FeatureCommand::main, "upgrade", "--feature", "no.such.feature=1");
        transcript.play(".*", "kafka-features", FeatureCommand::main, "disable", "--feature", "transaction.version");
        transcript.play(".*", "kafka-features", FeatureCommand::main, "upgrade", "--dry-run", "--feature", "transaction.version=2");
        transcript.play(".*", "kafka-features", FeatureCommand::main, "upgrade", "--feature", "transaction.version=2");
        transcript.end();
        equal(committed(topic, 7), List.of("before", "old 1", "new 1", "old 0", "new 0", "old 2", "new 2"), "read_committed");
        check(stable(topic) == 14, "the last stable offset is " + stable(topic));
    }
}
