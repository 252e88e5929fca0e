//! The controller's decisions: pure functions from an image and a request to records and an answer. Whoever calls them proposes the records
//! and sends the answer once they are applied; decisions on one image must not run side by side.

mod alter_configs;
mod alter_partition;
mod brokers;
mod client_quotas;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod elections;
mod features;
mod heartbeat;
mod leaders;
mod partition_change;
mod placement;
mod producer_ids;
mod reassignments;
mod registration;
mod sessions;
mod terms;
mod topic_names;
mod voters;

use model::config::Row;
use protocol::messages::TopicName as WireTopicName;
use protocol::{ErrorCode, StrBytes};
use thiserror::Error;

pub use alter_configs::{alter_configs, incremental_alter_configs};
pub use alter_partition::alter_partition;
pub use brokers::{BrokerRegistration, DuplicateBroker, bootstrap_cluster, register_broker};
pub use client_quotas::{alter_client_quotas, describe_client_quotas, quota_entity};
pub use create_partitions::create_partitions;
pub use create_topics::{InternalTopic, create_internal_topic, create_topics};
pub use delete_topics::delete_topics;
pub use elections::{UncleanElection, balance_leaders, elect_unclean_leaders, fence_broker, unclean_elections};
pub use features::update_features;
pub use heartbeat::{Heartbeat, HeartbeatReply, check_broker_epoch, heartbeat};
pub use leaders::{elect_leaders, unregister_broker};
pub use placement::{PlacementError, place};
pub use producer_ids::{PRODUCER_ID_BLOCK_SIZE, ProducerIdBlock, ProducerIdsError, allocate_producer_ids};
pub use reassignments::{alter_partition_reassignments, list_partition_reassignments};
pub use registration::{RegistrationWish, admit_broker};
pub use sessions::BrokerSessions;
pub use terms::counts;
pub use topic_names::{TopicNameError, check_topic_name};
pub use voters::{check_add_voter, check_remove_voter};

use crate::configs::{ConfigView, InvalidConfig};
use crate::records::MetadataRecord;

/// More records than this in one request are refused (`QuorumController.MAX_RECORDS_PER_USER_OP`).
pub const MAX_RECORDS_PER_REQUEST: usize = 10_000;

/// What a decision gives: the records to propose (none if it was only validated or refused) and the answer that holds once they are applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<T> {
    /// The records, to be proposed at once.
    pub records: Vec<MetadataRecord>,
    /// The answer.
    pub response: T,
}

/// A refusal as the client sees it (`ApiError`).
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{code:?}: {}", message.as_deref().unwrap_or_default())]
pub struct Refusal {
    /// Kafka's code.
    pub code: ErrorCode,
    /// The sentence beside it; null on the wire if there is none.
    pub message: Option<String>,
}

impl Refusal {
    /// A refusal with a sentence.
    #[must_use]
    pub const fn new(code: ErrorCode, message: String) -> Self {
        Self { code, message: Some(message) }
    }

    /// A refusal without a sentence.
    #[must_use]
    pub const fn silent(code: ErrorCode) -> Self {
        Self { code, message: None }
    }
}

impl From<TopicNameError> for Refusal {
    fn from(error: TopicNameError) -> Self {
        Self::new(ErrorCode::InvalidTopicException, error.to_string())
    }
}

impl From<InvalidConfig> for Refusal {
    fn from(error: InvalidConfig) -> Self {
        Self::new(ErrorCode::InvalidConfig, error.to_string())
    }
}

/// The client's quota on partitions that are created and deleted is exhausted (KIP-599).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("The throttling quota has been exceeded.")]
pub struct MutationsExhausted;

impl From<MutationsExhausted> for Refusal {
    fn from(error: MutationsExhausted) -> Self {
        Self::new(ErrorCode::ThrottlingQuotaExceeded, error.to_string())
    }
}

/// From what a request pays for the partitions that it creates or deletes.
pub trait MutationQuota {
    /// Pays for so many.
    ///
    /// # Errors
    /// Nothing was paid, and the change must not be made.
    fn take(&mut self, partitions: usize) -> Result<(), MutationsExhausted>;
}

/// Changes that nobody pays for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unlimited;

impl MutationQuota for Unlimited {
    fn take(&mut self, _partitions: usize) -> Result<(), MutationsExhausted> {
        Ok(())
    }
}

/// What topics get that do not say: `num.partitions` and `default.replication.factor`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicDefaults {
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
}

/// What decisions about topics look at.
#[derive(Clone, Copy, Debug)]
pub struct TopicContext<'a> {
    /// The image with the configurations as the controller's broker sees them.
    pub view: ConfigView<'a>,
    /// What topics get that do not say.
    pub defaults: TopicDefaults,
}

/// Configuration rows that other crates own.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConfigTables<'a> {
    /// The broker's.
    pub broker: &'a [Row],
    /// The groups'.
    pub group: &'a [Row],
}

/// A copy of a name that came over the wire: the original would hold the whole frame in memory.
fn copy_name(name: &WireTopicName) -> WireTopicName {
    WireTopicName(StrBytes::from_string(name.to_string()))
}

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod tests_support;
