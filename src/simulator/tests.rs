//! Histories without a mistake hold; with one they do not.

use crate::{Mutant, run};

const STEPS: usize = 3000;

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..20 {
        assert_eq!(run(seed, STEPS, None), run(seed, STEPS, None));
    }
    assert_ne!(run(1, STEPS, None), run(2, STEPS, None));
}

#[test]
fn whatever_the_network_and_the_power_do_the_invariants_hold() {
    let (mut acknowledged, mut terms, mut cut) = (0, 0, 0);
    for seed in 0..1000 {
        let outcome = run(seed, STEPS, None).unwrap_or_else(|violation| panic!("seed {seed}: {violation:?}"));
        acknowledged += outcome.acknowledged;
        terms += outcome.leader_epoch;
        cut += outcome.cut;
    }
    assert!(acknowledged > 20_000 && terms > 4000 && cut > 2000, "too little happens: {acknowledged} records, {terms} terms, {cut} cut");
}

/// The mistakes, each with the invariant that it breaks first.
const FOUND_BY: [(Mutant, &str); 21] = [
    (Mutant::TruncateToHighWatermark, "LeaderCandidateCompleteness"),
    (Mutant::IgnoreDivergingEpoch, "LeaderCandidateCompleteness"),
    (Mutant::ForgetEpochStart, "HighWatermarkSeenNeverGoesBack"),
    (Mutant::ClaimWholeData, "LeaderCandidateCompleteness"),
    (Mutant::IgnorePartitionEpoch, "LeaderCandidateCompleteness"),
    (Mutant::ShrinkBeforeController, "LeaderCandidateCompleteness"),
    (Mutant::UncleanElections, "LeaderCandidateCompleteness"),
    (Mutant::FollowerReportsUnsynced, "LeaderCandidateCompleteness"),
    (Mutant::LeaderCountsUnsynced, "LeaderCandidateCompleteness"),
    (Mutant::TakeLateAnswers, "LeaderCandidateCompleteness"),
    (Mutant::ReadBeyondHighWatermark, "ConsistentRead"),
    (Mutant::AcknowledgeAtAppend, "LeaderCandidateCompleteness"),
    (Mutant::ServeBeforeCurrentHighWatermark, "HighWatermarkSeenNeverGoesBack"),
    (Mutant::LetFencedJoin, "ValidControllerIsrAndElr"),
    (Mutant::IgnorePendingExpand, "LeaderCandidateCompleteness"),
    (Mutant::IgnoreMinInsyncReplicas, "LeaderCandidateCompleteness"),
    (Mutant::StayInSyncOverRestart, "ValidControllerIsrAndElr"),
    (Mutant::IgnoreLeaderEpochOfAlter, "LeaderCandidateCompleteness"),
    (Mutant::LeadOnUnderOldEpoch, "LeaderCandidateCompleteness"),
    (Mutant::IgnoreMemberEpochs, "LeaderCandidateCompleteness"),
    (Mutant::AppendInLaterTerm, "ValidControllerIsrAndElr"),
];

#[test]
fn each_mistake_is_found_within_a_thousand_seeds_by_its_invariant() {
    assert_eq!(FOUND_BY.map(|(mutant, _)| mutant), Mutant::ALL);
    let first_found = |mutant| (0..1000).find_map(|seed| run(seed, STEPS, Some(mutant)).err());
    let found = FOUND_BY.map(|(mutant, _)| (mutant, first_found(mutant).map(|violation| violation.invariant)));
    assert_eq!(found, FOUND_BY.map(|(mutant, invariant)| (mutant, Some(invariant))));
}
