//! Memory that direct I/O takes: it begins at a block's boundary, and so does what is written from it.

/// The unit of direct I/O: the largest that usual devices ask for.
pub(crate) const BLOCK_BYTES: usize = 4 << 10;

/// The same as a distance in a file.
pub(crate) const BLOCK: u64 = 4 << 10;

/// Bytes on their way to a file, in whole blocks.
#[derive(Default)]
pub(crate) struct AlignedBuffer {
    bytes: Vec<u8>,
    /// Where the first block begins.
    from: usize,
    length: usize,
}

impl AlignedBuffer {
    /// An empty one of at least so many bytes.
    pub(crate) fn with_capacity(size_bytes: usize) -> Self {
        let bytes = vec![0; size_bytes.next_multiple_of(BLOCK_BYTES).saturating_add(BLOCK_BYTES)];
        let from = bytes.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
        Self { bytes, from, length: 0 }
    }

    /// So many zeros, in whole blocks.
    pub(crate) fn zeros(size_bytes: usize) -> Self {
        let mut buffer = Self::with_capacity(size_bytes);
        buffer.length = size_bytes.next_multiple_of(BLOCK_BYTES);
        buffer
    }

    fn capacity(&self) -> usize {
        self.bytes.len().saturating_sub(BLOCK_BYTES)
    }

    /// Gives an empty buffer the room for so many bytes.
    pub(crate) fn make_room(&mut self, size_bytes: usize) {
        if self.length == 0 && self.capacity() < size_bytes {
            *self = Self::with_capacity(size_bytes);
        }
    }

    /// Takes what fits, and gives back the rest.
    pub(crate) fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(bytes.len().min(self.capacity().saturating_sub(self.length)));
        if let Some(free) = self.bytes.get_mut(self.from + self.length..).and_then(|free| free.get_mut(..taken.len())) {
            free.copy_from_slice(taken);
            self.length += taken.len();
        }
        rest
    }

    /// Fills the last block with zeros.
    pub(crate) fn pad(&mut self) {
        let end = self.length.next_multiple_of(BLOCK_BYTES);
        if let Some(padding) = self.bytes.get_mut(self.from + self.length..self.from + end) {
            padding.fill(0);
            self.length = end;
        }
    }

    pub(crate) fn filled(&self) -> &[u8] {
        self.bytes.get(self.from..self.from + self.length).unwrap_or_default()
    }

    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_a_block_takes_what_fits_and_pads_what_was_there_before() {
        let mut buffer = AlignedBuffer::default();
        assert_eq!(buffer.take(b"abc"), b"abc");
        buffer.make_room(5_000);
        assert_eq!(buffer.take(&[7; 9_000]).len(), 9_000 - 8_192);
        assert_eq!(buffer.filled().as_ptr().align_offset(BLOCK_BYTES), 0);
        assert_eq!(buffer.filled(), [7; 8_192]);
        buffer.clear();
        assert!(buffer.take(&[1; 5_000]).is_empty());
        buffer.pad();
        assert_eq!(buffer.filled(), [vec![1; 5_000], vec![0; 3_192]].concat());
        assert_eq!(AlignedBuffer::zeros(10).filled(), [0; 4_096]);
    }
}
