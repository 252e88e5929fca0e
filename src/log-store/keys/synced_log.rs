//! Families 7 and 8, `synced_log`: entries and named values of the logs that are on the disk before a call returns (the metadata quorum's).
//! Owner: the caller of `Store::synced_log`. Entries are removed by truncation and purge; values are overwritten.
//!
//! Key of an entry: 7, length of the log's name (1), name, index (8). Value: the caller's bytes.
//! Key of a value: 8, length of the log's name (1), name, the value's name. Value: the caller's bytes.

use super::Fields;

pub(crate) const ENTRY_ORDINAL: u8 = 7;
pub(crate) const VALUE_ORDINAL: u8 = 8;

fn prefix(ordinal: u8, log: &str) -> Vec<u8> {
    let name = log.as_bytes();
    let name = name.get(..usize::from(u8::MAX)).unwrap_or(name);
    let mut key = Vec::with_capacity(2 + name.len() + 8);
    key.push(ordinal);
    key.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    key.extend_from_slice(name);
    key
}

pub(crate) fn entries(log: &str) -> Vec<u8> {
    prefix(ENTRY_ORDINAL, log)
}

pub(crate) fn entry(log: &str, index: u64) -> Vec<u8> {
    let mut key = entries(log);
    key.extend_from_slice(&index.to_be_bytes());
    key
}

pub(crate) fn index_of(log: &str, key: &[u8]) -> Option<u64> {
    let mut fields = Fields::new(key.strip_prefix(entries(log).as_slice())?);
    fields.u64()
}

pub(crate) fn value(log: &str, name: &str) -> Vec<u8> {
    let mut key = prefix(VALUE_ORDINAL, log);
    key.extend_from_slice(name.as_bytes());
    key
}
