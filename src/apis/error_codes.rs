//! From the broker's refusals to Kafka's error codes. Each match is exhaustive, so that a new refusal must be given a code here.
#![deny(clippy::wildcard_enum_match_arm)]

use broker::partitions::{AppendError, PartitionError};
use protocol::ErrorCode;
use record_batch::ProduceRefusal;

/// A partition that does not serve.
pub(crate) const fn partition(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::NotLeader => ErrorCode::NotLeaderOrFollower,
        PartitionError::FencedLeaderEpoch => ErrorCode::FencedLeaderEpoch,
        PartitionError::UnknownLeaderEpoch => ErrorCode::UnknownLeaderEpoch,
        PartitionError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        PartitionError::Corrupt => ErrorCode::CorruptMessage,
        PartitionError::Storage => ErrorCode::KafkaStorageError,
    }
}

/// A batch that fails its checks.
pub(crate) const fn produce(refusal: &ProduceRefusal) -> ErrorCode {
    match refusal {
        ProduceRefusal::CorruptMessage(_) => ErrorCode::CorruptMessage,
        ProduceRefusal::MessageTooLarge { .. } => ErrorCode::MessageTooLarge,
        ProduceRefusal::InvalidRecord { .. } => ErrorCode::InvalidRecord,
        ProduceRefusal::InvalidTimestamp { .. } => ErrorCode::InvalidTimestamp,
        ProduceRefusal::UnsupportedCompressionType { .. } => ErrorCode::UnsupportedCompressionType,
    }
}

/// A batch that the log refuses.
pub(crate) fn append(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::StaleLeaderEpoch { .. } | AppendError::Deleted | AppendError::Closed => ErrorCode::NotLeaderOrFollower,
        AppendError::Storage(_) => ErrorCode::KafkaStorageError,
        AppendError::UnexpectedEnd { .. } | AppendError::BelowLogEnd { .. } => {
            tracing::error!(%error, "an append as leader was refused as one of a follower");
            ErrorCode::NotLeaderOrFollower
        }
    }
}
