package compat;

import static compat.Kafka.admin;
import static compat.Kafka.consumer;
import static compat.Kafka.create;
import static compat.Kafka.get;
import static compat.Kafka.poll;
import static compat.Kafka.sendValues;
import static compat.Kafka.values;
import static compat.Player.check;
import static compat.Player.equal;
import static compat.Player.refused;

import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.ConsumerGroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;

/** The scenario of groups' administration in the words of kafka-clients 2.8 and 3.9: their calls have other names now. */
@SuppressWarnings({"deprecation", "removal"})
final class OldGroups {
    private OldGroups() {}

    private static long committed(TopicPartition partition) throws Exception {
        return get(admin().listConsumerGroupOffsets("admin").partitionsToOffsetAndMetadata()).get(partition).offset();
    }

    private static ConsumerGroupDescription described() throws Exception {
        return get(admin().describeConsumerGroups(List.of("admin")).all()).get("admin");
    }

    private static boolean listed() throws Exception {
        return get(admin().listConsumerGroups().all()).stream().anyMatch(g -> g.groupId().equals("admin"));
    }

    static void groupAdmin() throws Exception {
        String topic = create("administered", 1);
        TopicPartition partition = new TopicPartition(topic, 0);
        sendValues(topic, 1, values(10, "v"));
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("admin", "client.id", "administered-client", "max.poll.records", 4)) {
            consumer.subscribe(List.of(topic));
            poll(consumer, 4);
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(4, "a note")));
            long end = get(admin().listOffsets(Map.of(partition, OffsetSpec.latest())).partitionResult(partition)).offset();
            equal(committed(partition), 4L, "committed offset");
            equal(end - committed(partition), 6L, "lag");
            check(listed(), "not listed");
            ConsumerGroupDescription group = described();
            equal(group.state(), ConsumerGroupState.STABLE, "state");
            equal(group.partitionAssignor(), "range", "assignor");
            equal(group.members().size(), 1, "members");
            var member = group.members().iterator().next();
            equal(member.clientId(), "administered-client", "client id");
            equal(member.assignment().topicPartitions(), Set.of(partition), "assignment");
            refused(GroupNotEmptyException.class, () -> get(admin().deleteConsumerGroups(List.of("admin")).all()), "delete of a live group");
        }
        equal(described().state(), ConsumerGroupState.EMPTY, "state after the leave");
        get(admin().alterConsumerGroupOffsets("admin", Map.of(partition, new OffsetAndMetadata(2))).all());
        equal(committed(partition), 2L, "reset offset");
        get(admin().deleteConsumerGroups(List.of("admin")).all());
        check(!listed(), "still listed");
        refused(GroupIdNotFoundException.class, () -> get(admin().deleteConsumerGroups(List.of("admin")).all()), "a second delete");
    }
}
