package differential;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.common.message.ApiMessageType;

/** Makes answers of two brokers comparable; README.md lists the rules. */
final class Normaliser {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final long CLOCK_FROM_MS = 1_500_000_000_000L;
    private static final String NO_ID = "AAAAAAAAAAAAAAAAAAAAAA";
    private static final Set<String> IDS = Set.of("topicId", "memberId", "leader", "producerId", "sessionId", "replicaDirectoryId");
    private static final String UNKNOWN_ID = "sHq6Mi-5TNiZ7MHHLr8Ixw";
    /** Sentences are for people: only whether there is one, and whether it is empty, is compared. */
    private static final Set<String> SENTENCES = Set.of("documentation", "errorMessage", "batchIndexErrorMessage");
    /** What depends on the machine or on the metadata log's own records: only whether it is known is compared. */
    private static final Map<ApiMessageType, Set<String>> AMOUNTS = Map.of(
        ApiMessageType.DESCRIBE_LOG_DIRS, Set.of("totalBytes", "usableBytes"),
        ApiMessageType.DESCRIBE_QUORUM, Set.of("highWatermark", "logEndOffset", "leaderEpoch", "port"));
    private static final Set<String> DROPPED = Set.of("throttleTimeMs", "clusterId");

    private final int port;
    private final String only;
    private final String unique;
    private final Map<String, String> places = new HashMap<>();
    private Set<String> amounts = Set.of();

    Normaliser(int port, String only, String unique) {
        this.port = port;
        this.only = only;
        this.unique = unique;
    }

    JsonNode normalise(ApiMessageType api, JsonNode answer) {
        amounts = AMOUNTS.getOrDefault(api, Set.of());
        return named(sorted("", answer));
    }

    /** The first pass drops and masks what is chance by nature and sorts lists of objects: Kafka's own order is that of its hash maps. */
    private JsonNode sorted(String name, JsonNode node) {
        if (node.isObject()) {
            ObjectNode copy = JSON.createObjectNode();
            node.fields().forEachRemaining(field -> {
                if (!DROPPED.contains(field.getKey())) {
                    copy.set(field.getKey(), sorted(field.getKey(), field.getValue()));
                }
            });
            return copy;
        }
        if (node.isArray()) {
            List<JsonNode> each = new ArrayList<>();
            node.forEach(element -> {
                if (only.isEmpty() || !element.has(only) || isOurs(element.get(only).asText())) {
                    each.add(sorted("", element));
                }
            });
            if (each.size() > 1 && each.get(0).isObject() && !name.equals("records")) {
                Map<JsonNode, String> keys = new IdentityHashMap<>();
                each.forEach(element -> keys.put(element, masked(element)));
                each.sort(Comparator.comparing(keys::get));
            }
            ArrayNode copy = JSON.createArrayNode();
            copy.addAll(each);
            return copy;
        }
        if (node.isNumber() && node.asLong() > CLOCK_FROM_MS && node.asLong() < 2 * CLOCK_FROM_MS) {
            return JSON.getNodeFactory().textNode("now");
        }
        if (SENTENCES.contains(name) && node.isTextual()) {
            return node.asText().isEmpty() ? node : JSON.getNodeFactory().textNode("text");
        }
        if (amounts.contains(name) && node.asLong() >= 0) {
            return JSON.getNodeFactory().textNode("known");
        }
        if (name.equals("logDir") && node.asText().startsWith("/")) {
            return JSON.getNodeFactory().textNode("directory");
        }
        if (name.equals("value") && node.isTextual()) {
            // What a broker was told of its own ports and its own folder.
            String text = node.asText().replace(":" + (port + 1), ":other-port").replace(":" + port, ":port");
            return JSON.getNodeFactory().textNode(text.contains("klamm-differential-") ? "directory" : text);
        }
        return name.equals("port") && node.asInt() == port ? JSON.getNodeFactory().textNode("port") : node;
    }

    private boolean isOurs(String name) {
        return name.equals(unique) || name.equals("g-" + unique);
    }

    private static String masked(JsonNode element) {
        ObjectNode copy = ((ObjectNode) element).deepCopy();
        // The error comes last, so that an element keeps its place when brokers differ in it.
        JsonNode error = copy.remove("errorCode");
        IDS.forEach(id -> {
            if (copy.has(id)) {
                copy.put(id, copy.get(id).asText().equals(NO_ID) ? "none" : "id");
            }
        });
        return copy + " " + error;
    }

    /** The second pass gives ids names in the order of their first appearance. */
    private JsonNode named(JsonNode node) {
        if (node.isObject()) {
            ObjectNode copy = JSON.createObjectNode();
            node.fields().forEachRemaining(field -> copy.set(field.getKey(), id(field.getKey(), field.getValue())));
            return copy;
        }
        if (node.isArray()) {
            ArrayNode copy = JSON.createArrayNode();
            node.forEach(each -> copy.add(named(each)));
            return copy;
        }
        if (node.isTextual()) {
            String text = node.asText();
            for (Map.Entry<String, String> place : places.entrySet()) {
                if (place.getKey().length() > 15) {
                    text = text.replace(place.getKey(), place.getValue());
                }
            }
            return JSON.getNodeFactory().textNode(text);
        }
        return node;
    }

    private JsonNode id(String name, JsonNode value) {
        boolean chance = value.isTextual() ? value.asText().length() > 15 && !value.asText().equals(NO_ID) : value.isNumber() && value.asLong() >= 0;
        if (IDS.contains(name) && chance && !value.asText().equals(UNKNOWN_ID)) {
            String kind = name.equals("leader") ? "memberId" : name;
            return JSON.getNodeFactory().textNode(places.computeIfAbsent(value.asText(), any -> kind + "-" + (places.size() + 1)));
        }
        return named(value);
    }
}
