//! Values of configurations: checked with Kafka's words, and in Kafka's canonical form.

use std::collections::BTreeMap;

use model::config::{InvalidValue, Kind, Row};
use thiserror::Error;

use super::rows::topic_row;

/// Kafka's bound on the length of one value.
const MAX_VALUE_BYTES: usize = 32_767;

/// Why configurations are refused. Its text is what the client sees, beside INVALID_CONFIG.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum InvalidConfig {
    /// No topic configuration has this name.
    #[error("Unknown topic config name: {0}")]
    UnknownTopicKey(String),
    /// No group configuration has this name.
    #[error("Unknown group config name: {0}")]
    UnknownGroupKey(String),
    /// The value does not fit the row.
    #[error(transparent)]
    Value(#[from] InvalidValue),
    /// The value is longer than the log of metadata takes.
    #[error("The configuration value cannot be added because it exceeds the maximum value size of {MAX_VALUE_BYTES} bytes.")]
    TooLong,
    /// Two lags contradict each other.
    #[error("conflict topic config setting min.compaction.lag.ms ({min_ms}) > max.compaction.lag.ms ({max_ms})")]
    CompactionLags {
        /// The lower bound.
        min_ms: i64,
        /// The upper bound.
        max_ms: i64,
    },
    /// There is no remote storage.
    #[error("Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.")]
    NoRemoteStorage,
    /// The operation needs a list.
    #[error("Can't {operation} to key {key} because its type is not LIST.")]
    NotAList {
        /// APPEND or SUBTRACT.
        operation: &'static str,
        /// The key.
        key: String,
    },
    /// A value is missing where one must be.
    #[error("Null value not supported for topic configs: {0}")]
    NullValues(String),
}

/// Checks a value against its row, with Kafka's words.
///
/// # Errors
/// Names the key, the value and what is allowed.
pub fn check(row: &Row, value: &str) -> Result<(), InvalidValue> {
    let refuse = |reason: String| Err(InvalidValue { name: row.name.to_owned(), value: value.to_owned(), reason });
    let trimmed = value.trim();
    match row.kind {
        Kind::Short(..) if trimmed.parse::<i16>().is_err() => refuse("Not a number of type SHORT".to_owned()),
        Kind::Int(..) if trimmed.parse::<i32>().is_err() => refuse("Not a number of type INT".to_owned()),
        Kind::Long(..) if trimmed.parse::<i64>().is_err() => refuse("Not a number of type LONG".to_owned()),
        Kind::Double(..) if trimmed.parse::<f64>().is_err() => refuse("Not a number of type DOUBLE".to_owned()),
        Kind::Int(..) if row.name == "compression.gzip.level" && !matches!(trimmed.parse::<i32>(), Ok(-1 | 1..=9)) => {
            refuse("Value must be between 1 and 9 or equal to -1".to_owned())
        }
        Kind::List([]) if row.name.ends_with(".replication.throttled.replicas") && !is_replica_list(trimmed) => refuse(format!(
            "{} must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
            row.name
        )),
        // The lists of throttled replicas, which were checked above, may have empty words.
        Kind::List(_) if !row.name.ends_with(".replication.throttled.replicas") && has_empty_word(trimmed) => {
            refuse("Values must not be empty strings".to_owned())
        }
        _ => row.check(value),
    }
}

fn has_empty_word(list: &str) -> bool {
    !list.is_empty() && list.split(',').any(|word| word.trim().is_empty())
}

fn is_replica_list(value: &str) -> bool {
    let is_pair = |word: &str| {
        word.split_once(':').is_some_and(|(partition, broker)| {
            [partition, broker].iter().all(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    value.is_empty() || value == "*" || value.split(',').all(|word| is_pair(word.trim()))
}

/// A value as Kafka prints it after parsing: lists without blanks and duplicates, numbers without blanks, booleans in lower case.
#[must_use]
pub fn canonical(row: &Row, value: &str) -> String {
    let trimmed = value.trim();
    match row.kind {
        Kind::Boolean => trimmed.to_ascii_lowercase(),
        Kind::Short(..) | Kind::Int(..) | Kind::Long(..) => {
            trimmed.parse::<i64>().map_or_else(|_| trimmed.to_owned(), |number| number.to_string())
        }
        Kind::Double(..) => trimmed.parse::<f64>().map_or_else(|_| trimmed.to_owned(), |number| format!("{number:?}")),
        Kind::List(_) => split_list(trimmed).join(","),
        Kind::OneOf(_) | Kind::OneOfAnyCase(_) => trimmed.to_owned(),
        Kind::Text | Kind::NonEmptyText | Kind::Class | Kind::Password => trimmed.to_owned(),
    }
}

/// The words of a list, each once, in order.
pub(crate) fn split_list(value: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// Checks all values that a topic would have set, one by one and together. `effective` gives the value of a key that is not among them.
///
/// # Errors
/// The first thing that does not fit.
pub fn check_topic_values(values: &BTreeMap<String, String>, effective: impl Fn(&'static str) -> String) -> Result<(), InvalidConfig> {
    for name in values.keys() {
        topic_row(name).ok_or_else(|| InvalidConfig::UnknownTopicKey(name.clone()))?;
    }
    for (name, value) in values {
        if value.len() > MAX_VALUE_BYTES {
            return Err(InvalidConfig::TooLong);
        }
        if let Some(row) = topic_row(name) {
            check(row, value)?;
        }
    }
    let value_of = |name: &'static str| values.get(name).cloned().unwrap_or_else(|| effective(name));
    let lag = |name: &'static str, otherwise: i64| value_of(name).trim().parse::<i64>().unwrap_or(otherwise);
    let (min_ms, max_ms) = (lag("min.compaction.lag.ms", 0), lag("max.compaction.lag.ms", i64::MAX));
    if min_ms > max_ms {
        return Err(InvalidConfig::CompactionLags { min_ms, max_ms });
    }
    if value_of("remote.storage.enable").trim().eq_ignore_ascii_case("true") {
        return Err(InvalidConfig::NoRemoteStorage);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::rows::TOPIC_ROWS;
    use super::*;

    fn refusal(name: &str, value: &str) -> String {
        let values = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let default = |key: &str| TOPIC_ROWS.iter().find(|row| row.name == key).and_then(|row| row.default).unwrap_or_default().to_owned();
        check_topic_values(&values, default).err().map(|error| error.to_string()).unwrap_or_default()
    }

    // What `LogConfig.validate` of Apache Kafka 4.3.1 answers, value by value.
    #[test]
    fn values_are_refused_with_kafkas_words() {
        let invalid = |key: &str, value: &str, reason: &str| {
            assert_eq!(refusal(key, value), format!("Invalid value {value} for configuration {key}: {reason}"));
        };
        invalid("segment.bytes", "x", "Not a number of type INT");
        invalid("segment.bytes", "10", "Value must be at least 1048576");
        invalid("retention.ms", "-5", "Value must be at least -1");
        invalid("cleanup.policy", "foo", "String must be one of: compact, delete");
        invalid("compression.type", "foo", "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer");
        invalid("unclean.leader.election.enable", "maybe", "Expected value to be either true or false");
        invalid("min.cleanable.dirty.ratio", "x", "Not a number of type DOUBLE");
        invalid("compression.gzip.level", "0", "Value must be between 1 and 9 or equal to -1");
        invalid("compression.zstd.level", "99", "Value must be no more than 22");
        invalid("max.message.bytes", "99999999999", "Not a number of type INT");
        invalid("retention.ms", "", "Not a number of type LONG");
        assert_eq!(refusal("nosuch", "1"), "Unknown topic config name: nosuch");
        assert!(refusal("remote.storage.enable", "true").starts_with("Tiered Storage functionality is disabled"));
        assert!(refusal("leader.replication.throttled.replicas", "x").contains("must be the literal '*'"));
    }

    #[test]
    fn values_that_kafka_takes_are_taken() {
        for (key, value) in [
            ("cleanup.policy", ""),
            ("cleanup.policy", "compact,compact"),
            ("leader.replication.throttled.replicas", "1:2"),
            ("leader.replication.throttled.replicas", "*"),
            ("retention.bytes", "-7"),
            ("unclean.leader.election.enable", "TRUE "),
            ("segment.bytes", " 1048576 "),
            ("min.compaction.lag.ms", "9223372036854775807"),
        ] {
            assert_eq!(refusal(key, value), "", "{key}={value}");
        }
    }

    #[test]
    fn values_are_printed_as_kafka_prints_them() {
        let print = |key: &str, value: &str| canonical(topic_row(key).expect("a topic key"), value);
        assert_eq!(print("cleanup.policy", "compact, delete,compact"), "compact,delete");
        assert_eq!(print("segment.bytes", " 1048576 "), "1048576");
        assert_eq!(print("preallocate", "TRUE "), "true");
        assert_eq!(print("min.cleanable.dirty.ratio", "1"), "1.0");
    }

    #[test]
    fn a_minimum_lag_above_the_maximum_is_refused() {
        let values = BTreeMap::from([("min.compaction.lag.ms".to_owned(), "10".to_owned())]);
        let refused = check_topic_values(&values, |key| if key == "max.compaction.lag.ms" { "5".to_owned() } else { String::new() });
        assert_eq!(refused, Err(InvalidConfig::CompactionLags { min_ms: 10, max_ms: 5 }));
    }
}
