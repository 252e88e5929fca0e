package differential;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Makes answers of two brokers comparable; README.md lists the rules. */
final class Normaliser {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final long CLOCK_FROM_MS = 1_500_000_000_000L;
    private static final String NO_ID = "AAAAAAAAAAAAAAAAAAAAAA";
    private static final Set<String> IDS = Set.of("topicId", "memberId", "leader", "producerId", "sessionId", "replicaDirectoryId");
    private static final Set<String> TEXTS_OF_OUR_OWN = Set.of("documentation");
    private static final Set<String> DROPPED = Set.of("throttleTimeMs", "clusterId");

    private final int port;
    private final String only;
    private final String unique;
    private final Map<String, String> places = new HashMap<>();

    Normaliser(int port, String only, String unique) {
        this.port = port;
        this.only = only;
        this.unique = unique;
    }

    JsonNode normalise(JsonNode answer) {
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
                if (only.isEmpty() || !element.has(only) || element.get(only).asText().contains(unique)) {
                    each.add(sorted("", element));
                }
            });
            if (node.size() > 0 && node.get(0).isObject() && !name.equals("records")) {
                each.sort(Comparator.comparing(element -> masked(element)));
            }
            ArrayNode copy = JSON.createArrayNode();
            copy.addAll(each);
            return copy;
        }
        if (node.isNumber() && node.asLong() > CLOCK_FROM_MS && node.asLong() < 2 * CLOCK_FROM_MS) {
            return JSON.getNodeFactory().textNode("now");
        }
        if (TEXTS_OF_OUR_OWN.contains(name) && node.isTextual()) {
            return JSON.getNodeFactory().textNode("text");
        }
        return name.equals("port") && node.asInt() == port ? JSON.getNodeFactory().textNode("port") : node;
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
        boolean chance = value.isTextual() ? value.asText().length() > 15 && !value.asText().equals(NO_ID) : value.isNumber() && value.asLong() > 0;
        if (IDS.contains(name) && chance && !value.asText().equals("sHq6Mi-5TNiZ7MHHLr8Ixw")) {
            String kind = name.equals("leader") ? "memberId" : name;
            return JSON.getNodeFactory().textNode(places.computeIfAbsent(value.asText(), any -> kind + "-" + (places.size() + 1)));
        }
        return named(value);
    }
}
