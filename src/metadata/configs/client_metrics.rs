//! The rows of subscriptions to client metrics (KIP-714, `ClientMetricsConfigs`). They are kept and shown; clients are never asked for metrics, as with
//! an Apache Kafka that has no plug-in to take them.

use std::collections::BTreeMap;

use model::config::{InvalidValue, Kind, Row, Scope};
use protocol::ErrorCode;

use super::java_pattern::is_java_pattern;
use super::values::{InvalidConfig, check, split_list};
use crate::controller::Refusal;

const INTERVAL_MS_MIN: i64 = 100;
const INTERVAL_MS_MAX: i64 = 3_600_000;

/// What of a client a pattern may be about.
const MATCHED: &[&str] =
    &["client_id", "client_instance_id", "client_software_name", "client_software_version", "client_source_address", "client_source_port"];

/// All rows, by name.
pub const CLIENT_METRICS_ROWS: &[Row] = &[
    row("interval.ms", Kind::Int(i32::MIN as i64, i32::MAX as i64), "300000", "How often a client that is chosen sends its metrics."),
    row("match", Kind::List(&[]), "", "Which clients are chosen, as name=pattern pairs that must all fit; all clients if there is none."),
    row("metrics", Kind::List(&[]), "", "The metrics that are wanted, by the beginnings of their names; * is all, nothing is none."),
];

const fn row(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Row {
    Row { name, kind, default: Some(default), scope: Scope::ClientMetrics, synonym: None, doc }
}

/// Checks all values that a subscription would have set.
///
/// # Errors
/// INVALID_REQUEST for an unknown key and an interval out of range, INVALID_CONFIG for all else, as Kafka.
pub(crate) fn check_client_metrics(values: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let row_of = |key: &str| CLIENT_METRICS_ROWS.iter().find(|row| row.name == key);
    if let Some(key) = values.keys().find(|key| row_of(key).is_none()) {
        return Err(Refusal::new(ErrorCode::InvalidRequest, format!("Unknown client metrics config name: {key}")));
    }
    for (key, value) in values {
        row_of(key).map_or(Ok(()), |row| check(row, value)).map_err(InvalidConfig::from)?;
    }
    let interval_ms = values.get("interval.ms").and_then(|value| value.trim().parse::<i64>().ok());
    if let Some(interval_ms) = interval_ms.filter(|ms| !(INTERVAL_MS_MIN..=INTERVAL_MS_MAX).contains(ms)) {
        let allowed = format!("Value must be between {INTERVAL_MS_MIN} and {INTERVAL_MS_MAX}");
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("Invalid value {interval_ms} for configuration interval.ms: {allowed}"),
        ));
    }
    for pair in values.get("match").into_iter().flat_map(|value| split_list(value)) {
        let well_formed = pair.split_once('=').is_some_and(|(name, pattern)| MATCHED.contains(&name.trim()) && is_pattern(pattern.trim()));
        if !well_formed {
            let reason = format!("A pattern is name=regular expression, where the name is one of: {}", MATCHED.join(", "));
            return Err(InvalidConfig::from(InvalidValue { name: "match".to_owned(), value: pair.to_owned(), reason }).into());
        }
    }
    Ok(())
}

/// Whether the text is a regular expression for Kafka, which splits at every `=`, so that a pattern has none.
fn is_pattern(text: &str) -> bool {
    !text.is_empty() && !text.contains('=') && is_java_pattern(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(key: &str, value: &str) -> Option<ErrorCode> {
        check_client_metrics(&BTreeMap::from([(key.to_owned(), value.to_owned())])).err().map(|refusal| refusal.code)
    }

    #[test]
    fn values_are_refused_with_kafkas_codes() {
        assert_eq!(refusal("interval.ms", "99"), Some(ErrorCode::InvalidRequest));
        assert_eq!(refusal("interval.ms", "3600001"), Some(ErrorCode::InvalidRequest));
        assert_eq!(refusal("interval.ms", "often"), Some(ErrorCode::InvalidConfig));
        assert_eq!(refusal("nonsense", "1"), Some(ErrorCode::InvalidRequest));
        for pattern in ["color=red", "client_id", "client_id=a=b", "client_id=([", "client_id=*a", "client_id=a)", "client_id="] {
            assert_eq!(refusal("match", pattern), Some(ErrorCode::InvalidConfig), "{pattern}");
        }
    }

    #[test]
    fn values_that_kafka_takes_are_taken() {
        for (key, value) in [
            ("interval.ms", "100"),
            ("metrics", ""),
            ("metrics", "*"),
            ("metrics", "a,a"),
            ("match", "client_id=a.*, client_source_port=12"),
            ("match", r"client_software_name=(?:a|b+)\(?"),
            ("match", "client_source_address=10[.][0-9]+"),
        ] {
            assert_eq!(refusal(key, value), None, "{key}={value}");
        }
    }
}
