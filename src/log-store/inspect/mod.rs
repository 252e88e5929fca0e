//! What lies in a data directory, for people: read as it is, never changed, whatever its state.
//!
//! It recovers nothing and serves nobody. The bytes of segments can be read while a broker writes them; what the index says only of a directory
//! that no broker has open, which stays so while a [`StoppedStore`] lives.
//!
//! ```text
//! a path -> place (what it is) -> segment_file (batches as they lie)          -> whoever prints them
//!                              -> verify (files, rows, state) -> segment_check, batch_check -> findings
//! ```

mod batch_check;
mod finding;
mod place;
mod segment_check;
mod segment_file;
mod stopped;
#[cfg(test)]
mod tests;
mod verify;

pub use finding::{Finding, Flaw, RowFlaw};
pub use place::{Place, PlaceError, partitions_in, place_of, segments_in};
pub use segment_file::{Piece, SegmentFile, Step};
pub use stopped::StoppedStore;
pub use verify::{Checked, Watcher, verify_files, verify_segment, verify_stopped};

/// What is shown of a batch, by the names of its own crate.
pub use record_batch::{BatchView, DecompressLimits, EndTxnMarker, RecordView, TimestampType};
