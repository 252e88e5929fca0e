//! Which brokers hold a new partition.

use std::collections::BTreeMap;

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

/// Places `count` partitions, the first of which has the number `first`, as `StripedReplicaPlacer` does: over the racks as evenly as it goes,
/// leaders over the active brokers, fenced brokers only where active ones do not suffice, and never as leaders.
///
/// Racks are gone round, and within each rack its brokers, so that three replicas stand on three racks where there are three. Where Kafka
/// begins and shuffles by chance, the circles begin where `seed` says (so that topics of one partition do not all lead on one broker), and each
/// round of the brokers is turned by one against the last, so that the same brokers do not always share their partitions.
///
/// # Errors
/// If the factor is not positive, more than the registered brokers, or no broker is active.
pub fn place(image: &Image, first: i32, count: i32, factor: i16, seed: u64) -> Result<Vec<Vec<BrokerId>>, PlacementError> {
    let wanted = usize::try_from(factor).ok().filter(|wanted| *wanted > 0).ok_or(PlacementError::NotPositive(factor))?;
    // As in Kafka, who is about to stop takes nothing at all.
    let usable: Vec<&Broker> = image.brokers().map(AsRef::as_ref).filter(|broker| broker.fenced || broker.is_active()).collect();
    let circle = Circle::of(&usable);
    if circle.leaders.is_empty() {
        return Err(PlacementError::AllFenced);
    }
    if wanted > usable.len() {
        return Err(PlacementError::TooFewBrokers { factor, brokers: usable.len() });
    }
    let start = usize::try_from(seed % circle.leaders.len() as u64).unwrap_or(0);
    let partitions = first..first.saturating_add(count);
    Ok(partitions.map(|partition| circle.replicas(usize::try_from(partition).unwrap_or(0), start, wanted)).collect())
}

/// The brokers of one rack, by id.
#[derive(Default)]
struct Rack {
    active: Vec<BrokerId>,
    fenced: Vec<BrokerId>,
}

#[derive(Clone, Copy)]
struct Leader {
    broker: BrokerId,
    /// The place of its rack.
    rack: usize,
    /// Its place in its rack.
    row: usize,
}

/// The racks, by name, and who may lead in the order in which they do: one of each rack, then the next of each.
struct Circle {
    racks: Vec<Rack>,
    leaders: Vec<Leader>,
}

impl Circle {
    fn of(usable: &[&Broker]) -> Self {
        let mut by_name: BTreeMap<Option<&str>, Rack> = BTreeMap::new();
        for broker in usable {
            let rack = by_name.entry(broker.rack.as_deref()).or_default();
            if broker.fenced { &mut rack.fenced } else { &mut rack.active }.push(broker.id);
        }
        let racks: Vec<Rack> = by_name.into_values().collect();
        let longest = racks.iter().map(|rack| rack.active.len()).max().unwrap_or(0);
        let leaders = (0..longest).flat_map(|row| {
            racks.iter().enumerate().filter_map(move |(rack, of)| of.active.get(row).map(|broker| Leader { broker: *broker, rack, row }))
        });
        Self { leaders: leaders.collect(), racks }
    }

    fn replicas(&self, partition: usize, start: usize, wanted: usize) -> Vec<BrokerId> {
        let (turn, round) = ((start + partition) % self.leaders.len(), partition / self.leaders.len());
        let Some(Leader { broker: leader, rack: home, row }) = self.leaders.get(turn).copied() else { return Vec::new() };
        // Each rack's other brokers, its active ones first, from one that moves on with the leaders and the rounds. Taken from the end.
        let turned = |ids: &[BrokerId]| {
            let others: Vec<BrokerId> = ids.iter().copied().filter(|id| *id != leader).collect();
            let by = (row + round) % others.len().max(1);
            others.iter().skip(by).chain(others.iter().take(by)).copied().collect::<Vec<_>>()
        };
        let queue = |rack: &Rack| turned(&rack.active).into_iter().chain(turned(&rack.fenced)).rev().collect::<Vec<_>>();
        let mut queues: Vec<Vec<BrokerId>> = self.racks.iter().map(queue).collect();
        let mut replicas = vec![leader];
        // The racks behind the leader's, the leader's own last: it has its replica.
        let order: Vec<usize> =
            (1..=self.racks.len()).map(|step| (home + step + round) % self.racks.len()).filter(|rack| *rack != home).collect();
        let mut order = order.into_iter().chain(std::iter::once(home)).cycle();
        while replicas.len() < wanted && queues.iter().any(|queue| !queue.is_empty()) {
            let given = order.next().and_then(|rack| queues.get_mut(rack)).and_then(Vec::pop);
            replicas.extend(given);
        }
        replicas
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::image_of_brokers;
    use super::*;
    use crate::records::MetadataRecord;

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

    /// An image of brokers with the racks that their ids' tens say.
    fn image_of_racks(ids: &[i32], fenced: &[i32]) -> Image {
        let records: Vec<MetadataRecord> = ids
            .iter()
            .map(|id| MetadataRecord::RegisterBroker {
                broker_id: BrokerId::new_or_zero(*id),
                incarnation_id: uuid::Uuid::nil(),
                listeners: Vec::new(),
                rack: Some(format!("rack-{}", id / 10)),
                features: BTreeMap::new(),
                fenced: fenced.contains(id),
            })
            .collect();
        Image::default().apply(1, &records).0
    }

    #[test]
    fn replicas_stand_on_as_many_racks_as_there_are_and_each_broker_has_its_share() {
        let image = image_of_racks(&[11, 12, 21, 22, 31, 32], &[]);
        let placed = numbers(&place(&image, 0, 7, 3, 0).expect("six brokers"));
        assert_eq!(placed[..4], [[11, 21, 31], [21, 31, 11], [31, 11, 21], [12, 22, 32]]);
        assert_eq!(placed[6], [11, 32, 22]);
        for seed in 0..12 {
            let placed = numbers(&place(&image, 0, 12, 3, seed).expect("six brokers"));
            for replicas in &placed {
                let racks: std::collections::BTreeSet<i32> = replicas.iter().map(|id| id / 10).collect();
                assert_eq!(racks.len(), 3, "{replicas:?}");
            }
            for broker in [11, 12, 21, 22, 31, 32] {
                assert_eq!(placed.iter().filter(|replicas| replicas[0] == broker).count(), 2);
                assert_eq!(placed.iter().flatten().filter(|id| **id == broker).count(), 6, "of {broker}");
            }
        }
    }

    #[test]
    fn fenced_brokers_come_last_in_their_rack_and_never_lead_and_two_racks_share_four_replicas() {
        let image = image_of_racks(&[11, 12, 21, 22], &[12, 21]);
        for replicas in numbers(&place(&image, 0, 8, 4, 0).expect("four brokers")) {
            assert!([11, 22].contains(&replicas[0]));
            assert_eq!(replicas.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
            assert_ne!(replicas[0] / 10, replicas[1] / 10);
        }
        assert_eq!(place(&image_of_racks(&[11], &[11]), 0, 1, 1, 0), Err(PlacementError::AllFenced));
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
