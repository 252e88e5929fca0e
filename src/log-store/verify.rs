//! No byte is served that was neither written nor checked in this life of the process: a block is checked against its row's checksum when it is
//! first read, or as many pieces of it as are read, and bytes without a row batch by batch.

use std::io::ErrorKind;
use std::sync::Arc;

use model::Offset;
use record_batch::{BatchHeader, BatchView};

use crate::StorageError;
use crate::block::UNCOVERED_BYTES;
use crate::keys::index::{Block, Piece, Row};
use crate::keys::{self, Family};
use crate::partition_log::Inner;
use crate::segment::Segment;
use crate::view::Span;
use crate::walk::{Next, Walker, corrupt};

const CHUNK_BYTES: u64 = 256 << 10;

impl Inner {
    /// Checks the bytes `from..end` of a segment where that has not been done. A batch begins at `from`, in the block that begins with
    /// `from_offset`, or in none.
    pub(crate) fn verify(&self, span: &Span, from_offset: Offset, from: u64, end: u64) -> Result<(), StorageError> {
        if span.segment.is_verified(from, end) {
            return Ok(());
        }
        let mut position = from;
        for block in self.blocks_of(span, from_offset, end)? {
            let row = block.row;
            if row.end_position() <= position {
                continue;
            }
            self.verify_batches(span, position, row.position)?;
            self.verify_part(span, &block, position.max(row.position), end)?;
            position = row.end_position();
        }
        self.verify_batches(span, position, end)
    }

    /// The blocks of a segment from an offset on that begin before a position.
    fn blocks_of(&self, span: &Span, from_offset: Offset, end: u64) -> Result<Vec<Block>, StorageError> {
        let mut blocks = Vec::new();
        self.each_row_of(span, from_offset, end, |key, value| {
            blocks.push(Block::decode(key, value)?);
            Some(())
        })?;
        Ok(blocks)
    }

    /// The rows of a segment's blocks from an offset on that begin before a position.
    pub(crate) fn rows_of(&self, span: &Span, from_offset: Offset, end: u64) -> Result<Vec<Row>, StorageError> {
        let mut rows = Vec::new();
        self.each_row_of(span, from_offset, end, |key, value| {
            rows.push(Row::decode(key, value)?);
            Some(())
        })?;
        Ok(rows)
    }

    fn each_row_of(
        &self,
        span: &Span,
        from_offset: Offset,
        end: u64,
        mut each: impl FnMut(&[u8], &[u8]) -> Option<()>,
    ) -> Result<(), StorageError> {
        let segment = &span.segment;
        let (from, last) = (keys::index::key(self.id, from_offset), keys::index::key(self.id, span.end_offset));
        let unreadable = StorageError::UnreadableRow { family: "index" };
        self.engine.scan(Family::Index, &from, &last, |key, value| {
            let row = Row::decode(key, value).ok_or(unreadable.clone())?;
            let is_wanted = row.segment_base == segment.base_offset && row.generation == segment.generation && row.position < end;
            if is_wanted {
                each(key, value).ok_or(unreadable.clone())?;
            }
            Ok(is_wanted)
        })
    }

    /// Checks the pieces of a block that have bytes of `from..end`, with one read. Gives the bytes that it read, from the first of these pieces on; it
    /// may be none.
    pub(crate) fn verify_part(&self, span: &Span, block: &Block, from: u64, end: u64) -> Result<Vec<u8>, StorageError> {
        let (segment, row) = (&span.segment, &block.row);
        if segment.is_verified(from, end.min(row.end_position())) {
            return Ok(Vec::new());
        }
        let pieces: Vec<Piece> = block.pieces().filter(|piece| piece.end > from && piece.position < end).collect();
        let (from, end) = match (pieces.first(), pieces.last()) {
            (Some(first), Some(last)) if (first.position, last.end) != (row.position, row.end_position()) => (first.position, last.end),
            _ => return self.verify_block(span, row).map(|()| Vec::new()),
        };
        let mut buffer = vec![0; usize::try_from(end - from).unwrap_or(usize::MAX)];
        self.read(segment, &mut buffer, from, row)?;
        let mut rest = &*buffer;
        for piece in &pieces {
            let length = usize::try_from(piece.end - piece.position).unwrap_or(usize::MAX);
            let is_good = rest.split_at_checked(length).filter(|(bytes, _)| heads_crc(bytes) == Some(piece.heads_crc));
            (_, rest) = is_good.ok_or_else(|| corrupt(self.id, segment, piece.position))?;
        }
        segment.mark_verified(from, end);
        Ok(buffer)
    }

    /// Fills the buffer; a file that ends before has lost what its row speaks of.
    fn read(&self, segment: &Arc<Segment>, buffer: &mut [u8], position: u64, row: &Row) -> Result<(), StorageError> {
        segment.read_exact_at(&self.engine.handles, buffer, position).map_err(|error| match &error {
            StorageError::Io { source, .. } if source.kind() == ErrorKind::UnexpectedEof => corrupt(self.id, segment, row.position),
            _ => error,
        })
    }

    /// Checks one block against its row.
    pub(crate) fn verify_block(&self, span: &Span, row: &Row) -> Result<(), StorageError> {
        let segment = &span.segment;
        let (mut position, end) = (row.position, row.end_position());
        if segment.is_verified(position, end) {
            return Ok(());
        }
        let mut crc = 0;
        let mut buffer = Vec::new();
        while position < end {
            let size = (end - position).min(CHUNK_BYTES);
            buffer.resize(usize::try_from(size).unwrap_or(0), 0);
            self.read(segment, &mut buffer, position, row)?;
            crc = crc32c::crc32c_append(crc, &buffer);
            position += size;
        }
        if crc != row.crc {
            return Err(corrupt(self.id, segment, row.position));
        }
        segment.mark_verified(row.position, end);
        Ok(())
    }

    /// Checks bytes without rows by the batches' own checksums.
    fn verify_batches(&self, span: &Span, from: u64, end: u64) -> Result<(), StorageError> {
        let segment = &span.segment;
        if segment.is_verified(from, end) {
            return Ok(());
        }
        let mut walker = Walker::new(&self.engine, segment, from, span.length);
        while walker.position() < end {
            let header = match walker.peek()? {
                Next::Batch(header) => header,
                Next::End => break,
                Next::Bad => return Err(corrupt(self.id, segment, walker.position())),
            };
            if walker.whole(&header)?.is_none() {
                return Err(corrupt(self.id, segment, walker.position()));
            }
            walker.skip(&header);
        }
        segment.mark_verified(from, walker.position());
        Ok(())
    }
}

/// The checksum of what the batches' own checksums do not cover; none if these are not batches, or one of their checksums is wrong.
fn heads_crc(batches: &[u8]) -> Option<u32> {
    let (mut crc, mut rest) = (0, batches);
    while !rest.is_empty() {
        let size = BatchHeader::parse(rest).ok()?.size_bytes();
        let (batch, next) = rest.split_at_checked(size)?;
        BatchView::parse(batch).ok().filter(BatchView::crc_is_valid)?;
        crc = crc32c::crc32c_append(crc, batch.get(..UNCOVERED_BYTES)?);
        rest = next;
    }
    Some(crc)
}
