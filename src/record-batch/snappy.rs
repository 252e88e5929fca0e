//! Snappy as Kafka's clients write it: in Xerial's framing (Java and most others) or as one raw block (librdkafka).

use std::io::{self, Read, Write};

/// The first bytes of Xerial's framing: its name and two version numbers of 4 bytes each.
const XERIAL_NAME: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];

/// What Xerial's writer puts into one block.
const BLOCK_BYTES: usize = 32 << 10;

/// The most that a block grows: the best that three bytes can say is "copy 64". A block that claims more lies.
const MAX_GROWTH: usize = 22;

/// Decompresses a block at a time. The length that a block claims is believed only if the block could have that length and the output cap
/// allows it, because the memory is taken before the first byte is decompressed.
pub(crate) struct SnappyReader<'a> {
    rest: &'a [u8],
    is_framed: bool,
    max_bytes: usize,
    decoder: snap::raw::Decoder,
    block: Vec<u8>,
    start: usize,
}

impl<'a> SnappyReader<'a> {
    pub(crate) fn new(bytes: &'a [u8], max_bytes: usize) -> io::Result<Self> {
        let mut reader = Self {
            rest: bytes,
            is_framed: bytes.starts_with(&XERIAL_NAME),
            max_bytes,
            decoder: snap::raw::Decoder::new(),
            block: Vec::new(),
            start: 0,
        };
        if reader.is_framed {
            reader.skip_stream_header()?;
        }
        Ok(reader)
    }

    fn skip_stream_header(&mut self) -> io::Result<()> {
        self.rest.split_off(..XERIAL_NAME.len() + XERIAL_VERSIONS.len()).map(drop).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn next_chunk(&mut self) -> io::Result<&'a [u8]> {
        if !self.is_framed {
            return Ok(std::mem::take(&mut self.rest));
        }
        // Streams may be concatenated, each with its own header.
        while self.rest.starts_with(&XERIAL_NAME) {
            self.skip_stream_header()?;
        }
        if self.rest.is_empty() {
            return Ok(&[]);
        }
        let (length, after) = self.rest.split_first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| io::ErrorKind::InvalidData)?;
        self.rest = after;
        self.rest.split_off(..length).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Fills the block; `false` at the end.
    fn read_block(&mut self) -> io::Result<bool> {
        self.start = 0;
        self.block.clear();
        if self.rest.is_empty() {
            return Ok(false);
        }
        let chunk = self.next_chunk()?;
        let claimed = snap::raw::decompress_len(chunk).map_err(|_| io::ErrorKind::InvalidData)?;
        if claimed > chunk.len().saturating_mul(MAX_GROWTH) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if claimed > self.max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.block.resize(claimed, 0);
        let filled = self.decoder.decompress(chunk, &mut self.block).map_err(|_| io::ErrorKind::InvalidData)?;
        self.block.truncate(filled);
        Ok(true)
    }
}

impl Read for SnappyReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.start >= self.block.len() {
            if !self.read_block()? {
                return Ok(0);
            }
        }
        let count = self.block.get(self.start..).unwrap_or_default().read(out)?;
        self.start += count;
        Ok(count)
    }
}

/// Writes Xerial's framing.
pub(crate) struct SnappyWriter {
    out: Vec<u8>,
    block: Vec<u8>,
    compressed: Vec<u8>,
    encoder: snap::raw::Encoder,
}

impl SnappyWriter {
    pub(crate) fn new(mut out: Vec<u8>) -> Self {
        out.extend_from_slice(&XERIAL_NAME);
        out.extend_from_slice(&XERIAL_VERSIONS);
        let compressed = vec![0; snap::raw::max_compress_len(BLOCK_BYTES)];
        Self { out, block: Vec::with_capacity(BLOCK_BYTES), compressed, encoder: snap::raw::Encoder::new() }
    }

    pub(crate) fn get_ref(&self) -> &Vec<u8> {
        &self.out
    }

    pub(crate) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.flush()?;
        Ok(self.out)
    }
}

impl Write for SnappyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BLOCK_BYTES - self.block.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.block.extend_from_slice(taken);
        if self.block.len() == BLOCK_BYTES {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let length = self.encoder.compress(&self.block, &mut self.compressed).map_err(|_| io::ErrorKind::InvalidInput)?;
        let compressed = self.compressed.get(..length).unwrap_or_default();
        let prefix = i32::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.out.extend_from_slice(&prefix.to_be_bytes());
        self.out.extend_from_slice(compressed);
        self.block.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], max_bytes: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        SnappyReader::new(bytes, max_bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn concatenated_streams_and_raw_blocks_are_read() {
        let mut writer = SnappyWriter::new(Vec::new());
        writer.write_all(&[7; 100_000]).unwrap();
        let stream = writer.finish().unwrap();
        assert_eq!(read(&stream, 1 << 20).unwrap(), vec![7; 100_000]);
        assert_eq!(read(&[stream.clone(), stream].concat(), 1 << 20).unwrap(), vec![7; 200_000]);
        let raw = snap::raw::Encoder::new().compress_vec(&[7; 100_000]).unwrap();
        assert_eq!(read(&raw, 1 << 20).unwrap(), vec![7; 100_000]);
    }

    #[test]
    fn a_claimed_length_is_not_believed() {
        // Claims 2^32-1 bytes, of which nothing follows.
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0], 1 << 40).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let raw = snap::raw::Encoder::new().compress_vec(&[7; 100_000]).unwrap();
        assert_eq!(read(&raw, 99_999).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
