//! AddPartitionsToTxn (key 24, versions 0-5): partitions join a transaction, or a leader asks whether they have.
//!
//! - Up to version 3 clients send it for one transaction; later versions come from partitions' leaders, for several (KIP-890).
//! - All partitions of a transaction join or none: if one does not exist, that is UNKNOWN_TOPIC_OR_PARTITION and the others OPERATION_NOT_ATTEMPTED.
//!
//! # Deviations
//! - A transaction with more partitions than one record holds gets MESSAGE_TOO_LARGE instead of UNKNOWN_SERVER_ERROR.
//!
//! # Tests
//! The transactions scenarios of `compat-tests`, with clients of both kinds.

use metadata::Image;
use model::PartitionIndex;
use protocol::ErrorCode;
use protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTransaction;
use protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};

use super::{call, pick};
use crate::api::{Api, Context, Versions};

/// Up to here a request has one transaction.
const ONE_TRANSACTION_MAX: i16 = 3;

pub(crate) struct AddPartitionsToTxn;

impl Api for AddPartitionsToTxn {
    const KEY: i16 = 24;
    const NAME: &'static str = "AddPartitionsToTxn";
    const VERSIONS: Versions = Versions::new(0, 5);
    type Request = AddPartitionsToTxnRequest;
    type Response = AddPartitionsToTxnResponse;

    async fn handle(cx: Context, request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
        let response = AddPartitionsToTxnResponse::default();
        if cx.version <= ONE_TRANSACTION_MAX {
            let transaction = AddPartitionsToTxnTransaction::default()
                .with_transactional_id(request.v3_and_below_transactional_id)
                .with_producer_id(request.v3_and_below_producer_id)
                .with_producer_epoch(request.v3_and_below_producer_epoch)
                .with_topics(request.v3_and_below_topics);
            return response.with_results_by_topic_v3_and_below(join(&cx, transaction).await.topic_results);
        }
        let mut results = Vec::with_capacity(request.transactions.len());
        for transaction in request.transactions {
            results.push(join(&cx, transaction).await);
        }
        response.with_results_by_transaction(results)
    }
}

async fn join(cx: &Context, transaction: AddPartitionsToTxnTransaction) -> AddPartitionsToTxnResult {
    let image = cx.broker.metadata.image();
    let exists = |topic: &str, partition: i32| exists(&image, topic, partition);
    let all_exist = transaction.topics.iter().all(|topic| topic.partitions.iter().all(|partition| exists(topic.name.as_str(), *partition)));
    if !all_exist {
        return results(&transaction, |topic, partition| {
            if exists(topic, partition) { ErrorCode::OperationNotAttempted } else { ErrorCode::UnknownTopicOrPartition }
        });
    }
    let transactional_id = transaction.transactional_id.to_string();
    let named = transaction.clone();
    let operation = move |shard: &mut txn_coordinator::TxnShard, now, meta| shard.add_partitions_to_txn(now, meta, transaction);
    let joined = call(cx, &transactional_id, operation, pick!(AddPartitionsToTxn)).await;
    let mut result = joined.unwrap_or_else(|error| results(&named, |_, _| error));
    if cx.version > ONE_TRANSACTION_MAX {
        // A topic without partitions has its row as well.
        for topic in named.topics.iter().filter(|topic| topic.partitions.is_empty()) {
            result.topic_results.push(AddPartitionsToTxnTopicResult::default().with_name(topic.name.clone()));
        }
    }
    result
}

fn exists(image: &Image, topic: &str, partition: i32) -> bool {
    let found = image.topic_by_name(topic).zip(PartitionIndex::new(partition));
    found.is_some_and(|(topic, partition)| topic.partition(partition).is_some())
}

fn results(transaction: &AddPartitionsToTxnTransaction, code: impl Fn(&str, i32) -> ErrorCode) -> AddPartitionsToTxnResult {
    let topics = transaction.topics.iter().map(|topic| {
        let result = |partition: &i32| {
            let code = code(topic.name.as_str(), *partition).code();
            AddPartitionsToTxnPartitionResult::default().with_partition_index(*partition).with_partition_error_code(code)
        };
        let partitions = topic.partitions.iter().map(result).collect();
        AddPartitionsToTxnTopicResult::default().with_name(topic.name.clone()).with_results_by_partition(partitions)
    });
    let result = AddPartitionsToTxnResult::default().with_transactional_id(transaction.transactional_id.clone());
    result.with_topic_results(topics.collect())
}
