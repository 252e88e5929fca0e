//! Kafka's keys about controllers and the metadata log that change nothing in klamm.

use model::config::{Kind, Row};

use super::super::{INT, INT_LOW, LONG, LONG_LOW, fixed};
use super::unused;

pub(super) const ROWS: &[Row] = &[
    fixed(
        "controller.quorum.append.linger.ms",
        Kind::Int(0, INT),
        Some("25"),
        unused!("How long the metadata log gathers records before it writes them."),
    ),
    fixed(
        "controller.quorum.election.backoff.max.ms",
        Kind::Int(0, INT),
        Some("1000"),
        unused!("The longest random pause before a voter of the metadata quorum calls the next election."),
    ),
    fixed(
        "controller.quorum.election.timeout.ms",
        Kind::Int(0, INT),
        Some("1000"),
        unused!("How long a voter of the metadata quorum waits for votes before it calls the next election."),
    ),
    fixed(
        "controller.quorum.fetch.max.bytes",
        Kind::Int(1, INT),
        Some("1048576"),
        unused!("The most bytes of the metadata log that one answer to a replica of it holds."),
    ),
    fixed(
        "controller.quorum.fetch.snapshot.max.bytes",
        Kind::Int(1, INT),
        Some("1048576"),
        unused!("The most bytes of a snapshot of the metadata that one answer to a replica of it holds."),
    ),
    fixed(
        "controller.quorum.fetch.timeout.ms",
        Kind::Int(0, INT),
        Some("2000"),
        unused!("After what time without its leader a voter of the metadata quorum calls an election."),
    ),
    fixed(
        "controller.quorum.request.timeout.ms",
        Kind::Int(0, INT),
        Some("2000"),
        unused!("How long a voter of the metadata quorum waits for an answer."),
    ),
    fixed(
        "controller.quorum.retry.backoff.ms",
        Kind::Int(0, INT),
        Some("20"),
        unused!("The pause before a voter of the metadata quorum repeats a request."),
    ),
    fixed(
        "controller.socket.timeout.ms",
        Kind::Int(INT_LOW, INT),
        Some("30000"),
        unused!("How long the connection between a broker and the controller may stay without an answer."),
    ),
    fixed(
        "initial.broker.registration.timeout.ms",
        Kind::Int(INT_LOW, INT),
        Some("60000"),
        unused!("How long a starting broker tries to register before it gives up."),
    ),
    fixed(
        "metadata.log.dir",
        Kind::Text,
        None,
        unused!("The directory of the metadata log, if it is not the first of the data directories."),
    ),
    fixed(
        "metadata.log.max.record.bytes.between.snapshots",
        Kind::Long(1, LONG),
        Some("20971520"),
        unused!("After how many bytes of the metadata log the next snapshot is made."),
    ),
    fixed(
        "metadata.log.max.snapshot.interval.ms",
        Kind::Long(0, LONG),
        Some("3600000"),
        unused!("After what time the next snapshot of the metadata is made; 0 is never."),
    ),
    fixed(
        "metadata.log.segment.bytes",
        Kind::Int(8_388_608, INT),
        Some("1073741824"),
        unused!("How large a segment of the metadata log becomes before the next one begins."),
    ),
    fixed(
        "metadata.log.segment.ms",
        Kind::Long(LONG_LOW, LONG),
        Some("604800000"),
        unused!("After what time the next segment of the metadata log begins."),
    ),
    fixed(
        "metadata.max.idle.interval.ms",
        Kind::Int(0, INT),
        Some("500"),
        unused!("How often the controller writes a record without content when nothing changes; 0 is never."),
    ),
    fixed(
        "metadata.max.retention.bytes",
        Kind::Long(LONG_LOW, LONG),
        Some("104857600"),
        unused!("How many bytes of metadata log and snapshots are kept."),
    ),
    fixed(
        "metadata.max.retention.ms",
        Kind::Long(LONG_LOW, LONG),
        Some("604800000"),
        unused!("How long the metadata log and snapshots are kept."),
    ),
];
