//! Kafka's record batch, format 2, read and patched where it lies.
//!
//! What it is *not*: it keeps no log, gives no offsets of its own accord, knows no producer state and no transactions. It has no parser for
//! formats 0 and 1, which Kafka 4 no longer stores. It knows no clock; the time of an append comes in.
//!
//! Invariants:
//! - Bytes from outside never make it panic, and never make it hold more memory than the caps allow: no length is believed before bytes of
//!   that length are there.
//! - A [`CheckedBatch`] has as many records as its header says, at offsets without gaps if a client sent it, and decompresses within the cap.
//! - A [`SequencedBatch`] has a checksum that fits. Its records are the very bytes that came in, unless the topic's codec is another one.
//! - The header is patched beside the records: a batch's bytes are not copied between socket and store.
//!
//! The life of a batch:
//!
//! ```text
//! bytes of a request -> check_produced -> CheckedBatch -> into_sequenced -> SequencedBatch -> the log
//! BatchBuilder -> CheckedBatch::from_trusted --^                                 ^-- all_replicated <- another broker
//! the log -> BatchIter -> BatchView -> walk_records, walk_record_heads
//! ```
//!
//! In Kafka: `DefaultRecordBatch`, `DefaultRecord`, `MemoryRecordsBuilder`, `LogValidator`, `ProduceRequest.validateRecords`,
//! `UnifiedLog.analyzeAndValidateRecords`, `Lz4BlockInputStream`, `EndTransactionMarker`; KIP-98 (the format), KIP-110 (zstd), KIP-390
//! (levels), KIP-467 (record errors), KIP-534 (delete horizon).
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod batch;
mod batches;
mod builder;
mod compress;
pub mod control;
mod decompress;
mod error;
mod fuzz;
mod header;
mod lz4;
mod produce;
mod records;
mod snappy;
mod source;

pub use batch::{CheckedBatch, SequencedBatch};
pub use batches::{BatchIter, BatchView};
pub use builder::BatchBuilder;
pub use control::EndTxnMarker;
pub use decompress::DecompressLimits;
pub use error::{BatchError, RecordFault};
pub use fuzz::fuzz_batch;
pub use header::{Attributes, BatchHeader, Codec, HEADER_BYTES, ProducerFields, TimestampType};
pub use produce::{AppendOrigin, InvalidReason, ProduceRefusal, ProduceRules, check_produced};
pub use records::{RecordHead, RecordHeader, RecordHeaders, RecordView, walk_record_heads, walk_records};
