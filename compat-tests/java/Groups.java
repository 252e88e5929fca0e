package compat;

import static compat.Kafka.admin;
import static compat.Kafka.bytes;
import static compat.Kafka.consumer;
import static compat.Kafka.create;
import static compat.Kafka.get;
import static compat.Kafka.poll;
import static compat.Kafka.producer;
import static compat.Kafka.read;
import static compat.Kafka.sendValues;
import static compat.Kafka.text;
import static compat.Kafka.values;
import static compat.Kafka.valuesOf;
import static compat.Player.check;
import static compat.Player.equal;
import static compat.Player.refused;
import static compat.Player.until;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.clients.consumer.CommitFailedException;

/** The scenarios with consumer groups, and those that kill the broker. */
final class Groups {
    private Groups() {}

    static void register(Player player) {
        player.add("group-of-three-one-killed", Groups::groupOfThree)
            .add("assignors", Groups::assignors)
            .add("static-membership", Groups::staticMembership)
            .add("group-admin", Player.OLD ? OldGroups::groupAdmin : Groups::groupAdmin)
            .add("commit-and-resume-after-kill", Groups::resume)
            .add("member-survives-kill", Groups::survive)
            .add("idempotent-across-kill", Groups::idempotent);
    }

    /** A group member in a thread of its own that commits what it has noted. */
    static class Member extends Thread implements ConsumerRebalanceListener {
        final List<String> values = new CopyOnWriteArrayList<>();
        final Set<Integer> assigned = new ConcurrentSkipListSet<>();
        volatile int rebalances;
        volatile Exception error;
        private volatile boolean stopping;
        private final KafkaConsumer<byte[], byte[]> consumer;

        Member(String group, String topic, Object... config) {
            consumer = consumer(group, config);
            consumer.subscribe(List.of(topic), this);
            setDaemon(true);
            start();
        }

        void noted(String value) {
            values.add(value);
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            rebalances++;
            partitions.forEach(p -> assigned.add(p.partition()));
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            partitions.forEach(p -> assigned.remove(p.partition()));
        }

        @Override
        public void run() {
            try {
                while (!stopping) {
                    var records = consumer.poll(Duration.ofMillis(100));
                    records.forEach(r -> noted(text(r.value())));
                    try {
                        if (!records.isEmpty()) consumer.commitSync();
                    } catch (RebalanceInProgressException | CommitFailedException rebalanced) {
                        // The records are read again by the partition's new owner.
                        continue;
                    }
                }
            } catch (Exception caught) {
                error = caught;
            } finally {
                consumer.close();
            }
        }

        void end() throws InterruptedException {
            stopping = true;
            join(20000);
        }
    }

    /** Whether the members hold all partitions, each once, in shares that differ by at most one. */
    private static boolean sharedEvenly(List<Member> members, int partitions) {
        Set<Integer> all = new TreeSet<>();
        int sum = 0, least = partitions, most = 0;
        for (Member member : members) {
            // A copy by its iterator: the member's thread changes the set meanwhile.
            int size = 0;
            for (int partition : member.assigned) {
                all.add(partition);
                size++;
            }
            sum += size;
            least = Math.min(least, size);
            most = Math.max(most, size);
        }
        return sum == partitions && all.size() == partitions && most - least <= 1;
    }

    private static Object shares(List<Member> members) {
        return "an even share: " + members.stream().map(m -> m.assigned + (m.error == null ? "" : " " + m.error)).toList();
    }

    private static void groupOfThree() throws Exception {
        String topic = create("shared", 6);
        List<Member> members = List.of(new Member("three", topic), new Member("three", topic));
        Process child = new ProcessBuilder(ProcessHandle.current().info().command().orElse("java"), "-XX:TieredStopAtLevel=1", "-Xshare:auto",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", System.getProperty("java.class.path"), "compat.Client", "member", "three", topic)
            .redirectError(ProcessBuilder.Redirect.DISCARD).start();
        List<String> lines = new CopyOnWriteArrayList<>();
        Thread pump = new Thread(() -> new BufferedReader(new InputStreamReader(child.getInputStream())).lines().forEach(lines::add));
        pump.setDaemon(true);
        pump.start();
        try {
            until(() -> members.stream().allMatch(m -> m.assigned.size() == 2) && !lines.isEmpty() && lines.get(lines.size() - 1).equals("assigned 2"),
                () -> shares(members) + " child " + lines);
            sendValues(topic, 6, values(60, "v"));
            until(() -> seen(members, lines).size() == 60, () -> "60 values, got " + seen(members, lines).size());
            child.destroyForcibly().waitFor();
            sendValues(topic, 6, values(60, "w"));
            until(() -> sharedEvenly(members, 6), () -> shares(members));
            until(() -> seen(members, lines).size() == 120, () -> "120 values, got " + seen(members, lines).size());
        } finally {
            child.destroyForcibly();
            for (Member member : members) member.end();
        }
    }

    private static Set<String> seen(List<Member> members, List<String> childLines) {
        Set<String> seen = new TreeSet<>();
        members.forEach(m -> seen.addAll(m.values));
        childLines.stream().filter(l -> l.startsWith("got ")).forEach(l -> seen.add(l.substring(4)));
        return seen;
    }

    /** The third member, a process of its own that can be killed. */
    static void childMember(String group, String topic) throws Exception {
        Member member = new Member(group, topic) {
            @Override
            void noted(String value) {
                System.out.println("got " + value);
                System.out.flush();
            }
        };
        int before = -1;
        while (true) {
            int now = member.assigned.size();
            if (now != before) {
                System.out.println("assigned " + now);
                System.out.flush();
            }
            before = now;
            Thread.sleep(20);
        }
    }

    private static void assignors() throws Exception {
        for (Class<?> assignor : List.of(RangeAssignor.class, RoundRobinAssignor.class, StickyAssignor.class, CooperativeStickyAssignor.class)) {
            String name = assignor.getSimpleName(), topic = create("assigned-" + name, 6);
            List<Member> members = new ArrayList<>();
            try {
                for (int count = 1; count <= 3; count++) {
                    members.add(new Member(name, topic, "partition.assignment.strategy", assignor.getName()));
                    until(() -> sharedEvenly(members, 6), () -> name + " " + shares(members));
                }
                sendValues(topic, 6, values(30, "v"));
                until(() -> members.stream().flatMap(m -> m.values.stream()).sorted().toList().equals(values(30, "v").stream().sorted().toList()),
                    () -> name + ": each record once");
                members.remove(2).end();
                until(() -> sharedEvenly(members, 6), () -> name + " after a leave " + shares(members));
            } finally {
                for (Member member : members) member.end();
            }
        }
    }

    private static void staticMembership() throws Exception {
        String topic = create("static", 4);
        Member first = new Member("static", topic, "group.instance.id", "one"), second = new Member("static", topic, "group.instance.id", "two");
        until(() -> sharedEvenly(List.of(first, second), 4), () -> shares(List.of(first, second)));
        Set<Integer> held = new TreeSet<>(first.assigned);
        int rebalances = second.rebalances;
        first.end();
        Member back = new Member("static", topic, "group.instance.id", "one");
        until(() -> !back.assigned.isEmpty(), () -> "the instance is back");
        equal(new TreeSet<>(back.assigned), held, "assignment of the returned instance");
        equal(second.rebalances, rebalances, "rebalances of the other");
        Member twin = new Member("static", topic, "group.instance.id", "two");
        until(() -> second.error != null, () -> "the older double is fenced");
        check(second.error instanceof FencedInstanceIdException, "error of the older double: " + second.error);
        for (Member member : List.of(back, twin)) member.end();
    }

    private static OffsetAndMetadata committed(TopicPartition partition) throws Exception {
        return get(admin().listConsumerGroupOffsets("admin").partitionsToOffsetAndMetadata()).get(partition);
    }

    private static ConsumerGroupDescription described() throws Exception {
        return get(admin().describeConsumerGroups(List.of("admin")).all()).get("admin");
    }

    private static void groupAdmin() throws Exception {
        String topic = create("administered", 1);
        TopicPartition partition = new TopicPartition(topic, 0);
        sendValues(topic, 1, values(10, "v"));
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("admin", "client.id", "administered-client", "max.poll.records", 4)) {
            consumer.subscribe(List.of(topic));
            poll(consumer, 4);
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(4, "a note")));
            long end = get(admin().listOffsets(Map.of(partition, OffsetSpec.latest())).partitionResult(partition)).offset();
            equal(committed(partition).offset(), 4L, "committed offset");
            equal(committed(partition).metadata(), "a note", "metadata");
            equal(end - committed(partition).offset(), 6L, "lag");
            equal(consumer.committed(Set.of(partition)).get(partition).offset(), 4L, "committed, asked by the consumer");
            GroupListing listing = get(admin().listGroups().all()).stream().filter(g -> g.groupId().equals("admin")).findFirst().orElseThrow();
            equal(listing.groupState().orElseThrow(), GroupState.STABLE, "state in the list");
            equal(listing.protocol(), "consumer", "protocol in the list");
            ConsumerGroupDescription group = described();
            equal(group.groupState(), GroupState.STABLE, "state");
            equal(group.partitionAssignor(), "range", "assignor");
            equal(group.members().size(), 1, "members");
            var member = group.members().iterator().next();
            equal(member.clientId(), "administered-client", "client id");
            equal(member.assignment().topicPartitions(), Set.of(partition), "assignment");
            refused(GroupNotEmptyException.class, () -> get(admin().deleteConsumerGroups(List.of("admin")).all()), "delete of a live group");
            refused(GroupSubscribedToTopicException.class,
                () -> get(admin().deleteConsumerGroupOffsets("admin", Set.of(partition)).all()), "delete of a live group's offsets");
        }
        equal(described().groupState(), GroupState.EMPTY, "state after the leave");
        get(admin().alterConsumerGroupOffsets("admin", Map.of(partition, new OffsetAndMetadata(2))).all());
        equal(committed(partition).offset(), 2L, "reset offset");
        get(admin().deleteConsumerGroupOffsets("admin", Set.of(partition)).all());
        equal(committed(partition), null, "offset after its delete");
        get(admin().alterConsumerGroupOffsets("admin", Map.of(partition, new OffsetAndMetadata(3))).all());
        get(admin().deleteConsumerGroups(List.of("admin")).all());
        check(get(admin().listGroups().all()).stream().noneMatch(g -> g.groupId().equals("admin")), "still listed");
        refused(GroupIdNotFoundException.class, () -> get(admin().deleteConsumerGroups(List.of("admin")).all()), "a second delete");
        refused(GroupIdNotFoundException.class, Groups::described, "a description of a deleted group");
    }

    private static void resume() throws Exception {
        String topic = create("resumed", 1);
        sendValues(topic, 1, values(100, "v"));
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("resume", "max.poll.records", 40)) {
            consumer.subscribe(List.of(topic));
            poll(consumer, 40);
            consumer.commitSync();
        }
        Player.control("/kill9-and-restart");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("resume")) {
            consumer.subscribe(List.of(topic));
            equal(valuesOf(poll(consumer, 60)), values(100, "v").subList(40, 100), "values after the restart");
        }
    }

    private static void survive() throws Exception {
        String topic = create("survived", 3);
        Member member = new Member("survivor", topic);
        sendValues(topic, 3, values(30, "v"));
        until(() -> Set.copyOf(member.values).size() == 30, () -> "30 values before the kill");
        Player.control("/kill9-and-restart");
        sendValues(topic, 3, values(30, "w"));
        until(() -> Set.copyOf(member.values).size() == 60, () -> "60 values, got " + member.values.size() + " " + member.error, 45);
        member.end();
        Set<TopicPartition> partitions = Set.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1), new TopicPartition(topic, 2));
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("survivor")) {
            consumer.committed(partitions).forEach((p, o) -> equal(o.offset(), 20L, "committed offset of " + p));
        }
    }

    private static void idempotent() throws Exception {
        String topic = create("once", 1);
        List<Future<RecordMetadata>> futures = new ArrayList<>();
        List<Throwable> failures = new CopyOnWriteArrayList<>();
        Thread restart = Player.restarting(failures);
        int sent = 0;
        try (KafkaProducer<byte[], byte[]> producer = producer("enable.idempotence", true, "linger.ms", 2, "delivery.timeout.ms", 60000, "request.timeout.ms", 10000)) {
            while (sent < 1500 || restart.isAlive()) {
                futures.add(producer.send(new ProducerRecord<>(topic, bytes(String.valueOf(sent)))));
                if (++sent == 500) restart.start();
                if (sent % 5 == 0) Thread.sleep(5);
            }
            producer.flush();
        }
        for (Future<RecordMetadata> future : futures) get(future);
        equal(failures, List.of(), "failures");
        List<String> got = new ArrayList<>();
        for (ConsumerRecord<byte[], byte[]> record : read(topic, 1, sent)) got.add(text(record.value()));
        check(got.equals(values(sent, "")), "not each value once and in order: " + sent + " sent, " + Set.copyOf(got).size() + " different read");
    }
}
