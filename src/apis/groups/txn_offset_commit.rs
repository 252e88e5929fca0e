//! TxnOffsetCommit (key 28, versions 0-5): a group's offsets that count when the producer's transaction commits.
//!
//! - From version 5 on the offsets partition joins the transaction by this; before, AddOffsetsToTxn has come first (KIP-890).
//! - From version 3 on the member's generation is checked (KIP-447).
//!
//! # Deviations
//! None.
//!
//! # Tests
//! `transactions-consume-transform-produce` of every transactional client.

use broker::coordinators::OFFSETS_TOPIC;
use broker::partitions::TransactionCheck;
use model::{ProducerEpoch, ProducerId, Sequence, TopicName, TopicPartition};
use protocol::ErrorCode;
use protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use protocol::messages::txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic};
use protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::pick;
use crate::api::{Api, Context, Versions};
use crate::transactions::verification::{Understands, Writer};

pub(crate) struct TxnOffsetCommit;

impl Api for TxnOffsetCommit {
    const KEY: i16 = 28;
    const NAME: &'static str = "TxnOffsetCommit";
    const VERSIONS: Versions = Versions::new(0, 5);
    type Request = TxnOffsetCommitRequest;
    type Response = TxnOffsetCommitResponse;

    async fn handle(cx: Context, mut request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
        let image = cx.broker.metadata.image();
        let exists = |topic: &TxnOffsetCommitRequestTopic| image.topic_by_name(topic.name.as_str()).is_some();
        let (known, unknown): (Vec<_>, Vec<_>) = std::mem::take(&mut request.topics).into_iter().partition(exists);
        let unknown: Vec<_> = unknown.iter().map(|topic| refused(topic, ErrorCode::UnknownTopicOrPartition)).collect();
        let mut answered = if known.is_empty() {
            Vec::new()
        } else {
            request.topics.clone_from(&known);
            let committed = commit(&cx, request).await;
            committed.map_or_else(|error| known.iter().map(|topic| refused(topic, error)).collect(), |response| response.topics)
        };
        answered.extend(unknown);
        TxnOffsetCommitResponse::default().with_topics(answered)
    }
}

async fn commit(cx: &Context, request: TxnOffsetCommitRequest) -> Result<TxnOffsetCommitResponse, ErrorCode> {
    let check = verify(cx, &request).await?;
    let group_id = request.group_id.to_string();
    let operation = Box::new(move |shard: &mut group_coordinator::GroupShard, now, meta| shard.txn_offset_commit(now, meta, request));
    let reply = cx.broker.groups.call_in_transaction(&group_id, &cx.caller(), check, operation).await?;
    pick!(TxnOffsetCommit)(reply).ok_or(ErrorCode::CoordinatorNotAvailable)
}

/// Asks the transaction's coordinator, unless the transaction has offsets here already.
async fn verify(cx: &Context, request: &TxnOffsetCommitRequest) -> Result<TransactionCheck, ErrorCode> {
    let understands = match cx.version {
        ..=3 => Understands::Little,
        4 => Understands::Abortable,
        5.. => Understands::ImplicitPartitions,
    };
    let writer = Writer { transactional_id: Some(request.transactional_id.to_string()), understands };
    let producer_id = ProducerId::new(request.producer_id.0).ok_or(ErrorCode::InvalidProducerIdMapping)?;
    let producer_epoch = ProducerEpoch::new(request.producer_epoch).ok_or(ErrorCode::InvalidProducerEpoch)?;
    let id = cx.broker.groups.partition_of(&request.group_id).ok_or(ErrorCode::NotCoordinator)?;
    let partition = cx.broker.partitions.get(id).ok_or(ErrorCode::NotCoordinator)?;
    let (check, must_ask) = writer.begin(cx, &partition, (producer_id, producer_epoch, Sequence::ZERO));
    if must_ask {
        let at = TopicPartition { topic: TopicName::from(OFFSETS_TOPIC), partition: id.partition };
        let refusals = writer.ask(cx, (producer_id, producer_epoch), vec![at.clone()]).await;
        if let Some(error) = refusals.get(&at) {
            return Err(match writer.told(*error) {
                // The client looks for the group's coordinator anew, or asks again.
                ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
                ErrorCode::UnknownTopicOrPartition
                | ErrorCode::NotEnoughReplicas
                | ErrorCode::RequestTimedOut
                | ErrorCode::NotCoordinator => ErrorCode::CoordinatorNotAvailable,
                other => other,
            });
        }
    }
    Ok(check)
}

fn refused(topic: &TxnOffsetCommitRequestTopic, error: ErrorCode) -> TxnOffsetCommitResponseTopic {
    let row = |index: i32| TxnOffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(error.code());
    let rows = topic.partitions.iter().map(|partition| row(partition.partition_index)).collect();
    TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(rows)
}
