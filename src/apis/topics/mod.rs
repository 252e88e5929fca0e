//! APIs that create, change and describe topics.

pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_topics;
pub(crate) mod describe_topic_partitions;

use broker::controller::ControlError;
use protocol::ErrorCode;

/// The code for a change that the metadata log did not take.
pub(crate) const fn control_code(error: ControlError) -> ErrorCode {
    match error {
        ControlError::NotController => ErrorCode::NotController,
        ControlError::Stopped => ErrorCode::BrokerNotAvailable,
        ControlError::Refused => ErrorCode::InvalidRequest,
    }
}
