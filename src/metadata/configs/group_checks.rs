//! What a group's configuration must satisfy beyond each key's own row (`GroupConfig.validate`): it lies between bounds that brokers set.

use std::collections::BTreeMap;

use model::config::{InvalidValue, Row};

use super::ConfigView;
use super::values::{InvalidConfig, check};
use crate::controller::ConfigTables;

/// Group keys with the broker keys that bound them from below and from above.
const BOUNDS: &[(&str, Option<&str>, Option<&str>)] = &[
    (
        "consumer.assignment.interval.ms",
        Some("group.consumer.min.assignment.interval.ms"),
        Some("group.consumer.max.assignment.interval.ms"),
    ),
    ("consumer.heartbeat.interval.ms", Some("group.consumer.min.heartbeat.interval.ms"), Some("group.consumer.max.heartbeat.interval.ms")),
    ("consumer.session.timeout.ms", Some("group.consumer.min.session.timeout.ms"), Some("group.consumer.max.session.timeout.ms")),
    ("share.assignment.interval.ms", Some("group.share.min.assignment.interval.ms"), Some("group.share.max.assignment.interval.ms")),
    ("share.delivery.count.limit", Some("group.share.min.delivery.count.limit"), Some("group.share.max.delivery.count.limit")),
    ("share.heartbeat.interval.ms", Some("group.share.min.heartbeat.interval.ms"), Some("group.share.max.heartbeat.interval.ms")),
    (
        "share.partition.max.record.locks",
        Some("group.share.min.partition.max.record.locks"),
        Some("group.share.max.partition.max.record.locks"),
    ),
    ("share.record.lock.duration.ms", Some("group.share.min.record.lock.duration.ms"), Some("group.share.max.record.lock.duration.ms")),
    ("share.session.timeout.ms", Some("group.share.min.session.timeout.ms"), Some("group.share.max.session.timeout.ms")),
    ("streams.assignment.interval.ms", Some("group.streams.min.assignment.interval.ms"), Some("group.streams.max.assignment.interval.ms")),
    ("streams.heartbeat.interval.ms", Some("group.streams.min.heartbeat.interval.ms"), Some("group.streams.max.heartbeat.interval.ms")),
    ("streams.num.standby.replicas", None, Some("group.streams.max.standby.replicas")),
    ("streams.session.timeout.ms", Some("group.streams.min.session.timeout.ms"), Some("group.streams.max.session.timeout.ms")),
];

/// Session timeouts and the heartbeat intervals that they must exceed.
const SESSIONS: &[(&str, &str)] = &[
    ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"),
    ("share.session.timeout.ms", "share.heartbeat.interval.ms"),
    ("streams.session.timeout.ms", "streams.heartbeat.interval.ms"),
];

/// Checks all values that a group would have set.
pub(crate) fn check_group_values(
    view: ConfigView<'_>,
    values: &BTreeMap<String, String>,
    tables: ConfigTables<'_>,
) -> Result<(), InvalidConfig> {
    let row_of = |rows: &[Row], key: &str| rows.iter().find(|row| row.name == key).copied();
    if let Some(key) = values.keys().find(|key| row_of(tables.group, key).is_none()) {
        return Err(InvalidConfig::UnknownGroupKey(key.clone()));
    }
    let broker_value = |key: &str| row_of(tables.broker, key).and_then(|row| view.effective_broker(&row).value);
    let broker_number = |key: &str| broker_value(key).and_then(|value| value.parse::<i64>().ok());
    let refuse = |key: &str, value: &str, reason: String| {
        Err(InvalidConfig::Value(InvalidValue { name: key.to_owned(), value: value.to_owned(), reason }))
    };
    for (key, value) in values {
        let Some(row) = row_of(tables.group, key) else { continue };
        check(&row, value)?;
        if key == "share.auto.offset.reset" && !is_reset_strategy(value) {
            return refuse(key, value, "Value must be latest, earliest or by_duration:PnDTnHnMn.nS".to_owned());
        }
        let Some((_, low_key, high_key)) = BOUNDS.iter().find(|(bounded, _, _)| bounded == key) else { continue };
        let number = value.trim().parse::<i64>().unwrap_or_default();
        if let Some((low_key, low)) = low_key.and_then(|key| Some((key, broker_number(key)?))).filter(|(_, low)| number < *low) {
            return refuse(key, value, format!("Value must be at least {low} ({low_key})"));
        }
        if let Some((high_key, high)) = high_key.and_then(|key| Some((key, broker_number(key)?))).filter(|(_, high)| number > *high) {
            return refuse(key, value, format!("Value must be no more than {high} ({high_key})"));
        }
    }
    let number = |key: &str| {
        let of_broker = || row_of(tables.group, key).and_then(|row| row.synonym).and_then(broker_number);
        values.get(key).and_then(|value| value.trim().parse().ok()).or_else(of_broker)
    };
    for (session_key, heartbeat_key) in SESSIONS.iter().filter(|(one, other)| values.contains_key(*one) || values.contains_key(*other)) {
        if let (Some(session), Some(heartbeat)) = (number(session_key), number(heartbeat_key))
            && session <= heartbeat
        {
            return refuse(session_key, &session.to_string(), format!("Value must be greater than {heartbeat_key}, {heartbeat}"));
        }
    }
    Ok(())
}

fn is_reset_strategy(value: &str) -> bool {
    matches!(value, "latest" | "earliest") || value.strip_prefix("by_duration:").is_some_and(is_duration)
}

/// Whether this is a duration as ISO 8601 has it (days and smaller), none of whose parts is negative.
fn is_duration(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    let Some(rest) = text.strip_prefix('P') else { return false };
    let (days, time) = match rest.split_once('T') {
        Some((days, time)) => (days, Some(time)),
        None => (rest, None),
    };
    let day_part = |days: &str| days.is_empty() || days.strip_suffix('D').is_some_and(is_whole);
    match time {
        None => !days.is_empty() && day_part(days),
        Some(time) => !time.is_empty() && day_part(days) && is_time(time),
    }
}

/// `nHnMn.nS`, each part at most once and in this order.
fn is_time(time: &str) -> bool {
    let mut rest = time;
    for unit in ['H', 'M', 'S'] {
        let Some((number, behind)) = rest.split_once(unit) else { continue };
        let is_number = match (unit, number.split_once('.')) {
            ('S', Some((whole, part))) => is_whole(whole) && part.len() <= 9 && is_whole(part),
            _ => is_whole(number),
        };
        if !is_number {
            return false;
        }
        rest = behind;
    }
    rest.is_empty()
}

fn is_whole(digits: &str) -> bool {
    !digits.is_empty() && digits.len() <= 18 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_from_other_texts() {
        for good in ["PT1H", "P1D", "pt1h", "PT0S", "P2DT3H4M5.5S", "PT5M"] {
            assert!(is_reset_strategy(&format!("by_duration:{good}")), "{good}");
        }
        for bad in ["", "P", "PT", "1h", "-PT1H", "PT-1H", "PT1M1H", "P1H", "PT1.5H", "PTxS", "P1DT"] {
            assert!(!is_reset_strategy(&format!("by_duration:{bad}")), "{bad}");
        }
        assert!(is_reset_strategy("latest") && !is_reset_strategy("LATEST") && !is_reset_strategy("by_duration"));
    }
}
