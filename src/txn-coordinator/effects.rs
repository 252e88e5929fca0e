//! What an operation of a shard wants done: records to append, replies to send, timers to arm, markers to write.

use std::sync::Arc;

use coordinator::{CoordinatorRecord, ReplyId};
use model::{LeaderEpoch, ProducerEpoch, ProducerId, TopicPartition};
use protocol::ErrorCode;
use protocol::messages::add_partitions_to_txn_response::AddPartitionsToTxnResult;
use protocol::messages::{
    AddOffsetsToTxnResponse, DescribeTransactionsResponse, EndTxnResponse, InitProducerIdResponse, ListTransactionsResponse,
};

use crate::version::TransactionVersion;

/// What a shard must know of a request beside its body.
#[derive(Clone, Copy, Debug)]
pub struct RequestMeta {
    /// The version in which the request came, and in which the reply must be encodable.
    pub api_version: i16,
    /// Where the reply goes.
    pub reply: ReplyId,
    /// A producer id that nobody has yet, for an operation that needs one ([`Effects::took_producer_id`] says whether it did). Without one such
    /// an operation answers COORDINATOR_LOAD_IN_PROGRESS, as Kafka does while it waits for a block of ids.
    pub spare_producer_id: Option<ProducerId>,
}

/// What a timer is for. Arming a key again replaces it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TimerKey {
    /// The end of an open transaction's patience.
    Timeout {
        /// The transactional id.
        transactional_id: Arc<str>,
    },
    /// The next attempt to finish a decided transaction.
    Retry {
        /// The transactional id.
        transactional_id: Arc<str>,
    },
}

/// A change of the timers.
pub type TimerEffect = coordinator::TimerEffect<TimerKey>;

/// How a transaction ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TransactionResult {
    /// Its records count.
    Commit,
    /// They do not.
    Abort,
}

/// Markers to be written: WriteTxnMarkers to the leaders of the partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Markers {
    /// Whose transaction ends.
    pub transactional_id: Arc<str>,
    /// Names the transaction in [`MarkersAnswered`], among those of one life of the shard.
    pub delivery: u64,
    /// The producer whose records the markers end.
    pub producer_id: ProducerId,
    /// The epoch in the markers: that of the transaction, or the one after it where each transaction has its own.
    pub producer_epoch: ProducerEpoch,
    /// The term of the coordinator; leaders refuse markers of an older one.
    pub coordinator_epoch: LeaderEpoch,
    /// Commit or abort.
    pub result: TransactionResult,
    /// Under which rules the epoch is checked (KIP-1228): from 2 on it must be above the last one that the partition has seen.
    pub transaction_version: TransactionVersion,
    /// Where.
    pub partitions: Vec<TopicPartition>,
}

/// What became of a marker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MarkerOutcome {
    /// It is in the partition's log, and committed there.
    Written,
    /// The partition is deleted: it needs none.
    Gone,
    /// It may or may not be there: to be sent again. Also when no answer came, and while the partition has no leader.
    Retry,
    /// The leader has seen a later coordinator, or a later epoch of the producer: sending it again is of no use.
    Fenced,
}

impl MarkerOutcome {
    /// What an answer's code to WriteTxnMarkers means.
    #[must_use]
    pub const fn of(error: Option<ErrorCode>) -> Self {
        match error {
            None => Self::Written,
            // The partition cannot have transactional records.
            Some(ErrorCode::UnsupportedForMessageFormat | ErrorCode::UnsupportedVersion) => Self::Gone,
            Some(ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced) => Self::Fenced,
            // Also UNKNOWN_TOPIC_OR_PARTITION: a leader may not know yet that it is one.
            Some(_) => Self::Retry,
        }
    }
}

/// Answers to [`Markers`], of some of its partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MarkersAnswered {
    /// Whose transaction.
    pub transactional_id: Arc<str>,
    /// As in the markers.
    pub delivery: u64,
    /// What became of them.
    pub outcomes: Vec<(TopicPartition, MarkerOutcome)>,
}

/// The answer to a request. It encodes in the version of its request.
#[derive(Clone, PartialEq, Debug)]
pub enum TxnReply {
    /// To InitProducerId.
    InitProducerId(InitProducerIdResponse),
    /// To AddPartitionsToTxn, for one transaction (up to version 3 a request has one; the caller puts its topics where that version has them).
    AddPartitionsToTxn(AddPartitionsToTxnResult),
    /// To AddOffsetsToTxn.
    AddOffsetsToTxn(AddOffsetsToTxnResponse),
    /// To EndTxn.
    EndTxn(EndTxnResponse),
    /// To DescribeTransactions, for the ids that the request names.
    DescribeTransactions(DescribeTransactionsResponse),
    /// To ListTransactions: this shard's ids.
    ListTransactions(ListTransactionsResponse),
}

/// What an operation wants done, in this order: append all records as one batch and wait until they are committed, replay them, then arm timers,
/// send replies and markers. Without records the rest happens at once.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Effects {
    /// To append, all or none.
    pub records: Vec<CoordinatorRecord>,
    /// To send when the records are committed and replayed.
    pub replies: Vec<(ReplyId, TxnReply)>,
    /// To arm or cancel, in order.
    pub timers: Vec<TimerEffect>,
    /// To send when the records are committed and replayed.
    pub markers: Vec<Markers>,
    /// Whether the spare producer id is spent, also if the append fails.
    pub took_producer_id: bool,
}
