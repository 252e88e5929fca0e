//! Over what span client quotas are taken.

use model::config::{Kind, Row};

use super::{INT, fixed};

pub(super) const ROWS: &[Row] = &[
    fixed("quota.window.num", Kind::Int(1, INT), Some("11"), "The samples that are kept to measure client quotas."),
    fixed("quota.window.size.seconds", Kind::Int(1, INT), Some("1"), "The length of each sample of client quotas, in seconds."),
    fixed(
        "controller.quota.window.num",
        Kind::Int(1, INT),
        Some("11"),
        "The samples that are kept to measure quotas on changes of partitions.",
    ),
    fixed(
        "controller.quota.window.size.seconds",
        Kind::Int(1, INT),
        Some("1"),
        "The length of each sample of quotas on changes of partitions, in seconds.",
    ),
];
