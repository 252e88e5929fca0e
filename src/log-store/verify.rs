//! No byte is served that was neither written nor checked in this life of the process: a block is checked against its row's checksum when it is
//! first read, bytes without a row batch by batch.

use std::io::ErrorKind;

use model::Offset;

use crate::StorageError;
use crate::keys::{self, Family};
use crate::partition_log::Inner;
use crate::view::Span;
use crate::walk::{Next, Walker, corrupt};

const CHUNK_BYTES: u64 = 256 << 10;

impl Inner {
    /// Checks the bytes `from..end` of a segment where that has not been done. A block (or a batch) begins at `from`, with `from_offset`.
    pub(crate) fn verify(&self, span: &Span, from_offset: Offset, from: u64, end: u64) -> Result<(), StorageError> {
        if span.segment.is_verified(from, end) {
            return Ok(());
        }
        let mut position = from;
        for row in self.rows_of(span, from_offset, end)? {
            if row.position < position {
                continue;
            }
            self.verify_batches(span, position, row.position)?;
            self.verify_block(span, &row)?;
            position = row.end_position();
        }
        self.verify_batches(span, position, end)
    }

    /// The rows of a segment's blocks from an offset on that begin before a position.
    pub(crate) fn rows_of(&self, span: &Span, from_offset: Offset, end: u64) -> Result<Vec<keys::index::Row>, StorageError> {
        let segment = &span.segment;
        let (from, last) = (keys::index::key(self.id, from_offset), keys::index::key(self.id, span.end_offset));
        let mut rows = Vec::new();
        self.engine.scan(Family::Index, &from, &last, |key, value| {
            let row = keys::index::Row::decode(key, value).ok_or(StorageError::UnreadableRow { family: "index" })?;
            let is_wanted = row.segment_base == segment.base_offset && row.generation == segment.generation && row.position < end;
            if is_wanted {
                rows.push(row);
            }
            Ok(is_wanted)
        })?;
        Ok(rows)
    }

    /// Checks one block against its row.
    pub(crate) fn verify_block(&self, span: &Span, row: &keys::index::Row) -> Result<(), StorageError> {
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
            segment.read_exact_at(&self.engine.handles, &mut buffer, position).map_err(|error| match &error {
                StorageError::Io { source, .. } if source.kind() == ErrorKind::UnexpectedEof => corrupt(self.id, segment, row.position),
                _ => error,
            })?;
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
