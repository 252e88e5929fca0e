//! The first part of a start: this broker takes part in the metadata quorum, and knows what that says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use log_store::Store;
use metadata::controller::BrokerRegistration;
use model::BrokerId;
use quorum::{MetadataQuorum, OnDisk, QuorumOptions};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::Life;
use wire::clock::SharedClock;

use crate::cluster;
use crate::config::{BrokerConfig, HostPort, QuorumConfig};
use crate::controller_channel::ControllerChannel;
use crate::entropy::Entropy;
use crate::observing::{Observing, Whereabouts};
use crate::quorum_door::QuorumDoor;
use crate::registration::{check_identity, cluster_on_disk, directory_id, register, registration};
use crate::start::{QuorumStarted, StartError};
use crate::voter_peers::VoterPeers;

/// What it takes.
pub(crate) struct Beginning<'a> {
    pub(crate) config: &'a BrokerConfig,
    pub(crate) store: &'a Store,
    pub(crate) entropy: &'a dyn Entropy,
    pub(crate) clock: &'a SharedClock,
    pub(crate) tasks: &'a TaskTracker,
    pub(crate) stopping: &'a CancellationToken,
}

/// What comes of it.
pub(crate) struct Begun {
    /// What this run says of itself.
    pub(crate) registration: BrokerRegistration,
    pub(crate) quorum: Arc<dyn MetadataQuorum>,
    /// The way to the active controller.
    pub(crate) channel: ControllerChannel,
    /// Whether this broker is a cluster by itself, or the only one in it that votes; then it is registered already.
    pub(crate) is_alone: bool,
}

impl Beginning<'_> {
    /// One of several waits here for a majority of the voters.
    pub(crate) async fn begin(
        self,
        bound_ports: &HashMap<String, u16>,
        life: Arc<Life>,
        quorum_started: Option<QuorumStarted>,
    ) -> Result<Begun, StartError> {
        let Self { config, store, entropy, clock, tasks, stopping } = self;
        let registration = registration(config, bound_ports, entropy, directory_id(store, entropy)?);
        let found = quorum::look(&store.synced_log("metadata")).map_err(|error| StartError::Metadata(error.to_string()))?;
        let is_alone = config.quorum.is_none() && found.voters.iter().all(|voter| *voter == config.broker_id);
        if config.quorum.is_none() {
            check_identity(config, &found.image)?;
        }
        let known_cluster = cluster_on_disk(config, &found.image)?;
        let whereabouts = whereabouts(config, &registration);
        let peers = VoterPeers::new(whereabouts.of(&voters(config, &found), &found.image));
        peers.is_of(known_cluster.as_deref().unwrap_or_default());
        let options = QuorumOptions::new(config.broker_id, Arc::clone(clock)).under(life);
        let quorum = start_quorum(config, store, &peers, &found, options).await?;
        if let Some(quorum_started) = quorum_started {
            quorum_started(QuorumDoor::new(config.broker_id, Arc::clone(&quorum), peers.clone(), Arc::clone(clock), is_alone));
        }
        let seeds = match &config.quorum {
            Some(QuorumConfig::Observer { seeds, .. }) => seeds.clone(),
            Some(QuorumConfig::Voter { .. }) | None => Vec::new(),
        };
        let observing = Observing {
            broker_id: config.broker_id,
            incarnation: registration.incarnation_id.as_u128(),
            cluster_id: known_cluster.or_else(|| config.cluster_id.clone()).unwrap_or_default(),
            seeds: seeds.clone(),
            whereabouts,
            on_disk: found.image,
            quorum: Arc::clone(&quorum),
            peers: peers.clone(),
            clock: Arc::clone(clock),
        };
        tasks.spawn(observing.run(stopping.clone()));
        let channel = ControllerChannel::new(Arc::clone(&quorum), peers, Arc::clone(clock));
        if is_alone {
            register(config, registration.clone(), store, &*quorum, entropy).await?;
        } else {
            cluster::catch_up(&*quorum, &seeds, &**clock).await?;
        }
        Ok(Begun { registration, quorum, channel, is_alone })
    }
}

/// Who votes, as far as this broker knows before anybody is asked: by its log, and before that has begun by its configuration.
fn voters(config: &BrokerConfig, found: &OnDisk) -> BTreeSet<BrokerId> {
    match &config.quorum {
        _ if !found.voters.is_empty() => found.voters.clone(),
        Some(QuorumConfig::Voter { voters, .. }) => voters.keys().copied().collect(),
        Some(QuorumConfig::Observer { .. }) => BTreeSet::new(),
        None => BTreeSet::from([config.broker_id]),
    }
}

fn whereabouts(config: &BrokerConfig, registration: &BrokerRegistration) -> Whereabouts {
    let configured = match &config.quorum {
        Some(QuorumConfig::Voter { voters, .. }) => voters.clone(),
        Some(QuorumConfig::Observer { .. }) | None => BTreeMap::new(),
    };
    let own = registration.listeners.iter().find(|endpoint| endpoint.listener == config.inter_broker_listener);
    let own = own.map(|own| (config.broker_id, HostPort { host: own.host.clone(), port: own.port }));
    Whereabouts { configured, own, listener: config.inter_broker_listener.clone() }
}

async fn start_quorum(
    config: &BrokerConfig,
    store: &Store,
    peers: &VoterPeers,
    found: &OnDisk,
    options: QuorumOptions,
) -> Result<Arc<dyn MetadataQuorum>, StartError> {
    let refused = |error: quorum::StartError| StartError::Metadata(error.to_string());
    let way = Arc::new(peers.clone());
    let options = match &config.quorum {
        Some(QuorumConfig::Observer { .. }) => options.as_observer(way),
        Some(QuorumConfig::Voter { voters, .. }) => {
            let configured: BTreeSet<BrokerId> = voters.keys().copied().collect();
            if !found.voters.is_empty() && found.voters != configured {
                tracing::warn!(
                    voters = ?found.voters,
                    "controller.quorum.voters names other voters than the metadata log; it counts for a new cluster only, `klamm voters` changes them"
                );
            }
            options.with_peers(configured, way)
        }
        None => options.with_peers(BTreeSet::from([config.broker_id]), way),
    };
    let options = options.of_log(found).map_err(refused)?;
    quorum::start(store.synced_log("metadata"), options).await.map_err(refused)
}
