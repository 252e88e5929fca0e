//! Checked values by key, with the defaults beneath them.

use std::collections::BTreeMap;

use metadata::configs::limit_of_listener;
use model::config::Row;

use super::{ConfigProblem, Mode, Origin, RawConfig, UNDESCRIBED_ROWS, broker_rows, is_without_effect};

/// Every row's effective value. What is here fits its row.
pub(super) struct Values {
    pub(super) rows: Vec<Row>,
    /// What was given, or is a default of the mode.
    pub(super) set: BTreeMap<String, String>,
    /// The keys that were given, without the mode's defaults.
    given: Vec<String>,
    pub(super) unknown_keys: Vec<String>,
    pub(super) unused_keys: Vec<String>,
}

impl Values {
    pub(super) fn check(raw: &RawConfig, mode: Mode) -> Result<Self, ConfigProblem> {
        let rows = broker_rows();
        let mut set: BTreeMap<String, String> =
            mode.defaults().iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (mut given, mut unknown_keys, mut unused_keys) = (Vec::new(), Vec::new(), Vec::new());
        for (key, entry) in &raw.entries {
            if let Some(limit) = limit_of_listener(key).and_then(|limit| row(&rows, limit)) {
                let checked = limit.check(&entry.value);
                checked.map_err(|problem| ConfigProblem::Value { problem, origin: format!("{key}, {}", entry.origin) })?;
                set.insert(key.clone(), entry.value.trim().to_owned());
                continue;
            }
            let Some(row) = row(&rows, key) else {
                note_stranger(key, &entry.origin, &rows, &mut unknown_keys, &mut unused_keys)?;
                continue;
            };
            metadata::configs::check(row, &entry.value)
                .and_then(|()| row.check(&entry.value))
                .map_err(|problem| ConfigProblem::Value { problem, origin: entry.origin.to_string() })?;
            if is_without_effect(key) {
                unused_keys.push(key.clone());
            }
            given.push(key.clone());
            set.insert(key.clone(), entry.value.trim().to_owned());
        }
        Ok(Self { rows, set, given, unknown_keys, unused_keys })
    }

    /// Whether somebody set the key.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.given.iter().any(|given| given == key)
    }

    /// The effective text; `None` where neither a value nor a default exists.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        let default = || row(&self.rows, key).and_then(|row| row.default);
        self.set.get(key).map(String::as_str).or_else(default)
    }

    /// A list's words.
    pub(super) fn list(&self, key: &str) -> Vec<&str> {
        self.text(key).unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty()).collect()
    }

    /// A number. Rows have checked it, so that the fallback is never used.
    pub(super) fn long(&self, key: &str) -> i64 {
        self.text(key).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// A 32-bit number.
    pub(super) fn int(&self, key: &str) -> i32 {
        i32::try_from(self.long(key)).unwrap_or(i32::MAX)
    }

    /// A 16-bit number.
    pub(super) fn short(&self, key: &str) -> i16 {
        i16::try_from(self.long(key)).unwrap_or(i16::MAX)
    }

    /// A number of things in memory.
    pub(super) fn size(&self, key: &str) -> usize {
        usize::try_from(self.long(key)).unwrap_or(0)
    }

    pub(super) fn boolean(&self, key: &str) -> bool {
        self.text(key).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }
}

fn row<'a>(rows: &'a [Row], key: &str) -> Option<&'a Row> {
    let described = rows.binary_search_by(|row| row.name.cmp(key)).ok().and_then(|at| rows.get(at));
    described.or_else(|| UNDESCRIBED_ROWS.iter().find(|row| row.name == key))
}

/// A key without a row: klamm's own are refused, the others noted, those of the environment only if Kafka knows them.
fn note_stranger(
    key: &str,
    origin: &Origin,
    rows: &[Row],
    unknown_keys: &mut Vec<String>,
    unused_keys: &mut Vec<String>,
) -> Result<(), ConfigProblem> {
    if key.starts_with("klamm.") {
        let known: Vec<&str> = rows.iter().map(|row| row.name).filter(|name| name.starts_with("klamm.")).collect();
        return Err(ConfigProblem::UnknownOwnKey { key: key.to_owned(), origin: origin.to_string(), known: known.join(", ") });
    }
    if is_without_effect(key) {
        unused_keys.push(key.to_owned());
    } else if !matches!(origin, Origin::Environment { .. }) {
        unknown_keys.push(key.to_owned());
    }
    Ok(())
}
