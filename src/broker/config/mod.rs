//! The configuration of a broker: what was given as text, the rows that say what is allowed, and the checked values that the broker acts on.
//!
//! What it is *not*: it reads neither files nor the environment (the `server` crate does, and hands over a [`RawConfig`]), and it does not
//! answer DescribeConfigs (`metadata` does, from [`BrokerConfig::rows`] and [`BrokerConfig::set`]).
//!
//! Invariants:
//! - Each key is one row; parser, DescribeConfigs, validation and docs derive from it.
//! - A [`BrokerConfig`] exists only if every value fits its row and the values fit each other.
//! - A problem is one sentence that names the key, the value and what is allowed.
//! - No listener tells an address that means every address (0.0.0.0, ::).
//!
//! In Kafka: `KafkaConfig`, `AbstractKafkaConfig`, `SocketServerConfigs`, `EndPoint`.

mod listeners;
mod problem;
mod quorum;
mod raw;
mod rows;
#[cfg(test)]
mod tests;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use ::quotas::Window;
use group_coordinator::GroupConfig;
use log_store::Durability;
use metadata::configs::{ConfigView, StaticConfig};
use metadata::controller::InternalTopic;
use model::BrokerId;
use model::config::Row;
use txn_coordinator::TxnConfig;
use wire::ConnectionLimits;

use listeners::Listeners;
pub use listeners::{HostPort, Listener, SecurityProtocol, parse_address};
pub use problem::ConfigProblem;
pub use quorum::QuorumConfig;
pub use raw::{Given, Mode, Origin, RawConfig};
pub use rows::{UNDESCRIBED_ROWS, WITHOUT_EFFECT, broker_rows, is_without_effect};
use values::Values;

/// The checked configuration of a broker.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// This broker's number (`node.id`).
    pub broker_id: BrokerId,
    /// The id that a new cluster gets, if one was given.
    pub cluster_id: Option<String>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// The listeners for clients; at least one.
    pub listeners: Vec<Listener>,
    /// The name of the listener that brokers use among themselves.
    pub inter_broker_listener: String,
    /// The other voters of the metadata quorum; `None` if this broker is the only one.
    pub quorum: Option<QuorumConfig>,
    /// `broker.heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `broker.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `leader.imbalance.check.interval.seconds`; `None` where `auto.leader.rebalance.enable` is off.
    pub leader_rebalance_interval: Option<Duration>,
    /// The data directory (`log.dirs`).
    pub data_directory: PathBuf,
    /// When a record counts as written (`klamm.durability`).
    pub durability: Durability,
    /// `klamm.journal.file.bytes`.
    pub journal_file_bytes: u64,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `auto.create.topics.enable`.
    pub auto_create_topics_enable: bool,
    /// `delete.topic.enable`.
    pub delete_topic_enable: bool,
    /// `offsets.topic.num.partitions`.
    pub offsets_topic_num_partitions: i32,
    /// `offsets.topic.replication.factor`.
    pub offsets_topic_replication_factor: i16,
    /// `offsets.topic.segment.bytes`.
    pub offsets_topic_segment_bytes: i32,
    /// `offsets.commit.timeout.ms`.
    pub offsets_commit_timeout_ms: i32,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: i64,
    /// `log.retention.check.interval.ms`.
    pub log_retention_check_interval: Duration,
    /// `log.initial.task.delay.ms`: when the first check is.
    pub log_initial_task_delay: Duration,
    /// The form of the topic of transactions (`transaction.state.log.*`).
    pub transactions_topic: InternalTopic,
    /// What the transaction coordinator acts on.
    pub transactions: TxnConfig,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`.
    pub transactional_id_cleanup_interval: Duration,
    /// `add.partitions.to.txn.retry.backoff.ms` and `add.partitions.to.txn.retry.backoff.max.ms`.
    pub add_partitions_retry: (Duration, Duration),
    /// What the group coordinator acts on.
    pub groups: GroupConfig,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// `fetch.max.bytes`.
    pub fetch_bytes_max: usize,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions_max: usize,
    /// `max.request.partition.size.limit`.
    pub request_partitions_max: usize,
    /// `quota.window.num` and `quota.window.size.seconds`.
    pub quota_window: Window,
    /// `controller.quota.window.num` and `controller.quota.window.size.seconds`.
    pub controller_quota_window: Window,
    /// `replica.lag.time.max.ms`.
    pub replica_lag_time_max_ms: i64,
    /// Whether `replica.selector.class` is the rack-aware one: consumers are sent to replicas in their rack.
    pub selects_replicas_by_rack: bool,
    /// How this broker fetches from the leaders of the partitions that it follows.
    pub replica_fetch: ReplicaFetchConfig,
    /// `queued.max.request.bytes`; `None` derives it from the memory that the process may use.
    pub request_memory_bytes_max: Option<usize>,
    /// What each listener allows its peers.
    pub connection_limits: ConnectionLimits,
    /// `socket.listen.backlog.size`.
    pub listen_backlog: i32,
    /// Where operators find metrics, health and the page (`klamm.http.listen`); `None` is nowhere.
    pub http_listen: Option<HostPort>,
    /// Which defaults were used.
    pub mode: Mode,
    /// All rows, by name.
    pub rows: Vec<Row>,
    /// The keys that are set, by the mode or by whom starts the broker, below which the rows' defaults hold.
    pub set: StaticConfig,
    /// Keys in a file or of a flag that nobody knows.
    pub unknown_keys: Vec<String>,
    /// Keys that Kafka knows and klamm has no use for.
    pub unused_keys: Vec<String>,
}

/// The one selector that Kafka brings beside its default.
const RACK_AWARE_SELECTOR: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// How a follower fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaFetchConfig {
    /// `replica.fetch.max.bytes`.
    pub partition_bytes_max: i32,
    /// `replica.fetch.response.max.bytes`.
    pub response_bytes_max: i32,
    /// `replica.fetch.min.bytes`.
    pub bytes_min: i32,
    /// `replica.fetch.wait.max.ms`.
    pub wait_max_ms: i32,
    /// `replica.fetch.backoff.ms`: the longest pause after faults in a row.
    pub backoff_max: Duration,
    /// `replica.socket.timeout.ms`: how long to wait for a connection or an answer.
    pub socket_timeout: Duration,
}

impl BrokerConfig {
    /// Checks what was given, with the mode's defaults beneath it.
    ///
    /// # Errors
    /// One sentence with the key, the value and what is allowed.
    pub fn from_map(raw: &RawConfig, mode: Mode) -> Result<Self, ConfigProblem> {
        let mut values = Values::check(raw, mode)?;
        let Listeners { clients: listeners, inter_broker: inter_broker_listener, controllers } =
            listeners::read(&values, mode, &raw.host_name)?;
        check_roles(&values)?;
        let broker_id = broker_id(&values)?;
        if values.is_given("node.id") {
            // Kafka tells the node's number under the older name, too.
            values.set.insert("broker.id".to_owned(), broker_id.get().to_string());
        }
        check_order(&values, "group.min.session.timeout.ms", "group.max.session.timeout.ms")?;
        check_cleaner_memory(&values)?;
        Ok(Self {
            broker_id,
            cluster_id: raw.cluster_id.clone().map(check_cluster_id).transpose()?,
            rack: values.text("broker.rack").map(str::to_owned),
            listeners,
            inter_broker_listener,
            quorum: quorum::read(&values, broker_id, controllers)?,
            heartbeat_interval: milliseconds(&values, "broker.heartbeat.interval.ms"),
            session_timeout: milliseconds(&values, "broker.session.timeout.ms"),
            leader_rebalance_interval: leader_rebalance_interval(&values),
            data_directory: data_directory(&values)?,
            durability: if values.text("klamm.durability") == Some("group") { Durability::Group } else { Durability::Os },
            journal_file_bytes: u64::try_from(values.long("klamm.journal.file.bytes")).unwrap_or(0),
            num_partitions: values.int("num.partitions"),
            default_replication_factor: values.short("default.replication.factor"),
            auto_create_topics_enable: values.boolean("auto.create.topics.enable"),
            delete_topic_enable: values.boolean("delete.topic.enable"),
            offsets_topic_num_partitions: values.int("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: values.short("offsets.topic.replication.factor"),
            offsets_topic_segment_bytes: values.int("offsets.topic.segment.bytes"),
            offsets_commit_timeout_ms: values.int("offsets.commit.timeout.ms"),
            offsets_retention_check_interval_ms: values.long("offsets.retention.check.interval.ms"),
            log_retention_check_interval: milliseconds(&values, "log.retention.check.interval.ms"),
            log_initial_task_delay: milliseconds(&values, "log.initial.task.delay.ms"),
            transactions_topic: InternalTopic::TransactionState {
                partitions: values.int("transaction.state.log.num.partitions"),
                replication_factor: values.short("transaction.state.log.replication.factor"),
                min_insync_replicas: values.int("transaction.state.log.min.isr"),
                segment_bytes: values.int("transaction.state.log.segment.bytes"),
            },
            transactions: TxnConfig {
                transaction_timeout_max_ms: values.int("transaction.max.timeout.ms"),
                transactional_id_expiration_ms: values.long("transactional.id.expiration.ms"),
                ..TxnConfig::default()
            },
            transactional_id_cleanup_interval: milliseconds(&values, "transaction.remove.expired.transaction.cleanup.interval.ms"),
            add_partitions_retry: (
                milliseconds(&values, "add.partitions.to.txn.retry.backoff.ms"),
                milliseconds(&values, "add.partitions.to.txn.retry.backoff.max.ms"),
            ),
            groups: groups(&values),
            producer_id_expiration_ms: values.long("producer.id.expiration.ms"),
            fetch_bytes_max: values.size("fetch.max.bytes"),
            fetch_sessions_max: values.size("max.incremental.fetch.session.cache.slots"),
            request_partitions_max: values.size("max.request.partition.size.limit"),
            quota_window: window(&values, "quota.window.num", "quota.window.size.seconds"),
            controller_quota_window: window(&values, "controller.quota.window.num", "controller.quota.window.size.seconds"),
            replica_lag_time_max_ms: values.long("replica.lag.time.max.ms"),
            selects_replicas_by_rack: values.text("replica.selector.class") == Some(RACK_AWARE_SELECTOR),
            replica_fetch: ReplicaFetchConfig {
                partition_bytes_max: values.int("replica.fetch.max.bytes"),
                response_bytes_max: values.int("replica.fetch.response.max.bytes"),
                bytes_min: values.int("replica.fetch.min.bytes"),
                wait_max_ms: values.int("replica.fetch.wait.max.ms"),
                backoff_max: milliseconds(&values, "replica.fetch.backoff.ms"),
                socket_timeout: milliseconds(&values, "replica.socket.timeout.ms"),
            },
            request_memory_bytes_max: usize::try_from(values.long("queued.max.request.bytes")).ok().filter(|bytes| *bytes > 0),
            connection_limits: connection_limits(&values)?,
            listen_backlog: values.int("socket.listen.backlog.size"),
            http_listen: http_listen(&values)?,
            mode,
            rows: values.rows,
            set: values.set,
            unknown_keys: values.unknown_keys,
            unused_keys: values.unused_keys,
        })
    }

    /// A key's value at this moment: what was set while brokers ran, else what this broker was started with, else the default.
    #[must_use]
    pub fn effective(&self, image: &metadata::Image, key: &str) -> String {
        let row = self.rows.binary_search_by(|row| row.name.cmp(key)).ok().and_then(|at| self.rows.get(at));
        row.and_then(|row| ConfigView::new(image, self.broker_id, &self.set).effective_broker(row).value).unwrap_or_default()
    }

    /// The listener of this name.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.name == name)
    }
}

fn http_listen(values: &Values) -> Result<Option<HostPort>, ConfigProblem> {
    let Some(text) = values.text("klamm.http.listen").filter(|text| !text.is_empty()) else { return Ok(None) };
    parse_address(text).map(Some).ok_or_else(|| ConfigProblem::MalformedHttpListen { value: text.to_owned() })
}

/// `node.id`, or `broker.id`, its older name.
fn broker_id(values: &Values) -> Result<BrokerId, ConfigProblem> {
    let (node_id, older) = (values.long("node.id"), values.long("broker.id"));
    let id = match (values.is_given("node.id"), values.is_given("broker.id") && older >= 0) {
        (true, true) if node_id != older => return Err(ConfigProblem::TwoIds { node_id, broker_id: older }),
        (false, true) => older,
        _ => node_id,
    };
    Ok(BrokerId::new_or_zero(i32::try_from(id).unwrap_or(i32::MAX)))
}

fn check_roles(values: &Values) -> Result<(), ConfigProblem> {
    let roles = values.list("process.roles");
    if roles.is_empty() || roles.contains(&"broker") {
        return Ok(());
    }
    Err(ConfigProblem::NotABroker { value: roles.join(",") })
}

fn check_order(values: &Values, low_key: &'static str, high_key: &'static str) -> Result<(), ConfigProblem> {
    let (low, high) = (values.long(low_key), values.long(high_key));
    if low <= high { Ok(()) } else { Err(ConfigProblem::Bounds { low_key, low, high_key, high }) }
}

/// Each cleaner thread gets a part of the memory (`KafkaConfig.validateValues`).
fn check_cleaner_memory(values: &Values) -> Result<(), ConfigProblem> {
    let (bytes, threads) = (values.long("log.cleaner.dedupe.buffer.size"), values.long("log.cleaner.threads"));
    if bytes / threads.max(1) > 1 << 20 { Ok(()) } else { Err(ConfigProblem::CleanerMemory { bytes, threads }) }
}

/// The id that Kafka's tools make has 22 characters of URL-safe base64; others are taken as well, as long as they are a plain word.
fn check_cluster_id(value: String) -> Result<String, ConfigProblem> {
    let is_word = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if is_word && (1..=64).contains(&value.len()) { Ok(value) } else { Err(ConfigProblem::ClusterId { value }) }
}

/// `log.dirs` beats `log.dir`, also where a default of the mode stands against a given `log.dir`.
fn data_directory(values: &Values) -> Result<PathBuf, ConfigProblem> {
    let is_older = !values.is_given("log.dirs") && (values.is_given("log.dir") || values.text("log.dirs").is_none());
    let key = if is_older { "log.dir" } else { "log.dirs" };
    match values.list(key).as_slice() {
        [directory] => Ok(PathBuf::from(*directory)),
        directories => Err(ConfigProblem::DirectoryCount { key, count: directories.len() }),
    }
}

fn groups(values: &Values) -> GroupConfig {
    GroupConfig {
        session_timeout_min_ms: values.int("group.min.session.timeout.ms"),
        session_timeout_max_ms: values.int("group.max.session.timeout.ms"),
        initial_rebalance_delay_ms: values.int("group.initial.rebalance.delay.ms"),
        group_size_max: values.size("group.max.size"),
        offset_metadata_max_bytes: values.size("offset.metadata.max.bytes"),
        offsets_retention_ms: values.long("offsets.retention.minutes").saturating_mul(60_000),
        ..GroupConfig::default()
    }
}

fn leader_rebalance_interval(values: &Values) -> Option<Duration> {
    let seconds = u64::try_from(values.long("leader.imbalance.check.interval.seconds")).unwrap_or(300);
    values.boolean("auto.leader.rebalance.enable").then(|| Duration::from_secs(seconds))
}

fn milliseconds(values: &Values, key: &str) -> Duration {
    Duration::from_millis(u64::try_from(values.long(key)).unwrap_or(0))
}

fn window(values: &Values, samples_key: &str, seconds_key: &str) -> Window {
    let samples = u32::try_from(values.long(samples_key)).unwrap_or(u32::MAX);
    Window { samples, length: Duration::from_secs(u64::try_from(values.long(seconds_key)).unwrap_or(1)) }
}

fn connection_limits(values: &Values) -> Result<ConnectionLimits, ConfigProblem> {
    // Kafka's default buffers of 100 KiB are small; the system's grow by themselves.
    let buffer = |key: &str| if values.is_given(key) { usize::try_from(values.long(key)).ok() } else { None };
    if let Some(malformed) = values.list("max.connections.per.ip.overrides").into_iter().find(|text| HostOverride::parse(text).is_none()) {
        return Err(ConfigProblem::MalformedOverride { value: malformed.to_owned() });
    }
    // How many connections there may be is for the broker's live limits.
    Ok(ConnectionLimits {
        frame_bytes_max: values.size("socket.request.max.bytes"),
        idle_max: u64::try_from(values.long("connections.max.idle.ms")).ok().map(Duration::from_millis),
        send_buffer_bytes: buffer("socket.send.buffer.bytes"),
        receive_buffer_bytes: buffer("socket.receive.buffer.bytes"),
        ..ConnectionLimits::default()
    })
}

/// A part of `max.connections.per.ip.overrides`: `HOST:NUMBER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostOverride {
    /// An address, or a name that has to be looked up.
    pub(crate) host: String,
    /// How many connections it may have at once.
    pub(crate) connections_max: usize,
}

impl HostOverride {
    /// Reads one; `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, count) = text.rsplit_once(':').filter(|(host, _)| metadata::configs::is_host(host))?;
        Some(Self { host: host.trim_matches(['[', ']']).to_owned(), connections_max: count.trim().parse().ok()? })
    }
}
