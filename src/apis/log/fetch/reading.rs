//! What the partitions of a fetch give, and waiting at them.

use std::sync::Arc;

use broker::fetch_session::{RequestedPartition, Told, TopicKey};
use broker::metrics::ParkedFetch;
use broker::partitions::{Follower, Partition, PartitionError, PartitionFetch, PartitionRead};
use broker::purgatory::{FetchWaiter, WatchList};
use broker::read_pool::off_thread;
use broker::replication_throttle::ReplicationSide;
use model::{BrokerId, LeaderEpoch, Offset};
use protocol::ErrorCode;

use super::super::{TopicRef, find_partition};
use super::{Limits, Reader};
use crate::api::Context;
use crate::error_codes;

/// Up to so many partitions are looked up in files by the network's thread, if the page cache has them: more would hold up its other connections.
const READ_NOW_MAX: usize = 16;

/// What one partition gives.
pub(super) struct Answer {
    pub(super) asked: RequestedPartition,
    /// None if it is not known.
    pub(super) partition: Option<Arc<Partition>>,
    /// Whom to read from instead.
    pub(super) preferred: Option<BrokerId>,
    pub(super) result: Result<PartitionRead, ErrorCode>,
}

impl Answer {
    pub(super) fn length_bytes(&self) -> usize {
        self.result.as_ref().map_or(0, |read| read.length_bytes)
    }

    pub(super) fn is_vague(&self) -> bool {
        self.result.as_ref().is_ok_and(|read| read.is_behind_predecessor)
    }

    pub(super) fn topic(&self) -> TopicRef<'_> {
        match &self.asked.topic {
            TopicKey::Id(id) => TopicRef::Id(id.0),
            TopicKey::Name(name) => TopicRef::Name(name.as_str()),
        }
    }

    /// Whether the answer must leave at once because of this partition.
    pub(super) fn is_urgent(&self) -> bool {
        self.preferred.is_some() || self.result.as_ref().map_or(true, |read| read.diverging.is_some())
    }

    /// Counts what was given, or that it was refused.
    pub(super) fn count(&self, cx: &Context) {
        let bytes = self.result.as_ref().ok().map(|read| u64::try_from(read.length_bytes).unwrap_or(0));
        match &self.partition {
            Some(partition) => partition.traffic().fetched(bytes),
            None => cx.broker.metrics.all_topics.fetched(bytes),
        }
    }

    pub(super) fn told(&self) -> Told {
        match &self.result {
            Ok(read) => Told { high_watermark: read.offsets.high_watermark().get(), log_start: read.offsets.log_start().get() },
            Err(_) => Told { high_watermark: -1, log_start: -1 },
        }
    }
}

/// A partition of the request, and the one here that it means.
struct Resolved {
    asked: RequestedPartition,
    partition: Result<Arc<Partition>, ErrorCode>,
    /// Whether it is throttled and has had its share.
    is_held_up: bool,
}

impl Resolved {
    fn is_warm(&self) -> bool {
        let Ok(partition) = &self.partition else { return true };
        Offset::new(self.asked.fetch_offset).is_none_or(|offset| partition.is_warm(offset))
    }
}

/// Looks all partitions up, anew for each pass: a topic may be gone since the last one.
fn resolve(cx: &Context, partitions: &[RequestedPartition], limits: &Limits) -> Vec<Resolved> {
    let image = cx.broker.metadata.image();
    let resolved = partitions.iter().map(|asked| {
        let topic = match &asked.topic {
            TopicKey::Id(id) => TopicRef::Id(id.0),
            TopicKey::Name(name) => TopicRef::Name(name.as_str()),
        };
        let partition = find_partition(cx, &image, topic, asked.partition);
        let is_held_up = partition.as_ref().is_ok_and(|partition| is_held_up(cx, partition, limits));
        Resolved { asked: asked.clone(), partition, is_held_up }
    });
    resolved.collect()
}

/// Whether a follower that catches up has had its share (KIP-73).
fn is_held_up(cx: &Context, partition: &Partition, limits: &Limits) -> bool {
    let Reader::Follower(Follower { broker, .. }) = limits.reader else { return false };
    cx.broker.replication_throttle.holds_up(ReplicationSide::Leader, partition.id())
        && !partition.in_sync().is_some_and(|in_sync| in_sync.contains(&broker))
}

/// Reads here what is in memory or the page cache, and on the read pool what may need the disk.
pub(super) async fn read_where_it_may_wait(cx: &Context, partitions: &[RequestedPartition], limits: &Limits) -> Vec<Answer> {
    let (resolved, limits) = (resolve(cx, partitions, limits), limits.clone());
    let of_files = resolved.iter().filter(|one| !one.is_warm()).count();
    if of_files <= READ_NOW_MAX
        && let Some(answers) = read_all(resolved, &limits, Partition::read_now)
    {
        return answers;
    }
    let resolved = resolve(cx, partitions, &limits);
    let failed = || {
        partitions.iter().map(|asked| Answer {
            asked: asked.clone(),
            partition: None,
            preferred: None,
            result: Err(ErrorCode::KafkaStorageError),
        })
    };
    let answers = off_thread(move || read_all(resolved, &limits, |partition, fetch| Some(partition.read(fetch)))).await;
    answers.flatten().unwrap_or_else(|| failed().collect())
}

/// Reads them one after the other, until `read` gives none.
fn read_all(
    resolved: Vec<Resolved>,
    limits: &Limits,
    read: impl Fn(&Partition, &PartitionFetch) -> Option<Result<PartitionRead, PartitionError>>,
) -> Option<Vec<Answer>> {
    let mut bytes_left = limits.bytes_max;
    let mut nothing_yet = true;
    let mut answers = Vec::with_capacity(resolved.len());
    for Resolved { asked, partition, is_held_up } in resolved {
        let bytes_max = usize::try_from(asked.bytes_max).unwrap_or(0).min(bytes_left);
        let known = partition.as_ref().ok().map(Arc::clone);
        let fetch = |partition: Arc<Partition>| {
            let current_leader_epoch = LeaderEpoch::new(asked.current_leader_epoch);
            match limits.reader {
                Reader::Consumer { .. } => {}
                Reader::Follower(Follower { broker, .. }) => {
                    partition.check_leader(current_leader_epoch).map_err(|error| error_codes::partition(&error))?;
                    if !partition.has_follower(broker) {
                        return Err(ErrorCode::NotLeaderOrFollower);
                    }
                }
                Reader::Refused(code) => return Err(code),
            }
            let fetch = PartitionFetch {
                offset: Offset::new(asked.fetch_offset).ok_or(ErrorCode::OffsetOutOfRange)?,
                bytes_max,
                at_least_one_batch: nothing_yet,
                bound: limits.bound,
                leader_only: limits.reader != (Reader::Consumer { leader_only: false }),
                current_leader_epoch,
                last_fetched_epoch: LeaderEpoch::new(asked.last_fetched_epoch),
            };
            Ok((partition, fetch))
        };
        let mut preferred = None;
        let result = match partition.and_then(fetch) {
            Ok((partition, mut fetch)) => {
                preferred = limits.near.as_deref().and_then(|near| partition.fullest_follower(near, fetch.offset));
                if preferred.is_some() || is_held_up {
                    (fetch.bytes_max, fetch.at_least_one_batch) = (0, false);
                }
                read(&partition, &fetch)?.map_err(|error| error_codes::partition(&error))
            }
            Err(refusal) => Err(refusal),
        };
        let answer = Answer { asked, partition: known, preferred, result };
        bytes_left = bytes_left.saturating_sub(answer.length_bytes());
        nothing_yet &= answer.length_bytes() == 0;
        answers.push(answer);
    }
    Some(answers)
}

/// A fetch that waits at its partitions, until it is dropped.
pub(super) struct Parked {
    pub(super) waiter: Arc<FetchWaiter>,
    by_follower: bool,
    places: Vec<(Arc<Partition>, u64)>,
    _counted: ParkedFetch,
}

impl Parked {
    pub(super) fn new(cx: &Context, partitions: &[RequestedPartition], limits: &Limits) -> Self {
        let (waiter, by_follower) = (FetchWaiter::new(), limits.by_follower());
        let found = resolve(cx, partitions, limits).into_iter().filter_map(|resolved| resolved.partition.ok());
        let places = found.map(|partition| {
            let key = watch_list(&partition, by_follower).register(&waiter);
            (partition, key)
        });
        let places = places.collect();
        Self { waiter, by_follower, places, _counted: cx.broker.metrics.park_fetch() }
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        for (partition, key) in &self.places {
            watch_list(partition, self.by_follower).remove(*key);
        }
    }
}

/// Where a fetch of this partition waits.
fn watch_list(partition: &Partition, by_follower: bool) -> &WatchList {
    if by_follower { &partition.follower_watchers } else { &partition.watchers }
}
