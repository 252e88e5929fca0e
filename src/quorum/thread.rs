//! The quorum's thread: it runs openraft on the log, tells who leads and who votes, and finishes what is left half done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::BrokerId;
use openraft::{AsyncRuntime, EmptyNode, ServerState};
use tokio::sync::{mpsc, oneshot, watch};

use crate::candidacy::stand_when_due;
use crate::completeness::remember_completeness;
use crate::disk::Disk;
use crate::log_storage::LogStorage;
use crate::network::Network;
use crate::node::{broker_of, has_caught_up};
use crate::options::{QuorumOptions, StartError};
use crate::state_machine::{Shared, StateMachine};
use crate::types::Raft;
use crate::voters::{Turn, finish_changes};

/// All voters may begin the quorum, but it is quicker if one of them does. The others wait so long for it.
const BEGIN_AFTER: Duration = Duration::from_secs(2);

/// What the quorum's thread has.
pub(crate) struct QuorumThread {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: QuorumOptions,
    pub(crate) shared: Arc<Shared>,
    pub(crate) has_peers: Arc<AtomicBool>,
    pub(crate) told: watch::Sender<Option<BrokerId>>,
    pub(crate) told_voting: watch::Sender<BTreeSet<BrokerId>>,
    pub(crate) turn: Arc<Turn>,
}

pub(crate) type Ready = oneshot::Sender<Result<watch::Receiver<Raft>, StartError>>;

impl QuorumThread {
    /// Runs one openraft, and another one on the same log whenever that is asked for.
    pub(crate) async fn run(self, ready: Ready, mut stop: oneshot::Receiver<()>, mut restart: mpsc::Receiver<oneshot::Sender<()>>) {
        let (raft, mut gone) = match self.begin().await {
            Ok(begun) => begun,
            Err(error) => {
                let _asker_gone = ready.send(Err(error));
                return;
            }
        };
        let (rafts, receiver) = watch::channel(raft.clone());
        // Whoever asked to start may be gone; the channel below is closed then, too.
        let _asker_gone = ready.send(Ok(receiver));
        let mut raft = raft;
        loop {
            let has_peers = self.has_peers.load(Ordering::Acquire);
            let asked = tokio::select! {
                _stop_or_dropped = &mut stop => None,
                () = self.options.life.obey() => None,
                () = tell(&raft, &self) => None,
                () = remember_completeness(&*self.disk, &self.shared) => None,
                () = finish_changes(&raft, &self.turn, self.shared.began_with()) => None,
                () = stand_when_due(&raft, number_of(self.options.broker_id), &self.options.peers, &self.shared), if has_peers => None,
                Some(asked) = restart.recv() => Some(asked),
            };
            if let Err(error) = raft.shutdown().await {
                tracing::error!(%error, "the metadata quorum's task did not end well");
            }
            let Some(asked) = asked else { break };
            // It ends when openraft has let go of its state machine: two must not apply side by side.
            let _gone = gone.await;
            self.has_peers.store(true, Ordering::Release);
            match self.begin().await {
                Ok(begun) => (raft, gone) = begun,
                Err(error) => {
                    tracing::error!(%error, "the metadata quorum has stopped; restart the broker");
                    break;
                }
            }
            rafts.send_replace(raft.clone());
            let _asker_gone = asked.send(());
        }
        self.shared.forget_observers();
    }

    /// Opens log and image. A sole voter becomes leader and replays.
    async fn begin(&self) -> Result<(Raft, oneshot::Receiver<()>), StartError> {
        let (options, has_peers) = (&self.options, self.has_peers.load(Ordering::Acquire));
        let config = options.config(has_peers).validate().map_err(|error| StartError::Stopped(error.to_string()))?;
        let id = number_of(options.broker_id);
        let log = LogStorage::new(Arc::clone(&self.disk), has_peers);
        let (machine, gone) = StateMachine::open(Arc::clone(&self.disk), Arc::clone(&self.shared)).map_err(StartError::Storage)?;
        let network = Network { peers: Arc::clone(&options.peers), shared: Arc::clone(&self.shared) };
        let raft = Raft::new(id, Arc::new(config), network, log, machine).await.map_err(stopped)?;
        if options.has_peers() {
            join_voters(&raft, options).await?;
            return Ok((raft, gone));
        }
        if !raft.is_initialized().await.map_err(stopped)? {
            raft.initialize(BTreeMap::from([(id, EmptyNode {})])).await.map_err(stopped)?;
        }
        let (state, voters) = raft.with_raft_state(|state| (state.server_state, voters_of(state))).await.map_err(stopped)?;
        if voters != [id] {
            return Err(StartError::Stopped(format!("its log was not looked at: it has the voters {voters:?}")));
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
        self.shared.go_live();
        Ok((raft, gone))
    }
}

/// Begins the log of several voters, unless it has begun.
async fn join_voters(raft: &Raft, options: &QuorumOptions) -> Result<(), StartError> {
    if options.is_observer() || raft.is_initialized().await.map_err(stopped)? {
        return Ok(());
    }
    let (begins_at_once, raft) = (options.voters.first() == Some(&options.broker_id), raft.clone());
    let members: BTreeMap<u64, EmptyNode> = options.voters.iter().map(|voter| (number_of(*voter), EmptyNode {})).collect();
    // On the quorum's own thread. It ends when the log has begun, here or by another voter's first message.
    tokio::spawn(async move {
        if !begins_at_once {
            <openraft::TokioRuntime as AsyncRuntime>::sleep(BEGIN_AFTER).await;
            // Usually the first voter has begun it meanwhile; openraft would call it an error to try again.
            if !matches!(raft.is_initialized().await, Ok(false)) {
                return;
            }
        }
        if let Err(error) = raft.initialize(members).await {
            tracing::debug!(%error, "another voter began the metadata log");
        }
    });
    Ok(())
}

fn voters_of(state: &openraft::RaftState<u64, EmptyNode, <openraft::TokioRuntime as AsyncRuntime>::Instant>) -> Vec<u64> {
    state.membership_state.effective().voter_ids().collect()
}

pub(crate) fn number_of(broker_id: BrokerId) -> u64 {
    u64::try_from(broker_id.get()).unwrap_or(0)
}

/// Passes on who leads and who votes, until openraft ends.
async fn tell(raft: &Raft, thread: &QuorumThread) {
    let mut metrics = raft.metrics();
    loop {
        let (leader, voters) = {
            let now = metrics.borrow_and_update();
            if now.state == ServerState::Leader && has_caught_up(&now, thread.shared.began_with()) {
                thread.shared.complete();
            }
            let voters: BTreeSet<BrokerId> = now.membership_config.voter_ids().filter_map(broker_of).collect();
            (now.current_leader.and_then(broker_of), voters)
        };
        thread.told_voting.send_if_modified(|known| !voters.is_empty() && std::mem::replace(known, voters.clone()) != voters);
        thread.told.send_if_modified(|known| std::mem::replace(known, leader) != leader);
        if metrics.changed().await.is_err() {
            if let Err(error) = &metrics.borrow().running_state {
                tracing::error!(%error, "the metadata quorum has stopped; restart the broker");
            }
            return;
        }
    }
}

fn stopped(error: impl ToString) -> StartError {
    StartError::Stopped(error.to_string())
}
