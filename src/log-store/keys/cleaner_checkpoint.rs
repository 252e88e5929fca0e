//! Family 13, `cleaner_checkpoint`: the first offset of a partition that no compaction has looked at yet. Owner: the cleaner. Written with the last
//! swap of a cleaning; a truncation moves it back. Removed with the partition.
//!
//! Key: 13, topic id (16), partition (4). Value: offset (8).

use model::{Offset, TopicIdPartition};

use super::{Fields, partition_prefix};

pub(crate) const ORDINAL: u8 = 13;

pub(crate) fn key(id: TopicIdPartition) -> Vec<u8> {
    partition_prefix(ORDINAL, id)
}

pub(crate) fn encode(offset: Offset) -> [u8; 8] {
    offset.get().to_be_bytes()
}

pub(crate) fn decode(value: &[u8]) -> Option<Offset> {
    Fields::new(value).offset()
}
