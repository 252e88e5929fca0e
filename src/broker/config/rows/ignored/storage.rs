//! Kafka's keys about logs and their replication that change nothing in klamm.

use model::config::{Kind, Row};

use super::super::{INT, INT_LOW, LONG, LONG_LOW, dynamic, fixed, of_one_broker};
use super::unused;

pub(super) const ROWS: &[Row] = &[
    fixed(
        "alter.log.dirs.replication.quota.window.num",
        Kind::Int(1, INT),
        Some("11"),
        unused!("The samples that are kept to measure the copying of replicas between directories."),
    ),
    fixed(
        "alter.log.dirs.replication.quota.window.size.seconds",
        Kind::Int(1, INT),
        Some("1"),
        unused!("The length of each sample of the copying of replicas between directories, in seconds."),
    ),
    of_one_broker("cordoned.log.dirs", Kind::List(&[]), Some(""), unused!("The data directories that get no new partitions.")),
    dynamic(
        "log.cleaner.io.buffer.size",
        Kind::Int(0, INT),
        Some("524288"),
        unused!("The memory of all cleaner threads for reading and writing."),
    ),
    fixed(
        "log.dir.failure.timeout.ms",
        Kind::Long(1, LONG),
        Some("30000"),
        unused!("How long a broker whose directory failed may stay up if the controller cannot be told."),
    ),
    fixed(
        "log.flush.offset.checkpoint.interval.ms",
        Kind::Int(0, INT),
        Some("60000"),
        unused!("How often it is written down up to where logs were forced to disk."),
    ),
    fixed(
        "log.flush.start.offset.checkpoint.interval.ms",
        Kind::Int(0, INT),
        Some("60000"),
        unused!("How often the start offsets of logs are written down."),
    ),
    dynamic(
        "num.recovery.threads.per.data.dir",
        Kind::Int(1, INT),
        Some("2"),
        unused!("The threads of each data directory that recover logs at the start and close them at the end."),
    ),
    fixed(
        "num.replica.alter.log.dirs.threads",
        Kind::Int(INT_LOW, INT),
        None,
        unused!("The threads that move replicas between data directories."),
    ),
    dynamic("num.replica.fetchers", Kind::Int(1, INT), Some("1"), unused!("The threads that fetch from each other broker.")),
    fixed(
        "replica.high.watermark.checkpoint.interval.ms",
        Kind::Long(LONG_LOW, LONG),
        Some("5000"),
        unused!("How often high watermarks are written down."),
    ),
    fixed(
        "replica.socket.receive.buffer.bytes",
        Kind::Int(INT_LOW, INT),
        Some("65536"),
        unused!("The receive buffer of a follower's socket."),
    ),
    fixed(
        "replication.quota.window.num",
        Kind::Int(1, INT),
        Some("11"),
        unused!("The samples that are kept to measure throttled replication."),
    ),
    fixed(
        "replication.quota.window.size.seconds",
        Kind::Int(1, INT),
        Some("1"),
        unused!("The length of each sample of throttled replication, in seconds."),
    ),
];
