//! Replies that encode in the version of their request: fields that a version lacks stay unset.

use bytes::Bytes;
use protocol::messages::join_group_response::JoinGroupResponseMember;
use protocol::messages::leave_group_response::MemberResponse;
use protocol::messages::{HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse, SyncGroupResponse};
use protocol::{ErrorCode, StrBytes};

use crate::effects::GroupReply;
use crate::group::Group;

/// JoinGroup from here on has a nullable protocol name (KIP-559).
const JOIN_WITH_NULLABLE_PROTOCOL: i16 = 7;
/// JoinGroup from here on can tell a leader to skip the assignment (KIP-814).
pub(crate) const JOIN_WITH_SKIP_ASSIGNMENT: i16 = 9;
/// LeaveGroup from here on names several members (KIP-345).
pub(crate) const LEAVE_WITH_MEMBERS: i16 = 3;

/// A text for the wire.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// The code of no error.
pub(crate) const NONE: i16 = 0;

pub(crate) fn join_error(api_version: i16, member_id: &str, error: ErrorCode) -> GroupReply {
    let protocol_name = (api_version < JOIN_WITH_NULLABLE_PROTOCOL).then(StrBytes::new);
    let reply =
        JoinGroupResponse::default().with_error_code(error.code()).with_member_id(text(member_id)).with_protocol_name(protocol_name);
    GroupReply::Join(reply)
}

/// The current generation, as a member learns it. The leader gets all members' metadata.
pub(crate) fn join_success(api_version: i16, group: &Group, member_id: &str, members: Vec<JoinGroupResponseMember>) -> JoinGroupResponse {
    let protocol_name = group.protocol_name.as_deref().map(text);
    JoinGroupResponse::default()
        .with_member_id(text(member_id))
        .with_generation_id(group.generation_id)
        .with_protocol_type(group.protocol_type.as_deref().map(text))
        .with_protocol_name(protocol_name.or_else(|| (api_version < JOIN_WITH_NULLABLE_PROTOCOL).then(StrBytes::new)))
        .with_leader(text(group.leader.as_deref().unwrap_or("")))
        .with_members(members)
}

/// All members with their metadata for the chosen protocol.
pub(crate) fn members_for_leader(group: &Group) -> Vec<JoinGroupResponseMember> {
    let describe = |member: &crate::member::Member| {
        JoinGroupResponseMember::default()
            .with_member_id(text(&member.id))
            .with_group_instance_id(member.instance_id.as_deref().map(text))
            .with_metadata(member.metadata(group.protocol_name.as_deref()))
    };
    group.members.values().map(describe).collect()
}

pub(crate) fn sync_error(error: ErrorCode) -> GroupReply {
    GroupReply::Sync(SyncGroupResponse::default().with_error_code(error.code()))
}

pub(crate) fn sync_success(group: &Group, assignment: Bytes) -> GroupReply {
    let reply = SyncGroupResponse::default()
        .with_protocol_type(group.protocol_type.as_deref().map(text))
        .with_protocol_name(group.protocol_name.as_deref().map(text))
        .with_assignment(assignment);
    GroupReply::Sync(reply)
}

pub(crate) fn heartbeat(error_code: i16) -> GroupReply {
    GroupReply::Heartbeat(HeartbeatResponse::default().with_error_code(error_code))
}

pub(crate) fn leave(api_version: i16, members: Vec<MemberResponse>) -> GroupReply {
    let reply = LeaveGroupResponse::default();
    GroupReply::Leave(if api_version >= LEAVE_WITH_MEMBERS {
        reply.with_members(members)
    } else {
        reply.with_error_code(members.first().map_or(NONE, |member| member.error_code))
    })
}

pub(crate) fn leave_error(error: ErrorCode) -> GroupReply {
    GroupReply::Leave(LeaveGroupResponse::default().with_error_code(error.code()))
}

/// What a client is told when an append failed with `error`: that the coordinator is elsewhere or busy, so that it retries.
pub(crate) const fn error_of_failed_append(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        other => other,
    }
}

/// The reply to the same request, saying that what it would have said could not be stored.
pub(crate) fn refuse(reply: GroupReply, error: ErrorCode) -> GroupReply {
    let code = error.code();
    match reply {
        GroupReply::Join(reply) => {
            // An empty name encodes in every version; null only in the new ones.
            let protocol_name = reply.protocol_name.map(|_| StrBytes::new());
            GroupReply::Join(JoinGroupResponse::default().with_error_code(code).with_protocol_name(protocol_name))
        }
        GroupReply::Sync(_) => sync_error(error),
        GroupReply::Heartbeat(_) => heartbeat(code),
        GroupReply::Leave(_) => leave_error(error),
        GroupReply::OffsetCommit(mut reply) => {
            let code = if error == ErrorCode::MessageTooLarge { ErrorCode::InvalidCommitOffsetSize.code() } else { code };
            reply.topics.iter_mut().flat_map(|topic| &mut topic.partitions).for_each(|partition| partition.error_code = code);
            GroupReply::OffsetCommit(reply)
        }
        GroupReply::TxnOffsetCommit(mut reply) => {
            let code = if error == ErrorCode::MessageTooLarge { ErrorCode::InvalidCommitOffsetSize.code() } else { code };
            reply.topics.iter_mut().flat_map(|topic| &mut topic.partitions).for_each(|partition| partition.error_code = code);
            GroupReply::TxnOffsetCommit(reply)
        }
        GroupReply::OffsetDelete(mut reply) => {
            reply.topics.clear();
            reply.error_code = code;
            GroupReply::OffsetDelete(reply)
        }
        GroupReply::DeleteGroups(mut reply) => {
            reply.results.iter_mut().for_each(|result| result.error_code = code);
            GroupReply::DeleteGroups(reply)
        }
        // Queries store nothing.
        query @ (GroupReply::OffsetFetch(_) | GroupReply::ListGroups(_) | GroupReply::DescribeGroups(_)) => query,
    }
}
