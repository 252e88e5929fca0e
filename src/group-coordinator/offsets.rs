//! Committed offsets, by group, topic and partition; and when they expire (Kafka's `OffsetMetadataManager`, `OffsetExpirationConditionImpl`).

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Timestamp;

use crate::group::{Group, State};
use crate::records::{CommittedOffset, offset_tombstone};
use coordinator::CoordinatorRecord;

/// The offsets of one group.
pub(crate) type GroupOffsets = BTreeMap<Arc<str>, BTreeMap<i32, CommittedOffset>>;

/// The offsets of a shard's groups. No group or topic in it is without offsets.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    by_group: BTreeMap<Arc<str>, GroupOffsets>,
}

impl Offsets {
    pub(crate) fn of_group(&self, group_id: &str) -> Option<&GroupOffsets> {
        self.by_group.get(group_id)
    }

    pub(crate) fn get(&self, group_id: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.by_group.get(group_id)?.get(topic)?.get(&partition)
    }

    pub(crate) fn put(&mut self, group_id: &Arc<str>, topic: &str, partition: i32, committed: CommittedOffset) {
        let topics = self.by_group.entry(Arc::clone(group_id)).or_default();
        if let Some(partitions) = topics.get_mut(topic) {
            partitions.insert(partition, committed);
        } else {
            topics.insert(topic.into(), BTreeMap::from([(partition, committed)]));
        }
    }

    pub(crate) fn remove(&mut self, group_id: &str, topic: &str, partition: i32) {
        let Some(topics) = self.by_group.get_mut(group_id) else { return };
        if let Some(partitions) = topics.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                topics.remove(topic);
            }
        }
        if topics.is_empty() {
            self.by_group.remove(group_id);
        }
    }

    /// Tombstones for all offsets of a group.
    pub(crate) fn tombstones_of_group(&self, group_id: &str) -> Vec<CoordinatorRecord> {
        let topics = self.by_group.get(group_id).into_iter().flatten();
        topics
            .flat_map(|(topic, partitions)| partitions.keys().map(move |partition| offset_tombstone(group_id, topic, *partition)))
            .collect()
    }

    /// Tombstones for all offsets of a topic.
    pub(crate) fn tombstones_of_topic(&self, topic: &str) -> Vec<CoordinatorRecord> {
        let of_group = |(group_id, topics): (&Arc<str>, &GroupOffsets)| -> Vec<CoordinatorRecord> {
            let partitions = topics.get(topic).into_iter().flat_map(BTreeMap::keys);
            partitions.map(|partition| offset_tombstone(group_id, topic, *partition)).collect()
        };
        self.by_group.iter().flat_map(of_group).collect()
    }

    /// Adds tombstones for the expired offsets of a group, but not for those that an open transaction may change. True when nothing of the group remains.
    pub(crate) fn expire(
        &self,
        group: &Group,
        is_pending: impl Fn(&str, i32) -> bool,
        now: Timestamp,
        retention_ms: i64,
        records: &mut Vec<CoordinatorRecord>,
    ) -> bool {
        let Some(topics) = self.by_group.get(&group.id) else { return true };
        let Some(condition) = Expiry::of(group) else { return false };
        let mut all_expired = true;
        for (topic, partitions) in topics {
            let subscribed = group.is_subscribed_to(topic);
            for (partition, committed) in partitions {
                if !subscribed && condition.has_expired(committed, now, retention_ms) && !is_pending(topic, *partition) {
                    records.push(offset_tombstone(&group.id, topic, *partition));
                } else {
                    all_expired = false;
                }
            }
        }
        all_expired
    }
}

/// From when on the retention of a group's offsets counts (KIP-211).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expiry {
    /// The group has become empty then.
    Since(Timestamp),
    /// Each offset counts for itself.
    SinceCommit,
}

impl Expiry {
    /// `None` when no offset of the group may expire now.
    fn of(group: &Group) -> Option<Self> {
        if group.protocol_type.is_none() {
            // A simple group: nobody joins it, so that only its commits show that it lives.
            return Some(Self::SinceCommit);
        }
        match group.state {
            State::Empty => Some(group.state_timestamp.map_or(Self::SinceCommit, Self::Since)),
            // Topics that the members no longer read.
            State::Stable if group.subscribed_topics.is_some() => Some(Self::SinceCommit),
            State::Stable | State::PreparingRebalance | State::CompletingRebalance => None,
        }
    }

    fn has_expired(self, committed: &CommittedOffset, now: Timestamp, retention_ms: i64) -> bool {
        if let Some(expire_timestamp_ms) = committed.expire_timestamp_ms {
            return now.millis() >= expire_timestamp_ms;
        }
        let since_ms = match self {
            Self::Since(at) => at.millis(),
            Self::SinceCommit => committed.commit_timestamp_ms,
        };
        now.millis().saturating_sub(since_ms) >= retention_ms
    }
}
