//! Three voters in one process, on disks that lose what was not synced, over a network that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use metadata::MetadataRecord;
use model::{BrokerId, Timestamp};
use parking_lot::Mutex;
use wire::clock::ManualClock;

use crate::completeness::{BEGAN_EMPTY, FILLED, is_complete};
use crate::disk::Disk;
use crate::log_storage::PURGED;
use crate::tests::{CountingDisk, broker, start_on, topic};
use crate::{BoxFuture, MetadataQuorum, NoPeers, Peers, ProposeError, QuorumOptions, StartError};

/// Who is reached by whom. All voters share it.
#[derive(Default)]
pub(crate) struct Wires {
    pub(crate) voters: Mutex<BTreeMap<BrokerId, Arc<dyn MetadataQuorum>>>,
    /// Voters that nobody reaches, and that reach nobody.
    pub(crate) cut: Mutex<BTreeSet<BrokerId>>,
    /// How many messages each has sent, or tried to.
    pub(crate) sent: Mutex<BTreeMap<BrokerId, usize>>,
}

pub(crate) struct Wire {
    pub(crate) from: BrokerId,
    pub(crate) wires: Arc<Wires>,
}

impl Peers for Wire {
    fn call(&self, voter: BrokerId, message: Vec<u8>) -> BoxFuture<io::Result<Vec<u8>>> {
        *self.wires.sent.lock().entry(self.from).or_default() += 1;
        let is_cut = self.wires.cut.lock().iter().any(|cut| *cut == voter || *cut == self.from);
        let target = if is_cut { None } else { self.wires.voters.lock().get(&voter).map(Arc::clone) };
        Box::pin(async move {
            let target = target.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
            target.receive(message).await.map_err(io::Error::other)
        })
    }

    fn contact(&self, voter: BrokerId) -> BoxFuture<io::Result<()>> {
        // A cut ends no connection.
        let held = self.wires.voters.lock().get(&voter).map(|voter| voter.leadership());
        Box::pin(async move {
            let mut held = held.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            while held.changed().await.is_ok() {}
            Ok(())
        })
    }
}

pub(crate) struct Cluster {
    pub(crate) wires: Arc<Wires>,
    pub(crate) disks: BTreeMap<BrokerId, Arc<CountingDisk>>,
    pub(crate) snapshot_after_entries: u64,
    pub(crate) clock: ManualClock,
}

impl Cluster {
    pub(crate) async fn start(snapshot_after_entries: u64) -> Self {
        let disks = (1..=3).map(|id| (broker(id), Arc::default())).collect();
        let cluster = Self { wires: Arc::default(), disks, snapshot_after_entries, clock: ManualClock::new(Timestamp(0)) };
        for id in 1..=3 {
            cluster.start_voter(broker(id)).await.expect("starts");
        }
        cluster
    }

    pub(crate) async fn start_voter(&self, id: BrokerId) -> Result<(), StartError> {
        let voters = self.disks.keys().copied().collect();
        let options =
            QuorumOptions::new(id, self.clock.shared()).with_peers(voters, Arc::new(Wire { from: id, wires: Arc::clone(&self.wires) }));
        let options = QuorumOptions { snapshot_after_entries: self.snapshot_after_entries, ..options };
        let quorum = start_on(Arc::<CountingDisk>::clone(&self.disks[&id]), options).await?;
        self.wires.voters.lock().insert(id, quorum);
        Ok(())
    }

    pub(crate) fn voter(&self, id: BrokerId) -> Arc<dyn MetadataQuorum> {
        Arc::clone(&self.wires.voters.lock()[&id])
    }

    pub(crate) fn propose(&self, id: BrokerId, records: Vec<MetadataRecord>) -> BoxFuture<Result<u64, ProposeError>> {
        let voter = self.voter(id);
        voter.propose(voter.leader_term(), records)
    }

    pub(crate) fn all(&self) -> Vec<Arc<dyn MetadataQuorum>> {
        self.wires.voters.lock().values().map(Arc::clone).collect()
    }

    /// Takes a voter away; what it leaves is what was synced. Nothing that is not in there is sent any more.
    pub(crate) async fn kill(&mut self, id: BrokerId) {
        self.wires.cut.lock().insert(id);
        let killed = self.wires.voters.lock().remove(&id).expect("it runs");
        let left = self.disks[&id].crash_image();
        killed.shutdown().await;
        self.wires.cut.lock().remove(&id);
        self.disks.insert(id, left);
    }

    /// The leader that `witness` knows, other than `not`, once it decides.
    pub(crate) async fn leader(&self, witness: BrokerId, not: Option<BrokerId>) -> BrokerId {
        let leadership = self.voter(witness).leadership();
        loop {
            let known = leadership.borrow().filter(|leader| Some(*leader) != not);
            let voter = known.and_then(|leader| self.wires.voters.lock().get(&leader).map(Arc::clone));
            if let (Some(leader), Some(voter)) = (known, voter) {
                voter.caught_up().await.expect("it lives");
                if voter.is_active() {
                    return leader;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits until all voters show this many topics.
    pub(crate) async fn all_have(&self, topics: usize) {
        for voter in self.all() {
            voter.caught_up().await.expect("it lives");
            while voter.image().topic_count() < topics {
                tokio::task::yield_now().await;
            }
            assert_eq!(voter.image().topic_count(), topics);
        }
    }
}

pub(crate) fn others(id: BrokerId) -> impl Iterator<Item = BrokerId> {
    (1..=3).map(broker).filter(move |other| *other != id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_voters_elect_one_and_agree_on_what_it_proposes() {
    let cluster = Cluster::start(10_000).await;
    let leader = cluster.leader(broker(1), None).await;
    for number in 0..20 {
        cluster.propose(leader, topic(number)).await.expect("proposed");
    }
    cluster.all_have(20).await;
    let ends: Vec<_> = cluster.voter(leader).voters().into_iter().map(|voter| (voter.broker_id, voter.log_end)).collect();
    let end = cluster.voter(leader).image().index() + 1;
    assert_eq!(ends.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [broker(1), broker(2), broker(3)]);
    assert!(ends.iter().all(|(_, known)| known.is_some_and(|known| known <= end)), "{ends:?}");
    assert!(ends.iter().filter(|(_, known)| *known == Some(end)).count() >= 2, "no majority has {end}: {ends:?}");
    let other = others(leader).next().expect("two");
    let refused = cluster.propose(other, topic(99)).await;
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(leader) }));
    assert!(!cluster.voter(other).is_active());
    for voter in cluster.all() {
        voter.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_the_death_of_each_leader_in_turn() {
    let mut cluster = Cluster::start(10_000).await;
    let mut leader = cluster.leader(broker(1), None).await;
    // Who has just begun votes once a leader has filled it.
    cluster.all_have(0).await;
    for round in 0..4 {
        cluster.propose(leader, topic(round)).await.expect("proposed");
        cluster.kill(leader).await;
        let witness = others(leader).next().expect("two");
        let next = cluster.leader(witness, Some(leader)).await;
        let known = usize::try_from(round + 1).expect("small");
        assert_eq!(cluster.voter(next).image().topic_count(), known, "lost by the election of {next}");
        cluster.start_voter(leader).await.expect("starts again");
        cluster.all_have(known).await;
        leader = cluster.leader(witness, None).await;
    }
    for voter in cluster.all() {
        voter.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_answers_nothing_as_done_and_follows_when_it_is_back() {
    let cluster = Cluster::start(10_000).await;
    let leader = cluster.leader(broker(1), None).await;
    cluster.all_have(0).await;
    cluster.propose(leader, topic(0)).await.expect("proposed");
    cluster.wires.cut.lock().insert(leader);
    let alone = tokio::spawn(cluster.propose(leader, topic(1)));
    let witness = others(leader).next().expect("two");
    let next = cluster.leader(witness, Some(leader)).await;
    cluster.propose(next, topic(2)).await.expect("proposed");
    assert!(!alone.is_finished(), "answered without a majority");
    cluster.wires.cut.lock().clear();
    assert!(alone.await.expect("no panic").is_err(), "what the others never had was answered as done");
    cluster.all_have(2).await;
    for voter in cluster.all() {
        voter.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_that_the_others_do_not_answer_ends_and_until_its_fate_is_known_its_proposer_decides_nothing() {
    let cluster = Cluster::start(10_000).await;
    let leader = cluster.leader(broker(1), None).await;
    cluster.all_have(0).await;
    let term = cluster.voter(leader).leader_term();
    cluster.wires.cut.lock().insert(leader);
    let alone = tokio::spawn(cluster.propose(leader, topic(1)));
    cluster.clock.until_armed(Duration::from_secs(5)).await;
    cluster.clock.advance(Duration::from_secs(5));
    assert_eq!(alone.await.expect("no panic"), Err(ProposeError::FateUnknown));
    assert!(!cluster.voter(leader).is_active(), "it may decide on an image that lacks what it proposed");
    let witness = others(leader).next().expect("two");
    let next = cluster.leader(witness, Some(leader)).await;
    cluster.propose(next, topic(2)).await.expect("proposed");
    cluster.wires.cut.lock().clear();
    cluster.all_have(1).await;
    // Whoever leads by now: what was decided in the first term counts no more.
    let now = cluster.leader(witness, None).await;
    assert_eq!(cluster.voter(now).propose(term, topic(3)).await, Err(ProposeError::NotLeader { leader: None }));
    cluster.propose(now, topic(4)).await.expect("proposed");
    cluster.all_have(2).await;
    for voter in cluster.all() {
        voter.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_resigns_is_followed_by_another_while_it_lives_and_follows_it() {
    let cluster = Cluster::start(10_000).await;
    let leader = cluster.leader(broker(1), None).await;
    cluster.all_have(0).await;
    for round in 0..4 {
        let current = cluster.leader(broker(1), None).await;
        cluster.propose(current, topic(round)).await.expect("proposed");
        let idle = others(current).next().expect("two");
        assert_eq!(cluster.leader(idle, None).await, current);
        cluster.voter(idle).resign().await;
        assert_eq!(cluster.voter(idle).leader(), Some(current), "who does not lead has nothing to resign from");
        cluster.voter(current).resign().await;
        let next = cluster.voter(current).leader().expect("it knows who follows");
        assert_ne!(next, current);
        assert_eq!(cluster.leader(current, Some(current)).await, next);
    }
    let last = cluster.leader(broker(1), None).await;
    cluster.propose(last, topic(4)).await.expect("proposed");
    cluster.all_have(5).await;
    assert!(cluster.voter(leader).leader_term() > 4, "one term for each");
    for voter in cluster.all() {
        voter.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_nobody_can_follow_resigns_in_vain_and_leads_on() {
    let mut cluster = Cluster::start(10_000).await;
    let leader = cluster.leader(broker(1), None).await;
    cluster.all_have(0).await;
    for other in others(leader) {
        cluster.kill(other).await;
    }
    cluster.voter(leader).resign().await;
    assert_eq!(cluster.voter(leader).leader(), Some(leader));
    cluster.voter(leader).shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_follows_another_leader_does_not_stand_for_who_asks_late() {
    let cluster = Cluster::start(10_000).await;
    let former = cluster.leader(broker(1), None).await;
    cluster.all_have(0).await;
    let late = openraft::Vote::new_committed(cluster.voter(former).leader_term(), u64::try_from(former.get()).expect("an id"));
    cluster.voter(former).resign().await;
    let current = cluster.leader(former, Some(former)).await;
    let term = cluster.voter(current).leader_term();
    let asked = others(current).find(|other| *other != former).expect("the third");
    let peers = Wire { from: former, wires: Arc::clone(&cluster.wires) };
    cluster.leader(asked, Some(former)).await;
    assert!(!crate::network::ask_to_stand(&peers, asked, late).await.expect("answered"));
    cluster.propose(current, topic(0)).await.expect("it leads on");
    assert_eq!((cluster.voter(asked).leader(), cluster.voter(asked).leader_term()), (Some(current), term));
    for voter in cluster.all() {
        voter.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_missed_more_than_the_log_keeps_gets_a_snapshot() {
    let mut cluster = Cluster::start(20).await;
    let leader = cluster.leader(broker(1), None).await;
    cluster.all_have(0).await;
    let missing = others(leader).next().expect("two");
    cluster.kill(missing).await;
    for number in 0..200 {
        cluster.propose(leader, topic(number)).await.expect("proposed");
    }
    cluster.start_voter(missing).await.expect("starts again");
    cluster.all_have(200).await;
    for voter in cluster.all() {
        voter.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_whose_log_was_lost_is_filled_again_and_elects_nobody_before() {
    let mut cluster = Cluster::start(10_000).await;
    let leader = cluster.leader(broker(1), None).await;
    cluster.propose(leader, topic(0)).await.expect("proposed");
    cluster.all_have(1).await;
    let (wiped, behind) = (others(leader).next().expect("two"), others(leader).nth(1).expect("two"));
    cluster.kill(behind).await;
    cluster.propose(leader, topic(1)).await.expect("proposed");
    // The only other copy of the topic is lost, and then its leader is: the two that are left are a majority that does not know of it.
    cluster.kill(wiped).await;
    cluster.disks.insert(wiped, Arc::default());
    cluster.kill(leader).await;
    cluster.start_voter(wiped).await.expect("starts empty");
    cluster.start_voter(behind).await.expect("starts");
    let asked = cluster.voter(wiped).receive(vote_request_of_a_living_log()).await;
    assert!(matches!(asked, Err(crate::ReceiveError::Forgetful)), "{asked:?}");
    cluster.start_voter(leader).await.expect("starts again");
    cluster.all_have(2).await;
    assert!(cluster.voter(wiped).receive(vote_request_of_a_living_log()).await.is_ok());
    for voter in cluster.all() {
        voter.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_whose_log_was_lost_stops_to_stand_once_it_hears_of_another_log() {
    let mut cluster = Cluster::start(10_000).await;
    let first = cluster.leader(broker(1), None).await;
    cluster.propose(first, topic(0)).await.expect("proposed");
    cluster.all_have(1).await;
    // The one that takes an empty log for a cluster's beginning.
    let wiped = broker(1);
    cluster.kill(wiped).await;
    cluster.disks.insert(wiped, Arc::default());
    let leader = cluster.leader(broker(2), Some(wiped)).await;
    let follower = others(leader).find(|other| *other != wiped).expect("three");
    // Nobody can lead: the leader is cut off, and the wiped voter votes for nobody.
    cluster.wires.cut.lock().insert(leader);
    cluster.start_voter(wiped).await.expect("starts empty");
    let sent = |id| cluster.wires.sent.lock().get(&id).copied().unwrap_or(0);
    // The follower stands again and again, and asks two each time, the wiped voter among them.
    let stands_on = |times: usize| {
        let enough = sent(follower) + 2 * times;
        async move {
            while sent(follower) < enough {
                tokio::task::yield_now().await;
            }
        }
    };
    stands_on(4).await;
    let before = sent(wiped);
    stands_on(4).await;
    assert_eq!(sent(wiped) - before, 0, "votes were asked for by a voter that has heard of a log");
    cluster.wires.cut.lock().remove(&leader);
    cluster.all_have(1).await;
    for voter in cluster.all() {
        voter.shutdown().await;
    }
}

/// What a candidate of term 1 with three entries asks, as its bytes.
fn vote_request_of_a_living_log() -> Vec<u8> {
    let last = openraft::LogId::new(openraft::CommittedLeaderId::new(1, 3), 3);
    crate::network::vote_message(openraft::raft::VoteRequest::new(openraft::Vote::new(1, 3), Some(last)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_has_the_log_and_no_vote_and_gets_a_snapshot_after_it_was_away() {
    let mut cluster = Cluster::start(20).await;
    let leader = cluster.leader(broker(1), None).await;
    cluster.all_have(0).await;
    let (observer, options) = (broker(4), QuorumOptions::new(broker(4), cluster.clock.shared()).as_observer(Arc::new(NoPeers)));
    cluster.disks.insert(observer, Arc::default());
    let start = |disk: &Arc<CountingDisk>| start_on(Arc::<CountingDisk>::clone(disk), options.clone());
    let observing = start(&cluster.disks[&observer]).await.expect("starts");
    cluster.wires.voters.lock().insert(observer, observing);
    cluster.voter(leader).admit_observer(observer).await.expect("admitted");
    cluster.propose(leader, topic(0)).await.expect("proposed");
    cluster.all_have(1).await;
    let known: Vec<_> = cluster.voter(leader).observers().into_iter().map(|known| known.broker_id).collect();
    assert_eq!((known, cluster.voter(leader).voters().len()), (vec![observer], 3));
    assert!(!cluster.voter(observer).is_active());

    cluster.kill(observer).await;
    for number in 1..200 {
        cluster.propose(leader, topic(number)).await.expect("proposed");
    }
    let again = start(&cluster.disks[&observer]).await.expect("starts again");
    cluster.wires.voters.lock().insert(observer, again);
    cluster.all_have(200).await;

    cluster.voter(leader).forget_observer(observer).await.expect("forgotten");
    assert_eq!(cluster.voter(leader).observers(), []);
    for voter in cluster.all() {
        voter.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_votes_stands_in_the_log_whatever_the_configuration_says() {
    let mut cluster = Cluster::start(10_000).await;
    let leader = cluster.leader(broker(1), None).await;
    cluster.all_have(0).await;
    cluster.kill(leader).await;
    cluster.disks.insert(broker(4), Arc::default());
    cluster.start_voter(leader).await.expect("starts");
    assert_eq!(*cluster.voter(leader).voting().borrow(), BTreeSet::from([1, 2, 3].map(broker)));
    cluster.disks.insert(broker(4), cluster.disks[&leader].crash_image());
    assert!(matches!(cluster.start_voter(broker(4)).await, Err(StartError::NotAMember { .. })), "it is another broker's");
    for voter in cluster.all() {
        voter.shutdown().await;
    }
}

#[test]
fn a_voter_that_began_empty_knows_it_after_a_restart_until_it_is_filled() {
    let disk = CountingDisk::default();
    assert!(!is_complete(&disk).expect("reads"));
    disk.append(vec![(0, Vec::new())]).expect("written");
    assert!(!is_complete(&disk).expect("reads"), "one entry is not all that was committed");
    disk.save_value(BEGAN_EMPTY, FILLED).expect("written");
    assert!(is_complete(&disk).expect("reads"));

    let older = CountingDisk::default();
    older.append(vec![(0, Vec::new())]).expect("written");
    assert!(is_complete(&older).expect("reads"), "a log from before there was a mark");

    let purged = CountingDisk::default();
    purged.save_value(PURGED, &[1]).expect("written");
    assert!(is_complete(&purged).expect("reads"), "all its entries are in the snapshot");
}
