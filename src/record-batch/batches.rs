//! Batches one after another in a slice, read in place.

use std::ops::ControlFlow;

use crate::header::{LENGTH_PREFIX_BYTES, checksum};
use crate::{BatchError, BatchHeader, DecompressLimits, HEADER_BYTES, RecordHead, RecordView};

/// The bytes up to and with the magic: what tells a batch from garbage.
const UP_TO_MAGIC_BYTES: usize = 17;
/// The smallest length field of any format (Kafka's `LegacyRecord.RECORD_OVERHEAD_V0`).
const MIN_LEGACY_LENGTH: i32 = 14;

/// The bytes of the next batch of any format and its magic, or `None` if only a part of a batch is there.
///
/// These are the rules of Kafka's `ByteBufferLogInputStream`: a cut tail is no error, a senseless length or magic is.
pub(crate) fn next_frame(bytes: &[u8]) -> Result<Option<(&[u8], i8)>, BatchError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<LENGTH_PREFIX_BYTES>() else { return Ok(None) };
    let [.., a, b, c, d] = *prefix;
    let length = i32::from_be_bytes([a, b, c, d]);
    let size = match usize::try_from(length) {
        Ok(size) if length >= MIN_LEGACY_LENGTH => size.saturating_add(LENGTH_PREFIX_BYTES),
        _ => return Err(BatchError::LengthTooSmall(length)),
    };
    let Some(magic) = rest.get(UP_TO_MAGIC_BYTES - LENGTH_PREFIX_BYTES - 1) else { return Ok(None) };
    let magic = i8::from_be_bytes([*magic]);
    if !(0..=2).contains(&magic) {
        return Err(BatchError::WrongMagic(magic));
    }
    Ok(bytes.get(..size).map(|frame| (frame, magic)))
}

/// One whole batch within a larger slice. Only its header is known to make sense.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// The batch at the beginning of `bytes`; what follows it is left alone.
    ///
    /// # Errors
    /// If the header is invalid or the batch is longer than `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<BatchView<'a>, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let needed_bytes = header.size_bytes();
        let truncated = BatchError::Truncated { needed_bytes, available_bytes: bytes.len() };
        let bytes = bytes.get(..needed_bytes).ok_or(truncated)?;
        Ok(BatchView { header, bytes })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch, header included.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes after the header, compressed as they are.
    #[must_use]
    pub fn records(&self) -> &'a [u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// Whether the header's checksum is the one of the bytes.
    #[must_use]
    pub fn crc_is_valid(&self) -> bool {
        self.check_crc().is_ok()
    }

    pub(crate) fn check_crc(&self) -> Result<(), BatchError> {
        let (stored, computed) = (self.header.crc, checksum(self.bytes));
        if stored == computed { Ok(()) } else { Err(BatchError::WrongCrc { stored, computed }) }
    }

    /// See [`crate::walk_records`].
    ///
    /// # Errors
    /// See there.
    pub fn walk_records(&self, limits: DecompressLimits, f: &mut dyn FnMut(RecordView<'_>) -> ControlFlow<()>) -> Result<(), BatchError> {
        crate::records::records_of(self, limits, f)
    }

    /// See [`crate::walk_record_heads`].
    ///
    /// # Errors
    /// See there.
    pub fn walk_record_heads(&self, limits: DecompressLimits, f: &mut dyn FnMut(RecordHead) -> ControlFlow<()>) -> Result<(), BatchError> {
        crate::records::heads_of(self, limits, f)
    }
}

/// The batches of a slice in order. It ends at the slice's end, before a cut batch, or after the first error.
#[derive(Clone, Debug)]
pub struct BatchIter<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> BatchIter<'a> {
    /// Begins at the slice's first byte, which must be a batch's first.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, failed: false }
    }

    /// The bytes that were not given out: once the iterator has ended, those of a cut batch, or of everything from the first bad one on.
    #[must_use]
    pub fn trailing_bytes(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let view = match next_frame(self.rest) {
            Ok(None) => return None,
            Ok(Some((frame, 2))) => BatchView::parse(frame),
            Ok(Some((_, magic))) => Err(BatchError::WrongMagic(magic)),
            Err(error) => Err(error),
        };
        match view {
            Ok(view) => self.rest = self.rest.get(view.bytes.len()..).unwrap_or_default(),
            Err(_) => self.failed = true,
        }
        Some(view)
    }
}
