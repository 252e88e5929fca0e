//! The partitions that this broker serves: the look-up table, and what a metadata delta does to it.

mod append;
mod following;
mod isr;
mod offsets;
mod partition;
mod read;
mod retain;
mod roles;
mod traffic;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use log_store::{LogConfig, Retention, StorageError, Store, StoreFigures};
use metadata::configs::{ConfigView, StaticConfig, TopicConfig};
use metadata::{ConfigResourceType, Delta, Image};
use model::{BrokerId, TopicId, TopicIdPartition};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc};
use wire::clock::SharedClock;

use crate::metrics::{Metrics, TopicMetrics};

use partition::Home;

pub use log_store::{AbortedTransaction, AppendError, TransactionCheck, VerifiedProducer};

pub use append::{AppendAs, AppendOutcome, AppendRefusal, AppendTicket, RequiredAcks};
pub use following::FollowError;
pub use isr::{Follower, PartitionProposal, ProposalAnswer};
pub use offsets::{FoundOffset, OffsetQuery};
pub use partition::{Partition, PartitionError};
pub use read::{FetchBound, PartitionFetch, PartitionRead};
pub use traffic::Traffic;

/// Who waits for many logs to be opened is told how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The configurations of topics as they are found during one change.
type TopicConfigs = HashMap<TopicId, (Arc<TopicConfig>, Arc<LogConfig>)>;

/// All partitions of a broker.
pub struct Partitions {
    broker_id: BrokerId,
    store: Store,
    /// What the broker's file, flags and environment set: the defaults of topics.
    given: StaticConfig,
    producer_id_expiration_ms: i64,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    /// The counters of each topic with a partition here.
    traffic: Mutex<HashMap<TopicId, Arc<TopicMetrics>>>,
    by_id: RwLock<HashMap<TopicIdPartition, Arc<Partition>>>,
    /// Those whose stored bytes are damaged, so that they were not opened.
    damaged: Mutex<BTreeSet<TopicIdPartition>>,
    /// What the partitions ask the controller for, and the other end of it until somebody takes it.
    proposals: isr::ProposalSender,
    proposed: Mutex<Option<mpsc::UnboundedReceiver<PartitionProposal>>>,
    /// Told of each change of partitions and of configurations.
    changed: Notify,
    /// Told of each change of partitions, for who looks for followers that lag.
    roles_changed: Notify,
    /// Told when something is to be removed later.
    removal_added: Notify,
}

impl Partitions {
    /// No partitions yet; they come with [`Partitions::apply`].
    #[must_use]
    pub fn new(
        broker_id: BrokerId,
        store: Store,
        given: StaticConfig,
        producer_id_expiration_ms: i64,
        clock: SharedClock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (traffic, by_id, damaged) = (Mutex::default(), RwLock::default(), Mutex::default());
        let (changed, roles_changed, removal_added) = (Notify::new(), Notify::new(), Notify::new());
        let (proposals, proposed) = mpsc::unbounded_channel();
        Self {
            broker_id,
            store,
            given,
            producer_id_expiration_ms,
            clock,
            metrics,
            traffic,
            by_id,
            damaged,
            proposals,
            proposed: Mutex::new(Some(proposed)),
            changed,
            roles_changed,
            removal_added,
        }
    }

    /// The partition, if this broker serves it.
    #[must_use]
    pub fn get(&self, id: TopicIdPartition) -> Option<Arc<Partition>> {
        self.by_id.read().get(&id).map(Arc::clone)
    }

    /// Whether the partition is offline because what is stored of it is damaged: clients get KAFKA_STORAGE_ERROR.
    #[must_use]
    pub fn is_damaged(&self, id: TopicIdPartition) -> bool {
        self.damaged.lock().contains(&id)
    }

    /// How many partitions are offline because of damage.
    #[must_use]
    pub fn damaged_count(&self) -> usize {
        self.damaged.lock().len()
    }

    /// Completes after partitions or their configurations have changed since the last call; for one waiter.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The same of partitions alone.
    pub(crate) async fn roles_changed(&self) {
        self.roles_changed.notified().await;
    }

    /// All partitions, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Partition>> {
        self.by_id.read().values().map(Arc::clone).collect()
    }

    /// The bytes of the file system that holds the data, and how many of them are usable; `None` if it does not say.
    #[must_use]
    pub fn space_bytes(&self) -> Option<(u64, u64)> {
        self.store.space_bytes().ok()
    }

    /// How the store beneath them is doing. It asks RocksDB, so it must not run on a network worker.
    #[must_use]
    pub fn store_figures(&self) -> StoreFigures {
        self.store.figures()
    }

    /// Brings the partitions in line with `image`; `delta` says what changed.
    ///
    /// # Errors
    /// When a partition's log cannot be opened; the others are served all the same. A damaged one is no error: it is offline
    /// ([`Partitions::is_damaged`]).
    pub fn apply(&self, image: &Image, delta: &Delta) -> Result<(), StorageError> {
        let mut first_error = None;
        for topic_id in delta.topics_deleted.keys() {
            self.remove_topic(*topic_id, &mut first_error);
        }
        // One value for all partitions of a topic: it takes time to find, and room in each.
        let mut configs = TopicConfigs::new();
        let mut told_at = self.clock.monotonic();
        for (number, id) in delta.partitions_changed.iter().copied().enumerate() {
            let now = self.clock.monotonic();
            if now.saturating_sub(told_at) >= PROGRESS_EVERY {
                told_at = now;
                tracing::warn!(opened = number, of = delta.partitions_changed.len(), "still opening the logs of partitions");
            }
            match self.apply_partition(image, id, &mut configs) {
                Ok(()) => {}
                Err(error) if error.is_damage() => {
                    tracing::error!(partition = %id, %error, "the partition stays offline; deleting its topic removes it, all others are served");
                    self.damaged.lock().insert(id);
                }
                Err(error) => {
                    tracing::error!(partition = %id, %error, "the partition's log cannot be opened");
                    first_error.get_or_insert(error);
                }
            }
        }
        self.apply_configs(image, delta);
        first_error.map_or(Ok(()), Err)
    }

    /// Wakes who waits for [`Partitions::changed`]. After the image was published, or who wakes would find the older one and wait again.
    pub(crate) fn announce(&self, delta: &Delta) {
        if !(delta.partitions_changed.is_empty() && delta.configs_changed.is_empty()) {
            self.changed.notify_one();
            self.roles_changed.notify_one();
        }
    }

    fn apply_partition(&self, image: &Image, id: TopicIdPartition, configs: &mut TopicConfigs) -> Result<(), StorageError> {
        let (Some(topic), Some(state)) = (image.topic_by_id(id.topic_id), image.partition(id)) else { return Ok(()) };
        if !state.replicas.contains(&self.broker_id) {
            return self.remove_moved(id);
        }
        if let Some(partition) = self.get(id) {
            partition.apply_state(state, self.now_ms());
            return Ok(());
        }
        let (config, log_config) = self.configs_of(image, id.topic_id, topic.name.as_str(), configs);
        let log = self.store.open_partition(id, log_config)?;
        let home = Home { broker_id: self.broker_id, appends: self.store.appends(), proposals: self.proposals.clone() };
        let partition = Arc::new(Partition::new(topic.name.clone(), log, config, self.traffic_of(id.topic_id), home));
        partition.apply_state(state, self.now_ms());
        self.by_id.write().insert(id, partition);
        Ok(())
    }

    /// Ends the service of a partition that was moved to other brokers. Its files go as those of a deleted one.
    fn remove_moved(&self, id: TopicIdPartition) -> Result<(), StorageError> {
        let Some(partition) = self.by_id.write().remove(&id) else { return Ok(()) };
        tracing::info!(partition = %id, "the partition was moved to other brokers; its replica here is removed");
        partition.close();
        self.delete_later(&partition)
    }

    fn traffic_of(&self, topic_id: TopicId) -> Traffic {
        let topic = Arc::clone(self.traffic.lock().entry(topic_id).or_default());
        Traffic::new(topic, Arc::clone(&self.metrics.all_topics))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    /// A topic's configuration, and the part of it that its logs act on.
    fn configs_of(&self, image: &Image, id: TopicId, topic: &str, configs: &mut TopicConfigs) -> (Arc<TopicConfig>, Arc<LogConfig>) {
        let found = configs.entry(id).or_insert_with(|| {
            let config = ConfigView::new(image, self.broker_id, &self.given).topic(topic);
            let log_config = self.log_config(&config);
            (Arc::new(config), Arc::new(log_config))
        });
        found.clone()
    }

    /// The part of a topic's configuration that its logs act on.
    fn log_config(&self, config: &TopicConfig) -> LogConfig {
        let producer_id_expiration_ms = self.producer_id_expiration_ms;
        LogConfig {
            segment_bytes: config.segment_bytes,
            // A record that is overdue for compaction must not lie in the segment that compaction leaves alone (`LogConfig.maxSegmentMs`).
            segment_ms: if config.compact { config.segment_ms.min(config.max_compaction_lag_ms) } else { config.segment_ms },
            segment_jitter_ms: config.segment_jitter_ms,
            retention: Retention { delete: config.delete, retention_ms: config.retention_ms, retention_bytes: config.retention_bytes },
            file_delete_delay_ms: config.file_delete_delay_ms,
            producer_id_expiration_ms,
            flush_messages: config.flush_messages,
            flush_ms: config.flush_ms,
        }
    }

    /// A change of a broker's configuration may change every topic's; one of a topic changes its own partitions.
    fn apply_configs(&self, image: &Image, delta: &Delta) {
        let of_brokers = delta.configs_changed.iter().any(|resource| resource.resource_type == ConfigResourceType::Broker);
        let topics: Vec<TopicId> = delta
            .configs_changed
            .iter()
            .filter(|resource| resource.resource_type == ConfigResourceType::Topic)
            .filter_map(|resource| image.topic_id(&resource.name))
            .collect();
        if !of_brokers && topics.is_empty() {
            return;
        }
        let mut configs = TopicConfigs::new();
        for partition in self.all() {
            let topic_id = partition.id().topic_id;
            if of_brokers || topics.contains(&topic_id) {
                let (config, log_config) = self.configs_of(image, topic_id, partition.topic().as_str(), &mut configs);
                partition.apply_config(config, log_config);
            }
        }
    }

    fn remove_topic(&self, topic_id: TopicId, first_error: &mut Option<StorageError>) {
        let removed: Vec<_> = {
            let mut by_id = self.by_id.write();
            let ids: Vec<_> = by_id.keys().filter(|id| id.topic_id == topic_id).copied().collect();
            ids.into_iter().filter_map(|id| by_id.remove(&id)).collect()
        };
        self.traffic.lock().remove(&topic_id);
        let damaged = {
            let mut all = self.damaged.lock();
            let (damaged, others): (BTreeSet<_>, BTreeSet<_>) = all.iter().partition(|id| id.topic_id == topic_id);
            *all = others;
            damaged
        };
        removed.iter().for_each(|partition| partition.close());
        let deleted = removed.iter().map(|partition| (partition.id(), self.delete_later(partition)));
        let deleted = deleted.chain(damaged.into_iter().map(|id| (id, self.store.delete_partition(id))));
        for (id, result) in deleted {
            if let Err(error) = result {
                tracing::error!(partition = %id, %error, "the deleted partition's files cannot be removed");
                first_error.get_or_insert(error);
            }
        }
    }

    /// Deletes logs on disk that no topic of `image` has: what a crash inside a create or a delete left behind.
    ///
    /// # Errors
    /// When files cannot be removed.
    pub fn delete_strays(&self, image: &Image) -> Result<(), StorageError> {
        for id in self.store.partitions()? {
            if image.partition(id).is_none() {
                tracing::info!(partition = %id, "removing the log of a partition that no topic has");
                self.store.delete_partition(id)?;
            }
        }
        Ok(())
    }
}
