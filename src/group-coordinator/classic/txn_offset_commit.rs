//! TxnOffsetCommit: a transactional producer stores how far the group has come whose records it has worked up; it counts with the transaction.

use std::sync::Arc;

use model::{ProducerEpoch, ProducerId, Timestamp};
use protocol::ErrorCode;
use protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestPartition;
use protocol::messages::txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic};
use protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use protocol::primitives::STRING_BYTES_MAX;
use uuid::Uuid;

use super::offset_commit::{is_metadata_too_large, is_topic_name_too_long};
use crate::effects::{Effects, GroupReply, RequestMeta};
use crate::group::{Group, State};
use crate::operation::Operation;
use crate::records::{CommittedOffset, offset_record};
use crate::replies::NONE;
use crate::shard::GroupShard;

impl GroupShard {
    /// Handles TxnOffsetCommit. That the transaction has this shard's partition among its own was checked by the caller, who appends the records in
    /// the producer's name and calls [`GroupShard::replay_end_of_transaction`] with its marker.
    pub fn txn_offset_commit(&mut self, now: Timestamp, meta: RequestMeta, request: TxnOffsetCommitRequest) -> Effects {
        let mut operation = Operation::new(&self.config, now);
        let producer = producer_of(&request);
        let refusal = validate(self.groups.get(request.group_id.as_str()), &request).and(producer).err();
        let mut response = TxnOffsetCommitResponse::default();
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let refusal = refusal.or_else(|| {
                    let is_too_large = is_metadata_too_large(&operation, partition.committed_metadata.as_ref());
                    let too_large = is_too_large.then_some(ErrorCode::OffsetMetadataTooLarge);
                    is_topic_name_too_long(&topic.name).then_some(ErrorCode::InvalidTopicException).or(too_large)
                });
                if refusal.is_none() {
                    let committed = committed(now, partition);
                    operation.effects.records.push(offset_record(&request.group_id, &topic.name, partition.partition_index, &committed));
                }
                let error_code = refusal.map_or(NONE, |error| error.code());
                let answer = TxnOffsetCommitResponsePartition::default().with_partition_index(partition.partition_index);
                partitions.push(answer.with_error_code(error_code));
            }
            response.topics.push(TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions));
        }
        operation.effects.transaction = producer.ok();
        operation.reply(meta.reply, GroupReply::TxnOffsetCommit(response));
        let group_id: Arc<str> = request.group_id.as_str().into();
        let effects = operation.effects;
        self.finish(now, &group_id, effects, None)
    }
}

fn producer_of(request: &TxnOffsetCommitRequest) -> Result<(ProducerId, ProducerEpoch), ErrorCode> {
    let producer_id = ProducerId::new(request.producer_id.0).ok_or(ErrorCode::InvalidProducerIdMapping)?;
    let epoch = ProducerEpoch::new(request.producer_epoch).ok_or(ErrorCode::InvalidProducerEpoch)?;
    Ok((producer_id, epoch))
}

/// The members' generation is checked where the client tells it (KIP-447); the group's state is not.
fn validate(group: Option<&Group>, request: &TxnOffsetCommitRequest) -> Result<(), ErrorCode> {
    if request.group_id.len() > STRING_BYTES_MAX {
        return Err(ErrorCode::InvalidGroupId);
    }
    let Some(group) = group else {
        return if request.generation_id < 0 { Ok(()) } else { Err(ErrorCode::IllegalGeneration) };
    };
    if request.generation_id < 0 && group.state == State::Empty {
        return Ok(());
    }
    let names_member = !request.member_id.is_empty() || request.group_instance_id.is_some();
    if request.generation_id >= 0 || names_member {
        group.validate_member(&request.member_id, request.group_instance_id.as_ref().map(|id| id.as_str()))?;
        if request.generation_id != group.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
    }
    Ok(())
}

fn committed(now: Timestamp, partition: &TxnOffsetCommitRequestPartition) -> CommittedOffset {
    CommittedOffset {
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch.max(-1),
        metadata: partition.committed_metadata.as_ref().map_or("", |metadata| metadata.as_str()).into(),
        commit_timestamp_ms: now.millis(),
        expire_timestamp_ms: None,
        topic_id: Uuid::nil(),
    }
}
