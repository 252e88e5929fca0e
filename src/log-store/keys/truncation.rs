//! Family 9, `truncation`: the intent to cut a partition's log. Owner: the partition's log. Written with a sync before a byte is cut, removed
//! with a sync after the cut is on the disk; recovery finishes an intent that it finds.
//!
//! Key: 9, topic id (16), partition (4). Value: the new log end (8), base offset of the segment that is cut (8), position of the cut (8).

use model::{Offset, TopicIdPartition};

use super::{Fields, partition_prefix};

pub(crate) const ORDINAL: u8 = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) log_end: Offset,
    pub(crate) segment_base: Offset,
    pub(crate) position: u64,
}

pub(crate) fn key(id: TopicIdPartition) -> Vec<u8> {
    partition_prefix(ORDINAL, id)
}

impl Row {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(24);
        value.extend_from_slice(&self.log_end.get().to_be_bytes());
        value.extend_from_slice(&self.segment_base.get().to_be_bytes());
        value.extend_from_slice(&self.position.to_be_bytes());
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(value);
        Some(Self { log_end: fields.offset()?, segment_base: fields.offset()?, position: fields.u64()? })
    }
}
