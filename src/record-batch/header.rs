//! The 61 bytes before a batch's records, and the words that they are made of.

use bytes::{Buf, BufMut};
use model::{ProducerEpoch, ProducerId, Sequence};

use crate::BatchError;

/// The length of a batch's header: everything before its records.
pub const HEADER_BYTES: usize = 61;

/// The bytes before the field that [`BatchHeader::batch_length`] counts from: base offset and the length itself.
pub(crate) const LENGTH_PREFIX_BYTES: usize = 12;
/// Where the checksummed part begins: at the attributes.
pub(crate) const CHECKSUMMED_FROM: usize = 21;
/// The only format that is stored.
pub(crate) const MAGIC: i8 = 2;
/// The smallest value of the length field: an empty batch.
pub(crate) const MIN_BATCH_LENGTH: i32 = 49;
/// Kafka's `RecordBatch.NO_TIMESTAMP`.
pub(crate) const NO_TIMESTAMP: i64 = -1;

/// How a batch's records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, raw or in Xerial's framing.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

impl Codec {
    /// All codecs in the order of their ids.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The id on the wire.
    #[must_use]
    pub const fn id(self) -> i16 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    /// The codec of an id.
    #[must_use]
    pub fn from_id(id: i16) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.id() == id)
    }

    /// The codec of a word of `compression.type`. `producer` is no codec and gives `None`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Codec> {
        match name {
            "uncompressed" | "none" => Some(Codec::None),
            "gzip" => Some(Codec::Gzip),
            "snappy" => Some(Codec::Snappy),
            "lz4" => Some(Codec::Lz4),
            "zstd" => Some(Codec::Zstd),
            _ => None,
        }
    }

    /// The word that clients use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

/// What a record's timestamp means (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer's time.
    #[default]
    CreateTime,
    /// The time at which the leader appended the batch; all records have the header's max timestamp.
    LogAppendTime,
}

impl TimestampType {
    /// The type of a word of `message.timestamp.type`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<TimestampType> {
        match name {
            "CreateTime" => Some(TimestampType::CreateTime),
            "LogAppendTime" => Some(TimestampType::LogAppendTime),
            _ => None,
        }
    }
}

/// The attribute bits of a batch: 0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// The codec.
    ///
    /// # Errors
    /// [`BatchError::UnknownCodec`] for the ids 5 to 7.
    pub fn codec(self) -> Result<Codec, BatchError> {
        let id = self.0 & Self::CODEC;
        Codec::from_id(id).ok_or(BatchError::UnknownCodec(id))
    }

    /// What the records' timestamps mean.
    #[must_use]
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds control records (transaction markers), which no consumer sees.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the time from which compaction may drop the batch's tombstones (KIP-534).
    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The same attributes with another codec.
    #[must_use]
    pub const fn with_codec(self, codec: Codec) -> Attributes {
        Attributes((self.0 & !Self::CODEC) | codec.id())
    }

    /// The same attributes with another timestamp type.
    #[must_use]
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Attributes {
        self.with(Self::LOG_APPEND_TIME, matches!(timestamp_type, TimestampType::LogAppendTime))
    }

    /// The same attributes with the transactional bit set or cleared.
    #[must_use]
    pub const fn with_transactional(self, set: bool) -> Attributes {
        self.with(Self::TRANSACTIONAL, set)
    }

    /// The same attributes with the control bit set or cleared.
    #[must_use]
    pub const fn with_control(self, set: bool) -> Attributes {
        self.with(Self::CONTROL, set)
    }

    /// The same attributes with the delete horizon bit set or cleared.
    #[must_use]
    pub const fn with_delete_horizon(self, set: bool) -> Attributes {
        self.with(Self::DELETE_HORIZON, set)
    }

    /// The same attributes without the bits that mean nothing, which Kafka drops when it rewrites a header.
    pub(crate) const fn without_unknown(self) -> Attributes {
        Attributes(self.0 & 0x7f)
    }

    const fn with(self, bit: i16, set: bool) -> Attributes {
        if set { Attributes(self.0 | bit) } else { Attributes(self.0 & !bit) }
    }
}

/// Who wrote a batch, and which of its records these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProducerFields {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its term.
    pub producer_epoch: ProducerEpoch,
    /// The sequence of the batch's first record.
    pub first_sequence: Sequence,
    /// The sequence of the batch's last record; smaller than the first one where the sequence wraps inside the batch.
    pub last_sequence: Sequence,
}

/// A batch's header with the plain numbers of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchHeader {
    /// The offset of the first record (also after compaction dropped that record); 0 in what producers send.
    pub base_offset: i64,
    /// The bytes that follow this field: the batch's size less 12.
    pub batch_length: i32,
    /// The term of the leader that appended the batch.
    pub partition_leader_epoch: i32,
    /// The format: always 2.
    pub magic: i8,
    /// CRC-32C of everything from the attributes to the end.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// The last record's offset less the base offset (also after compaction dropped that record).
    pub last_offset_delta: i32,
    /// The timestamp that the records' deltas are added to, or the delete horizon.
    pub base_timestamp: i64,
    /// The largest timestamp, or with `LogAppendTime` the one of all records.
    pub max_timestamp: i64,
    /// The producer's id or -1.
    pub producer_id: i64,
    /// The producer's term or -1.
    pub producer_epoch: i16,
    /// The first record's sequence or -1.
    pub base_sequence: i32,
    /// The number of records.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the first 61 bytes of `bytes`. The records may lie elsewhere.
    ///
    /// # Errors
    /// If there are fewer than 61 bytes, the format is not 2 or the length field is smaller than a header. The checksum is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let Some(mut head) = bytes.get(..HEADER_BYTES) else {
            return Err(BatchError::Truncated { needed_bytes: HEADER_BYTES, available_bytes: bytes.len() });
        };
        let header = BatchHeader {
            base_offset: head.get_i64(),
            batch_length: head.get_i32(),
            partition_leader_epoch: head.get_i32(),
            magic: head.get_i8(),
            crc: head.get_u32(),
            attributes: Attributes(head.get_i16()),
            last_offset_delta: head.get_i32(),
            base_timestamp: head.get_i64(),
            max_timestamp: head.get_i64(),
            producer_id: head.get_i64(),
            producer_epoch: head.get_i16(),
            base_sequence: head.get_i32(),
            record_count: head.get_i32(),
        };
        if header.magic != MAGIC {
            return Err(BatchError::WrongMagic(header.magic));
        }
        if header.batch_length < MIN_BATCH_LENGTH {
            return Err(BatchError::LengthTooSmall(header.batch_length));
        }
        Ok(header)
    }

    /// Writes the header as it is, checksum included.
    pub fn write(&self, out: &mut [u8; HEADER_BYTES]) {
        let mut out = out.as_mut_slice();
        out.put_i64(self.base_offset);
        out.put_i32(self.batch_length);
        out.put_i32(self.partition_leader_epoch);
        out.put_i8(self.magic);
        out.put_u32(self.crc);
        out.put_i16(self.attributes.0);
        out.put_i32(self.last_offset_delta);
        out.put_i64(self.base_timestamp);
        out.put_i64(self.max_timestamp);
        out.put_i64(self.producer_id);
        out.put_i16(self.producer_epoch);
        out.put_i32(self.base_sequence);
        out.put_i32(self.record_count);
    }

    /// The checksum that belongs to this header before the given records.
    #[must_use]
    pub fn checksum(&self, records: &[u8]) -> u32 {
        let mut head = [0; HEADER_BYTES];
        self.write(&mut head);
        crc32c::crc32c_append(checksum(&head), records)
    }

    /// The size of the whole batch, header included.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        // A parsed length is at least 49; one from elsewhere that is negative counts as a bare prefix.
        usize::try_from(self.batch_length).unwrap_or(0).saturating_add(LENGTH_PREFIX_BYTES)
    }

    /// The header with another meaning and value of its timestamps; with all its bits if these are what it has already. Kafka's
    /// `DefaultRecordBatch.setMaxTimestamp`.
    pub(crate) fn with_timestamps(self, timestamp_type: TimestampType, max_timestamp: i64) -> BatchHeader {
        if self.attributes.timestamp_type() == timestamp_type && self.max_timestamp == max_timestamp {
            return self;
        }
        let attributes = self.attributes.without_unknown().with_timestamp_type(timestamp_type);
        BatchHeader { attributes, max_timestamp, ..self }
    }

    /// The offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the last record.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// The sequence of the last record, with the wrap from 2^31-1 to 0; `None` if the batch has no sequence.
    #[must_use]
    pub fn last_sequence(&self) -> Option<i32> {
        Sequence::new(self.base_sequence).map(|first| first.advance(self.last_offset_delta).get())
    }

    /// The producer's fields. `None` if the batch comes from no idempotent producer, and for a transaction marker, which has a producer
    /// but no sequence.
    #[must_use]
    pub fn producer(&self) -> Option<ProducerFields> {
        let first_sequence = Sequence::new(self.base_sequence)?;
        Some(ProducerFields {
            producer_id: ProducerId::new(self.producer_id)?,
            producer_epoch: ProducerEpoch::new(self.producer_epoch)?,
            first_sequence,
            last_sequence: first_sequence.advance(self.last_offset_delta),
        })
    }
}

/// CRC-32C of a batch's (or a header's) checksummed part.
pub(crate) fn checksum(batch: &[u8]) -> u32 {
    crc32c::crc32c(batch.get(CHECKSUMMED_FROM..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> BatchHeader {
        BatchHeader {
            base_offset: 1,
            batch_length: 60,
            partition_leader_epoch: 3,
            magic: 2,
            crc: 0xdead_beef,
            attributes: Attributes(0x0b),
            last_offset_delta: 4,
            base_timestamp: 5,
            max_timestamp: 6,
            producer_id: 7,
            producer_epoch: 8,
            base_sequence: i32::MAX - 1,
            record_count: 5,
        }
    }

    #[test]
    fn a_written_header_reads_as_itself() {
        let mut bytes = [0; HEADER_BYTES];
        header().write(&mut bytes);
        assert_eq!(BatchHeader::parse(&bytes), Ok(header()));
        assert_eq!(BatchHeader::parse(&bytes[..60]), Err(BatchError::Truncated { needed_bytes: 61, available_bytes: 60 }));
    }

    #[test]
    fn the_last_sequence_wraps_to_zero() {
        assert_eq!(header().last_sequence(), Some(2));
        assert_eq!(header().producer().map(|fields| fields.last_sequence.get()), Some(2));
        assert_eq!(BatchHeader { base_sequence: -1, ..header() }.producer(), None);
    }

    #[test]
    fn attributes_hold_codec_and_flags_apart() {
        let attributes = Attributes(0x0b);
        assert_eq!(attributes.codec(), Ok(Codec::Lz4));
        assert_eq!(attributes.timestamp_type(), TimestampType::LogAppendTime);
        assert!(!attributes.is_control());
        assert_eq!(attributes.with_timestamp_type(TimestampType::CreateTime).with_control(true).0, 0x23);
        assert_eq!(Attributes(5).codec(), Err(BatchError::UnknownCodec(5)));
    }
}
