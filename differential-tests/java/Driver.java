package differential;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLFactory;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Predicate;
import org.apache.kafka.common.message.ApiMessageType;

/** Plays the scenarios against one broker, several cases at once, and prints one JSON line per case and version. Arguments: scenario folder, port or 'list',
 *  'waits' if the broker learns of changes after they were answered, [part of a name | '@' and a file of names]. */
public final class Driver {
    private static final int TIMEOUT_MS = 20_000;
    private static final int PLAYERS = 6;
    private static final ObjectMapper JSON = new ObjectMapper();

    private final int port;
    private final PrintStream out;
    private final boolean waits;
    private final Map<ApiMessageType, short[]> served = new HashMap<>();

    private Driver(int port, boolean waits, PrintStream out) {
        this.port = port;
        this.waits = waits;
        this.out = out;
    }

    /** One connection of a case. */
    static final class Connection implements AutoCloseable {
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
        if (scenario.has("transaction")) {
            steps.addAll(Variables.transaction(scenario.get("transaction").asText().equals("open")));
        }
        scenario.path("before").forEach(steps::add);
        steps.add(scenario);
        scenario.path("after").forEach(steps::add);
        return steps;
    }

    private void play(JsonNode scenario, ApiMessageType api, short version, String word, Variables variables, Settling settling) throws Exception {
        List<JsonNode> steps = steps(scenario);
        int main = steps.indexOf(scenario);
        ObjectNode line = JSON.createObjectNode().put("name", name(api, version, word));
        for (JsonNode step : steps) {
            short[] range = served.get(ApiMessageType.valueOf(step.get("api").asText()));
            if (range == null || (step == scenario && (version < range[0] || version > range[1]))) {
                line.put("skipped", step.get("api").asText());
                tell(line);
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
                        settling.wait(stepApi, (ObjectNode) variables.expand(given), answer);
                    }
                    if (i >= main || step.path("show").asBoolean(false)) {
                        line.withArray("answers").add(normaliser.normalise(stepApi, answer));
                    }
                }
            }
        }
        tell(line);
    }

    private synchronized void tell(ObjectNode line) {
        out.println(line);
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

    /** A case at a version. */
    private record Task(JsonNode scenario, ApiMessageType api, short version, String word, Map.Entry<String, JsonNode> value) {
        String name() {
            return Driver.name(api, version, word);
        }

        boolean alone() {
            return scenario.path("alone").asBoolean(false);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Predicate<String> wanted = wanted(arguments.length > 3 ? arguments[3] : "");
        List<Task> tasks = new ArrayList<>();
        for (Task task : tasks(new File(arguments[0]))) {
            if (wanted.test(task.name())) {
                tasks.add(task);
            }
        }
        PrintStream out = new PrintStream(new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 16), false, "UTF-8");
        if (arguments[1].equals("list")) {
            tasks.forEach(task -> out.println(task.name()));
        } else {
            new Driver(Integer.parseInt(arguments[1]), arguments[2].equals("waits"), out).play(tasks);
        }
        out.flush();
    }

    private static Predicate<String> wanted(String words) throws IOException {
        if (!words.startsWith("@")) {
            return name -> name.contains(words);
        }
        return new HashSet<>(Files.readAllLines(Path.of(words.substring(1))))::contains;
    }

    private static List<Task> tasks(File folder) throws IOException {
        ObjectMapper yaml = new ObjectMapper(new YAMLFactory());
        List<Task> tasks = new ArrayList<>();
        File[] files = folder.listFiles((place, name) -> name.endsWith(".yaml"));
        Arrays.sort(files);
        for (File file : files) {
            for (JsonNode scenario : yaml.readTree(file)) {
                String word = scenario.get("case").asText();
                if (!scenario.has("each")) {
                    versions(scenario, word, null, tasks);
                    continue;
                }
                Map.Entry<String, JsonNode> each = scenario.get("each").fields().next();
                each.getValue().fields().forEachRemaining(value -> versions(scenario, word + "-" + value.getKey(), Map.entry(each.getKey(), value.getValue()), tasks));
            }
        }
        return tasks;
    }

    /** One case at each version. */
    private static void versions(JsonNode scenario, String word, Map.Entry<String, JsonNode> value, List<Task> tasks) {
        ApiMessageType api = ApiMessageType.valueOf(scenario.get("api").asText());
        int latest = api.highestSupportedVersion(false);
        for (short version = api.lowestSupportedVersion(); version <= latest; version++) {
            if (wants(scenario, version, latest)) {
                tasks.add(new Task(scenario, api, version, word, value));
            }
        }
    }

    /** Cases that see or change what all others share are played alone and first: they find as little as possible. */
    private void play(List<Task> tasks) throws Exception {
        learn();
        try (Settling settling = new Settling(port, waits, 0)) {
            settling.warmUp(served.containsKey(ApiMessageType.END_TXN));
            for (Task task : tasks) {
                if (task.alone()) {
                    play(task, settling);
                }
            }
        }
        ConcurrentLinkedQueue<Task> queue = new ConcurrentLinkedQueue<>(tasks.stream().filter(task -> !task.alone()).toList());
        List<Thread> players = new ArrayList<>();
        for (int player = 1; player <= PLAYERS; player++) {
            int number = player;
            Thread thread = new Thread(() -> {
                try (Settling settling = new Settling(port, waits, number)) {
                    for (Task task = queue.poll(); task != null; task = queue.poll()) {
                        play(task, settling);
                    }
                } catch (Exception e) {
                    System.err.println("BROKEN player: " + e);
                }
            });
            thread.start();
            players.add(thread);
        }
        for (Thread thread : players) {
            thread.join();
        }
    }

    private void play(Task task, Settling settling) throws Exception {
        Variables variables = new Variables(task.word() + "-" + task.version(), task.version());
        if (task.value() != null) {
            variables.set(task.value().getKey(), task.value().getValue());
        }
        try {
            play(task.scenario(), task.api(), task.version(), task.word(), variables, settling);
        } catch (RuntimeException | ReflectiveOperationException e) {
            // Told and left out: run.py misses it in the output.
            System.err.println("BROKEN scenario " + task.name() + ": " + e);
        }
    }
}
