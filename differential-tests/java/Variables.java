package differential;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.BinaryNode;
import com.fasterxml.jackson.databind.node.IntNode;
import com.fasterxml.jackson.databind.node.MissingNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.node.TextNode;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The words that a scenario's requests may hold: ${t}, ${g}, ${v}, ${id}, ${x:COUNT}, saved values, {$records: ...}, 'bytes:TEXT'. */
final class Variables {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Pattern WORD = Pattern.compile("\\$\\{([^}]+)\\}");

    private final Map<String, JsonNode> values = new HashMap<>();

    Variables(String unique, int version) {
        values.put("t", TextNode.valueOf(unique));
        values.put("g", TextNode.valueOf(unique));
        values.put("v", IntNode.valueOf(version));
        values.put("zero", TextNode.valueOf("AAAAAAAAAAAAAAAAAAAAAA"));
        values.put("unknown", TextNode.valueOf("sHq6Mi-5TNiZ7MHHLr8Ixw"));
    }

    /** The step that creates the case's topic; old timestamps must not be cleaned away. */
    static JsonNode createTopic(JsonNode scenario) {
        ObjectNode step = JSON.createObjectNode().put("api", "CREATE_TOPICS");
        step.putObject("save").put("id", "/topics/0/topicId");
        ObjectNode topic = step.putObject("request").put("timeoutMs", 10000).putArray("topics").addObject();
        topic.put("name", "${t}").put("numPartitions", scenario.get("topics").asInt()).put("replicationFactor", 1);
        ArrayNode configs = topic.putArray("configs");
        configs.addObject().put("name", "retention.ms").put("value", "-1");
        Iterator<Map.Entry<String, JsonNode>> given = scenario.path("configs").fields();
        while (given.hasNext()) {
            Map.Entry<String, JsonNode> config = given.next();
            configs.addObject().put("name", config.getKey()).put("value", config.getValue().asText());
        }
        return step;
    }

    /** The step that fills partition 0 of the case's topic. */
    static JsonNode produce(JsonNode records) {
        ObjectNode step = JSON.createObjectNode().put("api", "PRODUCE").put("version", 12);
        ObjectNode topic = step.putObject("request").put("acks", -1).put("timeoutMs", 10000).putArray("topicData").addObject().put("name", "${t}");
        ObjectNode partition = topic.putArray("partitionData").addObject().put("index", 0);
        partition.putObject("records").set("$records", records.isObject() ? records : JSON.createObjectNode().put("count", records.asInt()));
        return step;
    }

    /** The steps that make the case's connection the only member, ${m}, of group ${g}, at generation ${generation}. */
    static JsonNode joinGroup() {
        ObjectNode step = JSON.createObjectNode().put("api", "JOIN_GROUP").put("version", 3);
        step.putObject("save").put("m", "/memberId").put("generation", "/generationId");
        ObjectNode request = step.putObject("request").put("groupId", "${g}").put("sessionTimeoutMs", 30000).put("rebalanceTimeoutMs", 30000);
        request.put("memberId", "").put("protocolType", "consumer").putArray("protocols").addObject().put("name", "range").put("metadata", "bytes:meta");
        return step;
    }

    /** The steps that make a producer, ${pid} at ${epoch}, of the transactional id ${g}; where it is to be open, with two records in partition 0. */
    static List<JsonNode> transaction(boolean open) {
        ObjectNode init = JSON.createObjectNode().put("api", "INIT_PRODUCER_ID").put("version", 4);
        init.putObject("save").put("pid", "/producerId").put("epoch", "/producerEpoch");
        init.putObject("request").put("transactionalId", "${g}").put("transactionTimeoutMs", 60000);
        if (!open) {
            return List.of(init);
        }
        ObjectNode add = JSON.createObjectNode().put("api", "ADD_PARTITIONS_TO_TXN").put("version", 3);
        ObjectNode added = add.putObject("request").put("v3AndBelowTransactionalId", "${g}");
        added.put("v3AndBelowProducerId", "${pid}").put("v3AndBelowProducerEpoch", "${epoch}");
        added.putArray("v3AndBelowTopics").addObject().put("name", "${t}").putArray("partitions").add(0);
        ObjectNode records = JSON.createObjectNode().put("count", 2).put("producerId", "${pid}").put("epoch", "${epoch}").put("sequence", 0).put("transactional", true);
        ObjectNode produce = ((ObjectNode) produce(records)).put("version", 11);
        ((ObjectNode) produce.get("request")).put("transactionalId", "${g}");
        return List.of(init, add, produce);
    }

    static JsonNode syncGroup() {
        ObjectNode step = JSON.createObjectNode().put("api", "SYNC_GROUP").put("version", 2);
        ObjectNode request = step.putObject("request").put("groupId", "${g}").put("generationId", "${generation}").put("memberId", "${m}");
        request.putArray("assignments").addObject().put("memberId", "${m}").put("assignment", "bytes:plan");
        return step;
    }

    void set(String name, JsonNode value) {
        values.put(name, value);
    }

    void save(JsonNode wishes, JsonNode answer) {
        Iterator<Map.Entry<String, JsonNode>> fields = wishes.fields();
        while (fields.hasNext()) {
            Map.Entry<String, JsonNode> wish = fields.next();
            values.put(wish.getKey(), answer.at(wish.getValue().asText()));
        }
    }

    JsonNode expand(JsonNode node) {
        if (node.isObject()) {
            if (node.has("$records")) {
                return Batches.build(expand(node.get("$records")));
            }
            ObjectNode copy = JSON.createObjectNode();
            node.fields().forEachRemaining(field -> copy.set(field.getKey(), expand(field.getValue())));
            return copy;
        }
        if (node.isArray()) {
            ArrayNode copy = JSON.createArrayNode();
            node.forEach(each -> copy.add(expand(each)));
            return copy;
        }
        return node.isTextual() ? text(node.asText()) : node;
    }

    private JsonNode text(String text) {
        if (text.startsWith("bytes:")) {
            return BinaryNode.valueOf(text.substring("bytes:".length()).getBytes(StandardCharsets.UTF_8));
        }
        Matcher whole = WORD.matcher(text);
        if (whole.matches()) {
            JsonNode value = value(whole.group(1));
            // A value of 'each' may hold words itself.
            return value.isContainerNode() || value.asText().contains("${") || value.asText().startsWith("bytes:") ? expand(value) : value;
        }
        return TextNode.valueOf(WORD.matcher(text).replaceAll(found -> Matcher.quoteReplacement(value(found.group(1)).asText())));
    }

    private JsonNode value(String name) {
        if (name.startsWith("x:")) {
            return TextNode.valueOf("x".repeat(Integer.parseInt(name.substring(2))));
        }
        JsonNode value = values.get(name);
        // An answer in which the saved field is missing is a difference of an earlier step: the case goes on with nothing in its place.
        return value == null || value instanceof MissingNode ? TextNode.valueOf("") : value;
    }
}
