//! The coordinators' runtime: it feeds the pure shards with requests and time, appends their records, and releases their replies.
//!
//! One task per led partition of `__consumer_offsets` owns that partition's [`GroupShard`]. It takes one operation at a time: handle, append the
//! records as one batch, wait until the high watermark has passed it, replay the records, release the replies. So a reply never tells of something
//! that could yet be lost, and what the live path does is what recovery does.
//!
//! In Kafka: `CoordinatorRuntime`, `CoordinatorLoaderImpl`.

mod load;
mod shard_task;

use std::collections::HashMap;
use std::sync::Arc;

pub use group_coordinator::shown_record;
use group_coordinator::{Effects, GroupConfig, GroupReply, GroupShard, GroupSummary, RequestMeta, partition_for};
use metadata::{Delta, Image};
use model::{BrokerId, PartitionIndex, Timestamp, TopicIdPartition, TopicPartition};
use parking_lot::Mutex;
use protocol::ErrorCode;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use wire::clock::SharedClock;

use crate::controller::{ControlError, Controller};
use crate::entropy::Entropy;
use crate::metadata_view::MetadataView;
use crate::partitions::Partitions;

use shard_task::{Call, ShardTask, Work};

/// The topic that holds groups and offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// An operation on a shard: what a request wants from it.
pub type Operation = Box<dyn FnOnce(&mut GroupShard, Timestamp, RequestMeta) -> Effects + Send>;

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

/// The group coordinators of one broker. Cheap to clone.
#[derive(Clone)]
pub struct Groups {
    inner: Arc<Inner>,
}

struct Inner {
    broker_id: BrokerId,
    config: GroupConfig,
    metadata: MetadataView,
    partitions: Arc<Partitions>,
    controller: Controller,
    clock: SharedClock,
    entropy: Arc<dyn Entropy>,
    tasks: TaskTracker,
    runtime: tokio::runtime::Handle,
    shards: Mutex<HashMap<TopicIdPartition, mpsc::UnboundedSender<Work>>>,
}

/// What a [`Groups`] needs of its broker.
pub struct GroupsParts {
    /// This broker.
    pub broker_id: BrokerId,
    /// The groups' settings.
    pub config: GroupConfig,
    /// The published image.
    pub metadata: MetadataView,
    /// The served partitions.
    pub partitions: Arc<Partitions>,
    /// To create the offsets topic.
    pub controller: Controller,
    /// Time.
    pub clock: SharedClock,
    /// Member ids.
    pub entropy: Arc<dyn Entropy>,
    /// Where the shards' tasks are counted.
    pub tasks: TaskTracker,
    /// Where they run: the metadata observer that starts them may live on another thread.
    pub runtime: tokio::runtime::Handle,
}

impl Groups {
    /// No shards yet; they come with [`Groups::apply`].
    #[must_use]
    pub fn new(parts: GroupsParts) -> Self {
        let GroupsParts { broker_id, config, metadata, partitions, controller, clock, entropy, tasks, runtime } = parts;
        let shards = Mutex::new(HashMap::new());
        Self { inner: Arc::new(Inner { broker_id, config, metadata, partitions, controller, clock, entropy, tasks, runtime, shards }) }
    }

    /// Starts shards for offsets partitions that this broker began to lead, stops those that it no longer leads, and tells the shards of deleted
    /// topics. The image's partitions must already be served.
    pub fn apply(&self, image: &Image, delta: &Delta) {
        for id in delta.partitions_changed.iter().copied() {
            let Some(topic) = image.topic_by_id(id.topic_id) else { continue };
            if topic.name.as_str() != OFFSETS_TOPIC {
                continue;
            }
            let leads = image.partition(id).is_some_and(|state| state.leader == Some(self.inner.broker_id));
            let mut shards = self.inner.shards.lock();
            shards.retain(|_, sender| !sender.is_closed());
            if !leads {
                shards.remove(&id);
            } else {
                shards.entry(id).or_insert_with(|| self.spawn_shard(id));
            }
        }
        let deleted: Vec<_> = delta.topics_deleted.values().map(|topic| topic.name.clone()).collect();
        if deleted.is_empty() {
            return;
        }
        let mut shards = self.inner.shards.lock();
        shards.retain(|id, _| image.topic_by_id(id.topic_id).is_some());
        for sender in shards.values() {
            let _stopped = sender.send(Work::TopicsDeleted(deleted.clone()));
        }
    }

    fn spawn_shard(&self, id: TopicIdPartition) -> mpsc::UnboundedSender<Work> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let inner = &self.inner;
        if let Some(partition) = inner.partitions.get(id) {
            let config = inner.config.clone();
            let task = ShardTask::new(config, partition, Arc::clone(&inner.clock), Arc::clone(&inner.entropy), receiver);
            inner.tasks.spawn_on(task.run(), &inner.runtime);
        }
        sender
    }

    /// The offsets partition that holds a group, once the topic exists.
    #[must_use]
    pub fn partition_of(&self, group_id: &str) -> Option<TopicIdPartition> {
        let image = self.inner.metadata.image();
        let topic = image.topic_by_name(OFFSETS_TOPIC)?;
        let count = Some(topic.partition_count()).filter(|count| *count > 0)?;
        Some(TopicIdPartition { topic_id: topic.id, partition: PartitionIndex::new(partition_for(group_id, count))? })
    }

    /// Makes sure that the offsets topic exists, and says who coordinates a group.
    ///
    /// # Errors
    /// When the topic cannot be created or its partition has no leader.
    pub async fn coordinator_of(&self, group_id: &str) -> Result<BrokerId, ErrorCode> {
        if self.partition_of(group_id).is_none() {
            self.inner.controller.create_offsets_topic().await.map_err(|error| match error {
                ControlError::NotController | ControlError::FateUnknown | ControlError::Stopped | ControlError::Refused => {
                    ErrorCode::CoordinatorNotAvailable
                }
            })?;
        }
        let id = self.partition_of(group_id).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let image = self.inner.metadata.image();
        image.partition(id).and_then(|state| state.leader).ok_or(ErrorCode::CoordinatorNotAvailable)
    }

    /// Runs an operation on the shard of a group and waits for its reply.
    ///
    /// # Errors
    /// NOT_COORDINATOR when this broker does not lead the group's partition, COORDINATOR_NOT_AVAILABLE when it is stopping.
    pub async fn call(&self, group_id: &str, caller: &Caller, operation: Operation) -> Result<GroupReply, ErrorCode> {
        let id = self.partition_of(group_id).ok_or(ErrorCode::NotCoordinator)?;
        self.call_shard(id, caller, operation).await
    }

    /// Runs an operation on each shard of this broker (ListGroups) and gathers the replies.
    ///
    /// # Errors
    /// As [`Groups::call`].
    pub async fn call_all(&self, caller: &Caller, operation: impl Fn() -> Operation) -> Result<Vec<GroupReply>, ErrorCode> {
        let ids: Vec<_> = self.inner.shards.lock().keys().copied().collect();
        let mut replies = Vec::with_capacity(ids.len());
        for id in ids {
            replies.push(self.call_shard(id, caller, operation()).await?);
        }
        Ok(replies)
    }

    async fn call_shard(&self, id: TopicIdPartition, caller: &Caller, operation: Operation) -> Result<GroupReply, ErrorCode> {
        let sender = self.inner.shards.lock().get(&id).cloned().ok_or(ErrorCode::NotCoordinator)?;
        let (reply, answer) = oneshot::channel();
        let call = Call { caller: caller.clone(), operation, reply };
        sender.send(Work::Call(call)).map_err(|_stopped| ErrorCode::NotCoordinator)?;
        answer.await.unwrap_or(Err(ErrorCode::NotCoordinator))
    }

    /// The groups that this broker coordinates, in no order. A shard that is stopping leaves its groups out.
    pub async fn summaries(&self) -> Vec<GroupSummary> {
        let asked: Vec<_> = {
            let shards = self.inner.shards.lock();
            let ask = |sender: &mpsc::UnboundedSender<Work>| {
                let (reply, answer) = oneshot::channel();
                sender.send(Work::Summarize(reply)).ok().map(|()| answer)
            };
            shards.values().filter_map(ask).collect()
        };
        let mut groups = Vec::new();
        for answer in asked {
            groups.extend(answer.await.unwrap_or_default());
        }
        groups
    }

    /// Lets every shard drop expired offsets.
    pub fn expire_offsets(&self) {
        for sender in self.inner.shards.lock().values() {
            let _stopped = sender.send(Work::ExpireOffsets);
        }
    }

    /// Stops all shards: what is queued is still done, what is parked is refused.
    pub fn stop(&self) {
        self.inner.shards.lock().clear();
    }

    /// Whether offsets may be committed for a partition: its topic exists.
    #[must_use]
    pub fn topic_exists(&self, partition: &TopicPartition) -> bool {
        self.inner.metadata.image().topic_by_name(partition.topic.as_str()).is_some()
    }
}
