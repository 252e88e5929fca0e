//! When this voter stands for election.
//!
//! Openraft's own clock knows one sign of a leader's death, its silence, and has to be patient: a leader that its disk or its processor holds up is silent,
//! too. There is a sign that no slow leader gives. The host of a dead process closes its connections and refuses new ones. So openraft elects
//! nobody by its clock, and this asks it to:
//!
//! - A leader that is only silent is followed by another after [`SILENCE_MS`].
//! - A leader whose process is dead is, once the lease is over within which voters that heard of it vote for nobody else. Who has the lowest id stands
//!   first; the others a step later each, unless they have voted meanwhile. Votes of one term are ordered by id, so the later one wins where
//!   both stand.
//! - After an election without an end there is another one after [`RETRY_MS`]; while a cluster forms, soon: the others have just not begun to listen.
//! - The only voter stands at once.
//!
//! A voter that stood still itself has read nothing, and does not take that for the leader's silence. One whose log was lost does not stand, as it
//! does not vote; until it hears of another's log it cannot tell that from a cluster that forms. Did it go on to stand as often as one that forms, no leader
//! could fill it: each would find that it has voted in a later term.

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use model::BrokerId;
use openraft::{AsyncRuntime, Config, ServerState, TokioRuntime};

use crate::node::broker_of;
use crate::state_machine::Shared;
use crate::types::{NodeId, Raft, Vote};
use crate::{BoxFuture, Peers};

/// A voter that has heard of a leader votes for nobody else for so long, and waits so long for another voter's vote, which is written to disk first.
pub(crate) const LEASE_MS: u64 = 200;
/// A leader is silent for some time between these two before another one is elected: six heartbeats at the least, which openraft sends every 75 ms.
const SILENCE_MS: (u64, u64) = (460, 600);
/// The same of a candidate that was not elected.
const RETRY_MS: (u64, u64) = (LEASE_MS, 340);
/// The same while a cluster forms.
const FORMING_MS: u64 = 50;
/// The others may have heard of the leader a little later than this voter.
const LEASE_MARGIN_MS: u64 = 10;
/// Between two voters that stand for the same dead leader: time for the first to be elected.
const STEP_MS: u64 = 50;
/// Who wakes so much too late stood still itself, and first reads what has come meanwhile.
const STOOD_STILL: Duration = Duration::from_millis(100);
const READS_FOR: Duration = Duration::from_millis(150);
/// Between two looks at a leader's address, and between two that came to nothing soon.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

type Instant = <TokioRuntime as AsyncRuntime>::Instant;

/// What openraft knows at a moment.
#[derive(Clone, Debug)]
struct Seen {
    vote: Vote,
    /// When the vote was given, or its leader last heard of.
    heard: Instant,
    state: ServerState,
    voters: BTreeSet<NodeId>,
    last_index: Option<u64>,
}

/// How long is waited this time. Drawn anew for each election, so that two candidates do not stand in each other's way for ever.
#[derive(Clone, Copy, Debug)]
struct Waits {
    silence_ms: u64,
    retry_ms: u64,
}

impl Waits {
    fn draw() -> Self {
        let between = |(election_timeout_min, election_timeout_max)| {
            let bounds = Config { election_timeout_min, election_timeout_max, ..Config::default() };
            bounds.new_rand_election_timeout::<TokioRuntime>()
        };
        Self { silence_ms: between(SILENCE_MS), retry_ms: between(RETRY_MS) }
    }
}

impl Seen {
    async fn of(raft: &Raft) -> Option<Self> {
        let last_index = raft.metrics().borrow().last_log_index;
        // Behind all messages that wait for openraft.
        let seen = raft.with_raft_state(move |state| Self {
            vote: *state.vote_ref(),
            heard: state.vote_last_modified().unwrap_or_else(Instant::now),
            state: state.server_state,
            voters: state.membership_state.effective().voter_ids().collect(),
            last_index,
        });
        seen.await.ok()
    }

    /// The leader that a voter follows.
    fn leader(&self, own: NodeId) -> Option<NodeId> {
        let leader = self.vote.leader_id.node_id;
        (self.vote.committed && leader != own && self.voters.contains(&own)).then_some(leader)
    }

    /// How long after it was heard of somebody this voter stands, if nothing changes; `None` if it does not.
    fn patience(&self, own: NodeId, is_leader_dead: bool, waits: Waits) -> Option<Duration> {
        if self.state == ServerState::Leader || !self.voters.contains(&own) {
            return None;
        }
        let is_alone = self.voters.len() == 1;
        let patience_ms = match self.leader(own) {
            Some(_) if is_alone => 0,
            Some(leader) if is_leader_dead => {
                let before = self.voters.iter().filter(|voter| **voter < own && **voter != leader).count();
                LEASE_MS + LEASE_MARGIN_MS + STEP_MS * u64::try_from(before).unwrap_or(0)
            }
            Some(_) => waits.silence_ms,
            None if is_alone && self.state != ServerState::Candidate => 0,
            None if self.last_index == Some(0) => FORMING_MS,
            None => waits.retry_ms,
        };
        Some(Duration::from_millis(patience_ms))
    }
}

/// Looks whether a leader's process is there.
struct Watch {
    peers: Arc<dyn Peers>,
    /// Of whom.
    leader: Option<NodeId>,
    /// Ends when it is dead.
    death: BoxFuture<()>,
    /// Since when it is.
    dead_since: Option<Instant>,
}

impl Watch {
    fn new(peers: Arc<dyn Peers>) -> Self {
        Self { peers, leader: None, death: Box::pin(pending()), dead_since: None }
    }

    /// Watches this leader; whether it is dead. One that was heard of since is not: another process goes on in its place.
    fn is_dead(&mut self, leader: Option<NodeId>, heard: Instant) -> bool {
        if leader != self.leader || self.dead_since.is_some_and(|since| since < heard) {
            self.leader = leader;
            self.dead_since = None;
            self.death = match leader.and_then(broker_of) {
                Some(broker_id) => Box::pin(until_dead(Arc::clone(&self.peers), broker_id)),
                None => Box::pin(pending()),
            };
        }
        self.dead_since.is_some()
    }

    fn note_death(&mut self) {
        self.dead_since = Some(Instant::now());
        self.death = Box::pin(pending());
    }
}

/// Ends when nothing listens where the broker does while it lives.
async fn until_dead(peers: Arc<dyn Peers>, broker_id: BrokerId) {
    let (soon, late) = LOOK_AGAIN;
    let mut pause = soon;
    loop {
        let began = Instant::now();
        match peers.contact(broker_id).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return,
            // It was held for some time, so its end is news.
            _ if Instant::now() - began > late => pause = soon,
            _ => pause = late.min(pause.saturating_mul(2)),
        }
        TokioRuntime::sleep(pause).await;
    }
}

/// Ends when this voter, which leads, may vote for another one.
pub(crate) async fn own_lease_is_over(raft: &Raft) {
    let since = raft.with_raft_state(|state| state.vote_last_modified()).await.ok().flatten();
    if let Some(since) = since {
        TokioRuntime::sleep_until(since + Duration::from_millis(LEASE_MS + LEASE_MARGIN_MS)).await;
    }
}

/// Has this voter stand whenever that is due; never ends while openraft runs.
pub(crate) async fn stand_when_due(raft: &Raft, own: NodeId, peers: &Arc<dyn Peers>, shared: &Shared) {
    let mut metrics = raft.server_metrics();
    let mut completeness = shared.completeness();
    let (mut watch, mut waits) = (Watch::new(Arc::clone(peers)), Waits::draw());
    loop {
        metrics.borrow_and_update();
        let is_complete = *completeness.borrow_and_update();
        let Some(seen) = Seen::of(raft).await else { return pending().await };
        let is_dead = watch.is_dead(seen.leader(own), seen.heard);
        // A cluster's first voter stands with a log of nothing but the voters.
        let may_stand = is_complete || (seen.last_index == Some(0) && !shared.has_formed());
        let due = seen.patience(own, is_dead, waits).filter(|_| may_stand).map(|patience| seen.heard + patience);
        if due.is_some_and(|due| due <= Instant::now()) {
            if is_dead {
                tracing::info!(
                    leader = seen.vote.leader_id.node_id,
                    "the metadata quorum's leader is dead; this broker stands for election"
                );
            }
            // If openraft has ended, the next look says so.
            let _asked = raft.trigger().elect().await;
            waits = Waits::draw();
            continue;
        }
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() {
                return pending().await;
            },
            // Whoever tells of it holds it for as long as this runs.
            Ok(()) = completeness.changed() => {}
            () = &mut watch.death => watch.note_death(),
            () = until(due) => {
                if due.is_some_and(|due| Instant::now() - due > STOOD_STILL) {
                    TokioRuntime::sleep(READS_FOR).await;
                }
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => TokioRuntime::sleep_until(due).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use parking_lot::Mutex;

    use super::*;
    use crate::tests::broker;

    const WAITS: Waits = Waits { silence_ms: 500, retry_ms: 300 };

    /// A voter of three that follows the second one.
    fn seen() -> Seen {
        Seen {
            vote: Vote::new_committed(7, 2),
            heard: Instant::now(),
            state: ServerState::Follower,
            voters: BTreeSet::from([1, 2, 3]),
            last_index: Some(40),
        }
    }

    fn patience_ms(seen: &Seen, own: NodeId, is_leader_dead: bool) -> Option<u128> {
        seen.patience(own, is_leader_dead, WAITS).map(|patience| patience.as_millis())
    }

    #[test]
    fn a_dead_leader_is_followed_once_the_lease_is_over_by_one_voter_after_the_other_and_a_silent_one_later() {
        let [first, third] = [1, 3].map(|own| patience_ms(&seen(), own, true).expect("stands"));
        assert!(u128::from(LEASE_MS) < first && first < third, "{first} {third}");
        let silent = [1, 3].map(|own| patience_ms(&seen(), own, false));
        assert_eq!(silent, [Some(500); 2]);
        assert!(third < u128::from(SILENCE_MS.0), "{third}");
    }

    #[test]
    fn who_voted_for_another_candidate_waits_for_it_though_the_former_leader_is_dead() {
        let voted = Seen { vote: Vote::new(8, 1), ..seen() };
        assert_eq!(voted.leader(3), None);
        assert_eq!(patience_ms(&voted, 3, false), Some(300));
    }

    #[test]
    fn leaders_and_those_without_a_vote_do_not_stand_and_a_sole_voter_does_at_once() {
        let leads = Seen { state: ServerState::Leader, ..seen() };
        assert_eq!(patience_ms(&leads, 2, false), None);
        assert_eq!(patience_ms(&seen(), 4, true), None);
        let alone = Seen { voters: BTreeSet::from([1]), ..seen() };
        assert_eq!(patience_ms(&alone, 1, false), Some(0));
        let elects_itself = Seen { vote: Vote::new(8, 1), state: ServerState::Candidate, ..alone };
        assert_eq!(patience_ms(&elects_itself, 1, false), Some(300));
    }

    #[test]
    fn the_first_voter_of_a_cluster_that_forms_asks_the_others_soon_again() {
        let forms = Seen { vote: Vote::new(1, 1), state: ServerState::Candidate, last_index: Some(0), ..seen() };
        assert_eq!(patience_ms(&forms, 1, false), Some(u128::from(FORMING_MS)));
    }

    #[test]
    fn what_is_waited_for_is_drawn_within_the_bounds() {
        for _ in 0..100 {
            let Waits { silence_ms, retry_ms } = Waits::draw();
            assert!((SILENCE_MS.0..SILENCE_MS.1).contains(&silence_ms) && (RETRY_MS.0..RETRY_MS.1).contains(&retry_ms));
        }
    }

    /// Each contact comes to the next of these, and then none ends.
    struct Contacts(Mutex<VecDeque<io::Result<()>>>);

    impl Peers for Contacts {
        fn call(&self, _voter: BrokerId, _message: Vec<u8>) -> BoxFuture<io::Result<Vec<u8>>> {
            Box::pin(pending())
        }

        fn contact(&self, _voter: BrokerId) -> BoxFuture<io::Result<()>> {
            match self.0.lock().pop_front() {
                Some(end) => Box::pin(std::future::ready(end)),
                None => Box::pin(pending()),
            }
        }
    }

    fn contacts(ends: impl IntoIterator<Item = io::Result<()>>) -> Arc<Contacts> {
        Arc::new(Contacts(Mutex::new(ends.into_iter().collect())))
    }

    fn refused() -> io::Result<()> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    #[tokio::test]
    async fn only_a_refused_connection_is_a_death() {
        let others = || [Ok(()), Err(io::ErrorKind::TimedOut.into()), Err(io::ErrorKind::HostUnreachable.into())];
        let dies = contacts(others().into_iter().chain([refused(), Ok(())]));
        until_dead(Arc::<Contacts>::clone(&dies) as Arc<dyn Peers>, broker(2)).await;
        assert_eq!(dies.0.lock().len(), 1, "nobody looks for a dead process any more");

        let lives = contacts(others());
        let looks = tokio::spawn(until_dead(Arc::<Contacts>::clone(&lives) as Arc<dyn Peers>, broker(2)));
        while !lives.0.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(!looks.is_finished());
        looks.abort();
    }

    #[tokio::test]
    async fn a_leader_that_was_dead_and_is_heard_of_again_lives() {
        let mut watch = Watch::new(contacts([refused(), refused()]));
        let before = Instant::now();
        assert!(!watch.is_dead(Some(2), before), "it is not known yet");
        (&mut watch.death).await;
        watch.note_death();
        assert!(watch.is_dead(Some(2), before));
        let after = Instant::now() + Duration::from_secs(1);
        assert!(!watch.is_dead(Some(2), after), "its next process goes on");
        (&mut watch.death).await;
        assert!(!watch.is_dead(Some(3), after), "of another nothing is known");
        assert!(!watch.is_dead(None, after));
    }
}
