//! Voters come and go while the quorum works: what openraft is asked for, and how a change that was left half done is finished.
//!
//! A change is two entries, the joint voters and then the new ones (the Raft dissertation's joint consensus). Whoever leads when the first is
//! there and the second is not, because a leader died between both, writes the second.

use std::collections::BTreeSet;

use model::BrokerId;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, EmptyNode, RaftMetrics, ServerState};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::node::{broker_of, has_caught_up};
use crate::types::{NodeId, Raft};

/// Why voters were not changed, or not yet.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VoterChangeError {
    /// Another broker leads the quorum, or none does.
    #[error("this broker does not lead the metadata quorum")]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<BrokerId>,
    },
    /// Another change is under way.
    #[error("the voters of the metadata quorum are being changed")]
    InProgress,
    /// It votes already.
    #[error("broker {0} is a voter of the metadata quorum already")]
    Votes(BrokerId),
    /// It does not vote, or is the only one that does.
    #[error("broker {0} is no voter of the metadata quorum, or its only one")]
    CannotGo(BrokerId),
    /// It does not have the log, so it cannot vote.
    #[error("broker {0} is no observer of the metadata quorum")]
    NoObserver(BrokerId),
    /// The quorum is stopped, or its disk failed.
    #[error("the metadata quorum has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

type Metrics = RaftMetrics<NodeId, EmptyNode>;

/// One change of the voters at a time.
#[derive(Default)]
pub(crate) struct Turn {
    /// Held by who was asked for a change. Whoever comes meanwhile is refused.
    pub(crate) asked: Mutex<()>,
    /// Held while openraft is asked for one.
    pub(crate) changing: Mutex<()>,
}

/// Who is to vote once the broker does too.
pub(crate) fn with(now: &Metrics, id: NodeId, began_with: Option<u64>) -> Result<BTreeSet<NodeId>, VoterChangeError> {
    let (mut voters, broker_id) = (settled(now, began_with)?, named(id)?);
    if now.membership_config.membership().get_node(&id).is_none() {
        return Err(VoterChangeError::NoObserver(broker_id));
    }
    if !voters.insert(id) {
        return Err(VoterChangeError::Votes(broker_id));
    }
    Ok(voters)
}

/// Who is to vote once the broker does not.
pub(crate) fn without(now: &Metrics, id: NodeId, began_with: Option<u64>) -> Result<BTreeSet<NodeId>, VoterChangeError> {
    let mut voters = settled(now, began_with)?;
    if voters.remove(&id) && !voters.is_empty() { Ok(voters) } else { Err(VoterChangeError::CannotGo(named(id)?)) }
}

fn named(id: NodeId) -> Result<BrokerId, VoterChangeError> {
    broker_of(id).ok_or_else(|| VoterChangeError::Stopped { reason: format!("voter {id} is no broker's id") })
}

/// Who votes, if this broker may say who will: it leads, and no change is left half done.
fn settled(now: &Metrics, began_with: Option<u64>) -> Result<BTreeSet<NodeId>, VoterChangeError> {
    if now.state != ServerState::Leader || !has_caught_up(now, began_with) {
        return Err(VoterChangeError::NotLeader { leader: now.current_leader.filter(|leader| *leader != now.id).and_then(broker_of) });
    }
    match now.membership_config.membership().get_joint_config().as_slice() {
        [voters] => Ok(voters.clone()),
        _ => Err(VoterChangeError::InProgress),
    }
}

/// Ends when the broker has all that is in the leader's log now.
pub(crate) async fn until_caught_up(raft: &Raft, id: NodeId, began_with: Option<u64>) -> Result<(), VoterChangeError> {
    let mut metrics = raft.metrics();
    let target = metrics.borrow().last_log_index;
    loop {
        {
            let now = metrics.borrow_and_update();
            with(&now, id, began_with)?;
            let matched = now.replication.as_ref().and_then(|of| of.get(&id)).copied().flatten();
            if matched.map(|matched| matched.index) >= target {
                return Ok(());
            }
        }
        metrics.changed().await.map_err(|error| VoterChangeError::Stopped { reason: error.to_string() })?;
    }
}

/// Has these, and no others, vote; ends when that is agreed upon. Observers stay, and so does as an observer who votes no more; but a leader that
/// votes no more would lead on as an observer, so it goes, and comes back when it asks to.
pub(crate) async fn change_to(raft: &Raft, voters: BTreeSet<NodeId>) -> Result<(), VoterChangeError> {
    let mut metrics = raft.metrics();
    loop {
        let stays = voters.contains(&metrics.borrow_and_update().id);
        match raft.change_membership(ChangeMembers::ReplaceAllVoters(voters.clone()), stays).await {
            Ok(changed) => {
                // Whoever asks next looks at the metrics.
                let shows = |now: &Metrics| *now.membership_config.log_id() >= Some(changed.log_id);
                let shown = metrics.wait_for(shows).await;
                return shown.map(drop).map_err(|error| VoterChangeError::Stopped { reason: error.to_string() });
            }
            // Also an observer that comes or goes is such a change. Its end shows.
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)))) => {
                metrics.changed().await.map_err(|error| VoterChangeError::Stopped { reason: error.to_string() })?;
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(other))) => {
                return Err(VoterChangeError::NotLeader { leader: other.leader_id.and_then(broker_of) });
            }
            Err(error) => return Err(VoterChangeError::Stopped { reason: error.to_string() }),
        }
    }
}

/// Finishes what an earlier leader, or a caller that went away, left half done; never ends while openraft runs.
pub(crate) async fn finish_changes(raft: &Raft, turn: &Turn, began_with: Option<u64>) {
    let mut metrics = raft.metrics();
    loop {
        if left_half_done(&metrics.borrow_and_update(), began_with).is_some() {
            let _turn = turn.changing.lock().await;
            // Whoever had the turn may have done it.
            let goal = left_half_done(&metrics.borrow_and_update(), began_with);
            if let Some(voters) = goal {
                match change_to(raft, voters).await {
                    Ok(()) => tracing::info!("a change of the metadata quorum's voters that was left half done is done"),
                    Err(error) => tracing::debug!(%error, "a change of the metadata quorum's voters is left to another leader"),
                }
            }
        }
        if metrics.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn left_half_done(now: &Metrics, began_with: Option<u64>) -> Option<BTreeSet<NodeId>> {
    let leads = now.state == ServerState::Leader && has_caught_up(now, began_with);
    match now.membership_config.membership().get_joint_config().as_slice() {
        [_, .., last] if leads => Some(last.clone()),
        _ => None,
    }
}
