//! Members of consumer groups.

use bytes::Bytes;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, ListGroupsRequest, SyncGroupRequest, SyncGroupResponse,
};

use super::client::{Run, Waiting, text};
use super::{Checked, ensure};

const ILLEGAL_GENERATION: i16 = 22;
const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
const UNKNOWN_MEMBER_ID: i16 = 25;
const MEMBER_ID_REQUIRED: i16 = 79;
const FENCED_INSTANCE_ID: i16 = 82;

/// What a leader assigns to a member: so a member can tell whether it got its own.
fn assignment(member_id: &str, generation: i32) -> String {
    format!("{generation}:{member_id}")
}

/// A sync that succeeded brings the member's own assignment, or none if the leader gave it none.
pub(crate) fn synced(member_id: &str, generation: i32, answer: &SyncGroupResponse) -> Checked {
    let own = assignment(member_id, generation);
    let fits = answer.error_code != 0 || answer.assignment.is_empty() || answer.assignment == own.as_bytes();
    ensure!(fits, "{member_id} of generation {generation} got {:?}", answer.assignment);
    Ok(())
}

impl Run<'_> {
    fn draw_member(&mut self) -> (usize, usize) {
        // Mostly the first group, so that members meet.
        let group = usize::from(self.source.one_in(4));
        (group, self.source.below(self.world.groups[group].members.len()))
    }

    /// Asks each group's coordinator something that it answers at once.
    pub(crate) async fn ask_coordinators(&mut self) -> Checked {
        let groups = self.world.groups.iter().map(|group| GroupId(text(&group.id))).collect();
        let answer = self.call(5, &DescribeGroupsRequest::default().with_groups(groups)).await?;
        ensure!(answer.groups.iter().all(|group| group.error_code == 0), "groups are described with {answer:?}");
        Ok(())
    }

    pub(crate) async fn join(&mut self) -> Checked {
        let version = self.version::<JoinGroupRequest>();
        let (group, number) = self.draw_member();
        let member = self.world.groups[group].members[number].clone();
        let protocol = |name: &str, metadata: &[u8]| {
            JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(Bytes::copy_from_slice(metadata))
        };
        let tag = [self.source.below(3) as u8];
        let protocols = match self.source.below(8) {
            0 => Vec::new(),
            1 => vec![protocol("sticky", &tag)],
            2..=4 => vec![protocol("range", b"")],
            _ => vec![protocol("sticky", &tag), protocol("range", b"")],
        };
        let id = if self.source.one_in(8) { String::new() } else { member.id };
        let mut request = JoinGroupRequest::default()
            .with_group_id(GroupId(text(&self.world.groups[group].id)))
            .with_session_timeout_ms(self.source.pick(&[6_000, 6_000, 45_000, 5]))
            .with_member_id(text(&id))
            .with_protocol_type(text(if self.source.one_in(12) { "other" } else { "consumer" }))
            .with_protocols(protocols);
        if version >= 1 {
            request.rebalance_timeout_ms = self.source.pick(&[500, 10_000, 300_000]);
        }
        if version >= 5 {
            request.group_instance_id = member.instance_id.as_deref().map(text);
        }
        self.park(version, &request, Waiting::Join { group, member: number })
    }

    /// Takes in the answer of a join. `before`: the newest generation when the answers that came with it had not been looked at.
    pub(crate) fn joined(&mut self, group: usize, member: usize, before: i32, answer: &JoinGroupResponse) -> Checked {
        let group = &mut self.world.groups[group];
        let member = &mut group.members[member];
        match answer.error_code {
            0 => {
                let generation = answer.generation_id;
                ensure!(generation >= before, "{} went back from generation {before} to {generation}", group.id);
                ensure!(generation > 0 && !answer.member_id.is_empty(), "a member without an id or generation: {answer:?}");
                group.generation = group.generation.max(generation);
                member.id = answer.member_id.to_string();
                member.generation = generation;
                member.protocol_name = answer.protocol_name.as_ref().map(ToString::to_string).unwrap_or_default();
                member.leads = answer.members.iter().map(|other| other.member_id.to_string()).collect();
                let leads = answer.leader == answer.member_id;
                ensure!(leads || answer.members.is_empty(), "who does not lead is told the members: {answer:?}");
                ensure!(!leads || answer.skip_assignment || member.leads.contains(&member.id), "a leader does not find itself: {answer:?}");
            }
            MEMBER_ID_REQUIRED => member.id = answer.member_id.to_string(),
            UNKNOWN_MEMBER_ID | FENCED_INSTANCE_ID => member.id.clear(),
            _ => {}
        }
        Ok(())
    }

    pub(crate) async fn sync(&mut self) -> Checked {
        let version = self.version::<SyncGroupRequest>();
        let (group, number) = self.draw_member();
        let member = self.world.groups[group].members[number].clone();
        let generation = member.generation + self.source.pick(&[0, 0, 0, 0, 0, 1, -1]);
        let assigns = !member.leads.is_empty() || self.source.one_in(8);
        let others: Vec<_> = if assigns { member.leads.clone() } else { Vec::new() };
        let assignments = others.iter().map(|other| {
            let bytes = Bytes::from(assignment(other, generation));
            SyncGroupRequestAssignment::default().with_member_id(text(other)).with_assignment(bytes)
        });
        let mut request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(&self.world.groups[group].id)))
            .with_generation_id(generation)
            .with_member_id(text(&member.id))
            .with_assignments(assignments.collect());
        if version >= 3 {
            request.group_instance_id = member.instance_id.as_deref().map(text);
        }
        let nameless = self.source.one_in(8);
        if version >= 5 && !nameless {
            request.protocol_type = Some(text("consumer"));
            request.protocol_name = Some(text(&member.protocol_name));
        }
        if version >= 5 && nameless {
            let answer = self.call(version, &request).await?;
            ensure!(answer.error_code == INCONSISTENT_GROUP_PROTOCOL, "a sync without the mandatory names is answered with {answer:?}");
            return Ok(());
        }
        self.park(version, &request, Waiting::Sync { member_id: member.id, generation })
    }

    pub(crate) async fn heartbeat(&mut self) -> Checked {
        let version = self.version::<HeartbeatRequest>();
        let (group, number) = self.draw_member();
        let member = self.world.groups[group].members[number].clone();
        let generation = member.generation + self.source.pick(&[0, 0, 0, 1, -1]);
        let mut request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(&self.world.groups[group].id)))
            .with_generation_id(generation)
            .with_member_id(text(&member.id));
        if version >= 3 {
            request.group_instance_id = member.instance_id.as_deref().map(text);
        }
        let answer = self.call(version, &request).await?;
        let newest = self.world.groups[group].generation;
        let fits = answer.error_code != 0 || generation >= newest;
        ensure!(fits, "a heartbeat of generation {generation} is taken, and {newest} is known");
        Ok(())
    }

    pub(crate) async fn leave(&mut self) -> Checked {
        let version = self.version::<LeaveGroupRequest>();
        let (group, number) = self.draw_member();
        let member = self.world.groups[group].members[number].clone();
        let mut request = LeaveGroupRequest::default().with_group_id(GroupId(text(&self.world.groups[group].id)));
        if version >= 3 {
            let by_instance = member.instance_id.is_some() && self.source.one_in(2);
            let id = if by_instance { "" } else { &member.id };
            let identity = MemberIdentity::default().with_member_id(text(id));
            request.members = vec![identity.with_group_instance_id(member.instance_id.as_deref().map(text))];
        } else {
            request.member_id = text(&member.id);
        }
        let answer = self.call(version, &request).await?;
        let left = answer.error_code == 0 && answer.members.iter().all(|row| row.error_code == 0);
        if left {
            let member = &mut self.world.groups[group].members[number];
            member.id.clear();
            member.leads.clear();
        }
        Ok(())
    }

    /// Lists, describes, looks for and deletes groups.
    pub(crate) async fn administer_groups(&mut self) -> Checked {
        let group = self.source.below(self.world.groups.len());
        let id = self.world.groups[group].id.clone();
        match self.source.below(4) {
            0 => {
                let version = self.version::<ListGroupsRequest>();
                let answer = self.call(version, &ListGroupsRequest::default()).await?;
                ensure!(answer.error_code == 0, "groups are listed with {answer:?}");
                let listed = |id: &str| answer.groups.iter().any(|row| row.group_id.as_str() == id);
                for group in self.world.groups.iter().filter(|group| !group.committed.is_empty()) {
                    ensure!(listed(&group.id), "{} has offsets and is not listed", group.id);
                }
            }
            1 => {
                let version = self.version::<DescribeGroupsRequest>();
                let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(&id))]);
                let answer = self.call(version, &request).await?;
                ensure!(answer.groups.len() == 1, "one group was asked for");
                let code = answer.groups[0].error_code;
                ensure!(code == 0 || (version >= 6 && code == 69), "{id} is described with {code}");
            }
            2 => {
                let version = self.version::<FindCoordinatorRequest>();
                let mut request = FindCoordinatorRequest::default();
                if version >= 4 {
                    request.coordinator_keys = vec![text(&id)];
                } else {
                    request.key = text(&id);
                }
                let answer = self.call(version, &request).await?;
                let code = answer.coordinators.first().map_or(answer.error_code, |row| row.error_code);
                ensure!(code == 0, "{id} has no coordinator: {answer:?}");
            }
            _ => {
                let version = self.version::<DeleteGroupsRequest>();
                let answer = self.call(version, &DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(&id))])).await?;
                ensure!(answer.results.len() == 1, "one group was asked for");
                let code = answer.results[0].error_code;
                ensure!([0, 68, 69].contains(&code), "{id} is deleted with {code}");
                let group = &mut self.world.groups[group];
                ensure!(code != 69 || group.committed.is_empty(), "{id} has offsets and is not found");
                if code == 0 {
                    group.committed.clear();
                    group.generation = 0;
                    group.members.iter_mut().for_each(|member| member.generation = 0);
                }
            }
        }
        Ok(())
    }

    /// Whether a commit or heartbeat of this generation must have been refused.
    pub(crate) fn is_stale(&self, group: usize, generation: i32) -> bool {
        (0..self.world.groups[group].generation).contains(&generation)
    }
}

/// The codes of a member that is not who it says.
pub(crate) fn is_membership_error(code: i16) -> bool {
    [ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID].contains(&code)
}
