//! What a store and a partition's log are told at their start.

use std::path::PathBuf;

use crate::Failpoints;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The data directory. It is made if it is not there.
    pub directory: PathBuf,
    /// The word in the names of the store's threads, usually the broker's id.
    pub thread_label: String,
    /// A block of this many bytes gets an index row.
    pub index_interval_bytes: usize,
    /// An appended partition gets an index row after this time at the latest.
    pub index_interval_ms: u64,
    /// Recent batches kept in memory per partition.
    pub tail_bytes_per_partition: usize,
    /// Recent batches kept in memory in all.
    pub tail_bytes_total: usize,
    /// RocksDB's block cache.
    pub cache_bytes: usize,
    /// RocksDB's write buffer per column family.
    pub write_buffer_bytes: usize,
    /// Bytes that may wait for the disk before a background sync begins.
    pub unsynced_bytes_max: u64,
    /// Segment files kept open at most; the others are opened again when they are used.
    pub open_segments_max: usize,
    /// Armed failpoints, for tests.
    pub failpoints: Failpoints,
}

impl StoreOptions {
    /// The defaults for a data directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            thread_label: "0".to_owned(),
            index_interval_bytes: 64 << 10,
            index_interval_ms: 1_000,
            tail_bytes_per_partition: 256 << 10,
            tail_bytes_total: 16 << 20,
            cache_bytes: 8 << 20,
            write_buffer_bytes: 8 << 20,
            unsynced_bytes_max: 1 << 30,
            open_segments_max: 512,
            failpoints: Failpoints::default(),
        }
    }
}

/// The part of a topic's configuration that its logs act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment is rolled before it grows beyond this (`segment.bytes`).
    pub segment_bytes: u64,
    /// A segment is rolled when a batch is this much younger than its first one (`segment.ms`).
    pub segment_ms: i64,
    /// A producer that wrote nothing for this long is forgotten (`producer.id.expiration.ms`).
    pub producer_id_expiration_ms: i64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { segment_bytes: 1 << 30, segment_ms: 604_800_000, producer_id_expiration_ms: 86_400_000 }
    }
}
