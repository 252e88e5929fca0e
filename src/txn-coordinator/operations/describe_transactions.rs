//! DescribeTransactions: what is known of transactional ids.

use std::collections::BTreeMap;

use model::Timestamp;
use protocol::ErrorCode;
use protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use protocol::messages::{self, DescribeTransactionsRequest, DescribeTransactionsResponse, TransactionalId};

use super::answer;
use crate::effects::{Effects, RequestMeta, TxnReply};
use crate::replies::text;
use crate::shard::TxnShard;
use crate::transaction::Transaction;

impl TxnShard {
    /// Handles DescribeTransactions for the ids that the request names, which must be this shard's.
    pub fn describe_transactions(&self, meta: RequestMeta, request: DescribeTransactionsRequest) -> Effects {
        let described = request.transactional_ids.into_iter().map(|id| match self.transactions.get(id.as_str()) {
            _ if id.is_empty() => refused(id, ErrorCode::InvalidRequest),
            None => refused(id, ErrorCode::TransactionalIdNotFound),
            Some(transaction) => describe(id, transaction),
        });
        let response = DescribeTransactionsResponse::default().with_transaction_states(described.collect());
        answer(&meta, TxnReply::DescribeTransactions(response))
    }
}

fn refused(id: TransactionalId, error: ErrorCode) -> TransactionState {
    TransactionState::default().with_transactional_id(id).with_error_code(error.code())
}

fn describe(id: TransactionalId, transaction: &Transaction) -> TransactionState {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &transaction.partitions {
        topics.entry(partition.topic.as_str()).or_default().push(partition.partition.get());
    }
    let topic = |(name, partitions)| TopicData::default().with_topic(messages::TopicName(text(name))).with_partitions(partitions);
    TransactionState::default()
        .with_transactional_id(id)
        .with_transaction_state(text(transaction.state.name()))
        .with_transaction_timeout_ms(transaction.timeout_ms)
        .with_transaction_start_time_ms(transaction.start.map_or(-1, Timestamp::millis))
        .with_producer_id(messages::ProducerId(transaction.producer_id.get()))
        .with_producer_epoch(transaction.producer_epoch.get())
        .with_topics(topics.into_iter().map(topic).collect())
}
