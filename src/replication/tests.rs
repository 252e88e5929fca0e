//! Replication of one partition, told as scripts: what happens, and what the leader makes of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use model::{BrokerEpoch, BrokerId, LeaderEpoch, Offset};

use crate::{EpochCheck, Event, IsrState, LeaderState, MinIsr, PartitionTerm};

fn broker(id: i32) -> BrokerId {
    BrokerId::new(id).expect("a broker id")
}

fn brokers(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().map(|id| broker(*id)).collect()
}

fn set(ids: &[i32]) -> BTreeSet<BrokerId> {
    brokers(ids).into_iter().collect()
}

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("an offset")
}

/// Broker 1 leads.
fn leader(replicas: &[i32], isr: &[i32], log_end: i64, min_insync_replicas: usize) -> LeaderState {
    let (replicas, isr) = (brokers(replicas), brokers(isr));
    let (leader_epoch, epoch_start) = (LeaderEpoch::new_or_zero(5), offset(log_end));
    let term = PartitionTerm { replicas: &replicas, isr: &isr, leader_epoch, partition_epoch: 7, epoch_start, now_ms: 1000 };
    LeaderState::new(broker(1), &term, offset(log_end), Offset::ZERO, min_insync_replicas)
}

fn fetched(id: i32, at: i64, now_ms: u64) -> Event {
    Event::Fetched { broker: broker(id), offset: offset(at), eligible: true, now_ms }
}

/// One verb per line in; per line what follows, the high watermark and the in-sync set.
fn play(state: &mut LeaderState, script: &str) -> String {
    let mut printed = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<i64>().expect("a number");
        let ids = |at: usize| words[at].split(',').map(|id| broker(id.parse().expect("an id"))).collect::<BTreeSet<_>>();
        let time = |at: usize| u64::try_from(number(at)).expect("a time");
        let event = match words[0] {
            "append" => Event::LocalLogEnd(offset(number(1))),
            "fetch" => fetched(i32::try_from(number(1)).expect("an id"), number(2), time(3)),
            "lag" => Event::CheckLag { now_ms: time(1), lag_max_ms: 500 },
            "committed" => Event::Committed { isr: ids(1), partition_epoch: i32::try_from(number(2)).expect("an epoch") },
            "refused" => Event::Refused { partition_epoch: i32::try_from(number(1)).expect("an epoch") },
            verb => panic!("unknown verb {verb}"),
        };
        let effects = state.handle(event);
        let list = |set: &BTreeSet<BrokerId>| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let (name, maximal) = match state.isr() {
            IsrState::Committed(_) => ("isr", list(state.isr().maximal())),
            IsrState::PendingExpand { .. } => ("expanding to", list(state.isr().maximal())),
            IsrState::PendingShrink { .. } => ("shrinking from", list(state.isr().maximal())),
        };
        let _fits = write!(printed, "{line:<18}| hw {} {name} {maximal}", state.high_watermark());
        if let Some(proposal) = effects.propose {
            let _fits = write!(printed, " | propose {} at {}", list(&proposal.isr), proposal.partition_epoch);
        }
        printed.push('\n');
    }
    printed
}

fn check(mut state: LeaderState, script: &str, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let printed = play(&mut state, script);
    let printed: Vec<&str> = printed.lines().map(str::trim).collect();
    assert_eq!(printed, expected, "\n{}", printed.join("\n"));
}

#[test]
fn with_one_replica_the_high_watermark_is_the_local_log_end() {
    let mut state = leader(&[1], &[1], 10, 1);
    assert_eq!(state.high_watermark(), offset(10));
    assert_eq!(state.local_log_end_advanced(offset(12)), offset(12));
    assert_eq!(state.local_log_end_advanced(offset(11)), offset(12), "a late report moves nothing back");
}

#[test]
fn min_insync_replicas_is_capped_by_the_number_of_replicas() {
    let mut state = leader(&[1], &[1], 0, 3);
    assert_eq!(state.min_isr(), MinIsr::Satisfied);
    assert_eq!(state.local_log_end_advanced(offset(5)), offset(5));
}

#[test]
fn the_slowest_member_in_sync_holds_the_high_watermark() {
    check(
        leader(&[1, 2, 3], &[1, 2, 3], 0, 2),
        "append 10
         fetch 2 10 1100
         fetch 3 4 1100
         fetch 3 10 1200",
        "append 10         | hw 0 isr 1,2,3
         fetch 2 10 1100   | hw 0 isr 1,2,3
         fetch 3 4 1100    | hw 4 isr 1,2,3
         fetch 3 10 1200   | hw 10 isr 1,2,3",
    );
}

#[test]
fn a_follower_that_lags_is_proposed_out_and_counts_until_the_controller_agrees() {
    check(
        leader(&[1, 2, 3], &[1, 2, 3], 0, 2),
        "append 10
         fetch 2 10 1100
         lag 1400
         lag 1501
         lag 1600
         committed 1,2 8",
        "append 10         | hw 0 isr 1,2,3
         fetch 2 10 1100   | hw 0 isr 1,2,3
         lag 1400          | hw 0 isr 1,2,3
         lag 1501          | hw 0 shrinking from 1,2,3 | propose 1,2 at 7
         lag 1600          | hw 0 shrinking from 1,2,3
         committed 1,2 8   | hw 10 isr 1,2",
    );
}

#[test]
fn a_proposed_member_holds_the_high_watermark_before_the_controller_agrees() {
    check(
        leader(&[1, 2], &[1], 10, 1),
        "fetch 2 4 1100
         fetch 2 10 1200
         append 12
         committed 1,2 8
         fetch 2 12 1300",
        "fetch 2 4 1100    | hw 10 isr 1
         fetch 2 10 1200   | hw 10 expanding to 1,2 | propose 1,2 at 7
         append 12         | hw 10 expanding to 1,2
         committed 1,2 8   | hw 10 isr 1,2
         fetch 2 12 1300   | hw 12 isr 1,2",
    );
}

#[test]
fn a_refused_or_stale_answer_leaves_the_committed_set() {
    check(
        leader(&[1, 2], &[1], 10, 1),
        "fetch 2 10 1200
         refused 6
         refused 7
         committed 1,2 6",
        "fetch 2 10 1200   | hw 10 expanding to 1,2 | propose 1,2 at 7
         refused 6         | hw 10 expanding to 1,2
         refused 7         | hw 10 isr 1
         committed 1,2 6   | hw 10 isr 1",
    );
}

#[test]
fn the_high_watermark_stands_still_while_too_few_are_in_sync() {
    let mut state = leader(&[1, 2, 3], &[1], 10, 2);
    assert_eq!(state.high_watermark(), Offset::ZERO);
    assert_eq!(state.min_isr(), MinIsr::TooFew { in_sync: 1, required: 2 });
    assert_eq!(state.set_min_insync_replicas(1).high_watermark, Some(offset(10)));
}

#[test]
fn a_fenced_or_foreign_follower_never_joins() {
    let mut state = leader(&[1, 2], &[1], 10, 1);
    let fenced = Event::Fetched { broker: broker(2), offset: offset(10), eligible: false, now_ms: 1100 };
    assert_eq!(state.handle(fenced).propose, None);
    assert_eq!(state.handle(fetched(9, 10, 1100)).propose, None);
    assert_eq!(state.isr().maximal(), &set(&[1]));
}

#[test]
fn a_follower_below_the_begin_of_the_term_does_not_join() {
    let (replicas, isr) = (brokers(&[1, 2, 3]), brokers(&[1, 3]));
    let (leader_epoch, epoch_start) = (LeaderEpoch::new_or_zero(5), offset(10));
    let term = PartitionTerm { replicas: &replicas, isr: &isr, leader_epoch, partition_epoch: 7, epoch_start, now_ms: 1000 };
    // The new leader's high watermark (4) is behind its log (10): records below 10 may be committed already.
    let mut state = LeaderState::new(broker(1), &term, offset(10), offset(4), 1);
    assert_eq!(state.handle(fetched(2, 6, 1100)).propose, None);
    assert!(state.handle(fetched(2, 10, 1200)).propose.is_some());
}

#[test]
fn a_follower_that_reaches_where_the_leader_was_at_its_last_fetch_is_not_lagging() {
    let mut state = leader(&[1, 2], &[1, 2], 0, 1);
    for round in 1..20_i64 {
        let now_ms = 1000 + u64::try_from(round).expect("small") * 400;
        state.handle(Event::LocalLogEnd(offset(round * 10)));
        state.handle(fetched(2, (round - 1) * 10, now_ms));
        assert_eq!(state.handle(Event::CheckLag { now_ms, lag_max_ms: 500 }).propose, None);
    }
}

#[test]
fn epochs_of_requests_are_current_fenced_or_unknown() {
    let state = leader(&[1], &[1], 0, 1);
    let check = |epoch: i32| state.check_epoch(LeaderEpoch::new(epoch));
    assert_eq!(
        [check(-1), check(5), check(4), check(6)],
        [EpochCheck::Current, EpochCheck::Current, EpochCheck::Fenced, EpochCheck::Unknown]
    );
}

#[test]
fn the_known_state_told_once_more_does_not_end_a_proposal() {
    check(
        leader(&[1, 2], &[1], 10, 1),
        "fetch 2 10 1200
         append 12
         committed 1 7
         append 14
         committed 1,2 8",
        "fetch 2 10 1200   | hw 10 expanding to 1,2 | propose 1,2 at 7
         append 12         | hw 10 expanding to 1,2
         committed 1 7     | hw 10 expanding to 1,2
         append 14         | hw 10 expanding to 1,2
         committed 1,2 8   | hw 10 isr 1,2",
    );
}

#[test]
fn a_new_leader_has_no_current_high_watermark_before_its_log_at_the_begin_of_the_term_is_replicated() {
    let mut state = leader(&[1, 2], &[1, 2], 10, 1);
    assert!(!state.has_current_high_watermark());
    state.handle(Event::LocalLogEnd(offset(12)));
    state.handle(fetched(2, 9, 1100));
    assert!(!state.has_current_high_watermark());
    state.handle(fetched(2, 10, 1200));
    assert!(state.has_current_high_watermark());
}

#[test]
fn the_follower_that_has_most_is_chosen_if_it_has_the_offset() {
    let mut state = leader(&[1, 2, 3, 4], &[1], 10, 1);
    for (id, at) in [(2, 6), (3, 8), (4, 8)] {
        state.handle(fetched(id, at, 1100));
    }
    let chosen = |among: &[i32], at: i64| state.fullest_follower(&brokers(among), offset(at)).map(|broker| broker.get());
    assert_eq!([chosen(&[2, 3, 4], 8), chosen(&[2], 6), chosen(&[2], 7), chosen(&[1, 9], 0)], [Some(3), Some(2), None, None]);
}

#[test]
fn changed_replicas_keep_what_is_known_of_those_that_stay() {
    let mut state = leader(&[1, 2, 3], &[1, 2, 3], 0, 1);
    state.handle(Event::LocalLogEnd(offset(10)));
    state.handle(fetched(2, 10, 1100));
    assert!(state.has_follower(broker(3)) && !state.has_follower(broker(4)));
    state.set_replicas(&brokers(&[1, 2, 4]), 1200);
    assert!(!state.has_follower(broker(3)) && state.has_follower(broker(4)));
    state.handle(Event::Committed { isr: set(&[1, 2]), partition_epoch: 8 });
    assert_eq!(state.high_watermark(), offset(10));
}

#[test]
fn a_fetch_of_an_earlier_registration_says_nothing_once_a_later_one_has_fetched() {
    let mut state = leader(&[1, 2], &[1, 2], 0, 1);
    assert!(state.note_broker_epoch(broker(2), BrokerEpoch::new(4)));
    assert!(state.note_broker_epoch(broker(2), BrokerEpoch::new(9)));
    assert!(!state.note_broker_epoch(broker(2), BrokerEpoch::new(4)));
    assert_eq!(state.broker_epochs().get(&broker(2)).copied(), BrokerEpoch::new(9));
}
