//! What an operator wants to know of the transactional ids of a shard.

use std::sync::Arc;

use model::{ProducerEpoch, ProducerId, Timestamp};

use crate::shard::TxnShard;
use crate::transaction::State;

/// One transactional id, as metrics and the status page tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionSummary {
    /// Its id.
    pub transactional_id: Arc<str>,
    /// Where it stands, by Kafka's name.
    pub state: &'static str,
    /// The producer that holds it.
    pub producer_id: ProducerId,
    /// The epoch of that producer.
    pub producer_epoch: ProducerEpoch,
    /// Since when its transaction is open or lacks markers; `None` if it has none.
    pub open_since: Option<Timestamp>,
    /// How many partitions are in that transaction.
    pub partitions: usize,
}

impl TxnShard {
    /// All transactional ids of this shard, by id.
    #[must_use]
    pub fn summaries(&self) -> Vec<TransactionSummary> {
        let summary = |(id, transaction): (&Arc<str>, &crate::transaction::Transaction)| TransactionSummary {
            transactional_id: Arc::clone(id),
            state: transaction.state.name(),
            producer_id: transaction.producer_id,
            producer_epoch: transaction.producer_epoch,
            open_since: transaction.start.filter(|_| transaction.state == State::Ongoing || transaction.state.prepared().is_some()),
            partitions: transaction.partitions.len(),
        };
        self.transactions.iter().map(summary).collect()
    }
}
