package compat;

import static compat.Kafka.create;
import static compat.Kafka.sendValues;
import static compat.Kafka.values;
import static compat.Player.check;
import static compat.Player.equal;
import static compat.Player.until;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import kafka.admin.ConfigCommand;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.tools.ClusterTool;
import org.apache.kafka.tools.ConsumerPerformance;
import org.apache.kafka.tools.DeleteRecordsCommand;
import org.apache.kafka.tools.DumpLogSegments;
import org.apache.kafka.tools.EndToEndLatency;
import org.apache.kafka.tools.FeatureCommand;
import org.apache.kafka.tools.GetOffsetShell;
import org.apache.kafka.tools.GroupsCommand;
import org.apache.kafka.tools.LeaderElectionCommand;
import org.apache.kafka.tools.LogDirsCommand;
import org.apache.kafka.tools.MetadataQuorumCommand;
import org.apache.kafka.tools.consumer.group.ConsumerGroupCommand;
import org.apache.kafka.tools.reassign.ReassignPartitionsCommand;

/** The tools of people who run a cluster, each compared with what it says of Apache Kafka. */
final class AdminTools {
    private static final Path WORK = Path.of(System.getenv().getOrDefault("COMPAT_WORK", "."));

    private AdminTools() {}

    static void addTo(Player player) {
        player.add("configs-alter", AdminTools::configsAlter)
            .add("groups-list", AdminTools::groupsList)
            .add("consumer-groups-reset", AdminTools::consumerGroupsReset)
            .add("delete-records", AdminTools::deleteRecords)
            .add("log-dirs", AdminTools::logDirs)
            .add("metadata-quorum", AdminTools::metadataQuorum)
            .add("features", AdminTools::features)
            .add("cluster", AdminTools::cluster)
            .add("leader-election", AdminTools::leaderElection)
            .add("reassign-partitions", AdminTools::reassignPartitions)
            .add("consumer-perf", AdminTools::consumerPerf)
            .add("e2e-latency", AdminTools::endToEndLatency)
            .add("dump-log", AdminTools::dumpLog)
            .add("dump-log-compacted", AdminTools::dumpCompacted)
            .add("dump-log-by-klamm", AdminTools::dumpByKlamm);
    }

    private static String file(String name, String text) throws Exception {
        return Files.writeString(WORK.resolve(name), text).toString();
    }

    private static void configsAlter() throws Exception {
        Transcript transcript = new Transcript("configs-alter");
        create("t-configs", 1);
        for (String line : List.of(
            "--alter --topic t-configs --add-config retention.ms=1000000,max.message.bytes=2000",
            "--describe --topic t-configs",
            "--alter --topic t-configs --delete-config retention.ms",
            "--describe --topic t-configs",
            "--alter --topic t-configs --delete-config retention.ms",
            "--alter --topic t-configs --add-config nonsense=1",
            "--alter --topic t-configs --add-config retention.ms=soon",
            "--alter --topic t-nothing --add-config retention.ms=1000",
            "--describe --topic t-nothing",
            "--alter --broker 1 --add-config message.max.bytes=2000000",
            "--describe --broker 1",
            "--alter --broker 1 --delete-config message.max.bytes",
            "--describe --broker 1",
            "--alter --broker-defaults --add-config message.max.bytes=3000000",
            "--describe --broker-defaults",
            "--alter --broker-defaults --delete-config message.max.bytes",
            "--alter --broker 1 --add-config node.id=7",
            "--alter --client t-client --add-config producer_byte_rate=1000,consumer_byte_rate=2000",
            "--describe --client t-client",
            "--alter --client t-client --delete-config producer_byte_rate",
            "--describe --client t-client",
            "--alter --client-defaults --add-config producer_byte_rate=5",
            "--describe --client-defaults",
            "--alter --client-defaults --delete-config producer_byte_rate",
            "--alter --client t-client --add-config nonsense=1",
            "--alter --group t-group --add-config consumer.session.timeout.ms=50000",
            "--describe --group t-group",
            "--alter --group t-group --delete-config consumer.session.timeout.ms",
            "--describe")) {
            // Which default brokers have of min.insync.replicas depends on a feature (KIP-966).
            transcript.play("^(?!.*(Usage|min.insync.replicas)|Option|--|      ).*", "kafka-configs", ConfigCommand::main, line.split(" "));
            settle(line);
        }
        transcript.end();
    }

    /** Apache Kafka's controller answers before its broker knows of a change: waits until the broker tells of it. */
    private static void settle(String line) throws Exception {
        if (!line.startsWith("--alter") || line.matches(".*(nonsense|soon|t-nothing|node.id).*")) return;
        String[] parts = line.split(" --(add|delete)-config ");
        String[] described = parts[0].replace("--alter", "--describe").split(" ");
        boolean isAdded = line.contains("--add-config");
        until(() -> {
            try {
                String said = Tools.bootstrapped(ConfigCommand::main, described).said();
                // As a key of its own: a synonym may keep the name.
                return Stream.of(parts[1].split(",")).allMatch(config -> said.matches("(?s).*\\s" + config + "[=. ,\n].*") == isAdded);
            } catch (Exception error) {
                throw new AssertionError(error);
            }
        }, () -> line + " is known to the broker");
    }

    /** A group that has committed and has no members. */
    private static void commit(String group, String topic, long offset) {
        try (KafkaConsumer<byte[], byte[]> consumer = Kafka.consumer(group)) {
            consumer.commitSync(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(offset)));
        }
    }

    private static void groupsList() throws Exception {
        Transcript transcript = new Transcript("groups-list");
        sendValues(create("t-listed", 1), 1, values(3, "v"));
        commit("t-listed-simple", "t-listed", 1);
        Groups.Member member = new Groups.Member("t-listed-live", "t-listed");
        until(() -> member.values.size() == 3, () -> "three records");
        String ours = "t-listed|GROUP|rror|xception|must|nvalid";
        for (String line : List.of("--list", "--list --group-type classic", "--list --group-type consumer", "--list --protocol consumer", "--list --consumer",
            "--list --share", "--list --group-type nonsense")) {
            transcript.play(ours, "kafka-groups", GroupsCommand::main, line.split(" "));
        }
        member.end();
        transcript.end();
    }

    private static void consumerGroupsReset() throws Exception {
        Transcript transcript = new Transcript("consumer-groups-reset");
        sendValues(create("t-reset", 1), 1, values(10, "v"));
        sendValues(create("t-reset-too", 1), 1, values(4, "v"));
        commit("t-reset", "t-reset", 3);
        commit("t-reset", "t-reset-too", 1);
        String plan = file("plan.csv", "\"t-reset\",0,6\n");
        String reset = "--reset-offsets --group t-reset --topic t-reset ";
        for (String line : List.of(
            "--describe --group t-reset",
            "--describe --group t-reset --offsets --verbose",
            "--describe --group t-reset --members",
            "--describe --group t-reset --members --verbose",
            "--describe --group t-reset --state",
            reset + "--to-datetime 2020-01-01T00:00:00.000 --dry-run",
            reset + "--to-datetime 2090-01-01T00:00:00.000 --dry-run",
            reset + "--by-duration P1D --execute",
            reset + "--to-current --dry-run --export",
            reset + "--to-offset 99 --dry-run",
            reset + "--shift-by -99 --dry-run",
            reset + "--shift-by 4",
            "--reset-offsets --group t-reset --topic t-reset --from-file " + plan + " --execute",
            "--reset-offsets --group t-reset --all-topics --to-latest --execute",
            "--reset-offsets --group t-reset --topic t-none --to-latest --execute",
            "--reset-offsets --group t-reset-new --topic t-reset:0 --to-offset 2 --execute",
            "--reset-offsets --group t-reset --to-latest --execute",
            "--describe --group t-reset-new",
            "--delete-offsets --group t-reset --topic t-reset",
            "--delete-offsets --group t-reset --topic t-none",
            "--delete-offsets --group t-none --topic t-reset",
            "--describe --group t-none",
            "--delete --group t-none",
            "--delete --group t-reset --group t-reset-new",
            "--describe --group t-reset")) {
            transcript.play("^(?!.*Usage|Option|--|      ).*", "kafka-consumer-groups", ConsumerGroupCommand::main, line.split(" "));
        }
        transcript.end();
    }

    private static void deleteRecords() throws Exception {
        Transcript transcript = new Transcript("delete-records");
        sendValues(create("t-deleted", 2), 2, values(10, "v"));
        String row = "{\"topic\":\"%s\",\"partition\":%d,\"offset\":%d}";
        String[] bodies = {row.formatted("t-deleted", 0, 3), row.formatted("t-deleted", 1, -1), row.formatted("t-deleted", 0, 99)};
        for (String body : bodies) {
            String json = file("records.json", "{\"partitions\":[" + body + "],\"version\":1}");
            transcript.play("kafka-delete-records", DeleteRecordsCommand::main, "--offset-json-file", json);
        }
        transcript.play("kafka-get-offsets", GetOffsetShell::main, "--topic", "t-deleted", "--time", "earliest");
        transcript.play("kafka-get-offsets", GetOffsetShell::main, "--topic", "t-deleted", "--time", "latest");
        transcript.end();
    }

    private static void logDirs() throws Exception {
        Transcript transcript = new Transcript("log-dirs").mask("\"size\":\\d+", "\"size\":N");
        sendValues(create("t-dirs", 1), 1, values(3, "v"));
        transcript.play("kafka-log-dirs", LogDirsCommand::main, "--describe", "--topic-list", "t-dirs");
        transcript.play("kafka-log-dirs", LogDirsCommand::main, "--describe", "--broker-list", "1", "--topic-list", "t-dirs");
        transcript.play("^(?!\\{).*", "kafka-log-dirs", LogDirsCommand::main, "--describe", "--broker-list", "1,9", "--topic-list", "t-dirs");
        transcript.end();
    }

    private static void metadataQuorum() throws Exception {
        Transcript transcript = new Transcript("metadata-quorum")
            .mask("^(LeaderEpoch|HighWatermark|MaxFollowerLagTimeMs): *\\d+", "$1: N").mask("^ClusterId: .*", "ClusterId: ID")
            .mask("^1\\s+\\S+\\s+\\d+\\s+0\\s.*(Leader)", "1 DIRECTORY OFFSET 0 TIME TIME $1")
            .mask("(\"endpoints\": )\\[[^]]*\\]", "$1 ENDPOINTS").mask("\"directoryId\": \"[^\"]*\"", "DIRECTORY");
        transcript.play("LeaderId|LeaderEpoch|HighWatermark|MaxFollowerLag:|ClusterId|CurrentObservers", "kafka-metadata-quorum", MetadataQuorumCommand::main, "describe", "--status");
        transcript.play("kafka-metadata-quorum", MetadataQuorumCommand::main, "describe", "--replication");
        transcript.play("^1|NodeId", "kafka-metadata-quorum", MetadataQuorumCommand::main, "describe", "--replication", "--human-readable");
        transcript.end();
    }

    private static void features() throws Exception {
        Transcript transcript = new Transcript("features").mask("Epoch: \\d+", "Epoch: N");
        transcript.play("metadata.version", "kafka-features", FeatureCommand::main, "describe");
        transcript.play("metadata.version", "kafka-features", FeatureCommand::main, "version-mapping");
        transcript.end();
    }

    private static void cluster() throws Exception {
        Transcript transcript = new Transcript("cluster").mask("Cluster ID: \\S+", "Cluster ID: ID").mask("127\\.0\\.0\\.1 +\\d+", "HOST PORT");
        // Its options stand behind its commands.
        transcript.play("cluster-id", arguments -> ClusterTool.main(behind("cluster-id", arguments)));
        transcript.play("list-endpoints", arguments -> ClusterTool.main(behind("list-endpoints", arguments)));
        transcript.play("list-endpoints", arguments -> ClusterTool.main(behind("list-endpoints", arguments)), "--include-fenced-brokers");
        transcript.play("unregister", arguments -> ClusterTool.main(behind("unregister", arguments)), "--id", "99");
        transcript.end();
    }

    private static String[] behind(String command, String[] arguments) {
        return Stream.concat(Stream.of(command), Arrays.stream(arguments)).toArray(String[]::new);
    }

    private static void leaderElection() throws Exception {
        Transcript transcript = new Transcript("leader-election");
        create("t-elected", 2);
        String elected = file("elect.json", "{\"partitions\":[{\"topic\":\"t-elected\",\"partition\":0},{\"topic\":\"t-elected\",\"partition\":1}]}");
        String ours = "^(?!.*(\\[|Usage|Option|--)).*t-elected|rror|xception|nknown|does not exist|[Vv]alid";
        for (String line : List.of(
            "--election-type preferred --topic t-elected --partition 0",
            "--election-type unclean --topic t-elected --partition 1",
            "--election-type preferred --path-to-json-file " + elected,
            "--election-type preferred --topic t-elected --partition 9",
            "--election-type nonsense --topic t-elected --partition 0")) {
            transcript.play(ours, "kafka-leader-election", LeaderElectionCommand::main, line.split(" "));
        }
        transcript.play("$^", "kafka-leader-election", LeaderElectionCommand::main, "--election-type", "preferred", "--all-topic-partitions");
        transcript.end();
    }

    private static void reassignPartitions() throws Exception {
        Transcript transcript = new Transcript("reassign-partitions");
        create("t-moved", 1);
        String row = "{\"version\":1,\"partitions\":[{\"topic\":\"t-moved\",\"partition\":0,\"replicas\":[%s]}]}";
        String same = file("same.json", row.formatted("1")), other = file("other.json", row.formatted("9"));
        String topics = file("topics.json", "{\"topics\":[{\"topic\":\"t-moved\"}],\"version\":1}");
        for (String line : List.of(
            "--list",
            "--generate --broker-list 1 --topics-to-move-json-file " + topics,
            "--verify --reassignment-json-file " + same,
            "--execute --reassignment-json-file " + same,
            "--verify --reassignment-json-file " + same,
            "--execute --reassignment-json-file " + other,
            "--cancel --reassignment-json-file " + same,
            "--list")) {
            transcript.play("kafka-reassign-partitions", ReassignPartitionsCommand::main, line.split(" "));
        }
        transcript.end();
    }

    private static void consumerPerf() throws Exception {
        sendValues(create("t-perf", 1), 1, values(2000, "value-"));
        Tools.Outcome outcome = Tools.bootstrapped(ConsumerPerformance::main, "--topic", "t-perf", "--num-records", "2000", "--timeout", "20000").good();
        List<String> lines = outcome.said().lines().filter(line -> line.contains(",")).toList();
        check(lines.get(0).startsWith("start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg"), outcome.said());
        equal(lines.get(1).split(", ")[4], "2000", "records");
    }

    private static void endToEndLatency() throws Exception {
        create("t-latency", 1);
        Tools.Outcome outcome = Tools.bootstrapped(EndToEndLatency::main, "--topic", "t-latency", "--num-records", "200", "--producer-acks", "all", "--record-size", "20").good();
        outcome.has("Avg latency: ", "Percentiles: 50th = ", ", 99.9th = ");
    }

    /** The segment files with this value. */
    private static List<String> segmentsWith(String value) {
        List<String> found = new ArrayList<>();
        try (Stream<Path> files = Files.walk(WORK.resolve("data"))) {
            for (Path path : files.filter(file -> file.toString().endsWith(".log")).toList()) {
                if (new String(Files.readAllBytes(path), StandardCharsets.ISO_8859_1).contains(value)) found.add(path.toString());
            }
        } catch (NoSuchFileException | UncheckedIOException removed) {
            // The broker removes files while they are looked at; the next look is at what is left.
            return List.of("removed meanwhile");
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return found;
    }

    private static String segmentWith(String value) {
        List<String> found = segmentsWith(value);
        check(!found.isEmpty(), "no segment file holds " + value);
        return found.get(0);
    }

    /** Kafka's tool reads what compaction has written, and says that it is as it must be. */
    private static void dumpCompacted() throws Exception {
        TopicPartition partition = Compaction.compacted("t-dump-compacted", "file.delete.delay.ms", "100");
        Kafka.send(List.of(Kafka.record("t-dump-compacted", 0, "kept", "a-value-that-goes")));
        Compaction.overwritten(partition);
        Kafka.send(List.of(Kafka.record("t-dump-compacted", 0, "marked", null), Kafka.record("t-dump-compacted", 0, "kept", "a-value-that-is-kept")));
        Compaction.fill(partition, 1);
        // Seven keys newest in the last codec, three in the first.
        until(() -> Compaction.all(partition).stream().filter(record -> Kafka.text(record.key()).startsWith("key-")).count() == 10, () -> "a cleaning");
        until(() -> segmentsWith("a-value-that-goes").isEmpty(), () -> "only the new files are left");
        Tools.Main dump = arguments -> DumpLogSegments.main(Arrays.copyOfRange(arguments, 2, arguments.length));
        Tools.Outcome outcome = Tools.bootstrapped(dump, new String[] {"--files", segmentWith("a-value-that-is-kept"), "--deep-iteration", "--print-data-log"});
        equal(outcome.code(), 0, "exit code");
        List<String> batches = outcome.said().lines().filter(line -> line.startsWith("baseOffset:")).toList();
        check(batches.size() > 3, batches.size() + " batches");
        check(batches.stream().allMatch(line -> line.contains("isvalid: true")), "a batch is not valid");
        check(batches.stream().anyMatch(line -> line.contains("deleteHorizonMs: OptionalLong[1")), "no batch has a delete horizon");
        check(batches.stream().map(line -> line.replaceAll(".*compresscodec: (\\w+) .*", "$1")).distinct().count() > 1, "one codec for all batches");
        check(outcome.said().contains("a-value-that-is-kept"), "the value is not in it");
        check(!outcome.said().toLowerCase().contains("mismatch"), "something does not fit");
    }

    private static void dumpLog() throws Exception {
        Transcript transcript = new Transcript("dump-log").mask("\\b(crc|CreateTime|baseTimestamp|keySize|size|position|producerId): ?-?\\d+", "$1: N");
        create("t-dumped", 1);
        try (var producer = Kafka.producer("enable.idempotence", true, "linger.ms", 1000)) {
            producer.send(Kafka.record("t-dumped", 0, "key", "dumped-value-one"));
            producer.send(Kafka.record("t-dumped", 0, null, "dumped-value-two"));
            producer.flush();
            producer.send(Kafka.record("t-dumped", 0, "key", null));
        }
        String segment = segmentWith("dumped-value-one");
        // It has no option for the address.
        Tools.Main dump = arguments -> DumpLogSegments.main(Arrays.copyOfRange(arguments, 2, arguments.length));
        transcript.play("kafka-dump-log", dump, "--files", segment);
        transcript.play("kafka-dump-log", dump, "--files", segment, "--print-data-log");
        transcript.play("kafka-dump-log", dump, "--files", segment, "--deep-iteration", "--skip-record-metadata", "--print-data-log");
        transcript.end();
    }

    /** Of each segment file, klamm's or Kafka's, also of damaged ones, klamm's own dump says line for line what Kafka's says. */
    private static void dumpByKlamm() throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = create("t-klamm-dump-" + codec, 1, "message.timestamp.type", codec.equals("lz4") ? "LogAppendTime" : "CreateTime");
            List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
            for (int i = 0; i < 40; i++) {
                ProducerRecord<byte[], byte[]> record = Kafka.record(topic, 0, i % 3 == 0 ? null : "k\u00e9y " + i, i % 7 == 0 ? null : "klamm-dump " + i);
                if (i % 5 == 0) record.headers().add("h" + i, new byte[] {(byte) 0xff, 0}).add("n", null);
                records.add(record);
            }
            boolean idempotent = !codec.equals("gzip");
            Kafka.send(records, "compression.type", codec, "linger.ms", 20, "batch.size", 300, "enable.idempotence", idempotent);
        }
        try (KafkaConsumer<byte[], byte[]> consumer = Kafka.consumer("klamm-dump-group")) {
            TopicPartition partition = new TopicPartition("t-klamm-dump-none", 0);
            consumer.assign(List.of(partition));
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(5, "a note")));
        }
        try (var producer = Kafka.producer("transactional.id", "klamm-dump-transactions")) {
            producer.initTransactions();
            for (boolean commits : new boolean[] {true, false}) {
                producer.beginTransaction();
                producer.send(Kafka.record("t-klamm-dump-none", 0, "key", "klamm-dump in a transaction"));
                if (commits) producer.commitTransaction();
                else producer.abortTransaction();
            }
        }
        int compared = 0, damaged = 0, offsets = 0, transactions = 0;
        for (Path segment : segmentFiles()) {
            String where = copied(segment, "whole");
            equalDumps(where, "--deep-iteration", "--print-data-log");
            equalDumps(where);
            // Kafka's tool gives up at a record that can be none of a coordinator.
            if (Tools.klamm("log", "dump", where, "--records").said().contains("klamm-dump-group")) {
                equalDumps(where, "--offsets-decoder");
                offsets++;
            }
            if (Tools.klamm("log", "dump", where, "--records").said().contains("klamm-dump-transactions")) {
                equalDumps(where, "--transaction-log-decoder");
                transactions++;
            }
            equal(Tools.klamm("log", "verify", where).code(), 0, "exit code of the check of " + segment);
            compared++;
            byte[] bytes = Files.readAllBytes(segment);
            if (bytes.length < 300) continue;
            bytes[bytes.length - 1] ^= 1;
            String flipped = Files.write(Path.of(copied(segment, "flipped")), bytes).toString();
            equalDumps(flipped);
            Tools.Outcome told = Tools.klamm("log", "verify", flipped);
            equal(told.code(), 1, "exit code of the check of a flipped bit");
            told.has("has a wrong checksum");
            String cut = Files.write(Path.of(copied(segment, "cut")), Arrays.copyOf(bytes, bytes.length - 7)).toString();
            equalDumps(cut);
            Tools.klamm("log", "verify", cut).has("no whole batch is here");
            damaged++;
        }
        String counts = compared + " segments, " + damaged + " damaged ones, " + offsets + " of offsets, " + transactions + " of transactions";
        check(compared >= 6 && damaged >= 5 && offsets == 1 && transactions == 1, counts);
    }

    private static List<Path> segmentFiles() throws IOException {
        try (Stream<Path> files = Files.walk(WORK.resolve("data"))) {
            return files.filter(file -> file.getFileName().toString().matches("\\d{20}(\\.\\d+)?\\.log") && file.toFile().length() > 0)
                .filter(file -> !file.toString().contains("__cluster_metadata")).toList();
        }
    }

    /** A copy, since the broker may go on writing. */
    private static String copied(Path segment, String folder) throws IOException {
        Path target = WORK.resolve("dumped").resolve(folder).resolve(segment.getParent().getFileName()).resolve(segment.getFileName());
        Files.createDirectories(target.getParent());
        return Files.copy(segment, target).toString();
    }

    /** The lines. Java and Rust do not agree on how many signs stand for bytes that are no text, and some of such bytes end a line for one of them. */
    private static List<String> readable(String said) {
        // Kafka's tool ends with the gaps, which each cleaned file has; klamm's leaves them to who reads the offsets.
        return said.replaceAll("(?s)Non-consecutive offsets in .*", "").replaceAll("[^\\x20-\\x7e\\n]+", "?").replaceAll("\\?[?\\s]*\\?", "?").lines().toList();
    }

    private static void equalDumps(String file, String... options) throws Exception {
        String[] arguments = Stream.concat(Stream.of("--files", file), Arrays.stream(options)).toArray(String[]::new);
        Tools.Outcome kafkas = Tools.run(DumpLogSegments::main, arguments);
        Tools.Outcome klamms = options.length == 0 ? Tools.klamm("log", "dump", file)
            : Tools.klamm("log", "dump", file, options[0].endsWith("-decoder") ? options[0] : "--records");
        equal(klamms.code(), kafkas.code(), "exit code of the dump of " + file);
        List<String> expected = readable(kafkas.said()), got = readable(klamms.said());
        for (int i = 0; i < Math.max(expected.size(), got.size()); i++) {
            equal(i < got.size() ? got.get(i) : "nothing more", i < expected.size() ? expected.get(i) : "nothing more", "line " + (i + 1) + " of " + file);
        }
    }
}
