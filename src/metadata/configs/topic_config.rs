//! A topic's configuration as the broker acts on it.

use super::values::split_list;

/// The codec that a topic stores batches with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicCompression {
    /// Each batch as it came.
    Producer,
    /// None.
    Uncompressed,
    /// gzip.
    Gzip,
    /// snappy.
    Snappy,
    /// lz4.
    Lz4,
    /// zstd.
    Zstd,
}

/// Whose timestamps records carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The time of the append.
    LogAppendTime,
}

/// The values that the broker acts on, all resolved: the topic's own, else the broker's, else Kafka's defaults.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicConfig {
    /// `cleanup.policy` has `delete`.
    pub delete: bool,
    /// `cleanup.policy` has `compact`.
    pub compact: bool,
    /// `compression.type`.
    pub compression: TopicCompression,
    /// `compression.gzip.level`; -1 is the codec's default.
    pub gzip_level: i32,
    /// `compression.lz4.level`.
    pub lz4_level: i32,
    /// `compression.zstd.level`.
    pub zstd_level: i32,
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: usize,
    /// `retention.ms`; `None` is for ever.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`; `None` is without bound.
    pub retention_bytes: Option<u64>,
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `flush.messages`.
    pub flush_messages: i64,
    /// `flush.ms`.
    pub flush_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `unclean.leader.election.enable`.
    pub unclean_leader_election: bool,
    /// `preallocate`.
    pub preallocate: bool,
}

impl TopicConfig {
    /// Reads each key's effective value. A value that does not parse counts as Kafka's default: values are checked when they are set, so
    /// only one written by a newer klamm can be so.
    #[must_use]
    pub(crate) fn read(value_of: impl Fn(&'static str) -> String) -> Self {
        let long = |name: &'static str, default: i64| value_of(name).trim().parse::<i64>().unwrap_or(default);
        let int = |name: &'static str, default: i32| value_of(name).trim().parse::<i32>().unwrap_or(default);
        let size = |name: &'static str, default: usize| value_of(name).trim().parse::<usize>().unwrap_or(default);
        let flag = |name: &'static str| value_of(name).trim().eq_ignore_ascii_case("true");
        let policy = value_of("cleanup.policy");
        let has = |word: &str| split_list(&policy).iter().any(|policy| policy.eq_ignore_ascii_case(word));
        Self {
            delete: has("delete"),
            compact: has("compact"),
            compression: match value_of("compression.type").trim() {
                "uncompressed" => TopicCompression::Uncompressed,
                "gzip" => TopicCompression::Gzip,
                "snappy" => TopicCompression::Snappy,
                "lz4" => TopicCompression::Lz4,
                "zstd" => TopicCompression::Zstd,
                _ => TopicCompression::Producer,
            },
            gzip_level: int("compression.gzip.level", -1),
            lz4_level: int("compression.lz4.level", 9),
            zstd_level: int("compression.zstd.level", 3),
            max_message_bytes: size("max.message.bytes", 1_048_588),
            timestamp_type: match value_of("message.timestamp.type").trim() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: long("message.timestamp.before.max.ms", i64::MAX),
            timestamp_after_max_ms: long("message.timestamp.after.max.ms", 3_600_000),
            min_insync_replicas: size("min.insync.replicas", 1),
            retention_ms: Some(long("retention.ms", 604_800_000)).filter(|ms| *ms >= 0),
            retention_bytes: u64::try_from(long("retention.bytes", -1)).ok(),
            segment_bytes: value_of("segment.bytes").trim().parse().unwrap_or(1_073_741_824),
            segment_ms: long("segment.ms", 604_800_000),
            segment_jitter_ms: long("segment.jitter.ms", 0),
            flush_messages: long("flush.messages", i64::MAX),
            flush_ms: long("flush.ms", i64::MAX),
            delete_retention_ms: long("delete.retention.ms", 86_400_000),
            min_compaction_lag_ms: long("min.compaction.lag.ms", 0),
            max_compaction_lag_ms: long("max.compaction.lag.ms", i64::MAX),
            min_cleanable_dirty_ratio: value_of("min.cleanable.dirty.ratio").trim().parse().unwrap_or(0.5),
            file_delete_delay_ms: long("file.delete.delay.ms", 60_000),
            unclean_leader_election: flag("unclean.leader.election.enable"),
            preallocate: flag("preallocate"),
        }
    }
}
