//! Reading and writing the primitive types of Kafka's messages and of the records that its coordinators keep, without trust in what is read. For
//! formats that kafka-protocol does not have.

use bytes::{BufMut, Bytes, BytesMut};

/// A view of bytes not yet read. Every method answers `None` when the bytes do not hold what it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Of all these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
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

    /// A number of one byte.
    pub fn int8(&mut self) -> Option<i8> {
        self.array().map(i8::from_be_bytes)
    }

    /// A number of two bytes.
    pub fn int16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    /// A number of four bytes.
    pub fn int32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// A number of eight bytes.
    pub fn int64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A UUID.
    pub fn uuid(&mut self) -> Option<uuid::Uuid> {
        self.array().map(uuid::Uuid::from_bytes)
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

    /// A string that may be null, of the flexible or the classic kind.
    pub fn nullable_string(&mut self, flexible: bool) -> Option<Option<&'a str>> {
        match self.length(flexible, |reader| reader.int16().map(i64::from))? {
            None => Some(None),
            Some(length) => std::str::from_utf8(self.take(length)?).ok().map(Some),
        }
    }

    /// A string, of the flexible or the classic kind.
    pub fn string(&mut self, flexible: bool) -> Option<&'a str> {
        self.nullable_string(flexible)?
    }

    /// Bytes with their length, of the flexible or the classic kind.
    pub fn bytes(&mut self, flexible: bool) -> Option<&'a [u8]> {
        let length = self.length(flexible, |reader| reader.int32().map(i64::from))??;
        self.take(length)
    }

    /// The number of an array's elements; refused when so many cannot follow, each having at least `element_bytes_min` bytes.
    pub fn array_length(&mut self, flexible: bool, element_bytes_min: usize) -> Option<usize> {
        self.nullable_array_length(flexible, element_bytes_min)?
    }

    /// The same, `Some(None)` for a null array.
    pub fn nullable_array_length(&mut self, flexible: bool, element_bytes_min: usize) -> Option<Option<usize>> {
        let Some(length) = self.length(flexible, |reader| reader.int32().map(i64::from))? else { return Some(None) };
        (length.checked_mul(element_bytes_min)? <= self.rest.len()).then_some(Some(length))
    }

    /// The tagged fields of a flexible structure: calls `visit` with each tag and its bytes.
    pub fn tagged_fields(&mut self, mut visit: impl FnMut(u32, Reader<'a>) -> Option<()>) -> Option<()> {
        for _ in 0..self.unsigned_varint()? {
            let tag = self.unsigned_varint()?;
            let length = usize::try_from(self.unsigned_varint()?).ok()?;
            visit(tag, Reader::new(self.take(length)?))?;
        }
        Some(())
    }
}

/// The longest text that the classic string type can hold.
pub const STRING_BYTES_MAX: usize = 0x7fff;

/// Bytes being written.
#[derive(Default, Debug)]
pub struct Writer {
    bytes: BytesMut,
}

impl Writer {
    /// A number of one byte.
    pub fn int8(&mut self, value: i8) -> &mut Self {
        self.bytes.put_i8(value);
        self
    }

    /// A number of two bytes.
    pub fn int16(&mut self, value: i16) -> &mut Self {
        self.bytes.put_i16(value);
        self
    }

    /// A number of four bytes.
    pub fn int32(&mut self, value: i32) -> &mut Self {
        self.bytes.put_i32(value);
        self
    }

    /// A number of eight bytes.
    pub fn int64(&mut self, value: i64) -> &mut Self {
        self.bytes.put_i64(value);
        self
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.put_slice(bytes);
        self
    }

    /// A number of as many bytes as it needs.
    pub fn unsigned_varint(&mut self, value: usize) -> &mut Self {
        let mut rest = value;
        while rest > 0x7f {
            self.bytes.put_u8(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
            rest >>= 7;
        }
        self.bytes.put_u8(u8::try_from(rest).unwrap_or(0));
        self
    }

    /// A string, of the flexible or the classic kind. Callers refuse what is longer than [`STRING_BYTES_MAX`] where it comes in; what came through
    /// nevertheless is cut in the classic kind, so that what is written stays readable.
    pub fn string(&mut self, flexible: bool, text: &str) -> &mut Self {
        if flexible {
            return self.unsigned_varint(text.len() + 1).raw(text.as_bytes());
        }
        let end = (0..=text.len().min(STRING_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let text = text.get(..end).unwrap_or_default();
        self.int16(i16::try_from(text.len()).unwrap_or(i16::MAX)).raw(text.as_bytes())
    }

    /// A classic string that may be null.
    pub fn nullable_string(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.string(false, text),
            None => self.int16(-1),
        }
    }

    /// Classic bytes with their length.
    pub fn byte_array(&mut self, bytes: &[u8]) -> &mut Self {
        self.array_length(bytes.len()).raw(bytes)
    }

    /// The number of a classic array's elements.
    pub fn array_length(&mut self, length: usize) -> &mut Self {
        self.nullable_array_length(false, Some(length))
    }

    /// The number of an array's elements, of the flexible or the classic kind; `None` is null.
    pub fn nullable_array_length(&mut self, flexible: bool, length: Option<usize>) -> &mut Self {
        match (flexible, length) {
            (true, None) => self.unsigned_varint(0),
            (true, Some(length)) => self.unsigned_varint(length + 1),
            (false, None) => self.int32(-1),
            (false, Some(length)) => self.int32(i32::try_from(length).unwrap_or(i32::MAX)),
        }
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}
