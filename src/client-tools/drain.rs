//! `klamm drain`: moves all replicas of a broker to others, so that it can be taken out of the cluster.
//!
//! What it is *not*: it stops no broker, and it forgets none. A broker that is drained gets new replicas like any other until it is stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use protocol::messages::{AlterPartitionReassignmentsRequest, BrokerId, ListPartitionReassignmentsRequest};
use serde_json::json;
use wire::clock::Clock as _;

use crate::ToolProblem;
use crate::args::DrainArgs;
use crate::cluster::{Broker, Cluster, Topic, is_retriable, topic_name};
use crate::output;

/// A partition, by topic and number.
type Place = (String, i32);

/// A broker may be behind the controller: what was on its way is looked for in the metadata so often before it counts as not moved.
const LOOKS_UNTIL_SEEN: u32 = 10;

pub(crate) async fn run(args: &DrainArgs) -> Result<(), ToolProblem> {
    let mut cluster = Cluster::connect(&args.common).await?;
    let (mut first, mut told, mut moving) = (None, None, BTreeMap::new());
    loop {
        // First, so that what is on its way no more is gone from the broker in the metadata.
        let leaving = leaving(&mut cluster, args.broker).await?;
        let topics = cluster.metadata(None, false).await?;
        let left = held(&topics, args.broker).len();
        let all = *first.get_or_insert(left);
        if told != Some(left) {
            told = Some(left);
            eprintln!("broker {}: {left} of {} left", args.broker, output::count(all, "partition"));
        }
        if left == 0 {
            let is_known = cluster.view.brokers.contains_key(&args.broker);
            return done(args, all, is_known);
        }
        let moves = plan(&topics, &cluster.view.brokers, args.broker, &left_alone(&mut moving, leaving))?;
        if !moves.is_empty() {
            moving.extend(moves.keys().map(|place| (place.clone(), LOOKS_UNTIL_SEEN)));
            ask(&mut cluster, args, moves).await?;
        }
        cluster.clock.sleep_until(cluster.clock.monotonic() + crate::cluster::LOOK_AGAIN).await;
    }
}

fn done(args: &DrainArgs, moved: usize, is_known: bool) -> Result<(), ToolProblem> {
    let mut out = output::stdout();
    if args.common.json {
        output::json(&mut out, &json!({ "broker": args.broker, "moved": moved }))?;
    } else if moved == 0 && !is_known {
        // Drained and stopped earlier, or a slip of the finger.
        writeln!(out, "no broker {} runs, and no partition has a replica on it", args.broker)?;
    } else {
        writeln!(out, "broker {} holds no replica any more; {} moved", args.broker, output::count(moved, "partition"))?;
    }
    Ok(out.flush()?)
}

/// The partitions with a replica on a broker.
fn held(topics: &[Topic], broker: i32) -> Vec<Place> {
    let of = |topic: &Topic| -> Vec<Place> {
        let held = topic.partitions.iter().filter(|partition| partition.replicas.contains(&broker));
        held.map(|partition| (topic.name.clone(), partition.index)).collect()
    };
    topics.iter().flat_map(of).collect()
}

/// The partitions that are leaving a broker already.
async fn leaving(cluster: &mut Cluster, broker: i32) -> Result<BTreeSet<Place>, ToolProblem> {
    let request = ListPartitionReassignmentsRequest::default().with_timeout_ms(cluster.timeout_ms()).with_topics(None);
    let response = cluster.ask_controller(&request).await?;
    if response.error_code != 0 {
        let message = response.error_message.as_deref();
        return Err(ToolProblem::refused("the list of moving partitions", response.error_code, message));
    }
    let mut found = BTreeSet::new();
    for topic in &response.topics {
        let leaving = topic.partitions.iter().filter(|partition| partition.removing_replicas.contains(&BrokerId(broker)));
        found.extend(leaving.map(|partition| (topic.name.to_string(), partition.partition_index)));
    }
    Ok(found)
}

/// The partitions that are not to be moved now: those that are leaving, and those that were in one of the last looks. Their replicas may be told as they
/// were on the way, the new one beside the old one.
fn left_alone(moving: &mut BTreeMap<Place, u32>, leaving: BTreeSet<Place>) -> BTreeSet<Place> {
    moving.retain(|_, looks| {
        *looks = looks.saturating_sub(1);
        *looks > 0
    });
    moving.extend(leaving.into_iter().map(|place| (place, LOOKS_UNTIL_SEEN)));
    moving.keys().cloned().collect()
}

/// Which replicas each partition is to have that is not leaving the broker yet. A partition whose replicas move for another reason has its turn
/// when that is done.
///
/// Another broker takes the place of the one that goes, in the same position: of those that hold no replica yet, one in a rack that the others
/// are not in, then the one with the fewest replicas.
fn plan(
    topics: &[Topic],
    brokers: &BTreeMap<i32, Broker>,
    drained: i32,
    leaving: &BTreeSet<Place>,
) -> Result<BTreeMap<Place, Vec<i32>>, ToolProblem> {
    let mut load: BTreeMap<i32, usize> = brokers.keys().map(|id| (*id, 0)).collect();
    for replica in topics.iter().flat_map(|topic| &topic.partitions).flat_map(|partition| &partition.replicas) {
        if let Some(count) = load.get_mut(replica) {
            *count += 1;
        }
    }
    let rack_of = |id: i32| brokers.get(&id).and_then(|broker| broker.rack.clone());
    let mut moves = BTreeMap::new();
    for topic in topics {
        for partition in topic.partitions.iter().filter(|partition| partition.replicas.contains(&drained)) {
            let place = (topic.name.clone(), partition.index);
            if leaving.contains(&place) {
                continue;
            }
            let staying: BTreeSet<_> =
                partition.replicas.iter().filter(|replica| **replica != drained).filter_map(|replica| rack_of(*replica)).collect();
            let candidates = load.iter().filter(|(id, _)| **id != drained && !partition.replicas.contains(id));
            let best = candidates.min_by_key(|(id, count)| {
                let shares_rack = rack_of(**id).is_some_and(|rack| staying.contains(&rack));
                (shares_rack, **count, **id)
            });
            let Some(best) = best.map(|(id, _)| *id) else {
                return Err(ToolProblem::NoRoom {
                    topic: topic.name.clone(),
                    partition: partition.index,
                    replicas: partition.replicas.len(),
                    broker: drained,
                });
            };
            *load.entry(best).or_default() += 1;
            let replicas = partition.replicas.iter().map(|replica| if *replica == drained { best } else { *replica });
            moves.insert(place, replicas.collect());
        }
    }
    Ok(moves)
}

async fn ask(cluster: &mut Cluster, args: &DrainArgs, moves: BTreeMap<Place, Vec<i32>>) -> Result<(), ToolProblem> {
    let mut topics: BTreeMap<String, Vec<ReassignablePartition>> = BTreeMap::new();
    for ((topic, index), replicas) in moves {
        let replicas = replicas.into_iter().map(BrokerId).collect();
        let partition = ReassignablePartition::default().with_partition_index(index).with_replicas(Some(replicas));
        topics.entry(topic).or_default().push(partition);
    }
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| ReassignableTopic::default().with_name(topic_name(&name)).with_partitions(partitions))
        .collect();
    let request = AlterPartitionReassignmentsRequest::default().with_timeout_ms(cluster.timeout_ms()).with_topics(topics);
    let response = cluster.ask_controller(&request).await?;
    if response.error_code != 0 && !is_retriable(response.error_code) {
        return Err(ToolProblem::refused(
            format!("moving partitions off broker {}", args.broker),
            response.error_code,
            response.error_message.as_deref(),
        ));
    }
    for topic in response.responses {
        // A topic may have been deleted meanwhile: what is passing is seen in the next look.
        let refused = topic.partitions.iter().find(|row| row.error_code != 0 && !is_retriable(row.error_code));
        if let Some(row) = refused {
            let subject = format!("moving partition {} of topic '{}'", row.partition_index, topic.name.as_str());
            return Err(ToolProblem::refused(subject, row.error_code, row.error_message.as_deref()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Partition;

    fn topic(name: &str, replicas: &[&[i32]]) -> Topic {
        let partitions = (0..).zip(replicas).map(|(index, replicas)| Partition {
            index,
            leader: replicas.first().copied(),
            replicas: replicas.to_vec(),
            in_sync_replicas: replicas.to_vec(),
        });
        Topic { name: name.to_owned(), is_internal: false, partitions: partitions.collect() }
    }

    fn brokers(racks: &[(i32, Option<&str>)]) -> BTreeMap<i32, Broker> {
        let broker = |(id, rack): &(i32, Option<&str>)| (*id, Broker { id: *id, address: String::new(), rack: rack.map(str::to_owned) });
        racks.iter().map(broker).collect()
    }

    fn planned(topics: &[Topic], brokers: &BTreeMap<i32, Broker>, drained: i32, leaving: &[Place]) -> Vec<(i32, Vec<i32>)> {
        let moves = plan(topics, brokers, drained, &leaving.iter().cloned().collect()).unwrap();
        moves.into_iter().map(|((_, index), replicas)| (index, replicas)).collect()
    }

    #[test]
    fn what_was_leaving_a_moment_ago_is_not_moved_again_until_the_metadata_had_time_to_tell() {
        let (mut moving, place) = (BTreeMap::new(), ("t".to_owned(), 0));
        let one = BTreeSet::from([place.clone()]);
        assert_eq!(left_alone(&mut moving, one.clone()), one);
        for _ in 1..LOOKS_UNTIL_SEEN {
            // The broker that is asked still tells of the replica that goes and of the one that came.
            assert_eq!(left_alone(&mut moving, BTreeSet::new()), one);
        }
        assert_eq!(left_alone(&mut moving, BTreeSet::new()), BTreeSet::new(), "it was given up, and is asked for again");
    }

    #[test]
    fn the_brokers_that_stay_share_what_the_drained_one_held() {
        let four = brokers(&[(1, None), (2, None), (3, None), (4, None)]);
        let topics = [topic("t", &[&[1, 2], &[2, 1], &[3, 4], &[2, 3]])];
        assert_eq!(planned(&topics, &four, 1, &[]), [(0, vec![4, 2]), (1, vec![2, 3])]);
        assert_eq!(planned(&topics, &four, 1, &[("t".to_owned(), 0)]), [(1, vec![2, 4])]);
    }

    #[test]
    fn a_rack_that_the_other_replicas_are_not_in_comes_before_a_broker_with_less() {
        let racks = brokers(&[(1, Some("a")), (2, Some("b")), (3, Some("b")), (4, Some("a"))]);
        let topics = [topic("t", &[&[1, 2], &[4, 2], &[4, 2]])];
        assert_eq!(planned(&topics, &racks, 1, &[]), [(0, vec![4, 2])]);
    }

    #[test]
    fn a_partition_that_nobody_else_can_take_is_named_before_anything_moves() {
        let two = brokers(&[(1, None), (2, None)]);
        let refused = plan(&[topic("u", &[&[2]]), topic("t", &[&[1, 2]])], &two, 1, &BTreeSet::new()).unwrap_err().to_string();
        assert!(refused.starts_with("partition 0 of topic 't' has 2 replicas"), "{refused}");
    }
}
