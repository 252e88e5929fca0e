//! Walks over a batch's records without building them.

use std::ops::ControlFlow;

use crate::decompress::{DecompressLimits, Inflated};
use crate::error::Fault;
use crate::error::RecordFault::{HeaderCount, HeaderKeySize, NegativeSize, SizeMismatch};
use crate::source::{RawHead, SliceSource, Source, read_head};
use crate::{BatchError, BatchHeader, BatchView, Codec, TimestampType};

/// A record whose bytes live as long as the call that shows it.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// The offset.
    pub offset: i64,
    /// The offset less the batch's base offset.
    pub offset_delta: i32,
    /// The timestamp; the batch's max timestamp under `LogAppendTime`.
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone on a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: RecordHeaders<'a>,
}

/// What a walk tells of a record without touching key, value and headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// The offset.
    pub offset: i64,
    /// The offset less the batch's base offset.
    pub offset_delta: i32,
    /// The timestamp; the batch's max timestamp under `LogAppendTime`.
    pub timestamp: i64,
    /// Whether the record has a key, even an empty one.
    pub has_key: bool,
}

/// A record's headers as they are on the wire: in order, duplicates kept, keys not checked for UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RecordHeaders<'a> {
    count: i32,
    bytes: &'a [u8],
}

/// One header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// The key's bytes.
    pub key: &'a [u8],
    /// The value.
    pub value: Option<&'a [u8]>,
}

impl<'a> RecordHeaders<'a> {
    /// The number of headers.
    #[must_use]
    pub const fn count(&self) -> i32 {
        self.count
    }

    /// The encoded headers, without the count before them.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The headers in order.
    pub fn iter(&self) -> impl Iterator<Item = RecordHeader<'a>> + use<'a> {
        let mut source = SliceSource::new(self.bytes);
        // The bytes were checked when the view was made, so no header is missing here.
        (0..self.count).map_while(move |_| read_header(&mut source).ok())
    }
}

/// The timestamps and offsets of a batch that its records' deltas are added to.
#[derive(Clone, Copy)]
struct Bases {
    offset: i64,
    timestamp: i64,
    log_append_time: Option<i64>,
}

impl Bases {
    fn new(header: &BatchHeader) -> Self {
        let log_append_time = match header.attributes.timestamp_type() {
            TimestampType::CreateTime => None,
            TimestampType::LogAppendTime => Some(header.max_timestamp),
        };
        Self { offset: header.base_offset, timestamp: header.base_timestamp, log_append_time }
    }

    fn offset(self, delta: i32) -> i64 {
        self.offset.wrapping_add(i64::from(delta))
    }

    fn timestamp(self, delta: i64) -> i64 {
        self.log_append_time.unwrap_or_else(|| self.timestamp.wrapping_add(delta))
    }

    fn head(self, raw: &RawHead) -> RecordHead {
        RecordHead {
            offset: self.offset(raw.offset_delta),
            offset_delta: raw.offset_delta,
            timestamp: self.timestamp(raw.timestamp_delta),
            has_key: raw.has_key,
        }
    }
}

/// Shows each record of the batch that `batch` begins with, decompressing as it goes. What is held at once is a buffer of 32 KiB, or one
/// record if it is larger. `f` ends the walk early with `Break`; only a walk that is not ended early finds out what is wrong behind.
///
/// # Errors
/// If the batch or a record is malformed, the codec refuses, the cap is reached, or the records are more or fewer than declared.
pub fn walk_records(
    batch: &[u8],
    limits: DecompressLimits,
    f: &mut dyn FnMut(RecordView<'_>) -> ControlFlow<()>,
) -> Result<(), BatchError> {
    records_of(&BatchView::parse(batch)?, limits, f)
}

/// Like [`walk_records`], but skips keys, values and headers, so that 32 KiB are all it ever holds.
///
/// # Errors
/// As [`walk_records`].
pub fn walk_record_heads(
    batch: &[u8],
    limits: DecompressLimits,
    f: &mut dyn FnMut(RecordHead) -> ControlFlow<()>,
) -> Result<(), BatchError> {
    heads_of(&BatchView::parse(batch)?, limits, f)
}

pub(crate) fn records_of(
    view: &BatchView<'_>,
    limits: DecompressLimits,
    f: &mut dyn FnMut(RecordView<'_>) -> ControlFlow<()>,
) -> Result<(), BatchError> {
    let walk = Walk::new(view, limits)?;
    let bases = Bases::new(view.header());
    if walk.codec == Codec::None {
        let mut source = SliceSource::new(view.records());
        walk.run(&mut source, |source| {
            let declared = source.varint()?;
            Ok(f(read_record(source.take(record_bytes(declared)?)?, declared, bases)?))
        })
    } else if walk.count == 0 {
        Ok(())
    } else {
        let mut source = walk.inflate(view)?;
        walk.run(&mut source, |source| {
            let declared = source.varint()?;
            Ok(f(read_record(source.take(record_bytes(declared)?)?, declared, bases)?))
        })
    }
}

pub(crate) fn heads_of(
    view: &BatchView<'_>,
    limits: DecompressLimits,
    mut f: impl FnMut(RecordHead) -> ControlFlow<()>,
) -> Result<(), BatchError> {
    let walk = Walk::new(view, limits)?;
    let bases = Bases::new(view.header());
    if walk.codec == Codec::None {
        walk.run(&mut SliceSource::new(view.records()), |source| Ok(f(bases.head(&read_head(source)?))))
    } else if walk.count == 0 {
        // Compaction leaves batches that name a codec and have not even its empty stream.
        Ok(())
    } else {
        walk.run(&mut walk.inflate(view)?, |source| Ok(f(bases.head(&read_head(source)?))))
    }
}

/// What all walks share: as many records as declared, then nothing.
struct Walk {
    codec: Codec,
    count: i32,
    limits: DecompressLimits,
}

impl Walk {
    fn new(view: &BatchView<'_>, limits: DecompressLimits) -> Result<Self, BatchError> {
        let count = view.header().record_count;
        if count < 0 {
            return Err(BatchError::NegativeCount(count));
        }
        Ok(Self { codec: view.header().attributes.codec()?, count, limits })
    }

    fn inflate<'a>(&self, view: &BatchView<'a>) -> Result<Inflated<'a>, BatchError> {
        Inflated::new(self.codec, view.records(), self.limits).map_err(|fault| self.error(fault, 0))
    }

    fn error(&self, fault: Fault, index: i32) -> BatchError {
        fault.of_record(index, self.codec, self.limits.max_output_bytes)
    }

    #[inline]
    fn run<S: Source>(&self, source: &mut S, mut next: impl FnMut(&mut S) -> Result<ControlFlow<()>, Fault>) -> Result<(), BatchError> {
        for index in 0..self.count {
            if next(source).map_err(|fault| self.error(fault, index))?.is_break() {
                return Ok(());
            }
        }
        let at_end = source.is_at_end().map_err(|fault| self.error(fault, self.count))?;
        if at_end { Ok(()) } else { Err(BatchError::RecordsRemain) }
    }
}

fn record_bytes(declared: i32) -> Result<usize, Fault> {
    usize::try_from(declared).map_err(|_| Fault::Record(NegativeSize(declared)))
}

fn read_record(body: &[u8], declared: i32, bases: Bases) -> Result<RecordView<'_>, Fault> {
    let mut source = SliceSource::new(body);
    source.byte()?;
    let timestamp = bases.timestamp(source.varlong()?);
    let offset_delta = source.varint()?;
    let key = source.take_nullable()?;
    let value = source.take_nullable()?;
    let count = source.varint()?;
    if usize::try_from(count).map_or(true, |count| count > source.rest().len()) {
        return Err(Fault::Record(HeaderCount(count)));
    }
    let headers = RecordHeaders { count, bytes: source.rest() };
    for _ in 0..count {
        read_header(&mut source)?;
    }
    if !source.is_at_end()? {
        return Err(Fault::Record(SizeMismatch { declared }));
    }
    Ok(RecordView { offset: bases.offset(offset_delta), offset_delta, timestamp, key, value, headers })
}

fn read_header<'a>(source: &mut SliceSource<'a>) -> Result<RecordHeader<'a>, Fault> {
    let key_size = source.varint()?;
    let key = source.take(usize::try_from(key_size).map_err(|_| Fault::Record(HeaderKeySize(key_size)))?)?;
    Ok(RecordHeader { key, value: source.take_nullable()? })
}
