//! A running quorum: its start, its proposals, what it tells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use log_store::SyncedLog;
use metadata::{Image, MetadataRecord};
use model::BrokerId;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, EmptyNode, RaftMetrics, ServerState};
use parking_lot::Mutex;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, mpsc, oneshot, watch};
use wire::clock::{SharedClock, timeout_at};

use crate::candidacy::own_lease_is_over;
use crate::completeness::is_complete;
use crate::disk::Disk;
use crate::network;
use crate::options::{QuorumOptions, StartError};
use crate::state_machine::Shared;
use crate::thread::{QuorumThread, number_of};
use crate::types::{Proposal, Raft};
use crate::voters::{self, Turn, VoterChangeError};
use crate::{BoxFuture, MetadataQuorum, Observer, Peers, ProposeError, ReceiveError, VoterProgress};

/// A leader that has not heard of most voters for so long does not decide: they will have, or have elected, another one. The same time as KRaft's,
/// one and a half of `controller.quorum.fetch.timeout.ms`.
const MOST_SILENCE_MS: u64 = 3_000;
/// After so long the fate of a proposal is unknown.
const PROPOSAL_LIMIT: Duration = Duration::from_secs(5);
/// The same of a sole voter, who waits for nothing but its disk.
const SOLE_PROPOSAL_LIMIT: Duration = Duration::from_secs(60);

/// A leader that goes waits so long for each voter to take over.
const HEIR_WITHIN: Duration = Duration::from_millis(250);

/// The quorum of one process.
struct RaftQuorum {
    id: u64,
    /// Another one takes its place when a sole voter becomes one of several.
    rafts: watch::Receiver<Raft>,
    peers: Arc<dyn Peers>,
    /// Asks for that.
    restarts: mpsc::Sender<oneshot::Sender<()>>,
    /// Shared by who uses openraft, held alone by who has it replaced.
    in_use: Arc<RwLock<()>>,
    /// Whose turn it is to change the voters.
    turn: Arc<Turn>,
    leadership: watch::Receiver<Option<BrokerId>>,
    voting: watch::Receiver<BTreeSet<BrokerId>>,
    shared: Arc<Shared>,
    clock: SharedClock,
    has_peers: Arc<AtomicBool>,
    /// By term, how many proposals there are whose fate is not known.
    unknown: Arc<Mutex<BTreeMap<u64, usize>>>,
    /// Dropping it ends the thread too.
    stop: Mutex<Option<oneshot::Sender<()>>>,
    stopped: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
}

/// Starts the quorum of a broker on a synced log. A sole voter opens it, leads it, and replays it: entries that were answered before a crash
/// are in the image when this returns. With several voters this returns before the others are reached; [`MetadataQuorum::caught_up`] waits.
/// Who votes stands in the log once that has begun.
///
/// # Errors
/// If the log cannot be used, or belongs to another broker.
pub async fn start(log: SyncedLog, options: QuorumOptions) -> Result<Arc<dyn MetadataQuorum>, StartError> {
    start_on(Arc::new(log), options).await
}

pub(crate) async fn start_on(disk: Arc<dyn Disk>, options: QuorumOptions) -> Result<Arc<dyn MetadataQuorum>, StartError> {
    let is_complete = !options.has_peers() || is_complete(&*disk).map_err(StartError::Storage)?;
    let began_with = disk.last_index().map_err(StartError::Storage)?;
    let shared = Arc::new(Shared::new(is_complete, began_with));
    let (ready_sender, ready) = oneshot::channel();
    let (stop, stop_receiver) = oneshot::channel::<()>();
    let (stopped_sender, stopped) = oneshot::channel();
    let (id, broker_id, clock) = (number_of(options.broker_id), options.broker_id, Arc::clone(&options.clock));
    let (has_peers, peers) = (Arc::new(AtomicBool::new(options.has_peers())), Arc::clone(&options.peers));
    let (told, leadership) = watch::channel(None);
    let (told_voting, voting) = watch::channel(options.begun.clone().unwrap_or_default());
    let (restarts, restart) = mpsc::channel(1);
    let turn = Arc::<Turn>::default();
    let thread = QuorumThread {
        disk,
        options,
        shared: Arc::clone(&shared),
        has_peers: Arc::clone(&has_peers),
        told,
        told_voting,
        turn: Arc::clone(&turn),
    };
    // A thread of its own: openraft waits for the disk inside its tasks, which would hold up a shared runtime.
    thread::Builder::new().name(format!("quorum-{broker_id}")).spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(thread.run(ready_sender, stop_receiver, restart)),
            Err(error) => {
                let _asker_gone = ready_sender.send(Err(StartError::Thread(error)));
            }
        }
        let _nobody_waits = stopped_sender.send(());
    })?;
    let rafts = ready.await.map_err(|_| StartError::Stopped("its thread ended".to_owned()))??;
    let (stop, stopped) = (Mutex::new(Some(stop)), Arc::new(Mutex::new(Some(stopped))));
    let (in_use, unknown) = (Arc::default(), Arc::default());
    Ok(Arc::new(RaftQuorum {
        id,
        rafts,
        peers,
        restarts,
        in_use,
        turn,
        leadership,
        voting,
        shared,
        clock,
        has_peers,
        unknown,
        stop,
        stopped,
    }))
}

/// Whether all that was committed before the current leader was elected is applied here: an entry of its own term is, and so all before it. And all that
/// this voter had itself when it began, as far as it was not cut: IMPORTANT: a leader that comes back before the others have noticed goes on in the same
/// term, and while it replays its log it has applied an entry of that term, but not all of them.
pub(crate) fn has_caught_up(metrics: &RaftMetrics<u64, EmptyNode>, began_with: Option<u64>) -> bool {
    let replayed_to = began_with.min(metrics.last_log_index);
    let of_its_term = |applied: openraft::LogId<u64>| applied.leader_id.term == metrics.current_term && Some(applied.index) >= replayed_to;
    metrics.current_leader.is_some() && metrics.last_applied.is_some_and(of_its_term)
}

impl RaftQuorum {
    fn metrics(&self) -> watch::Receiver<RaftMetrics<u64, EmptyNode>> {
        self.rafts.borrow().metrics()
    }

    /// Openraft, which is not replaced while this is held.
    fn raft_in_use(&self) -> impl Future<Output = (OwnedRwLockReadGuard<()>, Raft)> + use<> {
        let (in_use, rafts) = (Arc::clone(&self.in_use), self.rafts.clone());
        async move {
            let guard = in_use.read_owned().await;
            let raft = rafts.borrow().clone();
            (guard, raft)
        }
    }
}

impl MetadataQuorum for RaftQuorum {
    fn propose(&self, term: u64, records: Vec<MetadataRecord>) -> BoxFuture<Result<u64, ProposeError>> {
        let (in_use, clock, unknown) = (self.raft_in_use(), Arc::clone(&self.clock), Arc::clone(&self.unknown));
        let limit = if self.has_peers.load(Ordering::Acquire) { PROPOSAL_LIMIT } else { SOLE_PROPOSAL_LIMIT };
        Box::pin(async move {
            let (_used, raft) = in_use.await;
            let mut write = Box::pin(async move { raft.client_write(Proposal { term: Some(term), records }).await });
            let Ok(written) = timeout_at(&*clock, clock.monotonic() + limit, &mut write).await else {
                *unknown.lock().entry(term).or_default() += 1;
                // Openraft answers once the entry is applied or cut, unless a snapshot takes its place: by then the term is over.
                tokio::spawn(async move {
                    let _fate = write.await;
                    unknown.lock().entry(term).and_modify(|count| *count = count.saturating_sub(1));
                });
                return Err(ProposeError::FateUnknown);
            };
            match written {
                Ok(written) if written.data.counted => Ok(written.log_id.index),
                Ok(_of_another_term) => Err(ProposeError::NotLeader { leader: None }),
                Err(error) => Err(not_written(error)),
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
        self.metrics().borrow().current_leader.and_then(broker_of)
    }

    fn leader_term(&self) -> u64 {
        self.metrics().borrow().current_term
    }

    fn voters(&self) -> Vec<VoterProgress> {
        let metrics = self.metrics();
        let now = metrics.borrow();
        progress(self.id, &now, now.membership_config.voter_ids())
    }

    fn observers(&self) -> Vec<VoterProgress> {
        let metrics = self.metrics();
        let now = metrics.borrow();
        progress(self.id, &now, now.membership_config.membership().learner_ids())
    }

    fn admit_observer(&self, broker_id: BrokerId) -> BoxFuture<Result<(), ProposeError>> {
        let (in_use, id) = (self.raft_in_use(), number_of(broker_id));
        let is_known = self.metrics().borrow().membership_config.membership().get_node(&id).is_some();
        Box::pin(async move {
            let (_used, raft) = in_use.await;
            if !is_known {
                raft.add_learner(id, EmptyNode {}, false).await.map(|_| ()).map_err(not_written)?;
            }
            // A leader that is alone sends nothing by the clock.
            raft.trigger().heartbeat().await.map_err(|error| ProposeError::Stopped { reason: error.to_string() })
        })
    }

    fn forget_observer(&self, broker_id: BrokerId) -> BoxFuture<Result<(), ProposeError>> {
        let (in_use, id) = (self.raft_in_use(), number_of(broker_id));
        let is_observer = self.metrics().borrow().membership_config.membership().learner_ids().any(|learner| learner == id);
        Box::pin(async move {
            if !is_observer {
                return Ok(());
            }
            let (_used, raft) = in_use.await;
            let change = ChangeMembers::RemoveNodes(BTreeSet::from([id]));
            raft.change_membership(change, false).await.map(|_| ()).map_err(not_written)
        })
    }

    fn add_voter(&self, broker_id: BrokerId) -> BoxFuture<Result<(), VoterChangeError>> {
        let (mut rafts, turn, in_use) = (self.rafts.clone(), Arc::clone(&self.turn), Arc::clone(&self.in_use));
        let (has_peers, restarts, id) = (Arc::clone(&self.has_peers), self.restarts.clone(), number_of(broker_id));
        let began_with = self.shared.began_with();
        Box::pin(async move {
            let _asked = turn.asked.try_lock().map_err(|_| VoterChangeError::InProgress)?;
            let _turn = turn.changing.lock().await;
            let raft = rafts.borrow_and_update().clone();
            voters::until_caught_up(&raft, id, began_with).await?;
            if !has_peers.load(Ordering::Acquire) {
                // A sole voter has written down no vote and its clock stands almost still: openraft begins anew as one of several. In a task of
                // its own, since nobody must use openraft meanwhile, even if whoever asked goes away.
                let anew = tokio::spawn(async move {
                    let _alone = in_use.write().await;
                    let (done, restarted) = oneshot::channel();
                    restarts.send(done).await.is_ok() && restarted.await.is_ok()
                });
                if !anew.await.unwrap_or(false) {
                    return Err(VoterChangeError::Stopped { reason: "its thread ended".to_owned() });
                }
            }
            let raft = rafts.borrow_and_update().clone();
            voters::until_caught_up(&raft, id, began_with).await?;
            let goal = voters::with(&raft.metrics().borrow(), id, began_with)?;
            voters::change_to(&raft, goal).await
        })
    }

    fn remove_voter(&self, broker_id: BrokerId) -> BoxFuture<Result<(), VoterChangeError>> {
        let (in_use, turn, id) = (self.raft_in_use(), Arc::clone(&self.turn), number_of(broker_id));
        let began_with = self.shared.began_with();
        Box::pin(async move {
            let _asked = turn.asked.try_lock().map_err(|_| VoterChangeError::InProgress)?;
            let _turn = turn.changing.lock().await;
            let (_used, raft) = in_use.await;
            let goal = voters::without(&raft.metrics().borrow(), id, began_with)?;
            voters::change_to(&raft, goal).await
        })
    }

    fn voting(&self) -> watch::Receiver<BTreeSet<BrokerId>> {
        self.voting.clone()
    }

    fn is_active(&self) -> bool {
        let metrics = self.metrics();
        let now = metrics.borrow();
        let is_settled = self.unknown.lock().get(&now.current_term).is_none_or(|count| *count == 0);
        let is_heard =
            !self.has_peers.load(Ordering::Acquire) || now.millis_since_quorum_ack.is_none_or(|silence_ms| silence_ms < MOST_SILENCE_MS);
        // Before the image is shown there is nothing to decide on.
        is_settled
            && is_heard
            && self.shared.is_live()
            && now.current_leader == Some(self.id)
            && now.state == ServerState::Leader
            && has_caught_up(&now, self.shared.began_with())
    }

    fn caught_up(&self) -> BoxFuture<Result<(), ProposeError>> {
        // Whoever waits here is not alone, so nothing is begun anew meanwhile.
        let (mut metrics, shared) = (self.metrics(), Arc::clone(&self.shared));
        let mut completeness = shared.completeness();
        Box::pin(async move {
            let ended = |error: &dyn std::error::Error| ProposeError::Stopped { reason: error.to_string() };
            loop {
                {
                    let now = metrics.borrow_and_update();
                    now.running_state.clone().map_err(|error| ended(&error))?;
                    if has_caught_up(&now, shared.began_with()) && *completeness.borrow_and_update() {
                        break;
                    }
                }
                tokio::select! {
                    changed = metrics.changed() => changed.map_err(|error| ended(&error))?,
                    Ok(()) = completeness.changed() => {}
                }
            }
            shared.go_live();
            Ok(())
        })
    }

    fn receive(&self, message: Vec<u8>) -> BoxFuture<Result<Vec<u8>, ReceiveError>> {
        let (raft, shared) = (self.rafts.borrow().clone(), Arc::clone(&self.shared));
        Box::pin(async move { network::receive(&raft, &message, &shared).await })
    }

    fn published(&self) -> watch::Receiver<u64> {
        self.shared.published()
    }

    fn leadership(&self) -> watch::Receiver<Option<BrokerId>> {
        self.leadership.clone()
    }

    fn resign(&self) -> BoxFuture<()> {
        let (in_use, peers, clock) = (self.raft_in_use(), Arc::clone(&self.peers), Arc::clone(&self.clock));
        Box::pin(async move {
            let (_used, raft) = in_use.await;
            if raft.metrics().borrow().state == ServerState::Leader {
                // Within it this broker would refuse its vote to an heir that it asked itself.
                own_lease_is_over(&raft).await;
            }
            let mut metrics = raft.metrics();
            let (vote, heirs) = {
                let now = metrics.borrow_and_update();
                (now.vote, heirs(&now))
            };
            for heir in heirs {
                let succeeded = async {
                    let asked = network::ask_to_stand(&*peers, heir, vote).await;
                    if !matches!(asked, Ok(true)) {
                        tracing::debug!(voter = %heir, ?asked, "a voter does not take the metadata quorum over");
                        return false;
                    }
                    metrics.wait_for(|now| now.current_leader.is_some_and(|leader| leader != now.id)).await.is_ok()
                };
                if timeout_at(&*clock, clock.monotonic() + HEIR_WITHIN, succeeded).await.unwrap_or(false) {
                    return;
                }
            }
        })
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

type NotWritten = RaftError<u64, ClientWriteError<u64, EmptyNode>>;

fn not_written(error: NotWritten) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(other)) => {
            ProposeError::NotLeader { leader: other.leader_id.and_then(broker_of) }
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => ProposeError::Stopped { reason: error.to_string() },
        RaftError::Fatal(error) => ProposeError::Stopped { reason: error.to_string() },
    }
}

/// Who may lead in this leader's place: first who has most of the log. Nobody, if this broker does not lead.
fn heirs(now: &RaftMetrics<u64, EmptyNode>) -> Vec<BrokerId> {
    let Some(replication) = now.replication.as_ref().filter(|_| now.state == ServerState::Leader) else { return Vec::new() };
    let mut heirs: Vec<_> = now.membership_config.voter_ids().filter(|voter| *voter != now.id).collect();
    heirs.sort_by_key(|voter| std::cmp::Reverse(replication.get(voter).copied().flatten()));
    heirs.into_iter().filter_map(broker_of).collect()
}

/// How far these have the log, as far as this broker knows.
fn progress(own: u64, now: &RaftMetrics<u64, EmptyNode>, of: impl Iterator<Item = u64>) -> Vec<VoterProgress> {
    let log_end = |id: u64| {
        if id == own {
            return Some(now.last_log_index.map_or(0, |last| last.saturating_add(1)));
        }
        let matched = now.replication.as_ref()?.get(&id)?;
        Some(matched.map_or(0, |matched| matched.index.saturating_add(1)))
    };
    of.filter_map(|id| Some(VoterProgress { broker_id: broker_of(id)?, log_end: log_end(id) })).collect()
}

pub(crate) fn broker_of(node: u64) -> Option<BrokerId> {
    i32::try_from(node).ok().and_then(BrokerId::new)
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, LogId};

    use super::*;

    #[test]
    fn a_leader_that_goes_on_in_its_term_has_caught_up_once_it_has_replayed_all_that_it_had() {
        let mut metrics = RaftMetrics::new_initial(3);
        (metrics.current_term, metrics.current_leader, metrics.last_log_index) = (38, Some(3), Some(3_107));
        let mut after = |term, index, last_log_index, began_with| {
            metrics.last_applied = Some(LogId::new(CommittedLeaderId::new(term, 3), index));
            metrics.last_log_index = Some(last_log_index);
            has_caught_up(&metrics, began_with)
        };
        assert!(!after(38, 3_084, 3_107, Some(3_107)), "it still replays");
        assert!(after(38, 3_107, 3_107, Some(3_107)));
        assert!(!after(37, 3_107, 3_107, Some(3_107)), "another leader's entries are not known to be committed");
        assert!(after(38, 3_100, 3_100, Some(3_107)), "the rest of what it had was cut");
        assert!(after(38, 0, 0, None), "it began empty");
    }
}
