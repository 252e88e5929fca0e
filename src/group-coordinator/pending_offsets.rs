//! Offsets that were committed in transactions which are still open (Kafka's `OffsetMetadataManager.pendingTransactionalOffsets`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::ProducerId;

use crate::records::{CommittedOffset, offset_tombstone};
use coordinator::CoordinatorRecord;

/// The pending offsets of a shard's groups.
#[derive(Debug, Default)]
pub(crate) struct PendingOffsets {
    by_group: BTreeMap<Arc<str>, OfGroup>,
    /// The groups in which a producer has committed offsets in its open transaction.
    groups: BTreeMap<ProducerId, BTreeSet<Arc<str>>>,
    /// How many were put so far.
    count: u64,
}

/// One group's. It stays until its transactions have ended, also without offsets: a tombstone may have taken them.
#[derive(Debug, Default)]
struct OfGroup {
    open: BTreeSet<ProducerId>,
    offsets: BTreeMap<(Arc<str>, i32), BTreeMap<ProducerId, Pending>>,
}

#[derive(Debug)]
struct Pending {
    committed: CommittedOffset,
    /// The order of the records.
    number: u64,
    /// Whether an offset whose record came after it counts already: the record that comes last wins, not the marker.
    is_superseded: bool,
}

/// An offset of a transaction that was committed.
pub(crate) struct Decided {
    pub(crate) group_id: Arc<str>,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) committed: CommittedOffset,
}

impl PendingOffsets {
    pub(crate) fn put(&mut self, producer_id: ProducerId, group_id: &Arc<str>, topic: &str, partition: i32, committed: CommittedOffset) {
        self.groups.entry(producer_id).or_default().insert(Arc::clone(group_id));
        let of_group = self.by_group.entry(Arc::clone(group_id)).or_default();
        of_group.open.insert(producer_id);
        let of_partition = of_group.offsets.entry((topic.into(), partition)).or_default();
        self.count += 1;
        of_partition.insert(producer_id, Pending { committed, number: self.count, is_superseded: false });
    }

    /// An offset is committed outside of transactions: those of open ones will not replace it.
    pub(crate) fn supersede(&mut self, group_id: &str, topic: &str, partition: i32) {
        if let Some(of_partition) = self.of_partition_mut(group_id, topic, partition) {
            of_partition.values_mut().for_each(|pending| pending.is_superseded = true);
        }
    }

    /// A tombstone takes them.
    pub(crate) fn remove(&mut self, group_id: &str, topic: &str, partition: i32) {
        if let Some(of_group) = self.by_group.get_mut(group_id) {
            of_group.offsets.remove(&(topic.into(), partition));
        }
    }

    /// Whether an open transaction may yet change the offset.
    pub(crate) fn has(&self, group_id: &str, topic: &str, partition: i32) -> bool {
        // Most shards have none, and a look takes the topic's name.
        self.by_group.get(group_id).is_some_and(|of_group| of_group.offsets.contains_key(&(topic.into(), partition)))
    }

    /// Whether a transaction that has committed offsets of the group is open.
    pub(crate) fn is_open(&self, group_id: &str) -> bool {
        self.by_group.contains_key(group_id)
    }

    /// Tombstones for those of a group that have no committed offset beside them.
    pub(crate) fn tombstones_of_group(&self, group_id: &str, is_committed: impl Fn(&str, i32) -> bool) -> Vec<CoordinatorRecord> {
        let places = self.by_group.get(group_id).into_iter().flat_map(|of_group| of_group.offsets.keys());
        let alone = places.filter(|(topic, partition)| !is_committed(topic, *partition));
        alone.map(|(topic, partition)| offset_tombstone(group_id, topic, *partition)).collect()
    }

    /// The same for those of a topic.
    pub(crate) fn tombstones_of_topic(&self, topic: &str, is_committed: impl Fn(&str, i32) -> bool) -> Vec<CoordinatorRecord> {
        let places = self.by_group.iter().flat_map(|(group_id, of_group)| of_group.offsets.keys().map(move |place| (group_id, place)));
        let alone = places.filter(|(group_id, (name, partition))| name.as_ref() == topic && !is_committed(group_id, *partition));
        alone.map(|(group_id, (_, partition))| offset_tombstone(group_id, topic, *partition)).collect()
    }

    /// The producer's transaction has ended: if it was committed, what it had pending, without what was replaced by later commits that count.
    pub(crate) fn end(&mut self, producer_id: ProducerId, is_commit: bool) -> Vec<Decided> {
        let mut decided = Vec::new();
        for group_id in self.groups.remove(&producer_id).unwrap_or_default() {
            let Some(of_group) = self.by_group.get_mut(&group_id) else { continue };
            of_group.open.remove(&producer_id);
            of_group.offsets.retain(|(topic, partition), of_partition| {
                if let Some(pending) = of_partition.remove(&producer_id).filter(|pending| is_commit && !pending.is_superseded) {
                    let earlier = of_partition.values_mut().filter(|other| other.number < pending.number);
                    earlier.for_each(|other| other.is_superseded = true);
                    let (group_id, topic) = (Arc::clone(&group_id), Arc::clone(topic));
                    decided.push(Decided { group_id, topic, partition: *partition, committed: pending.committed });
                }
                !of_partition.is_empty()
            });
            if of_group.open.is_empty() {
                self.by_group.remove(&group_id);
            }
        }
        decided
    }

    fn of_partition_mut(&mut self, group_id: &str, topic: &str, partition: i32) -> Option<&mut BTreeMap<ProducerId, Pending>> {
        self.by_group.get_mut(group_id)?.offsets.get_mut(&(topic.into(), partition))
    }
}
