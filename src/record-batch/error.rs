//! What can be wrong with the bytes of a batch.

use std::io;

use thiserror::Error;

use crate::Codec;

/// Bytes that are no good batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the batch needs {needed_bytes} bytes but there are {available_bytes}")]
    Truncated {
        /// What the batch needs.
        needed_bytes: usize,
        /// What is there.
        available_bytes: usize,
    },
    /// The length field is smaller than a header.
    #[error("the batch's length field says {0}, which is less than a header")]
    LengthTooSmall(i32),
    /// Not format 2.
    #[error("the batch has magic {0}, not 2")]
    WrongMagic(i8),
    /// The checksum in the header is not the one of the bytes.
    #[error("record is corrupt (stored crc = {stored}, computed crc = {computed})")]
    WrongCrc {
        /// In the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// There is more behind the batch where there must be one batch only.
    #[error("{0} bytes follow the batch")]
    TrailingBytes(usize),
    /// The batch stands nowhere in a log.
    #[error("the batch has an invalid offset range: base offset {base_offset}, last offset delta {last_offset_delta}")]
    OffsetRange {
        /// In the header.
        base_offset: i64,
        /// In the header.
        last_offset_delta: i32,
    },
    /// A batch begins before the one in front of it ends.
    #[error("a batch begins at offset {base_offset}, before offset {expected}")]
    OffsetGoesBack {
        /// In the header.
        base_offset: i64,
        /// The least that it could be.
        expected: i64,
    },
    /// The codec's id is none that Kafka has.
    #[error("unknown compression type id {0}")]
    UnknownCodec(i16),
    /// The record count is negative.
    #[error("found invalid record count {0}")]
    NegativeCount(i32),
    /// The codec refused the records.
    #[error("failed to decompress the {} record stream ({kind})", codec.name())]
    Decompression {
        /// The codec.
        codec: Codec,
        /// What it said.
        kind: io::ErrorKind,
    },
    /// The codec could not write, for want of memory.
    #[error("failed to compress records with {}", .0.name())]
    Compression(Codec),
    /// The records are larger than allowed once decompressed.
    #[error("the records are larger than {max_bytes} bytes when decompressed")]
    DecompressedTooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// A record has no valid structure.
    #[error("invalid record at index {index}: {fault}")]
    Record {
        /// The record's place in the batch.
        index: i32,
        /// What is wrong with it.
        fault: RecordFault,
    },
    /// After the declared number of records there are more bytes.
    #[error("incorrect declared batch size, bytes remain after the last record")]
    RecordsRemain,
    /// A control record is none that can be read.
    #[error("invalid control record")]
    ControlRecord,
}

/// What can be wrong with one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordFault {
    /// The records end inside it.
    #[error("premature end of the batch")]
    EndOfData,
    /// A variable-length number has too many bytes.
    #[error("a varint is too long")]
    VarintTooLong,
    /// The record's size is negative.
    #[error("negative size {0}")]
    NegativeSize(i32),
    /// The fields do not fill the record's size.
    #[error("the record's size is {declared} but its fields do not end there")]
    SizeMismatch {
        /// What the record says.
        declared: i32,
    },
    /// The number of headers is negative or more than the record can hold.
    #[error("found invalid number of record headers {0}")]
    HeaderCount(i32),
    /// A header's key is null, which only values may be.
    #[error("invalid negative header key size {0}")]
    HeaderKeySize(i32),
}

/// A failure while reading one record, before the record's place and the codec are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Record(RecordFault),
    Decompression(io::ErrorKind),
    TooLarge,
}

impl Fault {
    pub(crate) const END: Fault = Fault::Record(RecordFault::EndOfData);

    pub(crate) fn of_record(self, index: i32, codec: Codec, max_bytes: usize) -> BatchError {
        match self {
            Fault::Record(fault) => BatchError::Record { index, fault },
            Fault::Decompression(kind) => BatchError::Decompression { codec, kind },
            Fault::TooLarge => BatchError::DecompressedTooLarge { max_bytes },
        }
    }
}
