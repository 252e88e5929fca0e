//! Expiration: transactional ids that nobody used for long are forgotten.

use model::Timestamp;

use crate::effects::Effects;
use crate::records;
use crate::shard::TxnShard;

impl TxnShard {
    /// Forgets unused ids, as many as one batch holds. To be called every `transaction.remove.expired.transaction.cleanup.interval.ms`.
    pub fn expire_transactional_ids(&mut self, now: Timestamp) -> Effects {
        let unused_since = now.millis().saturating_sub(self.config.transactional_id_expiration_ms);
        let mut effects = Effects::default();
        let mut bytes = 0;
        for (id, transaction) in &self.transactions {
            if !transaction.state.is_expiration_allowed() || transaction.last_update.millis() > unused_since {
                continue;
            }
            let tombstone = records::tombstone(id);
            bytes += tombstone.key.len();
            if bytes > self.config.batch_bytes_max {
                break;
            }
            effects.records.push(tombstone);
        }
        effects
    }
}
