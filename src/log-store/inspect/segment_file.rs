//! A segment file as it lies on the disk, klamm's or Apache Kafka's: its batches one behind the other.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use model::Offset;
use record_batch::{BatchError, BatchHeader, BatchView, HEADER_BYTES};

use crate::{StorageError, segment};

/// What is read at once. A larger batch is read whole.
const CHUNK_BYTES: usize = 1 << 20;

/// A file of record batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// Where it lies.
    pub path: PathBuf,
    /// The offset in its name.
    pub base_offset: Offset,
    /// The generation in its name, which only klamm's files have. From 1 on a compaction has written it.
    pub generation: Option<u32>,
    /// Its size.
    pub length_bytes: u64,
}

/// What lies at a place of a file.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// A batch. Its checksum may be wrong.
    Batch {
        /// Where it begins.
        position: u64,
        /// Its bytes.
        batch: BatchView<'a>,
    },
    /// Bytes that are no whole batch.
    Bad {
        /// Where they begin.
        position: u64,
        /// Why they are none.
        error: BatchError,
        /// How many bytes are left from there on.
        left_bytes: u64,
    },
}

/// How a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// With what follows. Behind bad bytes nothing is known to follow, so this ends the walk there.
    Next,
    /// At this later position.
    To(u64),
    /// Not at all.
    Stop,
}

impl SegmentFile {
    /// The file at a path. The name must begin with an offset and end with `.log`.
    ///
    /// # Errors
    /// If the file cannot be read. `None` if it is no segment by its name.
    pub fn at(path: &Path) -> Result<Option<Self>, StorageError> {
        let Some((base_offset, generation)) = path.file_name().and_then(|name| parse_name(name.to_str()?)) else { return Ok(None) };
        Ok(Some(Self { path: path.to_owned(), base_offset, generation, length_bytes: length_of(path)? }))
    }

    /// Shows what the file holds from a position on at which a batch begins, and as far as the file was long when this value was made.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn walk(&self, from: u64, each: &mut dyn FnMut(Piece<'_>) -> Step) -> Result<(), StorageError> {
        let file = File::open(&self.path).map_err(|error| StorageError::io("open segment", &self.path, error))?;
        let mut reader = Reader { file, path: &self.path, end: self.length_bytes, buffer: Vec::new(), buffer_from: 0 };
        let mut position = from;
        while position < self.length_bytes {
            let left_bytes = self.length_bytes - position;
            let (step, size) = match reader.batch(position)? {
                Ok(batch) => (each(Piece::Batch { position, batch }), batch.header().size_bytes()),
                Err(error) => (each(Piece::Bad { position, error, left_bytes }), 0),
            };
            position = match step {
                Step::Next if size > 0 => position.saturating_add(u64::try_from(size).unwrap_or(u64::MAX)),
                Step::To(later) if later > position => later,
                Step::Next | Step::To(_) | Step::Stop => break,
            };
        }
        Ok(())
    }
}

/// Base offset and generation in the name of a segment file: klamm's `<offset>.<generation>.log` or Kafka's `<offset>.log`.
fn parse_name(name: &str) -> Option<(Offset, Option<u32>)> {
    if let Some((base_offset, generation)) = segment::parse_file_name(name) {
        return Some((base_offset, Some(generation)));
    }
    let base_offset = name.strip_suffix(".log")?;
    Some((Offset::new(base_offset.parse().ok()?)?, None))
}

pub(super) fn length_of(path: &Path) -> Result<u64, StorageError> {
    std::fs::metadata(path).map(|metadata| metadata.len()).map_err(|error| StorageError::io("read segment", path, error))
}

struct Reader<'a> {
    file: File,
    path: &'a Path,
    end: u64,
    /// The bytes from `buffer_from` on.
    buffer: Vec<u8>,
    buffer_from: u64,
}

impl Reader<'_> {
    /// The batch at a position, if there is one.
    fn batch(&mut self, position: u64) -> Result<Result<BatchView<'_>, BatchError>, StorageError> {
        let left = usize::try_from(self.end.saturating_sub(position)).unwrap_or(usize::MAX);
        let truncated = |needed_bytes| BatchError::Truncated { needed_bytes, available_bytes: left };
        if left < HEADER_BYTES {
            return Ok(Err(truncated(HEADER_BYTES)));
        }
        let header = match BatchHeader::parse(self.bytes(position, HEADER_BYTES, left)?) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        if header.base_offset < 0 || header.last_offset_delta < 0 {
            let (base_offset, last_offset_delta) = (header.base_offset, header.last_offset_delta);
            return Ok(Err(BatchError::OffsetRange { base_offset, last_offset_delta }));
        }
        let size = header.size_bytes();
        if size > left {
            return Ok(Err(truncated(size)));
        }
        Ok(BatchView::parse(self.bytes(position, size, left)?))
    }

    /// The `count` bytes at a position, of the `left` that the file has there.
    fn bytes(&mut self, position: u64, count: usize, left: usize) -> Result<&[u8], StorageError> {
        let start = position.checked_sub(self.buffer_from).and_then(|start| usize::try_from(start).ok());
        let is_there = |start: &usize| start.saturating_add(count) <= self.buffer.len();
        let start = match start.filter(is_there) {
            Some(start) => start,
            None => {
                self.buffer.resize(CHUNK_BYTES.max(count).min(left), 0);
                self.buffer_from = position;
                if let Err(error) = self.file.read_exact_at(&mut self.buffer, position) {
                    self.buffer.clear();
                    return Err(StorageError::io("read segment", self.path, error));
                }
                0
            }
        };
        let missing = || StorageError::io("read segment", self.path, ErrorKind::UnexpectedEof.into());
        self.buffer.get(start..start.saturating_add(count)).ok_or_else(missing)
    }
}
