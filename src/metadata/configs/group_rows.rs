//! The rows of group configurations of Apache Kafka 4.3 (`GroupConfig`). They belong to the group protocols of KIP-848, KIP-932 and KIP-1071; nothing
//! acts on them yet.

use model::config::{Kind, Row, Scope};

const INT: i64 = i32::MAX as i64;

/// All rows, by name.
pub const GROUP_ROWS: &[Row] = &[
    row(
        "consumer.assignment.interval.ms",
        Kind::Int(0, INT),
        "1000",
        Some("group.consumer.assignment.interval.ms"),
        "How long at least lies between two assignments of a consumer group.",
    ),
    row(
        "consumer.heartbeat.interval.ms",
        Kind::Int(1, INT),
        "5000",
        Some("group.consumer.heartbeat.interval.ms"),
        "How often the members of a consumer group send heartbeats.",
    ),
    row(
        "consumer.session.timeout.ms",
        Kind::Int(1, INT),
        "45000",
        Some("group.consumer.session.timeout.ms"),
        "After what silence a member of a consumer group is taken out of it.",
    ),
    row(
        "share.assignment.interval.ms",
        Kind::Int(0, INT),
        "1000",
        Some("group.share.assignment.interval.ms"),
        "How long at least lies between two assignments of a share group.",
    ),
    row(
        "share.auto.offset.reset",
        Kind::Text,
        "latest",
        None,
        "Where a share group begins on a partition that it has not read: latest, earliest or by_duration:PERIOD.",
    ),
    row(
        "share.delivery.count.limit",
        Kind::Int(2, INT),
        "5",
        Some("group.share.delivery.count.limit"),
        "How often a record is delivered to a share group before it is given up.",
    ),
    row(
        "share.heartbeat.interval.ms",
        Kind::Int(1, INT),
        "5000",
        Some("group.share.heartbeat.interval.ms"),
        "How often the members of a share group send heartbeats.",
    ),
    row(
        "share.isolation.level",
        Kind::OneOf(&["read_committed", "read_uncommitted"]),
        "read_uncommitted",
        None,
        "Whether a share group sees records of transactions that are not committed.",
    ),
    row(
        "share.partition.max.record.locks",
        Kind::Int(100, INT),
        "2000",
        Some("group.share.partition.max.record.locks"),
        "How many records of a partition a share group may have in delivery.",
    ),
    row(
        "share.record.lock.duration.ms",
        Kind::Int(1000, INT),
        "30000",
        Some("group.share.record.lock.duration.ms"),
        "How long a record stays with the member of a share group that took it.",
    ),
    row(
        "share.renew.acknowledge.enable",
        Kind::Boolean,
        "true",
        None,
        "Whether members of a share group may prolong the time that a record stays with them.",
    ),
    row(
        "share.session.timeout.ms",
        Kind::Int(1, INT),
        "45000",
        Some("group.share.session.timeout.ms"),
        "After what silence a member of a share group is taken out of it.",
    ),
    row(
        "streams.assignment.interval.ms",
        Kind::Int(0, INT),
        "1000",
        Some("group.streams.assignment.interval.ms"),
        "How long at least lies between two assignments of a streams group.",
    ),
    row(
        "streams.heartbeat.interval.ms",
        Kind::Int(1, INT),
        "5000",
        Some("group.streams.heartbeat.interval.ms"),
        "How often the members of a streams group send heartbeats.",
    ),
    row(
        "streams.initial.rebalance.delay.ms",
        Kind::Int(0, INT),
        "3000",
        Some("group.streams.initial.rebalance.delay.ms"),
        "How long a new streams group waits for more members.",
    ),
    row(
        "streams.num.standby.replicas",
        Kind::Int(0, INT),
        "0",
        Some("group.streams.num.standby.replicas"),
        "How many standby copies a streams group keeps of each state.",
    ),
    row(
        "streams.session.timeout.ms",
        Kind::Int(1, INT),
        "45000",
        Some("group.streams.session.timeout.ms"),
        "After what silence a member of a streams group is taken out of it.",
    ),
];

const fn row(name: &'static str, kind: Kind, default: &'static str, synonym: Option<&'static str>, doc: &'static str) -> Row {
    Row { name, kind, default: Some(default), scope: Scope::Group, synonym, doc }
}
