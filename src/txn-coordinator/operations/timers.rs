//! Timers: an open transaction's time is over, or a decided one is tried again.

use std::sync::Arc;

use model::{ProducerId, Timestamp};

use crate::effects::{Effects, TimerEffect, TimerKey};
use crate::shard::TxnShard;

impl TxnShard {
    /// A timer fired. `spare_producer_id` is as in [`crate::RequestMeta`].
    pub fn timer_fired(&mut self, now: Timestamp, key: TimerKey, spare_producer_id: Option<ProducerId>) -> Effects {
        match key {
            TimerKey::Timeout { transactional_id } => self.time_out(now, &transactional_id, spare_producer_id),
            TimerKey::Retry { transactional_id } => self.retry(now, &transactional_id),
        }
    }

    fn time_out(&mut self, now: Timestamp, transactional_id: &Arc<str>, spare: Option<ProducerId>) -> Effects {
        let timeout_at = self.transactions.get(transactional_id).and_then(crate::transaction::Transaction::timeout_at);
        let Some(at) = timeout_at else { return Effects::default() };
        let again = |at| {
            let key = TimerKey::Timeout { transactional_id: Arc::clone(transactional_id) };
            Effects { timers: vec![TimerEffect::Arm { key, at }], ..Effects::default() }
        };
        if now < at {
            return again(at);
        }
        // Without a producer id for the next transaction it must wait a little.
        let later = Timestamp(now.millis().saturating_add(self.config.retry_backoff_ms));
        self.fence(now, transactional_id, spare, Effects::default()).unwrap_or_else(|_| again(later))
    }
}
