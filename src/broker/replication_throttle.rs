//! Throttled replication: replicas that catch up get no more than a rate, so that they leave room for clients while partitions move.
//!
//! Two limits that know nothing of each other: what this broker as a leader gives to throttled followers (`leader.replication.throttled.rate`), and
//! what it as a follower takes (`follower.replication.throttled.rate`). Whose replicas they hold for, topics say
//! (`leader.replication.throttled.replicas`, `follower.replication.throttled.replicas`). A replica in sync is not held up by either.
//!
//! While nothing is throttled, asking costs one relaxed load.
//!
//! In Kafka: `ReplicationQuotaManager`, `ReplicaManager.shouldLeaderThrottle`, `AbstractFetcherThread.shouldFollowerThrottle` (KIP-73).

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use ::quotas::ReplicationQuota;
use metadata::{ConfigResource, ConfigResourceType, Delta, Image};
use model::{BrokerId, PartitionIndex, TopicId, TopicIdPartition};
use parking_lot::Mutex;
use wire::clock::SharedClock;

/// On which side of replication a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicationSide {
    /// What a leader gives.
    Leader,
    /// What a follower takes.
    Follower,
}

impl ReplicationSide {
    const fn rate_key(self) -> &'static str {
        match self {
            Self::Leader => "leader.replication.throttled.rate",
            Self::Follower => "follower.replication.throttled.rate",
        }
    }

    const fn replicas_key(self) -> &'static str {
        match self {
            Self::Leader => "leader.replication.throttled.replicas",
            Self::Follower => "follower.replication.throttled.replicas",
        }
    }
}

/// Which partitions of a topic are throttled here.
#[derive(Debug, PartialEq, Eq)]
enum Throttled {
    All,
    Some(BTreeSet<PartitionIndex>),
}

impl Throttled {
    /// Reads a topic's list, `*` or pairs of partition and broker, as this broker. None if it names nothing here.
    fn parse(list: &str, own: BrokerId) -> Option<Self> {
        if list.trim() == "*" {
            return Some(Self::All);
        }
        let pairs = list.split(',').filter_map(|pair| {
            let (partition, broker) = pair.trim().split_once(':')?;
            (broker.trim().parse() == Ok(own.get())).then_some(())?;
            PartitionIndex::new(partition.trim().parse().ok()?)
        });
        let partitions: BTreeSet<_> = pairs.collect();
        (!partitions.is_empty()).then_some(Self::Some(partitions))
    }

    fn has(&self, partition: PartitionIndex) -> bool {
        match self {
            Self::All => true,
            Self::Some(partitions) => partitions.contains(&partition),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    quota: ReplicationQuota,
    topics: HashMap<TopicId, Throttled>,
}

#[derive(Debug, Default)]
struct Side {
    /// Whether there are both a limit and somebody for whom it holds.
    is_active: AtomicBool,
    state: Mutex<State>,
}

/// The limits of one broker.
#[derive(Debug)]
pub struct ReplicationThrottle {
    broker_id: BrokerId,
    clock: SharedClock,
    leader: Side,
    follower: Side,
}

impl ReplicationThrottle {
    /// No limits, until [`Self::apply`].
    #[must_use]
    pub fn new(broker_id: BrokerId, clock: SharedClock) -> Self {
        Self { broker_id, clock, leader: Side::default(), follower: Side::default() }
    }

    /// Takes over what has changed.
    pub(crate) fn apply(&self, image: &Image, delta: &Delta) {
        if delta.configs_changed.is_empty() && delta.topics_deleted.is_empty() {
            return;
        }
        let is_of_broker = |resource: &ConfigResource| resource.resource_type == ConfigResourceType::Broker;
        for side in [ReplicationSide::Leader, ReplicationSide::Follower] {
            let of_side = self.of(side);
            let mut state = of_side.state.lock();
            if delta.configs_changed.iter().any(is_of_broker) {
                state.quota.set(self.rate(image, side.rate_key()));
            }
            for topic_id in delta.topics_deleted.keys() {
                state.topics.remove(topic_id);
            }
            for resource in delta.configs_changed.iter().filter(|resource| resource.resource_type == ConfigResourceType::Topic) {
                let Some(topic) = image.topic_by_name(&resource.name) else { continue };
                let list = image.config_overrides(resource).get(side.replicas_key());
                match list.and_then(|list| Throttled::parse(list, self.broker_id)) {
                    Some(throttled) => drop(state.topics.insert(topic.id, throttled)),
                    None => drop(state.topics.remove(&topic.id)),
                }
            }
            of_side.is_active.store(state.quota.is_limited() && !state.topics.is_empty(), Ordering::Relaxed);
        }
    }

    /// What is set for this broker, or for all. A number that does not fit is no limit.
    fn rate(&self, image: &Image, key: &str) -> Option<f64> {
        let own = image.config_overrides(&ConfigResource::broker(self.broker_id)).get(key);
        let value = own.or_else(|| image.config_overrides(&ConfigResource::cluster_default()).get(key))?;
        value.trim().parse::<i64>().ok().filter(|rate| *rate < i64::MAX).map(|rate| rate as f64)
    }

    const fn of(&self, side: ReplicationSide) -> &Side {
        match side {
            ReplicationSide::Leader => &self.leader,
            ReplicationSide::Follower => &self.follower,
        }
    }

    /// Whether anything is throttled on this side.
    #[must_use]
    pub fn is_active(&self, side: ReplicationSide) -> bool {
        self.of(side).is_active.load(Ordering::Relaxed)
    }

    /// Whether a throttled partition gets nothing at present, unless its replica is in sync.
    #[must_use]
    pub fn holds_up(&self, side: ReplicationSide, id: TopicIdPartition) -> bool {
        self.is_active(side) && {
            let mut state = self.of(side).state.lock();
            let is_throttled = state.topics.get(&id.topic_id).is_some_and(|throttled| throttled.has(id.partition));
            is_throttled && state.quota.is_exceeded(self.clock.monotonic())
        }
    }

    /// Counts what a partition's replica was given or has taken, if it is throttled.
    pub fn record(&self, side: ReplicationSide, id: TopicIdPartition, bytes: usize) {
        if bytes > 0 && self.is_active(side) {
            let mut state = self.of(side).state.lock();
            if state.topics.get(&id.topic_id).is_some_and(|throttled| throttled.has(id.partition)) {
                state.quota.record(bytes as f64, self.clock.monotonic());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_throttles_the_replicas_of_this_broker() {
        let own = BrokerId::new_or_zero(2);
        let partition = |number| PartitionIndex::new(number).unwrap();
        assert_eq!(Throttled::parse("*", own), Some(Throttled::All));
        let some = Throttled::parse("0:1,1:2, 3:2 ,2:1", own).unwrap();
        assert_eq!([0, 1, 2, 3].map(|number| some.has(partition(number))), [false, true, false, true]);
        for nothing in ["", "0:1", "x", "x:2", "-1:2", "1:2x"] {
            assert_eq!(Throttled::parse(nothing, own), None, "{nothing}");
        }
    }
}
