//! Family 6, `index`: one row per block of a partition's log, which is some consecutive batches of one segment, about 64 KiB or what came in a
//! second. Owner: the partition's log. A row is written after its bytes; rows beyond the end of the bytes are dropped at recovery; rows of
//! dropped segments go with them.
//!
//! Key: 6, topic id (16), partition (4), offset of the block's first batch (8). Value: base offset of the segment (8), its generation (4),
//! position (8) and length (4) of the block, offset after its last record (8), largest timestamp (8, -1 = none), base offset of the first
//! batch that has it (8), CRC-32C of all the block's bytes (4). The checksum covers the batches' first 21 bytes, which their own does not. Then, if
//! the block has several pieces (an eighth of a block each, or one batch), for each of them: offset of its first batch, less the block's
//! (4), its position within the block (4), CRC-32C of its batches' first 21 bytes, one behind the other (4). By them a part of a block is checked
//! without the rest: those bytes have the batch's length and the checksum of all its others. Rows of older versions end before.

use model::{Offset, TopicIdPartition};

use super::{Fields, partition_prefix};

pub(crate) const ORDINAL: u8 = 6;
const ROW_BYTES: usize = 52;
const MARK_BYTES: usize = 12;

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

/// A piece of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Of its first batch.
    pub(crate) base_offset: Offset,
    /// Within the block.
    pub(crate) position: u32,
    /// Of the part of its batches that their own checksums do not cover.
    pub(crate) heads_crc: u32,
}

/// A row with its block's pieces in order; none if the block is one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) row: Row,
    pub(crate) marks: Vec<Mark>,
}

/// Where a piece lies in its segment, and its mark's checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) position: u64,
    pub(crate) end: u64,
    pub(crate) heads_crc: u32,
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

    fn encode(&self, marks: usize) -> Vec<u8> {
        let mut value = Vec::with_capacity(ROW_BYTES + marks * MARK_BYTES);
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

    /// The row without the pieces.
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

impl Block {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = self.row.encode(self.marks.len());
        let places = self.marks.iter().map(|mark| Some((u32::try_from(mark.base_offset - self.row.base_offset).ok()?, mark)));
        // Where compaction left so large a gap that an offset does not fit, the block is checked as a whole.
        for (offset, mark) in places.collect::<Option<Vec<_>>>().into_iter().flatten() {
            value.extend_from_slice(&offset.to_be_bytes());
            value.extend_from_slice(&mark.position.to_be_bytes());
            value.extend_from_slice(&mark.heads_crc.to_be_bytes());
        }
        value
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let row = Row::decode(key, value)?;
        let mut fields = Fields::new(value.get(ROW_BYTES..)?);
        let mut marks = Vec::new();
        while !fields.is_empty() {
            let base_offset = row.base_offset + i64::from(fields.u32()?);
            marks.push(Mark { base_offset, position: fields.u32()?, heads_crc: fields.u32()? });
        }
        let is_ordered = marks.windows(2).all(|pair| matches!(pair, [before, after] if before.position < after.position));
        let is_inside = marks.first().is_none_or(|first| first.position == 0) && marks.last().is_none_or(|last| last.position < row.length);
        (is_ordered && is_inside).then_some(Self { row, marks })
    }

    /// All pieces in order; none if the block is checked as a whole.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece> {
        let ends = self.marks.iter().skip(1).map(|mark| mark.position).chain([self.row.length]);
        let at = |position: u32| self.row.position.saturating_add(u64::from(position));
        self.marks.iter().zip(ends).map(move |(mark, end)| Piece { position: at(mark.position), end: at(end), heads_crc: mark.heads_crc })
    }

    /// Begin and end of the piece with the last batch at or before an offset, or of the whole block.
    pub(crate) fn bounds_at(&self, offset: Offset) -> (u64, u64) {
        let after = self.marks.partition_point(|mark| mark.base_offset <= offset);
        let piece = after.checked_sub(1).and_then(|at| self.pieces().nth(at));
        piece.map_or((self.row.position, self.row.end_position()), |piece| (piece.position, piece.end))
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
        let key_of_row = key(id, row.base_offset);
        let mark = |offset, position, heads_crc| Mark { base_offset: Offset::new_or_zero(offset), position, heads_crc };
        let block = Block { row, marks: vec![mark(300, 0, 1), mark(304, 50, 2)] };
        for block in [block.clone(), Block { row, marks: Vec::new() }] {
            assert_eq!(Row::decode(&key_of_row, &block.encode()), Some(row));
            assert_eq!(Block::decode(&key_of_row, &block.encode()), Some(block));
        }
        assert_eq!(block.bounds_at(Offset::new_or_zero(303)), (77, 127));
        assert_eq!(block.bounds_at(Offset::new_or_zero(304)), (127, 176));
        assert_eq!(Block { row, marks: Vec::new() }.bounds_at(Offset::new_or_zero(304)), (77, 176));
        let mut cut = block.encode();
        cut.pop();
        assert_eq!(Block::decode(&key_of_row, &cut), None);
        let outside = Block { row, marks: vec![mark(300, 0, 1), mark(304, 99, 2)] };
        assert_eq!(Block::decode(&key_of_row, &outside.encode()), None);
        assert!(key(id, Offset::new_or_zero(255)) < key(id, Offset::new_or_zero(256)));
    }
}
