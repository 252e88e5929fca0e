//! How the store is doing, for an operator.

use std::sync::atomic::Ordering;

use crate::engine::Engine;
use crate::keys::Family;
use crate::store::Store;

/// Figures of one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct StoreFigures {
    /// What RocksDB's write buffers hold.
    pub memtable_bytes: u64,
    /// RocksDB's live files.
    pub file_bytes: u64,
    /// Whether RocksDB lets no write through because its flushes or compactions lag.
    pub writes_are_stopped: bool,
    /// Appended bytes of all partitions that no sync was asked for yet.
    pub unsynced_bytes: u64,
}

impl Store {
    /// How the store is doing. A figure that RocksDB does not give counts as zero.
    #[must_use]
    pub fn figures(&self) -> StoreFigures {
        let engine = self.engine();
        StoreFigures {
            memtable_bytes: sum(engine, "rocksdb.cur-size-all-mem-tables"),
            file_bytes: sum(engine, "rocksdb.live-sst-files-size"),
            writes_are_stopped: sum(engine, "rocksdb.is-write-stopped") > 0,
            unsynced_bytes: engine.unsynced_bytes.load(Ordering::Relaxed),
        }
    }
}

fn sum(engine: &Engine, property: &str) -> u64 {
    Family::ALL.iter().filter_map(|family| engine.property(*family, property)).sum()
}
