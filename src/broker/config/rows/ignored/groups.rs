//! Kafka's keys about groups of KIP-848 and KIP-1071 that change nothing in klamm.

use model::config::{Kind, Row};

use super::super::{INT, INT_LOW, dynamic, fixed};
use super::unused;

pub(super) const ROWS: &[Row] = &[
    dynamic(
        "group.consumer.assignment.interval.ms",
        Kind::Int(0, INT),
        Some("1000"),
        unused!("How long at least lies between two assignments of a consumer group."),
    ),
    fixed(
        "group.consumer.assignors",
        Kind::List(&[]),
        Some("uniform,range"),
        unused!("The assignors of consumer groups, of which the first is the default."),
    ),
    fixed(
        "group.consumer.heartbeat.interval.ms",
        Kind::Int(1, INT),
        Some("5000"),
        unused!("How often the members of a consumer group send heartbeats."),
    ),
    fixed(
        "group.consumer.max.assignment.interval.ms",
        Kind::Int(0, INT),
        Some("15000"),
        unused!("The longest time between assignments that may be set for a consumer group."),
    ),
    fixed(
        "group.consumer.max.heartbeat.interval.ms",
        Kind::Int(1, INT),
        Some("15000"),
        unused!("The longest heartbeat interval that may be set for a consumer group."),
    ),
    fixed(
        "group.consumer.max.session.timeout.ms",
        Kind::Int(1, INT),
        Some("60000"),
        unused!("The longest session timeout that may be set for a consumer group."),
    ),
    fixed("group.consumer.max.size", Kind::Int(1, INT), Some("2147483647"), unused!("The largest number of members of a consumer group.")),
    fixed(
        "group.consumer.migration.policy",
        Kind::OneOfAnyCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]),
        Some("bidirectional"),
        unused!("Which groups change between the classic and the consumer protocol while they are in use."),
    ),
    fixed(
        "group.consumer.min.assignment.interval.ms",
        Kind::Int(0, INT),
        Some("0"),
        unused!("The shortest time between assignments that may be set for a consumer group."),
    ),
    fixed(
        "group.consumer.min.heartbeat.interval.ms",
        Kind::Int(1, INT),
        Some("5000"),
        unused!("The shortest heartbeat interval that may be set for a consumer group."),
    ),
    fixed(
        "group.consumer.min.session.timeout.ms",
        Kind::Int(1, INT),
        Some("45000"),
        unused!("The shortest session timeout that may be set for a consumer group."),
    ),
    fixed(
        "group.consumer.session.timeout.ms",
        Kind::Int(1, INT),
        Some("45000"),
        unused!("After what silence a member of a consumer group is taken out of it."),
    ),
    fixed(
        "group.coordinator.append.linger.ms",
        Kind::Int(-1, INT),
        Some("-1"),
        unused!("How long the group coordinator gathers records before it writes them; -1 decides by the load."),
    ),
    fixed(
        "group.coordinator.background.threads",
        Kind::Int(1, INT),
        Some("2"),
        unused!("The threads that compute the assignments of groups."),
    ),
    dynamic(
        "group.coordinator.cached.buffer.max.bytes",
        Kind::Int(524_288, INT),
        Some("1048588"),
        unused!("The largest buffer that the group coordinator keeps for its next write."),
    ),
    fixed(
        "group.coordinator.rebalance.protocols",
        Kind::List(&["consumer", "classic", "share", "streams"]),
        Some("classic,consumer,streams"),
        unused!("The group protocols that clients may use."),
    ),
    fixed("group.coordinator.threads", Kind::Int(1, INT), Some("4"), unused!("The threads of the group coordinator.")),
    dynamic(
        "group.streams.assignment.interval.ms",
        Kind::Int(0, INT),
        Some("1000"),
        unused!("How long at least lies between two assignments of a streams group."),
    ),
    fixed(
        "group.streams.heartbeat.interval.ms",
        Kind::Int(1, INT),
        Some("5000"),
        unused!("How often the members of a streams group send heartbeats."),
    ),
    fixed(
        "group.streams.initial.rebalance.delay.ms",
        Kind::Int(0, INT),
        Some("3000"),
        unused!("How long a new streams group waits for further members before its first assignment."),
    ),
    fixed(
        "group.streams.max.assignment.interval.ms",
        Kind::Int(0, INT),
        Some("15000"),
        unused!("The longest time between assignments that may be set for a streams group."),
    ),
    fixed(
        "group.streams.max.heartbeat.interval.ms",
        Kind::Int(1, INT),
        Some("15000"),
        unused!("The longest heartbeat interval that may be set for a streams group."),
    ),
    fixed(
        "group.streams.max.session.timeout.ms",
        Kind::Int(1, INT),
        Some("60000"),
        unused!("The longest session timeout that may be set for a streams group."),
    ),
    fixed("group.streams.max.size", Kind::Int(1, INT), Some("2147483647"), unused!("The largest number of members of a streams group.")),
    fixed(
        "group.streams.max.standby.replicas",
        Kind::Int(0, INT),
        Some("2"),
        unused!("The most standby copies that may be set for a streams group."),
    ),
    fixed(
        "group.streams.min.assignment.interval.ms",
        Kind::Int(0, INT),
        Some("0"),
        unused!("The shortest time between assignments that may be set for a streams group."),
    ),
    fixed(
        "group.streams.min.heartbeat.interval.ms",
        Kind::Int(1, INT),
        Some("5000"),
        unused!("The shortest heartbeat interval that may be set for a streams group."),
    ),
    fixed(
        "group.streams.min.session.timeout.ms",
        Kind::Int(1, INT),
        Some("45000"),
        unused!("The shortest session timeout that may be set for a streams group."),
    ),
    fixed(
        "group.streams.num.standby.replicas",
        Kind::Int(0, INT),
        Some("0"),
        unused!("The standby copies that a streams group keeps of each state."),
    ),
    fixed(
        "group.streams.session.timeout.ms",
        Kind::Int(1, INT),
        Some("45000"),
        unused!("After what silence a member of a streams group is taken out of it."),
    ),
    fixed(
        "offsets.load.buffer.size",
        Kind::Int(1, INT),
        Some("5242880"),
        unused!("How many bytes of committed offsets are read at once when a coordinator takes over."),
    ),
    fixed(
        "offsets.topic.compression.codec",
        Kind::Int(INT_LOW, INT),
        Some("0"),
        unused!("The codec of the topic of committed offsets, by its number."),
    ),
];
