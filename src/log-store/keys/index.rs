//! Family 6, `index`: one row per block of a partition's log, which is some consecutive batches of one segment, about 64 KiB or what came in a
//! second. Owner: the partition's log. A row is written after its bytes; rows beyond the end of the bytes are dropped at recovery; rows of
//! dropped segments go with them.
//!
//! Key: 6, topic id (16), partition (4), offset of the block's first batch (8). Value: base offset of the segment (8), its generation (4),
//! position (8) and length (4) of the block, offset after its last record (8), largest timestamp (8, -1 = none), base offset of the first
//! batch that has it (8), CRC-32C of all the block's bytes (4). The checksum covers the batches' first 21 bytes, which their own does not.

use model::{Offset, TopicIdPartition};

use super::{Fields, partition_prefix};

pub(crate) const ORDINAL: u8 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) base_offset: Offset,
    pub(crate) segment_base: Offset,
    pub(crate) generation: u32,
    pub(crate) position: u64,
    pub(crate) length: u32,
    pub(crate) end_offset: Offset,
    pub(crate) max_timestamp: i64,
    pub(crate) max_timestamp_offset: Offset,
    pub(crate) crc: u32,
}

pub(crate) fn prefix(id: TopicIdPartition) -> Vec<u8> {
    partition_prefix(ORDINAL, id)
}

pub(crate) fn key(id: TopicIdPartition, base_offset: Offset) -> Vec<u8> {
    let mut key = prefix(id);
    key.extend_from_slice(&base_offset.get().to_be_bytes());
    key
}

impl Row {
    /// The position after the block.
    pub(crate) fn end_position(&self) -> u64 {
        self.position.saturating_add(u64::from(self.length))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(52);
        value.extend_from_slice(&self.segment_base.get().to_be_bytes());
        value.extend_from_slice(&self.generation.to_be_bytes());
        value.extend_from_slice(&self.position.to_be_bytes());
        value.extend_from_slice(&self.length.to_be_bytes());
        value.extend_from_slice(&self.end_offset.get().to_be_bytes());
        value.extend_from_slice(&self.max_timestamp.to_be_bytes());
        value.extend_from_slice(&self.max_timestamp_offset.get().to_be_bytes());
        value.extend_from_slice(&self.crc.to_be_bytes());
        value
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let mut key = Fields::of_key(key, ORDINAL)?;
        key.partition()?;
        let mut fields = Fields::new(value);
        Some(Self {
            base_offset: key.offset()?,
            segment_base: fields.offset()?,
            generation: fields.u32()?,
            position: fields.u64()?,
            length: fields.u32()?,
            end_offset: fields.offset()?,
            max_timestamp: fields.i64()?,
            max_timestamp_offset: fields.offset()?,
            crc: fields.u32()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{PartitionIndex, TopicId};

    #[test]
    fn an_index_row_reads_as_itself_and_keys_sort_by_offset() {
        let id = TopicIdPartition { topic_id: TopicId(uuid::Uuid::from_u128(1)), partition: PartitionIndex::ZERO };
        let row = Row {
            base_offset: Offset::new_or_zero(300),
            segment_base: Offset::new_or_zero(2),
            generation: 1,
            position: 77,
            length: 99,
            end_offset: Offset::new_or_zero(310),
            max_timestamp: -1,
            max_timestamp_offset: Offset::new_or_zero(300),
            crc: 5,
        };
        assert_eq!(Row::decode(&key(id, row.base_offset), &row.encode()), Some(row));
        assert!(key(id, Offset::new_or_zero(255)) < key(id, Offset::new_or_zero(256)));
    }
}
