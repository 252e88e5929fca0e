//! Reading and writing the primitive types of Kafka's record formats, without trust in what is read.

use bytes::{BufMut, Bytes, BytesMut};

/// A view of bytes not yet read. Every method answers `None` when the bytes do not hold what it is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn int8(&mut self) -> Option<i8> {
        self.array().map(i8::from_be_bytes)
    }

    pub(crate) fn int16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn int32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn int64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn unsigned_varint(&mut self) -> Option<u32> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A length of the flexible (varint, one more than it says) or the classic kind; `Some(None)` is null.
    fn length(&mut self, flexible: bool, classic: impl FnOnce(&mut Self) -> Option<i64>) -> Option<Option<usize>> {
        let length = if flexible { i64::from(self.unsigned_varint()?) - 1 } else { classic(self)? };
        if length == -1 { Some(None) } else { usize::try_from(length).ok().map(Some) }
    }

    pub(crate) fn string(&mut self, flexible: bool) -> Option<&'a str> {
        let length = self.length(flexible, |reader| reader.int16().map(i64::from))??;
        std::str::from_utf8(self.take(length)?).ok()
    }

    /// The number of an array's elements, `Some(None)` for a null array; refused when so many cannot follow, each having at least
    /// `element_bytes_min` bytes.
    pub(crate) fn nullable_array_length(&mut self, flexible: bool, element_bytes_min: usize) -> Option<Option<usize>> {
        let Some(length) = self.length(flexible, |reader| reader.int32().map(i64::from))? else { return Some(None) };
        (length.checked_mul(element_bytes_min)? <= self.rest.len()).then_some(Some(length))
    }

    /// The tagged fields of a flexible structure: calls `visit` with each tag and its bytes.
    pub(crate) fn tagged_fields(&mut self, mut visit: impl FnMut(u32, Reader<'a>) -> Option<()>) -> Option<()> {
        for _ in 0..self.unsigned_varint()? {
            let tag = self.unsigned_varint()?;
            let length = usize::try_from(self.unsigned_varint()?).ok()?;
            visit(tag, Reader::new(self.take(length)?))?;
        }
        Some(())
    }
}

/// The longest text that the classic string type can hold.
pub(crate) const STRING_BYTES_MAX: usize = 0x7fff;

/// Bytes being written.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: BytesMut,
}

impl Writer {
    pub(crate) fn int8(&mut self, value: i8) -> &mut Self {
        self.bytes.put_i8(value);
        self
    }

    pub(crate) fn int16(&mut self, value: i16) -> &mut Self {
        self.bytes.put_i16(value);
        self
    }

    pub(crate) fn int32(&mut self, value: i32) -> &mut Self {
        self.bytes.put_i32(value);
        self
    }

    pub(crate) fn int64(&mut self, value: i64) -> &mut Self {
        self.bytes.put_i64(value);
        self
    }

    pub(crate) fn unsigned_varint(&mut self, value: usize) -> &mut Self {
        let mut rest = value;
        while rest > 0x7f {
            self.bytes.put_u8(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
            rest >>= 7;
        }
        self.bytes.put_u8(u8::try_from(rest).unwrap_or(0));
        self
    }

    /// A string. Operations refuse texts above [`STRING_BYTES_MAX`] on entry; what came through nevertheless is cut, so that the record stays
    /// readable.
    pub(crate) fn string(&mut self, flexible: bool, text: &str) -> &mut Self {
        let end = (0..=text.len().min(STRING_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let text = text.get(..end).unwrap_or_default();
        if flexible {
            self.unsigned_varint(text.len() + 1);
        } else {
            self.int16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        }
        self.bytes.put_slice(text.as_bytes());
        self
    }

    pub(crate) fn nullable_array_length(&mut self, flexible: bool, length: Option<usize>) -> &mut Self {
        match (flexible, length) {
            (true, None) => self.unsigned_varint(0),
            (true, Some(length)) => self.unsigned_varint(length + 1),
            (false, None) => self.int32(-1),
            (false, Some(length)) => self.int32(i32::try_from(length).unwrap_or(i32::MAX)),
        }
    }

    pub(crate) fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}
