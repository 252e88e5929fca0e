//! Walks over the batches of a segment file, header by header or byte by byte.

use std::sync::Arc;

use model::TopicIdPartition;
use record_batch::{BatchHeader, BatchView, HEADER_BYTES};

use crate::StorageError;
use crate::engine::Engine;
use crate::segment::Segment;

const CHUNK_MIN_BYTES: usize = 4 << 10;
const CHUNK_MAX_BYTES: usize = 256 << 10;

/// What lies at the walker's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A header that makes sense, of a batch that ends before the walk does.
    Batch(BatchHeader),
    /// Nothing: the walk is over.
    End,
    /// Bytes that are no batch, or only a part of one.
    Bad,
}

/// A walk over a range of a file that begins with a batch.
pub(crate) struct Walker<'a> {
    engine: &'a Engine,
    segment: &'a Arc<Segment>,
    position: u64,
    end: u64,
    /// The bytes from `buffer_from` on.
    buffer: Vec<u8>,
    buffer_from: u64,
    chunk: usize,
    may_wait: bool,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(engine: &'a Engine, segment: &'a Arc<Segment>, position: u64, end: u64) -> Self {
        Self { engine, segment, position, end, buffer: Vec::new(), buffer_from: position, chunk: CHUNK_MIN_BYTES, may_wait: true }
    }

    /// A walk that fails where it would have to wait for the disk.
    pub(crate) fn impatient(engine: &'a Engine, segment: &'a Arc<Segment>, position: u64, end: u64) -> Self {
        Self { may_wait: false, ..Self::new(engine, segment, position, end) }
    }

    /// The same walk by one who has read some bytes from its begin on.
    pub(crate) fn with_bytes(self, bytes: Vec<u8>) -> Self {
        Self { buffer: bytes, ..self }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The header at the position.
    pub(crate) fn peek(&mut self) -> Result<Next, StorageError> {
        if self.position >= self.end {
            return Ok(Next::End);
        }
        let Some(bytes) = self.bytes(HEADER_BYTES)? else { return Ok(Next::Bad) };
        let Ok(header) = BatchHeader::parse(bytes) else { return Ok(Next::Bad) };
        let size = u64::try_from(header.size_bytes()).unwrap_or(u64::MAX);
        let is_sane = header.base_offset >= 0 && header.last_offset_delta >= 0 && self.position.saturating_add(size) <= self.end;
        Ok(if is_sane { Next::Batch(header) } else { Next::Bad })
    }

    /// The whole batch whose header [`Walker::peek`] showed, if its checksum is right.
    pub(crate) fn whole(&mut self, header: &BatchHeader) -> Result<Option<&[u8]>, StorageError> {
        let bytes = self.bytes(header.size_bytes())?;
        Ok(bytes.filter(|bytes| BatchView::parse(bytes).is_ok_and(|view| view.crc_is_valid())))
    }

    /// Goes to the next batch.
    pub(crate) fn skip(&mut self, header: &BatchHeader) {
        self.position = self.position.saturating_add(u64::try_from(header.size_bytes()).unwrap_or(u64::MAX));
    }

    /// The next `count` bytes, if the range has so many.
    fn bytes(&mut self, count: usize) -> Result<Option<&[u8]>, StorageError> {
        let left = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        if count > left {
            return Ok(None);
        }
        let mut start = usize::try_from(self.position.saturating_sub(self.buffer_from)).unwrap_or(usize::MAX);
        if start.saturating_add(count) > self.buffer.len() {
            self.buffer.resize(self.chunk.max(count).min(left), 0);
            self.chunk = (self.chunk * 2).min(CHUNK_MAX_BYTES);
            self.buffer_from = self.position;
            start = 0;
            let read = if self.may_wait {
                self.segment.read_exact_at(&self.engine.handles, &mut self.buffer, self.position)
            } else {
                self.segment.read_cached_at(&mut self.buffer, self.position)
            };
            if let Err(error) = read {
                self.buffer.clear();
                return Err(error);
            }
        }
        Ok(self.buffer.get(start..start + count))
    }
}

/// The error for bytes that are not what was written.
pub(crate) fn corrupt(partition: TopicIdPartition, segment: &Segment, position: u64) -> StorageError {
    StorageError::Corrupt { partition, path: segment.path.clone(), position }
}
