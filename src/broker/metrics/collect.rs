//! A scrape's look at the broker: the counters as they are, and its state as it is at this moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use group_coordinator::GroupSummary;
use metadata::Image;
use model::{PartitionIndex, TopicIdPartition};
use txn_coordinator::TransactionSummary;

use super::families::Families;
use super::{Counter, TopicMetrics, rows};
use crate::Broker;
use crate::partitions::Partition;

/// What the coordinators of a broker have told, each in its turn.
#[derive(Default)]
pub struct Coordinated {
    /// The groups that it coordinates.
    pub groups: Vec<GroupSummary>,
    /// The transactional ids that it coordinates.
    pub transactions: Vec<TransactionSummary>,
}

/// What was looked at together, for metrics and for a page that a person reads.
pub struct Looked {
    /// The cluster's image.
    pub image: Arc<Image>,
    /// The partitions that this broker serves, by topic and number.
    pub partitions: Vec<Arc<Partition>>,
    /// The groups that it coordinates, by id.
    pub groups: Vec<GroupSummary>,
    /// The transactional ids that it coordinates, by id.
    pub transactions: Vec<TransactionSummary>,
    ends: HashMap<(String, i32), i64>,
}

impl Looked {
    /// How far a group's commit lies behind the high watermark; `None` if the partition is not here. As in kafka_exporter the difference is not
    /// bounded below: a commit beyond the end is a negative lag.
    #[must_use]
    pub fn lag(&self, topic: &str, partition: i32, committed: i64) -> Option<i64> {
        self.ends.get(&(topic.to_owned(), partition)).map(|end| end.saturating_sub(committed))
    }

    /// The served partition of the image.
    fn find(&self, id: TopicIdPartition) -> Option<&metadata::Partition> {
        self.image.partition(id).map(|partition| &**partition)
    }
}

/// Looks at the partitions; the coordinators were asked before, since each answers in its turn.
#[must_use]
pub fn look(broker: &Broker, coordinated: Coordinated) -> Looked {
    let Coordinated { mut groups, mut transactions } = coordinated;
    transactions.sort_by(|left, right| left.transactional_id.cmp(&right.transactional_id));
    groups.sort_by(|left, right| left.group_id.cmp(&right.group_id));
    let mut partitions = broker.partitions.all();
    partitions.sort_by(|left, right| (left.topic(), left.id().partition).cmp(&(right.topic(), right.id().partition)));
    let ends = partitions.iter().map(|partition| {
        let key = (partition.topic().as_str().to_owned(), partition.id().partition.get());
        (key, partition.offsets().high_watermark().get())
    });
    let ends = ends.collect();
    Looked { image: broker.metadata.image(), partitions, groups, transactions, ends }
}

/// Gathers all rows of a broker. It may touch the disk, so it must not run on a network worker.
pub fn collect(broker: &Broker, looked: &Looked, families: &mut Families) {
    traffic(broker, looked, families);
    requests(broker, families);
    logs(broker, looked, families);
    cleaner(broker, families);
    replicas(broker, looked, families);
    cluster(broker, looked, families);
    groups(looked, families);
    transactions(broker, looked, families);
    let waiting: u64 = looked.partitions.iter().map(|partition| partition.parked_appends()).sum();
    families.count(&rows::PURGATORY_SIZE, &["Produce"], waiting);
    families.count(&rows::PURGATORY_SIZE, &["Fetch"], broker.metrics.parked_fetches());
    families.count(&rows::FETCH_SESSIONS, &[], size(broker.fetch_sessions.len()));
    // KafkaServer's states: 3 is RUNNING, and a broker that is asked is running.
    families.count(&rows::BROKER_STATE, &[], 3);
}

fn traffic(broker: &Broker, looked: &Looked, families: &mut Families) {
    let mut topics: BTreeMap<&str, &TopicMetrics> = BTreeMap::new();
    for partition in &looked.partitions {
        topics.insert(partition.topic().as_str(), partition.traffic().topic());
    }
    let all = [(None, &*broker.metrics.all_topics)];
    for (topic, traffic) in all.into_iter().chain(topics.into_iter().map(|(topic, traffic)| (Some(topic), traffic))) {
        let labels: Vec<&str> = topic.into_iter().collect();
        let numbers: [(_, &Counter); 9] = [
            (&rows::MESSAGES_IN, &traffic.messages_in),
            (&rows::BYTES_IN, &traffic.bytes_in),
            (&rows::BYTES_OUT, &traffic.bytes_out),
            (&rows::PRODUCE_REQUESTS, &traffic.produce_requests),
            (&rows::FAILED_PRODUCE_REQUESTS, &traffic.failed_produce_requests),
            (&rows::FETCH_REQUESTS, &traffic.fetch_requests),
            (&rows::FAILED_FETCH_REQUESTS, &traffic.failed_fetch_requests),
            (&rows::DROPPED_SEGMENTS, &traffic.dropped_segments),
            (&rows::DROPPED_BYTES, &traffic.dropped_bytes),
        ];
        for (row, counter) in numbers {
            families.count(row, &labels, counter.get());
        }
    }
}

fn requests(broker: &Broker, families: &mut Families) {
    for api in broker.metrics.requests.all() {
        for (version, count) in api.versions() {
            families.count(&rows::REQUESTS, &[api.name(), &version.to_string()], count);
        }
        for (code, count) in api.codes() {
            families.count(&rows::ERRORS, &[api.name(), &protocol::error_name(code)], count);
        }
        // An API that nobody uses has no series: there are many of both.
        if api.answered() > 0 {
            families.histogram(&rows::TOTAL_TIME, &[api.name()], api.total_time_ms());
        }
    }
    families.count(&rows::UNKNOWN_SERVER_ERRORS, &[], broker.metrics.requests.unknown_server_errors());
}

fn logs(broker: &Broker, looked: &Looked, families: &mut Families) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for partition in &looked.partitions {
        let topic = partition.topic().as_str();
        let number = partition.id().partition.get().to_string();
        let labels = [topic, number.as_str()];
        let offsets = partition.offsets();
        families.count(&rows::LOG_SIZE, &labels, partition.size_bytes());
        families.count(&rows::LOG_SEGMENTS, &labels, size(partition.segment_count()));
        for (row, offset) in [(&rows::LOG_START, offsets.log_start()), (&rows::TOPIC_OLDEST, offsets.log_start())] {
            families.add(row, &labels, signed(offset.get()));
        }
        families.add(&rows::LOG_END, &labels, signed(offsets.log_end().get()));
        families.add(&rows::TOPIC_CURRENT, &labels, signed(offsets.high_watermark().get()));
        families.add(&rows::LAST_STABLE_LAG, &labels, signed(offsets.high_watermark().get() - offsets.last_stable().get()));
        *counts.entry(topic).or_default() += 1;
    }
    for (topic, count) in counts {
        families.count(&rows::TOPIC_PARTITIONS, &[topic], count);
    }
    if let Some((total, usable)) = broker.partitions.space_bytes() {
        families.count(&rows::DISK_TOTAL, &[], total);
        families.count(&rows::DISK_USABLE, &[], usable);
    }
    let store = broker.partitions.store_figures();
    families.count(&rows::INDEX_MEMTABLES, &[], store.memtable_bytes);
    families.count(&rows::INDEX_FILES, &[], store.file_bytes);
    families.count(&rows::INDEX_WRITES_STOPPED, &[], u64::from(store.writes_are_stopped));
    families.count(&rows::LOG_UNSYNCED, &[], store.unsynced_bytes);
}

fn cleaner(broker: &Broker, families: &mut Families) {
    let metrics = &broker.metrics.cleaner;
    let state = metrics.state();
    let directory = broker.config.data_directory.display().to_string();
    let given_up = state.uncleanable.iter().filter_map(|id| broker.partitions.get(*id)?.to_clean());
    // What cannot be looked at counts as nothing: its partition is in the other count.
    let dirty: u64 = given_up.map(|log| log.cleanable_bytes(broker.clock.now()).unwrap_or(0)).sum();
    let since = state.looked_at.map_or(0, |at| broker.clock.monotonic().saturating_sub(at).as_millis());
    families.add(&rows::CLEANER_DELAY, &[], state.most(|last| signed(last.overdue_ms) / 1_000.0));
    families.add(&rows::CLEANER_RECOPY, &[], state.recopy_percent());
    families.add(&rows::CLEANER_TIME, &[], state.most(|last| last.elapsed.as_secs_f64()));
    families.add(&rows::CLEANER_BUFFER, &[], state.most(|last| 100.0 * last.cleaning.map_utilization));
    families.count(&rows::CLEANER_DIED, &[], state.died);
    families.add(&rows::CLEANER_DIRTY, &[], 100.0 * state.dirtiest_ratio);
    families.count(&rows::CLEANER_LAST_RUN, &[], u64::try_from(since).unwrap_or(u64::MAX));
    families.count(&rows::UNCLEANABLE_COUNT, &[&directory], size(state.uncleanable.len()));
    families.count(&rows::UNCLEANABLE_BYTES, &[&directory], dirty);
    families.count(&rows::CLEANER_RUNNING, &[], size(state.running.len()));
    families.count(&rows::CLEANER_READ, &[], metrics.read_bytes.get());
    families.count(&rows::CLEANER_WRITTEN, &[], metrics.written_bytes.get());
}

fn replicas(broker: &Broker, looked: &Looked, families: &mut Families) {
    let me = broker.config.broker_id;
    let (mut leaders, mut behind, mut too_few, mut offline) = (0, 0, 0, 0);
    for partition in &looked.partitions {
        offline += u64::from(partition.is_offline());
        let Some(state) = looked.find(partition.id()).filter(|state| state.leader == Some(me)) else { continue };
        leaders += 1;
        behind += u64::from(state.isr.len() < state.replicas.len());
        let min_isr = partition.config().min_insync_replicas;
        too_few += u64::from(state.isr.len() < min_isr.min(state.replicas.len()));
    }
    families.count(&rows::PARTITIONS, &[], size(looked.partitions.len()));
    families.count(&rows::LEADERS, &[], leaders);
    families.count(&rows::UNDER_REPLICATED, &[], behind);
    families.count(&rows::UNDER_MIN_ISR, &[], too_few);
    families.count(&rows::OFFLINE_REPLICAS, &[], offline + size(broker.partitions.damaged_count()));
}

fn cluster(broker: &Broker, looked: &Looked, families: &mut Families) {
    let leader = broker.controller.leader();
    let (mut partitions, mut offline, mut imbalanced) = (0, 0, 0);
    for (_, state) in looked.image.topics().flat_map(|topic| topic.partitions()).collect::<Vec<(PartitionIndex, _)>>() {
        partitions += 1;
        offline += u64::from(state.leader.is_none());
        imbalanced += u64::from(state.leader.is_some() && state.leader != state.replicas.first().copied());
    }
    let fenced = looked.image.brokers().filter(|one| one.fenced).count();
    families.count(&rows::ACTIVE_CONTROLLER, &[], u64::from(leader == Some(broker.config.broker_id)));
    families.count(&rows::GLOBAL_TOPICS, &[], size(looked.image.topic_count()));
    families.count(&rows::GLOBAL_PARTITIONS, &[], partitions);
    families.count(&rows::OFFLINE_PARTITIONS, &[], offline);
    families.count(&rows::PREFERRED_IMBALANCE, &[], imbalanced);
    families.count(&rows::ACTIVE_BROKERS, &[], size(looked.image.brokers().count() - fenced));
    families.count(&rows::FENCED_BROKERS, &[], size(fenced));
    families.add(&rows::CURRENT_LEADER, &[], leader.map_or(-1.0, |id| f64::from(id.get())));
    families.count(&rows::CURRENT_EPOCH, &[], broker.controller.leader_term());
}

fn groups(looked: &Looked, families: &mut Families) {
    let (mut states, mut offsets): (HashMap<&str, u64>, u64) = (HashMap::new(), 0);
    for group in &looked.groups {
        *states.entry(group.state).or_default() += 1;
        families.count(&rows::GROUP_MEMBERS, &[&group.group_id], size(group.members));
        let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
        for (topic, partition, committed) in &group.offsets {
            offsets += 1;
            let number = partition.to_string();
            let labels = [&*group.group_id, topic, number.as_str()];
            families.add(&rows::GROUP_OFFSET, &labels, signed(*committed));
            if let Some(lag) = looked.lag(topic, *partition, *committed) {
                families.add(&rows::GROUP_LAG, &labels, signed(lag));
                *sums.entry(topic).or_default() += lag;
            }
        }
        for (topic, lag) in sums {
            families.add(&rows::GROUP_LAG_SUM, &[&group.group_id, topic], signed(lag));
        }
    }
    families.count(&rows::NUM_GROUPS, &[], size(looked.groups.len()));
    families.count(&rows::NUM_OFFSETS, &[], offsets);
    let by_state = [
        (&rows::GROUPS_PREPARING, "PreparingRebalance"),
        (&rows::GROUPS_COMPLETING, "CompletingRebalance"),
        (&rows::GROUPS_STABLE, "Stable"),
        (&rows::GROUPS_EMPTY, "Empty"),
    ];
    for (row, state) in by_state {
        families.count(row, &[], states.get(state).copied().unwrap_or(0));
    }
}

fn transactions(broker: &Broker, looked: &Looked, families: &mut Families) {
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for transaction in &looked.transactions {
        *states.entry(transaction.state).or_default() += 1;
    }
    for (state, count) in states {
        families.count(&rows::TRANSACTIONAL_IDS, &[state], count);
    }
    let oldest = looked.transactions.iter().filter_map(|transaction| transaction.open_since).min();
    let open_ms = oldest.map_or(0, |since| broker.clock.now().millis().saturating_sub(since.millis()));
    families.add(&rows::OLDEST_TRANSACTION, &[], signed(open_ms.max(0)));
}

/// A float holds every offset up to 2^53.
fn signed(number: i64) -> f64 {
    number as f64
}

fn size(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
