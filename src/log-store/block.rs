//! The block that is being filled: what its index row will say.

use model::Offset;
use record_batch::BatchHeader;

use crate::keys::index::Row;

/// Above this size two checksums are joined by arithmetic instead of reading the bytes once more.
const COMBINE_MIN_BYTES: usize = 64 << 10;

/// The bytes of a batch before the part that its own checksum covers.
const UNCOVERED_BYTES: usize = 21;

/// Batches of one segment since the last index row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenBlock {
    row: Row,
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
        }
    }

    /// Adds a batch that was written at the block's end. Its checksum must be right.
    pub(crate) fn add(&mut self, header: &BatchHeader, head: &[u8], tail: &[u8]) {
        let row = &mut self.row;
        if row.length == 0 {
            // After compaction a segment's first batch may begin later.
            row.base_offset = Offset::new_or_zero(header.base_offset);
            row.max_timestamp_offset = row.base_offset;
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
    pub(crate) fn close(&mut self) -> Row {
        let row = self.row;
        *self = Self::new(row.segment_base, row.generation, row.end_offset, row.end_position());
        row
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
            block.add(batch.header(), batch.head(), batch.tail());
            all.extend_from_slice(&batch.to_bytes());
        }
        let row = block.close();
        assert_eq!(row.crc, crc32c::crc32c(&all));
        assert_eq!((row.end_offset.get(), row.max_timestamp, usize::try_from(row.length).unwrap()), (3, 5, all.len()));
        assert!(block.is_empty());
    }
}
