//! Family 12, `cleaned_segment`: one row per segment file that a compaction wrote, which says what it stands for. Owner: the partition's log.
//! Written with a sync when the file takes the place of older ones, together with its index rows; it is what makes the file count. A truncation
//! shortens or removes it; it goes when a later compaction replaces its file, when the log starts behind it, and with the partition.
//!
//! Of the files whose base offset lies in the row's range only the row's own counts.
//!
//! Key: 12, topic id (16), partition (4), base offset (8). Value: generation (4), end of the range of offsets that it stands for (8).

use model::{Offset, TopicIdPartition};

use super::{Fields, partition_prefix};

pub(crate) const ORDINAL: u8 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) base_offset: Offset,
    pub(crate) generation: u32,
    /// Compaction may leave no record at the range's end, so that the bytes do not tell it.
    pub(crate) end_offset: Offset,
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
    /// Whether a segment with this base is the row's, or one that it replaced.
    pub(crate) fn covers(&self, base_offset: Offset) -> bool {
        (self.base_offset..self.end_offset).contains(&base_offset)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(12);
        value.extend_from_slice(&self.generation.to_be_bytes());
        value.extend_from_slice(&self.end_offset.get().to_be_bytes());
        value
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let mut key = Fields::of_key(key, ORDINAL)?;
        key.partition()?;
        let mut fields = Fields::new(value);
        Some(Self { base_offset: key.offset()?, generation: fields.u32()?, end_offset: fields.offset()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{PartitionIndex, TopicId};

    #[test]
    fn a_row_reads_as_itself_and_covers_what_it_stands_for() {
        let id = TopicIdPartition { topic_id: TopicId(uuid::Uuid::from_u128(1)), partition: PartitionIndex::ZERO };
        let [base_offset, inside, end_offset] = [10, 29, 30].map(Offset::new_or_zero);
        let row = Row { base_offset, generation: 7, end_offset };
        assert_eq!(Row::decode(&key(id, base_offset), &row.encode()), Some(row));
        assert_eq!([base_offset, inside, end_offset].map(|offset| row.covers(offset)), [true, true, false]);
    }
}
