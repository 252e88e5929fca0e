//! What a check finds, each with its place and one sentence.

use std::path::PathBuf;

use model::{LeaderEpoch, Offset, ProducerId, TopicIdPartition};
use record_batch::BatchError;
use thiserror::Error;

use crate::{OpenError, StorageError};

/// One thing that was found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Whether something is damaged. Otherwise it is as a crash or a running broker leaves it, and a start sees to it.
    pub is_fault: bool,
    /// Of which partition.
    pub partition: Option<TopicIdPartition>,
    /// In which file or directory.
    pub path: PathBuf,
    /// Where in the file.
    pub position: Option<u64>,
    /// What it is.
    pub flaw: Flaw,
}

/// What can be found.
#[derive(Clone, Debug, Error)]
pub enum Flaw {
    /// The bytes are no batch, or a part of one.
    #[error("no whole batch is here ({error}); {left_bytes} bytes follow in the file")]
    NoBatch {
        /// Why.
        error: BatchError,
        /// From here to the file's end.
        left_bytes: u64,
    },
    /// The file ends within a batch that was being written, or with bytes that a power cut left.
    #[error("the last {left_bytes} bytes are no good batch, as after a crash or within a write; a start cuts them off")]
    TornEnd {
        /// From here to the file's end.
        left_bytes: u64,
    },
    /// A batch's bytes are not those that were written.
    #[error("the batch at offset {base_offset} has a wrong checksum: {stored:08x} is stored, {computed:08x} is right")]
    WrongCrc {
        /// The batch's first offset.
        base_offset: i64,
        /// In the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// Offsets do not rise.
    #[error("the batch at offset {base_offset} stands behind offset {last_offset}")]
    OffsetsFall {
        /// The batch's first offset.
        base_offset: i64,
        /// The last one before it.
        last_offset: i64,
    },
    /// Offsets are left out that no compaction took.
    #[error("offsets {first} to {last} are missing")]
    OffsetsMissing {
        /// The first of them.
        first: i64,
        /// The last of them.
        last: i64,
    },
    /// A batch belongs into the next segment, or into an earlier one.
    #[error("the batch of offsets {base_offset} to {last_offset} lies outside its segment, which begins at {begin} and ends before {end}")]
    OutsideSegment {
        /// The batch's first offset.
        base_offset: i64,
        /// The batch's last offset.
        last_offset: i64,
        /// The segment's first offset.
        begin: Offset,
        /// Where the next segment begins.
        end: Offset,
    },
    /// Header and records disagree.
    #[error("the batch at offset {base_offset} says that it has {count} records, for {offsets} offsets")]
    RecordCount {
        /// The batch's first offset.
        base_offset: i64,
        /// In the header.
        count: i32,
        /// By the last offset in the header.
        offsets: i64,
    },
    /// The records cannot be read.
    #[error("the records of the batch at offset {base_offset} cannot be read: {error}")]
    Records {
        /// The batch's first offset.
        base_offset: i64,
        /// Why.
        error: BatchError,
    },
    /// A record's offset does not rise, or lies outside its batch.
    #[error("the batch at offset {base_offset} has a record at offset {offset}, which is not between its neighbours")]
    RecordOffset {
        /// The batch's first offset.
        base_offset: i64,
        /// The record's.
        offset: i64,
    },
    /// Look-ups by time would go wrong.
    #[error("the batch at offset {base_offset} says that its largest timestamp is {stored}, but it is {largest}")]
    MaxTimestamp {
        /// The batch's first offset.
        base_offset: i64,
        /// In the header.
        stored: i64,
        /// Of the records.
        largest: i64,
    },
    /// Leader epochs do not rise.
    #[error("the batch at offset {base_offset} is of leader epoch {epoch}, after one of epoch {before}")]
    EpochFalls {
        /// The batch's first offset.
        base_offset: i64,
        /// Its epoch.
        epoch: i32,
        /// The one before.
        before: i32,
    },
    /// The batch and the partition's rows of epochs disagree.
    #[error("the batch at offset {base_offset} is of leader epoch {epoch}, but the index says {}", .expected.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string()))]
    EpochDiffers {
        /// The batch's first offset.
        base_offset: i64,
        /// Its epoch.
        epoch: i32,
        /// What the rows say.
        expected: Option<LeaderEpoch>,
    },
    /// An index row and the bytes disagree.
    #[error("the index row of offset {base_offset} does not fit: {flaw}")]
    Row {
        /// The row's first offset.
        base_offset: Offset,
        /// What does not.
        flaw: RowFlaw,
    },
    /// The index speaks of a file that is not there.
    #[error("the segment file is missing; the index knows offsets {first} to {last} in it")]
    MissingSegment {
        /// The first offset of its first row.
        first: Offset,
        /// The last offset of its last row.
        last: i64,
    },
    /// Bytes are gone that were on the disk.
    #[error("the log ends at offset {end}, but it was on the disk up to {durable_end}")]
    Shortened {
        /// Where it ends.
        end: Offset,
        /// The recovery point.
        durable_end: Offset,
    },
    /// Bytes are gone that the index knows, and no crash of the machine can have taken them.
    #[error("the log ends at offset {end}, but the index knows more, and the machine has not been started anew since")]
    BehindIndex {
        /// Where the known bytes end.
        end: Offset,
    },
    /// A producer's state speaks of a batch that is not there, or is another's.
    #[error("the state of producer {producer_id} has its batch at offset {offset}, where there is no such batch")]
    Producer {
        /// The producer.
        producer_id: ProducerId,
        /// The batch's first offset.
        offset: Offset,
    },
    /// A row of the index cannot be read, or RocksDB refuses.
    #[error("{0}")]
    Storage(StorageError),
    /// The index does not open; the files are checked without it.
    #[error("{0}")]
    Unopened(std::sync::Arc<OpenError>),
    /// A file that does not count.
    #[error("the file does not count, and the next start removes it")]
    Leftover,
    /// A file that klamm did not make.
    #[error("the file is none of klamm's")]
    Foreign,
    /// A truncation was interrupted.
    #[error("a truncation to offset {end} was interrupted; the next start finishes it")]
    PendingTruncation {
        /// Where the log will end.
        end: Offset,
    },
    /// A deletion was interrupted or is waiting for its time.
    #[error("the partition is being deleted")]
    Deleting,
    /// The directory has no row.
    #[error("the index does not know the partition, as after a power cut; its files were checked without it")]
    NoRow,
    /// The journal is not empty.
    #[error("the journal has {groups} groups of appends; the next start writes to the segments what they lack of it")]
    PendingJournal {
        /// How many.
        groups: usize,
    },
}

/// What of an index row does not fit the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RowFlaw {
    /// It points into a batch, or between.
    #[error("no batch begins at its position")]
    Begin,
    /// Its block ends within a batch.
    #[error("no batch ends where it says")]
    End,
    /// Its block ends behind the file.
    #[error("the file ends before")]
    BehindFile,
    /// The block's bytes are not those that were written.
    #[error("the checksum of its bytes is another one")]
    Crc,
    /// Another first or last offset.
    #[error("the batches there have other offsets")]
    Offsets,
    /// Another largest timestamp, or another place of it.
    #[error("the largest timestamp there is another one")]
    MaxTimestamp,
    /// Its marks, by which a part of the block is found and checked, are not those of the batches there.
    #[error("the marks within its block are not those of the batches there")]
    Marks,
}

impl Flaw {
    /// Whether a start that scans these bytes ends the log here, if it may.
    pub(crate) fn ends_a_scan(&self) -> bool {
        matches!(self, Self::NoBatch { .. } | Self::WrongCrc { .. } | Self::OffsetsFall { .. })
    }

    /// Whether the file ends within a batch.
    pub(crate) fn is_cut_batch(&self) -> bool {
        matches!(self, Self::NoBatch { error: BatchError::Truncated { .. }, .. })
    }
}
