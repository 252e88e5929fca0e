//! What the runtime asks of a kind of coordinator.

use std::future::Future;
use std::hash::Hash;

use ::coordinator::{CoordinatorRecord, ReplyId, TimerEffect};
use model::{LeaderEpoch, ProducerEpoch, ProducerId, Timestamp};
use protocol::ErrorCode;
use record_batch::EndTxnMarker;
use tokio::sync::{mpsc, oneshot};

use crate::partitions::{AppendRefusal, TransactionCheck};

/// A pure shard with what it needs of its broker.
pub(crate) trait Coordinator: Send + Sized + 'static {
    /// The topic that holds the state.
    const TOPIC: &'static str;
    /// What makes one.
    type Parts: Clone + Send + Sync + 'static;
    /// The pure state of one partition.
    type Shard: Send;
    /// Who asks.
    type Caller: Clone + Send + 'static;
    /// What the shard must know of a request beside its body.
    type Meta: Send;
    /// What the shard wants done.
    type Effects: Default + Send;
    /// An answer.
    type Reply: Send + 'static;
    /// What a timer is for.
    type TimerKey: Clone + Eq + Hash + Send;
    /// What is told to the shard beside requests.
    type Event: Send + 'static;

    /// An empty shard of one term of the partition's leader. By `queue` it tells itself what it hears later.
    fn new(parts: &Self::Parts, leader_epoch: LeaderEpoch, queue: mpsc::WeakUnboundedSender<Work<Self>>) -> Self;
    fn shard(&mut self) -> &mut Self::Shard;
    /// Before each operation.
    fn prepare(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
    fn meta(&mut self, caller: Self::Caller, reply: ReplyId) -> Self::Meta;
    /// A committed record, perhaps in a producer's transaction.
    fn replay(&mut self, transaction: Option<ProducerId>, key: &[u8], value: Option<&[u8]>);
    /// The transaction of a producer has ended here.
    fn replay_end_of_transaction(&mut self, producer_id: ProducerId, is_commit: bool);
    fn loaded(&mut self, now: Timestamp) -> Self::Effects;
    fn event(&mut self, now: Timestamp, event: Self::Event) -> Self::Effects;
    fn timer_fired(&mut self, now: Timestamp, key: Self::TimerKey) -> Self::Effects;
    /// What to append before anything else is done.
    fn to_append(effects: &Self::Effects) -> ToAppend<'_>;
    fn append_failed(&mut self, now: Timestamp, refused: Self::Effects, error: ErrorCode) -> Self::Effects;
    /// The shard is about to be dropped.
    fn unload(&mut self, error: ErrorCode) -> Self::Effects;
    /// Carries out all but replies and timers, and what waits for [`Self::act`].
    fn release(&mut self, effects: Self::Effects) -> Released<Self>;
    /// Whether [`Self::act`] has anything to do.
    fn has_to_act(&self) -> bool {
        false
    }
    /// Begins what no reply waits for; after the replies are on their way.
    fn act(&mut self) {}
}

/// Records, and in whose transaction.
pub(crate) struct ToAppend<'a> {
    pub(crate) records: &'a [CoordinatorRecord],
    pub(crate) transaction: Option<(ProducerId, ProducerEpoch)>,
}

/// What is left of effects for the runtime.
pub(crate) struct Released<C: Coordinator> {
    pub(crate) replies: Vec<(ReplyId, C::Reply)>,
    pub(crate) timers: Vec<TimerEffect<C::TimerKey>>,
}

/// What a request wants from a shard.
pub(crate) type OperationOn<C> =
    Box<dyn FnOnce(&mut <C as Coordinator>::Shard, Timestamp, <C as Coordinator>::Meta) -> <C as Coordinator>::Effects + Send>;

/// A request.
pub(crate) struct Call<C: Coordinator> {
    pub(crate) caller: C::Caller,
    pub(crate) operation: OperationOn<C>,
    /// What is known of the transaction that its records belong to, if they do.
    pub(crate) transaction: TransactionCheck,
    pub(crate) reply: oneshot::Sender<Result<C::Reply, ErrorCode>>,
}

/// The end of a producer's transaction, to be written into the shard's partition.
pub(crate) struct EndOfTransaction {
    pub(crate) producer_id: ProducerId,
    pub(crate) producer_epoch: ProducerEpoch,
    pub(crate) marker: EndTxnMarker,
    pub(crate) check: TransactionCheck,
    pub(crate) done: oneshot::Sender<Result<(), AppendRefusal>>,
}

/// What waits for a shard.
pub(crate) enum Work<C: Coordinator> {
    Call(Call<C>),
    EndOfTransaction(EndOfTransaction),
    Event(C::Event),
}
