//! Family 3, `recovery_point`: how far a partition's bytes are known to be on the disk. Owner: the sync thread, which moves it after an
//! fdatasync; a truncation moves it back. Removed with the partition.
//!
//! Key: 3, topic id (16), partition (4). Value: offset (8), base offset of the segment (8), position in it (8).

use model::{Offset, TopicIdPartition};

use super::{Fields, partition_prefix};

pub(crate) const ORDINAL: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Row {
    pub(crate) offset: Offset,
    pub(crate) segment_base: Offset,
    pub(crate) position: u64,
}

pub(crate) fn key(id: TopicIdPartition) -> Vec<u8> {
    partition_prefix(ORDINAL, id)
}

impl Row {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(24);
        value.extend_from_slice(&self.offset.get().to_be_bytes());
        value.extend_from_slice(&self.segment_base.get().to_be_bytes());
        value.extend_from_slice(&self.position.to_be_bytes());
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(value);
        Some(Self { offset: fields.offset()?, segment_base: fields.offset()?, position: fields.u64()? })
    }
}
