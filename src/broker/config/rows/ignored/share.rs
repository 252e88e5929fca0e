//! Kafka's keys about share groups that change nothing in klamm.

use model::config::{Kind, Row};

use super::super::{INT, INT_LOW, dynamic, fixed};
use super::unused;

pub(super) const ROWS: &[Row] = &[
    dynamic(
        "group.share.assignment.interval.ms",
        Kind::Int(0, INT),
        Some("1000"),
        unused!("How long at least lies between two assignments of a share group."),
    ),
    fixed("group.share.assignors", Kind::List(&[]), Some("simple"), unused!("The assignors of share groups.")),
    fixed(
        "group.share.delivery.count.limit",
        Kind::Int(2, 10),
        Some("5"),
        unused!("How often a record is given to members of a share group before it counts as unprocessable."),
    ),
    fixed(
        "group.share.heartbeat.interval.ms",
        Kind::Int(1, INT),
        Some("5000"),
        unused!("How often the members of a share group send heartbeats."),
    ),
    fixed(
        "group.share.max.assignment.interval.ms",
        Kind::Int(0, INT),
        Some("15000"),
        unused!("The longest time between assignments that may be set for a share group."),
    ),
    fixed(
        "group.share.max.delivery.count.limit",
        Kind::Int(5, 25),
        Some("10"),
        unused!("The highest limit of deliveries that may be set for a share group."),
    ),
    fixed(
        "group.share.max.heartbeat.interval.ms",
        Kind::Int(1, INT),
        Some("15000"),
        unused!("The longest heartbeat interval that may be set for a share group."),
    ),
    fixed(
        "group.share.max.partition.max.record.locks",
        Kind::Int(2000, 10_000),
        Some("4000"),
        unused!("The highest number of locked records that may be set for a share group."),
    ),
    fixed(
        "group.share.max.record.lock.duration.ms",
        Kind::Int(30_000, 3_600_000),
        Some("60000"),
        unused!("The longest lock of a record that may be set for a share group."),
    ),
    fixed(
        "group.share.max.session.timeout.ms",
        Kind::Int(1, INT),
        Some("60000"),
        unused!("The longest session timeout that may be set for a share group."),
    ),
    fixed("group.share.max.share.sessions", Kind::Int(1, INT), Some("2000"), unused!("The most share sessions of a broker.")),
    fixed("group.share.max.size", Kind::Int(1, 1000), Some("200"), unused!("The largest number of members of a share group.")),
    fixed(
        "group.share.min.assignment.interval.ms",
        Kind::Int(0, INT),
        Some("0"),
        unused!("The shortest time between assignments that may be set for a share group."),
    ),
    fixed(
        "group.share.min.delivery.count.limit",
        Kind::Int(2, 5),
        Some("2"),
        unused!("The lowest limit of deliveries that may be set for a share group."),
    ),
    fixed(
        "group.share.min.heartbeat.interval.ms",
        Kind::Int(1, INT),
        Some("5000"),
        unused!("The shortest heartbeat interval that may be set for a share group."),
    ),
    fixed(
        "group.share.min.partition.max.record.locks",
        Kind::Int(100, 2000),
        Some("100"),
        unused!("The lowest number of locked records that may be set for a share group."),
    ),
    fixed(
        "group.share.min.record.lock.duration.ms",
        Kind::Int(1000, 30_000),
        Some("15000"),
        unused!("The shortest lock of a record that may be set for a share group."),
    ),
    fixed(
        "group.share.min.session.timeout.ms",
        Kind::Int(1, INT),
        Some("45000"),
        unused!("The shortest session timeout that may be set for a share group."),
    ),
    fixed(
        "group.share.partition.max.record.locks",
        Kind::Int(100, 10_000),
        Some("2000"),
        unused!("The most records of a partition that a share group's members hold at once."),
    ),
    fixed(
        "group.share.record.lock.duration.ms",
        Kind::Int(1000, 3_600_000),
        Some("30000"),
        unused!("How long a record belongs to the member of a share group that got it."),
    ),
    fixed(
        "group.share.session.timeout.ms",
        Kind::Int(1, INT),
        Some("45000"),
        unused!("After what silence a member of a share group is taken out of it."),
    ),
    fixed(
        "share.coordinator.append.linger.ms",
        Kind::Int(-1, INT),
        Some("-1"),
        unused!("How long the share coordinator gathers records before it writes them; -1 decides by the load."),
    ),
    dynamic(
        "share.coordinator.cached.buffer.max.bytes",
        Kind::Int(524_288, INT),
        Some("1048588"),
        unused!("The largest buffer that the share coordinator keeps for its next write."),
    ),
    fixed(
        "share.coordinator.load.buffer.size",
        Kind::Int(1, INT),
        Some("5242880"),
        unused!("How many bytes of share groups' state are read at once when a coordinator takes over."),
    ),
    fixed(
        "share.coordinator.snapshot.update.records.per.snapshot",
        Kind::Int(0, 500),
        Some("500"),
        unused!("How many changes of a share group's state are written between two whole ones."),
    ),
    fixed(
        "share.coordinator.state.topic.compression.codec",
        Kind::Int(INT_LOW, INT),
        Some("0"),
        unused!("The codec of the topic of share groups, by its number."),
    ),
    fixed(
        "share.coordinator.state.topic.segment.bytes",
        Kind::Int(1, INT),
        Some("104857600"),
        unused!("The size of a segment of the topic of share groups."),
    ),
    fixed("share.coordinator.threads", Kind::Int(1, INT), Some("1"), unused!("The threads of the share coordinator.")),
    fixed(
        "share.coordinator.write.timeout.ms",
        Kind::Int(1, INT),
        Some("5000"),
        unused!("How long a write of the share coordinator may wait for the replicas."),
    ),
    fixed(
        "share.fetch.purgatory.purge.interval.requests",
        Kind::Int(INT_LOW, INT),
        Some("1000"),
        unused!("After how many finished requests the waiting share fetches are tidied up."),
    ),
];
