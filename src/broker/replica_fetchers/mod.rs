//! Followers' fetchers: one task for each broker that leads partitions which this one follows. It fetches all of them with one request at a time,
//! appends what comes, and reports how far it is by the next request.
//!
//! What it is *not*: it decides nothing about a partition's log (`replication::FollowerState` does) and does nothing to it by itself
//! (`partitions::following` does).
//!
//! Invariants:
//! - A fetcher lives as long as it has partitions. A broker that follows nothing has no task here and no timer.
//! - A partition has one fetcher, of the leader and the term that the newest applied metadata names; what an answer says of an older term changes
//!   nothing.
//! - A request leaves only after all that the last answer brought counts as written, so an offset in a request is a promise.
//! - A request names only what the leader does not remember of the last one (`session`). What was not taken over from an answer is asked for anew.
//! - When partitions come to a fetcher that waits for an answer, it gives that up and asks anew, so that a new leader's first acknowledgement does
//!   not wait for another partition's long poll.
//!
//! In Kafka: `ReplicaFetcherManager`, `ReplicaFetcherThread`, `RemoteLeaderEndPoint`.

mod fetcher;
mod session;
mod wire_form;

use std::collections::HashMap;
use std::sync::Arc;

use metadata::{Delta, Image};
use model::{BrokerId, LeaderEpoch, TopicId, TopicIdPartition};
use parking_lot::Mutex;
use replication::FollowerState;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::clock::SharedClock;

use crate::absences::Absences;
use crate::config::ReplicaFetchConfig;
use crate::metadata_view::MetadataView;
use crate::partitions::Partitions;
use crate::replication_throttle::ReplicationThrottle;

use fetcher::{Fetcher, Followed, Shared};

/// What the fetchers need of their broker.
pub struct FetchersParts {
    /// This broker.
    pub broker_id: BrokerId,
    /// Sizes and times.
    pub config: ReplicaFetchConfig,
    /// The listener by which brokers reach each other.
    pub listener: String,
    /// The served partitions.
    pub partitions: Arc<Partitions>,
    /// Where leaders are, and the epoch of this broker.
    pub metadata: MetadataView,
    /// Where the loss of a leader is noted.
    pub absences: Arc<Absences>,
    /// How fast replicas that catch up may be filled.
    pub throttle: Arc<ReplicationThrottle>,
    /// Time.
    pub clock: SharedClock,
    /// Where the fetchers' tasks are counted.
    pub tasks: TaskTracker,
    /// Where they run: the metadata observer that starts them may live on another thread.
    pub runtime: tokio::runtime::Handle,
}

/// All fetchers of a broker. Cheap to clone.
#[derive(Clone)]
pub struct ReplicaFetchers {
    parts: Arc<FetchersParts>,
    assigned: Arc<Mutex<Assigned>>,
}

#[derive(Default)]
struct Assigned {
    leaders: HashMap<TopicIdPartition, (BrokerId, LeaderEpoch)>,
    fetchers: HashMap<BrokerId, Running>,
    stopped: bool,
}

struct Running {
    shared: Arc<Shared>,
    stopping: CancellationToken,
}

impl ReplicaFetchers {
    /// No fetchers; they come with [`ReplicaFetchers::apply`].
    #[must_use]
    pub fn new(parts: FetchersParts) -> Self {
        Self { parts: Arc::new(parts), assigned: Arc::default() }
    }

    /// Starts to fetch what this broker follows since this delta, from where it is led now, and stops to fetch the rest. The image's partitions must
    /// already be served.
    pub fn apply(&self, image: &Image, delta: &Delta) {
        let mut assigned = self.assigned.lock();
        if assigned.stopped {
            return;
        }
        for topic_id in delta.topics_deleted.keys() {
            assigned.forget_topic(*topic_id);
        }
        for id in delta.partitions_changed.iter().copied() {
            let wanted = self.leader_to_follow(image, id);
            if assigned.leaders.get(&id).copied() == wanted {
                continue;
            }
            assigned.forget(id);
            if let Some((leader, leader_epoch)) = wanted
                && let Some(partition) = self.parts.partitions.get(id)
            {
                assigned.leaders.insert(id, (leader, leader_epoch));
                let running = assigned.fetchers.entry(leader).or_insert_with(|| self.start(leader));
                running.shared.insert(id, Followed { partition, state: FollowerState::new(leader_epoch) });
            }
        }
        assigned.end_idle();
    }

    /// Ends all fetchers.
    pub fn stop(&self) {
        let mut assigned = self.assigned.lock();
        assigned.stopped = true;
        assigned.leaders.clear();
        for (_, running) in assigned.fetchers.drain() {
            running.stopping.cancel();
        }
    }

    /// How many partitions are fetched.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.assigned.lock().leaders.len()
    }

    fn leader_to_follow(&self, image: &Image, id: TopicIdPartition) -> Option<(BrokerId, LeaderEpoch)> {
        let me = self.parts.broker_id;
        let state = image.partition(id).filter(|state| state.replicas.contains(&me))?;
        state.leader.filter(|leader| *leader != me).map(|leader| (leader, state.leader_epoch))
    }

    fn start(&self, leader: BrokerId) -> Running {
        let (shared, stopping) = (Arc::new(Shared::new(leader)), CancellationToken::new());
        let fetcher = Fetcher::new(Arc::clone(&self.parts), Arc::clone(&shared));
        self.parts.tasks.spawn_on(fetcher.run(stopping.clone()), &self.parts.runtime);
        Running { shared, stopping }
    }
}

impl Assigned {
    fn forget(&mut self, id: TopicIdPartition) {
        if let Some((leader, _)) = self.leaders.remove(&id)
            && let Some(running) = self.fetchers.get(&leader)
        {
            running.shared.remove(id);
        }
    }

    fn forget_topic(&mut self, topic_id: TopicId) {
        let ids: Vec<_> = self.leaders.keys().filter(|id| id.topic_id == topic_id).copied().collect();
        ids.into_iter().for_each(|id| self.forget(id));
    }

    /// Stops those that have nothing left.
    fn end_idle(&mut self) {
        for (_, running) in self.fetchers.extract_if(|_, running| running.shared.is_empty()) {
            running.stopping.cancel();
        }
    }
}
