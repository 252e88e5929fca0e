//! Compresses records as they are written.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use crate::Codec;
use crate::snappy::SnappyWriter;

/// A codec that appends to a vector.
pub(crate) enum Deflate {
    Plain(Vec<u8>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Snappy(Box<SnappyWriter>),
    Lz4(Box<FrameEncoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Deflate {
    /// Begins behind what `out` holds already. A level outside of the codec's range counts as the nearest one; LZ4 has one level only.
    pub(crate) fn new(codec: Codec, level: Option<i32>, out: Vec<u8>) -> io::Result<Self> {
        Ok(match codec {
            Codec::None => Deflate::Plain(out),
            Codec::Gzip => {
                // Kafka's default level is -1, which zlib reads as 6.
                let level = level.and_then(|level| u32::try_from(level).ok()).map_or(6, |level| level.min(9));
                Deflate::Gzip(Box::new(GzEncoder::new(out, flate2::Compression::new(level))))
            }
            Codec::Snappy => Deflate::Snappy(Box::new(SnappyWriter::new(out))),
            Codec::Lz4 => {
                // Kafka's consumers refuse blocks that depend on each other.
                let frame = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
                Deflate::Lz4(Box::new(FrameEncoder::with_frame_info(frame, out)))
            }
            Codec::Zstd => {
                let range = zstd::compression_level_range();
                let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL).clamp(*range.start(), *range.end());
                Deflate::Zstd(Box::new(zstd::stream::write::Encoder::new(out, level)?))
            }
        })
    }

    /// The bytes that came out so far; the codec may hold more.
    pub(crate) fn written_bytes(&self) -> usize {
        match self {
            Deflate::Plain(out) => out.len(),
            Deflate::Gzip(encoder) => encoder.get_ref().len(),
            Deflate::Snappy(encoder) => encoder.get_ref().len(),
            Deflate::Lz4(encoder) => encoder.get_ref().len(),
            Deflate::Zstd(encoder) => encoder.get_ref().len(),
        }
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Deflate::Plain(out) => out.write_all(bytes),
            Deflate::Gzip(encoder) => encoder.write_all(bytes),
            Deflate::Snappy(encoder) => encoder.write_all(bytes),
            Deflate::Lz4(encoder) => encoder.write_all(bytes),
            Deflate::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Deflate::Plain(out) => Ok(out),
            Deflate::Gzip(encoder) => encoder.finish(),
            Deflate::Snappy(encoder) => encoder.finish(),
            Deflate::Lz4(encoder) => encoder.finish().map_err(io::Error::other),
            Deflate::Zstd(encoder) => encoder.finish(),
        }
    }
}
