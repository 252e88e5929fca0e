//! DeleteGroups: groups without members go, with their offsets.

use std::collections::BTreeSet;

use model::Timestamp;
use protocol::ErrorCode;
use protocol::messages::delete_groups_response::DeletableGroupResult;
use protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::effects::{Effects, GroupReply, RequestMeta};
use crate::group::State;
use crate::operation::Operation;
use crate::records::group_tombstone;
use crate::replies::NONE;
use crate::shard::GroupShard;

impl GroupShard {
    /// Handles DeleteGroups, for the groups of the request that this shard holds.
    pub fn delete_groups(&mut self, now: Timestamp, meta: RequestMeta, request: DeleteGroupsRequest) -> Effects {
        let mut operation = Operation::new(&self.config, now);
        let mut response = DeleteGroupsResponse::default();
        let mut named = BTreeSet::new();
        for group_id in request.groups_names.iter().filter(|group_id| named.insert(group_id.as_str())) {
            let error_code = match self.groups.get(group_id.as_str()) {
                None => ErrorCode::GroupIdNotFound.code(),
                Some(group) if group.state != State::Empty => ErrorCode::NonEmptyGroup.code(),
                Some(group) => {
                    operation.effects.records.extend(self.offsets.tombstones_of_group(&group.id));
                    let is_committed = |topic: &str, partition| self.offsets.get(&group.id, topic, partition).is_some();
                    operation.effects.records.extend(self.pending.tombstones_of_group(&group.id, is_committed));
                    operation.effects.records.push(group_tombstone(&group.id));
                    operation.cancel_all(group);
                    NONE
                }
            };
            response.results.push(DeletableGroupResult::default().with_group_id(group_id.clone()).with_error_code(error_code));
        }
        operation.reply(meta.reply, GroupReply::DeleteGroups(response));
        operation.effects
    }
}
