//! Kafka's keys that change nothing in klamm: they are kept, checked and shown as Kafka does, and warned of, so that a file written for Kafka is
//! told apart from a misspelt one.

mod groups;
mod other;
mod quorum;
mod remote;
mod sasl;
mod share;
mod ssl;
mod storage;

use metadata::configs::limit_of_listener;
use model::config::Row;

/// The sentence of a key, and that it is of no use here.
macro_rules! unused {
    ($meaning:literal) => {
        concat!($meaning, " Nothing in klamm acts on it.")
    };
}
use unused;

/// What the sentence of each of these keys ends with.
pub const WITHOUT_EFFECT: &str = unused!("");

/// The public ones, as Apache Kafka 4.3 describes them.
const TABLES: &[&[Row]] = &[groups::ROWS, other::ROWS, quorum::ROWS, remote::ROWS, sasl::ROWS, share::ROWS, ssl::ROWS, storage::ROWS];

/// The ones that Kafka does not describe, and those whose rows stand with related keys, by name.
const NAMES: &[&str] = &[
    "controlled.shutdown.enable",
    "controller.performance.always.log.threshold.ms",
    "controller.performance.sample.period.ms",
    "group.consumer.regex.refresh.interval.ms",
    "group.share.initialize.retry.interval.ms",
    "group.share.persister.class.name",
    "internal.metadata.delete.delay.millis",
    "internal.metadata.log.segment.bytes",
    "internal.metadata.max.batch.size.in.bytes",
    "log.flush.scheduler.interval.ms",
    "log.index.interval.bytes",
    "log.index.size.max.bytes",
    "log.local.retention.bytes",
    "log.local.retention.ms",
    "log.preallocate",
    "producer.id.expiration.check.interval.ms",
    "remote.log.index.file.cache.ttl.ms",
    "remote.log.manager.task.retry.backoff.max.ms",
    "remote.log.manager.task.retry.backoff.ms",
    "remote.log.manager.task.retry.jitter",
    "request.timeout.ms",
    "server.max.startup.time.ms",
    "share.coordinator.cold.partition.snapshot.interval.ms",
    "share.coordinator.state.topic.prune.interval.ms",
    "unclean.leader.election.interval.ms",
    "unstable.api.versions.enable",
    "unstable.feature.versions.enable",
];

/// Kafka's families of keys whose ends are free.
const PREFIXES: &[&str] = &["listener.name.", "config.providers.", "rlmm.config.", "rsm.config."];

/// The rows of the public ones.
pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    TABLES.iter().copied().flatten()
}

/// Whether Kafka knows the key and klamm has no use for it.
#[must_use]
pub fn is_without_effect(key: &str) -> bool {
    TABLES.iter().any(|rows| rows.binary_search_by(|row| row.name.cmp(key)).is_ok())
        || NAMES.binary_search(&key).is_ok()
        || (PREFIXES.iter().any(|prefix| key.starts_with(prefix)) && limit_of_listener(key).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        assert!(NAMES.is_sorted_by(|left, right| left < right));
        assert!(TABLES.iter().all(|rows| rows.is_sorted_by(|left, right| left.name < right.name)));
        assert!(is_without_effect("num.network.threads"));
        assert!(is_without_effect("listener.name.internal.ssl.keystore.location"));
        assert!(!is_without_effect("listener.name.internal.max.connections"));
        assert!(!is_without_effect("num.netwrok.threads"));
    }
}
