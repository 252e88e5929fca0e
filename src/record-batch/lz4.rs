//! LZ4 frames as Kafka's clients read them, a block at a time.

use std::io::{self, Read};

/// The most that an LZ4 block grows: a byte of a match's length stands for 255 bytes.
const MAX_GROWTH: usize = 255;

const FRAME_MAGIC: u32 = 0x184d_2204;
const STORED_BLOCK: u32 = 1 << 31;
const BLOCK_INDEPENDENCE: u8 = 1 << 5;
const BLOCK_CHECKSUM: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const RESERVED: u8 = 1;

/// Reads one frame. The rules are those of Kafka's `Lz4BlockInputStream`, since what it refuses no Java consumer could read: blocks must be
/// independent, the descriptor's checksum must be right, the end mark must be there; content size, content checksum and what follows the
/// frame are not looked at.
pub(crate) struct Lz4Reader<'a> {
    rest: &'a [u8],
    flags: u8,
    max_block_bytes: usize,
    block: Vec<u8>,
    start: usize,
    ended: bool,
}

impl<'a> Lz4Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> io::Result<Self> {
        let mut rest = bytes;
        if take_u32(&mut rest)? != FRAME_MAGIC {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let described = rest;
        let [flags, sizes] = take_array(&mut rest)?;
        let unsupported = flags >> 6 != 1 || flags & BLOCK_INDEPENDENCE == 0 || flags & RESERVED != 0 || sizes & 0x8f != 0;
        let max_block_bytes = match sizes >> 4 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            7 => 4 << 20,
            _ => 0,
        };
        if unsupported || max_block_bytes == 0 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if flags & CONTENT_SIZE != 0 {
            take_array::<8>(&mut rest)?;
        }
        let descriptor = described.get(..described.len() - rest.len()).unwrap_or_default();
        let [_, _, expected, _] = twox_hash::XxHash32::oneshot(0, descriptor).to_be_bytes();
        if take_array(&mut rest)? != [expected] {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { rest, flags, max_block_bytes, block: Vec::new(), start: 0, ended: false })
    }

    fn read_block(&mut self) -> io::Result<()> {
        let field = take_u32(&mut self.rest)?;
        let length = usize::try_from(field & !STORED_BLOCK).unwrap_or(usize::MAX);
        self.start = 0;
        self.block.clear();
        if length == 0 {
            self.ended = true;
            if self.flags & CONTENT_CHECKSUM != 0 {
                take_u32(&mut self.rest)?;
            }
            return Ok(());
        }
        if length > self.max_block_bytes {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let source = self.rest.split_off(..length).ok_or(io::ErrorKind::UnexpectedEof)?;
        if self.flags & BLOCK_CHECKSUM != 0 && take_u32(&mut self.rest)? != twox_hash::XxHash32::oneshot(0, source) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if field & STORED_BLOCK != 0 {
            self.block.extend_from_slice(source);
            return Ok(());
        }
        self.block.resize(self.max_block_bytes.min(length.saturating_mul(MAX_GROWTH)), 0);
        let filled = lz4_flex::block::decompress_into(source, &mut self.block).map_err(|_| io::ErrorKind::InvalidData)?;
        self.block.truncate(filled);
        Ok(())
    }
}

impl Read for Lz4Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.ended && self.start >= self.block.len() {
            self.read_block()?;
        }
        let count = self.block.get(self.start..).unwrap_or_default().read(out)?;
        self.start += count;
        Ok(count)
    }
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> io::Result<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(io::ErrorKind::UnexpectedEof)?;
    *rest = after;
    Ok(*taken)
}

fn take_u32(rest: &mut &[u8]) -> io::Result<u32> {
    take_array(rest).map(u32::from_le_bytes)
}
