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
use metadata::Image;
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
        let unknown = take_unknown(&image, &mut request);
        let known = request.topics.clone();
        let mut answered = if known.is_empty() {
            Vec::new()
        } else {
            let committed = commit(&cx, request).await;
            committed.map_or_else(|error| known.iter().map(|topic| refused(topic, error)).collect(), |response| response.topics)
        };
        for topic in unknown {
            let row = refused(&topic, ErrorCode::UnknownTopicOrPartition);
            match answered.iter_mut().find(|known| known.name == row.name) {
                Some(known) => known.partitions.extend(row.partitions),
                None => answered.push(row),
            }
        }
        TxnOffsetCommitResponse::default().with_topics(answered)
    }
}

/// Takes out what does not exist.
fn take_unknown(image: &Image, request: &mut TxnOffsetCommitRequest) -> Vec<TxnOffsetCommitRequestTopic> {
    let mut unknown = Vec::new();
    for topic in &mut request.topics {
        let count = image.topic_by_name(topic.name.as_str()).map_or(0, |found| found.partition_count());
        let rows = std::mem::take(&mut topic.partitions).into_iter();
        let (known, missing): (Vec<_>, Vec<_>) = rows.partition(|row| (0..count).contains(&row.partition_index));
        if !missing.is_empty() || count == 0 {
            unknown.push(TxnOffsetCommitRequestTopic::default().with_name(topic.name.clone()).with_partitions(missing));
        }
        topic.partitions = known;
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    unknown
}

async fn commit(cx: &Context, request: TxnOffsetCommitRequest) -> Result<TxnOffsetCommitResponse, ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
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
    let writer = Writer { transactional_id: request.transactional_id.to_string(), understands };
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
