package compat;

import static compat.Player.BOOTSTRAP;
import static compat.Player.equal;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * What tools said and with which code they ended, with what differs from run to run masked. Apache Kafka's is recorded (COMPAT_RECORD=1 with
 * --target kafka); then both brokers must give the same.
 */
final class Transcript {
    private final String scenario;
    private final StringBuilder text = new StringBuilder();
    private final Map<Pattern, String> masks = new LinkedHashMap<>();

    Transcript(String scenario) {
        this.scenario = scenario;
        mask(Pattern.quote(BOOTSTRAP), "BOOTSTRAP");
        mask(Pattern.quote(System.getenv("COMPAT_WORK")) + "[A-Za-z0-9/_.-]*", "PATH");
        mask("\\b1[78]\\d{11}\\b", "TIME");
        mask("\\b20\\d\\d-\\d\\d-\\d\\d[T ]\\d\\d:\\d\\d:\\d\\d[.,:]?\\d*Z?", "DATE");
    }

    /** What matches is replaced by a word. */
    Transcript mask(String regex, String word) {
        masks.put(Pattern.compile(regex), word);
        return this;
    }

    /** Runs a tool; all its lines count. */
    void play(String name, Tools.Main tool, String... arguments) throws Exception {
        play(".*", name, tool, arguments);
    }

    /** Runs a tool with the broker's address; the lines that contain the expression count. Their order does not: tools print maps. */
    void play(String lines, String name, Tools.Main tool, String... arguments) throws Exception {
        Tools.Outcome outcome = Tools.bootstrapped(tool, arguments);
        text.append("$ ").append(masked(name + " " + String.join(" ", arguments))).append("\nexit code ").append(outcome.code()).append('\n');
        Pattern kept = Pattern.compile(lines);
        Stream<String> said = outcome.said().lines().filter(line -> !line.isBlank() && !line.startsWith("\tat ") && !line.matches("\\[.*\\] (ERROR|WARN) .*"));
        said.filter(line -> kept.matcher(line).find()).map(this::masked).sorted().forEach(line -> text.append("  ").append(line).append('\n'));
    }

    private String masked(String line) {
        for (Map.Entry<Pattern, String> mask : masks.entrySet()) line = mask.getKey().matcher(line).replaceAll(mask.getValue());
        return line.replaceAll("[ \\t]+", " ").trim();
    }

    /** Compares with Apache Kafka's, line by line. */
    void end() throws Exception {
        Path file = Path.of(System.getenv("COMPAT_TRANSCRIPTS"), scenario + ".txt");
        if ("1".equals(System.getenv("COMPAT_RECORD"))) {
            Files.createDirectories(file.getParent());
            Files.writeString(file, text);
            return;
        }
        List<String> expected = Files.readAllLines(file), got = text.toString().lines().toList();
        String command = "";
        for (int i = 0; i < Math.max(expected.size(), got.size()); i++) {
            String left = i < expected.size() ? expected.get(i) : "nothing more", right = i < got.size() ? got.get(i) : "nothing more";
            if (left.startsWith("$ ")) command = left;
            equal(right, left, "line " + (i + 1) + " of the transcript, after '" + command + "'");
        }
    }
}
