//! From the broker's refusals to Kafka's error codes. Each match is exhaustive, so that a new refusal must be given a code here.
#![deny(clippy::wildcard_enum_match_arm)]

use broker::controller::ControlError;
use broker::partitions::{AppendError, AppendRefusal, PartitionError};
use metadata::controller::ProducerIdsError;
use protocol::{ErrorCode, StrBytes};
use record_batch::ProduceRefusal;

/// A partition that does not serve.
pub(crate) const fn partition(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::NotLeader => ErrorCode::NotLeaderOrFollower,
        PartitionError::FencedLeaderEpoch => ErrorCode::FencedLeaderEpoch,
        PartitionError::UnknownLeaderEpoch => ErrorCode::UnknownLeaderEpoch,
        PartitionError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        PartitionError::OffsetNotAvailable => ErrorCode::OffsetNotAvailable,
        PartitionError::Corrupt => ErrorCode::CorruptMessage,
        PartitionError::Storage => ErrorCode::KafkaStorageError,
    }
}

/// A change that the metadata log did not take.
pub(crate) const fn control(error: ControlError) -> ErrorCode {
    match error {
        ControlError::NotController => ErrorCode::NotController,
        // A controller that stops has perhaps recorded the change, too. Clients ask again, which they would not after BROKER_NOT_AVAILABLE.
        ControlError::FateUnknown | ControlError::Stopped => ErrorCode::RequestTimedOut,
        ControlError::Refused => ErrorCode::InvalidRequest,
    }
}

/// Why a broker gets no producer ids.
pub(crate) const fn producer_ids(error: ProducerIdsError) -> ErrorCode {
    match error {
        ProducerIdsError::StaleBrokerEpoch => ErrorCode::StaleBrokerEpoch,
        ProducerIdsError::NotRegistered => ErrorCode::BrokerIdNotRegistered,
        // There is no code for it, nor anybody who has seen 2^63 producers.
        ProducerIdsError::Exhausted => ErrorCode::InvalidRequest,
    }
}

/// The same as the two fields that most answers have.
pub(crate) fn control_fields(error: ControlError) -> (i16, Option<StrBytes>) {
    (control(error).code(), Some(StrBytes::from_string(error.to_string())))
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

/// An append that the partition or its log refuses.
pub(crate) fn append_refusal(refusal: &AppendRefusal) -> ErrorCode {
    match refusal {
        AppendRefusal::Partition(error) => partition(error),
        AppendRefusal::NotEnoughReplicas => ErrorCode::NotEnoughReplicas,
        AppendRefusal::NotEnoughReplicasAfterAppend => ErrorCode::NotEnoughReplicasAfterAppend,
        AppendRefusal::Log(error) => append(error),
    }
}

/// A batch that the log refuses.
pub(crate) fn append(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::OutsideOfTransaction { .. } | AppendError::Unverified { .. } => ErrorCode::InvalidTxnState,
        AppendError::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
        AppendError::StaleLeaderEpoch { .. } | AppendError::Deleted | AppendError::Closed => ErrorCode::NotLeaderOrFollower,
        AppendError::Storage(_) => ErrorCode::KafkaStorageError,
        AppendError::UnexpectedEnd { .. } | AppendError::BelowLogEnd { .. } | AppendError::UnorderedEpoch { .. } => {
            tracing::error!(%error, "an append as leader was refused as one of a follower");
            ErrorCode::NotLeaderOrFollower
        }
    }
}
