//! What a change of a broker's configuration must satisfy beyond each key's own row (`DynamicBrokerConfig`, `DynamicThreadPool`, `KafkaConfig`).

use std::collections::BTreeMap;

use model::config::{Kind, Row, Scope};
use protocol::ErrorCode;

use super::values::{check, split_list};
use super::{ConfigView, limit_of_listener, topic_row};
use crate::controller::Refusal;

/// Kafka's limits of replication, which may be set and are not shown among a broker's keys.
const THROTTLES: &[&str] =
    &["follower.replication.throttled.rate", "leader.replication.throttled.rate", "replica.alter.log.dirs.io.max.bytes.per.second"];

/// The numbers of threads, which a running broker changes by no more than the half or the double at once.
const THREADS: &[&str] = &[
    "background.threads",
    "log.cleaner.threads",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
    "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.expiration.thread.pool.size",
    "remote.log.manager.follower.thread.pool.size",
    "remote.log.reader.threads",
];

/// What can be changed only for one listener, behind `listener.name.NAME.`.
const OF_A_LISTENER: &[&str] = &[
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

/// Keys that lie between two others.
const BETWEEN: &[(&str, &str, &str)] = &[
    ("group.consumer.assignment.interval.ms", "group.consumer.min.assignment.interval.ms", "group.consumer.max.assignment.interval.ms"),
    ("group.share.assignment.interval.ms", "group.share.min.assignment.interval.ms", "group.share.max.assignment.interval.ms"),
    ("group.streams.assignment.interval.ms", "group.streams.min.assignment.interval.ms", "group.streams.max.assignment.interval.ms"),
];

/// What a cleaner thread needs at least for its table of keys.
const DEDUPE_BYTES_MIN: i64 = 1 << 20;

/// The values as they would be.
struct After<'a> {
    view: ConfigView<'a>,
    asked: &'a BTreeMap<String, Option<String>>,
    rows: &'a [Row],
}

impl After<'_> {
    /// A broker key's value, from the change or as it is now.
    fn text(&self, key: &str) -> String {
        if let Some(Some(value)) = self.asked.get(key) {
            return value.clone();
        }
        let row = self.rows.iter().find(|row| row.name == key);
        row.and_then(|row| self.view.effective_broker(row).value).unwrap_or_default()
    }

    fn long(&self, key: &str) -> i64 {
        self.text(key).trim().parse().unwrap_or_default()
    }

    /// A topic key's default, from the change of its broker key or as it is now.
    fn topic_default(&self, key: &str) -> i64 {
        let changed = topic_row(key).and_then(|row| row.synonym).and_then(|name| self.asked.get(name)).cloned().flatten();
        changed.unwrap_or_else(|| self.view.topic_value(key, &BTreeMap::new())).trim().parse().unwrap_or(-1)
    }
}

/// Checks a change of one broker, or of the default of all.
///
/// # Errors
/// INVALID_REQUEST and a sentence.
pub(crate) fn check_broker_values(
    view: ConfigView<'_>,
    is_default: bool,
    asked: &BTreeMap<String, Option<String>>,
    rows: &[Row],
) -> Result<(), Refusal> {
    let invalid = |message: String| Refusal::new(ErrorCode::InvalidRequest, message);
    let after = After { view, asked, rows };
    for (key, value) in asked {
        if THROTTLES.contains(&key.as_str()) {
            if value.as_ref().is_some_and(|value| value.trim().parse::<i64>().map_or(true, |rate| rate < 0)) {
                return Err(invalid(format!("Invalid value for configuration {key}: it must be a whole number of at least 0")));
            }
            continue;
        }
        if limit_of_listener(key).is_some() {
            if value.as_ref().is_some_and(|value| value.trim().parse::<i32>().map_or(true, |limit| limit < 1)) {
                return Err(invalid(format!("Invalid value for configuration {key}: it must be a whole number of at least 1")));
            }
            continue;
        }
        // A key that no row knows belongs to somebody's plug-in in Kafka, and is taken as it is.
        let Some(row) = rows.iter().find(|row| row.name == key) else { continue };
        match row.scope {
            Scope::Static => return Err(invalid(format!("Cannot update these configs dynamically: [{key}]"))),
            Scope::OneBroker if is_default => {
                return Err(invalid(format!("Cannot update these configs at default cluster level: [{key}]")));
            }
            Scope::OneBroker | Scope::Broker | Scope::Topic | Scope::Group | Scope::ClientMetrics => {}
        }
        if OF_A_LISTENER.contains(&key.as_str()) {
            return Err(invalid(format!("This config can be updated only for one listener, as listener.name.NAME.{key}")));
        }
        if let Some(value) = value {
            check(row, value).map_err(|error| invalid(error.to_string()))?;
            refuse(&after, row, value)
                .map_or(Ok(()), |reason| Err(invalid(format!("Invalid value {value} for configuration {key}: {reason}"))))?;
        }
    }
    Ok(())
}

/// Why a value that fits its row does not fit the rest.
fn refuse(after: &After<'_>, row: &Row, value: &str) -> Option<String> {
    let key = row.name;
    let number = value.trim().parse::<i64>().unwrap_or_default();
    if THREADS.contains(&key) {
        let now = after.view.effective_broker(row).value.and_then(|value| value.parse::<i64>().ok()).unwrap_or(1);
        let (low, high) = ((now / 2).max(1), now.saturating_mul(2));
        return (!(low..=high).contains(&number))
            .then(|| format!("Value must be between {low} and {high}, the half and the double of {now}"));
    }
    if let Some((_, low_key, high_key)) = BETWEEN.iter().find(|(between, _, _)| *between == key) {
        let (low, high) = (after.long(low_key), after.long(high_key));
        return (!(low..=high).contains(&number)).then(|| format!("Value must be between {low} and {high} ({low_key}, {high_key})"));
    }
    let refused = match key {
        "max.connections" | "max.connection.creation.rate" if number < 1 => "Value must be at least 1",
        "max.connections.per.ip" if number == 0 && after.text("max.connections.per.ip.overrides").is_empty() => {
            "Value can be 0 only with max.connections.per.ip.overrides"
        }
        "max.connections.per.ip.overrides" if !split_list(value).iter().all(|pair| is_override(pair)) => "Values must be address:number",
        "log.retention.ms" if number == 0 => "Value must be -1 or at least 1",
        "log.local.retention.ms" if is_beyond(number, after.topic_default("retention.ms")) => "Value must not exceed log.retention.ms",
        "log.local.retention.bytes" if is_beyond(number, after.topic_default("retention.bytes")) => {
            "Value must not exceed log.retention.bytes"
        }
        "log.cleaner.dedupe.buffer.size" if number / after.long("log.cleaner.threads").max(1) <= DEDUPE_BYTES_MIN => {
            "Value must be more than 1 MiB for each cleaner thread"
        }
        "cordoned.log.dirs" if !is_part_of(value, &[after.text("log.dirs"), after.text("log.dir")]) => {
            "Values must be among log.dirs, or *"
        }
        _ if row.kind == Kind::Class && row.default != Some(value) => "There are no Java classes here",
        "metric.reporters" if split_list(value).iter().any(|class| row.default != Some(*class)) => "There are no Java classes here",
        _ => return None,
    };
    Some(refused.to_owned())
}

/// Whether the local part would be kept longer than the whole. -2 takes the whole's own bound.
const fn is_beyond(local: i64, whole: i64) -> bool {
    local != -2 && whole != -1 && (local == -1 || local > whole)
}

fn is_override(pair: &str) -> bool {
    pair.rsplit_once(':').is_some_and(|(host, count)| is_host(host) && count.trim().parse::<i32>().is_ok_and(|count| count >= 0))
}

/// Whether it may be an address or a host's name (`Utils.validHostPattern`); whether there is such a host shows when it is looked up.
#[must_use]
pub fn is_host(text: &str) -> bool {
    let host = text.trim_matches(['[', ']']);
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-%._:".contains(&byte))
}

fn is_part_of(value: &str, lists: &[String]) -> bool {
    split_list(value).iter().all(|word| *word == "*" || lists.iter().any(|list| split_list(list).contains(word)))
}

#[cfg(test)]
mod tests {
    use model::BrokerId;

    use super::*;
    use crate::image::Image;

    const fn row(name: &'static str, kind: Kind, default: &'static str, scope: Scope) -> Row {
        Row { name, kind, default: Some(default), scope, synonym: None, doc: "" }
    }

    const ANY: Kind = Kind::Long(i64::MIN, i64::MAX);

    const ROWS: &[Row] = &[
        row("num.partitions", ANY, "1", Scope::Static),
        row("num.io.threads", ANY, "8", Scope::Broker),
        row("sasl.jaas.config", Kind::Password, "", Scope::OneBroker),
        row("ssl.keystore.location", Kind::Text, "", Scope::OneBroker),
        row("max.connections", ANY, "9", Scope::Broker),
        row("max.connections.per.ip", ANY, "9", Scope::Broker),
        row("max.connections.per.ip.overrides", Kind::Text, "", Scope::Broker),
        row("group.share.assignment.interval.ms", ANY, "1000", Scope::Broker),
        row("group.share.min.assignment.interval.ms", ANY, "0", Scope::Static),
        row("group.share.max.assignment.interval.ms", ANY, "15000", Scope::Static),
        row("log.local.retention.ms", ANY, "-2", Scope::Broker),
        row("log.retention.ms", ANY, "-1", Scope::Broker),
        row("log.dirs", Kind::List(&[]), "/a,/b", Scope::Static),
        row("cordoned.log.dirs", Kind::List(&[]), "", Scope::OneBroker),
        row("principal.builder.class", Kind::Class, "a.B", Scope::OneBroker),
    ];

    fn accepts(is_default: bool, asked: &[(&str, &str)]) -> bool {
        let image = Image::default();
        let statics = BTreeMap::new();
        let view = ConfigView::new(&image, BrokerId::new_or_zero(1), &statics);
        let asked = asked.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()))).collect();
        check_broker_values(view, is_default, &asked, ROWS).is_ok()
    }

    #[test]
    fn a_change_is_refused_where_the_rest_of_the_configuration_does_not_allow_it() {
        for (key, good, bad) in [
            ("num.io.threads", "16", "17"),
            ("num.io.threads", "4", "3"),
            ("max.connections", "1", "0"),
            ("listener.name.plaintext.max.connections", "1", "0"),
            ("listener.name.plaintext.max.connection.creation.rate", "1", "x"),
            ("max.connections.per.ip", "1", "0"),
            ("max.connections.per.ip.overrides", "10.0.0.1:5, [::1]:0, host.example:7", "a host:5"),
            ("group.share.assignment.interval.ms", "15000", "15001"),
            ("log.retention.ms", "-1", "0"),
            ("log.local.retention.ms", "604800000", "604800001"),
            ("cordoned.log.dirs", "/b", "/c"),
            ("principal.builder.class", "a.B", "a.C"),
            ("leader.replication.throttled.rate", "0", "-1"),
        ] {
            assert!(accepts(false, &[(key, good)]), "{key}={good}");
            assert!(!accepts(false, &[(key, bad)]), "{key}={bad}");
        }
        assert!(accepts(false, &[("max.connections.per.ip", "0"), ("max.connections.per.ip.overrides", "10.0.0.1:5")]));
        assert!(accepts(false, &[("log.local.retention.ms", "700000000"), ("log.retention.ms", "700000000")]));
    }

    #[test]
    fn what_is_fixed_or_belongs_to_one_broker_or_to_a_listener_is_refused_elsewhere() {
        assert!(!accepts(false, &[("num.partitions", "2")]));
        assert!(accepts(false, &[("sasl.jaas.config", "x")]) && !accepts(true, &[("sasl.jaas.config", "x")]));
        assert!(!accepts(false, &[("ssl.keystore.location", "x")]));
        assert!(accepts(false, &[("of.some.plug-in", "x")]));
    }
}
