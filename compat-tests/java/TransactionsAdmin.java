package compat;

import static compat.Kafka.admin;
import static compat.Kafka.create;
import static compat.Kafka.get;
import static compat.Player.check;
import static compat.Player.equal;
import static compat.Player.refused;
import static compat.Player.until;
import static compat.Transactions.committed;
import static compat.Transactions.stable;
import static compat.Transactions.transactional;
import static compat.Transactions.write;

import java.util.List;
import java.util.Set;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.ListTransactionsOptions;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.admin.TransactionListing;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TransactionalIdNotFoundException;

/** What an administrator sees of transactions, and does to them. A class of its own, since kafka-clients 2.8 has none of it. */
final class TransactionsAdmin {
    private TransactionsAdmin() {}

    private static TransactionDescription described(String id) throws Exception {
        return get(admin().describeTransactions(List.of(id)).description(id));
    }

    private static List<ProducerState> producers(TopicPartition partition) throws Exception {
        return get(admin().describeProducers(List.of(partition)).partitionResult(partition)).activeProducers();
    }

    private static TransactionState listed(String id, ListTransactionsOptions options) throws Exception {
        for (TransactionListing listing : get(admin().listTransactions(options).all())) if (listing.transactionalId().equals(id)) return listing.state();
        return null;
    }

    /** Waits until the markers are written. */
    private static void reaches(TransactionState state) throws Exception {
        until(() -> {
            try {
                return described("administered").state() == state;
            } catch (Exception error) {
                throw new AssertionError("describeTransactions: " + error, error);
            }
        }, () -> "the transaction is " + state);
    }

    static void play() throws Exception {
        String topic = create("tx-admin", 1);
        TopicPartition partition = new TopicPartition(topic, 0);
        refused(TransactionalIdNotFoundException.class, () -> described("nobody"), "an unknown id");
        try (KafkaProducer<byte[], byte[]> producer = transactional("administered")) {
            equal(described("administered").state(), TransactionState.EMPTY, "state before the first transaction");
            long before = System.currentTimeMillis();
            producer.beginTransaction();
            write(producer, topic, 1, List.of("a", "b"));
            TransactionDescription open = described("administered");
            equal(open.state(), TransactionState.ONGOING, "state");
            equal(open.topicPartitions(), Set.of(partition), "partitions");
            equal(open.transactionTimeoutMs(), 60000L, "time-out");
            check(Math.abs(open.transactionStartTimeMs().getAsLong() - before) < 60000, "start " + open.transactionStartTimeMs());
            equal(listed("administered", new ListTransactionsOptions()), TransactionState.ONGOING, "state in the list");
            equal(listed("administered", new ListTransactionsOptions().filterStates(Set.of(TransactionState.EMPTY))), null, "in a list of other states");
            equal(listed("administered", new ListTransactionsOptions().filterProducerIds(Set.of(open.producerId()))), TransactionState.ONGOING, "by producer id");
            equal(listed("administered", new ListTransactionsOptions().filterProducerIds(Set.of(open.producerId() + 1000))), null, "by another producer id");
            ProducerState state = producers(partition).get(0);
            equal(List.of(state.producerId(), state.lastSequence(), state.currentTransactionStartOffset().getAsLong()), List.of(open.producerId(), 1, 0L),
                "the producer at the partition");
            equal(state.producerEpoch(), open.producerEpoch(), "epoch at the partition");
            // An administrator writes the marker straight to the partition.
            AbortTransactionSpec spec = new AbortTransactionSpec(partition, open.producerId(), (short) open.producerEpoch(), 0);
            get(admin().abortTransaction(spec).all());
            until(() -> stable(topic) == 3, () -> "the last stable offset is " + stable(topic));
            check(producers(partition).get(0).currentTransactionStartOffset().isEmpty(), "still open at the partition");
            // The coordinator does not know of it; its own marker comes on top.
            producer.abortTransaction();
            reaches(TransactionState.COMPLETE_ABORT);
            equal(described("administered").topicPartitions(), Set.of(), "partitions after the end");
            producer.beginTransaction();
            write(producer, topic, 1, List.of("c"));
            get(admin().fenceProducers(List.of("administered")).all());
            refused(KafkaException.class, producer::commitTransaction, "a commit of a fenced producer");
        }
        try (KafkaProducer<byte[], byte[]> producer = transactional("administered")) {
            producer.beginTransaction();
            write(producer, topic, 1, List.of("d"));
            producer.commitTransaction();
        }
        reaches(TransactionState.COMPLETE_COMMIT);
        equal(committed(topic, 1), List.of("d"), "read_committed");
    }
}
