//! A batch's records as a stream of decompressed bytes with a cap.

use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;

use crate::error::Fault;
use crate::lz4::Lz4Reader;
use crate::snappy::SnappyReader;
use crate::source::Source;
use crate::{Codec, RecordFault};

/// The decompressed bytes that are held at once, unless one record is larger.
const BUFFER_BYTES: usize = 32 << 10;

/// The largest window (2^27 bytes) that zstd's own decoders accept unless told otherwise, and so do Kafka's consumers. Pages of it that the
/// records do not fill are never touched.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How much a batch may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecompressLimits {
    /// The most bytes that a batch's records may have once decompressed. Decompression stops there.
    pub max_output_bytes: usize,
}

impl DecompressLimits {
    /// Limits with the given cap.
    #[must_use]
    pub const fn new(max_output_bytes: usize) -> Self {
        Self { max_output_bytes }
    }
}

impl Default for DecompressLimits {
    /// For batches that a leader has checked already: 2 GiB, more than Kafka's clients could read.
    fn default() -> Self {
        Self::new(1 << 31)
    }
}

enum Inflate<'a> {
    Plain(&'a [u8]),
    Gzip(Box<MultiGzDecoder<&'a [u8]>>),
    Snappy(Box<SnappyReader<'a>>),
    Lz4(Lz4Reader<'a>),
    Zstd(Box<zstd::stream::read::Decoder<'static, &'a [u8]>>),
}

impl<'a> Inflate<'a> {
    fn new(codec: Codec, bytes: &'a [u8], limits: DecompressLimits) -> io::Result<Self> {
        Ok(match codec {
            Codec::None => Inflate::Plain(bytes),
            Codec::Gzip => Inflate::Gzip(Box::new(MultiGzDecoder::new(bytes))),
            Codec::Snappy => Inflate::Snappy(Box::new(SnappyReader::new(bytes, limits.max_output_bytes)?)),
            Codec::Lz4 => Inflate::Lz4(Lz4Reader::new(bytes)?),
            Codec::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Inflate::Zstd(Box::new(decoder))
            }
        })
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Inflate::Plain(reader) => reader.read(out),
            Inflate::Gzip(reader) => reader.read(out),
            Inflate::Snappy(reader) => reader.read(out),
            Inflate::Lz4(reader) => reader.read(out),
            Inflate::Zstd(reader) => reader.read(out),
        }
    }
}

/// The stream. `buffer[start..end]` is what was decompressed and not yet read.
pub(crate) struct Inflated<'a> {
    inflate: Inflate<'a>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    produced_bytes: usize,
    max_bytes: usize,
}

impl<'a> Inflated<'a> {
    pub(crate) fn new(codec: Codec, bytes: &'a [u8], limits: DecompressLimits) -> Result<Self, Fault> {
        let inflate = Inflate::new(codec, bytes, limits).map_err(fault)?;
        let buffer = vec![0; BUFFER_BYTES];
        Ok(Self { inflate, buffer, start: 0, end: 0, produced_bytes: 0, max_bytes: limits.max_output_bytes })
    }

    /// The next `count` bytes in one piece.
    pub(crate) fn take(&mut self, count: usize) -> Result<&[u8], Fault> {
        let buffered = self.end - self.start;
        if count > buffered.saturating_add(self.max_bytes.saturating_sub(self.produced_bytes)) {
            return Err(Fault::TooLarge);
        }
        if count > buffered {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, buffered);
        }
        while self.end - self.start < count {
            if self.end == self.buffer.len() {
                // The size comes from outside, so memory grows with what is really there.
                self.buffer.resize(count.min(self.buffer.len().saturating_mul(2)), 0);
            }
            if self.read_more()? == 0 {
                return Err(Fault::END);
            }
        }
        let taken = self.buffer.get(self.start..self.start + count).ok_or(Fault::END)?;
        self.start += count;
        Ok(taken)
    }

    /// Makes sure that something is buffered; `false` at the end.
    fn fill(&mut self) -> Result<bool, Fault> {
        if self.start < self.end {
            return Ok(true);
        }
        (self.start, self.end) = (0, 0);
        Ok(self.read_more()? > 0)
    }

    fn read_more(&mut self) -> Result<usize, Fault> {
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let count = self.inflate.read(room).map_err(fault)?;
        self.end += count;
        self.produced_bytes = self.produced_bytes.saturating_add(count);
        if self.produced_bytes > self.max_bytes { Err(Fault::TooLarge) } else { Ok(count) }
    }
}

impl Source for Inflated<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Fault> {
        if !self.fill()? {
            return Err(Fault::Record(RecordFault::EndOfData));
        }
        let byte = *self.buffer.get(self.start).ok_or(Fault::END)?;
        self.start += 1;
        Ok(byte)
    }

    fn skip(&mut self, count: usize) -> Result<(), Fault> {
        let mut left = count;
        while left > 0 {
            if !self.fill()? {
                return Err(Fault::END);
            }
            let skipped = left.min(self.end - self.start);
            self.start += skipped;
            left -= skipped;
        }
        Ok(())
    }

    fn position(&self) -> usize {
        self.produced_bytes - (self.end - self.start)
    }

    fn is_at_end(&mut self) -> Result<bool, Fault> {
        Ok(!self.fill()?)
    }
}

fn fault(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Fault::TooLarge,
        kind => Fault::Decompression(kind),
    }
}
