//! A classic group: its members, its phase, the rules that need nothing but the group itself (Kafka's `ClassicGroup`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;
use model::Timestamp;
use protocol::ErrorCode;

use crate::member::{Member, MemberProtocol, Parked};
use crate::records::{self, GroupValue, MemberValue};
use crate::subscription::{CONSUMER_PROTOCOL_TYPE, add_topics};
use coordinator::CoordinatorRecord;

/// The phase of a group. Kafka's fifth, Dead, is the absence of the group here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl State {
    /// The name on the wire.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// The join phase of a group that was empty (KIP-134): it waits a fixed time, longer while new members come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InitialRebalance {
    /// The wait under way.
    pub(crate) delay_ms: i32,
    /// How much longer it may be prolonged.
    pub(crate) remaining_ms: i32,
    /// Somebody came during the wait under way.
    pub(crate) new_member_added: bool,
}

/// A classic group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) id: Arc<str>,
    pub(crate) state: State,
    /// When it came into its state; `None` when its record did not say.
    pub(crate) state_timestamp: Option<Timestamp>,
    /// `None` for a simple group, which has offsets only.
    pub(crate) protocol_type: Option<Arc<str>>,
    pub(crate) protocol_name: Option<Arc<str>>,
    pub(crate) generation_id: i32,
    pub(crate) leader: Option<Arc<str>>,
    /// In the order in which they joined.
    pub(crate) members: IndexMap<Arc<str>, Member>,
    /// From instance id to member id.
    pub(crate) static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids that were given out (KIP-394) and not used yet.
    pub(crate) pending_joins: BTreeSet<Arc<str>>,
    /// Members of this generation that have not sent SyncGroup yet.
    pub(crate) pending_syncs: BTreeSet<Arc<str>>,
    /// How many members support each protocol.
    supported: BTreeMap<Arc<str>, usize>,
    /// `None` when they are not known: not a consumer group, or metadata that is no subscription.
    pub(crate) subscribed_topics: Option<BTreeSet<Box<str>>>,
    /// Some while the first rebalance of an empty group waits.
    pub(crate) initial: Option<InitialRebalance>,
}

impl Group {
    /// An empty group.
    pub(crate) fn new(id: Arc<str>, now: Option<Timestamp>) -> Self {
        Self {
            id,
            state: State::Empty,
            state_timestamp: now,
            protocol_type: None,
            protocol_name: None,
            generation_id: 0,
            leader: None,
            members: IndexMap::new(),
            static_members: BTreeMap::new(),
            pending_joins: BTreeSet::new(),
            pending_syncs: BTreeSet::new(),
            supported: BTreeMap::new(),
            subscribed_topics: None,
            initial: None,
        }
    }

    /// The group that a record describes.
    pub(crate) fn from_record(id: Arc<str>, value: &GroupValue<'_>) -> Self {
        let mut group = Self::new(id, Some(Timestamp(value.state_timestamp_ms)).filter(|at| at.millis() != -1));
        group.generation_id = value.generation_id;
        group.protocol_name = value.protocol_name.map(Arc::from);
        for stored in &value.members {
            if group.members.contains_key(stored.member_id) {
                continue;
            }
            let name: Arc<str> = group.protocol_name.clone().unwrap_or_else(|| "".into());
            let rebalance_timeout_ms =
                if stored.rebalance_timeout_ms == -1 { stored.session_timeout_ms } else { stored.rebalance_timeout_ms };
            group.insert(Member {
                id: stored.member_id.into(),
                instance_id: stored.group_instance_id.map(Arc::from),
                client_id: stored.client_id.into(),
                client_host: stored.client_host.into(),
                rebalance_timeout_ms,
                session_timeout_ms: stored.session_timeout_ms,
                protocols: vec![MemberProtocol { name, metadata: Bytes::copy_from_slice(stored.subscription) }],
                assignment: Bytes::copy_from_slice(stored.assignment),
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
            });
        }
        group.protocol_type = Some(value.protocol_type).filter(|kind| !kind.is_empty()).map(Arc::from);
        group.leader = value.leader.map(Arc::from);
        group.state = if group.members.is_empty() { State::Empty } else { State::Stable };
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    /// The group's record, with the given assignments in place of the members' own.
    pub(crate) fn record(&self, assignments: Option<&BTreeMap<Arc<str>, Bytes>>) -> CoordinatorRecord {
        let subscriptions: Vec<Bytes> = self.members.values().map(|member| member.metadata(self.protocol_name.as_deref())).collect();
        let assignment_of = |member: &'_ Member| -> Bytes {
            match assignments {
                Some(assignments) => assignments.get(&member.id).cloned().unwrap_or_default(),
                None => member.assignment.clone(),
            }
        };
        let assignments: Vec<Bytes> = self.members.values().map(assignment_of).collect();
        let members = self.members.values().zip(&subscriptions).zip(&assignments);
        records::group_record(
            &self.id,
            &GroupValue {
                protocol_type: self.protocol_type.as_deref().unwrap_or(""),
                generation_id: self.generation_id,
                protocol_name: self.protocol_name.as_deref(),
                leader: self.leader.as_deref(),
                state_timestamp_ms: self.state_timestamp.map_or(-1, Timestamp::millis),
                members: members
                    .map(|((member, subscription), assignment)| MemberValue {
                        member_id: &member.id,
                        group_instance_id: member.instance_id.as_deref(),
                        client_id: &member.client_id,
                        client_host: &member.client_host,
                        rebalance_timeout_ms: member.rebalance_timeout_ms,
                        session_timeout_ms: member.session_timeout_ms,
                        subscription,
                        assignment,
                    })
                    .collect(),
            },
        )
    }

    /// The record of a group that has just been created and has nothing yet.
    pub(crate) fn empty_record(&self) -> CoordinatorRecord {
        let state_timestamp_ms = self.state_timestamp.map_or(-1, Timestamp::millis);
        records::group_record(&self.id, &GroupValue { state_timestamp_ms, ..GroupValue::default() })
    }

    pub(crate) fn enter(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.state_timestamp = Some(now);
    }

    pub(crate) fn member(&self, member_id: &str) -> Option<&Member> {
        self.members.get(member_id)
    }

    pub(crate) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(crate) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// Adds a member; the first one leads.
    pub(crate) fn insert(&mut self, member: Member) {
        self.pending_joins.remove(&member.id);
        if self.leader.is_none() {
            self.leader = Some(Arc::clone(&member.id));
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(Arc::clone(instance_id), Arc::clone(&member.id));
        }
        self.count_protocols(&member, true);
        self.members.insert(Arc::clone(&member.id), member);
    }

    /// Removes a member, pending or real. The caller answers what it had parked.
    pub(crate) fn remove(&mut self, member_id: &str) -> Option<Member> {
        let removed = self.members.shift_remove(member_id);
        if let Some(member) = &removed {
            self.count_protocols(member, false);
            if let Some(instance_id) = &member.instance_id {
                self.static_members.remove(instance_id);
            }
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_joins.remove(member_id);
        self.pending_syncs.remove(member_id);
        removed
    }

    /// Gives a static member another id (KIP-345). Answers the member as it was.
    pub(crate) fn replace_static(&mut self, old_id: &str, new_id: &Arc<str>) -> Option<Member> {
        let was_leader = self.is_leader(old_id);
        let old = self.remove(old_id)?;
        let new = Member { id: Arc::clone(new_id), awaiting_join: None, awaiting_sync: None, is_new: false, ..old.clone() };
        self.insert(new);
        if was_leader {
            self.leader = Some(Arc::clone(new_id));
        }
        Some(old)
    }

    /// Takes over what a rejoining member now says of itself. Answers the join that it had parked before, if any.
    pub(crate) fn update(&mut self, member_id: &str, news: MemberUpdate) -> Option<Parked> {
        let old = self.members.get(member_id)?.clone();
        self.count_protocols(&old, false);
        let member = self.members.get_mut(member_id)?;
        member.protocols = news.protocols;
        member.rebalance_timeout_ms = news.rebalance_timeout_ms;
        member.session_timeout_ms = news.session_timeout_ms;
        let parked = std::mem::replace(&mut member.awaiting_join, news.awaiting_join);
        let new = member.clone();
        self.count_protocols(&new, true);
        parked
    }

    fn count_protocols(&mut self, member: &Member, add: bool) {
        for name in member.protocol_names() {
            if add {
                *self.supported.entry(Arc::clone(name)).or_default() += 1;
            } else if let Some(count) = self.supported.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(name);
                }
            }
        }
    }

    fn all_support(&self, protocol: &str) -> bool {
        self.supported.get(protocol).copied().unwrap_or(0) == self.members.len()
    }

    /// Whether a member of that protocol type with these protocols fits the group.
    pub(crate) fn supports(&self, protocol_type: &str, protocols: &[MemberProtocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(|protocol| self.all_support(&protocol.name))
    }

    /// The protocol of the next generation: each member votes for the first of its protocols that all support. Among equals the one that was voted
    /// for first wins, so that the choice does not depend on chance.
    pub(crate) fn select_protocol(&self) -> Option<Arc<str>> {
        let mut votes: IndexMap<&Arc<str>, usize> = IndexMap::new();
        for member in self.members.values() {
            if let Some(protocol) = member.protocols.iter().find(|protocol| self.all_support(&protocol.name)) {
                *votes.entry(&protocol.name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| Arc::clone(name))
    }

    pub(crate) fn joined_count(&self) -> usize {
        self.members.values().filter(|member| member.awaiting_join.is_some()).count()
    }

    pub(crate) fn all_members_joined(&self) -> bool {
        self.pending_joins.is_empty() && self.members.values().all(|member| member.awaiting_join.is_some())
    }

    /// The longest of its members' rebalance timeouts.
    pub(crate) fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).fold(0, i32::max)
    }

    /// Makes sure that the leader is one of those that joined. False when nobody did.
    pub(crate) fn elect_joined_leader(&mut self) -> bool {
        let joined = |member: &Member| member.awaiting_join.is_some();
        if self.leader.as_deref().and_then(|leader| self.member(leader)).is_some_and(joined) {
            return true;
        }
        let Some(elected) = self.members.values().find(|member| joined(member)).map(|member| Arc::clone(&member.id)) else { return false };
        self.leader = Some(elected);
        true
    }

    /// Ends the join phase: the next generation, with a protocol that all support, or without members.
    pub(crate) fn begin_generation(&mut self, now: Timestamp) {
        self.generation_id = self.generation_id.checked_add(1).unwrap_or(1);
        self.pending_syncs.clear();
        self.protocol_name = self.select_protocol();
        self.subscribed_topics = self.compute_subscribed_topics();
        self.enter(if self.members.is_empty() { State::Empty } else { State::CompletingRebalance }, now);
    }

    fn compute_subscribed_topics(&self) -> Option<BTreeSet<Box<str>>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        let mut topics = BTreeSet::new();
        if self.members.is_empty() {
            return Some(topics);
        }
        let protocol_name = self.protocol_name.as_deref()?;
        for member in self.members.values() {
            add_topics(&member.metadata(Some(protocol_name)), &mut topics)?;
        }
        Some(topics)
    }

    /// Whether the group reads a topic, as far as is known: a consumer group with unreadable subscriptions counts as reading all.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed_topics.as_ref().map_or_else(|| self.uses_consumer_protocol(), |topics| topics.contains(topic))
    }

    /// Checks that a request comes from a member, and from the current holder of its instance id.
    pub(crate) fn validate_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(holder) if holder.as_ref() != member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Whether there is room for a joining member (KIP-389).
    pub(crate) fn accepts(&self, member_id: &str, size_max: usize) -> bool {
        match self.state {
            State::Empty => true,
            // The members that rejoined count, not all: a group above a lowered limit keeps those that rejoin first.
            State::PreparingRebalance => {
                self.member(member_id).is_some_and(|member| member.awaiting_join.is_some()) || self.joined_count() < size_max
            }
            State::CompletingRebalance | State::Stable => self.members.contains_key(member_id) || self.members.len() < size_max,
        }
    }
}

/// What a rejoining member says of itself.
pub(crate) struct MemberUpdate {
    pub(crate) protocols: Vec<MemberProtocol>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    pub(crate) awaiting_join: Option<Parked>,
}
