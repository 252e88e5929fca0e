//! The transaction coordinators of one broker.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::coordinator::ReplyId;
use metadata::{Delta, Image};
use model::{BrokerId, LeaderEpoch, ProducerId, Timestamp, TopicIdPartition};
use protocol::ErrorCode;
use tokio::sync::{mpsc, oneshot};
use txn_coordinator::{
    Effects, Markers, MarkersAnswered, RequestMeta, TimerKey, TransactionSummary, TransactionVersion, TxnConfig, TxnReply, TxnShard,
};
use wire::clock::timeout_at;

use crate::controller::Controller;
use crate::markers::MarkerDelivery;
use crate::partitions::TransactionCheck;
use crate::producer_ids::ProducerIds;

use super::TRANSACTIONS_TOPIC;
use super::coordinator::{Coordinator, Released, ToAppend, Work};
use super::shards::{RuntimeParts, Shards};

/// The feature that says by which rules transactions are kept.
pub const TRANSACTION_VERSION_FEATURE: &str = "transaction.version";
/// How long an operation waits for a producer id that it may not need. A block of ids comes from the controller.
const SPARE_WITHIN: Duration = Duration::from_millis(500);

/// What makes a shard.
#[derive(Clone)]
pub(crate) struct TransactionParts {
    runtime: RuntimeParts,
    config: TxnConfig,
    producer_ids: Arc<ProducerIds>,
    delivery: MarkerDelivery,
}

/// What is told to a shard beside requests.
pub(crate) enum TransactionEvent {
    MarkersAnswered(MarkersAnswered),
    ExpireTransactionalIds,
    Summarize(oneshot::Sender<Vec<TransactionSummary>>),
    /// Keep the sender until the transaction of that id is ended.
    AwaitEnd(Arc<str>, oneshot::Sender<()>),
}

/// A shard of transactions.
pub(crate) struct TransactionCoordinator {
    shard: TxnShard,
    parts: TransactionParts,
    spare_producer_id: Option<ProducerId>,
    /// To be sent.
    markers: Vec<Markers>,
    /// Who waits for the end of a transaction. They are told by the end of their channel.
    awaiting: HashMap<Arc<str>, Vec<oneshot::Sender<()>>>,
    /// Whose markers were answered just now.
    answered: Option<Arc<str>>,
    queue: mpsc::WeakUnboundedSender<Work<Self>>,
}

impl Coordinator for TransactionCoordinator {
    const TOPIC: &'static str = TRANSACTIONS_TOPIC;
    type Parts = TransactionParts;
    type Shard = TxnShard;
    type Caller = i16;
    type Meta = RequestMeta;
    type Effects = Effects;
    type Reply = TxnReply;
    type TimerKey = TimerKey;
    type Event = TransactionEvent;

    fn new(parts: &TransactionParts, leader_epoch: LeaderEpoch, queue: mpsc::WeakUnboundedSender<Work<Self>>) -> Self {
        let shard = TxnShard::new(parts.config.clone(), leader_epoch);
        let (awaiting, answered) = (HashMap::new(), None);
        Self { shard, parts: parts.clone(), spare_producer_id: None, markers: Vec::new(), awaiting, answered, queue }
    }

    fn shard(&mut self) -> &mut TxnShard {
        &mut self.shard
    }

    async fn prepare(&mut self) {
        let image = self.parts.runtime.metadata.image();
        let version = TransactionVersion::from_feature_level(image.feature_level(TRANSACTION_VERSION_FEATURE));
        self.shard.set_transaction_version(version.unwrap_or_default());
        if self.spare_producer_id.is_none() {
            let clock = &*self.parts.runtime.clock;
            let next = timeout_at(clock, clock.monotonic() + SPARE_WITHIN, self.parts.producer_ids.next()).await;
            self.spare_producer_id = next.ok().and_then(Result::ok);
        }
    }

    fn meta(&mut self, api_version: i16, reply: ReplyId) -> RequestMeta {
        RequestMeta { api_version, reply, spare_producer_id: self.spare_producer_id }
    }

    fn replay(&mut self, _transaction: Option<ProducerId>, key: &[u8], value: Option<&[u8]>) {
        self.shard.replay(key, value);
    }

    fn replay_end_of_transaction(&mut self, _producer_id: ProducerId, _is_commit: bool) {}

    fn loaded(&mut self, now: Timestamp) -> Effects {
        self.shard.loaded(now)
    }

    fn event(&mut self, now: Timestamp, event: TransactionEvent) -> Effects {
        match event {
            TransactionEvent::MarkersAnswered(answered) => {
                self.answered = Some(Arc::clone(&answered.transactional_id));
                self.shard.markers_answered(now, answered)
            }
            TransactionEvent::ExpireTransactionalIds => self.shard.expire_transactional_ids(now),
            TransactionEvent::Summarize(reply) => {
                let _gone = reply.send(self.shard.summaries());
                Effects::default()
            }
            TransactionEvent::AwaitEnd(transactional_id, told) => {
                if self.shard.is_ending(&transactional_id) {
                    let others = self.awaiting.entry(transactional_id).or_default();
                    // Whoever has given up and asks again must not count twice.
                    others.retain(|told| !told.is_closed());
                    others.push(told);
                }
                Effects::default()
            }
        }
    }

    fn timer_fired(&mut self, now: Timestamp, key: TimerKey) -> Effects {
        self.shard.timer_fired(now, key, self.spare_producer_id)
    }

    fn to_append(effects: &Effects) -> ToAppend<'_> {
        ToAppend { records: &effects.records, transaction: None }
    }

    fn append_failed(&mut self, now: Timestamp, refused: Effects, error: ErrorCode) -> Effects {
        self.shard.append_failed(now, refused, error)
    }

    /// Who waits is told by the end of the channel.
    fn unload(&mut self, _error: ErrorCode) -> Effects {
        Effects::default()
    }

    fn release(&mut self, effects: Effects) -> Released<Self> {
        let Effects { records: _, replies, timers, markers, took_producer_id } = effects;
        if took_producer_id {
            self.spare_producer_id = None;
        }
        self.markers.extend(markers);
        if let Some(transactional_id) = self.answered.take().filter(|answered| !self.shard.is_ending(answered)) {
            self.awaiting.remove(&transactional_id);
        }
        Released { replies, timers }
    }

    fn has_to_act(&self) -> bool {
        !self.markers.is_empty()
    }

    fn act(&mut self) {
        for markers in self.markers.drain(..) {
            let queue = self.queue.clone();
            let answered = move |answered| {
                // A shard that is gone has a successor, which sends its markers anew.
                if let Some(queue) = queue.upgrade() {
                    let _stopped = queue.send(Work::Event(TransactionEvent::MarkersAnswered(answered)));
                }
            };
            self.parts.delivery.deliver(markers, answered);
        }
    }
}

/// An operation on a shard: what a request wants from it.
pub type TransactionOperation = Box<dyn FnOnce(&mut TxnShard, Timestamp, RequestMeta) -> Effects + Send>;

/// The transaction coordinators of one broker. Cheap to clone.
#[derive(Clone)]
pub struct Transactions {
    shards: Arc<Shards<TransactionCoordinator>>,
    controller: Controller,
}

/// What a [`Transactions`] needs of its broker.
pub struct TransactionsParts {
    /// What all coordinators need.
    pub runtime: RuntimeParts,
    /// The transactions' settings.
    pub config: TxnConfig,
    /// To create the topic.
    pub controller: Controller,
    /// Ids for producers.
    pub producer_ids: Arc<ProducerIds>,
    /// How markers come to the partitions.
    pub delivery: MarkerDelivery,
}

impl Transactions {
    /// No shards yet; they come with [`Transactions::apply`].
    #[must_use]
    pub fn new(parts: TransactionsParts) -> Self {
        let TransactionsParts { runtime, config, controller, producer_ids, delivery } = parts;
        let parts = TransactionParts { runtime: runtime.clone(), config, producer_ids, delivery };
        Self { shards: Arc::new(Shards::new(runtime, parts)), controller }
    }

    /// Starts shards for partitions that this broker began to lead, and stops those that it no longer leads. The image's partitions must already be
    /// served.
    pub fn apply(&self, image: &Image, delta: &Delta) {
        self.shards.apply(image, delta);
    }

    /// The partition that holds a transactional id, once the topic exists.
    #[must_use]
    pub fn partition_of(&self, transactional_id: &str) -> Option<TopicIdPartition> {
        self.shards.partition_of(transactional_id)
    }

    /// Makes sure that the topic exists, and says who coordinates a transactional id.
    ///
    /// # Errors
    /// When the topic cannot be created or its partition has no leader.
    pub async fn coordinator_of(&self, transactional_id: &str) -> Result<BrokerId, ErrorCode> {
        if self.partition_of(transactional_id).is_none() {
            // Whatever it is, the client is to ask again.
            self.controller.create_transactions_topic().await.map_err(|_refused| ErrorCode::CoordinatorNotAvailable)?;
        }
        self.shards.leader_of(transactional_id)
    }

    /// Who coordinates a transactional id, if the topic exists.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE if nobody does.
    pub fn leader_of(&self, transactional_id: &str) -> Result<BrokerId, ErrorCode> {
        self.shards.leader_of(transactional_id)
    }

    /// Runs an operation on the shard of a transactional id and waits for its reply.
    ///
    /// # Errors
    /// NOT_COORDINATOR when this broker does not lead the id's partition, or stops to do so meanwhile.
    pub async fn call(&self, transactional_id: &str, api_version: i16, operation: TransactionOperation) -> Result<TxnReply, ErrorCode> {
        self.shards.call(transactional_id, &api_version, TransactionCheck::Unchecked, operation).await
    }

    /// Runs an operation on each shard of this broker (ListTransactions) and gathers the replies.
    ///
    /// # Errors
    /// As [`Transactions::call`].
    pub async fn call_all(&self, api_version: i16, operation: impl Fn() -> TransactionOperation) -> Result<Vec<TxnReply>, ErrorCode> {
        self.shards.call_all(&api_version, operation).await
    }

    /// Waits until the transaction of an id is ended, its markers written; or until its shard cannot tell. Where another broker has the shard, that
    /// is not known here and this waits for ever.
    pub(crate) async fn ended(&self, transactional_id: &str) {
        let (told, end) = oneshot::channel();
        let await_end = TransactionEvent::AwaitEnd(transactional_id.into(), told);
        let sent = self.shards.partition_of(transactional_id).map(|id| self.shards.send(id, Work::Event(await_end)));
        if !matches!(sent, Some(Ok(()))) {
            std::future::pending::<()>().await;
        }
        let _told = end.await;
    }

    /// Lets every shard forget unused ids.
    pub fn expire_transactional_ids(&self) {
        self.shards.tell_all(|| TransactionEvent::ExpireTransactionalIds);
    }

    /// The transactional ids that this broker coordinates, in no order. A shard that is stopping leaves its ids out.
    pub async fn summaries(&self) -> Vec<TransactionSummary> {
        self.shards.gather(TransactionEvent::Summarize).await
    }

    /// Stops all shards.
    pub fn stop(&self) {
        self.shards.stop();
    }
}
