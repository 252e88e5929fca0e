//! Which brokers hold a new partition.

use model::BrokerId;
use thiserror::Error;

use crate::image::{Broker, Image};

/// Why partitions cannot be placed. Its text is Kafka's.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PlacementError {
    /// The factor is not positive.
    #[error("Invalid replication factor {0}: the replication factor must be positive.")]
    NotPositive(i16),
    /// Nobody could lead.
    #[error("All brokers are currently fenced.")]
    AllFenced,
    /// There are too few brokers.
    #[error("The target replication factor of {factor} cannot be reached because only {brokers} broker(s) are registered.")]
    TooFewBrokers {
        /// The factor asked for.
        factor: i16,
        /// How many there are.
        brokers: usize,
    },
}

/// Places `count` partitions, the first of which has the number `first`: leaders go round the active brokers from a start that `seed` gives
/// (so that topics of one partition do not all lead on one broker), followers go on from there, one step further in each round, so that the
/// same pairs do not always share their partitions. Fenced brokers hold replicas only when active ones do not suffice, and come last.
///
/// Racks are not looked at: `StripedReplicaPlacer` spreads over them.
///
/// # Errors
/// If the factor is not positive, more than the registered brokers, or no broker is active.
pub fn place(image: &Image, first: i32, count: i32, factor: i16, seed: u64) -> Result<Vec<Vec<BrokerId>>, PlacementError> {
    let wanted = usize::try_from(factor).ok().filter(|wanted| *wanted > 0).ok_or(PlacementError::NotPositive(factor))?;
    let (active, fenced): (Vec<&Broker>, Vec<&Broker>) = image.brokers().map(AsRef::as_ref).partition(|broker| broker.is_active());
    if active.is_empty() {
        return Err(PlacementError::AllFenced);
    }
    if wanted > active.len() + fenced.len() {
        return Err(PlacementError::TooFewBrokers { factor, brokers: active.len() + fenced.len() });
    }
    let start = usize::try_from(seed % active.len() as u64).unwrap_or(0);
    let partitions = first..first.saturating_add(count);
    Ok(partitions.map(|partition| replicas_of(usize::try_from(partition).unwrap_or(0), start, wanted, &active, &fenced)).collect())
}

fn replicas_of(partition: usize, start: usize, wanted: usize, active: &[&Broker], fenced: &[&Broker]) -> Vec<BrokerId> {
    let leader = (start + partition) % active.len();
    let round = partition / active.len();
    let others = active.len() - 1;
    // The leader, then the other active brokers from one that moves with each round.
    let followers = (0..others).map(|step| (leader + 1 + (round + step) % others.max(1)) % active.len());
    let ids = std::iter::once(leader).chain(followers).filter_map(|at| active.get(at));
    let spare = (0..fenced.len()).filter_map(|step| fenced.get((partition + step) % fenced.len()));
    ids.chain(spare).take(wanted).map(|broker| broker.id).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::image_of_brokers;
    use super::*;

    fn numbers(placed: &[Vec<BrokerId>]) -> Vec<Vec<i32>> {
        placed.iter().map(|replicas| replicas.iter().map(|broker| broker.get()).collect()).collect()
    }

    #[test]
    fn leaders_go_round_and_pairs_change_with_each_round() {
        let image = image_of_brokers(&[1, 2, 3]);
        let placed = place(&image, 0, 6, 2, 0).expect("three brokers");
        assert_eq!(numbers(&placed), [[1, 2], [2, 3], [3, 1], [1, 3], [2, 1], [3, 2]]);
    }

    #[test]
    fn replicas_of_a_partition_are_distinct_and_leaders_even_for_any_seed() {
        let image = image_of_brokers(&[1, 2, 3, 4, 5]);
        for seed in 0..20 {
            for factor in 1..=5_i16 {
                let placed = numbers(&place(&image, 3, 25, factor, seed).expect("five brokers"));
                for replicas in &placed {
                    let mut sorted = replicas.clone();
                    sorted.sort_unstable();
                    sorted.dedup();
                    assert_eq!(sorted.len(), usize::try_from(factor).expect("positive"));
                }
                for broker in 1..=5 {
                    assert_eq!(placed.iter().filter(|replicas| replicas[0] == broker).count(), 5);
                }
            }
        }
    }

    #[test]
    fn one_broker_takes_everything_and_two_replicas_are_too_many_for_it() {
        let image = image_of_brokers(&[7]);
        assert_eq!(numbers(&place(&image, 0, 2, 1, 99).expect("one broker")), [[7], [7]]);
        let error = place(&image, 0, 1, 2, 0).expect_err("too few").to_string();
        assert_eq!(error, "The target replication factor of 2 cannot be reached because only 1 broker(s) are registered.");
        assert_eq!(place(&Image::default(), 0, 1, 1, 0), Err(PlacementError::AllFenced));
    }
}
