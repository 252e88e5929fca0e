//! A seeded simulation of producers, one coordinator and the leaders of some partitions, over a network that loses, delays, repeats and reorders
//! messages, with crashes and failed appends. The same seed gives the same run.
//!
//! The coordinator is the real shard; producers and leaders are models that do what Kafka's do (see there). After the faults have ended and every
//! timeout has passed, each partition's log must tell one story: see [`audit`].
//!
//! Old mistakes ([`Mutant`]) can be put in; each must be found within 1,000 seeds. `SEEDS=10000` runs more of the right system.

mod audit;
mod cluster;
mod coordinator;
mod leader;
mod producer;
mod random;

use cluster::Cluster;
use txn_coordinator::TransactionVersion;

/// A mistake that somebody has made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mutant {
    /// A leader forgets after a restart what it has of a producer (Rel-A2).
    ForgetsSequences,
    /// The rules before version 2, where nothing tells an EndTxn of the last transaction from one of this (Rel-A11).
    OneEpochForAll,
    /// A leader appends without asking the coordinator (Rel-A12).
    DoesNotVerify,
    /// A leader appends although the transaction ended while the coordinator's answer was on its way (Rel-A13, KAFKA-15653). Under version 2 the
    /// marker's epoch stands in the way as well.
    ForgetsTheGuard,
    /// A leader takes a marker of the epoch that it has already (Rel-A13, KIP-1228).
    MarkerEpochMayBeEqual,
    /// The next transaction is refused, not told to wait, while the last one is finished (Rel-A13, KAFKA-18575).
    WrongErrorOrder,
    /// The producer is told the last epoch instead of a new producer id (Rel-A13, KAFKA-18660).
    EpochOverflows,
    /// A new producer fences the open transaction of the last one by an epoch that no one needs, beside that of the abort (Rel-A13, KAFKA-19367).
    FencesTwice,
    /// A leader looks for its guard before it looks at the epoch, and tells a producer that was fenced that its transaction is in a wrong state
    /// (Rel-A13, KAFKA-19690).
    GuardBeforeEpoch,
    /// A record of which it is unknown whether it lies in the log counts as written (Rel-A13, the half-written fence).
    TrustsADoubtfulAppend,
    /// Markers go out before the decision is in the log.
    MarkersBeforeDecision,
    /// Leaders take markers of a coordinator that has been replaced. Under version 2 the marker's epoch stands in the way as well.
    NoCoordinatorEpoch,
    /// A coordinator that takes over does not send the markers that are due.
    LosesMarkersAtLoad,
    /// A coordinator that takes over does not abort what times out.
    LosesTimersAtLoad,
}

const MUTANTS: [Mutant; 14] = [
    Mutant::ForgetsSequences,
    Mutant::OneEpochForAll,
    Mutant::DoesNotVerify,
    Mutant::ForgetsTheGuard,
    Mutant::MarkerEpochMayBeEqual,
    Mutant::WrongErrorOrder,
    Mutant::EpochOverflows,
    Mutant::FencesTwice,
    Mutant::GuardBeforeEpoch,
    Mutant::TrustsADoubtfulAppend,
    Mutant::MarkersBeforeDecision,
    Mutant::NoCoordinatorEpoch,
    Mutant::LosesMarkersAtLoad,
    Mutant::LosesTimersAtLoad,
];

fn seeds(default: u64) -> u64 {
    std::env::var("SEEDS").ok().map_or(default, |seeds| seeds.parse().unwrap())
}

impl Mutant {
    /// The rules under which it is a mistake.
    const fn version(self) -> TransactionVersion {
        match self {
            Self::OneEpochForAll | Self::ForgetsTheGuard | Self::NoCoordinatorEpoch => TransactionVersion::V1,
            _ => TransactionVersion::V2,
        }
    }
}

fn check(version: TransactionVersion) {
    let (mut committed, mut aborted) = (0, 0);
    for seed in 0..seeds(150) {
        let counts = Cluster::new(seed, version, None).run().unwrap_or_else(|finding| panic!("seed {seed}: {finding}"));
        committed += counts.committed;
        aborted += counts.aborted;
    }
    // The runs are about something.
    assert!(committed > 1_000 && aborted > 1_000, "{committed} committed, {aborted} aborted");
}

#[test]
fn every_transaction_is_whole_and_ends_whatever_the_network_does() {
    check(TransactionVersion::V2);
}

#[test]
fn under_the_old_rules_it_is_and_does_while_nothing_comes_late_to_the_coordinator() {
    check(TransactionVersion::V1);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| Cluster::new(seed, TransactionVersion::V2, None).run().unwrap();
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn every_old_mistake_is_found_within_a_thousand_seeds() {
    for mutant in MUTANTS {
        let find = |seed| Cluster::new(seed, mutant.version(), Some(mutant)).run().err().map(|finding| (seed, finding));
        let Some((seed, finding)) = (0..1_000).find_map(find) else { panic!("{mutant:?} is not found") };
        println!("{mutant:?}: seed {seed}: {finding}");
    }
}
