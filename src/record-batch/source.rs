//! Where a record's bytes come from: a slice, or a codec's output as it appears.

use crate::error::Fault;
use crate::error::RecordFault::{HeaderCount, HeaderKeySize, NegativeSize, SizeMismatch, VarintTooLong};

/// A stream of bytes that can be read and skipped.
pub(crate) trait Source {
    /// The next byte.
    fn byte(&mut self) -> Result<u8, Fault>;
    /// Leaves `count` bytes out.
    fn skip(&mut self, count: usize) -> Result<(), Fault>;
    /// The number of bytes read and skipped so far.
    fn position(&self) -> usize;
    /// Whether nothing follows.
    fn is_at_end(&mut self) -> Result<bool, Fault>;

    /// A zigzag number of at most 5 bytes (Kafka's `ByteUtils.readVarint`).
    #[inline]
    fn varint(&mut self) -> Result<i32, Fault> {
        // Deltas, small sizes and nulls take one byte.
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(i32::from(first >> 1) ^ -i32::from(first & 1));
        }
        self.long_varint(first)
    }

    /// The rest of a number that has more than one byte.
    fn long_varint(&mut self, first: u8) -> Result<i32, Fault> {
        let mut value = u32::from(first & 0x7f);
        for shift in [7, 14, 21, 28] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(Fault::Record(VarintTooLong))
    }

    /// A zigzag number of at most 10 bytes (Kafka's `ByteUtils.readVarlong`).
    #[inline]
    fn varlong(&mut self) -> Result<i64, Fault> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(i64::from(first >> 1) ^ -i64::from(first & 1));
        }
        self.long_varlong(first)
    }

    /// The rest of a number that has more than one byte.
    fn long_varlong(&mut self, first: u8) -> Result<i64, Fault> {
        let mut value = u64::from(first & 0x7f);
        for shift in [7, 14, 21, 28, 35, 42, 49, 56, 63] {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(Fault::Record(VarintTooLong))
    }
}

/// A slice as a source.
pub(crate) struct SliceSource<'a> {
    rest: &'a [u8],
    size: usize,
}

impl<'a> SliceSource<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, size: bytes.len() }
    }

    /// The next `count` bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Fault::END)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next bytes with their size before them; a negative size is null.
    pub(crate) fn take_nullable(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        match usize::try_from(self.varint()?) {
            Ok(size) => self.take(size).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Everything that follows.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl Source for SliceSource<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Fault> {
        let (byte, rest) = self.rest.split_first().ok_or(Fault::END)?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    fn skip(&mut self, count: usize) -> Result<(), Fault> {
        self.take(count).map(drop)
    }

    #[inline]
    fn position(&self) -> usize {
        self.size.saturating_sub(self.rest.len())
    }

    #[inline]
    fn is_at_end(&mut self) -> Result<bool, Fault> {
        Ok(self.rest.is_empty())
    }

    // Left to itself the compiler calls it, four times a record.
    #[inline(always)]
    fn varint(&mut self) -> Result<i32, Fault> {
        match *self.rest {
            [first @ 0..0x80, ref rest @ ..] => {
                self.rest = rest;
                Ok(i32::from(first >> 1) ^ -i32::from(first & 1))
            }
            // Records of up to 8 KiB, and their places in a batch.
            [first, second @ 0..0x80, ref rest @ ..] => {
                self.rest = rest;
                let value = i32::from(first & 0x7f) | i32::from(second) << 7;
                Ok((value >> 1) ^ -(value & 1))
            }
            _ => {
                let first = self.byte()?;
                self.long_varint(first)
            }
        }
    }
}

/// A record without its contents.
pub(crate) struct RawHead {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) has_key: bool,
}

/// Reads one record and drops its key, value and headers, but checks that they fill it exactly (Kafka's `DefaultRecord.readPartiallyFrom`
/// does not).
#[inline(always)]
pub(crate) fn read_head<S: Source>(source: &mut S) -> Result<RawHead, Fault> {
    let declared = source.varint()?;
    let size = usize::try_from(declared).map_err(|_| Fault::Record(NegativeSize(declared)))?;
    let end = source.position().checked_add(size).ok_or(Fault::END)?;
    source.byte()?;
    let timestamp_delta = source.varlong()?;
    let offset_delta = source.varint()?;
    let has_key = skip_nullable(source)?;
    skip_nullable(source)?;
    let headers = source.varint()?;
    if headers < 0 {
        return Err(Fault::Record(HeaderCount(headers)));
    }
    for _ in 0..headers {
        // The count comes from outside, so the record's own end bounds the work.
        if source.position() >= end {
            return Err(Fault::Record(HeaderCount(headers)));
        }
        let key_size = source.varint()?;
        let key_bytes = usize::try_from(key_size).map_err(|_| Fault::Record(HeaderKeySize(key_size)))?;
        source.skip(key_bytes)?;
        skip_nullable(source)?;
    }
    if source.position() != end {
        return Err(Fault::Record(SizeMismatch { declared }));
    }
    Ok(RawHead { timestamp_delta, offset_delta, has_key })
}

#[inline(always)]
fn skip_nullable<S: Source>(source: &mut S) -> Result<bool, Fault> {
    match usize::try_from(source.varint()?) {
        Ok(size) => source.skip(size).map(|()| true),
        Err(_) => Ok(false),
    }
}

/// Appends a zigzag number.
pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

/// The number of bytes that [`put_varlong`] appends.
pub(crate) fn varlong_bytes(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = 1;
    let mut rest = zigzag >> 7;
    while rest != 0 {
        rest >>= 7;
        bytes += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_varlong_reads_as_written(value: i64) {
            let mut bytes = Vec::new();
            put_varlong(&mut bytes, value);
            prop_assert_eq!(bytes.len(), varlong_bytes(value));
            prop_assert_eq!(SliceSource::new(&bytes).varlong(), Ok(value));
        }

        #[test]
        fn a_varint_reads_as_written(value: i32) {
            let mut bytes = Vec::new();
            put_varlong(&mut bytes, i64::from(value));
            prop_assert_eq!(SliceSource::new(&bytes).varint(), Ok(value));
        }
    }

    #[test]
    fn an_endless_varint_is_refused() {
        assert_eq!(SliceSource::new(&[0xff; 20]).varint(), Err(Fault::Record(VarintTooLong)));
        assert_eq!(SliceSource::new(&[0xff; 20]).varlong(), Err(Fault::Record(VarintTooLong)));
        assert_eq!(SliceSource::new(&[0xff; 3]).varint(), Err(Fault::END));
    }
}
