//! OffsetCommit: a group, or a consumer that manages its partitions by itself, stores how far it has come.

use std::sync::Arc;

use model::Timestamp;
use protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use protocol::primitives::STRING_BYTES_MAX;
use protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use crate::effects::{Effects, GroupReply, RequestMeta};
use crate::group::{Group, State};
use crate::operation::Operation;
use crate::records::{CommittedOffset, offset_record};
use crate::replies::NONE;
use crate::shard::GroupShard;

/// OffsetCommit from here on tells an unknown group from a stale generation.
const COMMIT_WITH_GROUP_NOT_FOUND: i16 = 9;
/// The client leaves the retention to the broker.
const NO_RETENTION_TIME: i64 = -1;
/// The longest name that a topic may have.
const TOPIC_NAME_BYTES_MAX: usize = 249;

impl GroupShard {
    /// Handles OffsetCommit. That the topics exist was checked by the caller.
    pub fn offset_commit(&mut self, now: Timestamp, meta: RequestMeta, request: OffsetCommitRequest) -> Effects {
        let mut operation = Operation::new(&self.config, now);
        let group = self.groups.get(request.group_id.as_str());
        let refusal = validate(group, meta.api_version, &request).err();
        if let (None, Some(group)) = (refusal, group) {
            // A commit of a member is a sign of life, but during the sync phase.
            if matches!(group.state, State::Stable | State::PreparingRebalance) {
                operation.renew_session(group, &request.member_id);
            }
        }
        let mut response = OffsetCommitResponse::default();
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let refusal = refusal.or_else(|| refuse_partition(&operation, &topic.name, partition));
                if refusal.is_none() {
                    let committed = committed(now, request.retention_time_ms, topic.topic_id, partition);
                    operation.effects.records.push(offset_record(&request.group_id, &topic.name, partition.partition_index, &committed));
                }
                let error_code = refusal.map_or(NONE, |error| error.code());
                let partition_index = partition.partition_index;
                partitions.push(OffsetCommitResponsePartition::default().with_partition_index(partition_index).with_error_code(error_code));
            }
            let answer = OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_topic_id(topic.topic_id);
            response.topics.push(answer.with_partitions(partitions));
        }
        operation.reply(meta.reply, GroupReply::OffsetCommit(response));
        let group_id: Arc<str> = request.group_id.as_str().into();
        let effects = operation.effects;
        self.finish(now, &group_id, effects, None)
    }
}

fn validate(group: Option<&Group>, api_version: i16, request: &OffsetCommitRequest) -> Result<(), ErrorCode> {
    let generation_id = request.generation_id_or_member_epoch;
    if request.group_id.len() > STRING_BYTES_MAX {
        return Err(ErrorCode::InvalidGroupId);
    }
    let Some(group) = group else {
        // Without a generation the commit makes a simple group.
        return if generation_id < 0 {
            Ok(())
        } else if api_version >= COMMIT_WITH_GROUP_NOT_FOUND {
            Err(ErrorCode::GroupIdNotFound)
        } else {
            Err(ErrorCode::IllegalGeneration)
        };
    };
    if generation_id < 0 && group.state == State::Empty {
        return Ok(());
    }
    if generation_id < 0 && request.member_id.is_empty() && request.group_instance_id.is_none() {
        return Err(ErrorCode::UnknownMemberId);
    }
    group.validate_member(&request.member_id, request.group_instance_id.as_ref().map(|id| id.as_str()))?;
    if generation_id != group.generation_id {
        return Err(ErrorCode::IllegalGeneration);
    }
    if group.state == State::CompletingRebalance {
        return Err(ErrorCode::RebalanceInProgress);
    }
    Ok(())
}

fn refuse_partition(operation: &Operation<'_>, topic: &str, partition: &OffsetCommitRequestPartition) -> Option<ErrorCode> {
    if is_topic_name_too_long(topic) {
        return Some(ErrorCode::InvalidTopicException);
    }
    is_metadata_too_large(operation, partition.committed_metadata.as_ref()).then_some(ErrorCode::OffsetMetadataTooLarge)
}

pub(super) fn is_topic_name_too_long(topic: &str) -> bool {
    topic.len() > TOPIC_NAME_BYTES_MAX
}

pub(super) fn is_metadata_too_large(operation: &Operation<'_>, metadata: Option<&StrBytes>) -> bool {
    // Kafka counts Java chars.
    metadata.map_or(0, |metadata| metadata.encode_utf16().count()) > operation.config.offset_metadata_max_bytes
}

fn committed(now: Timestamp, retention_time_ms: i64, topic_id: Uuid, partition: &OffsetCommitRequestPartition) -> CommittedOffset {
    let retains = retention_time_ms != NO_RETENTION_TIME;
    CommittedOffset {
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch.max(-1),
        metadata: partition.committed_metadata.as_ref().map_or("", |metadata| metadata.as_str()).into(),
        commit_timestamp_ms: now.millis(),
        expire_timestamp_ms: retains.then(|| now.millis().saturating_add(retention_time_ms)),
        topic_id,
    }
}
