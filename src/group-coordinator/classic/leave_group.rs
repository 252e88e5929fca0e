//! LeaveGroup: members go, by themselves or by an administrator's hand.

use std::sync::Arc;

use model::Timestamp;
use protocol::ErrorCode;
use protocol::messages::LeaveGroupRequest;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::leave_group_response::MemberResponse;

use super::rebalance;
use crate::effects::{Effects, RequestMeta};
use crate::group::{Group, State};
use crate::operation::Operation;
use crate::replies::{LEAVE_WITH_MEMBERS, NONE, leave, leave_error};
use crate::shard::GroupShard;

impl GroupShard {
    /// Handles LeaveGroup.
    pub fn leave_group(&mut self, now: Timestamp, meta: RequestMeta, request: LeaveGroupRequest) -> Effects {
        let mut operation = Operation::new(&self.config, now);
        if request.group_id.is_empty() {
            operation.reply(meta.reply, leave_error(ErrorCode::InvalidGroupId));
            return operation.effects;
        }
        let leaving = if meta.api_version >= LEAVE_WITH_MEMBERS {
            request.members
        } else {
            vec![MemberIdentity::default().with_member_id(request.member_id)]
        };
        let respond = |member: &MemberIdentity, error_code: i16| {
            let response = MemberResponse::default().with_member_id(member.member_id.clone());
            response.with_group_instance_id(member.group_instance_id.clone()).with_error_code(error_code)
        };
        let Some(group) = self.groups.get_mut(request.group_id.as_str()) else {
            let responses = leaving.iter().map(|member| respond(member, ErrorCode::UnknownMemberId.code())).collect();
            operation.reply(meta.reply, leave(meta.api_version, responses));
            return operation.effects;
        };
        let mut responses = Vec::with_capacity(leaving.len());
        let mut has_left = false;
        for member in &leaving {
            let error_code = match remove(&mut operation, group, member) {
                Ok(()) => NONE,
                Err(error) => error.code(),
            };
            has_left |= error_code == NONE;
            responses.push(respond(member, error_code));
        }
        if has_left {
            match group.state {
                State::Stable | State::CompletingRebalance => rebalance::prepare(&mut operation, group),
                State::PreparingRebalance => rebalance::complete_when_all_joined(&mut operation, group),
                State::Empty => {}
            }
        }
        operation.reply(meta.reply, leave(meta.api_version, responses));
        let (group_id, effects, write) = (Arc::clone(&group.id), operation.effects, operation.write);
        self.finish(now, &group_id, effects, write)
    }
}

fn remove(operation: &mut Operation<'_>, group: &mut Group, leaving: &MemberIdentity) -> Result<(), ErrorCode> {
    let instance_id = leaving.group_instance_id.as_ref().map(|id| id.as_str());
    let member_id: Arc<str> = if leaving.member_id.is_empty() {
        // KIP-345: an administrator removes a static member by its instance id alone.
        instance_id.and_then(|id| group.static_members.get(id)).cloned().ok_or(ErrorCode::UnknownMemberId)?
    } else if let Some(pending) = group.pending_joins.get(leaving.member_id.as_str()) {
        Arc::clone(pending)
    } else {
        group.validate_member(&leaving.member_id, instance_id)?;
        leaving.member_id.as_str().into()
    };
    rebalance::remove_member(operation, group, &member_id);
    Ok(())
}
