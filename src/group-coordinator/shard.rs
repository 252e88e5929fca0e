//! One shard: the groups and offsets of one partition of `__consumer_offsets`. Requests are handled in `classic/`; here are replay, load, timers
//! and the way back from a failed append.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator::{Replayed, SkippedRecords};
use model::{ProducerId, Timestamp, TopicName};
use protocol::ErrorCode;

use crate::classic::rebalance;
use crate::config::GroupConfig;
use crate::effects::{Effects, TimerKey};
use crate::group::{Group, State};
use crate::offsets::Offsets;
use crate::operation::{Operation, Write};
use crate::pending_offsets::{Decided, PendingOffsets};
use crate::records::{self, Key};
use crate::replies::{self, join_error, sync_error};

/// The groups and offsets of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct GroupShard {
    pub(crate) config: GroupConfig,
    pub(crate) groups: BTreeMap<Arc<str>, Group>,
    pub(crate) offsets: Offsets,
    pub(crate) pending: PendingOffsets,
    /// The group record that was returned and is not replayed yet.
    write: Option<(Arc<str>, Write)>,
    skipped: SkippedRecords,
}

impl GroupShard {
    /// An empty shard.
    #[must_use]
    pub fn new(config: GroupConfig) -> Self {
        let (groups, offsets, pending) = (BTreeMap::new(), Offsets::default(), PendingOffsets::default());
        Self { config, groups, offsets, pending, write: None, skipped: SkippedRecords::default() }
    }

    /// How many records were skipped so far.
    #[must_use]
    pub const fn skipped_records(&self) -> SkippedRecords {
        self.skipped
    }

    /// Applies a committed record: of this shard's own operation, or of the log at load.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Replayed {
        self.replay_of(None, key, value)
    }

    /// The same for a record of a transactional batch: an offset counts when the transaction has been committed.
    pub fn replay_in_transaction(&mut self, producer_id: ProducerId, key: &[u8], value: Option<&[u8]>) -> Replayed {
        self.replay_of(Some(producer_id), key, value)
    }

    /// Applies the marker that ends a producer's transaction.
    pub fn replay_end_of_transaction(&mut self, producer_id: ProducerId, is_commit: bool) {
        for Decided { group_id, topic, partition, committed } in self.pending.end(producer_id, is_commit) {
            let group_id = self.simple_group(&group_id);
            self.offsets.put(&group_id, &topic, partition, committed);
        }
    }

    fn replay_of(&mut self, producer_id: Option<ProducerId>, key: &[u8], value: Option<&[u8]>) -> Replayed {
        let replayed = match records::decode_key(key) {
            None => Replayed::Malformed,
            Some(Key::Other) => Replayed::UnknownType,
            Some(Key::Group { group_id }) => self.replay_group(group_id, value),
            Some(Key::Offset { group_id, topic, partition }) => self.replay_offset(producer_id, (group_id, topic, partition), value),
        };
        self.skipped.count(replayed)
    }

    fn replay_group(&mut self, group_id: &str, value: Option<&[u8]>) -> Replayed {
        let Some(value) = value else {
            self.groups.remove(group_id);
            return Replayed::Applied;
        };
        let Some(value) = records::decode_group(value) else { return Replayed::Malformed };
        let own_write = self.write.take_if(|(id, _)| id.as_ref() == group_id).map(|(_, write)| write);
        match (own_write, self.groups.get_mut(group_id)) {
            (Some(Write::Assigned), Some(group)) => {
                for stored in &value.members {
                    if let Some(member) = group.members.get_mut(stored.member_id) {
                        member.assignment = bytes::Bytes::copy_from_slice(stored.assignment);
                    }
                }
                group.state = State::Stable;
                group.state_timestamp = Some(Timestamp(value.state_timestamp_ms));
            }
            // The group is as its record says, and its soft state (who is parked, who is pending) is newer than the record.
            (Some(Write::Created | Write::Emptied | Write::StaticReplaced { .. }), Some(_)) => {}
            (_, _) => {
                let id: Arc<str> = group_id.into();
                self.groups.insert(Arc::clone(&id), Group::from_record(id, &value));
            }
        }
        Replayed::Applied
    }

    fn replay_offset(
        &mut self,
        producer_id: Option<ProducerId>,
        (group_id, topic, partition): (&str, &str, i32),
        value: Option<&[u8]>,
    ) -> Replayed {
        let Some(value) = value else {
            self.offsets.remove(group_id, topic, partition);
            self.pending.remove(group_id, topic, partition);
            return Replayed::Applied;
        };
        let Some(committed) = records::decode_offset(value) else { return Replayed::Malformed };
        let id = self.simple_group(group_id);
        if let Some(producer_id) = producer_id {
            self.pending.put(producer_id, &id, topic, partition, committed);
        } else {
            self.pending.supersede(group_id, topic, partition);
            self.offsets.put(&id, topic, partition, committed);
        }
        Replayed::Applied
    }

    /// The group's id; one that is not there is made as a simple one, which has offsets and which nobody ever joins.
    fn simple_group(&mut self, group_id: &str) -> Arc<str> {
        if let Some(group) = self.groups.get(group_id) {
            return Arc::clone(&group.id);
        }
        let id: Arc<str> = group_id.into();
        self.groups.insert(Arc::clone(&id), Group::new(Arc::clone(&id), None));
        id
    }

    /// Ends an operation on a group: refuses what is too large for one batch, remembers what is to be completed by the replay.
    pub(crate) fn finish(&mut self, now: Timestamp, group_id: &Arc<str>, effects: Effects, write: Option<Write>) -> Effects {
        self.write = write.map(|write| (Arc::clone(group_id), write));
        let bytes: usize = effects.records.iter().map(|record| record.key.len() + record.value.as_ref().map_or(0, bytes::Bytes::len)).sum();
        if bytes > self.config.batch_bytes_max { self.append_failed(now, effects, ErrorCode::MessageTooLarge) } else { effects }
    }

    /// After the last record of the log: arms the sessions of the loaded members.
    pub fn loaded(&mut self, now: Timestamp) -> Effects {
        let mut operation = Operation::new(&self.config, now);
        for group in self.groups.values_mut() {
            for member in group.members.values() {
                operation.arm_member(group, &member.id, member.session_timeout_ms);
            }
            if group.members.len() > self.config.group_size_max {
                // The limit was lowered: all must rejoin, and those that come last are refused.
                rebalance::prepare(&mut operation, group);
            }
        }
        operation.effects
    }

    /// The shard is about to be dropped: answers everything parked with `error` (NOT_COORDINATOR).
    pub fn unload(&mut self, error: ErrorCode) -> Effects {
        let mut operation = Operation::new(&self.config, Timestamp(0));
        for group in self.groups.values_mut() {
            refuse_parked(&mut operation, group, error);
        }
        operation.effects
    }

    /// The records of `refused` could not be appended, so none of its effects was carried out: reverts, and answers its replies with an error.
    /// `error` is what the append failed with.
    pub fn append_failed(&mut self, now: Timestamp, refused: Effects, error: ErrorCode) -> Effects {
        let error = replies::error_of_failed_append(error);
        let mut operation = Operation::new(&self.config, now);
        operation.effects.timers = refused.timers;
        for (to, reply) in refused.replies {
            operation.reply(to, replies::refuse(reply, error));
        }
        match self.write.take() {
            None | Some((_, Write::Emptied)) => {}
            Some((group_id, Write::Created)) => {
                if let Some(mut group) = self.groups.remove(&group_id) {
                    refuse_parked(&mut operation, &mut group, error);
                    operation.cancel_all(&group);
                }
            }
            Some((group_id, Write::Assigned)) => {
                if let Some(group) = self.groups.get_mut(&group_id) {
                    for member in group.members.values() {
                        operation.arm_member(group, &member.id, member.session_timeout_ms);
                    }
                    rebalance::prepare(&mut operation, group);
                }
            }
            Some((group_id, Write::StaticReplaced { old, new_id })) => {
                if let Some(group) = self.groups.get_mut(&group_id) {
                    let was_leader = group.is_leader(&new_id);
                    operation.cancel_member(group, &new_id);
                    group.remove(&new_id);
                    let old_id = Arc::clone(&old.id);
                    group.insert(*old);
                    if was_leader {
                        group.leader = Some(Arc::clone(&old_id));
                    }
                    operation.renew_session(group, &old_id);
                }
            }
        }
        operation.effects
    }

    /// A timer fired.
    pub fn timer_fired(&mut self, now: Timestamp, key: TimerKey) -> Effects {
        let (TimerKey::Member { group_id, .. } | TimerKey::Join { group_id } | TimerKey::Sync { group_id }) = &key;
        let Some(group) = self.groups.get_mut(group_id) else { return Effects::default() };
        let mut operation = Operation::new(&self.config, now);
        match &key {
            TimerKey::Member { member_id, .. } => rebalance::expire_member(&mut operation, group, member_id),
            TimerKey::Join { .. } => rebalance::end_join_phase(&mut operation, group),
            TimerKey::Sync { .. } => rebalance::expire_pending_syncs(&mut operation, group),
        }
        let (effects, write) = (operation.effects, operation.write);
        self.finish(now, group_id, effects, write)
    }

    /// Deletes expired offsets, and groups that have neither members nor offsets. To be called every `offsets.retention.check.interval.ms`.
    pub fn cleanup_expired_offsets(&mut self, now: Timestamp) -> Effects {
        let mut operation = Operation::new(&self.config, now);
        for group in self.groups.values() {
            let is_pending = |topic: &str, partition: i32| self.pending.has(&group.id, topic, partition);
            let nothing_left =
                self.offsets.expire(group, is_pending, now, self.config.offsets_retention_ms, &mut operation.effects.records);
            if nothing_left && !self.pending.is_open(&group.id) && group.state == State::Empty {
                operation.effects.records.push(records::group_tombstone(&group.id));
                operation.cancel_all(group);
            }
        }
        operation.effects
    }

    /// Deletes the offsets of deleted topics.
    pub fn topics_deleted(&mut self, _now: Timestamp, topics: &[TopicName]) -> Effects {
        let mut records: Vec<_> = topics.iter().flat_map(|topic| self.offsets.tombstones_of_topic(topic.as_str())).collect();
        for topic in topics {
            let is_committed = |group_id: &str, partition| self.offsets.get(group_id, topic.as_str(), partition).is_some();
            records.extend(self.pending.tombstones_of_topic(topic.as_str(), is_committed));
        }
        Effects { records, ..Effects::default() }
    }
}

/// Answers everything that is parked in a group with an error.
fn refuse_parked(operation: &mut Operation<'_>, group: &mut Group, error: ErrorCode) {
    for member in group.members.values_mut() {
        let member_id = Arc::clone(&member.id);
        operation.release(member.awaiting_join.take(), |api_version| join_error(api_version, &member_id, error));
        operation.release(member.awaiting_sync.take(), |_| sync_error(error));
    }
}
