//! ElectLeaders and AlterPartitionReassignments (`ReplicationControlManager`), and UnregisterBroker.

use std::collections::{BTreeMap, BTreeSet};

use model::{BrokerId, PartitionIndex};
use protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use protocol::messages::alter_partition_reassignments_response::{ReassignablePartitionResponse, ReassignableTopicResponse};
use protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use protocol::messages::{AlterPartitionReassignmentsRequest, ElectLeadersRequest, TopicName as WireTopicName};
use protocol::{ErrorCode, StrBytes};

use super::{Decision, Refusal, copy_name};
use crate::image::{Image, Partition, Topic};
use crate::records::MetadataRecord;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// Decides an ElectLeaders request. Asked for all partitions, it names all topics but leaves out the partitions that need no election.
///
/// # Errors
/// An election type that nobody knows.
pub fn elect_leaders(image: &Image, request: &ElectLeadersRequest) -> Result<Decision<Vec<ReplicaElectionResult>>, Refusal> {
    if !matches!(request.election_type, PREFERRED | UNCLEAN) {
        let message = format!("Unknown election type {}", request.election_type);
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    let mut records = Vec::new();
    let mut response = Vec::new();
    match &request.topic_partitions {
        Some(topics) => {
            for topic in topics {
                let rows = topic.partitions.iter().map(|index| {
                    let outcome = elect_by_name(image, topic.topic.as_str(), *index, request.election_type);
                    result_row(*index, settle(&mut records, outcome))
                });
                let rows = rows.collect();
                response.push(ReplicaElectionResult::default().with_topic(copy_name(&topic.topic)).with_partition_result(rows));
            }
        }
        None => {
            for topic in image.topics() {
                let mut rows = Vec::new();
                for (index, partition) in topic.partitions() {
                    let outcome = settle(&mut records, elect(image, topic, index, partition, request.election_type));
                    if outcome.as_ref().err().is_none_or(|refusal| refusal.code != ErrorCode::ElectionNotNeeded) {
                        rows.push(result_row(index.get(), outcome));
                    }
                }
                let name = WireTopicName(StrBytes::from_string(topic.name.as_str().to_owned()));
                response.push(ReplicaElectionResult::default().with_topic(name).with_partition_result(rows));
            }
        }
    }
    Ok(Decision { records, response })
}

fn settle(records: &mut Vec<MetadataRecord>, outcome: Result<MetadataRecord, Refusal>) -> Result<(), Refusal> {
    records.push(outcome?);
    Ok(())
}

fn result_row(index: i32, outcome: Result<(), Refusal>) -> PartitionResult {
    let row = PartitionResult::default().with_partition_id(index).with_error_message(None);
    match outcome {
        Ok(()) => row,
        Err(refusal) => row.with_error_code(refusal.code.code()).with_error_message(refusal.message.map(StrBytes::from_string)),
    }
}

fn elect_by_name(image: &Image, name: &str, index: i32, election_type: i8) -> Result<MetadataRecord, Refusal> {
    let unknown = |what: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, what);
    let topic = image.topic_by_name(name).ok_or_else(|| unknown(format!("No such topic as {name}")))?;
    let found = PartitionIndex::new(index).and_then(|index| Some((index, topic.partition(index)?)));
    let (index, partition) = found.ok_or_else(|| unknown(format!("No such partition as {name}-{index}")))?;
    elect(image, topic, index, partition, election_type)
}

fn elect(image: &Image, topic: &Topic, index: PartitionIndex, partition: &Partition, election_type: i8) -> Result<MetadataRecord, Refusal> {
    let preferred = partition.replicas.first().copied();
    let is_alive = |id: &BrokerId| image.broker(*id).is_some_and(|broker| !broker.fenced);
    let not_needed =
        if election_type == PREFERRED { partition.leader.is_some() && partition.leader == preferred } else { partition.leader.is_some() };
    if not_needed {
        let message = "Leader election not needed for topic partition.".to_owned();
        return Err(Refusal::new(ErrorCode::ElectionNotNeeded, message));
    }
    let change = |leader: BrokerId, isr: Option<Vec<BrokerId>>| MetadataRecord::PartitionChange {
        topic_id: topic.id,
        partition: index,
        isr,
        leader: Some(Some(leader)),
        replicas: None,
    };
    if election_type == PREFERRED {
        let leader = preferred.filter(|id| partition.isr.contains(id)).filter(is_alive);
        let missing = || Refusal::new(ErrorCode::PreferredLeaderNotAvailable, "The preferred leader was not available.".to_owned());
        return leader.map(|leader| change(leader, None)).ok_or_else(missing);
    }
    let leader = partition.isr.iter().chain(&partition.replicas).copied().find(is_alive);
    let missing = || Refusal::new(ErrorCode::EligibleLeadersNotAvailable, "Eligible topic partition leaders are not available.".to_owned());
    leader.map(|leader| change(leader, (!partition.isr.contains(&leader)).then(|| vec![leader]))).ok_or_else(missing)
}

/// Decides an AlterPartitionReassignments request. What it cannot do yet is move a partition to other brokers; a cluster of one has none.
#[must_use]
pub fn alter_partition_reassignments(
    image: &Image,
    request: &AlterPartitionReassignmentsRequest,
) -> Decision<Vec<ReassignableTopicResponse>> {
    let mut records = Vec::new();
    let mut response = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut rows = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let mut row = ReassignablePartitionResponse::default().with_partition_index(asked.partition_index).with_error_message(None);
            match reassign(image, topic.name.as_str(), asked) {
                Ok(record) => records.extend(record),
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

fn reassign(image: &Image, name: &str, asked: &ReassignablePartition) -> Result<Option<MetadataRecord>, Refusal> {
    let unknown = |what: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, what);
    let topic = image.topic_by_name(name).ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
    let found = PartitionIndex::new(asked.partition_index).and_then(|index| Some((index, topic.partition(index)?)));
    let (index, partition) = found.ok_or_else(|| unknown(format!("Unable to find partition {name}:{}.", asked.partition_index)))?;
    let Some(replicas) = &asked.replicas else {
        return Err(Refusal::silent(ErrorCode::NoReassignmentInProgress));
    };
    let replicas = check_replicas(image, &replicas.iter().map(|id| id.0).collect::<Vec<_>>())?;
    if replicas == partition.replicas {
        return Ok(None);
    }
    let as_set = |ids: &[BrokerId]| ids.iter().copied().collect::<BTreeSet<_>>();
    if as_set(&replicas) != as_set(&partition.replicas) {
        let message = "Partitions cannot move to other brokers yet.".to_owned();
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    }
    Ok(Some(MetadataRecord::PartitionChange { topic_id: topic.id, partition: index, isr: None, leader: None, replicas: Some(replicas) }))
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

/// Decides an UnregisterBroker request.
///
/// # Errors
/// A broker that is not registered, or that runs.
pub fn unregister_broker(image: &Image, broker_id: i32) -> Result<Decision<()>, Refusal> {
    let broker = BrokerId::new(broker_id).and_then(|id| image.broker(id));
    let broker = broker
        .ok_or_else(|| Refusal::new(ErrorCode::BrokerIdNotRegistered, format!("Broker ID {broker_id} is not currently registered")))?;
    if !broker.fenced {
        let message = format!("Broker {broker_id} is running; stop it before it is unregistered");
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    let record = MetadataRecord::UnregisterBroker { broker_id: broker.id, broker_epoch: broker.epoch };
    Ok(Decision { records: vec![record], response: () })
}
