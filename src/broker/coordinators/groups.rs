//! The group coordinators of one broker.

use std::sync::Arc;

use ::coordinator::ReplyId;
use group_coordinator::{Effects, GroupConfig, GroupReply, GroupShard, GroupSummary, RequestMeta, TimerKey};
use metadata::{Delta, Image};
use model::{BrokerId, LeaderEpoch, ProducerId, Timestamp, TopicIdPartition, TopicName, TopicPartition};
use protocol::ErrorCode;
use tokio::sync::{mpsc, oneshot};

use crate::controller::Controller;
use crate::entropy::Entropy;
use crate::metadata_view::MetadataView;
use crate::partitions::{AppendRefusal, TransactionCheck};

use super::OFFSETS_TOPIC;
use super::coordinator::{Coordinator, EndOfTransaction, Released, ToAppend, Work};
use super::shards::{RuntimeParts, Shards};

/// Who asks: what the coordinator must know of a request beside its body.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The client id of the request's header.
    pub client_id: String,
    /// The peer's address.
    pub client_host: String,
    /// The request's version.
    pub api_version: i16,
}

/// What makes a shard.
#[derive(Clone)]
pub(crate) struct GroupParts {
    config: GroupConfig,
    entropy: Arc<dyn Entropy>,
}

/// What is told to a shard beside requests.
pub(crate) enum GroupEvent {
    TopicsDeleted(Vec<TopicName>),
    ExpireOffsets,
    Summarize(oneshot::Sender<Vec<GroupSummary>>),
}

/// A shard of groups.
pub(crate) struct GroupCoordinator {
    shard: GroupShard,
    entropy: Arc<dyn Entropy>,
}

impl Coordinator for GroupCoordinator {
    const TOPIC: &'static str = OFFSETS_TOPIC;
    type Parts = GroupParts;
    type Shard = GroupShard;
    type Caller = Caller;
    type Meta = RequestMeta;
    type Effects = Effects;
    type Reply = GroupReply;
    type TimerKey = TimerKey;
    type Event = GroupEvent;

    fn new(parts: &GroupParts, _leader_epoch: LeaderEpoch, _queue: mpsc::WeakUnboundedSender<Work<Self>>) -> Self {
        Self { shard: GroupShard::new(parts.config.clone()), entropy: Arc::clone(&parts.entropy) }
    }

    fn shard(&mut self) -> &mut GroupShard {
        &mut self.shard
    }

    fn meta(&mut self, caller: Caller, reply: ReplyId) -> RequestMeta {
        let Caller { client_id, client_host, api_version } = caller;
        RequestMeta { client_id, client_host, api_version, reply, new_member_uuid: self.entropy.uuid() }
    }

    fn replay(&mut self, transaction: Option<ProducerId>, key: &[u8], value: Option<&[u8]>) {
        match transaction {
            Some(producer_id) => self.shard.replay_in_transaction(producer_id, key, value),
            None => self.shard.replay(key, value),
        };
    }

    fn replay_end_of_transaction(&mut self, producer_id: ProducerId, is_commit: bool) {
        self.shard.replay_end_of_transaction(producer_id, is_commit);
    }

    fn loaded(&mut self, now: Timestamp) -> Effects {
        self.shard.loaded(now)
    }

    fn event(&mut self, now: Timestamp, event: GroupEvent) -> Effects {
        match event {
            GroupEvent::TopicsDeleted(topics) => self.shard.topics_deleted(now, &topics),
            GroupEvent::ExpireOffsets => self.shard.cleanup_expired_offsets(now),
            GroupEvent::Summarize(reply) => {
                let _gone = reply.send(self.shard.summaries());
                Effects::default()
            }
        }
    }

    fn timer_fired(&mut self, now: Timestamp, key: TimerKey) -> Effects {
        self.shard.timer_fired(now, key)
    }

    fn to_append(effects: &Effects) -> ToAppend<'_> {
        ToAppend { records: &effects.records, transaction: effects.transaction }
    }

    fn append_failed(&mut self, now: Timestamp, refused: Effects, error: ErrorCode) -> Effects {
        self.shard.append_failed(now, refused, error)
    }

    fn unload(&mut self, error: ErrorCode) -> Effects {
        self.shard.unload(error)
    }

    fn release(&mut self, effects: Effects) -> Released<Self> {
        let Effects { records: _, transaction: _, replies, timers } = effects;
        Released { replies, timers }
    }
}

/// An operation on a shard: what a request wants from it.
pub type Operation = Box<dyn FnOnce(&mut GroupShard, Timestamp, RequestMeta) -> Effects + Send>;

/// The group coordinators of one broker. Cheap to clone.
#[derive(Clone)]
pub struct Groups {
    shards: Arc<Shards<GroupCoordinator>>,
    metadata: MetadataView,
    controller: Controller,
}

/// What a [`Groups`] needs of its broker.
pub struct GroupsParts {
    /// What all coordinators need.
    pub runtime: RuntimeParts,
    /// The groups' settings.
    pub config: GroupConfig,
    /// To create the offsets topic.
    pub controller: Controller,
    /// Member ids.
    pub entropy: Arc<dyn Entropy>,
}

impl Groups {
    /// No shards yet; they come with [`Groups::apply`].
    #[must_use]
    pub fn new(parts: GroupsParts) -> Self {
        let GroupsParts { runtime, config, controller, entropy } = parts;
        let metadata = runtime.metadata.clone();
        Self { shards: Arc::new(Shards::new(runtime, GroupParts { config, entropy })), metadata, controller }
    }

    /// Starts shards for offsets partitions that this broker began to lead, stops those that it no longer leads, and tells the shards of deleted
    /// topics. The image's partitions must already be served.
    pub fn apply(&self, image: &Image, delta: &Delta) {
        self.shards.apply(image, delta);
        let deleted: Vec<_> = delta.topics_deleted.values().map(|topic| topic.name.clone()).collect();
        if !deleted.is_empty() {
            self.shards.tell_all(|| GroupEvent::TopicsDeleted(deleted.clone()));
        }
    }

    /// The offsets partition that holds a group, once the topic exists.
    #[must_use]
    pub fn partition_of(&self, group_id: &str) -> Option<TopicIdPartition> {
        self.shards.partition_of(group_id)
    }

    /// Makes sure that the offsets topic exists, and says who coordinates a group.
    ///
    /// # Errors
    /// When the topic cannot be created or its partition has no leader.
    pub async fn coordinator_of(&self, group_id: &str) -> Result<BrokerId, ErrorCode> {
        if self.partition_of(group_id).is_none() {
            // Whatever it is, the client is to ask again.
            self.controller.create_offsets_topic().await.map_err(|_refused| ErrorCode::CoordinatorNotAvailable)?;
        }
        self.shards.leader_of(group_id)
    }

    /// Runs an operation on the shard of a group and waits for its reply.
    ///
    /// # Errors
    /// NOT_COORDINATOR when this broker does not lead the group's partition, COORDINATOR_NOT_AVAILABLE when it is stopping.
    pub async fn call(&self, group_id: &str, caller: &Caller, operation: Operation) -> Result<GroupReply, ErrorCode> {
        self.shards.call(group_id, caller, TransactionCheck::Unchecked, operation).await
    }

    /// The same of an operation whose records belong to a transaction.
    ///
    /// # Errors
    /// As [`Groups::call`].
    pub async fn call_in_transaction(
        &self,
        group_id: &str,
        caller: &Caller,
        transaction: TransactionCheck,
        operation: Operation,
    ) -> Result<GroupReply, ErrorCode> {
        self.shards.call(group_id, caller, transaction, operation).await
    }

    /// Runs an operation on each shard of this broker (ListGroups) and gathers the replies.
    ///
    /// # Errors
    /// As [`Groups::call`].
    pub async fn call_all(&self, caller: &Caller, operation: impl Fn() -> Operation) -> Result<Vec<GroupReply>, ErrorCode> {
        self.shards.call_all(caller, operation).await
    }

    /// Writes the marker of a transaction into an offsets partition, in its place among the shard's own records.
    /// The answer does not come where this broker does not lead the partition.
    pub(crate) fn end_transaction(
        &self,
        id: TopicIdPartition,
        end: impl FnOnce(oneshot::Sender<Result<(), AppendRefusal>>) -> EndOfTransaction,
    ) -> oneshot::Receiver<Result<(), AppendRefusal>> {
        let (done, answer) = oneshot::channel();
        let _not_here = self.shards.send(id, Work::EndOfTransaction(end(done)));
        answer
    }

    /// The groups that this broker coordinates, in no order. A shard that is stopping leaves its groups out.
    pub async fn summaries(&self) -> Vec<GroupSummary> {
        self.shards.gather(GroupEvent::Summarize).await
    }

    /// Lets every shard drop expired offsets.
    pub fn expire_offsets(&self) {
        self.shards.tell_all(|| GroupEvent::ExpireOffsets);
    }

    /// Stops all shards: what is queued is still done, what is parked is refused.
    pub fn stop(&self) {
        self.shards.stop();
    }

    /// Whether offsets may be committed for a partition: its topic exists.
    #[must_use]
    pub fn topic_exists(&self, partition: &TopicPartition) -> bool {
        self.metadata.image().topic_by_name(partition.topic.as_str()).is_some()
    }
}
