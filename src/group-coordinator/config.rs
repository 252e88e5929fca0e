//! The settings of the group coordinator: the rows for people, and the typed values that a shard acts on.

use model::config::{Kind, Row, Scope};

const INT_MAX: i64 = i32::MAX as i64;

/// The configuration keys of this crate. Keys of the offsets topic itself belong to the broker, which creates it.
pub const ROWS: &[Row] = &[
    Row {
        name: "group.min.session.timeout.ms",
        kind: Kind::Int(0, INT_MAX),
        default: Some("6000"),
        scope: Scope::Static,
        synonym: None,
        doc: "The shortest session timeout that a group member may ask for.",
    },
    Row {
        name: "group.max.session.timeout.ms",
        kind: Kind::Int(0, INT_MAX),
        default: Some("1800000"),
        scope: Scope::Static,
        synonym: None,
        doc: "The longest session timeout that a group member may ask for.",
    },
    Row {
        name: "group.initial.rebalance.delay.ms",
        kind: Kind::Int(0, INT_MAX),
        default: Some("3000"),
        scope: Scope::Static,
        synonym: None,
        doc: "How long an empty group waits for further members before its first rebalance; each new member prolongs it.",
    },
    Row {
        name: "group.max.size",
        kind: Kind::Int(1, INT_MAX),
        default: Some("2147483647"),
        scope: Scope::Static,
        synonym: None,
        doc: "The largest number of members of a group.",
    },
    Row {
        name: "offset.metadata.max.bytes",
        kind: Kind::Int(0, INT_MAX),
        default: Some("4096"),
        scope: Scope::Static,
        synonym: None,
        doc: "The longest text that may be committed beside an offset.",
    },
    Row {
        name: "offsets.retention.minutes",
        kind: Kind::Int(1, INT_MAX),
        default: Some("10080"),
        scope: Scope::Static,
        synonym: None,
        doc: "How long committed offsets are kept after their group became empty, or after the commit when no group manages them.",
    },
    Row {
        name: "offsets.retention.check.interval.ms",
        kind: Kind::Long(1, i64::MAX),
        default: Some("600000"),
        scope: Scope::Static,
        synonym: None,
        doc: "How often expired offsets are looked for.",
    },
];

/// The values that a shard acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max_ms: i32,
    /// `group.initial.rebalance.delay.ms`; 0 ends the first join phase at once.
    pub initial_rebalance_delay_ms: i32,
    /// How long a member that never heard its id is kept while its join is parked (Kafka's fixed 5 minutes).
    pub new_member_join_timeout_ms: i32,
    /// `group.max.size`.
    pub group_size_max: usize,
    /// `offset.metadata.max.bytes`; counted as Kafka does, in UTF-16 code units.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// The largest batch of records that one request may cause (`max.message.bytes` of the offsets topic); more is refused before anything is written.
    pub batch_bytes_max: usize,
}

impl Default for GroupConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            new_member_join_timeout_ms: 300_000,
            group_size_max: 2_147_483_647,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            batch_bytes_max: 1_048_588,
        }
    }
}
