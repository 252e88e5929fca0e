//! What a store and a partition's log are told at their start.

use std::path::PathBuf;

use crate::{Failpoints, Retention};

/// About so many pieces a block of small batches has.
const PIECES_PER_BLOCK: usize = 8;

/// When an append is answered (`klamm.durability`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the operating system has it: it survives the process, not the power.
    #[default]
    Os,
    /// When the disk has it: all partitions of a round in one synced write to the journal.
    Group,
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The data directory. It is made if it is not there.
    pub directory: PathBuf,
    /// When an append is answered.
    pub durability: Durability,
    /// A file of the journal is full at this size.
    pub journal_file_bytes: u64,
    /// So many files the journal may have; an append that finds none free waits for the segments' syncs.
    pub journal_files_max: usize,
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
    /// Appends are refused while the disk has less free space than this (on a small disk, than a sixteenth of it).
    pub free_bytes_min: u64,
    /// So many bytes are held for an open on a full disk (on a small one a sixteenth of it).
    pub ballast_bytes: u64,
    /// So many bytes of dropped files one call of [`crate::Store::remove_due`] gives back at most.
    pub removed_bytes_max: u64,
    /// Segment files kept open at most, and no more than half of the descriptors that the process may have; the others are opened again when they are
    /// used, which costs an append of 16 KiB about as much as its write.
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
            durability: Durability::Os,
            journal_file_bytes: 32 << 20,
            journal_files_max: 8,
            thread_label: "0".to_owned(),
            index_interval_bytes: 64 << 10,
            index_interval_ms: 1_000,
            tail_bytes_per_partition: 256 << 10,
            tail_bytes_total: 16 << 20,
            cache_bytes: 8 << 20,
            write_buffer_bytes: 8 << 20,
            unsynced_bytes_max: 1 << 30,
            free_bytes_min: 64 << 20,
            ballast_bytes: 32 << 20,
            removed_bytes_max: 64 << 20,
            open_segments_max: 4_096,
            failpoints: Failpoints::default(),
        }
    }

    /// A piece of a block, which can be checked without the rest, has about so many bytes, or one batch.
    pub(crate) fn piece_bytes(&self) -> u32 {
        u32::try_from(self.index_interval_bytes / PIECES_PER_BLOCK).unwrap_or(u32::MAX)
    }
}

/// The part of a topic's configuration that its logs act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment is rolled before it grows beyond this (`segment.bytes`).
    pub segment_bytes: u64,
    /// A segment is rolled when a batch is this much younger than its first one (`segment.ms`).
    pub segment_ms: i64,
    /// By at most so much is a segment's time shortened, each by another (`segment.jitter.ms`).
    pub segment_jitter_ms: i64,
    /// What the log may keep (`cleanup.policy`, `retention.ms`, `retention.bytes`).
    pub retention: Retention,
    /// So long a dropped segment's file stays (`file.delete.delay.ms`).
    pub file_delete_delay_ms: i64,
    /// A producer that wrote nothing for this long is forgotten (`producer.id.expiration.ms`).
    pub producer_id_expiration_ms: i64,
    /// After so many records the segments are synced before the append is answered (`flush.messages`).
    pub flush_messages: i64,
    /// For so long at most appended records wait for a background sync (`flush.ms`).
    pub flush_ms: i64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 604_800_000,
            segment_jitter_ms: 0,
            retention: Retention { delete: true, retention_ms: Some(604_800_000), retention_bytes: None },
            file_delete_delay_ms: 60_000,
            producer_id_expiration_ms: 86_400_000,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
        }
    }
}
