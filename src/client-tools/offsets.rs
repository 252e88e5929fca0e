//! Offsets of partitions, asked of their leaders.

use std::collections::BTreeMap;

use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::{BrokerId, ListOffsetsRequest};

use crate::ToolProblem;
use crate::cluster::{Cluster, is_retriable, topic_name};

/// Asks for the first offset.
pub(crate) const EARLIEST: i64 = -2;
/// Asks for the next offset to be written.
pub(crate) const LATEST: i64 = -1;

/// A partition of a topic by name.
pub(crate) type Place = (String, i32);

/// The offsets of places at a time, [`EARLIEST`] or [`LATEST`]. Of a time behind the last record the offset is -1.
pub(crate) async fn list(cluster: &mut Cluster, places: &[Place], timestamp: i64) -> Result<BTreeMap<Place, i64>, ToolProblem> {
    let deadline = cluster.deadline();
    let mut found = BTreeMap::new();
    loop {
        let open: Vec<&Place> = places.iter().filter(|place| !found.contains_key(*place)).collect();
        if open.is_empty() {
            return Ok(found);
        }
        let refusal = ask(cluster, &open, timestamp, &mut found).await?;
        let Some(((topic, partition), code)) = refusal else { continue };
        if !is_retriable(code) || !cluster.pause(deadline).await {
            return Err(ToolProblem::refused(format!("offsets of partition {partition} of '{topic}'"), code, None));
        }
    }
}

/// Asks once for all; gives the last place that was refused.
async fn ask(
    cluster: &mut Cluster,
    places: &[&Place],
    timestamp: i64,
    found: &mut BTreeMap<Place, i64>,
) -> Result<Option<(Place, i16)>, ToolProblem> {
    let mut names: Vec<String> = places.iter().map(|(topic, _)| topic.clone()).collect();
    names.dedup();
    let mut leaders = BTreeMap::new();
    for topic in cluster.metadata(Some(&names), false).await? {
        leaders.extend(topic.partitions.iter().map(|partition| ((topic.name.clone(), partition.index), partition.leader)));
    }
    let mut refused = None;
    let mut by_leader: BTreeMap<i32, BTreeMap<&str, Vec<ListOffsetsPartition>>> = BTreeMap::new();
    for place in places {
        match leaders.get(*place) {
            Some(Some(leader)) => {
                let asked =
                    ListOffsetsPartition::default().with_partition_index(place.1).with_current_leader_epoch(-1).with_timestamp(timestamp);
                by_leader.entry(*leader).or_default().entry(&place.0).or_default().push(asked);
            }
            Some(None) => refused = Some(((*place).clone(), protocol::ErrorCode::LeaderNotAvailable.code())),
            None => return Err(ToolProblem::NoTopic(place.0.clone())),
        }
    }
    for (leader, topics) in by_leader {
        let topic = |(name, partitions)| ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(partitions);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.into_iter().map(topic).collect());
        for topic in cluster.ask(leader, &request).await?.topics {
            for partition in topic.partitions {
                let place = (topic.name.to_string(), partition.partition_index);
                match partition.error_code {
                    0 => drop(found.insert(place, partition.offset)),
                    code => refused = Some((place, code)),
                }
            }
        }
    }
    Ok(refused)
}
