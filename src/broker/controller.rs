//! Changes of the cluster's metadata: decide on the newest image, propose the records, wait until they are applied.
//!
//! One change at a time: the decision must see all earlier ones. The decisions themselves are pure (`metadata::controller`).
//!
//! In Kafka: `QuorumController`, `ControllerApis`.

mod membership;
#[cfg(test)]
mod tests;
mod voters;
mod watch;

pub use membership::Probe;

use std::sync::Arc;
use std::time::Duration;

use metadata::Image;
use metadata::configs::{ConfigView, GROUP_ROWS, StaticConfig};
use metadata::controller::{self as decide, ConfigTables, Decision, InternalTopic, Refusal, TopicContext, TopicDefaults};
use model::config::Row;
use model::{BrokerId, ProducerId};
use protocol::messages::alter_client_quotas_response::EntryData as QuotaEntryData;
use protocol::messages::alter_configs_response::AlterConfigsResourceResponse as LegacyAlterResponse;
use protocol::messages::alter_partition_reassignments_response::ReassignableTopicResponse;
use protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use protocol::messages::create_topics_response::CreatableTopicResult;
use protocol::messages::delete_topics_response::DeletableTopicResult;
use protocol::messages::elect_leaders_response::ReplicaElectionResult;
use protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{
    AlterClientQuotasRequest, AlterConfigsRequest, AlterPartitionReassignmentsRequest, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteTopicsRequest, ElectLeadersRequest, IncrementalAlterConfigsRequest, UpdateFeaturesRequest,
};
pub use quorum::VoterProgress;
use quorum::{MetadataQuorum, ProposeError};
use thiserror::Error;
use tokio::sync::Mutex;
use wire::clock::SharedClock;

use crate::controller::membership::Members;
use crate::controller_channel::{ControllerChannel, Elsewhere};
use crate::entropy::Entropy;
use crate::quotas::RequestMutations;

/// Why a change was not made.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ControlError {
    /// This broker's quorum has no leader, or another broker leads it.
    #[error("this broker is not the active controller")]
    NotController,
    /// The other voters did not answer in time: it may be made yet.
    #[error("the metadata quorum did not answer in time")]
    FateUnknown,
    /// The broker is stopping, or its metadata log failed.
    #[error("the metadata quorum has stopped")]
    Stopped,
    /// The decision refused for a reason that no request of a well-behaved client brings about.
    #[error("the controller refused the change")]
    Refused,
}

/// What the controller must know of the broker that it runs on.
#[derive(Debug, Clone)]
pub struct ControllerSettings {
    /// The broker.
    pub broker_id: BrokerId,
    /// What its file, flags and environment set.
    pub given: StaticConfig,
    /// Partitions and replicas of topics that name none.
    pub defaults: TopicDefaults,
    /// The form of the offsets topic.
    pub offsets_topic: InternalTopic,
    /// The form of the topic of transactions.
    pub transactions_topic: InternalTopic,
    /// The keys that brokers have.
    pub broker_rows: Vec<Row>,
    /// `broker.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `leader.imbalance.check.interval.seconds`, unless `auto.leader.rebalance.enable` is off.
    pub rebalance_interval: Option<Duration>,
}

/// The broker's way to the metadata log. Cheap to clone.
#[derive(Clone)]
pub struct Controller {
    inner: Arc<Inner>,
}

struct Inner {
    quorum: Arc<dyn MetadataQuorum>,
    entropy: Arc<dyn Entropy>,
    settings: ControllerSettings,
    /// The way to the active controller, where it may be another broker.
    channel: Option<ControllerChannel>,
    clock: SharedClock,
    /// Which brokers are alive, while this one is the active controller.
    members: Members,
    /// Held from the look at the image to the end of the proposal.
    one_at_a_time: Mutex<()>,
}

impl Inner {
    fn topic_context<'a>(&'a self, image: &'a Image) -> TopicContext<'a> {
        TopicContext { view: self.view(image), defaults: self.settings.defaults }
    }

    fn view<'a>(&'a self, image: &'a Image) -> ConfigView<'a> {
        ConfigView::new(image, self.settings.broker_id, &self.settings.given)
    }

    fn tables(&self) -> ConfigTables<'_> {
        ConfigTables { broker: &self.settings.broker_rows, group: GROUP_ROWS }
    }
}

/// A decision whose answer carries the quota that it was paid from.
fn beside<T, Q>(decision: Decision<T>, quota: Q) -> Decision<(T, Q)> {
    Decision { records: decision.records, response: (decision.response, quota) }
}

/// A refusal as a decision that changes nothing.
fn refusable<T>(decided: Result<Decision<T>, Refusal>) -> Decision<Result<T, Refusal>> {
    match decided {
        Ok(Decision { records, response }) => Decision { records, response: Ok(response) },
        Err(refusal) => Decision { records: Vec::new(), response: Err(refusal) },
    }
}

impl Controller {
    /// A controller that proposes to `quorum`.
    #[must_use]
    pub fn new(
        quorum: Arc<dyn MetadataQuorum>,
        entropy: Arc<dyn Entropy>,
        settings: ControllerSettings,
        channel: Option<ControllerChannel>,
        clock: SharedClock,
    ) -> Self {
        let probe = channel.clone().map(|channel| Arc::new(channel) as Arc<dyn Probe>);
        Self::with_probe(quorum, entropy, settings, channel, (clock, probe))
    }

    fn with_probe(
        quorum: Arc<dyn MetadataQuorum>,
        entropy: Arc<dyn Entropy>,
        settings: ControllerSettings,
        channel: Option<ControllerChannel>,
        (clock, probe): (SharedClock, Option<Arc<dyn Probe>>),
    ) -> Self {
        let (members, one_at_a_time) = (Members::new(probe), Mutex::new(()));
        Self { inner: Arc::new(Inner { quorum, entropy, settings, channel, clock, members, one_at_a_time }) }
    }

    /// The voters of the metadata quorum.
    #[must_use]
    pub fn voters(&self) -> Vec<VoterProgress> {
        self.inner.quorum.voters()
    }

    /// The observers of the metadata quorum.
    #[must_use]
    pub fn observers(&self) -> Vec<VoterProgress> {
        self.inner.quorum.observers()
    }

    /// Whether this broker is the active controller, whose decisions count.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.inner.quorum.is_active()
    }

    /// The broker that decides, if one is known.
    #[must_use]
    pub fn leader(&self) -> Option<BrokerId> {
        self.inner.quorum.leader()
    }

    /// The way to the active controller, if another broker is it.
    fn elsewhere(&self) -> Option<Elsewhere> {
        let own = self.inner.settings.broker_id;
        let channel = self.inner.channel.clone().filter(|channel| !self.is_active() && !channel.is_sole_voter(own))?;
        Some(Elsewhere::new(channel, Arc::clone(&self.inner.quorum)))
    }

    /// Runs a decision on the newest image and records what it decided. Its answer is returned after the records are applied and served.
    async fn change<A: Send + 'static>(
        &self,
        decision: impl FnOnce(&Inner, &Image) -> Result<Decision<A>, ControlError> + Send + 'static,
    ) -> Result<A, ControlError> {
        let inner = Arc::clone(&self.inner);
        // IMPORTANT: a task of its own, since the caller's future is dropped when its client goes away: a half-done change would give the turn to
        // the next one before its own records are applied.
        let change = tokio::spawn(async move {
            let _turn = inner.one_at_a_time.lock().await;
            // Before the image: what is decided on it counts in this term only.
            let term = inner.quorum.leader_term();
            if !inner.quorum.is_active() {
                return Err(ControlError::NotController);
            }
            let Decision { records, response } = decision(&inner, &inner.quorum.image())?;
            if !records.is_empty() {
                inner.quorum.propose(term, records).await.map_err(|error| {
                    // Who is asked to stop has no more to say of it, and what stopped by itself has said why. Who has just lost the lead, or gave
                    // it up since it goes, is followed by a controller that is asked in its place.
                    match error {
                        ProposeError::Stopped { .. } | ProposeError::NotLeader { .. } => {
                            tracing::info!(%error, "a metadata change was not recorded");
                        }
                        ProposeError::FateUnknown => tracing::warn!(%error, "a metadata change was not recorded"),
                    }
                    match error {
                        ProposeError::NotLeader { .. } => ControlError::NotController,
                        ProposeError::FateUnknown => ControlError::FateUnknown,
                        ProposeError::Stopped { .. } => ControlError::Stopped,
                    }
                })?;
            }
            Ok(response)
        });
        change.await.unwrap_or(Err(ControlError::Stopped))
    }

    /// CreateTopics. The quota comes back with what the request has yet to wait for.
    ///
    /// # Errors
    /// When the metadata log does not take the records.
    pub async fn create_topics(
        &self,
        request: CreateTopicsRequest,
        mut quota: RequestMutations,
    ) -> Result<(Vec<CreatableTopicResult>, RequestMutations), ControlError> {
        if let Some(elsewhere) = self.elsewhere() {
            return Ok((elsewhere.create_topics(&request).await?, quota));
        }
        self.change(move |inner, image| {
            let mut ids = std::iter::repeat_with(|| inner.entropy.uuid());
            let decision = decide::create_topics(&inner.topic_context(image), &request, &mut ids, &mut quota);
            Ok(beside(decision, quota))
        })
        .await
    }

    /// DeleteTopics. The quota comes back with what the request has yet to wait for.
    ///
    /// # Errors
    /// When the metadata log does not take the records.
    pub async fn delete_topics(
        &self,
        request: DeleteTopicsRequest,
        mut quota: RequestMutations,
    ) -> Result<(Vec<DeletableTopicResult>, RequestMutations), ControlError> {
        self.change(move |_inner, image| {
            let decision = decide::delete_topics(image, &request, &mut quota);
            Ok(beside(decision, quota))
        })
        .await
    }

    /// CreatePartitions. The quota comes back with what the request has yet to wait for.
    ///
    /// # Errors
    /// When the metadata log does not take the records.
    pub async fn create_partitions(
        &self,
        request: CreatePartitionsRequest,
        mut quota: RequestMutations,
    ) -> Result<(Vec<CreatePartitionsTopicResult>, RequestMutations), ControlError> {
        self.change(move |_inner, image| {
            let decision = decide::create_partitions(image, &request, &mut quota);
            Ok(beside(decision, quota))
        })
        .await
    }

    /// IncrementalAlterConfigs.
    ///
    /// # Errors
    /// When the metadata log does not take the records.
    pub async fn incremental_alter_configs(
        &self,
        request: IncrementalAlterConfigsRequest,
    ) -> Result<Vec<AlterConfigsResourceResponse>, ControlError> {
        self.change(move |inner, image| Ok(decide::incremental_alter_configs(inner.topic_context(image).view, &request, inner.tables())))
            .await
    }

    /// AlterConfigs.
    ///
    /// # Errors
    /// When the metadata log does not take the records.
    pub async fn alter_configs(&self, request: AlterConfigsRequest) -> Result<Vec<LegacyAlterResponse>, ControlError> {
        self.change(move |inner, image| Ok(decide::alter_configs(inner.topic_context(image).view, &request, inner.tables()))).await
    }

    /// AlterClientQuotas.
    ///
    /// # Errors
    /// When the metadata log does not take the records.
    pub async fn alter_client_quotas(&self, request: AlterClientQuotasRequest) -> Result<Vec<QuotaEntryData>, ControlError> {
        self.change(move |_inner, image| Ok(decide::alter_client_quotas(image, &request))).await
    }

    /// ElectLeaders; inside is the refusal of the request as a whole.
    ///
    /// # Errors
    /// When the metadata log does not take the records.
    pub async fn elect_leaders(&self, request: ElectLeadersRequest) -> Result<Result<Vec<ReplicaElectionResult>, Refusal>, ControlError> {
        self.change(move |inner, image| Ok(refusable(decide::elect_leaders(inner.view(image), &request)))).await
    }

    /// AlterPartitionReassignments.
    ///
    /// # Errors
    /// When the metadata log does not take the records.
    pub async fn alter_partition_reassignments(
        &self,
        request: AlterPartitionReassignmentsRequest,
    ) -> Result<Vec<ReassignableTopicResponse>, ControlError> {
        self.change(move |inner, image| Ok(decide::alter_partition_reassignments(inner.view(image), &request))).await
    }

    /// UpdateFeatures, of a request of that version; inside is the refusal.
    ///
    /// # Errors
    /// When the metadata log does not take the records.
    pub async fn update_features(&self, api_version: i16, request: UpdateFeaturesRequest) -> Result<Result<(), Refusal>, ControlError> {
        self.change(move |inner, image| Ok(refusable(decide::update_features(inner.view(image), api_version, &request)))).await
    }

    /// UnregisterBroker; inside is the refusal. A broker that does not vote is no observer any more.
    ///
    /// # Errors
    /// When the metadata log does not take the records.
    pub async fn unregister_broker(&self, broker_id: i32) -> Result<Result<(), Refusal>, ControlError> {
        let decided = self.change(move |inner, image| Ok(refusable(decide::unregister_broker(inner.view(image), broker_id)))).await?;
        if let Some(id) = BrokerId::new(broker_id).filter(|_| decided.is_ok())
            && let Err(error) = self.inner.quorum.forget_observer(id).await
        {
            tracing::warn!(broker = broker_id, %error, "the metadata quorum still has the broker as an observer; unregister it again if it comes back");
        }
        Ok(decided)
    }

    /// The term of the quorum's leader.
    #[must_use]
    pub fn leader_term(&self) -> u64 {
        self.inner.quorum.leader_term()
    }

    /// Creates `__consumer_offsets`, unless it is there.
    ///
    /// # Errors
    /// When the topic's settings do not fit the cluster, or the metadata log does not take the records.
    pub async fn create_offsets_topic(&self) -> Result<(), ControlError> {
        self.create_internal_topic(self.inner.settings.offsets_topic).await
    }

    /// Creates `__transaction_state`, unless it is there.
    ///
    /// # Errors
    /// When the topic's settings do not fit the cluster, or the metadata log does not take the records.
    pub async fn create_transactions_topic(&self) -> Result<(), ControlError> {
        self.create_internal_topic(self.inner.settings.transactions_topic).await
    }

    async fn create_internal_topic(&self, topic: InternalTopic) -> Result<(), ControlError> {
        if let Some(elsewhere) = self.elsewhere() {
            let request = CreateTopicsRequest::default().with_topics(vec![topic.creatable()]).with_timeout_ms(10_000);
            // That it exists is no error: another broker was first.
            elsewhere.create_topics(&request).await?;
            return Ok(());
        }
        self.change(move |inner, image| {
            let decided = decide::create_internal_topic(&inner.topic_context(image), topic, inner.entropy.uuid());
            let Decision { records, response: _ } = decided.map_err(|refusal| {
                tracing::error!(topic = topic.name(), %refusal, "a topic of the cluster's own cannot be created");
                ControlError::Refused
            })?;
            Ok(Decision { records, response: () })
        })
        .await
    }

    /// The next block of producer ids: its first id and its length.
    ///
    /// # Errors
    /// When the broker's registration is not the newest, or the metadata log does not take the records.
    pub async fn allocate_producer_ids(&self) -> Result<(ProducerId, i64), ControlError> {
        if let Some(elsewhere) = self.elsewhere() {
            let image = self.inner.quorum.image();
            let broker = image.broker(self.inner.settings.broker_id).ok_or(ControlError::NotController)?;
            return elsewhere.allocate_producer_ids(broker.id, broker.epoch).await;
        }
        self.change(|inner, image| {
            let broker = image.broker(inner.settings.broker_id).ok_or(ControlError::NotController)?;
            let decided = decide::allocate_producer_ids(image, broker.id, broker.epoch);
            let Decision { records, response } = decided.map_err(|error| {
                tracing::error!(%error, "no producer ids were allocated");
                ControlError::Refused
            })?;
            Ok(Decision { records, response: (response.first, i64::from(response.count)) })
        })
        .await
    }
}
