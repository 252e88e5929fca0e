//! The shards of one kind of coordinator on this broker.

use std::collections::HashMap;
use std::sync::Arc;

use metadata::{Delta, Image};
use model::{BrokerId, LeaderEpoch, PartitionIndex, TopicIdPartition, partition_for};
use parking_lot::Mutex;
use protocol::ErrorCode;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use wire::clock::SharedClock;

use crate::metadata_view::MetadataView;
use crate::partitions::{Partitions, TransactionCheck};

use super::coordinator::{Call, Coordinator, OperationOn, Work};
use super::shard_task::ShardTask;

/// What the shards of all kinds need of their broker.
#[derive(Clone)]
pub struct RuntimeParts {
    /// This broker.
    pub broker_id: BrokerId,
    /// The published image.
    pub metadata: MetadataView,
    /// The served partitions.
    pub partitions: Arc<Partitions>,
    /// Time.
    pub clock: SharedClock,
    /// Where the shards' tasks are counted.
    pub tasks: TaskTracker,
    /// Where they run: the metadata observer that starts them may live on another thread.
    pub runtime: tokio::runtime::Handle,
}

struct Running<C: Coordinator> {
    leader_epoch: LeaderEpoch,
    sender: mpsc::UnboundedSender<Work<C>>,
}

pub(crate) struct Shards<C: Coordinator> {
    runtime: RuntimeParts,
    parts: C::Parts,
    running: Mutex<HashMap<TopicIdPartition, Running<C>>>,
}

impl<C: Coordinator> Shards<C> {
    pub(super) fn new(runtime: RuntimeParts, parts: C::Parts) -> Self {
        Self { runtime, parts, running: Mutex::new(HashMap::new()) }
    }

    /// Starts shards for partitions that this broker began to lead, or leads in another term, and stops those that it no longer leads. The image's
    /// partitions must already be served.
    pub(super) fn apply(&self, image: &Image, delta: &Delta) {
        for id in delta.partitions_changed.iter().copied() {
            if image.topic_by_id(id.topic_id).is_none_or(|topic| topic.name.as_str() != C::TOPIC) {
                continue;
            }
            let led = image.partition(id).filter(|state| state.leader == Some(self.runtime.broker_id)).map(|state| state.leader_epoch);
            let mut running = self.running.lock();
            running.retain(|_, shard| !shard.sender.is_closed());
            match led {
                None => {
                    running.remove(&id);
                }
                // In between another broker may have led, and written what this shard has not seen.
                Some(leader_epoch) => {
                    if running.get(&id).is_none_or(|shard| shard.leader_epoch != leader_epoch)
                        && let Some(sender) = self.spawn(id, leader_epoch, image.index())
                    {
                        running.insert(id, Running { leader_epoch, sender });
                    }
                }
            }
        }
        if !delta.topics_deleted.is_empty() {
            self.running.lock().retain(|id, _| image.topic_by_id(id.topic_id).is_some());
        }
    }

    fn spawn(&self, id: TopicIdPartition, leader_epoch: LeaderEpoch, index: u64) -> Option<mpsc::UnboundedSender<Work<C>>> {
        let runtime = &self.runtime;
        let partition = runtime.partitions.get(id)?;
        let (task, sender) = ShardTask::<C>::new(self.parts.clone(), partition, leader_epoch, Arc::clone(&runtime.clock));
        let metadata = runtime.metadata.clone();
        // IMPORTANT: what a shard does when it is loaded, it does by the image that made it a leader, not by one before: a partition that is not
        // there yet must not be taken for a deleted one (Apache Kafka loses markers by that at a restart).
        let run = async move {
            let mut published = metadata.subscribe();
            while metadata.image().index() < index {
                if published.changed().await.is_err() {
                    return;
                }
            }
            task.run().await;
        };
        runtime.tasks.spawn_on(run, &runtime.runtime);
        Some(sender)
    }

    /// The partition that a key belongs to, once the topic exists.
    pub(super) fn partition_of(&self, key: &str) -> Option<TopicIdPartition> {
        let image = self.runtime.metadata.image();
        let topic = image.topic_by_name(C::TOPIC)?;
        let count = Some(topic.partition_count()).filter(|count| *count > 0)?;
        Some(TopicIdPartition { topic_id: topic.id, partition: PartitionIndex::new(partition_for(key, count))? })
    }

    /// Who leads the partition of a key.
    pub(super) fn leader_of(&self, key: &str) -> Result<BrokerId, ErrorCode> {
        let id = self.partition_of(key).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let image = self.runtime.metadata.image();
        image.partition(id).and_then(|state| state.leader).ok_or(ErrorCode::CoordinatorNotAvailable)
    }

    pub(super) async fn call(
        &self,
        key: &str,
        caller: &C::Caller,
        transaction: TransactionCheck,
        operation: OperationOn<C>,
    ) -> Result<C::Reply, ErrorCode> {
        let id = self.partition_of(key).ok_or(ErrorCode::NotCoordinator)?;
        self.call_shard(id, caller, transaction, operation).await
    }

    /// Runs an operation on each shard of this broker and gathers the replies.
    pub(super) async fn call_all(&self, caller: &C::Caller, operation: impl Fn() -> OperationOn<C>) -> Result<Vec<C::Reply>, ErrorCode> {
        let ids: Vec<_> = self.running.lock().keys().copied().collect();
        let mut replies = Vec::with_capacity(ids.len());
        for id in ids {
            replies.push(self.call_shard(id, caller, TransactionCheck::Unchecked, operation()).await?);
        }
        Ok(replies)
    }

    async fn call_shard(
        &self,
        id: TopicIdPartition,
        caller: &C::Caller,
        transaction: TransactionCheck,
        operation: OperationOn<C>,
    ) -> Result<C::Reply, ErrorCode> {
        let (reply, answer) = oneshot::channel();
        let call = Call { caller: caller.clone(), operation, transaction, reply };
        self.send(id, Work::Call(call)).map_err(|_stopped| ErrorCode::NotCoordinator)?;
        answer.await.unwrap_or(Err(ErrorCode::NotCoordinator))
    }

    /// Gives work to one shard; it comes back if that is not here.
    pub(super) fn send(&self, id: TopicIdPartition, work: Work<C>) -> Result<(), Work<C>> {
        let sender = self.running.lock().get(&id).map(|shard| shard.sender.clone());
        match sender {
            Some(sender) => sender.send(work).map_err(|back| back.0),
            None => Err(work),
        }
    }

    /// Tells each shard.
    pub(super) fn tell_all(&self, mut event: impl FnMut() -> C::Event) {
        for shard in self.running.lock().values() {
            let _stopped = shard.sender.send(Work::Event(event()));
        }
    }

    /// What all shards tell together, in no order. A shard that is stopping is left out.
    pub(super) async fn gather<T>(&self, ask: impl Fn(oneshot::Sender<Vec<T>>) -> C::Event) -> Vec<T> {
        let mut asked = Vec::new();
        self.tell_all(|| {
            let (reply, answer) = oneshot::channel();
            asked.push(answer);
            ask(reply)
        });
        let mut all = Vec::new();
        for answer in asked {
            all.extend(answer.await.unwrap_or_default());
        }
        all
    }

    /// Stops all shards: what is queued is still done, what is parked is refused.
    pub(super) fn stop(&self) {
        self.running.lock().clear();
    }
}
