//! The life of a batch as types: checked, then sequenced.

use bytes::Bytes;
use model::{LeaderEpoch, Offset, Timestamp};

use crate::{BatchError, BatchHeader, BatchIter, BatchView, HEADER_BYTES, ProducerFields, TimestampType};

/// A batch that may be appended: its header and records agree and obey the topic's rules. Made by [`crate::check_produced`], or of what the
/// broker built itself.
#[derive(Clone, Debug)]
pub struct CheckedBatch {
    /// Corrected already; the checksum is still that of `bytes`.
    header: BatchHeader,
    bytes: Bytes,
    /// Whether the checksummed part of the header differs from the one in `bytes`.
    is_corrected: bool,
    offset_delta_of_max_timestamp: i32,
}

impl CheckedBatch {
    pub(crate) fn new(header: BatchHeader, bytes: Bytes, is_corrected: bool, offset_delta_of_max_timestamp: i32) -> Self {
        Self { header, bytes, is_corrected, offset_delta_of_max_timestamp }
    }

    /// Takes a batch that the broker built itself ([`crate::BatchBuilder`]) at its word. Its max timestamp is said to be at its last
    /// record, as Kafka says of every batch, because finding out would take a walk.
    ///
    /// # Errors
    /// If the bytes are not exactly one batch.
    pub fn from_trusted(bytes: Bytes) -> Result<Self, BatchError> {
        let header = whole(&bytes)?;
        Ok(Self { header, bytes, is_corrected: false, offset_delta_of_max_timestamp: header.last_offset_delta })
    }

    /// The header with corrected attributes and max timestamp. Its base offset, leader epoch and checksum are not yet the final ones.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch as it came (or was rebuilt), the header not corrected.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The size of the whole batch.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The idempotent producer's fields.
    #[must_use]
    pub fn producer(&self) -> Option<ProducerFields> {
        self.header.producer()
    }

    /// The largest timestamp; `None` if no record has one.
    #[must_use]
    pub fn max_timestamp(&self) -> Option<Timestamp> {
        (self.header.max_timestamp >= 0).then_some(Timestamp(self.header.max_timestamp))
    }

    /// Where the first record with the largest timestamp is, counted from the base offset.
    #[must_use]
    pub fn offset_delta_of_max_timestamp(&self) -> i32 {
        self.offset_delta_of_max_timestamp
    }

    /// The number of records.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// The number of offsets that the batch takes: its record count unless compaction dropped some.
    #[must_use]
    pub fn offset_count(&self) -> i64 {
        i64::from(self.header.last_offset_delta) + 1
    }

    /// Gives the batch its place in the log. With a log append time it becomes one of `LogAppendTime`. The checksum is computed only if
    /// something that it covers has changed.
    #[must_use]
    pub fn into_sequenced(self, base_offset: Offset, leader_epoch: LeaderEpoch, log_append_time: Option<Timestamp>) -> SequencedBatch {
        let mut header = self.header;
        if let Some(time) = log_append_time {
            header = header.with_timestamps(TimestampType::LogAppendTime, time.millis());
        }
        let is_corrected = self.is_corrected || header != self.header;
        header.base_offset = base_offset.get();
        header.partition_leader_epoch = leader_epoch.get();
        let tail = self.bytes.slice(HEADER_BYTES..);
        if is_corrected {
            header.crc = header.checksum(&tail);
        }
        SequencedBatch::new(header, tail)
    }
}

/// A batch with its place in the log: what is written, as two pieces so that the records stay where the socket put them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequencedBatch {
    header: BatchHeader,
    head: [u8; HEADER_BYTES],
    tail: Bytes,
}

impl SequencedBatch {
    fn new(header: BatchHeader, tail: Bytes) -> Self {
        let mut head = [0; HEADER_BYTES];
        header.write(&mut head);
        Self { header, head, tail }
    }

    /// A batch as another broker's log has it, with offset and epoch.
    ///
    /// # Errors
    /// If the bytes are not exactly one batch, its checksum is wrong, or it has no valid base offset.
    pub fn from_replicated(bytes: Bytes) -> Result<Self, BatchError> {
        let header = whole(&bytes)?;
        BatchView::parse(&bytes)?.check_crc()?;
        let BatchHeader { base_offset, last_offset_delta, .. } = header;
        if base_offset < 0 || last_offset_delta < 0 {
            return Err(BatchError::OffsetRange { base_offset, last_offset_delta });
        }
        Ok(Self::new(header, bytes.slice(HEADER_BYTES..)))
    }

    /// The batches of a piece of another broker's log, one behind the other with rising offsets. There may be gaps between them, which
    /// compaction leaves. A cut batch at the end is left out. The records stay where they are.
    ///
    /// # Errors
    /// If one of them is not whole and good, or stands before the end of the one in front of it.
    pub fn all_replicated(bytes: &Bytes) -> Result<Vec<Self>, BatchError> {
        let mut batches = Vec::new();
        let mut expected = 0;
        for view in BatchIter::new(bytes) {
            let batch = Self::from_replicated(bytes.slice_ref(view?.bytes()))?;
            let base_offset = batch.header.base_offset;
            if base_offset < expected {
                return Err(BatchError::OffsetGoesBack { base_offset, expected });
            }
            expected = batch.header.next_offset();
            batches.push(batch);
        }
        Ok(batches)
    }

    /// The header's bytes.
    #[must_use]
    pub fn head(&self) -> &[u8; HEADER_BYTES] {
        &self.head
    }

    /// The records' bytes.
    #[must_use]
    pub fn tail(&self) -> &Bytes {
        &self.tail
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The size of the whole batch.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.tail.len()
    }

    /// The whole batch in one piece, copied.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        [self.head.as_slice(), &self.tail].concat().into()
    }
}

fn whole(bytes: &Bytes) -> Result<BatchHeader, BatchError> {
    let view = BatchView::parse(bytes)?;
    match bytes.len() - view.bytes().len() {
        0 => Ok(*view.header()),
        trailing => Err(BatchError::TrailingBytes(trailing)),
    }
}
