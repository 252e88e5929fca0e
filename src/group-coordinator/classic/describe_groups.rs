//! DescribeGroups: members and assignments of classic groups.

use model::Timestamp;
use protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use protocol::{ErrorCode, StrBytes};

use crate::effects::{Effects, GroupReply, RequestMeta};
use crate::group::{Group, State};
use crate::member::Member;
use crate::operation::Operation;
use crate::replies::text;
use crate::shard::GroupShard;

/// DescribeGroups from here on tells an unknown group from a dead one (KIP-1043).
const DESCRIBE_WITH_NOT_FOUND: i16 = 6;
const DEAD: StrBytes = StrBytes::from_static_str("Dead");

impl GroupShard {
    /// Handles DescribeGroups, for the groups of the request that this shard holds. The authorized operations are the caller's business.
    pub fn describe_groups(&mut self, now: Timestamp, meta: RequestMeta, request: DescribeGroupsRequest) -> Effects {
        let mut operation = Operation::new(&self.config, now);
        let describe = |group_id: &GroupId| match self.groups.get(group_id.as_str()) {
            Some(group) => describe_group(group),
            None => describe_unknown(meta.api_version, group_id),
        };
        let groups = request.groups.iter().map(describe).collect();
        operation.reply(meta.reply, GroupReply::DescribeGroups(DescribeGroupsResponse::default().with_groups(groups)));
        operation.effects
    }
}

fn describe_unknown(api_version: i16, group_id: &GroupId) -> DescribedGroup {
    let dead = DescribedGroup::default().with_group_id(group_id.clone()).with_group_state(DEAD);
    if api_version < DESCRIBE_WITH_NOT_FOUND {
        return dead;
    }
    let message = format!("Group {} not found.", group_id.as_str());
    dead.with_error_code(ErrorCode::GroupIdNotFound.code()).with_error_message(Some(StrBytes::from_string(message)))
}

fn describe_group(group: &Group) -> DescribedGroup {
    // Only a stable group has a protocol that all its members go by.
    let protocol_name = if group.state == State::Stable { group.protocol_name.as_deref() } else { None };
    let describe_member = |member: &Member| {
        DescribedGroupMember::default()
            .with_member_id(text(&member.id))
            .with_group_instance_id(member.instance_id.as_deref().map(text))
            .with_client_id(text(&member.client_id))
            .with_client_host(text(&member.client_host))
            .with_member_metadata(member.metadata(protocol_name))
            .with_member_assignment(member.assignment.clone())
    };
    DescribedGroup::default()
        .with_group_id(GroupId(text(&group.id)))
        .with_group_state(StrBytes::from_static_str(group.state.name()))
        .with_protocol_type(text(group.protocol_type.as_deref().unwrap_or("")))
        .with_protocol_data(text(protocol_name.unwrap_or("")))
        .with_members(group.members.values().map(describe_member).collect())
}
