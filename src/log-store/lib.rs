//! The partition store: the bytes of record batches in append-only segment files, and everything else (keys, index, state) in one RocksDB.
//!
//! What it is *not*: it knows no topics' names, no replication, no consumer's rights; it knows no tokio (it has three threads of its own and
//! calls back); it never looks at records, except to find one by its time. It is the only user of RocksDB.
//!
//! Invariants:
//! - The bytes are the truth. RocksDB is index and checkpoint: it may lag the bytes, it never leads them.
//! - An append is acknowledged when the operating system has its bytes, so it survives the process's death ([`Durability::Os`], Kafka's
//!   default), or when the disk has them ([`Durability::Group`], by the `journal`).
//! - A batch is stored as it was produced, its header patched; nothing ever overwrites a byte of a segment. Compaction writes new segments.
//! - No byte is served that was neither written nor checked in this life of the process ([`ReadError::Corrupt`] instead).
//! - What is dropped at a log's start is dropped by a synced row before a file goes.
//! - A failed write or sync is never acknowledged and never tried again as if nothing had happened: the partition stops
//!   ([`StorageError::Poisoned`]), except on a full disk, after the torn part was taken back.
//! - Offsets are dense per append and never given twice. Readers hold no lock across I/O; nothing ticks while nothing is owed.
//!
//! A data directory:
//!
//! ```text
//! klamm.layout                         "klamm 2"; its lock says that the directory is in use
//! klamm.sequence                       what the index has reached, so that a lost part of it is noticed
//! klamm.reserve                        blocks that are held for an open on a full disk
//! index/                               RocksDB: families default, index, synced (src/log-store/keys/ has the rows)
//! journal/<number>.journal             with Durability::Group: what is acknowledged and may not be in its segments on the disk
//! partitions/<topic id>-<partition>/   made at the first append
//!     00000000000000000000.0.log       <base offset>.<generation>.log: record batches as on the wire
//!     00000000000000000000.1.cleaned   what a compaction is writing, or has written and not named yet
//!     ....log.7.deleted                dropped by retention or replaced by a compaction, removed after file.delete.delay.ms or at the next open
//! ```
//!
//! The path of an append: [`Store::append`] -> `commits` (on which thread) -> `committer` (gathers what has arrived) -> `append` (producers, offsets, one write) -> the
//! request's `done` (with [`Durability::Group`] by way of `journal`) -> `committer` (index rows) -> `sync` (recovery points). Of a read:
//! [`PartitionLog::read`] -> `tail` or `read` -> `verify`. Of a check of retention: [`Store::retain`] -> `retention`, and later
//! [`Store::remove_due`]. Of an open: [`Store::open`] -> `journal` (replay); [`Store::open_partition`] -> `recovery`.
//!
//! Compaction is `compaction`'s: its caller brings thread and clock. [`inspect`] looks at a directory without a store, for `klamm log`.
//!
//! In Kafka: `LogManager`, `UnifiedLog`, `LocalLog`, `LogSegment`, `OffsetIndex`, `TimeIndex`, `ProducerStateManager`,
//! `LeaderEpochFileCache`; KIP-98, KIP-101, KIP-360.
#![doc = include_str!("docs/0001-segments-beside-rocksdb.md")]
#![doc = include_str!("docs/0002-a-journal-of-its-own.md")]
#![doc = include_str!("docs/0004-what-a-log-loses-at-its-start.md")]
#![doc = include_str!("docs/0005-a-reserve-for-the-next-open.md")]
#![doc = include_str!("docs/0006-small-appends-where-they-are-asked-for.md")]
#![doc = include_str!("docs/damage.md")]
#![doc = include_str!("docs/bench.md")]
#![doc = include_str!("docs/power-cuts.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod append;
mod append_request;
mod append_write;
mod ballast;
mod block;
mod commits;
mod committer;
mod compaction;
mod engine;
mod errors;
mod failpoints;
mod figures;
pub mod inspect;
mod journal;
mod keys;
mod layout;
mod leader_epochs;
mod missing;
mod options;
mod partition_log;
mod producer_search;
mod producer_state;
mod queue;
mod read;
mod read_now;
mod recovery;
mod replicate;
mod retention;
mod segment;
mod sequence_mark;
mod space;
mod store;
mod sync;
mod synced_log;
mod tail;
mod timestamps;
mod transactions;
mod truncate;
mod verification;
mod verify;
mod view;
mod walk;

pub use append_request::{AppendDone, AppendRequest, Appended};
pub use compaction::{
    Choice, Chosen, CleanError, Cleaner, Cleaning, CompactionRules, Due, LogToClean, Pace, choose_logs, give_way_to_other_threads,
};
pub use errors::{AppendError, OpenError, ReadError, StorageError};
pub use failpoints::{FAILPOINTS, FailAction, Failpoints, InvalidFailpoint};
pub use figures::StoreFigures;
pub use layout::is_in_use;
pub use options::{Durability, LogConfig, StoreOptions};
pub use partition_log::PartitionLog;
pub use producer_state::ProducerSnapshot;
pub use read::ReadRange;
pub use replicate::ReplicateRequest;
pub use retention::plan::{DropReason, Retention};
pub use retention::{Retained, RetentionCheck};
pub use store::{Appends, Store};
pub use synced_log::SyncedLog;
pub use timestamps::TimedOffset;
pub use transactions::AbortedTransaction;
pub use verification::{TransactionCheck, VerificationGuard, VerifiedProducer};
