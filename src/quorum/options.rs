//! How a quorum is started, and why it does not start.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::BrokerId;
use openraft::{Config, SnapshotPolicy};
use thiserror::Error;
use wire::Life;
use wire::clock::SharedClock;

use crate::candidacy::LEASE_MS;
use crate::disk::DiskError;
use crate::network::{NoPeers, Peers};
use crate::on_disk::OnDisk;

/// A sole voter has nobody to tell that it lives, so its clock ticks only so that openraft's own checks run at all.
const HEARTBEAT_MS: u64 = 60_000;

/// With several voters the leader tells the others so often that it lives.
const PEER_HEARTBEAT_MS: u64 = 50;
/// Openraft waits for a vote for the first of these, and gives no other vote within the second. When somebody stands says `candidacy`.
const PEER_ELECTION_MS: (u64, u64) = (LEASE_MS - 1, LEASE_MS);
/// How long a voter waits for a part of a snapshot to be taken.
const SNAPSHOT_PART_MS: u64 = 5_000;

/// How a quorum is started.
#[derive(Clone)]
pub struct QuorumOptions {
    /// This broker: one of the voters, or an observer.
    pub broker_id: BrokerId,
    /// Who votes in a log that is yet to begin. Where this broker is not among them it is an observer, and who votes is learned from them.
    pub voters: BTreeSet<BrokerId>,
    /// Who votes by the log, as [`look`](crate::look) found it; `None` if it has not begun.
    pub begun: Option<BTreeSet<BrokerId>>,
    /// The way to the other voters.
    pub peers: Arc<dyn Peers>,
    /// How long proposals wait is measured by it.
    pub clock: SharedClock,
    /// The order under which the quorum's thread is.
    pub life: Arc<Life>,
    /// After how many log entries the image is written as a snapshot and the log before it purged.
    pub snapshot_after_entries: u64,
}

impl QuorumOptions {
    /// The options of a sole voter.
    #[must_use]
    pub fn new(broker_id: BrokerId, clock: SharedClock) -> Self {
        Self {
            broker_id,
            voters: BTreeSet::from([broker_id]),
            begun: None,
            peers: Arc::new(NoPeers),
            clock,
            life: Arc::default(),
            snapshot_after_entries: 10_000,
        }
    }

    /// The same under an order that may have the thread stand still or end.
    #[must_use]
    pub fn under(self, life: Arc<Life>) -> Self {
        Self { life, ..self }
    }

    /// The options of one of several voters.
    #[must_use]
    pub fn with_peers(self, voters: BTreeSet<BrokerId>, peers: Arc<dyn Peers>) -> Self {
        Self { voters, peers, ..self }
    }

    /// The options of a broker that has the log and no vote, unless the log says that it has one. Whoever leads the quorum brings the log.
    #[must_use]
    pub fn as_observer(self, peers: Arc<dyn Peers>) -> Self {
        Self { voters: BTreeSet::new(), peers, ..self }
    }

    /// The same for a log that holds this.
    ///
    /// # Errors
    /// If the log is that of a broker of another id.
    pub fn of_log(self, found: &OnDisk) -> Result<Self, StartError> {
        if found.voters.is_empty() {
            return Ok(self);
        }
        // Who led and votes no more is no member until it is taken back, but a broker of the cluster.
        let is_known = found.members.contains(&self.broker_id) || found.image.broker(self.broker_id).is_some();
        if self.voters.contains(&self.broker_id) && !is_known {
            return Err(StartError::NotAMember { broker_id: self.broker_id, members: found.members.iter().copied().collect() });
        }
        Ok(Self { begun: Some(found.voters.clone()), ..self })
    }

    fn voters(&self) -> &BTreeSet<BrokerId> {
        self.begun.as_ref().unwrap_or(&self.voters)
    }

    pub(crate) fn is_observer(&self) -> bool {
        !self.voters().contains(&self.broker_id)
    }

    pub(crate) fn has_peers(&self) -> bool {
        self.voters().len() > 1 || self.is_observer()
    }

    /// Openraft's settings for a sole voter, or for one of several.
    pub(crate) fn config(&self, has_peers: bool) -> Config {
        let (heartbeat_ms, election_ms) =
            if has_peers { (PEER_HEARTBEAT_MS, PEER_ELECTION_MS) } else { (HEARTBEAT_MS, (2 * HEARTBEAT_MS, 3 * HEARTBEAT_MS)) };
        Config {
            cluster_name: "metadata".to_owned(),
            heartbeat_interval: heartbeat_ms,
            election_timeout_min: election_ms.0,
            election_timeout_max: election_ms.1,
            enable_elect: !has_peers,
            install_snapshot_timeout: SNAPSHOT_PART_MS,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_after_entries),
            max_in_snapshot_log_to_keep: 0,
            ..Config::default()
        }
    }
}

fn listed(ids: &[BrokerId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why a quorum does not start. Each is one clear sentence.
#[derive(Debug, Error)]
pub enum StartError {
    /// The log cannot be read or written.
    #[error("the metadata log cannot be used: {0}")]
    Storage(#[source] DiskError),
    /// The log belongs to a broker of another id.
    #[error("the metadata log belongs to the brokers {}, but this broker's node.id is {broker_id}", listed(members))]
    NotAMember {
        /// This broker.
        broker_id: BrokerId,
        /// The voters and observers in the log.
        members: Vec<BrokerId>,
    },
    /// The thread cannot be made.
    #[error("the metadata quorum's thread cannot start: {0}")]
    Thread(#[from] std::io::Error),
    /// openraft stopped while it started.
    #[error("the metadata quorum stopped while it started: {0}")]
    Stopped(String),
}
