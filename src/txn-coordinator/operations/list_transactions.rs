//! ListTransactions: the transactional ids of this shard.

use model::Timestamp;
use protocol::messages::list_transactions_response::TransactionState;
use protocol::messages::{self, ListTransactionsRequest, ListTransactionsResponse};

use super::answer;
use crate::effects::{Effects, RequestMeta, TxnReply};
use crate::replies::text;
use crate::shard::TxnShard;
use crate::transaction::{State, Transaction};

/// The names of the states that Kafka knows but never shows; as filters they are understood and match nothing.
const HIDDEN_STATES: [&str; 2] = ["Dead", "PrepareEpochFence"];

impl TxnShard {
    /// Handles ListTransactions. `is_named` tells whether the request's pattern of transactional ids matches one (version 2, KIP-1152); the caller
    /// understands patterns and refuses broken ones.
    ///
    /// With a filter of durations an id that never had a transaction is listed whatever the duration, as by Kafka.
    pub fn list_transactions(
        &self,
        now: Timestamp,
        meta: RequestMeta,
        request: ListTransactionsRequest,
        is_named: &dyn Fn(&str) -> bool,
    ) -> Effects {
        let is_known = |name: &str| State::ALL.iter().any(|state| state.name() == name) || HIDDEN_STATES.contains(&name);
        let unknown = request.state_filters.iter().filter(|name| !is_known(name)).cloned().collect();
        let is_asked = |transaction: &Transaction| {
            let id = messages::ProducerId(transaction.producer_id.get());
            let start_ms = transaction.start.map_or(-1, Timestamp::millis);
            (request.producer_id_filters.is_empty() || request.producer_id_filters.contains(&id))
                && (request.state_filters.is_empty() || request.state_filters.iter().any(|name| name.as_str() == transaction.state.name()))
                && (request.duration_filter < 0 || now.millis().saturating_sub(start_ms) > request.duration_filter)
        };
        let asked = self.transactions.iter().filter(|(id, transaction)| is_asked(transaction) && is_named(id));
        let listed = asked.map(|(id, transaction)| {
            TransactionState::default()
                .with_transactional_id(messages::TransactionalId(text(id)))
                .with_producer_id(messages::ProducerId(transaction.producer_id.get()))
                .with_transaction_state(text(transaction.state.name()))
        });
        let response = ListTransactionsResponse::default().with_transaction_states(listed.collect()).with_unknown_state_filters(unknown);
        answer(&meta, TxnReply::ListTransactions(response))
    }
}
