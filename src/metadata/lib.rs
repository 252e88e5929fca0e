//! What the cluster knows about itself: the image, the records that change it, the deltas that say what changed, and the controller's
//! decisions, which turn a request and an image into records.
//!
//! What it is *not*: it proposes nothing and stores nothing (`quorum` does), it opens no partition (`broker` does), it answers no socket.
//! It knows no clock and no randomness: topic ids come in as an iterator.
//!
//! Invariants:
//! - An [`Image`] never changes. [`Image::apply`] makes the next one and shares with the old all that stayed as it was: a delta costs what
//!   changed, not what there is.
//! - Applying records one by one gives the same image as applying them at once, on every broker: nothing in `apply` depends on anything but
//!   the image, the log index and the records.
//! - A record that fits nothing (a partition of an unknown topic) changes nothing and is counted in [`Delta::ignored_records`].
//! - Of one topic id, leader epochs and partition epochs never go back.
//! - A broker's epoch is the log index of the record that registered it.
//! - The order of variants in [`MetadataRecord`] is an on-disk format: new ones go to the end.
//!
//! In Kafka: `org.apache.kafka.image` (image and delta), `metadata/src/main/resources/common/metadata` (records, KIP-631),
//! `org.apache.kafka.controller` (`ReplicationControlManager`, `ConfigurationControlManager`, `ClusterControlManager`,
//! `ProducerIdControlManager`), `LogConfig` and `ConfigHelper` for the configuration of topics.
//!
//! ```text
//!   request --controller--> records --quorum--> committed records --Image::apply--> (next Image, Delta) --> the broker's parts
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod apply;
pub mod client_quotas;
pub mod configs;
pub mod controller;
mod image;
mod records;
mod snapshot;
#[cfg(test)]
mod tests;

pub use apply::Delta;
pub use image::{Broker, Image, Partition, Topic, is_internal_topic};
pub use records::{
    ConfigResource, ConfigResourceType, DecodeError, Endpoint, FeatureRange, MetadataRecord, decode_records, encode_records,
};
pub use snapshot::SnapshotError;
