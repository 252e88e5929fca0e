//! The check of what a producer sends for one partition.

use std::ops::ControlFlow;

use bytes::Bytes;
use model::Timestamp;
use thiserror::Error;

use crate::batches::next_frame;
use crate::header::{CHECKSUMMED_FROM, MAGIC, NO_TIMESTAMP};
use crate::records::heads_of;
use crate::{BatchBuilder, BatchError, BatchHeader, BatchView, CheckedBatch, Codec, DecompressLimits, RecordHead, TimestampType};

/// The most record errors that an answer lists. Kafka lists all, and a small compressed batch can hold millions.
const MAX_RECORD_ERRORS: usize = 1000;

/// Where the codec is told, also in a frame that is too short for a header.
const ATTRIBUTES_LOW_BYTE: usize = CHECKSUMMED_FROM + 1;

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A client, which is not trusted.
    Client,
    /// A coordinator of this broker, which may write control batches.
    Coordinator,
}

/// What the topic and the request allow.
#[derive(Clone, Copy, Debug)]
pub struct ProduceRules {
    /// The time of the append.
    pub now: Timestamp,
    /// `max.message.bytes`: the largest batch.
    pub max_message_bytes: usize,
    /// Whether `cleanup.policy` has `compact`, so that each record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub after_max_ms: i64,
    /// `compression.type` with the codec's level; `None` is `producer`: as it comes.
    pub compression: Option<(Codec, Option<i32>)>,
    /// Whether the request's version knows zstd (Produce 7 and later).
    pub zstd_allowed: bool,
    /// Who appends.
    pub origin: AppendOrigin,
    /// The most bytes that the records may have once decompressed.
    pub max_decompressed_bytes: usize,
}

/// Why a batch is not taken; each variant is one of Kafka's error codes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProduceRefusal {
    /// `CORRUPT_MESSAGE` (2).
    #[error("{0}")]
    CorruptMessage(BatchError),
    /// `MESSAGE_TOO_LARGE` (10).
    #[error("The record batch size in the append is {size_bytes} bytes which exceeds the maximum configured value of {max_bytes}.")]
    MessageTooLarge {
        /// The batch's size, or what was written of it when a recompressed one became too large.
        size_bytes: usize,
        /// `max.message.bytes`.
        max_bytes: usize,
    },
    /// `INVALID_RECORD` (87).
    #[error("{reason}")]
    InvalidRecord {
        /// What is wrong.
        reason: InvalidReason,
        /// The records at fault with their places in the batch, if it is single records.
        record_errors: Vec<(i32, String)>,
    },
    /// `INVALID_TIMESTAMP` (32).
    #[error("One or more records have been rejected due to invalid timestamp")]
    InvalidTimestamp {
        /// The records at fault with their places in the batch.
        record_errors: Vec<(i32, String)>,
    },
    /// `UNSUPPORTED_COMPRESSION_TYPE` (76): zstd before Produce 7, or an id that no codec has.
    #[error("Produce requests of this version are not allowed to use compression type id {codec_id}")]
    UnsupportedCompressionType {
        /// The codec's id.
        codec_id: i16,
    },
}

impl ProduceRefusal {
    /// The records at fault, for `record_errors` of the response.
    #[must_use]
    pub fn record_errors(&self) -> &[(i32, String)] {
        match self {
            ProduceRefusal::InvalidRecord { record_errors, .. } | ProduceRefusal::InvalidTimestamp { record_errors } => record_errors,
            ProduceRefusal::CorruptMessage(_)
            | ProduceRefusal::MessageTooLarge { .. }
            | ProduceRefusal::UnsupportedCompressionType { .. } => &[],
        }
    }
}

/// Why Kafka would say `INVALID_RECORD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidReason {
    /// There is no whole batch.
    #[error("Produce requests must have at least one record batch per partition")]
    NoBatch,
    /// There is more than one batch.
    #[error("Produce requests are only allowed to contain exactly one record batch per partition")]
    SeveralBatches,
    /// Format 0 or 1.
    #[error("Produce requests are only allowed to contain record batches with magic version 2, but this one has {0}")]
    OldMagic(i8),
    /// The producer wants to give offsets.
    #[error("The baseOffset of the record batch in the append should be 0, but it is {0}")]
    BaseOffset(i64),
    /// The last offset delta is negative.
    #[error("Batch has an invalid last offset delta {0}")]
    LastOffsetDelta(i32),
    /// There is no record.
    #[error("Invalid reported count for record batch: {0}")]
    RecordCount(i32),
    /// The offsets that the batch takes are not as many as its records.
    #[error("Inconsistent batch offset range [0, {last_offset_delta}] and count of records {record_count}")]
    CountMismatch {
        /// In the header.
        last_offset_delta: i32,
        /// In the header.
        record_count: i32,
    },
    /// A client sets the control bit.
    #[error("Clients are not allowed to write control records")]
    ControlBatch,
    /// A producer id without a sequence.
    #[error("Invalid sequence number {base_sequence} in record batch with producerId {producer_id}")]
    Sequence {
        /// In the header.
        producer_id: i64,
        /// In the header.
        base_sequence: i32,
    },
    /// A producer id without an epoch. Kafka takes it until the producer's next epoch.
    #[error("Invalid producer epoch {producer_epoch} in record batch with producerId {producer_id}")]
    ProducerEpoch {
        /// In the header.
        producer_id: i64,
        /// In the header.
        producer_epoch: i16,
    },
    /// Single records are wrong; the refusal lists them.
    #[error("One or more records have been rejected due to {0} record errors in total")]
    Records(usize),
    /// The records cannot be read.
    #[error("{0}")]
    Unreadable(BatchError),
}

impl From<InvalidReason> for ProduceRefusal {
    fn from(reason: InvalidReason) -> Self {
        ProduceRefusal::InvalidRecord { reason, record_errors: Vec::new() }
    }
}

/// Checks the bytes of one partition of a Produce request and corrects what Kafka corrects: timestamp type and max timestamp, and with
/// another codec in `compression.type` the compression. The order is Kafka's: `ProduceRequest.validateRecords`, then
/// `UnifiedLog.analyzeAndValidateRecords`, then `LogValidator`. A cut batch behind the first one is dropped, as there.
///
/// Deviations: records that cannot be decompressed, and offset deltas in a compressed batch that are not 0, 1, 2 ..., are `INVALID_RECORD`,
/// where Kafka answers `UNKNOWN_SERVER_ERROR`; such deltas in an uncompressed batch are refused too, where Kafka stores them. An unknown
/// codec is `UNSUPPORTED_COMPRESSION_TYPE` instead of `UNKNOWN_SERVER_ERROR`. At most 1000 record errors are listed.
///
/// # Errors
/// The refusal says which of Kafka's codes it is and why.
pub fn check_produced(records: Bytes, rules: &ProduceRules) -> Result<CheckedBatch, ProduceRefusal> {
    let size = single_batch(&records, rules)?;
    let batch = records.slice(..size);
    let view = BatchView::parse(&batch).map_err(ProduceRefusal::CorruptMessage)?;
    let header = *view.header();
    let is_client = rules.origin == AppendOrigin::Client;
    if is_client && header.base_offset != 0 {
        return Err(InvalidReason::BaseOffset(header.base_offset).into());
    }
    check_size(size, rules)?;
    view.check_crc().map_err(ProduceRefusal::CorruptMessage)?;
    let codec = header.attributes.codec().map_err(unreadable)?;
    if is_client {
        check_header(&header)?;
    }
    let walked = check_records(&view, rules)?;
    match rules.compression {
        // Coordinators' control records stay uncompressed, as in Kafka.
        Some((target, level)) if target != codec && !(codec == Codec::None && header.attributes.is_control()) => {
            rebuild(&view, rules, target, level, walked)
        }
        _ => {
            let corrected = header.with_timestamps(rules.timestamp_type, walked.max_timestamp);
            Ok(CheckedBatch::new(corrected, batch, corrected != header, walked.delta_of_max))
        }
    }
}

/// The size of the one batch. Kafka's `ProduceRequest.validateRecords`.
fn single_batch(records: &[u8], rules: &ProduceRules) -> Result<usize, ProduceRefusal> {
    let (frame, magic) = next_frame(records).map_err(ProduceRefusal::CorruptMessage)?.ok_or(InvalidReason::NoBatch)?;
    if magic != MAGIC {
        return Err(InvalidReason::OldMagic(magic).into());
    }
    let codec_id = frame.get(ATTRIBUTES_LOW_BYTE).map_or(0, |attributes| i16::from(attributes & 0x07));
    if codec_id == Codec::Zstd.id() && !rules.zstd_allowed {
        return Err(ProduceRefusal::UnsupportedCompressionType { codec_id });
    }
    let rest = records.get(frame.len()..).unwrap_or_default();
    match next_frame(rest).map_err(ProduceRefusal::CorruptMessage)? {
        None => Ok(frame.len()),
        Some(_) => Err(InvalidReason::SeveralBatches.into()),
    }
}

fn check_size(size_bytes: usize, rules: &ProduceRules) -> Result<(), ProduceRefusal> {
    let max_bytes = rules.max_message_bytes;
    if size_bytes > max_bytes { Err(ProduceRefusal::MessageTooLarge { size_bytes, max_bytes }) } else { Ok(()) }
}

/// What a client's header must say. Kafka's `LogValidator.validateBatch`.
fn check_header(header: &BatchHeader) -> Result<(), ProduceRefusal> {
    let BatchHeader { last_offset_delta, record_count, producer_id, producer_epoch, base_sequence, .. } = *header;
    if last_offset_delta < 0 {
        return Err(InvalidReason::LastOffsetDelta(last_offset_delta).into());
    }
    if record_count <= 0 {
        return Err(InvalidReason::RecordCount(record_count).into());
    }
    if i64::from(last_offset_delta) + 1 != i64::from(record_count) {
        return Err(InvalidReason::CountMismatch { last_offset_delta, record_count }.into());
    }
    if header.attributes.is_control() {
        return Err(InvalidReason::ControlBatch.into());
    }
    if producer_id >= 0 && base_sequence < 0 {
        return Err(InvalidReason::Sequence { producer_id, base_sequence }.into());
    }
    if producer_id >= 0 && producer_epoch < 0 {
        return Err(InvalidReason::ProducerEpoch { producer_id, producer_epoch }.into());
    }
    Ok(())
}

/// What the walk over the records found.
#[derive(Clone, Copy)]
struct Walked {
    max_timestamp: i64,
    delta_of_max: i32,
}

/// One record's check with its results so far. Kafka's `LogValidator.validateRecord`.
struct RecordCheck<'a> {
    rules: &'a ProduceRules,
    batch_timestamp_type: TimestampType,
    index: i32,
    max_timestamp: i64,
    delta_of_max: i32,
    errors: Vec<(i32, String)>,
    error_count: usize,
    has_invalid_timestamp: bool,
}

impl RecordCheck<'_> {
    #[inline]
    fn record(&mut self, head: RecordHead) -> ControlFlow<()> {
        let now = self.rules.now.millis();
        if self.rules.compacted && !head.has_key {
            self.refuse(|| "Compacted topic cannot accept message without key".to_owned());
        } else if self.rules.timestamp_type == TimestampType::CreateTime && head.timestamp != NO_TIMESTAMP {
            let age = now.saturating_sub(head.timestamp);
            if age > self.rules.before_max_ms || age.saturating_neg() > self.rules.after_max_ms {
                self.has_invalid_timestamp = true;
                let earliest = now.saturating_sub(self.rules.before_max_ms);
                let latest = now.saturating_add(self.rules.after_max_ms);
                self.refuse(|| {
                    format!(
                        "Timestamp {} of message with offset {} is out of range. The timestamp should be within [{earliest}, {latest}]",
                        head.timestamp, head.offset
                    )
                });
            }
        } else if self.batch_timestamp_type == TimestampType::LogAppendTime {
            self.has_invalid_timestamp = true;
            self.refuse(|| "Invalid timestamp type in message. Producer should not set timestamp type to LogAppendTime.".to_owned());
        }
        if head.offset_delta != self.index && self.rules.origin == AppendOrigin::Client {
            self.refuse(|| format!("Offset delta {} is not the record's place in its batch", head.offset_delta));
        }
        if head.timestamp > self.max_timestamp {
            self.max_timestamp = head.timestamp;
            self.delta_of_max = head.offset_delta;
        }
        self.index = self.index.saturating_add(1);
        ControlFlow::Continue(())
    }

    #[cold]
    fn refuse(&mut self, message: impl FnOnce() -> String) {
        self.error_count += 1;
        if self.errors.len() < MAX_RECORD_ERRORS {
            self.errors.push((self.index, message()));
        }
    }
}

fn check_records(view: &BatchView<'_>, rules: &ProduceRules) -> Result<Walked, ProduceRefusal> {
    let mut check = RecordCheck {
        rules,
        batch_timestamp_type: view.header().attributes.timestamp_type(),
        index: 0,
        max_timestamp: NO_TIMESTAMP,
        delta_of_max: 0,
        errors: Vec::new(),
        error_count: 0,
        has_invalid_timestamp: false,
    };
    let limits = DecompressLimits::new(rules.max_decompressed_bytes);
    heads_of(view, limits, |head| check.record(head)).map_err(unreadable)?;
    if check.has_invalid_timestamp {
        return Err(ProduceRefusal::InvalidTimestamp { record_errors: check.errors });
    }
    if check.error_count > 0 {
        let reason = InvalidReason::Records(check.error_count);
        return Err(ProduceRefusal::InvalidRecord { reason, record_errors: check.errors });
    }
    Ok(match rules.timestamp_type {
        TimestampType::CreateTime => Walked { max_timestamp: check.max_timestamp, delta_of_max: check.delta_of_max },
        TimestampType::LogAppendTime => Walked { max_timestamp: rules.now.millis(), delta_of_max: 0 },
    })
}

/// Writes the records anew with the topic's codec. The batch is known to be good, so this is a second walk that stops once the new batch is
/// too large; it holds what comes out and no more.
fn rebuild(
    view: &BatchView<'_>,
    rules: &ProduceRules,
    target: Codec,
    level: Option<i32>,
    walked: Walked,
) -> Result<CheckedBatch, ProduceRefusal> {
    let builder = BatchBuilder::in_place_of(view.header()).with_codec(target, level).with_delete_horizon(None);
    let mut builder = match rules.timestamp_type {
        TimestampType::CreateTime => builder.with_create_time(),
        TimestampType::LogAppendTime => builder.with_log_append_time(rules.now.millis()),
    };
    let limits = DecompressLimits::new(rules.max_decompressed_bytes);
    view.walk_records(limits, &mut |record| {
        builder.append_view(&record);
        if builder.written_bytes() > rules.max_message_bytes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .map_err(unreadable)?;
    check_size(builder.written_bytes(), rules)?;
    let batch = builder.try_build().map_err(unreadable)?;
    check_size(batch.len(), rules)?;
    let header = BatchHeader::parse(&batch).map_err(unreadable)?;
    Ok(CheckedBatch::new(header, batch, false, walked.delta_of_max))
}

fn unreadable(error: BatchError) -> ProduceRefusal {
    match error {
        BatchError::UnknownCodec(codec_id) => ProduceRefusal::UnsupportedCompressionType { codec_id },
        error => InvalidReason::Unreadable(error).into(),
    }
}
