//! The rebalance: how a group goes from one generation to the next (the classic part of Kafka's `GroupMetadataManager`).

use std::sync::Arc;

use protocol::ErrorCode;

use crate::effects::GroupReply;
use crate::group::{Group, InitialRebalance, State};
use crate::member::Member;
use crate::operation::{Operation, Write};
use crate::replies::{join_error, join_success, members_for_leader, sync_error};

/// Somebody came, went or changed: rebalances, or goes on with the rebalance under way.
pub(crate) fn prepare_or_complete(operation: &mut Operation<'_>, group: &mut Group) {
    if group.state == State::PreparingRebalance { complete_when_all_joined(operation, group) } else { prepare(operation, group) }
}

/// Ends the join phase under way if nobody is missing. The first rebalance of an empty group waits for its timer.
pub(crate) fn complete_when_all_joined(operation: &mut Operation<'_>, group: &mut Group) {
    if group.state == State::PreparingRebalance && group.initial.is_none() && group.all_members_joined() {
        complete_join(operation, group);
    }
}

/// Begins the join phase: all members must send JoinGroup.
pub(crate) fn prepare(operation: &mut Operation<'_>, group: &mut Group) {
    if group.state == State::CompletingRebalance {
        refuse_syncs(operation, group);
    }
    if !group.pending_syncs.is_empty() {
        group.pending_syncs.clear();
    }
    let was_empty = group.state == State::Empty;
    if !was_empty {
        operation.cancel_sync(group);
    }
    group.enter(State::PreparingRebalance, operation.now);
    if was_empty {
        // KIP-134: the others of a new group are about to come, so the first rebalance gives them time.
        let delay_ms = operation.config.initial_rebalance_delay_ms;
        let remaining_ms = group.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
        group.initial = Some(InitialRebalance { delay_ms, remaining_ms, new_member_added: false });
        if delay_ms == 0 { end_join_phase(operation, group) } else { operation.arm_join(group, delay_ms) }
    } else if group.all_members_joined() {
        complete_join(operation, group);
    } else {
        operation.arm_join(group, group.rebalance_timeout_ms());
    }
}

/// Those that wait for an assignment of the generation that ends now must rejoin.
fn refuse_syncs(operation: &mut Operation<'_>, group: &mut Group) {
    let mut waiting = Vec::new();
    for member in group.members.values_mut() {
        member.assignment.clear();
        if let Some(parked) = member.awaiting_sync.take() {
            waiting.push((Arc::clone(&member.id), parked));
        }
    }
    for (member_id, parked) in waiting {
        operation.release(Some(parked), |_| sync_error(ErrorCode::RebalanceInProgress));
        operation.renew_session(group, &member_id);
    }
}

/// The join phase's timer fired: waits longer if it may, else goes on with those that came.
pub(crate) fn end_join_phase(operation: &mut Operation<'_>, group: &mut Group) {
    if group.state != State::PreparingRebalance {
        return;
    }
    match group.initial {
        Some(InitialRebalance { delay_ms, remaining_ms, new_member_added: true }) if remaining_ms != 0 => {
            let next_delay_ms = operation.config.initial_rebalance_delay_ms.min(remaining_ms);
            let remaining_ms = remaining_ms.saturating_sub(delay_ms).max(0);
            group.initial = Some(InitialRebalance { delay_ms: next_delay_ms, remaining_ms, new_member_added: false });
            operation.arm_join(group, next_delay_ms);
        }
        Some(_) | None => complete_join(operation, group),
    }
}

/// Ends the join phase: drops those that did not come, begins the next generation, answers the joins.
fn complete_join(operation: &mut Operation<'_>, group: &mut Group) {
    operation.cancel_join(group);
    group.initial = None;
    let absent = |member: &&Member| member.awaiting_join.is_none() && member.instance_id.is_none();
    let absentees: Vec<Arc<str>> = group.members.values().filter(absent).map(|member| Arc::clone(&member.id)).collect();
    for member_id in absentees {
        remove_member(operation, group, &member_id);
    }
    if !group.elect_joined_leader() && !group.members.is_empty() {
        // Only static members are left and none came: they have until their sessions end.
        operation.arm_join(group, group.rebalance_timeout_ms());
        return;
    }
    group.begin_generation(operation.now);
    if group.state == State::Empty {
        operation.write(group.record(None), Write::Emptied);
        return;
    }
    let member_ids: Vec<Arc<str>> = group.members.keys().cloned().collect();
    for member_id in member_ids {
        let Some(member) = group.members.get_mut(&member_id) else { continue };
        let parked = member.awaiting_join.take();
        member.is_new = false;
        operation.release(parked, |api_version| {
            let members = if group.is_leader(&member_id) { members_for_leader(group) } else { Vec::new() };
            GroupReply::Join(join_success(api_version, group, &member_id, members))
        });
        operation.renew_session(group, &member_id);
        group.pending_syncs.insert(member_id);
    }
    operation.arm_sync(group);
}

/// Removes a member or a pending id, answers what it had parked, ends its session.
pub(crate) fn remove_member(operation: &mut Operation<'_>, group: &mut Group, member_id: &Arc<str>) {
    if let Some(member) = group.remove(member_id) {
        release_removed(operation, &member);
    }
    operation.cancel_member(group, member_id);
}

/// Tells a member that is gone to begin anew, should its client still be there.
pub(crate) fn release_removed(operation: &mut Operation<'_>, member: &Member) {
    operation.release(member.awaiting_join, |api_version| join_error(api_version, "", ErrorCode::UnknownMemberId));
    operation.release(member.awaiting_sync, |_| sync_error(ErrorCode::UnknownMemberId));
}

/// A member's session, or a pending id's time, is over.
pub(crate) fn expire_member(operation: &mut Operation<'_>, group: &mut Group, member_id: &str) {
    let id: Arc<str> = if let Some(pending) = group.pending_joins.get(member_id) {
        Arc::clone(pending)
    } else {
        match group.member(member_id) {
            Some(member) if !member.has_satisfied_heartbeat() => Arc::clone(&member.id),
            Some(_) | None => return,
        }
    };
    let was_pending = group.pending_joins.contains(&id);
    if let Some(member) = group.remove(&id) {
        release_removed(operation, &member);
    }
    match group.state {
        State::Stable | State::CompletingRebalance if !was_pending => prepare(operation, group),
        // Unlike a join, the end of a session completes even the first rebalance: it may have been the only member.
        State::PreparingRebalance if group.all_members_joined() => complete_join(operation, group),
        State::Stable | State::CompletingRebalance | State::PreparingRebalance | State::Empty => {}
    }
}

/// The sync phase's timer fired: those that never sent SyncGroup are dropped, and the rest rebalances.
pub(crate) fn expire_pending_syncs(operation: &mut Operation<'_>, group: &mut Group) {
    match group.state {
        State::Empty | State::PreparingRebalance => {}
        State::CompletingRebalance | State::Stable => {
            let late: Vec<Arc<str>> = group.pending_syncs.iter().cloned().collect();
            if late.is_empty() {
                return;
            }
            for member_id in late {
                remove_member(operation, group, &member_id);
            }
            prepare(operation, group);
        }
    }
}
