//! How a broker comes up and goes down.
//!
//! Up: open the store, replay the metadata log, record this run's registration (which bumps the epoch of every partition that it leads, so that it
//! never leads under an epoch of an earlier process life), open the partitions, load the coordinators, publish the image. Down: the reverse.
//!
//! A broker alone does all of it by itself ([`start`]). One of several needs the others for it, and they need this one: [`prepare`] ends when it
//! takes part in the metadata quorum, so that its controller listener can answer, and [`StartingBroker::join`] registers it and serves.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use log_store::{Failpoints, OpenError, StorageError, Store, StoreOptions};
use metadata::configs::ConfigView;
use metadata::controller::{
    BrokerRegistration, InternalTopic, RegistrationWish, TopicDefaults, admit_broker, bootstrap_cluster, register_broker,
};
use metadata::{Delta, Endpoint, FeatureRange, Image, MetadataRecord};
use model::BrokerId;
use quorum::{MetadataQuorum, ProposeError, QuorumOptions};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::clock::SharedClock;

use crate::Broker;
use crate::cluster;
use crate::config::{BrokerConfig, HostPort, QuorumConfig};
use crate::config_notices::ConfigNotices;
use crate::controller::{Controller, ControllerSettings};
use crate::controller_channel::ControllerChannel;
use crate::coordinators::{Groups, GroupsParts};
use crate::entropy::Entropy;
use crate::fetch_session::FetchSessions;
use crate::isr_by_controller::ByController;
use crate::isr_changes::{IsrChanges, IsrProposer};
use crate::live_limits::{LiveLimits, UnknownHost};
use crate::maintenance;
use crate::metadata_view::MetadataView;
use crate::metrics::Metrics;
use crate::observing::Observing;
use crate::partitions::Partitions;
use crate::producer_ids::ProducerIds;
use crate::quorum_door::QuorumDoor;
use crate::quotas::Quotas;
use crate::replica_fetchers::{FetchersParts, ReplicaFetchers};
use crate::voter_peers::VoterPeers;

/// The features that this broker serves, and the levels that a new cluster begins with.
const FEATURES: &[(&str, FeatureRange, i16)] = &[("metadata.version", FeatureRange { min: 7, max: 30 }, 30)];

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
}

impl From<ProposeError> for StartError {
    fn from(error: ProposeError) -> Self {
        StartError::Metadata(error.to_string())
    }
}

/// A broker that serves.
pub struct RunningBroker {
    /// Its services.
    pub broker: Arc<Broker>,
    store: Store,
    quorum: Arc<dyn MetadataQuorum>,
    fetchers: ReplicaFetchers,
    tasks: TaskTracker,
    stopping: CancellationToken,
    registration: BrokerRegistration,
    member: Option<cluster::Member>,
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
    let BrokerParts { clock, entropy, bound_ports, failpoints, metrics, quorum_started } = parts;
    let mut options = StoreOptions::new(&config.data_directory);
    options.thread_label = config.broker_id.to_string();
    options.failpoints = failpoints;
    options.durability = config.durability;
    options.journal_file_bytes = config.journal_file_bytes;
    let store = Store::open(options)?;
    let registration = registration(&config, &bound_ports, &*entropy);
    let peers = VoterPeers::new(voters(&config, &registration));
    let known_cluster = cluster_on_disk(&config, &store)?;
    let quorum = start_quorum(&config, &store, &peers, &clock).await?;
    if let Some(quorum_started) = quorum_started {
        quorum_started(QuorumDoor::new(config.broker_id, Arc::clone(&quorum), peers.clone(), Arc::clone(&clock)));
    }
    let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
    let not_started = stopping.clone().drop_guard();
    if let Some(QuorumConfig::Observer { seeds }) = &config.quorum {
        let (broker_id, incarnation) = (config.broker_id, registration.incarnation_id.as_u128());
        let cluster_id = known_cluster.or_else(|| config.cluster_id.clone()).unwrap_or_default();
        let (quorum, peers, clock, seeds) = (Arc::clone(&quorum), peers.clone(), Arc::clone(&clock), seeds.clone());
        tasks.spawn(Observing { broker_id, incarnation, cluster_id, seeds, quorum, peers, clock }.run(stopping.clone()));
    }
    let channel = ControllerChannel::new(Arc::clone(&quorum), peers, Arc::clone(&clock));
    match &config.quorum {
        Some(part) => cluster::catch_up(&*quorum, part, &*clock).await?,
        None => register(&config, registration.clone(), &store, &*quorum, &*entropy).await?,
    }
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
    let groups = Groups::new(GroupsParts {
        broker_id: config.broker_id,
        config: config.groups.clone(),
        metadata: metadata.clone(),
        partitions: Arc::clone(&partitions),
        controller: controller.clone(),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
        tasks: tasks.clone(),
        runtime: tokio::runtime::Handle::current(),
    });
    let fetchers = ReplicaFetchers::new(FetchersParts {
        broker_id: config.broker_id,
        config: config.replica_fetch,
        listener: config.inter_broker_listener.clone(),
        partitions: Arc::clone(&partitions),
        metadata: metadata.clone(),
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
        groups: groups.clone(),
        quotas: Arc::clone(&quotas),
        live_limits: Arc::clone(&live_limits),
        config: Arc::clone(&config),
        notices: Arc::default(),
    };
    let broker = Arc::new(Broker {
        metadata,
        partitions,
        groups,
        producer_ids: ProducerIds::new(controller.clone()),
        controller,
        fetch_sessions: FetchSessions::new(config.fetch_sessions_max),
        channel,
        metrics,
        live_limits,
        quotas,
        entropy,
        clock,
        config,
    });
    let stopping = not_started.disarm();
    let running = RunningBroker { broker, store, quorum, fetchers, tasks, stopping, registration, member: None };
    Ok(StartingBroker { running, followers })
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
        let Self { mut running, followers } = self;
        let broker = &running.broker;
        let channel = broker.channel.clone().filter(|_| broker.config.quorum.is_some());
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
        tasks.spawn(expire_offsets(Arc::clone(broker), running.stopping.clone()));
        tasks.spawn(crate::cleaner::run(Arc::clone(broker), running.stopping.clone()));
        tasks.spawn(maintenance::run(Arc::clone(broker), running.stopping.clone()));
        running.member = member;
        Ok(running)
    }
}

/// The voters that are known before anybody is asked, and where they take what is meant for them.
fn voters(config: &BrokerConfig, registration: &BrokerRegistration) -> BTreeMap<BrokerId, HostPort> {
    match &config.quorum {
        Some(QuorumConfig::Voter { voters, .. }) => voters.clone(),
        Some(QuorumConfig::Observer { .. }) => BTreeMap::new(),
        None => {
            let own = registration.listeners.iter().find(|endpoint| endpoint.listener == config.inter_broker_listener);
            own.map(|own| (config.broker_id, HostPort { host: own.host.clone(), port: own.port })).into_iter().collect()
        }
    }
}

async fn start_quorum(
    config: &BrokerConfig,
    store: &Store,
    peers: &VoterPeers,
    clock: &SharedClock,
) -> Result<Arc<dyn MetadataQuorum>, StartError> {
    let options = QuorumOptions::new(config.broker_id, Arc::clone(clock));
    let options = match &config.quorum {
        Some(QuorumConfig::Observer { .. }) => options.as_observer(),
        Some(QuorumConfig::Voter { .. }) | None => options.with_peers(peers.addresses().into_keys().collect(), Arc::new(peers.clone())),
    };
    quorum::start(store.synced_log("metadata"), options).await.map_err(|error| StartError::Metadata(error.to_string()))
}

/// Of which cluster an observer's directory is. The others find that out of their log before anybody writes to it.
fn cluster_on_disk(config: &BrokerConfig, store: &Store) -> Result<Option<String>, StartError> {
    if !matches!(config.quorum, Some(QuorumConfig::Observer { .. })) {
        return Ok(None);
    }
    let image = quorum::image_on_disk(&store.synced_log("metadata")).map_err(|error| StartError::Metadata(error.to_string()))?;
    let Some(found) = image.cluster_id().map(str::to_owned) else { return Ok(None) };
    match config.cluster_id.clone().filter(|configured| *configured != found) {
        Some(configured) => Err(StartError::OtherCluster { found, configured }),
        None => Ok(Some(found)),
    }
}

fn by_controller(broker: &Broker) -> Result<Arc<ByController>, StartError> {
    let channel = broker.channel.clone().ok_or_else(|| StartError::Metadata("there is no way to the controller".to_owned()))?;
    let (metadata, clock) = (broker.metadata.clone(), Arc::clone(&broker.clock));
    Ok(Arc::new(ByController { broker_id: broker.config.broker_id, channel, metadata, clock }))
}

/// What this run of the broker says of itself.
fn registration(config: &BrokerConfig, bound_ports: &HashMap<String, u16>, entropy: &dyn Entropy) -> BrokerRegistration {
    let listeners = config.listeners.iter().map(|listener| {
        let bound = bound_ports.get(&listener.name).copied().unwrap_or(listener.bind.port);
        let advertised = listener.advertised_when_bound(bound);
        Endpoint {
            listener: listener.name.clone(),
            host: advertised.host,
            port: advertised.port,
            security_protocol: listener.security_protocol.to_wire(),
        }
    });
    BrokerRegistration {
        broker_id: config.broker_id,
        incarnation_id: entropy.uuid(),
        listeners: listeners.collect(),
        rack: config.rack.clone(),
        features: FEATURES.iter().map(|(name, range, _)| ((*name).to_owned(), *range)).collect::<BTreeMap<_, _>>(),
    }
}

/// The records of a new cluster's birth; none if it has begun.
pub(crate) fn birth(configured_id: Option<&str>, image: &Image, entropy: &dyn Entropy) -> Vec<MetadataRecord> {
    let cluster_id = configured_id.map_or_else(|| uuid_text(entropy.uuid()), str::to_owned);
    let levels: Vec<_> = FEATURES.iter().map(|(name, _, level)| (*name, *level)).collect();
    bootstrap_cluster(image, &cluster_id, &levels)
}

/// Records the cluster's birth, if it is new, and this run of the broker: one proposal, so one sync.
///
/// Where others have joined, this run may lack what they have: it is admitted as any of them, fenced until it tells that it lives.
async fn register(
    config: &BrokerConfig,
    registration: BrokerRegistration,
    store: &Store,
    quorum: &dyn MetadataQuorum,
    entropy: &dyn Entropy,
) -> Result<(), StartError> {
    let term = quorum.leader_term();
    let image = quorum.image();
    check_identity(config, &image)?;
    let mut records = birth(config.cluster_id.as_deref(), &image, entropy);
    let refused = |error: &dyn std::fmt::Display| StartError::Metadata(error.to_string());
    // The store's lock proves that no other process of this broker lives.
    if image.brokers().any(|broker| broker.id != config.broker_id) {
        let is_whole = cluster::is_whole(store, config.durability)?;
        let previous_epoch = image.broker(config.broker_id).filter(|_| is_whole).map(|known| known.epoch);
        let cluster_id = image.cluster_id().unwrap_or_default().to_owned();
        let view = ConfigView::new(&image, config.broker_id, &config.set);
        let wish = RegistrationWish { cluster_id, registration, previous_epoch };
        records.extend(admit_broker(view, wish, false).map_err(|refusal| refused(&refusal))?.records);
        quorum.propose(term, records).await?;
        cluster::note_run(store)?;
    } else {
        records.extend(register_broker(&image, registration, false).map_err(|error| refused(&error))?.records);
        quorum.propose(term, records).await?;
    }
    Ok(())
}

fn check_identity(config: &BrokerConfig, image: &Image) -> Result<(), StartError> {
    if let (Some(found), Some(configured)) = (image.cluster_id(), config.cluster_id.as_deref())
        && found != configured
    {
        return Err(StartError::OtherCluster { found: found.to_owned(), configured: configured.to_owned() });
    }
    match image.brokers().next() {
        Some(broker) if image.broker(config.broker_id).is_none() => {
            Err(StartError::OtherBroker { found: broker.id, configured: config.broker_id })
        }
        _ => Ok(()),
    }
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
    }
}

/// The parts that act on changes of the metadata.
#[derive(Clone)]
struct Followers {
    partitions: Arc<Partitions>,
    fetchers: ReplicaFetchers,
    groups: Groups,
    quotas: Arc<Quotas>,
    live_limits: Arc<LiveLimits>,
    config: Arc<BrokerConfig>,
    notices: Arc<ConfigNotices>,
}

impl Followers {
    fn apply(&self, image: &Arc<Image>, delta: &Delta) -> Result<(), StorageError> {
        let result = self.partitions.apply(image, delta);
        self.fetchers.apply(image, delta);
        self.groups.apply(image, delta);
        self.quotas.apply(image, delta);
        self.live_limits.apply(&self.config, image, delta);
        self.notices.apply(image, delta);
        result
    }
}

/// Serves what the image has now, and each later delta before it is published.
fn follow_metadata(quorum: &dyn MetadataQuorum, followers: Followers, metadata: &MetadataView) -> Result<(), StorageError> {
    let partitions = Arc::clone(&followers.partitions);
    let serve = {
        let (metadata, partitions) = (metadata.clone(), Arc::clone(&partitions));
        move |index: u64, image: &Arc<Image>, delta: &Delta| {
            let result = followers.apply(image, delta);
            metadata.publish(index, Arc::clone(image));
            partitions.announce(delta);
            result
        }
    };
    let observe = serve.clone();
    let image = quorum.subscribe(Arc::new(move |index, image: &Arc<Image>, delta: &Arc<Delta>| {
        // Logged where it happened; the partition answers with storage errors from here on.
        let _logged = observe(index, image, delta);
    }));
    partitions.delete_strays(&image)?;
    serve(image.index(), &image, &Delta::from_nothing(&image))
}

/// Kafka's form of a cluster id: 22 characters of URL-safe base64.
fn uuid_text(id: uuid::Uuid) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = id.as_u128();
    let mut text = [b'A'; 22];
    // 128 bits are 21 characters of 6 bits and one of 2, padded to the right.
    if let Some(last) = text.last_mut() {
        *last = ALPHABET.get(usize::try_from((bits & 3) << 4).unwrap_or(0)).copied().unwrap_or(b'A');
    }
    bits >>= 2;
    for place in text.iter_mut().rev().skip(1) {
        *place = ALPHABET.get(usize::try_from(bits & 63).unwrap_or(0)).copied().unwrap_or(b'A');
        bits >>= 6;
    }
    text.iter().map(|byte| char::from(*byte)).collect()
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

impl RunningBroker {
    /// Sends what leaders propose about their in-sync replicas to a controller, and looks for followers that lag. Once; a broker whose partitions
    /// have one replica each does not need it.
    pub fn change_isr_by(&self, proposer: Arc<dyn IsrProposer>) {
        let changes = self.isr_changes(proposer);
        if let Some(proposals) = changes.partitions.take_proposals() {
            self.tasks.spawn(changes.carry_all(proposals, self.stopping.clone()));
        }
    }

    fn isr_changes(&self, proposer: Arc<dyn IsrProposer>) -> IsrChanges {
        IsrChanges {
            partitions: Arc::clone(&self.broker.partitions),
            proposer,
            lag_max: Duration::from_millis(u64::try_from(self.broker.config.replica_lag_time_max_ms).unwrap_or(0)),
            clock: Arc::clone(&self.broker.clock),
            tasks: self.tasks.clone(),
        }
    }

    /// A broker that is a cluster by itself has nobody to look after and nobody to tell that it lives, until others join.
    fn begin_cluster_when_others_come(&self) {
        let Ok(proposer) = by_controller(&self.broker) else { return };
        let Some(channel) = self.broker.channel.clone() else { return };
        let isr_changes = self.isr_changes(proposer);
        let (broker, tasks, stopping) = (Arc::clone(&self.broker), self.tasks.clone(), self.stopping.clone());
        let (leadership, store) = (self.quorum.leadership(), self.store.clone());
        self.tasks.spawn(async move {
            let (mut published, own) = (broker.metadata.subscribe(), broker.config.broker_id);
            while broker.metadata.image().brokers().all(|known| known.id == own) {
                match stopping.run_until_cancelled(published.changed()).await {
                    Some(Ok(())) => {}
                    Some(Err(_)) | None => return,
                }
            }
            let Some(epoch) = broker.metadata.image().broker(own).map(|known| known.epoch) else { return };
            // Alone it had nobody that could have more than itself.
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || cluster::note_run(&store)).await {
                tracing::error!(%error, "this run is not noted, so the next one will count as having lost data");
            }
            tasks.spawn(isr_changes.run(stopping.clone()));
            tasks.spawn(broker.controller.clone().watch_members(stopping.clone()));
            cluster::Member::new(own, epoch.get(), channel, leadership).tell(broker, stopping).await;
        });
    }

    /// Proposes metadata as it is, past the controller's decisions: for tests that write a cluster's state by hand.
    ///
    /// # Errors
    /// If this broker does not lead the metadata quorum.
    pub async fn propose_metadata(&self, records: Vec<MetadataRecord>) -> Result<u64, StartError> {
        Ok(self.quorum.propose(self.quorum.leader_term(), records).await?)
    }

    /// Stops serving and leaves the data so that the next start scans nothing.
    ///
    /// One of several hands its partitions over first.
    pub async fn stop(self) {
        if let Some(member) = &self.member {
            member.leave(&*self.broker.clock).await;
        }
        self.stopping.cancel();
        // A disk that is full must not hold this up.
        self.store.end_waits();
        self.fetchers.stop();
        self.broker.groups.stop();
        self.tasks.close();
        self.tasks.wait().await;
        self.quorum.shutdown().await;
        let store = self.store.clone();
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        if let Err(error) = closed {
            tracing::error!(%error, "closing the store panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_has_the_form_of_kafkas() {
        assert_eq!(uuid_text(uuid::Uuid::nil()), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(uuid_text(uuid::Uuid::from_u128(u128::MAX)), "_____________________w");
    }
}
