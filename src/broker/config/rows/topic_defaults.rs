//! The broker's defaults for topics that come in several units. A smaller unit beats a larger one.

use model::config::{Kind, Row};

use super::{INT, INT_LOW, LONG, LONG_LOW, dynamic, fixed};

pub(super) const ROWS: &[Row] = &[
    dynamic(
        "log.retention.ms",
        Kind::Long(-1, LONG),
        None,
        "How long records are kept; -1 is for ever. It beats log.retention.minutes and log.retention.hours.",
    ),
    fixed(
        "log.retention.minutes",
        Kind::Int(INT_LOW, INT),
        None,
        "How long records are kept, in minutes, if log.retention.ms is not given.",
    ),
    fixed(
        "log.retention.hours",
        Kind::Int(INT_LOW, INT),
        Some("168"),
        "How long records are kept, in hours, if neither milliseconds nor minutes are given.",
    ),
    dynamic(
        "log.roll.ms",
        Kind::Long(1, LONG),
        None,
        "After what time the next segment begins though the current one is not full. It beats log.roll.hours.",
    ),
    fixed(
        "log.roll.hours",
        Kind::Int(1, INT),
        Some("168"),
        "After what time the next segment begins, in hours, if log.roll.ms is not given.",
    ),
    dynamic(
        "log.roll.jitter.ms",
        Kind::Long(0, LONG),
        None,
        "By how much a segment's time is shortened at random. It beats log.roll.jitter.hours.",
    ),
    fixed(
        "log.roll.jitter.hours",
        Kind::Int(0, INT),
        Some("0"),
        "By how much a segment's time is shortened at random, in hours, if log.roll.jitter.ms is not given.",
    ),
    dynamic(
        "log.flush.interval.ms",
        Kind::Long(LONG_LOW, LONG),
        None,
        "How long records may wait for the disk; if it is not given, log.flush.scheduler.interval.ms holds.",
    ),
    fixed(
        "log.flush.scheduler.interval.ms",
        Kind::Long(LONG_LOW, LONG),
        Some("9223372036854775807"),
        "How often Kafka looks for records that have waited too long for the disk. Nothing in klamm acts on it.",
    ),
];
