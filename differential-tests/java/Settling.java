package differential;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.util.function.Predicate;
import org.apache.kafka.common.message.ApiMessageType;

/** Waits until the broker has seen a change: Apache Kafka's broker learns of its controller's changes only after they were answered. Always waits for a fact. */
final class Settling implements AutoCloseable {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final int TURNS = 2000;
    private static final int GROUPS = 100;
    private static final int TRANSACTIONAL_IDS = 300;
    private static final int TOPIC_CONFIG = 2;

    private final Driver.Connection connection;
    private final boolean waits;
    private final String topic;
    private int passed;

    Settling(int port, boolean waits, int player) throws Exception {
        this.connection = new Driver.Connection(port);
        this.waits = waits;
        this.topic = "settling-" + player;
        if (waits) {
            ObjectNode request = JSON.createObjectNode().put("timeoutMs", 10_000);
            request.putArray("topics").addObject().put("name", topic).put("numPartitions", 1).put("replicationFactor", 1);
            wait(ApiMessageType.CREATE_TOPICS, request, ask(ApiMessageType.CREATE_TOPICS, 7, request.deepCopy()));
        }
    }

    /** Coordinators and the first producer ids exist only after somebody has asked for them. */
    void warmUp(boolean transactions) throws Exception {
        ObjectNode group = JSON.createObjectNode().put("keyType", 0);
        group.putArray("coordinatorKeys").add("warm");
        until("the group coordinator", ApiMessageType.FIND_COORDINATOR, 4, group, Settling::errorless);
        ObjectNode offsets = JSON.createObjectNode();
        for (int i = 0; i < GROUPS; i++) {
            offsets.withArray("groups").addObject().put("groupId", "warm-" + i).putNull("topics");
        }
        until("all offsets partitions", ApiMessageType.OFFSET_FETCH, 8, offsets, Settling::errorless);
        ObjectNode producer = JSON.createObjectNode().putNull("transactionalId").put("transactionTimeoutMs", 1000);
        until("producer ids", ApiMessageType.INIT_PRODUCER_ID, 4, producer, Settling::errorless);
        // Each partition of the transactions' topic is loaded before the first case; a broker without transactions has no such coordinator.
        ObjectNode coordinator = JSON.createObjectNode().put("keyType", 1);
        coordinator.putArray("coordinatorKeys").add("warm");
        if (transactions) {
            until("the transaction coordinator", ApiMessageType.FIND_COORDINATOR, 4, coordinator, Settling::errorless);
            for (int i = 0; i < TRANSACTIONAL_IDS; i++) {
                ObjectNode id = JSON.createObjectNode().put("transactionalId", "warm-" + i).put("transactionTimeoutMs", 1000);
                until("all transactions partitions", ApiMessageType.INIT_PRODUCER_ID, 4, id, Settling::errorless);
            }
        }
        if (waits) {
            ObjectNode share = JSON.createObjectNode().put("keyType", 2);
            share.putArray("coordinatorKeys").add("warm:sHq6Mi-5TNiZ7MHHLr8Ixw:0");
            until("the share coordinator", ApiMessageType.FIND_COORDINATOR, 6, share, Settling::errorless);
        }
    }

    /** Waits for what a step has changed. */
    void wait(ApiMessageType api, JsonNode request, ObjectNode answer) throws Exception {
        if (api == ApiMessageType.END_TXN && answer.path("errorCode").asInt(-1) == 0) {
            // The end is answered before the markers are written: by every broker.
            ObjectNode question = JSON.createObjectNode();
            question.putArray("transactionalIds").add(request.path("transactionalId").asText());
            until("the end of a transaction", ApiMessageType.DESCRIBE_TRANSACTIONS, 0, question,
                found -> !found.at("/transactionStates/0/transactionState").asText().startsWith("Prepare"));
        }
        if (!waits || request.path("validateOnly").asBoolean(false)) {
            return;
        }
        switch (api) {
            case CREATE_TOPICS -> {
                for (JsonNode created : answer.path("topics")) {
                    if (created.path("errorCode").asInt(-1) == 0) {
                        leads(created.path("name").asText());
                    }
                }
            }
            case CREATE_PARTITIONS -> {
                fence();
                for (JsonNode grown : answer.path("results")) {
                    if (grown.path("errorCode").asInt(-1) == 0) {
                        leads(grown.path("name").asText());
                    }
                }
            }
            case DELETE_TOPICS, ALTER_CONFIGS, INCREMENTAL_ALTER_CONFIGS, ALTER_CLIENT_QUOTAS -> fence();
            default -> { }
        }
    }

    /** The broker has become the leader of all partitions, which it does after it has told of them. */
    private void leads(String name) throws Exception {
        ObjectNode asked = JSON.createObjectNode().put("allowAutoTopicCreation", false);
        asked.putArray("topics").addObject().put("name", name);
        ObjectNode seen = until("topic " + name, ApiMessageType.METADATA, 12, asked, Settling::errorless);
        ObjectNode request = JSON.createObjectNode().put("replicaId", -1);
        ObjectNode wanted = request.putArray("topics").addObject().put("name", name);
        for (JsonNode partition : seen.at("/topics/0/partitions")) {
            wanted.withArray("partitions").addObject().put("partitionIndex", partition.get("partitionIndex").asInt()).put("timestamp", -1);
        }
        if (wanted.has("partitions")) {
            until("leader of " + name, ApiMessageType.LIST_OFFSETS, 5, request, Settling::errorless);
        }
    }

    /** The metadata log has an order: once a later change of our own topic is seen, so are all earlier ones. */
    private void fence() throws Exception {
        String value = String.valueOf(++passed);
        ObjectNode change = JSON.createObjectNode();
        ObjectNode changed = change.putArray("resources").addObject().put("resourceType", TOPIC_CONFIG).put("resourceName", topic);
        changed.putArray("configs").addObject().put("name", "segment.jitter.ms").put("configOperation", 0).put("value", value);
        ask(ApiMessageType.INCREMENTAL_ALTER_CONFIGS, 1, change);
        ObjectNode question = JSON.createObjectNode();
        ObjectNode described = question.putArray("resources").addObject().put("resourceType", TOPIC_CONFIG).put("resourceName", topic);
        described.putArray("configurationKeys").add("segment.jitter.ms");
        until("a change of " + topic, ApiMessageType.DESCRIBE_CONFIGS, 4, question, answer -> answer.at("/results/0/configs/0/value").asText().equals(value));
    }

    private static boolean errorless(ObjectNode answer) {
        return !answer.has("$none") && answer.findValuesAsText("errorCode").stream().allMatch("0"::equals);
    }

    private ObjectNode until(String what, ApiMessageType api, int version, ObjectNode request, Predicate<ObjectNode> fact) throws Exception {
        ObjectNode answer = null;
        for (int turn = 0; turn < TURNS; turn++) {
            answer = ask(api, version, request.deepCopy());
            if (fact.test(answer)) {
                return answer;
            }
            Thread.sleep(5);
        }
        throw new IllegalStateException("waited in vain for " + what + ": " + answer);
    }

    private ObjectNode ask(ApiMessageType api, int version, ObjectNode request) throws Exception {
        return connection.ask(api, (short) version, request, false);
    }

    @Override
    public void close() throws IOException {
        connection.close();
    }
}
