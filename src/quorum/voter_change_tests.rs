//! Voters that come and go while the quorum works and brokers die.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use model::{BrokerId, Timestamp};
use wire::clock::ManualClock;

use crate::tests::{broker, start_on, topic};
use crate::voters_tests::{Cluster, Wire, Wires};
use crate::{QuorumOptions, VoterChangeError};

/// A sole voter and observers, all of them on disks of their own.
async fn sole_voter_with_observers(observers: &[i32]) -> Cluster {
    let ids = || [1].into_iter().chain(observers.iter().copied()).map(broker);
    let disks = ids().map(|id| (id, Arc::default())).collect::<BTreeMap<_, _>>();
    let cluster = Cluster { wires: Arc::<Wires>::default(), disks, snapshot_after_entries: 10_000, clock: ManualClock::new(Timestamp(0)) };
    for id in ids() {
        cluster.start_joined(id).await;
    }
    for id in observers {
        cluster.voter(broker(1)).admit_observer(broker(*id)).await.expect("admitted");
    }
    cluster
}

impl Cluster {
    /// Starts a broker of a cluster that the first broker began.
    async fn start_joined(&self, id: BrokerId) {
        let peers = Arc::new(Wire { from: id, wires: Arc::clone(&self.wires) });
        let options = QuorumOptions::new(id, self.clock.shared());
        let options = if id == broker(1) { options.with_peers(BTreeSet::from([id]), peers) } else { options.as_observer(peers) };
        let options = QuorumOptions { snapshot_after_entries: self.snapshot_after_entries, ..options };
        let quorum = start_on(Arc::clone(&self.disks[&id]), options).await.expect("starts");
        self.wires.voters.lock().insert(id, quorum);
    }

    /// The same again, with what the disk has.
    async fn restart_joined(&mut self, id: BrokerId) {
        self.kill(id).await;
        self.start_joined(id).await;
    }

    /// Waits until all that run say that these vote.
    async fn all_say(&self, voters: &[i32]) {
        let expected: BTreeSet<BrokerId> = voters.iter().copied().map(broker).collect();
        for quorum in self.all() {
            quorum.voting().wait_for(|known| *known == expected).await.expect("it lives");
        }
    }

    async fn end(self) {
        for quorum in self.all() {
            quorum.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observers_of_a_sole_voter_become_voters_and_go_on_without_it() {
    let mut cluster = sole_voter_with_observers(&[2, 3]).await;
    let first = broker(1);
    let (seen, observer) = crate::tests::recorder();
    cluster.voter(first).subscribe(observer);
    cluster.propose(first, topic(0)).await.expect("proposed");
    cluster.voter(first).add_voter(broker(2)).await.expect("added");
    cluster.leader(first, None).await;
    cluster.propose(first, topic(1)).await.expect("proposed");
    cluster.voter(first).add_voter(broker(3)).await.expect("added");
    cluster.propose(first, topic(2)).await.expect("proposed");
    cluster.all_have(3).await;
    cluster.all_say(&[1, 2, 3]).await;
    let told: Vec<_> = seen.lock().iter().map(|(_, image, _)| image.topic_count()).collect();
    assert_eq!(told, [1, 2, 3], "each change was told once, also over the new beginning as one of several");

    cluster.kill(first).await;
    let next = cluster.leader(broker(2), Some(first)).await;
    cluster.propose(next, topic(3)).await.expect("two of three are a majority");
    cluster.start_joined(first).await;
    cluster.all_have(4).await;
    cluster.all_say(&[1, 2, 3]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_voters_are_the_same_after_all_were_killed_at_once() {
    let mut cluster = sole_voter_with_observers(&[2, 3, 4]).await;
    for id in [2, 3] {
        cluster.voter(broker(1)).add_voter(broker(id)).await.expect("added");
    }
    cluster.propose(broker(1), topic(0)).await.expect("proposed");
    cluster.all_have(1).await;
    cluster.all_say(&[1, 2, 3]).await;
    for id in 1..=4 {
        cluster.kill(broker(id)).await;
    }
    for id in 1..=4 {
        cluster.start_joined(broker(id)).await;
    }
    cluster.all_have(1).await;
    cluster.all_say(&[1, 2, 3]).await;
    let leader = cluster.leader(broker(1), None).await;
    cluster.propose(leader, topic(1)).await.expect("proposed");
    cluster.all_have(2).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_to_vote_no_more_leaves_the_lead_to_those_who_do() {
    let mut cluster = sole_voter_with_observers(&[2, 3]).await;
    let first = broker(1);
    for id in [2, 3] {
        cluster.voter(first).add_voter(broker(id)).await.expect("added");
    }
    let leader = cluster.leader(first, None).await;
    cluster.voter(leader).remove_voter(leader).await.expect("removed");
    let witness = crate::voters_tests::others(leader).next().expect("two");
    let next = cluster.leader(witness, Some(leader)).await;
    cluster.voter(next).admit_observer(leader).await.expect("it asks to be one");
    cluster.propose(next, topic(0)).await.expect("proposed");
    cluster.all_have(1).await;
    let voters: Vec<i32> = (1..=3).filter(|id| broker(*id) != leader).collect();
    cluster.all_say(&voters).await;
    assert!(!cluster.voter(leader).is_active());
    // As an observer it starts again, and may become a voter again.
    cluster.restart_joined(leader).await;
    cluster.all_have(1).await;
    let now = cluster.leader(witness, Some(leader)).await;
    cluster.voter(now).add_voter(leader).await.expect("added");
    cluster.all_say(&[1, 2, 3]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused() {
    let cluster = sole_voter_with_observers(&[2]).await;
    let first = cluster.voter(broker(1));
    assert_eq!(first.remove_voter(broker(1)).await, Err(VoterChangeError::CannotGo(broker(1))), "the last voter");
    assert_eq!(first.remove_voter(broker(2)).await, Err(VoterChangeError::CannotGo(broker(2))));
    assert_eq!(first.add_voter(broker(1)).await, Err(VoterChangeError::Votes(broker(1))));
    assert_eq!(first.add_voter(broker(9)).await, Err(VoterChangeError::NoObserver(broker(9))));
    let refused = cluster.voter(broker(2)).add_voter(broker(2)).await;
    assert!(matches!(refused, Err(VoterChangeError::NotLeader { .. })), "{refused:?}");
    cluster.all_say(&[1]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_change_at_a_time_and_an_observer_that_is_not_reached_does_not_vote() {
    let cluster = sole_voter_with_observers(&[2, 3]).await;
    let first = cluster.voter(broker(1));
    cluster.wires.cut.lock().insert(broker(2));
    cluster.propose(broker(1), topic(0)).await.expect("proposed");
    let mut waits = first.add_voter(broker(2));
    assert!(poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx).is_pending())).await, "its first step took the turn");
    let waits = tokio::spawn(waits);
    assert_eq!(first.remove_voter(broker(3)).await, Err(VoterChangeError::InProgress));
    cluster.propose(broker(1), topic(1)).await.expect("nothing waits for a broker that does not vote");
    waits.abort();
    assert!(waits.await.is_err());
    cluster.wires.cut.lock().clear();
    first.add_voter(broker(3)).await.expect("the turn is free again");
    cluster.all_say(&[1, 3]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_a_leader_left_half_done_is_finished_by_the_next() {
    let mut cluster = sole_voter_with_observers(&[2, 3, 4]).await;
    for id in [2, 3] {
        cluster.voter(broker(1)).add_voter(broker(id)).await.expect("added");
    }
    cluster.propose(broker(1), topic(0)).await.expect("proposed");
    cluster.all_have(1).await;
    // The leader dies at some moment of the change; which is left of it differs from round to round.
    for round in 0..6_u32 {
        let witness = broker(2);
        let leader = cluster.leader(witness, None).await;
        let votes = cluster.voter(leader).voting().borrow().contains(&broker(4));
        let quorum = cluster.voter(leader);
        let change = tokio::spawn(if votes { quorum.remove_voter(broker(4)) } else { quorum.add_voter(broker(4)) });
        for _ in 0..round * 40 {
            tokio::task::yield_now().await;
        }
        cluster.kill(leader).await;
        let _whatever = change.await;
        cluster.start_joined(leader).await;
        let next = cluster.leader(witness, None).await;
        let number = u128::from(round) + 1;
        let mut proposer = next;
        while cluster.propose(proposer, topic(number)).await.is_err() {
            proposer = cluster.leader(witness, None).await;
        }
        cluster.all_have(usize::try_from(number + 1).expect("small")).await;
    }
    // With whom it ends is open; that all say the same, and that it is one of the two, is not.
    let leader = cluster.leader(broker(2), None).await;
    let is_settled = |voters: &BTreeSet<BrokerId>| voters.len() == 3 || voters.len() == 4;
    let settled = cluster.voter(leader).voting().wait_for(is_settled).await.expect("it lives").clone();
    let ids: Vec<i32> = settled.iter().map(|id| id.get()).collect();
    cluster.all_say(&ids).await;
    cluster.end().await;
}
