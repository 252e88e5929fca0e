//! JoinGroup: a member enters the group, or takes part in its next generation.

use std::sync::Arc;

use bytes::Bytes;
use model::Timestamp;
use protocol::ErrorCode;
use protocol::messages::JoinGroupRequest;
use protocol::primitives::STRING_BYTES_MAX;

use super::rebalance;
use crate::effects::{Effects, GroupReply, RequestMeta};
use crate::group::{Group, MemberUpdate, State};
use crate::member::{Member, MemberProtocol, Parked};
use crate::operation::{Operation, Write};
use crate::replies::{JOIN_WITH_SKIP_ASSIGNMENT, join_error, join_success, members_for_leader, sync_error};
use crate::shard::GroupShard;

/// JoinGroup from here on makes a dynamic member come back with the id that it was given (KIP-394).
const JOIN_WITH_KNOWN_MEMBER_ID: i16 = 4;
/// Before this version the request has no rebalance timeout: the session timeout stands for it.
const JOIN_WITH_REBALANCE_TIMEOUT: i16 = 1;
/// What a record's text may have beside the client id in a member id.
const MEMBER_ID_SUFFIX_BYTES: usize = 37;

/// A join in the form in which a member keeps it.
struct Join {
    parked: Parked,
    member_id: Arc<str>,
    new_member_id: Arc<str>,
    instance_id: Option<Arc<str>>,
    client_id: Arc<str>,
    client_host: Arc<str>,
    rebalance_timeout_ms: i32,
    session_timeout_ms: i32,
    protocol_type: Arc<str>,
    protocols: Vec<MemberProtocol>,
}

impl Join {
    fn new(meta: RequestMeta, request: &JoinGroupRequest) -> Self {
        // Copies, as the request's own bytes share its whole frame and a member may live for months.
        let protocol = |protocol: &protocol::messages::join_group_request::JoinGroupRequestProtocol| MemberProtocol {
            name: protocol.name.as_str().into(),
            metadata: Bytes::copy_from_slice(&protocol.metadata),
        };
        let instance_id = request.group_instance_id.as_ref().map(|id| id.as_str());
        let name = instance_id.unwrap_or(&meta.client_id);
        Self {
            parked: Parked { reply: meta.reply, api_version: meta.api_version },
            member_id: request.member_id.as_str().into(),
            new_member_id: format!("{name}-{}", meta.new_member_uuid).into(),
            instance_id: instance_id.map(Arc::from),
            client_id: meta.client_id.into(),
            client_host: meta.client_host.into(),
            rebalance_timeout_ms: if meta.api_version < JOIN_WITH_REBALANCE_TIMEOUT {
                request.session_timeout_ms
            } else {
                request.rebalance_timeout_ms
            },
            session_timeout_ms: request.session_timeout_ms,
            protocol_type: request.protocol_type.as_str().into(),
            protocols: request.protocols.iter().map(protocol).collect(),
        }
    }

    fn update(self) -> MemberUpdate {
        MemberUpdate {
            protocols: self.protocols,
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            awaiting_join: Some(self.parked),
        }
    }
}

impl GroupShard {
    /// Handles JoinGroup: answers at once, or parks the request until the group's join phase ends.
    pub fn join_group(&mut self, now: Timestamp, meta: RequestMeta, request: JoinGroupRequest) -> Effects {
        let mut operation = Operation::new(&self.config, now);
        let join = Join::new(meta, &request);
        if let Some(error) = refusal(&operation, &join, &request) {
            refuse(&mut operation, &join, &request.member_id, error);
            return operation.effects;
        }
        let is_unknown = join.member_id.is_empty();
        let is_new_group = !self.groups.contains_key(request.group_id.as_str());
        if is_new_group && !is_unknown {
            refuse(&mut operation, &join, &request.member_id, ErrorCode::UnknownMemberId);
            return operation.effects;
        }
        let group_id: Arc<str> = request.group_id.as_str().into();
        let group = self.groups.entry(Arc::clone(&group_id)).or_insert_with(|| Group::new(Arc::clone(&group_id), Some(now)));
        if !group.accepts(&join.member_id, operation.config.group_size_max) {
            if let Some(member) = group.remove(&join.member_id) {
                rebalance::release_removed(&mut operation, &member);
            }
            refuse(&mut operation, &join, "", ErrorCode::GroupMaxSizeReached);
        } else if !group.supports(&join.protocol_type, &join.protocols) {
            refuse(&mut operation, &join, &request.member_id, ErrorCode::InconsistentGroupProtocol);
        } else if is_unknown {
            join_as_new(&mut operation, group, join);
        } else {
            join_as_known(&mut operation, group, join);
        }
        let (mut effects, mut write) = (operation.effects, operation.write);
        if is_new_group {
            if group.members.is_empty() && group.pending_joins.is_empty() {
                self.groups.remove(&group_id);
            } else if write.is_none() {
                // The group must be known to whoever coordinates it next, or a member that comes back with its id is told that it is unknown.
                effects.records.push(group.empty_record());
                write = Some(Write::Created);
            }
        }
        self.finish(now, &group_id, effects, write)
    }
}

fn refuse(operation: &mut Operation<'_>, join: &Join, member_id: &str, error: ErrorCode) {
    operation.reply(join.parked.reply, join_error(join.parked.api_version, member_id, error));
}

/// What can be refused without a look at the group.
fn refusal(operation: &Operation<'_>, join: &Join, request: &JoinGroupRequest) -> Option<ErrorCode> {
    let config = operation.config;
    if request.group_id.is_empty() || request.group_id.len() > STRING_BYTES_MAX {
        return Some(ErrorCode::InvalidGroupId);
    }
    if !(config.session_timeout_min_ms..=config.session_timeout_max_ms).contains(&join.session_timeout_ms) {
        return Some(ErrorCode::InvalidSessionTimeout);
    }
    // The group's record has 16-bit lengths; the request may have longer texts.
    let instance_id = join.instance_id.as_deref().unwrap_or("");
    let names = join.protocols.iter().map(|protocol| protocol.name.as_ref());
    let texts = [join.client_id.as_ref(), instance_id, join.client_host.as_ref(), join.protocol_type.as_ref()];
    let too_long = |text: &str| text.len() > STRING_BYTES_MAX - MEMBER_ID_SUFFIX_BYTES;
    if texts.into_iter().chain(names).any(too_long) { Some(ErrorCode::InvalidRequest) } else { None }
}

/// A join without a member id.
fn join_as_new(operation: &mut Operation<'_>, group: &mut Group, join: Join) {
    match join.instance_id.as_ref().map(|instance_id| group.static_members.get(instance_id).cloned()) {
        Some(Some(old_id)) => replace_static_member(operation, group, join, &old_id),
        None if join.parked.api_version >= JOIN_WITH_KNOWN_MEMBER_ID => {
            // KIP-394: a client that loses this answer leaves only a pending id behind, no member that blocks rebalances.
            group.pending_joins.insert(Arc::clone(&join.new_member_id));
            operation.arm_member(group, &join.new_member_id, join.session_timeout_ms);
            refuse(operation, &join, &join.new_member_id, ErrorCode::MemberIdRequired);
        }
        Some(None) | None => {
            let member_id = Arc::clone(&join.new_member_id);
            add_member(operation, group, join, member_id);
        }
    }
}

/// A join with a member id.
fn join_as_known(operation: &mut Operation<'_>, group: &mut Group, join: Join) {
    if join.instance_id.is_none() && group.pending_joins.contains(&join.member_id) {
        let member_id = Arc::clone(&join.member_id);
        add_member(operation, group, join, member_id);
        return;
    }
    if let Err(error) = group.validate_member(&join.member_id, join.instance_id.as_deref()) {
        refuse(operation, &join, &join.member_id, error);
        return;
    }
    let is_leader = group.is_leader(&join.member_id);
    let is_unchanged = group.member(&join.member_id).is_some_and(|member| member.protocols == join.protocols);
    let must_rebalance = match group.state {
        State::PreparingRebalance => true,
        // It may have missed the answer to its join, so it gets it again.
        State::CompletingRebalance => !is_unchanged,
        // The leader rejoins when what it assigns by has changed, for instance a topic's partitions.
        State::Stable => is_leader || !is_unchanged,
        State::Empty => {
            refuse(operation, &join, &join.member_id, ErrorCode::UnknownMemberId);
            return;
        }
    };
    if must_rebalance {
        let member_id = Arc::clone(&join.member_id);
        update_member(operation, group, join, &member_id);
        rebalance::prepare_or_complete(operation, group);
        return;
    }
    let members = if is_leader { members_for_leader(group) } else { Vec::new() };
    let reply = join_success(join.parked.api_version, group, &join.member_id, members);
    operation.reply(join.parked.reply, GroupReply::Join(reply));
}

/// Parks the join of a member that the group has. An older join of it is told to come again: its client has given up on it.
fn update_member(operation: &mut Operation<'_>, group: &mut Group, join: Join, member_id: &str) {
    let superseded = group.update(member_id, join.update());
    operation.release(superseded, |api_version| join_error(api_version, member_id, ErrorCode::RebalanceInProgress));
}

fn add_member(operation: &mut Operation<'_>, group: &mut Group, join: Join, member_id: Arc<str>) {
    if let Some(initial) = &mut group.initial {
        initial.new_member_added = true;
    }
    if group.members.is_empty() {
        group.protocol_type = Some(join.protocol_type);
    }
    group.insert(Member {
        id: Arc::clone(&member_id),
        instance_id: join.instance_id,
        client_id: join.client_id,
        client_host: join.client_host,
        rebalance_timeout_ms: join.rebalance_timeout_ms,
        session_timeout_ms: join.session_timeout_ms,
        protocols: join.protocols,
        assignment: Bytes::new(),
        awaiting_join: Some(join.parked),
        awaiting_sync: None,
        is_new: true,
    });
    // It cannot send heartbeats while its first join is parked, so its session timeout does not count yet; but a client that gave up on the join
    // and came back under another id must not stay for ever.
    operation.arm_member(group, &member_id, operation.config.new_member_join_timeout_ms);
    rebalance::prepare_or_complete(operation, group);
}

/// KIP-345: a static member comes back without its member id, so it gets a new one and the old one is fenced.
fn replace_static_member(operation: &mut Operation<'_>, group: &mut Group, join: Join, old_id: &Arc<str>) {
    let Parked { reply: to, api_version } = join.parked;
    let old_leader = group.leader.clone();
    let new_id = Arc::clone(&join.new_member_id);
    let Some(old) = group.replace_static(old_id, &new_id) else { return };
    operation.release(old.awaiting_join, |api_version| join_error(api_version, old_id, ErrorCode::FencedInstanceId));
    operation.release(old.awaiting_sync, |_| sync_error(ErrorCode::FencedInstanceId));
    operation.cancel_member(group, old_id);
    operation.renew_session(group, &new_id);
    update_member(operation, group, join, &new_id);
    let keeps_protocol = group.state == State::Stable && group.select_protocol() == group.protocol_name;
    if !keeps_protocol {
        match group.state {
            // The leader may be assigning to the old id, so the generation must begin anew.
            State::CompletingRebalance | State::Stable => rebalance::prepare(operation, group),
            State::PreparingRebalance | State::Empty => rebalance::complete_when_all_joined(operation, group),
        }
        return;
    }
    // Nothing changes for the others: the member goes on with its assignment.
    if let Some(member) = group.members.get_mut(&new_id) {
        member.awaiting_join = None;
    }
    let mut reply = join_success(api_version, group, &new_id, Vec::new());
    if api_version >= JOIN_WITH_SKIP_ASSIGNMENT {
        // KIP-814: the leader learns that it leads, but must not assign anew.
        reply.skip_assignment = group.is_leader(&new_id);
        reply.members = if reply.skip_assignment { members_for_leader(group) } else { Vec::new() };
    } else {
        // It must not take itself for the leader, or it would assign: so it hears of the one before.
        reply.leader = crate::replies::text(old_leader.as_deref().unwrap_or(""));
    }
    operation.reply(to, GroupReply::Join(reply));
    let old = Box::new(Member { awaiting_join: None, awaiting_sync: None, ..old });
    operation.write(group.record(None), Write::StaticReplaced { old, new_id });
}
