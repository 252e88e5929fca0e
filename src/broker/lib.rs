//! One broker as a value: its partitions, its waiting requests, its coordinators, its part in the metadata quorum.
//!
//! What it is *not*: it knows no sockets' life and no request's wire form (that is `wire` and `apis`), and it decides nothing that a pure crate
//! can decide (`replication`, `metadata`, `group-coordinator`): it feeds them facts and carries out their effects.
//!
//! Invariants:
//! - A broker holds no global state; many live in one process. Clock and randomness are handed in.
//! - Metadata is published to request handlers only after the partitions that it names serve ([`metadata_view`]).
//! - A partition's offsets move only under its own lock, and no I/O happens under it ([`partitions`]).
//! - A coordinator's shard sees one operation at a time, and a reply leaves only after the records that it depends on are committed ([`coordinators`]).
//!
//! In Kafka: `BrokerServer`, `ReplicaManager`, `Partition`, `CoordinatorRuntime`, `ControllerApis`; here each is a small part with one duty.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod absences;
mod broker_connection;
mod cleaner;
mod cluster;
pub mod config;
mod config_notices;
pub mod controller;
pub mod controller_channel;
mod controller_line;
mod coordination;
pub mod coordinators;
pub mod entropy;
pub mod fetch_session;
pub mod hand_over_gate;
mod isr_by_controller;
pub mod isr_changes;
pub mod live_limits;
mod mailboxes;
mod maintenance;
pub mod markers;
mod metadata_followers;
mod metadata_start;
pub mod metadata_view;
pub mod metrics;
mod observing;
pub mod partitions;
pub mod producer_ids;
pub mod purgatory;
pub mod quorum_door;
pub mod quorum_frames;
pub mod quotas;
pub mod read_pool;
mod registration;
pub mod replica_fetchers;
pub mod replication_throttle;
mod running;
mod start;
pub mod verification;
mod vote_wish;
pub mod voter_peers;

use std::sync::Arc;

pub use log_store::Failpoints;
pub use observing::ask_who;
pub use running::RunningBroker;
pub use start::{BrokerParts, QuorumStarted, StartError, StartingBroker, prepare, start};

/// The service handles of one broker. Request handlers get this and the request, nothing else.
pub struct Broker {
    /// The validated configuration.
    pub config: Arc<config::BrokerConfig>,
    /// The published cluster image.
    pub metadata: metadata_view::MetadataView,
    /// The partitions that this broker serves.
    pub partitions: Arc<partitions::Partitions>,
    /// The consumer groups whose offsets partitions this broker leads.
    pub groups: coordinators::Groups,
    /// The transactional ids whose partitions this broker leads.
    pub transactions: coordinators::Transactions,
    /// Writes the markers of transactions into partitions.
    pub markers: markers::MarkerDelivery,
    /// Asks coordinators about transactions.
    pub verifier: verification::Verifier,
    /// Changes of the cluster's metadata.
    pub controller: controller::Controller,
    /// Ids for idempotent producers.
    pub producer_ids: Arc<producer_ids::ProducerIds>,
    /// What consumers asked for last time.
    pub fetch_sessions: fetch_session::FetchSessions,
    /// Whether produce requests are taken at present.
    pub hand_over_gate: hand_over_gate::HandOverGate,
    /// Who has just gone.
    pub absences: Arc<absences::Absences>,
    /// The way to the active controller, which may be another broker; `None` in tests of one that is a cluster by itself.
    pub channel: Option<controller_channel::ControllerChannel>,
    /// What is counted.
    pub metrics: Arc<metrics::Metrics>,
    /// How many connections there may be, and how fast they may come.
    pub live_limits: Arc<live_limits::LiveLimits>,
    /// What clients may use per second, and what they did.
    pub quotas: Arc<quotas::Quotas>,
    /// How fast replicas that catch up may be filled.
    pub replication_throttle: Arc<replication_throttle::ReplicationThrottle>,
    /// Randomness, real or fixed by a test.
    pub entropy: Arc<dyn entropy::Entropy>,
    /// Time, real or moved by a test.
    pub clock: wire::clock::SharedClock,
}
