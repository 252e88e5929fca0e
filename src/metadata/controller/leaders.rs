//! ElectLeaders and UnregisterBroker (`ReplicationControlManager`).

use model::{BrokerId, PartitionIndex, TopicIdPartition};
use protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use protocol::messages::{ElectLeadersRequest, TopicName as WireTopicName};
use protocol::{ErrorCode, StrBytes};

use super::elections::{Passage, is_active, pass};
use super::partition_change::{Election, PartitionChange};
use super::{Decision, Refusal, copy_name};
use crate::configs::ConfigView;
use crate::image::{Partition, Topic};
use crate::records::MetadataRecord;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// Decides an ElectLeaders request. Asked for all partitions, it names all topics but leaves out the partitions that need no election.
///
/// # Errors
/// An election type that nobody knows.
pub fn elect_leaders(view: ConfigView<'_>, request: &ElectLeadersRequest) -> Result<Decision<Vec<ReplicaElectionResult>>, Refusal> {
    let image = view.image();
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
                    let outcome = elect_by_name(view, topic.topic.as_str(), *index, request.election_type);
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
                    let outcome = settle(&mut records, elect(view, topic, index, partition, request.election_type));
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

fn settle(records: &mut Vec<MetadataRecord>, outcome: Result<Vec<MetadataRecord>, Refusal>) -> Result<(), Refusal> {
    records.extend(outcome?);
    Ok(())
}

fn result_row(index: i32, outcome: Result<(), Refusal>) -> PartitionResult {
    let row = PartitionResult::default().with_partition_id(index).with_error_message(None);
    match outcome {
        Ok(()) => row,
        Err(refusal) => row.with_error_code(refusal.code.code()).with_error_message(refusal.message.map(StrBytes::from_string)),
    }
}

fn elect_by_name(view: ConfigView<'_>, name: &str, index: i32, election_type: i8) -> Result<Vec<MetadataRecord>, Refusal> {
    let unknown = |what: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, what);
    let topic = view.image().topic_by_name(name).ok_or_else(|| unknown(format!("No such topic as {name}")))?;
    let found = PartitionIndex::new(index).and_then(|index| Some((index, topic.partition(index)?)));
    let (index, partition) = found.ok_or_else(|| unknown(format!("No such partition as {name}-{index}")))?;
    elect(view, topic, index, partition, election_type)
}

fn elect(
    view: ConfigView<'_>,
    topic: &Topic,
    index: PartitionIndex,
    partition: &Partition,
    election_type: i8,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let image = view.image();
    let is_preferred = partition.leader.is_some() && partition.leader == partition.replicas.first().copied();
    let not_needed = if election_type == PREFERRED { is_preferred } else { partition.leader.is_some() };
    if not_needed {
        let message = "Leader election not needed for topic partition.".to_owned();
        return Err(Refusal::new(ErrorCode::ElectionNotNeeded, message));
    }
    let id = TopicIdPartition { topic_id: topic.id, partition: index };
    let mut change = PartitionChange::new(id, partition, view.election_rules(topic.name.as_str()));
    change.election = if election_type == PREFERRED { Election::Preferred } else { Election::Unclean };
    let records = change.build(&|id| is_active(image, id));
    if !records.is_empty() {
        return Ok(records);
    }
    Err(if election_type == PREFERRED {
        Refusal::new(ErrorCode::PreferredLeaderNotAvailable, "The preferred leader was not available.".to_owned())
    } else {
        Refusal::new(ErrorCode::EligibleLeadersNotAvailable, "Eligible topic partition leaders are not available.".to_owned())
    })
}

/// Decides an UnregisterBroker request: the broker leaves all in-sync sets, eligible ones too, and is forgotten. It stays among the replicas of
/// its partitions until they are moved.
///
/// # Errors
/// A broker that is not registered, or that runs.
pub fn unregister_broker(view: ConfigView<'_>, broker_id: i32) -> Result<Decision<()>, Refusal> {
    let broker = BrokerId::new(broker_id).and_then(|id| view.image().broker(id));
    let broker = broker
        .ok_or_else(|| Refusal::new(ErrorCode::BrokerIdNotRegistered, format!("Broker ID {broker_id} is not currently registered")))?;
    if !broker.fenced {
        let message = format!("Broker {broker_id} is running; stop it before it is unregistered");
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    let mut records = pass(view, Passage::LosesData(broker.id));
    records.push(MetadataRecord::UnregisterBroker { broker_id: broker.id, broker_epoch: broker.epoch });
    Ok(Decision { records, response: () })
}
