//! The block that is being filled: what its index row will say.

use model::Offset;
use record_batch::BatchHeader;

use crate::keys::index::{Block, Mark, Row};

/// Above this size two checksums are joined by arithmetic instead of reading the bytes once more.
const COMBINE_MIN_BYTES: usize = 64 << 10;

/// The bytes of a batch before the part that its own checksum covers.
pub(crate) const UNCOVERED_BYTES: usize = 21;

/// Batches of one segment since the last index row.
#[derive(Clone, Debug)]
pub(crate) struct OpenBlock {
    row: Row,
    marks: Vec<Mark>,
}

impl OpenBlock {
    /// An empty block at the given place.
    pub(crate) fn new(segment_base: Offset, generation: u32, base_offset: Offset, position: u64) -> Self {
        Self {
            row: Row {
                base_offset,
                segment_base,
                generation,
                position,
                length: 0,
                end_offset: base_offset,
                max_timestamp: -1,
                max_timestamp_offset: base_offset,
                crc: 0,
            },
            marks: Vec::new(),
        }
    }

    /// Adds a batch that was written at the block's end. Its checksum must be right. A piece of the block ends at `piece_bytes`.
    pub(crate) fn add(&mut self, header: &BatchHeader, head: &[u8], tail: &[u8], piece_bytes: u32) {
        let row = &mut self.row;
        if row.length == 0 {
            // After compaction a segment's first batch may begin later.
            row.base_offset = Offset::new_or_zero(header.base_offset);
            row.max_timestamp_offset = row.base_offset;
        }
        let uncovered = head.get(..UNCOVERED_BYTES).unwrap_or(head);
        match self.marks.last_mut().filter(|mark| row.length.saturating_sub(mark.position) < piece_bytes) {
            Some(mark) => mark.heads_crc = crc32c::crc32c_append(mark.heads_crc, uncovered),
            None => self.marks.push(Mark {
                base_offset: Offset::new_or_zero(header.base_offset),
                position: row.length,
                heads_crc: crc32c::crc32c(uncovered),
            }),
        }
        let size = head.len() + tail.len();
        row.crc = match head.get(..UNCOVERED_BYTES) {
            Some(uncovered) if size >= COMBINE_MIN_BYTES => {
                let crc = crc32c::crc32c_append(row.crc, uncovered);
                crc32c::crc32c_combine(crc, header.crc, size - UNCOVERED_BYTES)
            }
            _ => crc32c::crc32c_append(crc32c::crc32c_append(row.crc, head), tail),
        };
        row.length = row.length.saturating_add(u32::try_from(size).unwrap_or(u32::MAX));
        row.end_offset = Offset::new_or_zero(header.next_offset());
        // What compaction left of a batch may name a time that none of its records has any more.
        if header.max_timestamp > row.max_timestamp && header.record_count > 0 {
            row.max_timestamp = header.max_timestamp;
            row.max_timestamp_offset = Offset::new_or_zero(header.base_offset);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.row.length == 0
    }

    pub(crate) fn length(&self) -> usize {
        usize::try_from(self.row.length).unwrap_or(usize::MAX)
    }

    /// Ends the block and begins the next one behind it.
    pub(crate) fn close(&mut self) -> Block {
        let row = self.row;
        let next = Self::new(row.segment_base, row.generation, row.end_offset, row.end_position());
        let marks = std::mem::replace(self, next).marks;
        // One piece alone is the block.
        Block { row, marks: if marks.len() > 1 { marks } else { Vec::new() } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record_batch::{BatchBuilder, CheckedBatch};

    #[test]
    fn a_blocks_checksum_is_that_of_its_bytes_whatever_the_batches_sizes() {
        let mut block = OpenBlock::new(Offset::ZERO, 0, Offset::ZERO, 0);
        let mut all = Vec::new();
        for size in [10, 100_000, 10] {
            let mut builder = BatchBuilder::new();
            builder.append(5, None, Some(&vec![7; size]), &[]);
            let checked = CheckedBatch::from_trusted(builder.build()).unwrap();
            let batch = checked.into_sequenced(block.row.end_offset, model::LeaderEpoch::ZERO, None);
            block.add(batch.header(), batch.head(), batch.tail(), 8 << 10);
            all.extend_from_slice(&batch.to_bytes());
        }
        let Block { row, marks } = block.close();
        assert_eq!(marks.iter().map(|mark| mark.base_offset.get()).collect::<Vec<_>>(), [0, 2], "two make the first piece");
        assert_eq!(row.crc, crc32c::crc32c(&all));
        assert_eq!((row.end_offset.get(), row.max_timestamp, usize::try_from(row.length).unwrap()), (3, 5, all.len()));
        assert!(block.is_empty());
    }
}
