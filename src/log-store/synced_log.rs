//! A small log whose every change is on the disk before the call returns, with named values beside it: what a quorum's log and vote need.

use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

use rocksdb::WriteBatch;

use crate::StorageError;
use crate::engine::Engine;
use crate::keys::{Family, prefix_end, synced_log as keys};

/// A synced log. Each changing call costs one sync.
#[derive(Clone)]
pub struct SyncedLog {
    engine: Arc<Engine>,
    name: String,
}

impl fmt::Debug for SyncedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncedLog").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SyncedLog {
    pub(crate) fn new(engine: Arc<Engine>, name: &str) -> Self {
        Self { engine, name: name.to_owned() }
    }

    /// Writes entries under their indexes; one that is there is replaced.
    ///
    /// # Errors
    /// If the index fails; then nothing was written.
    pub fn append<B: AsRef<[u8]>>(&self, entries: impl IntoIterator<Item = (u64, B)>) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        for (index, bytes) in entries {
            self.engine.put(&mut batch, Family::Synced, &keys::entry(&self.name, index), bytes.as_ref())?;
        }
        self.write(batch)
    }

    /// Removes the entries from `index` on.
    ///
    /// # Errors
    /// If the index fails.
    pub fn truncate_from(&self, index: u64) -> Result<(), StorageError> {
        let from = keys::entry(&self.name, index);
        self.remove(&from, &prefix_end(&keys::entries(&self.name)))
    }

    /// Removes the entries up to `index`, itself included.
    ///
    /// # Errors
    /// If the index fails.
    pub fn purge_to(&self, index: u64) -> Result<(), StorageError> {
        let end = match index.checked_add(1) {
            Some(next) => keys::entry(&self.name, next),
            None => prefix_end(&keys::entries(&self.name)),
        };
        self.remove(&keys::entries(&self.name), &end)
    }

    /// The entries in a range of indexes, in order.
    ///
    /// # Errors
    /// If the index fails.
    pub fn read(&self, range: impl RangeBounds<u64>) -> Result<Vec<(u64, Vec<u8>)>, StorageError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let first = match range.start_bound() {
            Included(first) => Some(*first),
            Excluded(before) => before.checked_add(1),
            Unbounded => Some(0),
        };
        let Some(first) = first else { return Ok(Vec::new()) };
        let end = match range.end_bound() {
            Included(last) => last.checked_add(1),
            Excluded(end) => Some(*end),
            Unbounded => None,
        };
        let end = end.map_or_else(|| prefix_end(&keys::entries(&self.name)), |end| keys::entry(&self.name, end));
        let from = keys::entry(&self.name, first);
        let mut entries = Vec::new();
        if from < end {
            self.engine.scan(Family::Synced, &from, &end, |key, value| {
                let index = keys::index_of(&self.name, key).ok_or(StorageError::UnreadableRow { family: "synced_log" })?;
                entries.push((index, value.to_vec()));
                Ok(true)
            })?;
        }
        Ok(entries)
    }

    /// The largest index.
    ///
    /// # Errors
    /// If the index fails.
    pub fn last_index(&self) -> Result<Option<u64>, StorageError> {
        let last = self.engine.last_at_or_before(Family::Synced, &keys::entries(&self.name), &keys::entry(&self.name, u64::MAX))?;
        Ok(last.and_then(|(key, _)| keys::index_of(&self.name, &key)))
    }

    /// The smallest index.
    ///
    /// # Errors
    /// If the index fails.
    pub fn first_index(&self) -> Result<Option<u64>, StorageError> {
        let mut first = None;
        let prefix = keys::entries(&self.name);
        self.engine.scan(Family::Synced, &prefix, &prefix_end(&prefix), |key, _| {
            first = keys::index_of(&self.name, key);
            Ok(false)
        })?;
        Ok(first)
    }

    /// Writes a named value (a vote, a snapshot).
    ///
    /// # Errors
    /// If the index fails.
    pub fn save_value(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        self.engine.put(&mut batch, Family::Synced, &keys::value(&self.name, name), value)?;
        self.write(batch)
    }

    /// Reads a named value.
    ///
    /// # Errors
    /// If the index fails.
    pub fn load_value(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.engine.get(Family::Synced, &keys::value(&self.name, name))
    }

    fn remove(&self, from: &[u8], end: &[u8]) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        if from < end {
            self.engine.delete_range(&mut batch, Family::Synced, from, end)?;
        }
        self.write(batch)
    }

    fn write(&self, batch: WriteBatch) -> Result<(), StorageError> {
        // Nothing to write needs no sync.
        if batch.is_empty() { Ok(()) } else { self.engine.write_synced(batch) }
    }
}
