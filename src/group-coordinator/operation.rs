//! One operation under way: what it may read, and the effects that it gathers.

use std::sync::Arc;

use model::Timestamp;

use crate::config::GroupConfig;
use crate::effects::{Effects, GroupReply, TimerEffect, TimerKey};
use crate::group::Group;
use crate::member::{Member, Parked};
use coordinator::{CoordinatorRecord, ReplyId};

/// What the group record of an operation stands for: what its replay completes and its failure reverts.
#[derive(Debug)]
pub(crate) enum Write {
    /// A new group: without its record it does not exist.
    Created,
    /// The group lost its last member. A failure is harmless: the members that the last record names expire after the next load.
    Emptied,
    /// The leader's assignment: the replay makes the group stable.
    Assigned,
    /// A static member came back under another id.
    StaticReplaced {
        /// As it was.
        old: Box<Member>,
        /// Its new id.
        new_id: Arc<str>,
    },
}

/// One operation under way.
pub(crate) struct Operation<'a> {
    pub(crate) config: &'a GroupConfig,
    pub(crate) now: Timestamp,
    pub(crate) effects: Effects,
    pub(crate) write: Option<Write>,
}

impl<'a> Operation<'a> {
    pub(crate) fn new(config: &'a GroupConfig, now: Timestamp) -> Self {
        Self { config, now, effects: Effects::default(), write: None }
    }

    pub(crate) fn reply(&mut self, to: ReplyId, reply: GroupReply) {
        self.effects.replies.push((to, reply));
    }

    /// Answers a parked request, if there is one.
    pub(crate) fn release(&mut self, parked: Option<Parked>, reply: impl FnOnce(i16) -> GroupReply) {
        if let Some(Parked { reply: to, api_version }) = parked {
            self.reply(to, reply(api_version));
        }
    }

    pub(crate) fn write(&mut self, record: CoordinatorRecord, write: Write) {
        self.effects.records.push(record);
        self.write = Some(write);
    }

    fn arm(&mut self, key: TimerKey, delay_ms: i32) {
        let at = Timestamp(self.now.millis().saturating_add(i64::from(delay_ms.max(0))));
        self.effects.timers.push(TimerEffect::Arm { key, at });
    }

    pub(crate) fn arm_join(&mut self, group: &Group, delay_ms: i32) {
        self.arm(TimerKey::Join { group_id: Arc::clone(&group.id) }, delay_ms);
    }

    pub(crate) fn arm_sync(&mut self, group: &Group) {
        self.arm(TimerKey::Sync { group_id: Arc::clone(&group.id) }, group.rebalance_timeout_ms());
    }

    pub(crate) fn arm_member(&mut self, group: &Group, member_id: &Arc<str>, delay_ms: i32) {
        self.arm(TimerKey::Member { group_id: Arc::clone(&group.id), member_id: Arc::clone(member_id) }, delay_ms);
    }

    /// Lets a member's session begin anew.
    pub(crate) fn renew_session(&mut self, group: &Group, member_id: &str) {
        if let Some(member) = group.member(member_id) {
            self.arm_member(group, &member.id, member.session_timeout_ms);
        }
    }

    fn cancel(&mut self, key: TimerKey) {
        self.effects.timers.push(TimerEffect::Cancel { key });
    }

    pub(crate) fn cancel_join(&mut self, group: &Group) {
        self.cancel(TimerKey::Join { group_id: Arc::clone(&group.id) });
    }

    pub(crate) fn cancel_sync(&mut self, group: &Group) {
        self.cancel(TimerKey::Sync { group_id: Arc::clone(&group.id) });
    }

    pub(crate) fn cancel_member(&mut self, group: &Group, member_id: &Arc<str>) {
        self.cancel(TimerKey::Member { group_id: Arc::clone(&group.id), member_id: Arc::clone(member_id) });
    }

    /// Cancels everything that is armed for a group.
    pub(crate) fn cancel_all(&mut self, group: &Group) {
        for member_id in group.members.keys().chain(&group.pending_joins) {
            self.cancel_member(group, member_id);
        }
        self.cancel_join(group);
        self.cancel_sync(group);
    }
}
