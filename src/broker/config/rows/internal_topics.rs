//! The topics in which coordinators keep their state, and transactions.

use model::config::{Kind, Row};

use super::{INT, SHORT, dynamic, fixed};

pub(super) const ROWS: &[Row] = &[
    fixed(
        "offsets.topic.num.partitions",
        Kind::Int(1, INT),
        Some("50"),
        "The partitions of the topic of committed offsets; fixed once it exists.",
    ),
    fixed("offsets.topic.replication.factor", Kind::Short(1, SHORT), Some("3"), "The replicas of the topic of committed offsets."),
    fixed("offsets.topic.segment.bytes", Kind::Int(1, INT), Some("104857600"), "The size of a segment of the topic of committed offsets."),
    fixed("offsets.commit.timeout.ms", Kind::Int(1, INT), Some("5000"), "How long a commit of offsets may wait for the replicas."),
    fixed("transaction.state.log.num.partitions", Kind::Int(1, INT), Some("50"), "The partitions of the topic of transactions."),
    fixed("transaction.state.log.replication.factor", Kind::Short(1, SHORT), Some("3"), "The replicas of the topic of transactions."),
    fixed("transaction.state.log.min.isr", Kind::Int(1, INT), Some("2"), "The in-sync replicas that the topic of transactions needs."),
    fixed(
        "transaction.state.log.segment.bytes",
        Kind::Int(1, INT),
        Some("104857600"),
        "The size of a segment of the topic of transactions.",
    ),
    fixed("transaction.max.timeout.ms", Kind::Int(1, INT), Some("900000"), "The longest transaction that a producer may ask for."),
    fixed("transactional.id.expiration.ms", Kind::Int(1, INT), Some("604800000"), "How long an unused transactional id is remembered."),
    fixed(
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        Kind::Int(1, INT),
        Some("3600000"),
        "How often transactional ids that were unused for too long are forgotten.",
    ),
    fixed(
        "add.partitions.to.txn.retry.backoff.ms",
        Kind::Int(1, INT),
        Some("20"),
        "The longest pause between attempts to add a partition to a transaction while the one before is being ended; the first is 1 ms.",
    ),
    fixed(
        "add.partitions.to.txn.retry.backoff.max.ms",
        Kind::Int(0, INT),
        Some("100"),
        "How long it is attempted to add a partition to a transaction while the one before is being ended, before the client is to ask again.",
    ),
    dynamic(
        "transaction.partition.verification.enable",
        Kind::Boolean,
        Some("true"),
        "Whether a transactional append is checked with its coordinator.",
    ),
    fixed(
        "share.coordinator.state.topic.num.partitions",
        Kind::Int(1, INT),
        Some("50"),
        "The partitions of the topic of share groups; accepted, klamm has no share groups yet.",
    ),
    fixed(
        "share.coordinator.state.topic.replication.factor",
        Kind::Short(1, SHORT),
        Some("3"),
        "The replicas of the topic of share groups; accepted, klamm has no share groups yet.",
    ),
    fixed(
        "share.coordinator.state.topic.min.isr",
        Kind::Short(1, SHORT),
        Some("2"),
        "The in-sync replicas that the topic of share groups needs; accepted, klamm has no share groups yet.",
    ),
];
