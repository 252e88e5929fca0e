//! How a broker comes up.
//!
//! Up: open the store, replay the metadata log, record this run's registration (which bumps the epoch of every partition that it leads, so that it
//! never leads under an epoch of an earlier process life), open the partitions, load the coordinators, publish the image. Down is the reverse (`running`).
//!
//! A broker alone does all of it by itself ([`start`]). One of several needs the others for it, and they need this one: [`prepare`] ends when it
//! takes part in the metadata quorum, so that its controller listener can answer, and [`StartingBroker::join`] registers it and serves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use log_store::{Failpoints, OpenError, StorageError, Store, StoreOptions};
use metadata::configs::ConfigView;
use metadata::controller::{InternalTopic, TopicDefaults};
use quorum::ProposeError;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::Life;
use wire::clock::SharedClock;

use crate::Broker;
use crate::absences::Absences;
use crate::cluster;
use crate::config::{BrokerConfig, QuorumConfig};
use crate::controller::{Controller, ControllerSettings};
use crate::coordination::{self, Coordination, CoordinationParts};
use crate::entropy::Entropy;
use crate::fetch_session::FetchSessions;
use crate::hand_over_gate::HandOverGate;
use crate::live_limits::{LiveLimits, UnknownHost};
use crate::maintenance;
use crate::metadata_followers::{Followers, follow_metadata};
use crate::metadata_start::{Beginning, Begun};
use crate::metadata_view::MetadataView;
use crate::metrics::Metrics;
use crate::partitions::Partitions;
use crate::quorum_door::QuorumDoor;
use crate::quotas::Quotas;
use crate::replica_fetchers::{FetchersParts, ReplicaFetchers};
use crate::replication_throttle::ReplicationThrottle;
use crate::running::{RunningBroker, by_controller};
use crate::vote_wish::VoteWish;

/// What a broker is given beside its configuration.
pub struct BrokerParts {
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The port that each listener is bound to, by its name.
    pub bound_ports: HashMap<String, u16>,
    /// Where the store is told to fail, for tests.
    pub failpoints: Failpoints,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The order under which the broker's threads are.
    pub life: Arc<Life>,
    /// Is given the metadata quorum as soon as it takes messages of other voters.
    pub quorum_started: Option<QuorumStarted>,
}

/// Takes the door to a quorum that has started.
pub type QuorumStarted = Box<dyn FnOnce(QuorumDoor) + Send>;

/// Why a broker does not start. Each text is one sentence for a person.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed.
    #[error("the data directory cannot be used: {0}")]
    Storage(#[from] StorageError),
    /// The metadata log failed.
    #[error("the metadata log cannot be used: {0}")]
    Metadata(String),
    /// A limit is given for a host that nobody knows.
    #[error(transparent)]
    UnknownHost(#[from] UnknownHost),
    /// The directory is another cluster's.
    #[error(
        "the data directory belongs to cluster {found}, but the configuration says {configured}; use another directory, or leave out the cluster id"
    )]
    OtherCluster {
        /// The id in the directory.
        found: String,
        /// The id in the configuration.
        configured: String,
    },
    /// The directory is another broker's.
    #[error(
        "the data directory belongs to broker {found}, but the configuration says node.id={configured}; use another directory, or that node.id"
    )]
    OtherBroker {
        /// The id in the directory.
        found: model::BrokerId,
        /// The id in the configuration.
        configured: model::BrokerId,
    },
}

/// A broker that takes part in the metadata quorum and serves nothing yet.
pub struct StartingBroker {
    running: RunningBroker,
    followers: Followers,
    is_alone: bool,
}

impl From<ProposeError> for StartError {
    fn from(error: ProposeError) -> Self {
        StartError::Metadata(error.to_string())
    }
}

/// Starts a broker. It serves when this returns; sockets are the caller's.
///
/// # Errors
/// One sentence that says what is wrong and what to do.
pub async fn start(config: BrokerConfig, parts: BrokerParts) -> Result<RunningBroker, StartError> {
    prepare(config, parts).await?.join().await
}

/// Starts a broker so far that it takes part in the metadata quorum and knows what that says. One of several waits here for a majority of them.
///
/// # Errors
/// One sentence that says what is wrong and what to do.
pub async fn prepare(config: BrokerConfig, parts: BrokerParts) -> Result<StartingBroker, StartError> {
    let BrokerParts { clock, entropy, bound_ports, failpoints, metrics, life, quorum_started } = parts;
    let store = Store::open(store_options(&config, failpoints))?;
    let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
    let not_started = stopping.clone().drop_guard();
    let beginning = Beginning { config: &config, store: &store, entropy: &*entropy, clock: &clock, tasks: &tasks, stopping: &stopping };
    let Begun { registration, quorum, channel, is_alone } = beginning.begin(&bound_ports, life, quorum_started).await?;
    let channel = Some(channel);

    let partitions = Arc::new(Partitions::new(
        config.broker_id,
        store.clone(),
        config.set.clone(),
        config.producer_id_expiration_ms,
        Arc::clone(&clock),
        Arc::clone(&metrics),
    ));
    let metadata = MetadataView::new(quorum.image());
    let controller =
        Controller::new(Arc::clone(&quorum), Arc::clone(&entropy), controller_settings(&config), channel.clone(), Arc::clone(&clock));
    let coordination = Coordination::new(CoordinationParts {
        config: &config,
        metadata: metadata.clone(),
        partitions: Arc::clone(&partitions),
        controller: controller.clone(),
        entropy: Arc::clone(&entropy),
        clock: Arc::clone(&clock),
        tasks: tasks.clone(),
    });
    let absences = Arc::new(Absences::new(Arc::clone(&clock)));
    let replication_throttle = Arc::new(ReplicationThrottle::new(config.broker_id, Arc::clone(&clock)));
    let fetchers = ReplicaFetchers::new(FetchersParts {
        broker_id: config.broker_id,
        config: config.replica_fetch,
        listener: config.inter_broker_listener.clone(),
        partitions: Arc::clone(&partitions),
        metadata: metadata.clone(),
        absences: Arc::clone(&absences),
        throttle: Arc::clone(&replication_throttle),
        clock: Arc::clone(&clock),
        tasks: tasks.clone(),
        runtime: tokio::runtime::Handle::current(),
    });
    let quotas = Quotas::new(config.quota_window, config.controller_quota_window, Arc::clone(&clock));
    let config = Arc::new(config);
    let live_limits = Arc::new(LiveLimits::new(config.quota_window, Arc::clone(&clock), tokio::runtime::Handle::current()));
    let image = metadata.image();
    live_limits.start(&config, &ConfigView::new(&image, config.broker_id, &config.set)).await?;
    let followers = Followers {
        partitions: Arc::clone(&partitions),
        fetchers: fetchers.clone(),
        coordination: coordination.clone(),
        quotas: Arc::clone(&quotas),
        live_limits: Arc::clone(&live_limits),
        config: Arc::clone(&config),
        notices: Arc::default(),
        absences: Arc::clone(&absences),
        replication_throttle: Arc::clone(&replication_throttle),
    };
    let broker = Arc::new(Broker {
        metadata,
        partitions,
        groups: coordination.groups,
        transactions: coordination.transactions,
        markers: coordination.markers,
        verifier: coordination.verifier,
        producer_ids: coordination.producer_ids,
        controller,
        fetch_sessions: FetchSessions::new(config.fetch_sessions_max),
        hand_over_gate: HandOverGate::default(),
        absences,
        channel,
        metrics,
        live_limits,
        quotas,
        replication_throttle,
        entropy,
        clock,
        config,
    });
    let stopping = not_started.disarm();
    let running = RunningBroker { broker, store, quorum, fetchers, tasks, stopping, registration, member: None };
    Ok(StartingBroker { running, followers, is_alone })
}

impl StartingBroker {
    /// The broker, for its controller listener. Its partitions come with [`StartingBroker::join`].
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.running.broker
    }

    /// Registers a broker of several, and serves.
    ///
    /// # Errors
    /// One sentence that says what is wrong and what to do.
    pub async fn join(self) -> Result<RunningBroker, StartError> {
        let Self { mut running, followers, is_alone } = self;
        let broker = &running.broker;
        let channel = broker.channel.clone().filter(|_| !is_alone);
        if channel.is_some() {
            running.tasks.spawn(broker.controller.clone().watch_members(running.stopping.clone()));
        }
        let member = match &channel {
            Some(channel) => {
                let is_whole = cluster::is_whole(&running.store, broker.config.durability)?;
                let member = cluster::register(broker, &running.quorum, channel, &running.registration, is_whole).await?;
                cluster::note_run(&running.store)?;
                Some(member)
            }
            None => None,
        };
        follow_metadata(&*running.quorum, followers, &broker.metadata)?;
        match &member {
            Some(member) => {
                running.change_isr_by(by_controller(broker)?);
                member.become_active(broker, &running.tasks, running.stopping.clone()).await?;
            }
            None => running.begin_cluster_when_others_come(),
        }
        let tasks = &running.tasks;
        if matches!(broker.config.quorum, Some(QuorumConfig::Observer { wants_vote: true, .. }))
            && let Some(channel) = channel
        {
            let wish = VoteWish {
                registration: running.registration.clone(),
                channel,
                quorum: Arc::clone(&running.quorum),
                clock: Arc::clone(&broker.clock),
            };
            tasks.spawn(wish.follow(running.stopping.clone()));
        }
        tasks.spawn(expire_offsets(Arc::clone(broker), running.stopping.clone()));
        tasks.spawn(coordination::expire_transactional_ids(Arc::clone(broker), running.stopping.clone()));
        tasks.spawn(crate::cleaner::run(Arc::clone(broker), running.stopping.clone()));
        tasks.spawn(maintenance::run(Arc::clone(broker), running.stopping.clone()));
        running.member = member;
        Ok(running)
    }
}

fn store_options(config: &BrokerConfig, failpoints: Failpoints) -> StoreOptions {
    let mut options = StoreOptions::new(&config.data_directory);
    options.thread_label = config.broker_id.to_string();
    options.failpoints = failpoints;
    options.durability = config.durability;
    options.journal_file_bytes = config.journal_file_bytes;
    options
}

fn controller_settings(config: &BrokerConfig) -> ControllerSettings {
    ControllerSettings {
        broker_id: config.broker_id,
        given: config.set.clone(),
        broker_rows: config.rows.clone(),
        session_timeout: config.session_timeout,
        rebalance_interval: config.leader_rebalance_interval,
        defaults: TopicDefaults { num_partitions: config.num_partitions, replication_factor: config.default_replication_factor },
        offsets_topic: InternalTopic::ConsumerOffsets {
            partitions: config.offsets_topic_num_partitions,
            replication_factor: config.offsets_topic_replication_factor,
            segment_bytes: config.offsets_topic_segment_bytes,
        },
        transactions_topic: config.transactions_topic,
    }
}

async fn expire_offsets(broker: Arc<Broker>, stopping: CancellationToken) {
    let interval = Duration::from_millis(u64::try_from(broker.config.offsets_retention_check_interval_ms).unwrap_or(600_000));
    loop {
        let next = broker.clock.monotonic() + interval;
        tokio::select! {
            () = stopping.cancelled() => return,
            () = broker.clock.sleep_until(next) => broker.groups.expire_offsets(),
        }
    }
}
