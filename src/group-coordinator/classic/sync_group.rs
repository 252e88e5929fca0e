//! SyncGroup: the leader hands in the assignment of a generation, the members get theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use model::Timestamp;
use protocol::ErrorCode;
use protocol::messages::SyncGroupRequest;

use crate::effects::{Effects, RequestMeta};
use crate::group::{Group, State};
use crate::member::Parked;
use crate::operation::{Operation, Write};
use crate::replies::{sync_error, sync_success};
use crate::shard::GroupShard;

impl GroupShard {
    /// Handles SyncGroup: followers are parked until the leader's assignment is stored.
    pub fn sync_group(&mut self, now: Timestamp, meta: RequestMeta, request: SyncGroupRequest) -> Effects {
        let mut operation = Operation::new(&self.config, now);
        let refusal = if request.group_id.is_empty() { Some(ErrorCode::InvalidGroupId) } else { None };
        let group = self.groups.get_mut(request.group_id.as_str()).filter(|group| group.state != State::Empty);
        let (Some(group), None) = (group, refusal) else {
            operation.reply(meta.reply, sync_error(refusal.unwrap_or(ErrorCode::UnknownMemberId)));
            return operation.effects;
        };
        if let Err(error) = validate(group, &request) {
            operation.reply(meta.reply, sync_error(error));
            return operation.effects;
        }
        match group.state {
            State::Empty | State::PreparingRebalance => operation.reply(meta.reply, sync_error(ErrorCode::RebalanceInProgress)),
            State::CompletingRebalance => {
                let parked = Parked { reply: meta.reply, api_version: meta.api_version };
                let before = group.members.get_mut(request.member_id.as_str()).and_then(|member| member.awaiting_sync.replace(parked));
                operation.release(before, |_| sync_error(ErrorCode::RebalanceInProgress));
                has_synced(&mut operation, group, &request.member_id);
                if group.is_leader(&request.member_id) {
                    assign(&mut operation, group, &request);
                }
            }
            State::Stable => {
                has_synced(&mut operation, group, &request.member_id);
                let assignment = group.member(&request.member_id).map(|member| member.assignment.clone()).unwrap_or_default();
                operation.reply(meta.reply, sync_success(group, assignment));
            }
        }
        let (group_id, effects, write) = (Arc::clone(&group.id), operation.effects, operation.write);
        self.finish(now, &group_id, effects, write)
    }
}

fn validate(group: &Group, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
    group.validate_member(&request.member_id, request.group_instance_id.as_ref().map(|id| id.as_str()))?;
    if request.generation_id != group.generation_id {
        return Err(ErrorCode::IllegalGeneration);
    }
    // KIP-559: a member that says what it believes the protocol to be must be right.
    let differs = |said: Option<&str>, is: Option<&str>| matches!((said, is), (Some(said), Some(is)) if said != is);
    let protocol_type = request.protocol_type.as_ref().map(|name| name.as_str());
    let protocol_name = request.protocol_name.as_ref().map(|name| name.as_str());
    if differs(protocol_type, group.protocol_type.as_deref()) || differs(protocol_name, group.protocol_name.as_deref()) {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    Ok(())
}

fn has_synced(operation: &mut Operation<'_>, group: &mut Group, member_id: &str) {
    group.pending_syncs.remove(member_id);
    if group.pending_syncs.is_empty() {
        operation.cancel_sync(group);
    }
}

/// The leader's assignment: goes into the group's record, and with its commit to everyone who waits. The replay makes it the group's state.
fn assign(operation: &mut Operation<'_>, group: &mut Group, request: &SyncGroupRequest) {
    let mut assignments: BTreeMap<Arc<str>, Bytes> = BTreeMap::new();
    for given in &request.assignments {
        if let Some(member) = group.member(&given.member_id) {
            assignments.insert(Arc::clone(&member.id), Bytes::copy_from_slice(&given.assignment));
        }
    }
    let mut waiting = Vec::new();
    for member in group.members.values_mut() {
        if let Some(parked) = member.awaiting_sync.take() {
            waiting.push((Arc::clone(&member.id), parked));
        }
    }
    for (member_id, parked) in waiting {
        let assignment = assignments.get(&member_id).cloned().unwrap_or_default();
        operation.release(Some(parked), |_| sync_success(group, assignment));
        // The end of its session had no effect while it waited here, so it begins anew.
        operation.renew_session(group, &member_id);
    }
    operation.write(group.record(Some(&assignments)), Write::Assigned);
}
