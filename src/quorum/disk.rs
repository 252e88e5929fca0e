//! What the quorum needs of a disk: each call has synced what it wrote when it returns.

use std::error::Error;

use log_store::SyncedLog;

pub(crate) type DiskError = Box<dyn Error + Send + Sync>;

/// A log of numbered entries and a few named values. Entries are consecutive.
pub(crate) trait Disk: Send + Sync + 'static {
    fn append(&self, entries: Vec<(u64, Vec<u8>)>) -> Result<(), DiskError>;
    /// Removes the entries from this one on.
    fn truncate_from(&self, index: u64) -> Result<(), DiskError>;
    /// Removes the entries up to and including this one.
    fn purge_to(&self, index: u64) -> Result<(), DiskError>;
    /// The entries from `from` on and before `until`, as far as they are there.
    fn read(&self, from: u64, until: u64) -> Result<Vec<(u64, Vec<u8>)>, DiskError>;
    fn last_index(&self) -> Result<Option<u64>, DiskError>;
    fn save_value(&self, name: &str, value: &[u8]) -> Result<(), DiskError>;
    fn load_value(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError>;
}

impl Disk for SyncedLog {
    fn append(&self, entries: Vec<(u64, Vec<u8>)>) -> Result<(), DiskError> {
        Ok(SyncedLog::append(self, entries)?)
    }

    fn truncate_from(&self, index: u64) -> Result<(), DiskError> {
        Ok(SyncedLog::truncate_from(self, index)?)
    }

    fn purge_to(&self, index: u64) -> Result<(), DiskError> {
        Ok(SyncedLog::purge_to(self, index)?)
    }

    fn read(&self, from: u64, until: u64) -> Result<Vec<(u64, Vec<u8>)>, DiskError> {
        Ok(SyncedLog::read(self, from..until)?)
    }

    fn last_index(&self) -> Result<Option<u64>, DiskError> {
        Ok(SyncedLog::last_index(self)?)
    }

    fn save_value(&self, name: &str, value: &[u8]) -> Result<(), DiskError> {
        Ok(SyncedLog::save_value(self, name, value)?)
    }

    fn load_value(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(SyncedLog::load_value(self, name)?)
    }
}
