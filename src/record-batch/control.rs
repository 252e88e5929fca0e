//! Control records: what the transaction coordinator writes into partitions at a transaction's end.

use bytes::{Buf, Bytes};
use model::{ProducerEpoch, ProducerId, Timestamp};

use crate::{BatchBuilder, BatchError};

/// The version of key and value that is written.
const VERSION: i16 = 0;

/// The end of a transaction (Kafka's `EndTransactionMarker`).
///
/// Key: version (int16), type (int16: 0 abort, 1 commit). Value: version (int16), coordinator epoch (int32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTxnMarker {
    /// Whether the transaction's records count.
    pub is_commit: bool,
    /// The term of the transaction coordinator, by which partitions refuse markers of an old one.
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    /// The record's key.
    #[must_use]
    pub fn key(&self) -> [u8; 4] {
        let [a, b] = VERSION.to_be_bytes();
        [a, b, 0, u8::from(self.is_commit)]
    }

    /// The record's value.
    #[must_use]
    pub fn value(&self) -> [u8; 6] {
        let [a, b] = VERSION.to_be_bytes();
        let [c, d, e, f] = self.coordinator_epoch.to_be_bytes();
        [a, b, c, d, e, f]
    }

    /// Reads key and value. Later versions are read as far as this one knows them, as in Kafka. `None` for control records of other types.
    ///
    /// # Errors
    /// [`BatchError::ControlRecord`] if key or value is cut or has a negative version.
    pub fn decode(mut key: &[u8], mut value: &[u8]) -> Result<Option<EndTxnMarker>, BatchError> {
        let refuse = |_| BatchError::ControlRecord;
        let key_version = key.try_get_i16().map_err(refuse)?;
        let kind = key.try_get_i16().map_err(refuse)?;
        if key_version < 0 {
            return Err(BatchError::ControlRecord);
        }
        if !matches!(kind, 0 | 1) {
            return Ok(None);
        }
        let value_version = value.try_get_i16().map_err(refuse)?;
        let coordinator_epoch = value.try_get_i32().map_err(refuse)?;
        if value_version < 0 {
            return Err(BatchError::ControlRecord);
        }
        Ok(Some(EndTxnMarker { is_commit: kind == 1, coordinator_epoch }))
    }

    /// The batch that carries the marker: transactional, control, with the producer but without a sequence.
    #[must_use]
    pub fn batch(&self, producer_id: ProducerId, producer_epoch: ProducerEpoch, timestamp: Timestamp) -> Bytes {
        let mut builder = BatchBuilder::new().with_producer(producer_id, producer_epoch, None).with_transactional(true).with_control(true);
        builder.append(timestamp.millis(), Some(&self.key()), Some(&self.value()), &[]);
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_reads_as_written_and_other_types_are_left_alone() {
        let marker = EndTxnMarker { is_commit: true, coordinator_epoch: 7 };
        assert_eq!(marker.key(), [0, 0, 0, 1]);
        assert_eq!(EndTxnMarker::decode(&marker.key(), &marker.value()), Ok(Some(marker)));
        assert_eq!(EndTxnMarker::decode(&[0, 0, 0, 2], &[]), Ok(None));
        assert_eq!(EndTxnMarker::decode(&[0, 0, 0], &[]), Err(BatchError::ControlRecord));
        assert_eq!(EndTxnMarker::decode(&marker.key(), &[0, 0, 0]), Err(BatchError::ControlRecord));
    }
}
