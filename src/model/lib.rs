//! The words that every crate of klamm shares: offsets, epochs, ids, the row type of configuration tables.
//!
//! What it is *not*: it knows no wire format, no storage, no clock, no randomness. It has no behaviour beyond its own arithmetic.
//!
//! Invariants:
//! - A newtype never holds a wire sentinel: `Offset`, epochs and ids are never negative; absence is `Option`.
//! - [`LogOffsets`] always satisfies log start <= last stable <= high watermark <= log end, and its high watermark and log start never go back.
//!
//! In Kafka these are plain `long`s and `int`s all over `org.apache.kafka.common` and `server-common`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod config;
mod ids;
mod log_offsets;
mod partition_for;
mod piece;

pub use ids::{
    BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicIdPartition,
    TopicName, TopicPartition,
};
pub use log_offsets::LogOffsets;
pub use partition_for::partition_for;
pub use piece::{FileRange, Piece};
