//! Compaction: of each key only the newest record is kept, offsets and order as they were.
//!
//! The path of a cleaning: [`choose_logs`] -> `plan` (which log, which part, which segments together) -> [`Cleaner::clean`] -> `map` (each
//! key's newest offset in the dirty part) -> `filter` (batch by batch) -> `draft` (the new file) -> `swap`; of an open: `generations`.
//!
//! Invariants:
//! - The segment that is appended to, and what lies at or above the last stable offset, is not touched; nor is what has no index row yet.
//! - A file counts from one synced write on, and the files that it replaces count until then. A crash at any moment leaves one or the other.
//! - A batch of which nothing goes is kept byte for byte.
//! - Memory is the map's, within its limit, and a batch at a time.
//!
//! In Kafka: `LogCleaner`, `Cleaner`, `LogCleanerManager`, `SkimpyOffsetMap`, `MemoryRecords.filterTo`; KIP-58, KIP-354 (lags), KIP-534.
#![doc = include_str!("../docs/0003-compaction-by-generations.md")]

mod draft;
mod filter;
pub(crate) mod generations;
mod map;
mod plan;
mod run;
mod swap;

pub use plan::CompactionRules;
pub use run::{Choice, Chosen, CleanError, Cleaner, Cleaning, Due, LogToClean, Pace, choose_logs, give_way_to_other_threads};
