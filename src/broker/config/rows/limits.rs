//! What requests may take.

use model::config::{Kind, Row};

use super::{INT, LONG, fixed};

pub(super) const ROWS: &[Row] = &[
    fixed(
        "queued.max.request.bytes",
        Kind::Long(-1, LONG),
        Some("-1"),
        "The bytes that all requests in flight may hold together; -1 derives it from the memory that the process may use.",
    ),
    fixed(
        "fetch.max.bytes",
        Kind::Int(1024, INT),
        Some("57671680"),
        "The most bytes of records that one answer to a fetch holds, whatever the client asks for.",
    ),
    fixed(
        "max.incremental.fetch.session.cache.slots",
        Kind::Int(0, INT),
        Some("1000"),
        "The incremental fetch sessions that are remembered at once.",
    ),
    fixed(
        "max.request.partition.size.limit",
        Kind::Int(1, INT),
        Some("2000"),
        "The most partitions that one answer to DescribeTopicPartitions lists.",
    ),
];
