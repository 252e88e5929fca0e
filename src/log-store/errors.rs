//! What can go wrong, each error with its facts; the sentences are what a person reads in the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TopicIdPartition};
use thiserror::Error;

/// Why a data directory was not opened. Its bytes are untouched.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process (or another broker of this one) has the directory open.
    #[error("data directory {} is in use by another broker", .path.display())]
    AlreadyInUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something, but not klamm's data.
    #[error("data directory {} is not empty and was not made by klamm; choose an empty or a new directory", .path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// A later klamm wrote the directory.
    #[error("data directory {} has layout version {found}, but this klamm knows versions up to {known}; use a newer klamm", .path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
        /// The version in the directory.
        found: u32,
        /// The newest version that this build reads.
        known: u32,
    },
    /// The index is there and a part of it is not. It is not made anew: it may have held rows.
    #[error("the index in data directory {} lacks its column family '{family}', so that a part of it is lost; take the directory from a copy, or begin with a new one", .path.display())]
    FamilyLost {
        /// The directory.
        path: PathBuf,
        /// The part.
        family: &'static str,
    },
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}", .path.display())]
    Unreadable {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// The index is older than it was: somebody has put another one there, or files of it were damaged or removed.
    #[error(
        "the index in data directory {} has lost writes that it had: it is at {found} and was at {expected}; restore the directory from a copy, or remove {} to go on with what is left",
        .path.display(), .mark.display()
    )]
    IndexLost {
        /// The directory.
        path: PathBuf,
        /// The file that says where it was.
        mark: PathBuf,
        /// RocksDB's newest sequence number.
        found: u64,
        /// What it had reached before.
        expected: u64,
    },
    /// RocksDB did not open, or a row in it cannot be read.
    #[error("cannot open the index in data directory {}: {source}", .path.display())]
    Index {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: StorageError,
    },
}

/// A failure of disk, file system or index. Kafka's KAFKA_STORAGE_ERROR.
#[derive(Debug, Error, Clone)]
pub enum StorageError {
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The answer.
        source: Arc<io::Error>,
    },
    /// RocksDB refused something.
    #[error("index: {0}")]
    Index(#[from] rocksdb::Error),
    /// A row of the index cannot be read.
    #[error("index: a row of family {family} cannot be read")]
    UnreadableRow {
        /// The key family.
        family: &'static str,
    },
    /// An earlier failure stopped the partition; the first error said why. It takes no more writes until it is opened again.
    #[error("partition {partition} takes no writes since an earlier storage failure")]
    Poisoned {
        /// The partition.
        partition: TopicIdPartition,
    },
    /// Stored bytes are not what was written. They are not served.
    #[error("partition {partition}: corrupt bytes in {} at position {position}", .path.display())]
    Corrupt {
        /// The partition.
        partition: TopicIdPartition,
        /// The segment file.
        path: PathBuf,
        /// Where the bad block or batch begins.
        position: u64,
    },
    /// The index speaks of a segment whose file is not there.
    #[error("partition {partition}: the segment file {} is missing", .path.display())]
    MissingSegment {
        /// The partition.
        partition: TopicIdPartition,
        /// The file.
        path: PathBuf,
    },
    /// Bytes are gone that had been brought to the disk.
    #[error("partition {partition}: the log in {} ends at offset {end}, but it was on the disk up to {durable_end}", .directory.display())]
    Shortened {
        /// The partition.
        partition: TopicIdPartition,
        /// Its directory.
        directory: PathBuf,
        /// Where it ends now.
        end: Offset,
        /// Its recovery point.
        durable_end: Offset,
    },
    /// An earlier failure stopped the journal; the first error said why. Nothing is written until the store is opened again.
    #[error("the store takes no writes since an earlier failure of its journal")]
    Stopped,
    /// The partition was deleted.
    #[error("partition {partition} was deleted")]
    Deleted {
        /// The partition.
        partition: TopicIdPartition,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StorageError {
    /// Wraps an answer of the operating system.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Whether what is stored of one partition is damaged: others can be served all the same, and waiting does not help.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::MissingSegment { .. } | Self::Shortened { .. } | Self::UnreadableRow { .. })
    }

    /// Whether a file was not there.
    pub(crate) fn is_missing_file(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the disk (or a quota) was full: the partition may go on once there is space again.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
            // RocksDB keeps the reason in its own words only.
            Self::Index(error) => error.as_ref().starts_with("IO error: No space left on device"),
            _ => false,
        }
    }
}

/// Why a read gave nothing.
#[derive(Debug, Error, Clone)]
pub enum ReadError {
    /// The offset lies outside the log.
    #[error("offset is outside the log, which begins at {log_start} and ends at {log_end}")]
    OutOfRange {
        /// The first offset that can be read.
        log_start: Offset,
        /// The next offset to be written.
        log_end: Offset,
    },
    /// The bytes there are not what was written; they are never served. Kafka's CORRUPT_MESSAGE.
    #[error("partition {partition}: corrupt bytes in {} at position {position}", .path.display())]
    Corrupt {
        /// The partition.
        partition: TopicIdPartition,
        /// The segment file.
        path: PathBuf,
        /// Where the bad block or batch begins.
        position: u64,
    },
    /// The partition was deleted.
    #[error("the partition was deleted")]
    Deleted,
    /// The disk or the index failed.
    #[error(transparent)]
    Storage(StorageError),
}

impl From<StorageError> for ReadError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupt { partition, path, position } => Self::Corrupt { partition, path, position },
            StorageError::Deleted { .. } => Self::Deleted,
            other @ (StorageError::Io { .. }
            | StorageError::Index(_)
            | StorageError::UnreadableRow { .. }
            | StorageError::Poisoned { .. }
            | StorageError::MissingSegment { .. }
            | StorageError::Shortened { .. }
            | StorageError::Stopped
            | StorageError::Closed) => Self::Storage(other),
        }
    }
}

/// Why batches were not appended.
#[derive(Debug, Error, Clone)]
pub enum AppendError {
    /// The batch does not follow the producer's last one. Kafka's OUT_OF_ORDER_SEQUENCE_NUMBER.
    #[error("producer {producer_id}: sequence {received} arrived where {expected:?} was expected")]
    OutOfOrderSequence {
        /// The producer.
        producer_id: ProducerId,
        /// The sequence that would have followed.
        expected: Sequence,
        /// The batch's first sequence.
        received: Sequence,
    },
    /// A newer term of the producer has written already. Kafka's INVALID_PRODUCER_EPOCH.
    #[error("producer {producer_id}: epoch {received} is older than {current}")]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: ProducerId,
        /// The newest term seen.
        current: ProducerEpoch,
        /// The batch's term.
        received: ProducerEpoch,
    },
    /// The coordinator's word on the transaction is missing, or not worth anything any more. Kafka's INVALID_TXN_STATE.
    #[error("the transaction of producer {producer_id} is not verified")]
    Unverified {
        /// The producer.
        producer_id: ProducerId,
    },
    /// The producer has a transaction open here and writes beside it. Kafka's INVALID_TXN_STATE.
    #[error("producer {producer_id} has a transaction open and writes outside of it")]
    OutsideOfTransaction {
        /// The producer.
        producer_id: ProducerId,
    },
    /// A coordinator of a later term has ended a transaction of the producer. Kafka's TRANSACTION_COORDINATOR_FENCED.
    #[error("producer {producer_id}: coordinator epoch {received} is older than {current}")]
    CoordinatorFenced {
        /// The producer.
        producer_id: ProducerId,
        /// The newest term seen.
        current: i32,
        /// The marker's term.
        received: i32,
    },
    /// The leader that asked is not the newest any more.
    #[error("leader epoch {received} is older than {current}")]
    StaleLeaderEpoch {
        /// The newest epoch.
        current: LeaderEpoch,
        /// The request's epoch.
        received: LeaderEpoch,
    },
    /// The log does not end where the caller thought.
    #[error("the log ends at {log_end}, not at {expected}")]
    UnexpectedEnd {
        /// What the caller thought.
        expected: Offset,
        /// Where it ends.
        log_end: Offset,
    },
    /// A replicated batch is of an epoch that cannot follow: older than that of the batch before it, or newer than the leader's.
    #[error("batch at offset {base_offset} is of leader epoch {received}, which cannot follow")]
    UnorderedEpoch {
        /// The batch's first offset.
        base_offset: Offset,
        /// Its epoch, as in its header.
        received: i32,
    },
    /// A replicated batch lies before the log's end.
    #[error("batch at offset {base_offset} lies before the log's end {log_end}")]
    BelowLogEnd {
        /// The batch's first offset.
        base_offset: Offset,
        /// Where the log ends.
        log_end: Offset,
    },
    /// The partition was deleted.
    #[error("the partition was deleted")]
    Deleted,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The disk or the index failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
