//! Pieces of an answer: bytes in memory, or a range of a file that the socket takes by sendfile.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

/// A range of an open file. It holds the descriptor, so the bytes stay readable though the file be unlinked.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The open file.
    pub file: Arc<File>,
    /// Where the range begins, in bytes.
    pub position: u64,
    /// How long it is, in bytes.
    pub length_bytes: usize,
}

/// One piece of an answer on its way from the store to a socket. Record bytes are never copied on that way.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes in memory.
    Memory(Bytes),
    /// Bytes in a file.
    File(FileRange),
}

impl Piece {
    /// The piece's length in bytes.
    #[must_use]
    pub fn length_bytes(&self) -> usize {
        match self {
            Piece::Memory(bytes) => bytes.len(),
            Piece::File(range) => range.length_bytes,
        }
    }
}
