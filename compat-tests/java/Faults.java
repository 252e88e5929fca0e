package compat;

import static compat.Kafka.admin;
import static compat.Kafka.get;
import static compat.Player.BROKERS;
import static compat.Player.until;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;

/**
 * kill -9 and restart of a broker under transactions: of the only one, or of several in turn the coordinator of a transactional id, a group's
 * coordinator and a partition's leader. A fault counts if it hit something.
 */
final class Faults {
    private static final Set<TransactionState> OPEN =
        Set.of(TransactionState.ONGOING, TransactionState.PREPARE_COMMIT, TransactionState.PREPARE_ABORT);

    private final List<String> transactionalIds;
    private final List<TopicPartition> partitions;
    private final String group;
    private final Supplier<Set<String>> commits;
    private int faults, duringCommits, openOnes, moved;

    /** The supplier tells which commits the caller has under way; empty if it cannot know. The group may be null. */
    Faults(List<String> transactionalIds, List<TopicPartition> partitions, String group, Supplier<Set<String>> commits) {
        this.transactionalIds = transactionalIds;
        this.partitions = partitions;
        this.group = group;
        this.commits = commits;
    }

    /** Returns when the broker is back. */
    void strike() throws Exception {
        String id = transactionalIds.get(faults % transactionalIds.size());
        int victim = BROKERS == 1 ? 1 : victim(id);
        TransactionDescription before = describe(id);
        Set<String> under = new HashSet<>(commits.get());
        Player.control(BROKERS == 1 ? "/kill9" : "/kill9/" + victim);
        // What began before the kill and has no answer now was cut off, or waits for markers that the dead broker owes.
        under.retainAll(commits.get());
        Player.control(BROKERS == 1 ? "/start" : "/start/" + victim);
        faults++;
        if (!under.isEmpty()) duringCommits++;
        if (OPEN.contains(before.state())) openOnes++;
        if (before.coordinatorId() != describe(id).coordinatorId()) moved++;
    }

    private int victim(String id) throws Exception {
        int kinds = group == null ? 2 : 3;
        int kind = faults % kinds;
        if (kind == 0) return describe(id).coordinatorId();
        if (kind == 2) return get(admin().describeConsumerGroups(List.of(group)).all()).get(group).coordinator().id();
        TopicPartition partition = partitions.get(faults / kinds % partitions.size());
        return Kafka.describe(partition.topic()).partitions().get(partition.partition()).leader().id();
    }

    private static TransactionDescription describe(String id) throws Exception {
        return get(admin().describeTransactions(List.of(id)).description(id));
    }

    /** How many faults there were, and how many of them hit something. */
    @Override
    public String toString() {
        return faults + " kills, " + duringCommits + " with a commit under way, " + openOnes + " with the looked at transaction open, " + moved
            + " after which its coordinator was another broker";
    }

    private static long end(TopicPartition partition, IsolationLevel isolation) {
        try {
            return get(admin().listOffsets(Map.of(partition, OffsetSpec.latest()), new ListOffsetsOptions(isolation)).partitionResult(partition)).offset();
        } catch (Exception error) {
            throw new AssertionError("listOffsets: " + error, error);
        }
    }

    /** No transaction stays open: the last stable offset of each partition comes to its end. */
    static void awaitStable(List<TopicPartition> partitions, int timeoutS) throws InterruptedException {
        for (TopicPartition p : partitions) {
            until(() -> end(p, IsolationLevel.READ_COMMITTED) == end(p, IsolationLevel.READ_UNCOMMITTED), () -> "an open transaction in " + p, timeoutS);
        }
    }

    /** The last stable offset of the partition reaches this one. */
    static void awaitStable(TopicPartition partition, long offset, int timeoutS) throws InterruptedException {
        until(() -> end(partition, IsolationLevel.READ_COMMITTED) >= offset, () -> "a transaction before " + offset + " of " + partition + " stays open", timeoutS);
    }

    static Thread started(Runnable work) {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    static List<TopicPartition> partitionsOf(String topic, int count) {
        List<TopicPartition> all = new ArrayList<>();
        for (int p = 0; p < count; p++) all.add(new TopicPartition(topic, p));
        return all;
    }
}
