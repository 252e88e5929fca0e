package differential;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLFactory;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.File;
import java.io.IOException;
import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.message.ApiMessageType;

/** Plays the scenarios against one broker and prints one JSON line per case and version. Arguments: scenario folder, port or 'list', how many ms a change needs to be seen, [part of a name]. */
public final class Driver {
    private static final int TIMEOUT_MS = 5000;
    private static final int SETTLE_TURNS = 50;
    private static final ObjectMapper JSON = new ObjectMapper();

    private final int port;
    private final PrintStream out;
    private final int settleMs;
    private final Map<ApiMessageType, short[]> served = new HashMap<>();

    private Driver(int port, int settleMs, PrintStream out) {
        this.port = port;
        this.settleMs = settleMs;
        this.out = out;
    }

    /** One connection of a case. */
    private static final class Connection implements AutoCloseable {
        private final Socket socket = new Socket();
        private int correlation;

        Connection(int port) throws IOException {
            socket.connect(new InetSocketAddress("127.0.0.1", port), TIMEOUT_MS);
            socket.setSoTimeout(TIMEOUT_MS);
            socket.setTcpNoDelay(true);
        }

        /** The answer, or an object that tells why there is none. */
        ObjectNode ask(ApiMessageType api, short version, ObjectNode request, boolean silent) throws ReflectiveOperationException, IOException {
            correlation++;
            ByteBuffer frame = Messages.frame(api, version, correlation, request);
            try {
                socket.getOutputStream().write(frame.array(), 0, frame.limit());
                if (silent) {
                    ObjectNode next = ask(ApiMessageType.API_VERSIONS, (short) 0, JSON.createObjectNode(), false);
                    return next.has("apiKeys") ? JSON.createObjectNode().put("$none", "no answer, as asked") : next;
                }
                DataInputStream in = new DataInputStream(socket.getInputStream());
                byte[] bytes = new byte[in.readInt()];
                in.readFully(bytes);
                ByteBuffer answer = ByteBuffer.wrap(bytes);
                if (answer.getInt(0) != correlation) {
                    return JSON.createObjectNode().put("$none", "an answer to another request");
                }
                return Messages.answer(api, version, answer);
            } catch (EOFException | SocketException e) {
                return JSON.createObjectNode().put("$none", "closed");
            } catch (SocketTimeoutException e) {
                return JSON.createObjectNode().put("$none", "silence");
            } catch (RuntimeException e) {
                return JSON.createObjectNode().put("$none", "unreadable: " + e.getMessage());
            }
        }

        @Override
        public void close() throws IOException {
            socket.close();
        }
    }

    private short latest(ApiMessageType api) {
        return api.highestSupportedVersion(false);
    }

    private void learn() throws Exception {
        try (Connection connection = new Connection(port)) {
            ObjectNode answer = connection.ask(ApiMessageType.API_VERSIONS, (short) 3, JSON.createObjectNode().put("clientSoftwareName", "d").put("clientSoftwareVersion", "1"), false);
            for (JsonNode row : answer.get("apiKeys")) {
                ApiMessageType api = ApiMessageType.fromApiKey((short) row.get("apiKey").asInt());
                served.put(api, new short[] {(short) row.get("minVersion").asInt(), (short) row.get("maxVersion").asInt()});
            }
        }
    }

    /** All steps of a case; the one of the case itself is the scenario. */
    private static List<JsonNode> steps(JsonNode scenario) {
        List<JsonNode> steps = new ArrayList<>();
        if (scenario.has("topics")) {
            steps.add(Variables.createTopic(scenario));
        }
        if (scenario.has("records")) {
            steps.add(Variables.produce(scenario.get("records")));
        }
        if (scenario.path("group").asBoolean(false)) {
            steps.add(Variables.joinGroup());
            steps.add(Variables.syncGroup());
        }
        scenario.path("before").forEach(steps::add);
        steps.add(scenario);
        scenario.path("after").forEach(steps::add);
        return steps;
    }

    private void play(JsonNode scenario, ApiMessageType api, short version, String word, Variables variables) throws Exception {
        List<JsonNode> steps = steps(scenario);
        int main = steps.indexOf(scenario);
        ObjectNode line = JSON.createObjectNode().put("name", name(api, version, word));
        for (JsonNode step : steps) {
            short[] range = served.get(ApiMessageType.valueOf(step.get("api").asText()));
            if (range == null || (step == scenario && (version < range[0] || version > range[1]))) {
                line.put("skipped", step.get("api").asText());
                out.println(line);
                return;
            }
        }
        Normaliser normaliser = new Normaliser(port, scenario.path("only").asText(""), word + "-" + version);
        try (Connection connection = new Connection(port)) {
            for (int i = 0; i < steps.size(); i++) {
                JsonNode step = steps.get(i);
                ApiMessageType stepApi = ApiMessageType.valueOf(step.get("api").asText());
                short[] range = served.get(stepApi);
                short stepVersion = i == main ? version : (short) Math.min(step.path("version").asInt(latest(stepApi)), range[1]);
                JsonNode given = step.has("request") ? step.get("request") : JSON.createObjectNode();
                for (int turn = 0; turn < step.path("times").asInt(1); turn++) {
                    ObjectNode answer;
                    try {
                        answer = connection.ask(stepApi, stepVersion, (ObjectNode) variables.expand(given), step.path("silent").asBoolean(false));
                    } catch (org.apache.kafka.common.errors.UnsupportedVersionException e) {
                        // What the case asks cannot be said in this version.
                        return;
                    } catch (RuntimeException e) {
                        if (("" + e.getMessage()).matches("(?s).*(expected a JSON array|expected a string|got NULL|got null|non-nullable|null).*")) {
                            return;
                        }
                        throw e;
                    }
                    variables.save(step.path("save"), answer);
                    if (i < steps.size() - 1) {
                        settle(connection, stepApi, answer);
                    }
                    if (i >= main || step.path("show").asBoolean(false)) {
                        line.withArray("answers").add(normaliser.normalise(answer));
                    }
                }
            }
        }
        out.println(line);
        out.flush();
    }

    /** Whether the broker has become the leader of the topics, which it does after it has told of them. */
    private static boolean leads(Connection connection, JsonNode topics) throws Exception {
        ObjectNode request = JSON.createObjectNode().put("replicaId", -1);
        for (JsonNode topic : topics) {
            ObjectNode asked = request.withArray("topics").addObject().put("name", topic.path("name").asText());
            asked.putArray("partitions").addObject().put("partitionIndex", 0).put("timestamp", -1);
        }
        ObjectNode answer = connection.ask(ApiMessageType.LIST_OFFSETS, (short) 5, request, false);
        return answer.findValuesAsText("errorCode").stream().allMatch("0"::equals);
    }

    /** Apache Kafka's broker learns of its controller's changes only after they were answered: the next step must find them. */
    private void settle(Connection connection, ApiMessageType api, ObjectNode answer) throws Exception {
        switch (api) {
            case CREATE_TOPICS -> {
                ObjectNode request = JSON.createObjectNode().put("allowAutoTopicCreation", false);
                answer.path("topics").forEach(topic -> {
                    if (topic.path("errorCode").asInt(-1) == 0) {
                        request.withArray("topics").addObject().put("name", topic.path("name").asText());
                    }
                });
                for (int turn = 0; settleMs > 0 && request.has("topics") && turn < SETTLE_TURNS; turn++) {
                    ObjectNode seen = connection.ask(ApiMessageType.METADATA, (short) 12, request.deepCopy(), false);
                    if (!seen.path("topics").findValuesAsText("errorCode").contains("3") && leads(connection, request.path("topics"))) {
                        return;
                    }
                    Thread.sleep(10);
                }
            }
            case DELETE_TOPICS, CREATE_PARTITIONS, ALTER_CONFIGS, INCREMENTAL_ALTER_CONFIGS, ALTER_CLIENT_QUOTAS -> Thread.sleep(settleMs);
            default -> { }
        }
    }

    private static String name(ApiMessageType api, int version, String word) {
        return api.name + " v" + version + " " + word;
    }

    private static boolean wants(JsonNode scenario, int version, int latest) {
        String versions = scenario.path("versions").asText("");
        if (versions.isEmpty()) {
            return true;
        }
        if (versions.equals("latest")) {
            return version == latest;
        }
        String[] ends = versions.split("-", -1);
        return version >= Integer.parseInt(ends[0]) && (ends.length < 2 ? version == Integer.parseInt(ends[0]) : ends[1].isEmpty() || version <= Integer.parseInt(ends[1]));
    }

    public static void main(String[] arguments) throws Exception {
        ObjectMapper yaml = new ObjectMapper(new YAMLFactory());
        boolean list = arguments[1].equals("list");
        Driver driver = new Driver(list ? 0 : Integer.parseInt(arguments[1]), list ? 0 : Integer.parseInt(arguments[2]), new PrintStream(System.out, false, "UTF-8"));
        if (!list) {
            driver.learn();
        }
        File[] files = new File(arguments[0]).listFiles((folder, name) -> name.endsWith(".yaml"));
        Arrays.sort(files);
        for (File file : files) {
            for (JsonNode scenario : yaml.readTree(file)) {
                String word = scenario.get("case").asText();
                if (!scenario.has("each")) {
                    driver.versions(scenario, word, null, list, arguments);
                    continue;
                }
                Map.Entry<String, JsonNode> each = scenario.get("each").fields().next();
                Iterator<Map.Entry<String, JsonNode>> values = each.getValue().fields();
                while (values.hasNext()) {
                    Map.Entry<String, JsonNode> value = values.next();
                    driver.versions(scenario, word + "-" + value.getKey(), Map.entry(each.getKey(), value.getValue()), list, arguments);
                }
            }
        }
        driver.out.flush();
    }

    /** One case at each version. */
    private void versions(JsonNode scenario, String word, Map.Entry<String, JsonNode> value, boolean list, String[] arguments) throws Exception {
        ApiMessageType api = ApiMessageType.valueOf(scenario.get("api").asText());
        int latest = api.highestSupportedVersion(false);
        for (short version = api.lowestSupportedVersion(); version <= latest; version++) {
            String name = name(api, version, word);
            if (!wants(scenario, version, latest) || (arguments.length > 3 && !name.contains(arguments[3]))) {
                continue;
            }
            if (list) {
                System.out.println(name);
                continue;
            }
            Variables variables = new Variables(word + "-" + version, version);
            if (value != null) {
                variables.set(value.getKey(), value.getValue());
            }
            try {
                play(scenario, api, version, word, variables);
            } catch (RuntimeException | ReflectiveOperationException e) {
                // Told and left out: run.py misses it in the output.
                System.err.println("BROKEN scenario " + name + ": " + e);
            }
        }
    }
}
