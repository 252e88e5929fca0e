//! One shard: the transactional ids of one partition of `__transaction_state`. Requests and timers are handled in `operations/`; here are replay,
//! load, and the way back from a failed append.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use coordinator::{Replayed, SkippedRecords};
use model::{LeaderEpoch, Timestamp};
use protocol::ErrorCode;

use crate::config::TxnConfig;
use crate::effects::{Effects, TimerEffect, TimerKey};
use crate::operations::markers::Delivery;
use crate::records::{self, Key};
use crate::replies;
use crate::transaction::Transaction;
use crate::version::TransactionVersion;

/// The transactional ids of one partition of `__transaction_state`.
#[derive(Debug)]
pub struct TxnShard {
    pub(crate) config: TxnConfig,
    pub(crate) coordinator_epoch: LeaderEpoch,
    pub(crate) transactions: BTreeMap<Arc<str>, Transaction>,
    /// The markers that are due, of each decided transaction.
    pub(crate) deliveries: BTreeMap<Arc<str>, Delivery>,
    /// The name of the next delivery.
    pub(crate) next_delivery: u64,
    /// The steps that were returned as records and are not replayed yet, in their order.
    writes: VecDeque<(Arc<str>, Transaction)>,
    skipped: SkippedRecords,
}

impl TxnShard {
    /// An empty shard, of the leader's term of its partition.
    #[must_use]
    pub fn new(config: TxnConfig, coordinator_epoch: LeaderEpoch) -> Self {
        let (transactions, deliveries) = (BTreeMap::new(), BTreeMap::new());
        let skipped = SkippedRecords::default();
        Self { config, coordinator_epoch, transactions, deliveries, next_delivery: 0, writes: VecDeque::new(), skipped }
    }

    /// The cluster's `transaction.version` has changed.
    pub fn set_transaction_version(&mut self, version: TransactionVersion) {
        self.config.transaction_version = version;
    }

    /// How many records were skipped so far.
    #[must_use]
    pub const fn skipped_records(&self) -> SkippedRecords {
        self.skipped
    }

    /// Applies a committed record: of this shard's own operation, or of the log at load.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Replayed {
        let replayed = match records::decode_key(key) {
            None => Replayed::Malformed,
            Some(Key::Other) => Replayed::UnknownType,
            Some(Key::TransactionalId(id)) => self.replay_transaction(id, value),
        };
        self.skipped.count(replayed)
    }

    fn replay_transaction(&mut self, id: &str, value: Option<&[u8]>) -> Replayed {
        let Some(value) = value else {
            self.transactions.remove(id);
            self.deliveries.remove(id);
            return Replayed::Applied;
        };
        let Some(stored) = records::decode_value(value) else { return Replayed::Malformed };
        let is_own = self.writes.front().is_some_and(|(own, _)| own.as_ref() == id);
        // The record of an own step lacks a little of what the step is.
        let (id, transaction) = match if is_own { self.writes.pop_front() } else { None } {
            Some((id, step)) => (id, step),
            None => (self.transactions.get_key_value(id).map_or_else(|| id.into(), |(id, _)| Arc::clone(id)), stored),
        };
        if transaction.state.prepared().is_some() {
            let delivery = Delivery::of(self.next_delivery, &transaction);
            self.next_delivery += 1;
            self.deliveries.insert(Arc::clone(&id), delivery);
        } else {
            self.deliveries.remove(&id);
        }
        self.transactions.insert(id, transaction);
        Replayed::Applied
    }

    /// Ends an operation that takes these steps, in their order. Refuses what is too large for one batch.
    pub(crate) fn finish(&mut self, now: Timestamp, steps: Vec<(Arc<str>, Transaction)>, mut effects: Effects) -> Effects {
        let version = self.config.transaction_version;
        effects.records.extend(steps.iter().map(|(id, step)| records::record(id, step, version)));
        self.writes = steps.into();
        let bytes: usize = effects.records.iter().map(|record| record.key.len() + record.value.as_ref().map_or(0, bytes::Bytes::len)).sum();
        if bytes > self.config.batch_bytes_max { self.append_failed(now, effects, ErrorCode::MessageTooLarge) } else { effects }
    }

    /// Whether the transaction of that id is decided and its markers are not all written.
    #[must_use]
    pub fn is_ending(&self, transactional_id: &str) -> bool {
        self.deliveries.contains_key(transactional_id)
    }

    /// After the last record of the log: sends the markers of decided transactions again, and waits for the end of open ones.
    pub fn loaded(&mut self, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        for (id, transaction) in &self.transactions {
            if let Some(at) = transaction.timeout_at() {
                effects.timers.push(TimerEffect::Arm { key: TimerKey::Timeout { transactional_id: Arc::clone(id) }, at });
            }
            if let Some(delivery) = self.deliveries.get(id) {
                if delivery.is_done() {
                    // Only its last record is missing.
                    effects.timers.push(TimerEffect::Arm { key: TimerKey::Retry { transactional_id: Arc::clone(id) }, at: now });
                }
                effects.markers.extend(self.markers_of(id, transaction, delivery.id(), delivery.sent()));
            }
        }
        effects
    }

    /// The records of `refused` could not be appended and are not in the log, so none of its effects was carried out: answers its replies with an
    /// error, and sees to it that what the coordinator does by itself is tried again. `error` is what the append failed with.
    pub fn append_failed(&mut self, now: Timestamp, refused: Effects, error: ErrorCode) -> Effects {
        let error = replies::error_of_failed_append(error);
        let refuse = |(to, reply)| (to, replies::refuse(reply, error));
        let mut effects = Effects { took_producer_id: refused.took_producer_id, ..Effects::default() };
        effects.replies = refused.replies.into_iter().map(refuse).collect();
        let later = Timestamp(now.millis().saturating_add(self.config.retry_backoff_ms));
        for (id, _) in self.writes.drain(..) {
            let Some(transaction) = self.transactions.get(&id) else { continue };
            if let Some(at) = transaction.timeout_at() {
                let key = TimerKey::Timeout { transactional_id: Arc::clone(&id) };
                effects.timers.push(TimerEffect::Arm { key, at: at.max(later) });
            } else if transaction.state.prepared().is_some() {
                effects.timers.push(TimerEffect::Arm { key: TimerKey::Retry { transactional_id: id }, at: later });
            }
        }
        effects
    }
}
