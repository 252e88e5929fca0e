//! AlterPartitionReassignments and ListPartitionReassignments: moving a partition to other brokers (`ReplicationControlManager`,
//! `PartitionReassignmentReplicas`, `PartitionReassignmentRevert`; KIP-455).
//!
//! A move adds the new replicas to the old; when all that stay are in sync, which an AlterPartition request brings about, the others go. A
//! move that only reorders replicas, or only removes some, ends at once.

use std::collections::BTreeMap;

use model::{BrokerId, PartitionIndex, TopicIdPartition};
use protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use protocol::messages::alter_partition_reassignments_response::{ReassignablePartitionResponse, ReassignableTopicResponse};
use protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use protocol::messages::list_partition_reassignments_response::{OngoingPartitionReassignment, OngoingTopicReassignment};
use protocol::messages::{AlterPartitionReassignmentsRequest, BrokerId as WireBrokerId, TopicName as WireTopicName};
use protocol::{ErrorCode, StrBytes};

use super::elections::is_active;
use super::partition_change::PartitionChange;
use super::{Decision, Refusal, copy_name};
use crate::configs::ConfigView;
use crate::image::{Image, Partition, Topic};
use crate::records::MetadataRecord;

/// Decides an AlterPartitionReassignments request.
#[must_use]
pub fn alter_partition_reassignments(
    view: ConfigView<'_>,
    request: &AlterPartitionReassignmentsRequest,
) -> Decision<Vec<ReassignableTopicResponse>> {
    let mut image = view.image().clone();
    let mut records = Vec::new();
    let mut response = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut rows = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let mut row = ReassignablePartitionResponse::default().with_partition_index(asked.partition_index).with_error_message(None);
            match reassign(view.on(&image), topic.name.as_str(), asked, request.allow_replication_factor_change) {
                Ok(change) => {
                    // A partition named twice is changed twice.
                    image = image.apply(image.index(), &change).0;
                    records.extend(change);
                }
                Err(refusal) => {
                    row.error_code = refusal.code.code();
                    row.error_message = refusal.message.map(StrBytes::from_string);
                }
            }
            rows.push(row);
        }
        response.push(ReassignableTopicResponse::default().with_name(copy_name(&topic.name)).with_partitions(rows));
    }
    Decision { records, response }
}

fn reassign(view: ConfigView<'_>, name: &str, asked: &ReassignablePartition, any_factor: bool) -> Result<Vec<MetadataRecord>, Refusal> {
    let image = view.image();
    let unknown = |what: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, what);
    let topic = image.topic_by_name(name).ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
    let found = PartitionIndex::new(asked.partition_index).and_then(|index| Some((index, topic.partition(index)?)));
    let (partition, before) = found.ok_or_else(|| unknown(format!("Unable to find partition {name}:{}.", asked.partition_index)))?;
    let id = TopicIdPartition { topic_id: topic.id, partition };
    let rules = view.election_rules(name);
    let mut change = PartitionChange::new(id, before, rules);
    match &asked.replicas {
        None => cancel(&mut change, before, rules.unclean_leader_election, &format!("{name}:{partition}"))?,
        Some(replicas) => {
            let wire: Vec<i32> = replicas.iter().map(|replica| replica.0).collect();
            let target = check_replicas(image, &wire)?;
            if !any_factor {
                check_factor(before, &target)?;
            }
            begin(&mut change, before, target);
        }
    }
    Ok(change.build(&|id| is_active(image, id)))
}

fn check_replicas(image: &Image, asked: &[i32]) -> Result<Vec<BrokerId>, Refusal> {
    let refuse = |message: String| Refusal::new(ErrorCode::InvalidReplicaAssignment, message);
    if asked.is_empty() {
        return Err(refuse("The manual partition assignment includes an empty replica list.".to_owned()));
    }
    let mut seen = BTreeMap::new();
    for id in asked {
        let known = BrokerId::new(*id).filter(|id| image.broker(*id).is_some());
        let known = known
            .ok_or_else(|| refuse(format!("The manual partition assignment includes broker {id}, but no such broker is registered.")))?;
        if seen.insert(*id, known).is_some() {
            return Err(refuse(format!("The manual partition assignment includes the broker {id} more than once.")));
        }
    }
    Ok(asked.iter().filter_map(|id| seen.get(id).copied()).collect())
}

/// Those that the partition had before a move.
fn original(before: &Partition) -> Vec<BrokerId> {
    before.replicas.iter().copied().filter(|replica| !before.adding_replicas.contains(replica)).collect()
}

/// KIP-860.
fn check_factor(before: &Partition, target: &[BrokerId]) -> Result<(), Refusal> {
    let staying = before.replicas.iter().filter(|replica| !before.removing_replicas.contains(replica)).count();
    if target.len() == staying {
        return Ok(());
    }
    let message = format!("The replication factor is changed from {staying} to {}", target.len());
    Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message))
}

fn begin(change: &mut PartitionChange<'_>, before: &Partition, target: Vec<BrokerId>) {
    let ascending = |mut ids: Vec<BrokerId>| {
        ids.sort_unstable();
        ids
    };
    let removing = ascending(before.replicas.iter().copied().filter(|replica| !target.contains(replica)).collect());
    let adding = ascending(target.iter().copied().filter(|replica| !before.replicas.contains(replica)).collect());
    change.replicas = target.into_iter().chain(removing.iter().copied()).collect();
    change.adding = adding;
    change.removing = removing;
}

fn cancel(change: &mut PartitionChange<'_>, before: &Partition, may_be_unclean: bool, partition: &str) -> Result<(), Refusal> {
    if !before.is_reassigning() {
        return Err(Refusal::silent(ErrorCode::NoReassignmentInProgress));
    }
    let replicas = original(before);
    let stays = |member: &BrokerId| !before.adding_replicas.contains(member);
    change.isr = before.isr.iter().copied().filter(stays).collect();
    if change.isr.is_empty() && !before.isr.is_empty() && !may_be_unclean {
        let message = format!("Unable to revert partition assignment for {partition} because it would require an unclean leader election.");
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    }
    change.replicas = replicas;
    change.adding = Vec::new();
    change.removing = Vec::new();
    Ok(())
}

/// The moves under way, of these topics or of all: what a ListPartitionReassignments request is answered.
#[must_use]
pub fn list_partition_reassignments(image: &Image, topics: Option<&[ListPartitionReassignmentsTopics]>) -> Vec<OngoingTopicReassignment> {
    let Some(topics) = topics else {
        return image.topics().filter_map(|topic| moves_of(topic, topic.partitions().map(|(index, _)| index))).collect();
    };
    let asked = topics.iter().filter_map(|asked| {
        let topic = image.topic_by_name(asked.name.as_str())?;
        moves_of(topic, asked.partition_indexes.iter().filter_map(|index| PartitionIndex::new(*index)))
    });
    asked.collect()
}

fn moves_of(topic: &Topic, indexes: impl Iterator<Item = PartitionIndex>) -> Option<OngoingTopicReassignment> {
    let wire = |ids: &[BrokerId]| ids.iter().map(|id| WireBrokerId(id.get())).collect::<Vec<_>>();
    let moving = indexes.filter_map(|index| {
        let partition = topic.partition(index).filter(|partition| partition.is_reassigning())?;
        let row = OngoingPartitionReassignment::default()
            .with_partition_index(index.get())
            .with_replicas(wire(&partition.replicas))
            .with_adding_replicas(wire(&partition.adding_replicas))
            .with_removing_replicas(wire(&partition.removing_replicas));
        Some((index, row))
    });
    let rows: BTreeMap<PartitionIndex, OngoingPartitionReassignment> = moving.collect();
    let name = WireTopicName(StrBytes::from_string(topic.name.as_str().to_owned()));
    (!rows.is_empty()).then(|| OngoingTopicReassignment::default().with_name(name).with_partitions(rows.into_values().collect()))
}
