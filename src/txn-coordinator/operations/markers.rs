//! Markers: which of a decided transaction's partitions have theirs, and what follows when all have.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Timestamp, TopicPartition};

use crate::effects::{Effects, MarkerOutcome, Markers, MarkersAnswered, TimerEffect, TimerKey};
use crate::shard::TxnShard;
use crate::transaction::Transaction;

/// The markers of a decided transaction that are not known to be written.
#[derive(Debug)]
pub(crate) struct Delivery {
    id: u64,
    /// Sent, and not answered.
    sent: BTreeSet<TopicPartition>,
    /// To be sent again.
    failed: BTreeSet<TopicPartition>,
    /// Refused for good: another coordinator has taken over, and this one's end is near.
    fenced: BTreeSet<TopicPartition>,
}

impl Delivery {
    pub(crate) fn of(id: u64, transaction: &Transaction) -> Self {
        Self { id, sent: transaction.partitions.clone(), failed: BTreeSet::new(), fenced: BTreeSet::new() }
    }

    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) const fn sent(&self) -> &BTreeSet<TopicPartition> {
        &self.sent
    }

    /// Whether every partition has its marker.
    pub(crate) fn is_done(&self) -> bool {
        self.sent.is_empty() && self.failed.is_empty() && self.fenced.is_empty()
    }

    fn answered(&mut self, partition: TopicPartition, outcome: MarkerOutcome) {
        // Not sent, or answered before: nothing to learn.
        if !self.sent.remove(&partition) {
            return;
        }
        match outcome {
            MarkerOutcome::Written | MarkerOutcome::Gone => {}
            MarkerOutcome::Retry => {
                self.failed.insert(partition);
            }
            MarkerOutcome::Fenced => {
                self.fenced.insert(partition);
            }
        }
    }
}

impl TxnShard {
    /// The markers of a decided transaction for some of its partitions; nothing for none.
    pub(crate) fn markers_of(
        &self,
        id: &Arc<str>,
        transaction: &Transaction,
        delivery: u64,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Option<Markers> {
        let result = transaction.state.prepared().filter(|_| !partitions.is_empty())?;
        Some(Markers {
            transactional_id: Arc::clone(id),
            delivery,
            producer_id: transaction.producer_id,
            producer_epoch: transaction.producer_epoch,
            coordinator_epoch: self.coordinator_epoch,
            result,
            transaction_version: transaction.client_version,
            partitions: partitions.iter().cloned().collect(),
        })
    }

    /// Leaders have answered, or a connection to one was lost. When no marker is missing the transaction is completed; those that failed are sent
    /// again after a pause. Answers to what is over, or to another life of the shard, do nothing.
    pub fn markers_answered(&mut self, now: Timestamp, answered: MarkersAnswered) -> Effects {
        let Some(delivery) = self.deliveries.get_mut(&answered.transactional_id) else { return Effects::default() };
        if delivery.id != answered.delivery {
            return Effects::default();
        }
        let had_failed = !delivery.failed.is_empty();
        for (partition, outcome) in answered.outcomes {
            delivery.answered(partition, outcome);
        }
        let fails_now = !had_failed && !delivery.failed.is_empty();
        if delivery.is_done() {
            return self.complete(now, &answered.transactional_id);
        }
        let mut effects = Effects::default();
        if fails_now {
            let at = Timestamp(now.millis().saturating_add(self.config.retry_backoff_ms));
            effects.timers.push(TimerEffect::Arm { key: TimerKey::Retry { transactional_id: answered.transactional_id }, at });
        }
        effects
    }

    fn complete(&mut self, now: Timestamp, transactional_id: &str) -> Effects {
        let Ok((id, transaction)) = self.known(transactional_id) else { return Effects::default() };
        let Some(completed) = transaction.completed(now) else { return Effects::default() };
        let effects = Effects {
            timers: vec![TimerEffect::Cancel { key: TimerKey::Retry { transactional_id: Arc::clone(&id) } }],
            ..Effects::default()
        };
        self.finish(now, vec![(id, completed)], effects)
    }

    /// Tries once more to finish a decided transaction.
    pub(crate) fn retry(&mut self, now: Timestamp, transactional_id: &str) -> Effects {
        let Some(delivery) = self.deliveries.get_mut(transactional_id) else { return Effects::default() };
        if delivery.is_done() {
            return self.complete(now, transactional_id);
        }
        let failed = std::mem::take(&mut delivery.failed);
        let id = delivery.id;
        delivery.sent.extend(failed.iter().cloned());
        let Ok((transactional_id, transaction)) = self.known(transactional_id) else { return Effects::default() };
        let markers = self.markers_of(&transactional_id, transaction, id, &failed);
        Effects { markers: markers.into_iter().collect(), ..Effects::default() }
    }
}
