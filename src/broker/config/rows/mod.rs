//! The rows of a broker's configuration: Kafka's names, types, defaults and ranges (4.3), and the few keys that are klamm's own.
//!
//! A key that another crate acts on has its row there; [`broker_rows`] gathers them all. The broker's keys for topics' defaults follow from the
//! rows of the topics (`log.segment.bytes` from `segment.bytes`), but for those that come in several units.

mod cluster;
mod ignored;
mod internal_topics;
mod limits;
mod network;
mod quotas;
mod topic_defaults;

use std::collections::BTreeMap;

use model::config::{Kind, Row, Scope};

pub use ignored::{WITHOUT_EFFECT, is_without_effect};

const INT: i64 = i32::MAX as i64;
const INT_LOW: i64 = i32::MIN as i64;
const SHORT: i64 = i16::MAX as i64;
const SHORT_LOW: i64 = i16::MIN as i64;
const LONG: i64 = i64::MAX;
const LONG_LOW: i64 = i64::MIN;

/// All rows of a broker, by name.
#[must_use]
pub fn broker_rows() -> Vec<Row> {
    let own =
        [cluster::ROWS, network::ROWS, limits::ROWS, topic_defaults::ROWS, internal_topics::ROWS, quotas::ROWS, group_coordinator::ROWS];
    let all = own.into_iter().flatten().chain(ignored::rows());
    let mut rows: BTreeMap<&'static str, Row> = all.map(|row| (row.name, *row)).collect();
    for topic_row in metadata::configs::TOPIC_ROWS {
        let Some(name) = topic_row.synonym else { continue };
        rows.entry(name).or_insert(Row { name, scope: Scope::Broker, synonym: None, ..*topic_row });
    }
    rows.into_values().collect()
}

/// Keys that Kafka knows, acts on, and does not describe to clients.
pub const UNDESCRIBED_ROWS: &[Row] = &[fixed(
    "log.initial.task.delay.ms",
    Kind::Long(0, LONG),
    Some("30000"),
    "How long after the start old segments are looked for the first time; not shown to clients.",
)];

/// A key that is read at start.
const fn fixed(name: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Row {
    Row { name, kind, default, scope: Scope::Static, synonym: None, doc }
}

/// A key that Kafka lets change while the broker runs.
const fn dynamic(name: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Row {
    Row { name, kind, default, scope: Scope::Broker, synonym: None, doc }
}

/// A key that Kafka lets change for each broker alone while it runs.
const fn of_one_broker(name: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Row {
    Row { name, kind, default, scope: Scope::OneBroker, synonym: None, doc }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_sentence_and_a_default_that_fits_it() {
        for row in broker_rows() {
            assert!(row.doc.ends_with('.') && row.doc.len() > 20, "{}", row.name);
            if let Some(default) = row.default {
                row.check(default).expect(row.name);
            }
        }
    }

    #[test]
    fn rows_are_sorted_and_those_without_effect_say_so_and_no_others() {
        let rows = broker_rows();
        assert!(rows.is_sorted_by(|left, right| left.name < right.name));
        for row in &rows {
            assert_eq!(is_without_effect(row.name), row.doc.ends_with(WITHOUT_EFFECT), "{}", row.name);
        }
    }

    #[test]
    fn defaults_of_topics_follow_from_the_topics_rows() {
        let rows = broker_rows();
        let row = rows.iter().find(|row| row.name == "log.segment.bytes").expect("there");
        assert_eq!(row.default, Some("1073741824"));
        let retention = rows.iter().find(|row| row.name == "log.retention.ms").expect("there");
        assert_eq!(retention.default, None);
    }
}
