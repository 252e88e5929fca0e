//! OffsetDelete: an administrator makes a group forget offsets (KIP-496).

use std::sync::Arc;

use model::Timestamp;
use protocol::ErrorCode;
use protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::effects::{Effects, GroupReply, RequestMeta};
use crate::group::{Group, State};
use crate::operation::Operation;
use crate::records::offset_tombstone;
use crate::replies::NONE;
use crate::shard::GroupShard;

impl GroupShard {
    /// Handles OffsetDelete: offsets of topics that the group reads are kept.
    pub fn offset_delete(&mut self, now: Timestamp, meta: RequestMeta, request: OffsetDeleteRequest) -> Effects {
        let mut operation = Operation::new(&self.config, now);
        let group = match find(self.groups.get(request.group_id.as_str()), &request.group_id) {
            Ok(group) => group,
            Err(error) => {
                let response = OffsetDeleteResponse::default().with_error_code(error.code());
                operation.reply(meta.reply, GroupReply::OffsetDelete(response));
                return operation.effects;
            }
        };
        let mut response = OffsetDeleteResponse::default();
        for topic in &request.topics {
            let is_subscribed = group.is_subscribed_to(&topic.name);
            let error_code = if is_subscribed { ErrorCode::GroupSubscribedToTopic.code() } else { NONE };
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let is_known = self.offsets.get(&group.id, &topic.name, index).is_some() || self.pending.has(&group.id, &topic.name, index);
                if !is_subscribed && is_known {
                    operation.effects.records.push(offset_tombstone(&group.id, &topic.name, index));
                }
                partitions.push(OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(error_code));
            }
            response.topics.push(OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions));
        }
        operation.reply(meta.reply, GroupReply::OffsetDelete(response));
        let (group_id, effects) = (Arc::clone(&group.id), operation.effects);
        self.finish(now, &group_id, effects, None)
    }
}

fn find<'a>(group: Option<&'a Group>, group_id: &str) -> Result<&'a Group, ErrorCode> {
    if group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let group = group.ok_or(ErrorCode::GroupIdNotFound)?;
    // Of other protocol types nobody knows what the members read.
    if group.state != State::Empty && !group.uses_consumer_protocol() { Err(ErrorCode::NonEmptyGroup) } else { Ok(group) }
}
