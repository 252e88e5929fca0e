//! The rows of topic configurations: the 33 public ones of Apache Kafka 4.3 and the four that 4.4 added (types, defaults, ranges as
//! `LogConfig` has them), and the broker keys that give them their defaults (`ServerTopicConfigSynonyms`).

use model::config::{Kind, Row, Scope};

const LONG_MAX: &str = "9223372036854775807";
const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;

/// All rows, by name.
pub const TOPIC_ROWS: &[Row] = &[
    row(
        "cleanup.policy",
        Kind::List(&["compact", "delete"]),
        "delete",
        Some("log.cleanup.policy"),
        "What happens to old records: delete drops them by age and size, compact keeps the newest of each key, both do both.",
    ),
    row(
        "compression.gzip.level",
        Kind::Int(-1, 9),
        "-1",
        Some("compression.gzip.level"),
        "The level used when batches are compressed again with gzip, from 1 to 9; -1 is the codec's own default.",
    ),
    row(
        "compression.lz4.level",
        Kind::Int(1, 17),
        "9",
        Some("compression.lz4.level"),
        "The level used when batches are compressed again with lz4.",
    ),
    row(
        "compression.type",
        Kind::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        "producer",
        Some("compression.type"),
        "The codec that batches are stored with; producer keeps each as it came.",
    ),
    row(
        "compression.zstd.level",
        Kind::Int(-131_072, 22),
        "3",
        Some("compression.zstd.level"),
        "The level used when batches are compressed again with zstd.",
    ),
    row(
        "delete.retention.ms",
        Kind::Long(0, LONG),
        "86400000",
        Some("log.cleaner.delete.retention.ms"),
        "How long a compacted topic keeps the tombstone of a deleted key.",
    ),
    row(
        "file.delete.delay.ms",
        Kind::Long(0, LONG),
        "60000",
        Some("log.segment.delete.delay.ms"),
        "How long the file of a deleted segment stays before it goes from the disk.",
    ),
    row(
        "flush.messages",
        Kind::Long(1, LONG),
        LONG_MAX,
        Some("log.flush.interval.messages"),
        "After how many records the log is forced to disk.",
    ),
    row("flush.ms", Kind::Long(0, LONG), LONG_MAX, Some("log.flush.interval.ms"), "After what time the log is forced to disk."),
    row(
        "follower.replication.throttled.replicas",
        Kind::List(&[]),
        "",
        None,
        "The replicas whose fetching is throttled, as partition:broker pairs, or * for all.",
    ),
    row(
        "index.interval.bytes",
        Kind::Int(0, INT),
        "4096",
        Some("log.index.interval.bytes"),
        "How many bytes of log lie between two entries of Kafka's offset index. Nothing in klamm acts on it.",
    ),
    row(
        "leader.replication.throttled.replicas",
        Kind::List(&[]),
        "",
        None,
        "The replicas whose serving of followers is throttled, as partition:broker pairs, or * for all.",
    ),
    row(
        "local.retention.bytes",
        Kind::Long(-2, LONG),
        "-2",
        Some("log.local.retention.bytes"),
        "How many bytes stay on the broker's own disk when remote storage is on; -2 takes retention.bytes. Nothing in klamm acts on it.",
    ),
    row(
        "local.retention.ms",
        Kind::Long(-2, LONG),
        "-2",
        Some("log.local.retention.ms"),
        "How long segments stay on the broker's own disk when remote storage is on; -2 takes retention.ms. Nothing in klamm acts on it.",
    ),
    row(
        "max.compaction.lag.ms",
        Kind::Long(1, LONG),
        LONG_MAX,
        Some("log.cleaner.max.compaction.lag.ms"),
        "After what time at most a record of a compacted topic becomes due for compaction.",
    ),
    row(
        "max.message.bytes",
        Kind::Int(0, INT),
        "1048588",
        Some("message.max.bytes"),
        "The largest batch of records that is taken, after compression.",
    ),
    row(
        "message.timestamp.after.max.ms",
        Kind::Long(0, LONG),
        "3600000",
        Some("log.message.timestamp.after.max.ms"),
        "How far a record's own timestamp may lie after the broker's time.",
    ),
    row(
        "message.timestamp.before.max.ms",
        Kind::Long(0, LONG),
        LONG_MAX,
        Some("log.message.timestamp.before.max.ms"),
        "How far a record's own timestamp may lie before the broker's time.",
    ),
    row(
        "message.timestamp.type",
        Kind::OneOf(&["CreateTime", "LogAppendTime"]),
        "CreateTime",
        Some("log.message.timestamp.type"),
        "Whether records keep the producer's timestamp or get the time of their append.",
    ),
    row(
        "min.cleanable.dirty.ratio",
        Kind::Double(0.0, 1.0),
        "0.5",
        Some("log.cleaner.min.cleanable.ratio"),
        "Which part of a compacted log must be uncleaned before cleaning is worth it.",
    ),
    row(
        "min.compaction.lag.ms",
        Kind::Long(0, LONG),
        "0",
        Some("log.cleaner.min.compaction.lag.ms"),
        "For how long at least a record of a compacted topic stays as it is.",
    ),
    row(
        "min.insync.replicas",
        Kind::Int(1, INT),
        "1",
        Some("min.insync.replicas"),
        "How many replicas must be in sync for a produce with acks=all to be taken.",
    ),
    row(
        "preallocate",
        Kind::Boolean,
        "false",
        Some("log.preallocate"),
        "Whether a new segment's file is allocated on disk in full. Nothing in klamm acts on it.",
    ),
    row(
        "remote.log.copy.disable",
        Kind::Boolean,
        "false",
        None,
        "Whether remote storage is only read from and takes no new segments. Nothing in klamm acts on it.",
    ),
    row(
        "remote.log.delete.on.disable",
        Kind::Boolean,
        "false",
        None,
        "Whether the remote segments go when remote storage is turned off for the topic. Nothing in klamm acts on it.",
    ),
    row(
        "remote.storage.enable",
        Kind::Boolean,
        "false",
        None,
        "Whether closed segments are kept in remote storage too. Nothing in klamm acts on it.",
    ),
    row(
        "retention.bytes",
        Kind::Long(i64::MIN, LONG),
        "-1",
        Some("log.retention.bytes"),
        "How many bytes a partition keeps under the delete policy; below 0 there is no bound.",
    ),
    row(
        "retention.ms",
        Kind::Long(-1, LONG),
        "604800000",
        Some("log.retention.ms"),
        "How long records are kept under the delete policy; -1 is for ever.",
    ),
    row(
        "segment.bytes",
        Kind::Int(1_048_576, INT),
        "1073741824",
        Some("log.segment.bytes"),
        "How large a segment's file becomes before the next one begins.",
    ),
    row(
        "segment.index.bytes",
        Kind::Int(4, INT),
        "10485760",
        Some("log.index.size.max.bytes"),
        "How large Kafka's offset index of a segment may become. Nothing in klamm acts on it.",
    ),
    row(
        "segment.jitter.ms",
        Kind::Long(0, LONG),
        "0",
        Some("log.roll.jitter.ms"),
        "By how much at most segment.ms is shortened at random, so that not all partitions roll at once.",
    ),
    row(
        "segment.ms",
        Kind::Long(1, LONG),
        "604800000",
        Some("log.roll.ms"),
        "After what time the next segment begins though the current one is not full.",
    ),
    row(
        "unclean.leader.election.enable",
        Kind::Boolean,
        "false",
        Some("unclean.leader.election.enable"),
        "Whether a replica that is not in sync may lead when no other is there, at the price of lost records.",
    ),
];

const fn row(name: &'static str, kind: Kind, default: &'static str, synonym: Option<&'static str>, doc: &'static str) -> Row {
    Row { name, kind, default: Some(default), scope: Scope::Topic, synonym, doc }
}

/// The row of a topic key.
#[must_use]
pub fn topic_row(name: &str) -> Option<&'static Row> {
    TOPIC_ROWS.binary_search_by(|row| row.name.cmp(name)).ok().and_then(|position| TOPIC_ROWS.get(position))
}

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

/// Broker keys that say the same in several units, the strongest first, with the factor to the strongest one's unit.
const BROKER_FAMILIES: &[&[(&str, i64)]] = &[
    &[("log.roll.ms", 1), ("log.roll.hours", HOUR_MS)],
    &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", HOUR_MS)],
    &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)],
    &[("log.retention.ms", 1), ("log.retention.minutes", MINUTE_MS), ("log.retention.hours", HOUR_MS)],
];

/// The broker keys that stand for a broker key, itself included, the strongest first, with their factors to milliseconds
/// (`DynamicBrokerConfig.brokerConfigSynonyms`).
pub(crate) fn broker_family(name: &str) -> Vec<(&str, i64)> {
    match BROKER_FAMILIES.iter().find(|family| family.iter().any(|(member, _)| *member == name)) {
        Some(family) => family.to_vec(),
        None => vec![(name, 1)],
    }
}

/// The default of a topic row's broker key, as Kafka lists it among synonyms: there is none where the strongest key of a family is unset by
/// default (`log.retention.ms` is, since `log.retention.hours` holds the default).
pub(crate) fn broker_default(row: &Row) -> Option<&'static str> {
    let synonym = row.synonym?;
    if broker_family(synonym).len() > 1 { None } else { row.default }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_their_defaults_fit_them() {
        assert!(TOPIC_ROWS.is_sorted_by(|left, right| left.name < right.name));
        assert_eq!(TOPIC_ROWS.len(), 33);
        for row in TOPIC_ROWS {
            assert_eq!(super::super::values::check(row, row.default.expect("topic rows have defaults")), Ok(()), "{}", row.name);
        }
    }
}
