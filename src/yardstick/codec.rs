//! Kafka's primitive types, as far as the non-flexible versions need them, and one record batch.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// API keys used here.
pub mod key {
    /// Produce.
    pub const PRODUCE: i16 = 0;
    /// Fetch.
    pub const FETCH: i16 = 1;
    /// Metadata.
    pub const METADATA: i16 = 3;
    /// FindCoordinator.
    pub const FIND_COORDINATOR: i16 = 10;
    /// ApiVersions.
    pub const API_VERSIONS: i16 = 18;
    /// CreateTopics.
    pub const CREATE_TOPICS: i16 = 19;
    /// InitProducerId.
    pub const INIT_PRODUCER_ID: i16 = 22;
    /// EndTxn.
    pub const END_TXN: i16 = 26;
}

/// The length of a batch's header.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Where in a batch the checksummed part begins.
pub const CHECKSUMMED_FROM: usize = 21;

/// Reads values one after the other; `None` where the bytes end.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the beginning.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// How far the reader is.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(length)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// An INT8.
    pub fn i8(&mut self) -> Option<i8> {
        self.array().map(i8::from_be_bytes)
    }

    /// An INT16.
    pub fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    /// An INT32.
    pub fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// An INT64.
    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A STRING or NULLABLE_STRING; null reads as empty.
    pub fn string(&mut self) -> Option<&'a str> {
        let length = self.i16()?;
        std::str::from_utf8(self.take(usize::try_from(length).unwrap_or(0))?).ok()
    }

    /// BYTES or NULLABLE_BYTES; null reads as empty.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.i32()?;
        self.take(usize::try_from(length).unwrap_or(0))
    }

    /// The count of an ARRAY; null reads as empty.
    pub fn count(&mut self) -> Option<usize> {
        Some(usize::try_from(self.i32()?).unwrap_or(0))
    }

    /// An UNSIGNED_VARINT.
    pub fn unsigned_varint(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.i8()?.cast_unsigned();
            value |= usize::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// The count of a COMPACT_ARRAY; null reads as empty.
    pub fn compact_count(&mut self) -> Option<usize> {
        Some(self.unsigned_varint()?.saturating_sub(1))
    }

    /// A COMPACT_STRING or COMPACT_NULLABLE_STRING; null reads as empty.
    pub fn compact_string(&mut self) -> Option<&'a str> {
        let length = self.compact_count()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    /// Passes over tagged fields.
    pub fn skip_tags(&mut self) -> Option<()> {
        for _ in 0..self.unsigned_varint()? {
            self.unsigned_varint()?;
            let length = self.unsigned_varint()?;
            self.take(length)?;
        }
        Some(())
    }
}

/// Writes values one after the other.
#[derive(Clone, Debug, Default)]
pub struct Writer(
    /// What is written so far.
    pub Vec<u8>,
);

impl Writer {
    /// The header of a request, version 1.
    #[must_use]
    pub fn request(api_key: i16, version: i16, correlation_id: i32) -> Self {
        let mut writer = Self::default();
        writer.i16(api_key).i16(version).i32(correlation_id).string("load");
        writer
    }

    /// The header of a request of a flexible version, header version 2.
    #[must_use]
    pub fn flexible_request(api_key: i16, version: i16, correlation_id: i32) -> Self {
        let mut writer = Self::request(api_key, version, correlation_id);
        writer.no_tags();
        writer
    }

    /// An INT8.
    pub fn i8(&mut self, value: i8) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// An INT16.
    pub fn i16(&mut self, value: i16) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// An INT32.
    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// An INT64.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// A STRING.
    pub fn string(&mut self, text: &str) -> &mut Self {
        self.i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// BYTES.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
        self
    }

    /// The count of an ARRAY, or the length of BYTES.
    pub fn count(&mut self, count: usize) -> &mut Self {
        self.i32(i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// The count of a COMPACT_ARRAY, or the length of COMPACT_BYTES.
    pub fn compact_count(&mut self, count: usize) -> &mut Self {
        unsigned_varint(&mut self.0, count as u64 + 1);
        self
    }

    /// A COMPACT_STRING.
    pub fn compact_string(&mut self, text: &str) -> &mut Self {
        self.compact_count(text.len());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// No tagged fields.
    pub fn no_tags(&mut self) -> &mut Self {
        self.i8(0)
    }
}

/// How many records of this size a batch of about `batch_bytes` holds.
#[must_use]
pub fn records_per_batch(batch_bytes: usize, record_bytes: usize) -> usize {
    // A record of this form has at most ten bytes beside its value.
    (batch_bytes.saturating_sub(BATCH_HEADER_BYTES) / (record_bytes + 10)).max(1)
}

/// How a batch's records are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// Not at all; no codec could shorten the values either.
    #[default]
    None,
    /// As LZ4; half of each value is noise.
    Lz4,
}

impl Codec {
    /// The bits in a batch's attributes.
    fn attributes(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Lz4 => 3,
        }
    }

    fn compress(self, body: Vec<u8>) -> Vec<u8> {
        match self {
            Self::None => body,
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                // It writes to memory, which does not fail.
                let _ = encoder.write_all(&body);
                encoder.finish().unwrap_or_default()
            }
        }
    }
}

/// A batch of `records` records with values of `record_bytes` bytes.
#[must_use]
pub fn batch(records: usize, record_bytes: usize, codec: Codec) -> Vec<u8> {
    let noise_bytes = if codec == Codec::None { record_bytes } else { record_bytes / 2 };
    let mut noise = 0x9E37_79B9_7F4A_7C15_u64;
    let mut body = Vec::with_capacity(records * (record_bytes + 12));
    let mut record = Vec::with_capacity(record_bytes + 12);
    for offset_delta in 0..records {
        record.clear();
        record.extend_from_slice(&[0, 0]);
        varint(&mut record, i64::try_from(offset_delta).unwrap_or(0));
        varint(&mut record, -1);
        varint(&mut record, i64::try_from(record_bytes).unwrap_or(0));
        while record.len() < noise_bytes {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            record.extend_from_slice(&noise.to_be_bytes());
        }
        let value_end = record_prefix_bytes(offset_delta, record_bytes) + record_bytes;
        record.resize(value_end, b'x');
        record.push(0);
        varint(&mut body, i64::try_from(record.len()).unwrap_or(0));
        body.extend_from_slice(&record);
    }
    let count = i32::try_from(records).unwrap_or(i32::MAX);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_millis()).unwrap_or(0);
    let mut checked = Writer::default();
    checked.i16(codec.attributes()).i32(count - 1).i64(now).i64(now).i64(-1).i16(-1).i32(-1).i32(count);
    checked.0.extend_from_slice(&codec.compress(body));
    let mut whole = Writer::default();
    whole.i64(0).count(checked.0.len() + 9).i32(-1).i8(2).0.extend_from_slice(&crc32c::crc32c(&checked.0).to_be_bytes());
    whole.0.extend_from_slice(&checked.0);
    whole.0
}

fn record_prefix_bytes(offset_delta: usize, record_bytes: usize) -> usize {
    let mut prefix = vec![0, 0];
    varint(&mut prefix, i64::try_from(offset_delta).unwrap_or(0));
    varint(&mut prefix, -1);
    varint(&mut prefix, i64::try_from(record_bytes).unwrap_or(0));
    prefix.len()
}

fn varint(into: &mut Vec<u8>, value: i64) {
    unsigned_varint(into, (value << 1 ^ value >> 63).cast_unsigned());
}

fn unsigned_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    into.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_batch_is_shorter_and_says_its_codec() {
        let (plain, lz4) = (batch(16, 1024, Codec::None), batch(16, 1024, Codec::Lz4));
        assert!(lz4.len() < plain.len() * 2 / 3);
        assert_eq!((plain[22], lz4[22]), (0, 3));
        assert_eq!(lz4[BATCH_HEADER_BYTES..BATCH_HEADER_BYTES + 4], 0x184D_2204_u32.to_le_bytes());
    }

    #[test]
    fn a_batch_says_its_own_length_and_checksum() {
        for (records, record_bytes) in [(1, 1), (150, 100), (16, 1024), (300, 7)] {
            let batch = batch(records, record_bytes, Codec::None);
            let mut reader = Reader::new(&batch);
            assert_eq!(reader.i64(), Some(0));
            assert_eq!(usize::try_from(reader.i32().unwrap()).unwrap() + 12, batch.len());
            reader.take(5).unwrap();
            assert_eq!(reader.i32().unwrap().cast_unsigned(), crc32c::crc32c(&batch[CHECKSUMMED_FROM..]));
        }
    }
}
