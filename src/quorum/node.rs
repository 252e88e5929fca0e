//! A running quorum: its thread, its start, its proposals.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use log_store::SyncedLog;
use metadata::{Image, MetadataRecord};
use model::BrokerId;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{Config, EmptyNode, ServerState, SnapshotPolicy};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::disk::{Disk, DiskError};
use crate::log_storage::LogStorage;
use crate::network::NoPeers;
use crate::state_machine::{Shared, StateMachine};
use crate::types::{Proposal, Raft};
use crate::{BoxFuture, MetadataQuorum, Observer, ProposeError};

/// A sole voter has nobody to tell that it lives, so its clock ticks only so that openraft's own checks run at all.
const HEARTBEAT_MS: u64 = 60_000;

/// How a quorum is started.
#[derive(Clone, Debug)]
pub struct QuorumOptions {
    /// This broker: the sole voter.
    pub broker_id: BrokerId,
    /// After how many log entries the image is written as a snapshot and the log before it purged.
    pub snapshot_after_entries: u64,
}

impl QuorumOptions {
    /// The options of a broker.
    #[must_use]
    pub const fn new(broker_id: BrokerId) -> Self {
        Self { broker_id, snapshot_after_entries: 10_000 }
    }
}

/// Why a quorum does not start. Each is one clear sentence.
#[derive(Debug, Error)]
pub enum StartError {
    /// The log cannot be read or written.
    #[error("the metadata log cannot be used: {0}")]
    Storage(#[source] DiskError),
    /// The log belongs to a broker of another id.
    #[error("the metadata log belongs to broker {voters:?}, but this broker's node.id is {broker_id}")]
    NotAVoter {
        /// This broker.
        broker_id: BrokerId,
        /// The voters in the log.
        voters: Vec<u64>,
    },
    /// The thread cannot be made.
    #[error("the metadata quorum's thread cannot start: {0}")]
    Thread(#[from] std::io::Error),
    /// openraft stopped while it started.
    #[error("the metadata quorum stopped while it started: {0}")]
    Stopped(String),
}

/// The quorum of one process.
struct RaftQuorum {
    raft: Raft,
    shared: Arc<Shared>,
    /// Dropping it ends the thread too.
    stop: Mutex<Option<oneshot::Sender<()>>>,
    stopped: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
}

/// Starts the quorum of a broker on a synced log: opens it, leads it, and replays it. Entries that were answered before a crash are in the
/// image when this returns.
///
/// # Errors
/// If the log cannot be used, or belongs to another broker.
pub async fn start(log: SyncedLog, options: QuorumOptions) -> Result<Arc<dyn MetadataQuorum>, StartError> {
    start_on(Arc::new(log), options).await
}

pub(crate) async fn start_on(disk: Arc<dyn Disk>, options: QuorumOptions) -> Result<Arc<dyn MetadataQuorum>, StartError> {
    let shared = Arc::new(Shared::new());
    let (ready_sender, ready) = oneshot::channel();
    let (stop, stop_receiver) = oneshot::channel::<()>();
    let (stopped_sender, stopped) = oneshot::channel();
    let on_thread = Arc::clone(&shared);
    // A thread of its own: openraft waits for the disk inside its tasks, which would hold up a shared runtime.
    thread::Builder::new().name(format!("quorum-{}", options.broker_id)).spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime.block_on(async move {
                match begin(disk, &options, &on_thread).await {
                    Ok(raft) => {
                        // Whoever asked to start may be gone; the channel below is closed then, too.
                        let _asker_gone = ready_sender.send(Ok(raft.clone()));
                        let _stop_or_dropped = stop_receiver.await;
                        if let Err(error) = raft.shutdown().await {
                            tracing::error!(%error, "the metadata quorum's task did not end well");
                        }
                        on_thread.forget_observers();
                    }
                    Err(error) => {
                        let _asker_gone = ready_sender.send(Err(error));
                    }
                }
            }),
            Err(error) => {
                let _asker_gone = ready_sender.send(Err(StartError::Thread(error)));
            }
        }
        let _nobody_waits = stopped_sender.send(());
    })?;
    let raft = ready.await.map_err(|_| StartError::Stopped("its thread ended".to_owned()))??;
    Ok(Arc::new(RaftQuorum { raft, shared, stop: Mutex::new(Some(stop)), stopped: Arc::new(Mutex::new(Some(stopped))) }))
}

/// Opens log and image, becomes leader and replays.
async fn begin(disk: Arc<dyn Disk>, options: &QuorumOptions, shared: &Arc<Shared>) -> Result<Raft, StartError> {
    let config = Config {
        cluster_name: "metadata".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: 2 * HEARTBEAT_MS,
        election_timeout_max: 3 * HEARTBEAT_MS,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_after_entries),
        max_in_snapshot_log_to_keep: 0,
        ..Config::default()
    };
    let config = config.validate().map_err(|error| StartError::Stopped(error.to_string()))?;
    let id = u64::try_from(options.broker_id.get()).unwrap_or(0);
    let log = LogStorage::new(Arc::clone(&disk));
    let machine = StateMachine::open(disk, Arc::clone(shared)).map_err(StartError::Storage)?;
    let raft = Raft::new(id, Arc::new(config), NoPeers, log, machine).await.map_err(stopped)?;
    if !raft.is_initialized().await.map_err(stopped)? {
        raft.initialize(BTreeMap::from([(id, EmptyNode {})])).await.map_err(stopped)?;
    }
    let (state, voters) = raft
        .with_raft_state(|state| (state.server_state, state.membership_state.effective().voter_ids().collect::<Vec<u64>>()))
        .await
        .map_err(stopped)?;
    if voters != [id] {
        return Err(StartError::NotAVoter { broker_id: options.broker_id, voters });
    }
    if !matches!(state, ServerState::Leader | ServerState::Candidate) {
        raft.trigger().elect().await.map_err(stopped)?;
    }
    let mut metrics = raft.metrics();
    loop {
        {
            let now = metrics.borrow_and_update();
            now.running_state.clone().map_err(stopped)?;
            let replayed = now.last_applied.map(|applied| applied.index) == now.last_log_index;
            if now.current_leader == Some(id) && now.state == ServerState::Leader && replayed {
                break;
            }
        }
        metrics.changed().await.map_err(stopped)?;
    }
    shared.go_live();
    Ok(raft)
}

fn stopped(error: impl ToString) -> StartError {
    StartError::Stopped(error.to_string())
}

impl MetadataQuorum for RaftQuorum {
    fn propose(&self, records: Vec<MetadataRecord>) -> BoxFuture<Result<u64, ProposeError>> {
        let raft = self.raft.clone();
        Box::pin(async move {
            match raft.client_write(Proposal(records)).await {
                Ok(written) => Ok(written.log_id.index),
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(other))) => {
                    Err(ProposeError::NotLeader { leader: other.leader_id.and_then(broker_of) })
                }
                Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                    Err(ProposeError::Stopped { reason: error.to_string() })
                }
                Err(RaftError::Fatal(error)) => Err(ProposeError::Stopped { reason: error.to_string() }),
            }
        })
    }

    fn image(&self) -> Arc<Image> {
        self.shared.image()
    }

    fn subscribe(&self, observer: Observer) -> Arc<Image> {
        self.shared.subscribe(observer)
    }

    fn leader(&self) -> Option<BrokerId> {
        self.raft.metrics().borrow().current_leader.and_then(broker_of)
    }

    fn leader_term(&self) -> u64 {
        self.raft.metrics().borrow().current_term
    }

    fn shutdown(&self) -> BoxFuture<()> {
        let stop = self.stop.lock().take();
        let stopped = self.stopped.lock().take();
        Box::pin(async move {
            // The thread may have ended by itself: then there is nothing to tell it.
            let _ended = stop.map(|stop| stop.send(()));
            if let Some(stopped) = stopped {
                let _ended = stopped.await;
            }
        })
    }
}

fn broker_of(node: u64) -> Option<BrokerId> {
    i32::try_from(node).ok().and_then(BrokerId::new)
}
