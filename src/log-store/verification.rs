//! Verification: no transaction begins in a partition that its coordinator does not know of, since nobody would end it.
//!
//! Before the first batch of a transaction is appended, the leader asks the coordinator (KIP-890). The guard ties the answer to the append: it is
//! worth nothing once a marker of that producer, or its first batch, has come in between.
//!
//! In Kafka: `VerificationGuard`, `VerificationStateEntry`, `UnifiedLog.maybeStartTransactionVerification`.

use std::collections::HashMap;

use model::{ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::partition_log::PartitionLog;

/// Below this number of entries no sweep is worth its time.
const SWEEP_MIN: usize = 1_000;
/// An answer of a coordinator that has not led to an append for so long will not do so any more.
const STALE_AFTER_MS: i64 = 3_600_000;

/// Names one verification of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerificationGuard(u64);

/// What is known of the transaction of what is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionCheck {
    /// Nothing was asked: not transactional, or verification is off.
    Unchecked,
    /// The producer has a transaction open here. The append is refused if that has ended meanwhile.
    Ongoing,
    /// The coordinator knows of it. The append is refused if anything of that producer came in between.
    Verified(VerificationGuard),
    /// Markers of transactions with an epoch each (KIP-890): the epoch must be above the last one, or nothing be open.
    EpochPerTransaction,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    guard: VerificationGuard,
    producer_epoch: ProducerEpoch,
    /// The earliest batch that was seen, which must be appended first.
    lowest_sequence: Sequence,
    has_own_epoch: bool,
    begun_ms: i64,
}

/// The verifications of one partition that are under way. Most partitions never see any, so it takes no more room than a pointer until there is one.
#[derive(Debug, Default)]
pub(crate) struct Verifications(Option<Box<Known>>);

#[derive(Debug, Default)]
struct Known {
    entries: HashMap<ProducerId, Entry>,
    last: u64,
    sweep_at: usize,
}

impl Verifications {
    fn begin(&mut self, producer: &VerifiedProducer, now: Timestamp) -> VerificationGuard {
        let known = self.0.get_or_insert_default();
        if known.entries.len() >= known.sweep_at.max(SWEEP_MIN) {
            known.entries.retain(|_, entry| now.millis().saturating_sub(entry.begun_ms) < STALE_AFTER_MS);
            known.sweep_at = known.entries.len().saturating_mul(2);
        }
        if let Some(entry) = known.entries.get_mut(&producer.producer_id).filter(|entry| entry.producer_epoch == producer.producer_epoch) {
            entry.lowest_sequence = entry.lowest_sequence.min(producer.first_sequence);
            entry.begun_ms = now.millis();
            return entry.guard;
        }
        known.last += 1;
        let guard = VerificationGuard(known.last);
        let VerifiedProducer { producer_id, producer_epoch, first_sequence, has_own_epoch } = *producer;
        let entry = Entry { guard, producer_epoch, lowest_sequence: first_sequence, has_own_epoch, begun_ms: now.millis() };
        known.entries.insert(producer_id, entry);
        guard
    }

    /// The lowest sequence that was seen of a producer whose verification is under way, and whether it has an epoch for each transaction; `None` if
    /// the guard is not that of the verification.
    pub(crate) fn of(&self, producer_id: ProducerId, guard: VerificationGuard) -> Option<(Sequence, bool)> {
        let entry = self.0.as_ref()?.entries.get(&producer_id).filter(|entry| entry.guard == guard)?;
        Some((entry.lowest_sequence, entry.has_own_epoch))
    }

    /// A batch of the producer is in the log: its transaction is open.
    pub(crate) fn begun(&mut self, producer_id: ProducerId) {
        if let Some(known) = &mut self.0 {
            known.entries.remove(&producer_id);
        }
    }

    /// A marker of that epoch is in the log. Where each transaction has an epoch of its own, the marker has the epoch of the next one, which may be
    /// under verification already and is not what ends.
    pub(crate) fn ended(&mut self, producer_id: ProducerId, marker_epoch: ProducerEpoch) {
        let Some(known) = &mut self.0 else { return };
        let is_next = known.entries.get(&producer_id).is_some_and(|entry| entry.has_own_epoch && entry.producer_epoch >= marker_epoch);
        if !is_next {
            known.entries.remove(&producer_id);
        }
    }
}

/// Whose first batch of a transaction is to be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedProducer {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// Of the batch.
    pub first_sequence: Sequence,
    /// Whether each of its transactions has an epoch of its own, whose first batch then has sequence 0.
    pub has_own_epoch: bool,
}

impl PartitionLog {
    /// What a transactional batch of the producer needs before it is appended: nothing, if its transaction is open here, or the coordinator's word.
    pub fn begin_verification(&self, producer: &VerifiedProducer, now: Timestamp) -> TransactionCheck {
        if self.0.transactions.lock().is_open(producer.producer_id, producer.producer_epoch) {
            return TransactionCheck::Ongoing;
        }
        TransactionCheck::Verified(self.0.verifications.lock().begin(producer, now))
    }
}
