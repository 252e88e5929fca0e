//! EndTxn: a producer commits or aborts.

use std::sync::Arc;

use model::Timestamp;
use protocol::ErrorCode;
use protocol::messages::EndTxnRequest;

use super::{Named, answer, take};
use crate::effects::{Effects, RequestMeta, TransactionResult};
use crate::replies;
use crate::shard::TxnShard;
use crate::transaction::{Producer, State, Transaction};
use crate::version::TransactionVersion;

/// What an EndTxn comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// The transaction is decided.
    Decide,
    /// It was decided like that already.
    Repeat,
}

impl TxnShard {
    /// Handles EndTxn. The client is answered when the decision is committed; markers follow.
    ///
    /// - From version 5 on each end raises the epoch (KIP-890), also an abort of a producer that has nothing open; the reply has the producer of the
    ///   next transaction. When the epochs are used up that is another id.
    /// - A retry of what was done is answered as it was; another outcome than that is INVALID_TXN_STATE.
    pub fn end_txn(&mut self, now: Timestamp, meta: RequestMeta, request: EndTxnRequest) -> Effects {
        match self.try_end(now, meta, &request) {
            Ok(effects) => effects,
            Err(error) => answer(&meta, replies::end_txn(meta.api_version, Err(error))),
        }
    }

    fn try_end(&mut self, now: Timestamp, meta: RequestMeta, request: &EndTxnRequest) -> Result<Effects, ErrorCode> {
        if request.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let (id, transaction) = self.known(&request.transactional_id)?;
        let from = Named::new(request.producer_id.0, request.producer_epoch);
        let result = if request.committed { TransactionResult::Commit } else { TransactionResult::Abort };
        let client_version = TransactionVersion::of_end_txn(meta.api_version);
        let verdict = if client_version.supports_epoch_bump() {
            judge_with_epoch_bump(transaction, from, result)?
        } else {
            judge(transaction, from, result)?
        };
        match verdict {
            Verdict::Repeat => {
                let present = Producer { id: transaction.producer_id, epoch: transaction.producer_epoch };
                Ok(answer(&meta, replies::end_txn(meta.api_version, Ok(present))))
            }
            Verdict::Decide => {
                let mut effects = Effects::default();
                let needs_id = client_version.supports_epoch_bump() && transaction.is_epoch_exhausted();
                let next_producer_id = if needs_id { Some(take(meta.spare_producer_id, &mut effects)?) } else { None };
                let prepared = transaction.prepared(result, client_version, next_producer_id, now);
                Ok(self.answer_decision(now, &meta, &id, prepared, effects))
            }
        }
    }

    fn answer_decision(&mut self, now: Timestamp, meta: &RequestMeta, id: &Arc<str>, prepared: Transaction, effects: Effects) -> Effects {
        // The producer of the next transaction is known before: what completes this one has no choice.
        let completed = prepared.completed(now);
        let next = completed.as_ref().unwrap_or(&prepared);
        let next = Producer { id: next.producer_id, epoch: next.producer_epoch };
        let reply = replies::end_txn(meta.api_version, Ok(next));
        let effects = Effects { replies: vec![(meta.reply, reply)], ..effects };
        self.decide(now, id, prepared, effects)
    }
}

fn judge(transaction: &Transaction, from: Option<Named>, result: TransactionResult) -> Result<Verdict, ErrorCode> {
    let from = from.filter(|from| from.id == transaction.producer_id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
    if !from.producer().is_some_and(|from| transaction.is_of(from)) {
        return Err(ErrorCode::ProducerFenced);
    }
    match (transaction.state, result) {
        (State::Ongoing, _) => Ok(Verdict::Decide),
        (State::CompleteCommit, TransactionResult::Commit) | (State::CompleteAbort, TransactionResult::Abort) => Ok(Verdict::Repeat),
        // Kafka sees the completion as under way and looks no further.
        (State::PrepareCommit | State::PrepareAbort, _) => Err(ErrorCode::ConcurrentTransactions),
        (State::Empty | State::CompleteCommit | State::CompleteAbort, _) => Err(ErrorCode::InvalidTxnState),
    }
}

fn judge_with_epoch_bump(transaction: &Transaction, from: Option<Named>, result: TransactionResult) -> Result<Verdict, ErrorCode> {
    // KAFKA-18575: before every question of who asks.
    if transaction.state.prepared().is_some() {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    let from = from.ok_or(ErrorCode::InvalidProducerIdMapping)?;
    let named = from.producer();
    let is_before_bump = named.is_some_and(|from| transaction.is_before_epoch_bump(from));
    let is_before_overflow = named.is_some_and(|from| transaction.is_before_overflow(from));
    if from.id != transaction.producer_id && !is_before_overflow {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    // An end by the older rules raised no epoch, or fenced somebody: then the epoch before is not one that retries.
    let is_ended =
        matches!(transaction.state, State::CompleteCommit | State::CompleteAbort) && transaction.client_version.supports_epoch_bump();
    let is_retry = is_ended && (is_before_bump || is_before_overflow);
    if !is_retry && from.epoch != Some(transaction.producer_epoch) {
        return Err(ErrorCode::ProducerFenced);
    }
    match (transaction.state, result, is_retry) {
        (State::Ongoing, _, _)
        // An abort without a transaction: the client could not know whether its first batch began one.
        | (State::Empty | State::CompleteCommit | State::CompleteAbort, TransactionResult::Abort, false) => Ok(Verdict::Decide),
        (State::CompleteCommit, TransactionResult::Commit, true) | (State::CompleteAbort, TransactionResult::Abort, true) => {
            Ok(Verdict::Repeat)
        }
        _ => Err(ErrorCode::InvalidTxnState),
    }
}
