//! Builds batches: the coordinators' records, control markers, recompressed and compacted batches, tests.

use bytes::{BufMut, Bytes};
use model::{ProducerEpoch, ProducerId, Sequence};

use crate::compress::Deflate;
use crate::header::{CHECKSUMMED_FROM, LENGTH_PREFIX_BYTES, MAGIC, NO_TIMESTAMP, checksum};
use crate::source::{put_varlong, varlong_bytes};
use crate::{Attributes, BatchError, BatchHeader, Codec, HEADER_BYTES, RecordView, TimestampType};

/// Builds one batch. Set up first (`with_...`), then append, then build. Records are compressed as they come.
///
/// Without further setting up: base offset 0, no compression, `CreateTime`, no producer, no leader epoch.
pub struct BatchBuilder {
    codec: Codec,
    level: Option<i32>,
    attributes: Attributes,
    log_append_time: Option<i64>,
    delete_horizon: Option<i64>,
    base_offset: i64,
    partition_leader_epoch: i32,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    /// Given from outside; else the last record's.
    last_offset_delta: Option<i32>,
    next_offset_delta: i32,
    record_count: i32,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    /// The max timestamp of a batch without records.
    empty_max_timestamp: i64,
    deflate: Option<Deflate>,
    scratch: Vec<u8>,
    /// Set when the codec failed; the batch can then not be built.
    failed: bool,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// A builder of a plain batch.
    #[must_use]
    pub fn new() -> Self {
        Self {
            codec: Codec::None,
            level: None,
            attributes: Attributes(0),
            log_append_time: None,
            delete_horizon: None,
            base_offset: 0,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            last_offset_delta: None,
            next_offset_delta: 0,
            record_count: 0,
            base_timestamp: None,
            max_timestamp: NO_TIMESTAMP,
            empty_max_timestamp: NO_TIMESTAMP,
            deflate: None,
            scratch: Vec::new(),
            failed: false,
        }
    }

    /// A builder of a batch that stands for another one whose records it may hold in part or not at all: base offset, last offset delta,
    /// leader epoch, producer fields, flags and codec are the other's, so that offsets and sequences stay continuous (compaction).
    #[must_use]
    pub fn in_place_of(header: &BatchHeader) -> Self {
        let log_append_time = match header.attributes.timestamp_type() {
            TimestampType::CreateTime => None,
            TimestampType::LogAppendTime => Some(header.max_timestamp),
        };
        Self {
            codec: header.attributes.codec().unwrap_or(Codec::None),
            attributes: header.attributes.without_unknown().with_codec(Codec::None),
            log_append_time,
            delete_horizon: header.attributes.has_delete_horizon().then_some(header.base_timestamp),
            base_offset: header.base_offset,
            partition_leader_epoch: header.partition_leader_epoch,
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            last_offset_delta: Some(header.last_offset_delta),
            empty_max_timestamp: header.max_timestamp,
            ..Self::new()
        }
    }

    /// Compresses with a codec at a level (`None`: the codec's default).
    #[must_use]
    pub fn with_codec(mut self, codec: Codec, level: Option<i32>) -> Self {
        (self.codec, self.level) = (codec, level);
        self
    }

    /// Makes the batch one of `LogAppendTime` with the given time for all records.
    #[must_use]
    pub fn with_log_append_time(mut self, timestamp: i64) -> Self {
        self.attributes = self.attributes.with_timestamp_type(TimestampType::LogAppendTime);
        self.log_append_time = Some(timestamp);
        self
    }

    /// Makes the batch one of `CreateTime`.
    #[must_use]
    pub fn with_create_time(mut self) -> Self {
        self.attributes = self.attributes.with_timestamp_type(TimestampType::CreateTime);
        self.log_append_time = None;
        self
    }

    /// Names the producer; `base_sequence` is `None` for transaction markers and for what a coordinator writes.
    #[must_use]
    pub fn with_producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: Option<Sequence>) -> Self {
        self.producer_id = id.get();
        self.producer_epoch = epoch.get();
        self.base_sequence = Sequence::to_wire(base_sequence);
        self
    }

    /// Sets or clears the transactional bit.
    #[must_use]
    pub fn with_transactional(mut self, set: bool) -> Self {
        self.attributes = self.attributes.with_transactional(set);
        self
    }

    /// Sets or clears the control bit.
    #[must_use]
    pub fn with_control(mut self, set: bool) -> Self {
        self.attributes = self.attributes.with_control(set);
        self
    }

    /// Sets the time from which compaction may drop the batch's tombstones (KIP-534); it becomes the base timestamp.
    #[must_use]
    pub fn with_delete_horizon(mut self, horizon: Option<i64>) -> Self {
        self.attributes = self.attributes.with_delete_horizon(horizon.is_some());
        self.delete_horizon = horizon;
        self
    }

    /// Sets the first offset.
    #[must_use]
    pub fn with_base_offset(mut self, base_offset: i64) -> Self {
        self.base_offset = base_offset;
        self
    }

    /// Sets the leader epoch.
    #[must_use]
    pub fn with_leader_epoch(mut self, partition_leader_epoch: i32) -> Self {
        self.partition_leader_epoch = partition_leader_epoch;
        self
    }

    /// Sets the last offset delta, which otherwise is the last record's.
    #[must_use]
    pub fn with_last_offset_delta(mut self, last_offset_delta: i32) -> Self {
        self.last_offset_delta = Some(last_offset_delta);
        self
    }

    /// Appends a record at the next offset.
    pub fn append(&mut self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&[u8], Option<&[u8]>)]) {
        let mut encoded = Vec::new();
        for (name, content) in headers {
            put_sized(&mut encoded, Some(name));
            put_sized(&mut encoded, *content);
        }
        let fields = Fields { key, value, header_count: headers.len(), headers: &encoded };
        self.append_fields(self.next_offset_delta, timestamp, &fields);
    }

    /// Appends a record at an offset of its own, which must be beyond the last one's.
    pub fn append_at(&mut self, offset_delta: i32, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.append_fields(offset_delta, timestamp, &Fields { key, value, header_count: 0, headers: &[] });
    }

    /// Appends a record of another batch with its offset delta, timestamp and headers.
    pub fn append_view(&mut self, record: &RecordView<'_>) {
        let header_count = usize::try_from(record.headers.count()).unwrap_or(0);
        let fields = Fields { key: record.key, value: record.value, header_count, headers: record.headers.bytes() };
        self.append_fields(record.offset_delta, record.timestamp, &fields);
    }

    fn append_fields(&mut self, offset_delta: i32, timestamp: i64, fields: &Fields<'_>) {
        // With a delete horizon the deltas count from it, since it takes the base timestamp's place.
        let base = *self.base_timestamp.get_or_insert(self.delete_horizon.unwrap_or(timestamp));
        let timestamp_delta = timestamp.wrapping_sub(base);
        let body_bytes = 1 + varlong_bytes(timestamp_delta) + varlong_bytes(i64::from(offset_delta)) + fields.encoded_bytes();
        let mut record = std::mem::take(&mut self.scratch);
        record.clear();
        put_varlong(&mut record, signed(body_bytes));
        record.push(0);
        put_varlong(&mut record, timestamp_delta);
        put_varlong(&mut record, i64::from(offset_delta));
        put_sized(&mut record, fields.key);
        put_sized(&mut record, fields.value);
        put_varlong(&mut record, signed(fields.header_count));
        record.extend_from_slice(fields.headers);
        let written = match self.deflate() {
            Some(deflate) => deflate.write_all(&record).is_ok(),
            None => false,
        };
        self.failed |= !written;
        self.scratch = record;
        self.record_count = self.record_count.saturating_add(1);
        self.next_offset_delta = offset_delta.saturating_add(1);
        self.max_timestamp = self.max_timestamp.max(timestamp);
    }

    fn deflate(&mut self) -> Option<&mut Deflate> {
        if self.deflate.is_none() {
            self.deflate = Deflate::new(self.codec, self.level, vec![0; HEADER_BYTES]).ok();
        }
        self.deflate.as_mut()
    }

    /// The number of records so far.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Whether there is no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// The batch's size so far, header included. A codec may hold back more.
    #[must_use]
    pub fn written_bytes(&self) -> usize {
        self.deflate.as_ref().map_or(HEADER_BYTES, Deflate::written_bytes)
    }

    /// The batch.
    ///
    /// # Panics
    /// If the batch is larger than 2 GiB or the codec finds no memory, which no caller can act upon; where sizes come from outside,
    /// [`BatchBuilder::try_build`] is the one to use.
    #[must_use]
    pub fn build(self) -> Bytes {
        match self.try_build() {
            Ok(batch) => batch,
            Err(error) => panic!("a batch could not be built: {error}"),
        }
    }

    /// The batch. One without records is just a header and not compressed, as Kafka's cleaner writes it.
    ///
    /// # Errors
    /// If the batch is larger than 2 GiB or the codec finds no memory.
    pub fn try_build(mut self) -> Result<Bytes, BatchError> {
        let codec = if self.is_empty() { Codec::None } else { self.codec };
        let failure = BatchError::Compression(codec);
        if self.failed {
            return Err(failure);
        }
        let mut batch = match self.deflate.take() {
            Some(deflate) => deflate.finish().map_err(|_| failure)?,
            None => vec![0; HEADER_BYTES],
        };
        let batch_length = i32::try_from(batch.len() - LENGTH_PREFIX_BYTES).map_err(|_| failure)?;
        let own_max = if self.is_empty() { self.empty_max_timestamp } else { self.max_timestamp };
        let header = BatchHeader {
            base_offset: self.base_offset,
            batch_length,
            partition_leader_epoch: self.partition_leader_epoch,
            magic: MAGIC,
            crc: 0,
            attributes: self.attributes.with_codec(codec),
            last_offset_delta: self.last_offset_delta.unwrap_or(self.next_offset_delta - 1),
            base_timestamp: self.base_timestamp.or(self.delete_horizon).unwrap_or(NO_TIMESTAMP),
            max_timestamp: self.log_append_time.unwrap_or(own_max),
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            record_count: self.record_count,
        };
        if let Some(head) = batch.first_chunk_mut::<HEADER_BYTES>() {
            header.write(head);
        }
        let crc = checksum(&batch);
        if let Some(mut field) = batch.get_mut(CHECKSUMMED_FROM - 4..CHECKSUMMED_FROM) {
            field.put_u32(crc);
        }
        Ok(batch.into())
    }
}

/// A record's contents with its headers encoded.
struct Fields<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    header_count: usize,
    headers: &'a [u8],
}

impl Fields<'_> {
    fn encoded_bytes(&self) -> usize {
        sized_bytes(self.key) + sized_bytes(self.value) + varlong_bytes(signed(self.header_count)) + self.headers.len()
    }
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn put_sized(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varlong(out, bytes.map_or(-1, |bytes| signed(bytes.len())));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn sized_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varlong_bytes(signed(bytes.len())) + bytes.len())
}
