package compat;

import static compat.Kafka.admin;
import static compat.Kafka.create;
import static compat.Kafka.get;
import static compat.Kafka.read;
import static compat.Kafka.sendValues;
import static compat.Kafka.text;
import static compat.Kafka.values;
import static compat.Kafka.valuesOf;
import static compat.Player.BOOTSTRAP;
import static compat.Player.check;
import static compat.Player.equal;
import static compat.Player.until;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.utils.Exit;

/** Kafka's command line tools: their main methods, called one after the other from this one JVM. */
public final class Tools {
    private static final Sink SINK = new Sink();
    private static final List<Runnable> HOOKS = new ArrayList<>();

    private Tools() {}

    interface Main {
        void run(String[] arguments) throws Exception;
    }

    /** Where the tools print. One stream for the whole life of the process: some tools keep the stream that they met first. */
    private static final class Sink extends OutputStream {
        private ByteArrayOutputStream said = new ByteArrayOutputStream();

        @Override
        public synchronized void write(int b) {
            said.write(b);
        }

        synchronized void clear() {
            said = new ByteArrayOutputStream();
        }

        synchronized String text() {
            return said.toString(StandardCharsets.UTF_8);
        }
    }

    /** The first code that the running tool wanted to exit with: some catch what ends them here and exit again. */
    private static Integer exitCode;

    /** Ends a tool that asks for the end of its process. */
    private static final class Exited extends RuntimeException {
        Exited(int code) {
            super("exit code " + code, null, false, false);
            if (exitCode == null) exitCode = code;
        }
    }

    record Outcome(int code, String said) {
        Outcome good() {
            check(code == 0, "exit code " + code + ": " + said);
            return this;
        }

        Outcome has(String... parts) {
            for (String part : parts) check(said.contains(part), "'" + part + "' is missing in: " + said);
            return this;
        }

        Outcome lacks(String part) {
            check(!said.contains(part), "'" + part + "' is in: " + said);
            return this;
        }

        /** The columns of the line that contains the text. */
        List<String> columns(String text) {
            return said.lines().filter(l -> l.contains(text)).findFirst().map(l -> Arrays.asList(l.trim().split("\\s+")))
                .orElseThrow(() -> new AssertionError("no line with '" + text + "' in: " + said));
        }
    }

    /** Runs a tool to its end. The hooks are run as a process that ends would run them. */
    static Outcome run(Main tool, String... arguments) throws Exception {
        SINK.clear();
        HOOKS.clear();
        exitCode = null;
        try {
            tool.run(arguments);
        } catch (Exited exited) {
            // Its code is noted.
        }
        for (Runnable hook : List.copyOf(HOOKS)) hook.run();
        System.out.flush();
        return new Outcome(exitCode == null ? 0 : exitCode, SINK.text());
    }

    /** Runs klamm's binary; what it says on standard output and standard error. */
    static Outcome klamm(String... arguments) throws Exception {
        List<String> command = Stream.concat(Stream.of(System.getenv("COMPAT_KLAMM")), Arrays.stream(arguments)).toList();
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        return new Outcome(process.waitFor(), said);
    }

    static Outcome bootstrapped(Main tool, String... arguments) throws Exception {
        return run(tool, Stream.concat(Stream.of("--bootstrap-server", BOOTSTRAP), Arrays.stream(arguments)).toArray(String[]::new));
    }

    public static void main(String[] arguments) {
        // IMPORTANT: made before System.out is replaced, as its result lines go to the process's own output.
        Player player = new Player();
        PrintStream sink = new PrintStream(SINK, true, StandardCharsets.UTF_8);
        System.setOut(sink);
        PrintStream log = System.err;
        System.setErr(new PrintStream(new OutputStream() {
            @Override
            public void write(int b) {
                sink.write(b);
                log.write(b);
            }
        }, true, StandardCharsets.UTF_8));
        Exit.setExitProcedure((code, message) -> {
            if (message != null) sink.println(message);
            throw new Exited(code);
        });
        Exit.setHaltProcedure((code, message) -> {
            throw new Exited(code);
        });
        Exit.setShutdownHookAdder((name, hook) -> HOOKS.add(hook));
        AdminTools.addTo(player);
        TransactionTools.addTo(player);
        player.add("broker-api-versions", Tools::brokerApiVersions)
            .add("topics", Tools::topics)
            .add("console", Tools::console)
            .add("get-offsets", Tools::getOffsets)
            .add("configs", Tools::configs)
            .add("consumer-groups", Tools::consumerGroups)
            .add("verifiable", Tools::verifiable)
            .add("producer-perf", Tools::producerPerf)
            .play();
        // Not exit: the tools' own hooks would wait for clients that are gone.
        Runtime.getRuntime().halt(0);
    }

    private static void brokerApiVersions() throws Exception {
        Outcome outcome = bootstrapped(org.apache.kafka.tools.BrokerApiVersionsCommand::main).good();
        outcome.has(BOOTSTRAP, "Produce(0):", "Fetch(1):", "Metadata(3):", "ApiVersions(18):", "usable:").lacks("ERROR");
    }

    private static Outcome topic(String... arguments) throws Exception {
        return bootstrapped(org.apache.kafka.tools.TopicCommand::main, arguments);
    }

    private static void topics() throws Exception {
        topic("--create", "--topic", "tooled", "--partitions", "2", "--replication-factor", "1", "--config", "retention.ms=123456789").good()
            .has("Created topic tooled.");
        check(topic("--create", "--topic", "tooled").has("already exists").code() == 1, "a second create succeeded");
        topic("--create", "--if-not-exists", "--topic", "tooled").good();
        topic("--create", "--topic", "by-default").good();
        topic("--list").good().has("tooled\n", "by-default\n");
        Outcome described = topic("--describe", "--topic", "tooled").good();
        described.has("PartitionCount: 2", "ReplicationFactor: 1", "retention.ms=123456789", "Partition: 0", "Partition: 1").lacks("Leader: none");
        topic("--describe", "--unavailable-partitions").good().lacks("Partition:");
        topic("--describe", "--under-replicated-partitions").good().lacks("Partition:");
        topic("--alter", "--topic", "tooled", "--partitions", "4").good();
        topic("--describe", "--topic", "tooled").good().has("PartitionCount: 4", "Partition: 3");
        check(topic("--alter", "--topic", "tooled", "--partitions", "1").code() == 1, "shrinking succeeded");
        topic("--delete", "--topic", "tooled").good();
        until(() -> !Kafka.listed("tooled"), () -> "the topic is gone");
        topic("--list").good().lacks("tooled");
        check(topic("--describe", "--topic", "tooled").has("does not exist").code() == 1, "describing a deleted topic succeeded");
    }

    private static void feed(String lines) {
        System.setIn(new ByteArrayInputStream(lines.getBytes(StandardCharsets.UTF_8)));
    }

    private static void console() throws Exception {
        create("console", 1);
        feed("h1:a,h1:b,h2:c\tk1\tfirst\nh3:d\tk2\tsecond\n");
        bootstrapped(org.apache.kafka.tools.ConsoleProducer::main, "--topic", "console", "--reader-property", "parse.key=true",
            "--reader-property", "parse.headers=true").good();
        Outcome read = bootstrapped(org.apache.kafka.tools.consumer.ConsoleConsumer::main, "--topic", "console", "--from-beginning", "--max-messages", "2",
            "--timeout-ms", "20000", "--formatter-property", "print.key=true", "--formatter-property", "print.headers=true",
            "--formatter-property", "print.offset=true", "--formatter-property", "print.partition=true").good();
        read.has("Partition:0\tOffset:0\th1:a,h1:b,h2:c\tk1\tfirst\n", "Partition:0\tOffset:1\th3:d\tk2\tsecond\n");
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            feed(codec + "-1\n" + codec + "-2\n");
            bootstrapped(org.apache.kafka.tools.ConsoleProducer::main, "--topic", "console-auto-" + codec, "--compression-codec", codec).good();
            bootstrapped(org.apache.kafka.tools.consumer.ConsoleConsumer::main, "--topic", "console-auto-" + codec, "--from-beginning",
                "--max-messages", "2", "--timeout-ms", "20000").good().has(codec + "-1\n" + codec + "-2\n");
        }
        // With a group that commits: the second run goes on where the first one ended.
        sendValues(create("console-group", 1), 1, values(10, "g"));
        String[] grouped = {"--topic", "console-group", "--group", "console-group", "--from-beginning", "--max-messages", "5", "--timeout-ms", "20000"};
        bootstrapped(org.apache.kafka.tools.consumer.ConsoleConsumer::main, grouped).good().has("g0\n", "g4\n").lacks("g5");
        bootstrapped(org.apache.kafka.tools.consumer.ConsoleConsumer::main, grouped).good().has("g5\n", "g9\n").lacks("g4");
        bootstrapped(org.apache.kafka.tools.consumer.ConsoleConsumer::main, "--topic", "console-group", "--partition", "0", "--offset", "7", "--max-messages", "3",
            "--timeout-ms", "20000").good().has("g7\ng8\ng9\n");
    }

    private static Outcome offsets(String... arguments) throws Exception {
        return bootstrapped(org.apache.kafka.tools.GetOffsetShell::main, arguments).good();
    }

    private static void getOffsets() throws Exception {
        sendValues(create("offsets", 2), 2, values(11, "v"));
        offsets("--topic", "offsets").has("offsets:0:6\n", "offsets:1:5\n");
        for (String[] expected : new String[][] {{"latest", "6"}, {"earliest", "0"}, {"max-timestamp", ""}, {"earliest-local", "0"}, {"-1", "6"}, {"-2", "0"}, {"1", "0"}}) {
            offsets("--topic-partitions", "offsets:0", "--time", expected[0]).has("offsets:0:" + expected[1]).lacks("offsets:1");
        }
        offsets("--topic", "offsets", "--time", "max-timestamp").has("offsets:0:", "offsets:1:");
        offsets("--exclude-internal-topics").has("offsets:0:6\n").lacks("__consumer_offsets");
    }

    private static Outcome config(String... arguments) throws Exception {
        return bootstrapped(kafka.admin.ConfigCommand::main, arguments).good();
    }

    private static void configs() throws Exception {
        create("configured", 1, "retention.ms", "123456789", "max.message.bytes", "2000000");
        config("--describe", "--entity-type", "topics", "--entity-name", "configured")
            .has("retention.ms=123456789", "max.message.bytes=2000000", "DYNAMIC_TOPIC_CONFIG").lacks("cleanup.policy");
        config("--describe", "--all", "--topic", "configured").has("cleanup.policy=delete", "compression.type=producer", "retention.ms=123456789");
        String broker = get(admin().describeCluster().nodes()).iterator().next().idString();
        config("--describe", "--all", "--broker", broker).has("log.retention.hours=", "message.max.bytes=1048588", "num.partitions=");
        config("--describe", "--broker", broker).has("Dynamic configs for broker " + broker + " are:");
    }

    private static Outcome group(String... arguments) throws Exception {
        return bootstrapped(org.apache.kafka.tools.consumer.group.ConsumerGroupCommand::main, arguments);
    }

    private static void consumerGroups() throws Exception {
        sendValues(create("grouped", 1), 1, values(10, "v"));
        Groups.Member member = new Groups.Member("tooled-group", "grouped");
        until(() -> member.values.size() == 10, () -> "ten records");
        group("--list").good().has("tooled-group\n");
        group("--list", "--state").good().has("tooled-group", "Stable");
        until(() -> lag("0"), () -> "lag 0");
        List<String> row = group("--describe", "--group", "tooled-group").good().columns("grouped ");
        equal(row.subList(0, 6), List.of("tooled-group", "grouped", "0", "10", "10", "0"), "row of --describe");
        group("--describe", "--group", "tooled-group", "--members", "--verbose").good().has("CONSUMER-ID", "grouped");
        group("--describe", "--group", "tooled-group", "--state").good().has("range", "Stable");
        group("--reset-offsets", "--group", "tooled-group", "--topic", "grouped", "--to-earliest", "--execute").has("current state is Stable");
        group("--delete", "--group", "tooled-group").has("not empty");
        member.end();
        group("--describe", "--group", "tooled-group").good().has("has no active members");
        group("--reset-offsets", "--group", "tooled-group", "--topic", "grouped", "--to-offset", "4", "--dry-run").good();
        group("--reset-offsets", "--group", "tooled-group", "--topic", "grouped", "--shift-by", "-7", "--execute").good();
        check(lag("7"), "lag 7 after the reset");
        group("--reset-offsets", "--group", "tooled-group", "--all-topics", "--to-earliest", "--execute").good();
        check(lag("10"), "lag 10 after the reset");
        group("--delete-offsets", "--group", "tooled-group", "--topic", "grouped").good().has("Successful");
        group("--reset-offsets", "--group", "tooled-group", "--topic", "grouped:0", "--to-latest", "--execute").good();
        group("--delete", "--group", "tooled-group").good().has("was successful");
        group("--list").good().lacks("tooled-group");
        group("--describe", "--group", "tooled-group").has("Group tooled-group not found");
    }

    private static boolean lag(String expected) {
        try {
            return group("--describe", "--group", "tooled-group").good().columns("grouped ").get(5).equals(expected);
        } catch (Exception error) {
            throw new AssertionError(error);
        }
    }

    private static void verifiable() throws Exception {
        create("verifiable", 1);
        SINK.clear();
        String[] sending = {"--bootstrap-server", BOOTSTRAP, "--topic", "verifiable", "--max-messages", "200", "--throughput", "-1", "--acks", "-1"};
        org.apache.kafka.tools.VerifiableProducer.main(sending);
        until(() -> count("producer_send_success") == 200, () -> count("producer_send_success") + " of 200 acknowledged");
        equal(count("producer_send_error"), 0L, "send errors");
        equal(valuesOf(read("verifiable", 1, 200)), values(200, ""), "values");
        SINK.clear();
        String[] reading = {"--bootstrap-server", BOOTSTRAP, "--topic", "verifiable", "--group-id", "verifiable", "--max-messages", "200", "--reset-policy",
            "earliest", "--group-protocol", "classic"};
        org.apache.kafka.tools.VerifiableConsumer.main(reading);
        String said = SINK.text();
        for (String event : List.of("startup_complete", "partitions_assigned", "records_consumed", "offsets_committed", "shutdown_complete")) {
            check(said.contains(event), event + " is missing in: " + said);
        }
        check(said.contains("\"maxOffset\":199") && said.contains("\"success\":true"), "the last offset is missing in: " + said);
    }

    private static long count(String event) {
        return SINK.text().lines().filter(l -> l.contains("\"" + event + "\"")).count();
    }

    private static void producerPerf() throws Exception {
        Path properties = Files.createTempFile("klamm-compat", ".properties");
        String topic = create("perf", 3);
        int all = 0;
        // 0 comes last: what a new partition refuses for a moment would be lost without a word.
        for (String acks : List.of("all", "1", "0")) {
            Files.writeString(properties, "bootstrap.servers=" + BOOTSTRAP + "\nacks=" + acks + "\nenable.idempotence=" + acks.equals("all") + "\n");
            run(org.apache.kafka.tools.ProducerPerformance::main, "--topic", topic, "--num-records", "2000", "--record-size", "100", "--throughput", "-1",
                "--command-config", properties.toString()).good().has("2000 records sent", "99.9th");
            all += 2000;
            List<ConsumerRecord<byte[], byte[]>> got = read(topic, 3, all);
            check(got.stream().allMatch(r -> text(r.value()).length() == 100), "a record of another size");
        }
        Files.delete(properties);
    }
}
