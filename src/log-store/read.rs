//! Reading: from an offset to pieces that a socket takes.
//!
//! The newest small batches come from memory. Everything else is a range of a file that goes out by sendfile: index row, walk over at most one
//! block's headers, check of blocks that this process has not seen, range. Nothing is locked across I/O.
//!
//! In Kafka: `UnifiedLog.read`, `LocalLog.read`, `LogSegment.read`, `FileRecords`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use model::{FileRange, Offset, Piece};
use record_batch::{BatchHeader, HEADER_BYTES};

use crate::keys::index::Block;
use crate::keys::{self, Family};
use crate::partition_log::{Inner, PartitionLog};
use crate::tail::{SENDFILE_MIN_BYTES, TailBatch};
use crate::view::{Span, View};
use crate::walk::{Next, Walker, corrupt};
use crate::{ReadError, StorageError};

/// Above this number of batches a small range is joined into one piece.
const PIECES_MAX: usize = 4;

/// A range of a log, whole batches from the first one on; only the last one may be cut.
#[derive(Clone, Debug, Default)]
pub struct ReadRange {
    /// The bytes in order.
    pub pieces: Vec<Piece>,
    /// How many bytes the pieces have together.
    pub length_bytes: usize,
}

impl ReadRange {
    /// Reads the pieces into memory, for those who do not write to a socket (a coordinator that loads its partition).
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn into_bytes(self) -> std::io::Result<Bytes> {
        let mut all = BytesMut::with_capacity(self.length_bytes);
        for piece in self.pieces {
            match piece {
                Piece::Memory(bytes) => all.extend_from_slice(&bytes),
                Piece::File(range) => {
                    let start = all.len();
                    all.resize(start + range.length_bytes, 0);
                    let target = all.get_mut(start..).unwrap_or_default();
                    std::os::unix::fs::FileExt::read_exact_at(&*range.file, target, range.position)?;
                }
            }
        }
        Ok(all.freeze())
    }

    fn memory(bytes: Vec<Bytes>, length_bytes: usize) -> Self {
        Self { pieces: bytes.into_iter().map(Piece::Memory).collect(), length_bytes }
    }
}

/// Where a batch lies.
pub(crate) struct Place {
    pub(crate) header: BatchHeader,
    pub(crate) position: u64,
    /// The first offset of the block that contains it, and where checked bytes begin that do so, too.
    block_offset: Offset,
    checked_from: u64,
}

/// Bytes in which a look-up begins.
struct Checked {
    /// The first offset of their block.
    block_offset: Offset,
    /// The position of a batch at or before the one that is looked for.
    from: u64,
    /// Up to where all is checked.
    end: u64,
    /// What was read for that, from `from` on.
    bytes: Vec<u8>,
}

impl PartitionLog {
    /// Reads from the batch that contains `from`, batches that end at or before `end` (high watermark, last stable offset or log end). The
    /// range holds at most `max_bytes`, and may end inside a batch; if the first batch alone is larger, it is given whole with
    /// `at_least_one_batch` and not at all without. At the log's end, or where `end` leaves nothing, the range is empty.
    ///
    /// It may do I/O (index look-up, the check of a block's first read), so a network worker must not call it for cold ranges.
    ///
    /// # Errors
    /// If `from` lies outside the log, the bytes there are corrupt, or the disk fails.
    pub fn read(&self, from: Offset, end: Offset, max_bytes: usize, at_least_one_batch: bool) -> Result<ReadRange, ReadError> {
        let log = &*self.0;
        if log.is_deleted() {
            return Err(ReadError::Deleted);
        }
        let mut view = log.view();
        let log_start = log.log_start();
        if from < log_start || from > view.log_end {
            return Err(ReadError::OutOfRange { log_start, log_end: view.log_end });
        }
        let bound = end;
        let end = bound.min(view.log_end);
        if from >= end {
            return Ok(ReadRange::default());
        }
        if let Some(batches) = log.tail.range(from, end, max_bytes) {
            if let Ok(range) = log.tail_range(&batches, max_bytes, at_least_one_batch) {
                return Ok(range);
            }
            // The batches may be of a segment that was just replaced or dropped, and still be in memory for a moment.
            view = log.view();
        }
        let mut range = log.file_range(&view, from, bound.min(view.log_end), max_bytes, at_least_one_batch);
        while range.is_err() && !log.has_same_segments(&view) {
            // A compaction has replaced a file since the look-up: what is read now is as true. Or the log has lost it.
            view = log.view();
            if from < log.log_start() {
                return Err(ReadError::OutOfRange { log_start: log.log_start(), log_end: view.log_end });
            }
            // With its own end: all that lay before the older one may be compacted away.
            range = log.file_range(&view, from, bound.min(view.log_end), max_bytes, at_least_one_batch);
        }
        range.map_err(|error| {
            // A segment may be gone since the look-up.
            match error {
                _ if log.is_deleted() => ReadError::Deleted,
                StorageError::Io { .. } if from < log.log_start() => {
                    ReadError::OutOfRange { log_start: log.log_start(), log_end: log.log_end() }
                }
                error => error.into(),
            }
        })
    }

    /// Whether [`PartitionLog::read`] from this offset would find everything in memory or at a known place, so that a network worker may call
    /// it.
    #[must_use]
    pub fn is_warm(&self, from: Offset) -> bool {
        let log_end = self.log_end_offset();
        from >= log_end || self.0.tail.range(from, log_end, 0).is_some()
    }
}

impl Inner {
    fn tail_range(&self, batches: &[TailBatch], max_bytes: usize, at_least_one_batch: bool) -> Result<ReadRange, StorageError> {
        let Some(first) = batches.first() else { return Ok(ReadRange::default()) };
        if first.size_bytes > max_bytes && !at_least_one_batch {
            return Ok(ReadRange::default());
        }
        let length_bytes = batches.iter().map(|batch| batch.size_bytes).sum();
        let in_memory: Option<Vec<Bytes>> = batches.iter().map(|batch| batch.bytes.clone()).collect();
        match in_memory {
            Some(bytes) if length_bytes < SENDFILE_MIN_BYTES => {
                if bytes.len() <= PIECES_MAX {
                    return Ok(ReadRange::memory(bytes, length_bytes));
                }
                Ok(ReadRange::memory(vec![bytes.concat().into()], length_bytes))
            }
            _ => {
                let file = first.segment.file(&self.engine.handles)?;
                let range = FileRange { file, position: first.position, length_bytes };
                Ok(ReadRange { pieces: vec![Piece::File(range)], length_bytes })
            }
        }
    }

    fn file_range(
        &self,
        view: &View,
        from: Offset,
        end: Offset,
        max_bytes: usize,
        at_least_one_batch: bool,
    ) -> Result<ReadRange, StorageError> {
        let mut from = from;
        let (span, place) = loop {
            let Some(span) = view.span_at(from) else { return Ok(ReadRange::default()) };
            if let Some(place) = self.locate(view, span, from)? {
                break (span, place);
            }
            // A gap at a segment's end, left by compaction: go on with the next one.
            let is_last = view.active.as_ref().is_none_or(|active| Arc::ptr_eq(&active.segment, &span.segment));
            if is_last {
                return Ok(ReadRange::default());
            }
            from = span.end_offset.max(from + 1);
        };
        let limit =
            if end >= span.end_offset { span.length } else { self.locate(view, span, end)?.map_or(span.length, |place| place.position) };
        let available = usize::try_from(limit.saturating_sub(place.position)).unwrap_or(usize::MAX);
        let first = place.header.size_bytes();
        // The second: `end` lies inside the first batch.
        if (first > max_bytes && !at_least_one_batch) || first > available {
            return Ok(ReadRange::default());
        }
        let length_bytes = range_length(first, available.min(max_bytes));
        let range_end = place.position.saturating_add(u64::try_from(length_bytes).unwrap_or(u64::MAX));
        self.verify(span, place.block_offset, place.checked_from, range_end)?;
        let file = span.segment.file(&self.engine.handles)?;
        Ok(ReadRange { pieces: vec![Piece::File(FileRange { file, position: place.position, length_bytes })], length_bytes })
    }

    /// The first batch of the segment that ends after `offset`, its block checked. `None` if there is none in the segment.
    pub(crate) fn locate(&self, view: &View, span: &Span, offset: Offset) -> Result<Option<Place>, StorageError> {
        let Checked { block_offset, from: checked_from, end: mut checked, bytes } = self.checked_at(view, span, offset)?;
        let mut walker = Walker::new(&self.engine, &span.segment, checked_from, span.length).with_bytes(bytes);
        loop {
            // What lies behind must be checked before its headers are believed.
            if walker.position() >= checked && walker.position() < span.length {
                let next = (walker.position() + 1).min(span.length);
                self.verify(span, block_offset, walker.position(), next)?;
                checked = next;
            }
            match walker.peek()? {
                Next::Batch(header) if header.next_offset() > offset.get() => {
                    return Ok(Some(Place { header, position: walker.position(), block_offset, checked_from }));
                }
                Next::Batch(header) => walker.skip(&header),
                Next::End => return Ok(None),
                Next::Bad => return Err(corrupt(self.id, &span.segment, walker.position())),
            }
        }
    }

    /// Where to begin to look for an offset, those bytes checked.
    fn checked_at(&self, view: &View, span: &Span, offset: Offset) -> Result<Checked, StorageError> {
        let checked = |block_offset, from, end, bytes| Checked { block_offset, from, end, bytes };
        let segment = &span.segment;
        let unindexed = view.unindexed;
        if offset >= unindexed.offset && segment.base_offset >= unindexed.segment_base {
            let is_same = segment.base_offset == unindexed.segment_base;
            let (offset, position) = if is_same { (unindexed.offset, unindexed.position) } else { (segment.base_offset, 0) };
            // All of it was written or scanned in this life.
            return Ok(checked(offset, position, span.length, Vec::new()));
        }
        let key = keys::index::key(self.id, offset);
        let row = self.engine.last_at_or_before(Family::Index, &keys::index::prefix(self.id), &key)?;
        let block = row.map(|(key, value)| Block::decode(&key, &value).ok_or(StorageError::UnreadableRow { family: "index" }));
        match block.transpose()? {
            Some(block) if block.row.segment_base == segment.base_offset && block.row.generation == segment.generation => {
                let (from, end) = block.bounds_at(offset);
                Ok(checked(block.row.base_offset, from, end, self.verify_part(span, &block, from, end)?))
            }
            _ => Ok(checked(segment.base_offset, 0, 0, Vec::new())),
        }
    }
}

/// How much of what there may be is given: all of it, but for a rest behind the first batch in which not even a header has room, since for that the
/// disk would be read, and the next batch checked.
pub(crate) fn range_length(first: usize, length_max: usize) -> usize {
    if length_max < first.saturating_add(HEADER_BYTES) { first } else { length_max }
}
