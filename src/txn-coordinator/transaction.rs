//! What is known of a transactional id, and each step that it can take (Kafka's `TransactionMetadata`).
//!
//! A step makes the value that is to be; it becomes the present one when its record is replayed.

use std::collections::BTreeSet;

use model::{ProducerEpoch, ProducerId, Timestamp, TopicPartition};

use crate::effects::TransactionResult;
use crate::version::TransactionVersion;

/// The last epoch that a producer is told: the one after it is left for fencing it.
pub(crate) const LAST_CLIENT_EPOCH: i16 = i16::MAX - 1;

/// Where a transactional id stands. Kafka's Dead and PrepareEpochFence are never in its log, nor is anybody shown them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum State {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

impl State {
    pub(crate) const ALL: [Self; 6] =
        [Self::Empty, Self::Ongoing, Self::PrepareCommit, Self::PrepareAbort, Self::CompleteCommit, Self::CompleteAbort];

    /// The name that clients are shown.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    /// How its transaction was decided, while markers are due.
    pub(crate) const fn prepared(self) -> Option<TransactionResult> {
        match self {
            Self::PrepareCommit => Some(TransactionResult::Commit),
            Self::PrepareAbort => Some(TransactionResult::Abort),
            Self::Empty | Self::Ongoing | Self::CompleteCommit | Self::CompleteAbort => None,
        }
    }

    /// Whether an unused id may be forgotten.
    pub(crate) const fn is_expiration_allowed(self) -> bool {
        matches!(self, Self::Empty | Self::CompleteCommit | Self::CompleteAbort)
    }
}

/// A producer as a request names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Producer {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
}

/// A transactional id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Transaction {
    pub(crate) producer_id: ProducerId,
    /// The producer id before the last step; after a change of producer id its holder may retry.
    pub(crate) previous_producer_id: Option<ProducerId>,
    /// The producer id that a decided transaction changes to, because the epochs of the present one are used up.
    pub(crate) next_producer_id: Option<ProducerId>,
    pub(crate) producer_epoch: ProducerEpoch,
    /// The epoch before the last change of it, if the producer that held it asked for the change. No record has it.
    pub(crate) last_producer_epoch: Option<ProducerEpoch>,
    pub(crate) timeout_ms: i32,
    pub(crate) state: State,
    /// Empty unless the state is Ongoing or Prepare*.
    pub(crate) partitions: BTreeSet<TopicPartition>,
    pub(crate) last_update: Timestamp,
    pub(crate) start: Option<Timestamp>,
    /// What the client follows that made the last step.
    pub(crate) client_version: TransactionVersion,
}

const fn successor(epoch: ProducerEpoch) -> ProducerEpoch {
    // The largest one has no successor. No producer is told it, so that it need not be fenced.
    match ProducerEpoch::new(epoch.get().saturating_add(1)) {
        Some(next) => next,
        None => epoch,
    }
}

impl Transaction {
    /// A new transactional id.
    pub(crate) fn created(producer_id: ProducerId, timeout_ms: i32, now: Timestamp) -> Self {
        Self {
            producer_id,
            previous_producer_id: Some(producer_id),
            next_producer_id: None,
            producer_epoch: ProducerEpoch::ZERO,
            last_producer_epoch: None,
            timeout_ms,
            state: State::Empty,
            partitions: BTreeSet::new(),
            last_update: now,
            start: None,
            client_version: TransactionVersion::V0,
        }
    }

    pub(crate) fn is_of(&self, producer: Producer) -> bool {
        self.producer_id == producer.id && self.producer_epoch == producer.epoch
    }

    /// Whether the producer's next epoch must be one of another id.
    pub(crate) const fn is_epoch_exhausted(&self) -> bool {
        is_epoch_exhausted(self.producer_epoch)
    }

    /// Whether `producer` is the one before the last EndTxn: a retry, because its answer was lost.
    pub(crate) fn is_before_epoch_bump(&self, producer: Producer) -> bool {
        i32::from(self.producer_epoch.get()) == i32::from(producer.epoch.get()) + 1
    }

    /// The same, after an EndTxn that changed the producer id.
    pub(crate) fn is_before_overflow(&self, producer: Producer) -> bool {
        self.previous_producer_id == Some(producer.id)
            && producer.epoch.get() == LAST_CLIENT_EPOCH
            && self.producer_epoch == ProducerEpoch::ZERO
    }

    fn emptied(&self, timeout_ms: i32, now: Timestamp) -> Self {
        Self {
            previous_producer_id: Some(self.producer_id),
            timeout_ms,
            state: State::Empty,
            partitions: BTreeSet::new(),
            last_update: now,
            start: None,
            ..self.clone()
        }
    }

    /// A producer begins under the next epoch. `expected` is what it holds, if it goes on; its retry may then name it.
    pub(crate) fn with_next_epoch(&self, expected: Option<Producer>, timeout_ms: i32, now: Timestamp) -> Self {
        Self {
            producer_epoch: successor(self.producer_epoch),
            last_producer_epoch: expected.map(|_| self.producer_epoch),
            ..self.emptied(timeout_ms, now)
        }
    }

    /// A producer begins under a new id.
    pub(crate) fn with_new_producer_id(&self, id: ProducerId, expected: Option<Producer>, timeout_ms: i32, now: Timestamp) -> Self {
        Self {
            producer_id: id,
            producer_epoch: ProducerEpoch::ZERO,
            last_producer_epoch: expected.map(|_| self.producer_epoch),
            ..self.emptied(timeout_ms, now)
        }
    }

    /// A producer is told once more what its lost answer said. Its next retry must find the same.
    pub(crate) fn told_again(&self, timeout_ms: i32, now: Timestamp) -> Self {
        Self { previous_producer_id: self.previous_producer_id, ..self.emptied(timeout_ms, now) }
    }

    /// Partitions join the open transaction, or begin one.
    pub(crate) fn with_partitions(&self, added: BTreeSet<TopicPartition>, client_version: TransactionVersion, now: Timestamp) -> Self {
        let mut partitions = self.partitions.clone();
        partitions.extend(added);
        Self {
            previous_producer_id: Some(self.producer_id),
            state: State::Ongoing,
            partitions,
            last_update: now,
            start: if self.state == State::Ongoing { self.start } else { Some(now) },
            client_version,
            ..self.clone()
        }
    }

    /// The transaction is decided, by its producer. `next_producer_id` is given if the epochs are used up.
    pub(crate) fn prepared(
        &self,
        result: TransactionResult,
        client_version: TransactionVersion,
        next_producer_id: Option<ProducerId>,
        now: Timestamp,
    ) -> Self {
        let (producer_epoch, last_producer_epoch) = if client_version.supports_epoch_bump() {
            (successor(self.producer_epoch), Some(self.producer_epoch))
        } else {
            (self.producer_epoch, self.last_producer_epoch)
        };
        Self {
            previous_producer_id: Some(self.producer_id),
            next_producer_id,
            producer_epoch,
            last_producer_epoch,
            state: match result {
                TransactionResult::Commit => State::PrepareCommit,
                TransactionResult::Abort => State::PrepareAbort,
            },
            last_update: now,
            // An abort without a transaction (KIP-890) has no start, but its record must have one.
            start: if self.state == State::Ongoing { self.start } else { Some(now) },
            client_version,
            ..self.clone()
        }
    }

    /// The open transaction is aborted by the coordinator, under an epoch that fences its producer.
    ///
    /// KAFKA-19367: with an epoch per transaction the abort's own bump is the fence; there is not a second one.
    pub(crate) fn fenced(&self, version: TransactionVersion, next_producer_id: Option<ProducerId>, now: Timestamp) -> Self {
        if version.supports_epoch_bump() {
            return self.prepared(TransactionResult::Abort, version, next_producer_id, now);
        }
        let fence = Self { producer_epoch: successor(self.producer_epoch), last_producer_epoch: None, ..self.clone() };
        fence.prepared(TransactionResult::Abort, TransactionVersion::V0, None, now)
    }

    /// All partitions have their marker. `None` if nothing was decided.
    pub(crate) fn completed(&self, now: Timestamp) -> Option<Self> {
        let state = match self.state.prepared()? {
            TransactionResult::Commit => State::CompleteCommit,
            TransactionResult::Abort => State::CompleteAbort,
        };
        let changed = if self.client_version.supports_epoch_bump() { self.next_producer_id } else { None };
        Some(Self {
            producer_id: changed.unwrap_or(self.producer_id),
            // KAFKA-18660: the last epoch stays the one that the producer knows, so that its retry is understood.
            producer_epoch: if changed.is_some() { ProducerEpoch::ZERO } else { self.producer_epoch },
            previous_producer_id: Some(self.producer_id),
            next_producer_id: None,
            state,
            partitions: BTreeSet::new(),
            last_update: now,
            ..self.clone()
        })
    }

    /// When the open transaction's time is over; `None` if none is open.
    pub(crate) fn timeout_at(&self) -> Option<Timestamp> {
        let start = self.start.filter(|_| self.state == State::Ongoing)?;
        // Kafka's isDistributedTwoPhaseCommitTxn: such a transaction waits for its transaction manager.
        (self.timeout_ms != i32::MAX).then(|| Timestamp(start.millis().saturating_add(i64::from(self.timeout_ms)).saturating_add(1)))
    }
}

/// Whether a producer of that epoch can get no higher one of its id.
pub(crate) const fn is_epoch_exhausted(epoch: ProducerEpoch) -> bool {
    epoch.get() >= LAST_CLIENT_EPOCH
}
