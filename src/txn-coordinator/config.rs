//! The settings of the transaction coordinator. The rows of their keys are the broker's.

use crate::version::TransactionVersion;

/// The values that a shard acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnConfig {
    /// `transaction.max.timeout.ms`.
    pub transaction_timeout_max_ms: i32,
    /// `transactional.id.expiration.ms`.
    pub transactional_id_expiration_ms: i64,
    /// The cluster's finalized `transaction.version`: how records are written, and how the coordinator ends transactions by itself.
    pub transaction_version: TransactionVersion,
    /// The pause before markers are sent again to partitions that refused them, and before an abort or a completion that could not be appended is
    /// tried again.
    pub retry_backoff_ms: i64,
    /// The largest batch of records that one operation may cause (`max.message.bytes` of the topic); more is refused before anything is written.
    pub batch_bytes_max: usize,
}

impl Default for TxnConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            transaction_timeout_max_ms: 900_000,
            transactional_id_expiration_ms: 7 * 24 * 60 * 60 * 1_000,
            transaction_version: TransactionVersion::V2,
            retry_backoff_ms: 100,
            batch_bytes_max: 1_048_588,
        }
    }
}
