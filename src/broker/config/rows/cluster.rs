//! Who the broker is, and how topics come and go.

use model::config::{Kind, Row};

use super::{INT, INT_LOW, LONG, SHORT, dynamic, fixed};

pub(super) const ROWS: &[Row] = &[
    fixed("node.id", Kind::Int(0, INT), Some("1"), "The number of this broker in its cluster."),
    fixed("broker.id", Kind::Int(-1, INT), Some("-1"), "The older name of node.id; if both are given, they must agree."),
    fixed("broker.rack", Kind::Text, None, "The rack or zone of this broker, shown to clients."),
    fixed(
        "process.roles",
        Kind::List(&["broker", "controller"]),
        None,
        "Kafka's division of duties; every klamm process is a broker that takes part in the metadata quorum, so broker must be among them.",
    ),
    fixed(
        "controller.quorum.voters",
        Kind::List(&[]),
        Some(""),
        "The voters of the metadata quorum, as ID@HOST:PORT separated by commas; with one voter or none this broker is a cluster by itself.",
    ),
    fixed(
        "broker.heartbeat.interval.ms",
        Kind::Int(INT_LOW, INT),
        Some("2000"),
        "How often a broker of a cluster of several tells the controller that it lives.",
    ),
    fixed(
        "broker.session.timeout.ms",
        Kind::Int(INT_LOW, INT),
        Some("9000"),
        "After what silence the controller takes a broker of a cluster of several for dead.",
    ),
    fixed(
        "controller.quorum.bootstrap.servers",
        Kind::List(&[]),
        Some(""),
        "Accepted and not used: klamm finds its metadata quorum by itself.",
    ),
    fixed("log.dir", Kind::List(&[]), Some("/tmp/kafka-logs"), "The data directory, if log.dirs is not given."),
    fixed("log.dirs", Kind::List(&[]), None, "The data directory; klamm keeps all data of a broker in one, so only one may be named."),
    fixed(
        "klamm.durability",
        Kind::OneOf(&["os", "group"]),
        Some("os"),
        "When a record counts as written: os, when the operating system has it, as with Kafka, so that it survives the process; group, when the disk has it, so that it survives a power cut, with one sync for all that has come.",
    ),
    fixed(
        "klamm.journal.file.bytes",
        Kind::Int(65_536, INT),
        Some("33554432"),
        "With klamm.durability=group, the size of a file of the journal; when it is full, the segments are synced and the next one is used.",
    ),
    fixed("num.partitions", Kind::Int(1, INT), Some("1"), "The partitions of a topic that is created without a number."),
    fixed("default.replication.factor", Kind::Int(1, SHORT), Some("1"), "The replicas of a topic that is created without a number."),
    fixed("auto.create.topics.enable", Kind::Boolean, Some("true"), "Whether asking for an unknown topic's metadata creates the topic."),
    fixed("delete.topic.enable", Kind::Boolean, Some("true"), "Whether topics can be deleted."),
    fixed(
        "leader.imbalance.check.interval.seconds",
        Kind::Long(1, LONG),
        Some("300"),
        "How often leaders that are not the preferred ones are looked for, in seconds.",
    ),
    fixed(
        "auto.leader.rebalance.enable",
        Kind::Boolean,
        Some("true"),
        "Whether leadership returns to preferred replicas by itself; of no effect while there is one broker.",
    ),
    fixed(
        "controlled.shutdown.enable",
        Kind::Boolean,
        Some("true"),
        "Whether a stopping broker hands over its partitions first; of no effect while there is one broker.",
    ),
    fixed(
        "replica.lag.time.max.ms",
        Kind::Long(0, i64::MAX),
        Some("30000"),
        "How long a follower may lag before it leaves the in-sync replicas.",
    ),
    fixed(
        "replica.fetch.backoff.ms",
        Kind::Int(0, INT),
        Some("1000"),
        "How long a follower pauses at most after fetches that fail in a row; the first pauses are shorter.",
    ),
    fixed(
        "replica.fetch.max.bytes",
        Kind::Int(0, INT),
        Some("1048576"),
        "The most bytes of one partition that a follower asks for at once.",
    ),
    fixed("replica.fetch.min.bytes", Kind::Int(INT_LOW, INT), Some("1"), "How many bytes an answer to a follower waits for."),
    fixed("replica.fetch.response.max.bytes", Kind::Int(0, INT), Some("10485760"), "The most bytes that a follower asks for at once."),
    fixed("replica.fetch.wait.max.ms", Kind::Int(INT_LOW, INT), Some("500"), "How long an answer to a follower may wait for bytes."),
    fixed("replica.socket.timeout.ms", Kind::Int(INT_LOW, INT), Some("30000"), "How long a follower waits for an answer."),
    dynamic(
        "producer.id.expiration.ms",
        Kind::Int(1, INT),
        Some("86400000"),
        "How long a partition remembers a producer that writes nothing, to recognise its duplicates.",
    ),
    fixed("log.cleaner.enable", Kind::Boolean, Some("true"), "Whether compacted topics are cleaned."),
    dynamic(
        "log.cleaner.backoff.ms",
        Kind::Long(0, i64::MAX),
        Some("15000"),
        "How long the cleaner rests when no compacted log is due, or a cleaning has failed; while there is no compacted topic it rests altogether.",
    ),
    dynamic(
        "log.cleaner.dedupe.buffer.size",
        Kind::Long(i64::MIN, i64::MAX),
        Some("134217728"),
        "The memory in which all cleaner threads together note keys, 24 bytes each; it is taken while a log is cleaned, as much as that log needs, and a log with more keys is cleaned in several rounds.",
    ),
    dynamic(
        "log.cleaner.io.buffer.load.factor",
        Kind::Double(f64::MIN, f64::MAX),
        Some("0.9"),
        "Which part of that memory may be filled; fuller is slower and needs fewer rounds.",
    ),
    dynamic(
        "log.cleaner.io.max.bytes.per.second",
        Kind::Double(f64::MIN, f64::MAX),
        Some("1.7976931348623157E308"),
        "How many bytes per second all cleaner threads together may read and write.",
    ),
    dynamic(
        "log.cleaner.threads",
        Kind::Int(0, INT),
        Some("1"),
        "How many logs may be cleaned at once; each cleaner thread has an equal part of log.cleaner.dedupe.buffer.size. A thread that has nothing to clean does not exist.",
    ),
    fixed("log.retention.check.interval.ms", Kind::Long(1, i64::MAX), Some("300000"), "How often old segments are looked for."),
    fixed(
        "socket.listen.backlog.size",
        Kind::Int(1, INT),
        Some("50"),
        "The connections of a listener that may wait to be accepted, as far as the system allows.",
    ),
    fixed("request.timeout.ms", Kind::Int(INT_LOW, INT), Some("30000"), "How long a broker waits for the answer of another."),
];
