//! What an operator wants to know of the groups of a shard: how they are, and how far they have read.

use std::sync::Arc;

use crate::group::Group;
use crate::shard::GroupShard;

/// One group, as metrics and the status page tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its id.
    pub group_id: Arc<str>,
    /// Its phase by Kafka's name; `Empty` for a group that has offsets only.
    pub state: &'static str,
    /// How many members it has.
    pub members: usize,
    /// Its committed offsets, by topic and partition.
    pub offsets: Vec<(Arc<str>, i32, i64)>,
}

impl GroupShard {
    /// All groups of this shard, by id.
    #[must_use]
    pub fn summaries(&self) -> Vec<GroupSummary> {
        self.groups.values().map(|group| self.summary(group)).collect()
    }

    fn summary(&self, group: &Group) -> GroupSummary {
        let topics = self.offsets.of_group(&group.id).into_iter().flatten();
        let offsets = topics.flat_map(|(topic, partitions)| {
            partitions.iter().map(|(partition, committed)| (Arc::clone(topic), *partition, committed.offset))
        });
        GroupSummary {
            group_id: Arc::clone(&group.id),
            state: group.state.name(),
            members: group.members.len(),
            offsets: offsets.collect(),
        }
    }
}
