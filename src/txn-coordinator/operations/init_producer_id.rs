//! InitProducerId: a producer begins, or goes on after an error, under a new epoch.

use std::sync::Arc;

use model::Timestamp;
use protocol::ErrorCode;
use protocol::messages::InitProducerIdRequest;
use protocol::primitives::STRING_BYTES_MAX;

use super::{answer, producer, take};
use crate::effects::{Effects, RequestMeta};
use crate::replies;
use crate::shard::TxnShard;
use crate::transaction::{Producer, State, Transaction, is_epoch_exhausted};

impl TxnShard {
    /// Handles InitProducerId of a producer with a transactional id. (Without one the caller answers with a new producer id and asks no shard.)
    ///
    /// - An unknown id begins with the spare producer id and epoch 0; a known one goes on with the next epoch, so that who held it is fenced.
    /// - An open transaction is aborted first: CONCURRENT_TRANSACTIONS until its markers are written.
    /// - A producer that names its id and epoch (KIP-360) is fenced if somebody else began meanwhile, and understood if it retries.
    pub fn init_producer_id(&mut self, now: Timestamp, meta: RequestMeta, request: InitProducerIdRequest) -> Effects {
        match self.try_init(now, meta, &request) {
            Ok(effects) => effects,
            Err(error) => answer(&meta, replies::init_producer_id(meta.api_version, Err(error))),
        }
    }

    fn try_init(&mut self, now: Timestamp, meta: RequestMeta, request: &InitProducerIdRequest) -> Result<Effects, ErrorCode> {
        let transactional_id = request.transactional_id.as_ref().map_or("", |id| id.as_str());
        if transactional_id.is_empty() || transactional_id.len() > STRING_BYTES_MAX {
            return Err(ErrorCode::InvalidRequest);
        }
        if request.enable_2_pc {
            return Err(ErrorCode::TransactionalIdAuthorizationFailed);
        }
        if request.keep_prepared_txn {
            return Err(ErrorCode::UnsupportedVersion);
        }
        let timeout_ms = request.transaction_timeout_ms;
        if timeout_ms <= 0 || timeout_ms > self.config.transaction_timeout_max_ms {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        // Kafka's handler refuses half of a pair.
        if (request.producer_id.0 == -1) != (request.producer_epoch == -1) {
            return Err(ErrorCode::InvalidRequest);
        }
        let expected = producer(request.producer_id.0, request.producer_epoch);
        let mut effects = Effects::default();
        let (id, step): (Arc<str>, Transaction) = match self.transactions.get_key_value(transactional_id) {
            None => (transactional_id.into(), Transaction::created(take(meta.spare_producer_id, &mut effects)?, timeout_ms, now)),
            Some((id, transaction)) => {
                // KAFKA-18575: that a decided transaction is not finished comes before every question of who asks.
                if transaction.state.prepared().is_some() {
                    return Err(ErrorCode::ConcurrentTransactions);
                }
                if !expected.is_none_or(|expected| may_go_on(transaction, expected)) {
                    return Err(ErrorCode::ProducerFenced);
                }
                let id = Arc::clone(id);
                if transaction.state == State::Ongoing {
                    // The epoch of the fence is told nobody; the client asks again and gets one above it.
                    let refusal = replies::init_producer_id(meta.api_version, Err(ErrorCode::ConcurrentTransactions));
                    return self.fence(now, &id, meta.spare_producer_id, answer(&meta, refusal));
                }
                let step = begin(transaction, expected, timeout_ms, now, || take(meta.spare_producer_id, &mut effects))?;
                (id, step)
            }
        };
        let begun = Producer { id: step.producer_id, epoch: step.producer_epoch };
        effects.replies.push((meta.reply, replies::init_producer_id(meta.api_version, Ok(begun))));
        Ok(self.finish(now, vec![(id, step)], effects))
    }
}

/// Whether a producer that names its id may still be the last one: of the present id (its epoch is looked at later), or of the one before, if its
/// epochs were used up and its answer may have been lost.
fn may_go_on(transaction: &Transaction, expected: Producer) -> bool {
    expected.id == transaction.producer_id || (Some(expected.id) == transaction.previous_producer_id && is_epoch_exhausted(expected.epoch))
}

fn begin(
    transaction: &Transaction,
    expected: Option<Producer>,
    timeout_ms: i32,
    now: Timestamp,
    new_id: impl FnOnce() -> Result<model::ProducerId, ErrorCode>,
) -> Result<Transaction, ErrorCode> {
    if expected.is_none_or(|expected| transaction.is_of(expected)) {
        return Ok(if transaction.is_epoch_exhausted() {
            transaction.with_new_producer_id(new_id()?, expected, timeout_ms, now)
        } else {
            transaction.with_next_epoch(expected, timeout_ms, now)
        });
    }
    // A retry: nobody else has begun meanwhile, since that leaves no last epoch.
    let is_retry = expected.map(|expected| expected.epoch) == transaction.last_producer_epoch;
    if is_retry { Ok(transaction.told_again(timeout_ms, now)) } else { Err(ErrorCode::ProducerFenced) }
}
