//! Replies that encode in the version of their request, with the codes that the version's clients know.

use std::collections::BTreeMap;

use model::{ProducerEpoch, ProducerId, TopicPartition};
use protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use protocol::messages::{self, AddOffsetsToTxnResponse, EndTxnResponse, InitProducerIdResponse};
use protocol::{ErrorCode, StrBytes, to_i16};

use crate::effects::TxnReply;
use crate::transaction::Producer;

/// InitProducerId from here on knows PRODUCER_FENCED (KIP-588).
const INIT_WITH_PRODUCER_FENCED: i16 = 4;
/// The other requests from here on know PRODUCER_FENCED.
const WITH_PRODUCER_FENCED: i16 = 2;
/// EndTxn from here on is told the producer that the next transaction belongs to (KIP-890).
pub(crate) const END_WITH_PRODUCER: i16 = 5;

/// A text for the wire.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn code_in(api_version: i16, fenced_since: i16, error: ErrorCode) -> i16 {
    let error = if error == ErrorCode::ProducerFenced && api_version < fenced_since { ErrorCode::InvalidProducerEpoch } else { error };
    error.code()
}

fn wire_producer(producer: Option<Producer>) -> (messages::ProducerId, i16) {
    let id = ProducerId::to_wire(producer.map(|producer| producer.id));
    (messages::ProducerId(id), ProducerEpoch::to_wire(producer.map(|producer| producer.epoch)))
}

pub(crate) fn init_producer_id(api_version: i16, outcome: Result<Producer, ErrorCode>) -> TxnReply {
    let (id, epoch) = wire_producer(outcome.ok());
    let code = outcome.err().map_or(0, |error| code_in(api_version, INIT_WITH_PRODUCER_FENCED, error));
    TxnReply::InitProducerId(InitProducerIdResponse::default().with_error_code(code).with_producer_id(id).with_producer_epoch(epoch))
}

pub(crate) fn end_txn(api_version: i16, outcome: Result<Producer, ErrorCode>) -> TxnReply {
    let (id, epoch) = wire_producer(outcome.ok().filter(|_| api_version >= END_WITH_PRODUCER));
    let code = outcome.err().map_or(0, |error| code_in(api_version, WITH_PRODUCER_FENCED, error));
    TxnReply::EndTxn(EndTxnResponse::default().with_error_code(code).with_producer_id(id).with_producer_epoch(epoch))
}

pub(crate) fn add_offsets(api_version: i16, outcome: Result<(), ErrorCode>) -> TxnReply {
    let code = outcome.err().map_or(0, |error| code_in(api_version, WITH_PRODUCER_FENCED, error));
    TxnReply::AddOffsetsToTxn(AddOffsetsToTxnResponse::default().with_error_code(code))
}

/// The answer to a transaction of AddPartitionsToTxn, with a code for each partition.
pub(crate) fn add_partitions<'a>(
    api_version: i16,
    transactional_id: &str,
    partitions: impl Iterator<Item = (&'a TopicPartition, Option<ErrorCode>)>,
) -> TxnReply {
    let mut topics: BTreeMap<&str, Vec<AddPartitionsToTxnPartitionResult>> = BTreeMap::new();
    for (partition, error) in partitions {
        let code = error.map_or(0, |error| code_in(api_version, WITH_PRODUCER_FENCED, error));
        let result = AddPartitionsToTxnPartitionResult::default().with_partition_index(partition.partition.get());
        topics.entry(partition.topic.as_str()).or_default().push(result.with_partition_error_code(code));
    }
    let topic = |(name, partitions)| {
        AddPartitionsToTxnTopicResult::default().with_name(messages::TopicName(text(name))).with_results_by_partition(partitions)
    };
    let result = AddPartitionsToTxnResult::default().with_transactional_id(messages::TransactionalId(text(transactional_id)));
    TxnReply::AddPartitionsToTxn(result.with_topic_results(topics.into_iter().map(topic).collect()))
}

/// The same reply, saying that nothing was done because of `error`.
pub(crate) fn refuse(reply: TxnReply, error: ErrorCode) -> TxnReply {
    let nobody = wire_producer(None);
    match reply {
        TxnReply::InitProducerId(reply) => {
            TxnReply::InitProducerId(reply.with_error_code(error.code()).with_producer_id(nobody.0).with_producer_epoch(nobody.1))
        }
        TxnReply::EndTxn(reply) => {
            TxnReply::EndTxn(reply.with_error_code(error.code()).with_producer_id(nobody.0).with_producer_epoch(nobody.1))
        }
        TxnReply::AddOffsetsToTxn(reply) => TxnReply::AddOffsetsToTxn(reply.with_error_code(error.code())),
        TxnReply::AddPartitionsToTxn(mut reply) => {
            for partition in reply.topic_results.iter_mut().flat_map(|topic| &mut topic.results_by_partition) {
                partition.partition_error_code = error.code();
            }
            TxnReply::AddPartitionsToTxn(reply)
        }
        // These write nothing, so that nothing of theirs can fail.
        TxnReply::DescribeTransactions(reply) => TxnReply::DescribeTransactions(reply),
        TxnReply::ListTransactions(reply) => TxnReply::ListTransactions(reply.with_error_code(to_i16(Some(error)))),
    }
}

/// What a client is told when the records of its operation could not be appended (Kafka's `appendTransactionToLog`).
pub(crate) fn error_of_failed_append(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::RecordListTooLarge => ErrorCode::MessageTooLarge,
        other => other,
    }
}
