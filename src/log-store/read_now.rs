//! Reading on a thread that must not wait for the disk: the same answer as [`PartitionLog::read`] where all that it takes is in memory (the
//! tail, RocksDB's buffers and cache, the page cache) and known to be good; else none, and the caller reads on a thread that may wait.
//!
//! A consumer that catches up is served this way, without being handed to another thread and back: with a mebibyte a fetch that hand-over costs
//! about as much CPU as everything else that is done for the fetch but the sending itself.

use model::{FileRange, Offset, Piece};

use crate::partition_log::{Inner, PartitionLog};
use crate::read::range_length;
use crate::view::{Span, View};
use crate::walk::{Next, Walker};
use crate::{ReadError, ReadRange, keys};

impl PartitionLog {
    /// [`PartitionLog::read`] without I/O that may wait; `None` if it would take such I/O, or if something is wrong, which the other says.
    #[must_use]
    pub fn read_now(&self, from: Offset, end: Offset, max_bytes: usize, at_least_one_batch: bool) -> Option<Result<ReadRange, ReadError>> {
        if self.is_warm(from) {
            return Some(self.read(from, end, max_bytes, at_least_one_batch));
        }
        let log = &*self.0;
        let view = log.view();
        if log.is_deleted() || from < log.log_start() || from >= end.min(view.log_end) {
            return None;
        }
        log.cached_range(&view, from, end.min(view.log_end), max_bytes, at_least_one_batch).map(Ok)
    }
}

impl Inner {
    fn cached_range(&self, view: &View, from: Offset, end: Offset, max_bytes: usize, at_least_one_batch: bool) -> Option<ReadRange> {
        let span = view.span_at(from).filter(|span| end >= span.end_offset)?;
        let segment = &span.segment;
        let file = segment.opened()?;
        let block_position = self.cached_block_at(view, span, from)?;
        let mut walker = Walker::impatient(&self.engine, segment, block_position, span.length);
        let first = loop {
            // No header is believed whose bytes were not checked.
            if !segment.is_verified(block_position, walker.position().saturating_add(1)) {
                return None;
            }
            match walker.peek().ok()? {
                Next::Batch(header) if header.next_offset() > from.get() => break header,
                Next::Batch(header) => walker.skip(&header),
                Next::End | Next::Bad => return None,
            }
        };
        let position = walker.position();
        let first = first.size_bytes();
        let available = usize::try_from(span.length.saturating_sub(position)).ok()?;
        if first > available || (first > max_bytes && !at_least_one_batch) {
            return None;
        }
        let length_bytes = range_length(first, available.min(max_bytes));
        let range_end = position.saturating_add(u64::try_from(length_bytes).ok()?);
        segment.is_verified(block_position, range_end).then(|| {
            let range = FileRange { file, position, length_bytes };
            ReadRange { pieces: vec![Piece::File(range)], length_bytes }
        })
    }

    /// The position of a batch at or before the offset, as `Inner::checked_at` finds it.
    fn cached_block_at(&self, view: &View, span: &Span, offset: Offset) -> Option<u64> {
        let segment = &span.segment;
        let unindexed = view.unindexed;
        if offset >= unindexed.offset && segment.base_offset >= unindexed.segment_base {
            return Some(if segment.base_offset == unindexed.segment_base { unindexed.position } else { 0 });
        }
        let key = keys::index::key(self.id, offset);
        let (key, value) = self.engine.last_cached_at_or_before(keys::Family::Index, &keys::index::prefix(self.id), &key)?;
        let block = keys::index::Block::decode(&key, &value)?;
        let (from, end) = block.bounds_at(offset);
        let is_here = block.row.segment_base == segment.base_offset && block.row.generation == segment.generation;
        (is_here && segment.is_verified(from, end)).then_some(from)
    }
}
