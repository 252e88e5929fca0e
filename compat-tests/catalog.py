"""The one list of clients and scenarios: the runner, the scoreboard and the README's table derive from it."""

# Order of a column; the label is what the scoreboard shows.
CLIENTS = {
    "java": "Java kafka-clients 4.3.1",
    "java-3.9": "kafka-clients 3.9",
    "java-2.8": "kafka-clients 2.8",
    "spring": "Spring Kafka 4.0",
    "python": "confluent-kafka (librdkafka)",
    "aiokafka": "aiokafka",
    "kafka-python": "kafka-python",
    "librdkafka": "librdkafka 2.16 (C)",
    "rdkafka": "rdkafka 0.39 (Rust)",
    "rskafka": "rskafka 0.6 (Rust)",
    "go": "franz-go",
    "sarama": "sarama",
    "kafka-go": "segmentio/kafka-go",
    "node": "kafkajs",
    "confluent-js": "@confluentinc/kafka-javascript",
    "kcat": "kcat 1.7 (librdkafka 2.0)",
    "java-tools": "Kafka's console tools 4.3.1",
    "klamm-tools": "klamm's own tools",
    "programs": "programs beside Kafka",
}

# Played by the libraries, and by kcat where a command line can express them.
LIBRARY_SCENARIOS = {
    "describe-cluster": "one broker, a controller and a cluster id; the same after a second look",
    "create-describe-delete-topic": "a topic with an own configuration is created, described and deleted",
    "create-partitions": "a topic grows from two to four partitions and the new ones take records",
    "unknown-topic": "a name that nobody created is refused, and asking does not create it",
    "auto-create": "producing to an unknown name creates it",
    "readme-example": "what the README shows for this client sends its record",
    "recreate-topic": "a deleted and recreated name has a new identity and no old record",
    "codecs": "none, gzip, snappy, lz4 and zstd are produced and read back equal",
    "acks": "acks 0, 1 and all",
    "keys-and-partitions": "the partitioner spreads keys; an explicit partition is kept",
    "headers": "headers with repeated keys, empty and null values, in their order",
    "null-key-and-value": "null and empty are different, for key and for value",
    "record-near-limit": "a batch of exactly max.message.bytes is taken and read back",
    "record-over-limit": "one byte more is refused by the broker with MESSAGE_TOO_LARGE",
    "log-append-time": "a topic's LogAppendTime replaces the producer's timestamps",
    "read-from-start": "from the earliest offset: all records in order",
    "read-from-offset": "from an offset in the middle, and from the end",
    "read-from-timestamp": "from the first record at or after a time",
    "list-offsets": "earliest, latest, the largest timestamp, a time beyond the end",
    "group-of-three-one-killed": "two members take over what a killed third one held; nothing is lost",
    "assignors": "each assignor of the client shares the partitions evenly",
    "static-membership": "a returning instance keeps its partitions without a rebalance; a double is fenced",
    "group-admin": "committed offsets, lag, list, describe, reset and delete of groups",
    "commit-and-resume-after-kill": "after kill -9 and restart a group resumes at its committed offset",
    "member-survives-kill": "a live member goes on after kill -9 and restart",
    "idempotent-across-kill": "an idempotent producer across kill -9 and restart: each value once, in order",
    "compaction": "a compacted topic keeps the newest record of each key, with each codec, at its offset; look-ups and reads from inside holes; the same after kill -9",
    "compaction-tombstones": "a tombstone outlives what it deletes until delete.retention.ms, and is gone after that",
    "compaction-of-offsets": "many commits of a group shrink to the last one, which holds after kill -9; a deleted group leaves no record behind",
    "quota-produce": "producer_byte_rate of a client id: the producer is told to wait and made to",
    "quota-fetch": "consumer_byte_rate of a user and client id: likewise, and no record is lost",
    "quota-mutations": "controller_mutation_rate: THROTTLING_QUOTA_EXCEEDED, which the admin client retries after the told wait",
    "quota-requests": "request_percentage of the default user: waits of at most a second",
    "quota-connections": "connection_creation_rate of an address: connections beyond it are not served",
    "connections-per-ip": "max.connections.per.ip and its overrides: one more from an address is closed at once",
    "connections-max": "max.connections: further connections wait for one to end; where it is lowered, silent ones are closed",
    "connections-max-of-listener": "listener.name.NAME.max.connections: further connections wait, and none is closed",
    "connections-rate": "max.connection.creation.rate of broker and listener: connections beyond it are served later",
    "retention": "old segments go by time, by size and by DeleteRecords: earliest offsets, OFFSET_OUT_OF_RANGE, sizes; a change acts",
    "transactions-commit": "transactions over several partitions: read_committed sees all, in order, with a marker's offset between",
    "transactions-abort": "what was aborted is seen by read_uncommitted alone, also by a reader that begins inside of it",
    "transactions-interleaved": "commits, aborts, an open transaction and plain records in one partition; the last stable offset holds readers back",
    "transactions-consume-transform-produce": "a group's offsets are committed with the transaction or not at all; each record once in the output",
    "transactions-fence-zombie": "a second producer of a transactional id aborts what the first had open, and the first is refused",
    "transactions-timeout": "the broker aborts what is open for longer than transaction.timeout.ms, and the last stable offset moves",
    "transactions-across-kill": "kill -9 and restart between writes and the end of a transaction, and while one is left open: exact",
    "transactions-kill-behind-end": "what was answered holds: kill -9 at once behind a commit, and the markers that are owed are written after the restart",
    "transactions-bank": "money moves between accounts while the broker is killed again and again: no move torn, lost, doubled or read although aborted",
    "transactions-copier": "Kafka's TransactionalMessageCopier, three processes that abort at random, while the broker is killed again and again: a true copy",
    "transactions-admin": "transactions described and listed, producers of a partition, abort and fence by an administrator",
}

# Written, and passing on Apache Kafka; klamm does not pass them yet, so that they are played only where they are named.
AWAITED_SCENARIOS = {
}

# Played by the command line tools alone.
TOOL_SCENARIOS = {
    "broker-api-versions": "kafka-broker-api-versions",
    "topics": "kafka-topics --create, --list, --describe, --alter --partitions, --delete",
    "console": "kafka-console-producer and kafka-console-consumer, keys and headers, with a group",
    "get-offsets": "kafka-get-offsets with each --time",
    "configs": "kafka-configs --describe of topic and broker",
    "consumer-groups": "kafka-consumer-groups --list, --describe, --reset-offsets, --delete",
    "verifiable": "kafka-verifiable-producer and kafka-verifiable-consumer agree",
    "producer-perf": "kafka-producer-perf-test with each acks",
    "configs-alter": "kafka-configs --alter and --describe of topics, brokers, clients, groups; what is refused",
    "groups-list": "kafka-groups --list with each filter",
    "consumer-groups-reset": "kafka-consumer-groups: each way to reset, members and state, --delete-offsets, --delete; what is refused",
    "delete-records": "kafka-delete-records, and where the log then starts",
    "log-dirs": "kafka-log-dirs --describe",
    "metadata-quorum": "kafka-metadata-quorum describe --status and --replication",
    "features": "kafka-features describe: the metadata.version",
    "cluster": "kafka-cluster cluster-id, list-endpoints, unregister",
    "leader-election": "kafka-leader-election of one, several and all partitions",
    "reassign-partitions": "kafka-reassign-partitions --list, --generate, --execute, --verify, --cancel",
    "consumer-perf": "kafka-consumer-perf-test",
    "e2e-latency": "kafka-e2e-latency",
    "dump-log": "kafka-dump-log on a segment file of the broker",
    "dump-log-compacted": "kafka-dump-log on a segment file that compaction has written",
    "dump-log-by-klamm": "klamm log dump says of every segment file, also of damaged ones, what kafka-dump-log says",
    "kafka-transactions": "kafka-transactions list, describe, describe-producers, find-hanging, abort, forceTerminateTransaction",
    "features-transaction-version": "kafka-features switches transaction.version down and up, and producers go on under it",
}

# klamm's own command line tools. What they must print is written once: it is the same against both brokers.
KLAMM_TOOL_SCENARIOS = {
    "klamm-topics": "create, list, describe, delete; what is refused and how",
    "klamm-produce": "lines, keys, headers, codecs, partitions as the Java client chooses them, an idempotent producer",
    "klamm-consume": "from the beginning, the end, an offset, a time, the last N; formats and JSON",
    "klamm-consume-group": "a member of a group beside librdkafka's: shares, commits, goes on, leaves at a signal, is replaced after a kill",
    "klamm-consume-across-kill": "consume, alone and as a member of a group, goes on when its broker is back after a kill; with -e it gives up",
    "klamm-groups": "list, describe with members and lag, reset, delete",
    "klamm-describe": "cluster, brokers, controller, features",
}

# Programs that people put in front of Kafka, one scenario each.
PROGRAM_SCENARIOS = {
    "connect": "Kafka Connect standalone: file source and file sink, and again after a restart",
    "rsyslog": "rsyslog: omkafka sends the lines of a file, imkafka writes a topic to a file",
    "faust": "Faust: an agent with a table and its changelog topic",
    "flink": "Flink in local mode: a Kafka source that commits with its checkpoints, a Kafka sink, and a second run from the committed offsets",
    "debezium": "Debezium embedded: PostgreSQL's changes become records, and its engine goes on at the offsets that it keeps in a topic",
    "streams": "Kafka Streams: word count, windows, stream-table and stream-stream join; restart with and without its state folder",
    "streams-exactly-once": "Kafka Streams with exactly_once_v2, the application and the broker killed in the middle: each step of each count once, in order",
    "mirror-maker": "MirrorMaker 2 between the broker and an Apache Kafka, exactly once, both ways: records and translated offsets of groups",
    "connect-distributed": "two workers of Kafka Connect with an exactly-once file source and a file sink, by its REST API; either worker killed",
}

# What counts brokers, or looks at one of them: not played where one of several is killed (run.py --kill-one).
NOT_WITH_SEVERAL = (
    "describe-cluster", "readme-example", "create-describe-delete-topic", "retention", "quota-connections",
    "connections-per-ip", "connections-max", "connections-max-of-listener", "connections-rate",
)

# Settings of the brokers of some clients, the same for both targets: retention must be seen within seconds.
_RETENTION = {"log.retention.check.interval.ms": "500", "log.initial.task.delay.ms": "500", "log.segment.delete.delay.ms": "1000"}
BROKER_SETTINGS = {"java": _RETENTION, "java-3.9": _RETENTION, "java-2.8": _RETENTION, "python": _RETENTION}

# What Apache Kafka itself does not pass every time, though it can, and why: its failures there are told, and count for nothing.
_LOST_MARKERS = (
    "a restarted broker drops the markers that it owes to partitions without a leader, as all of its own are until it is unfenced: it takes them for deleted, "
    "and the next transaction of the producer decides what lies there (KRaftMetadataCache.getPartitionLeaderEndpoint, TransactionMarkerChannelManager)"
)
UNSTEADY_ON_KAFKA = {"transactions-bank": _LOST_MARKERS, "transactions-copier": _LOST_MARKERS, "transactions-kill-behind-end": _LOST_MARKERS}

SCENARIOS = {**LIBRARY_SCENARIOS, **TOOL_SCENARIOS, **KLAMM_TOOL_SCENARIOS, **PROGRAM_SCENARIOS}
TARGETS = ("kafka", "klamm")
