//! CreatePartitions (`ReplicationControlManager.createPartitions`).

use std::collections::BTreeSet;

use protocol::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use protocol::{ErrorCode, StrBytes};

use super::create_topics::{check_manual_assignment, new_partition};
use super::placement::place;
use super::{Decision, MAX_RECORDS_PER_REQUEST, MutationQuota, Refusal};
use crate::image::Image;
use crate::records::MetadataRecord;

/// Decides a CreatePartitions request. The count it names is the new total. The new partitions are paid for from `quota`.
#[must_use]
pub fn create_partitions(
    image: &Image,
    request: &CreatePartitionsRequest,
    quota: &mut dyn MutationQuota,
) -> Decision<Vec<CreatePartitionsTopicResult>> {
    let mut seen = BTreeSet::new();
    let mut duplicates = BTreeSet::new();
    for topic in &request.topics {
        if !seen.insert(topic.name.as_str()) {
            duplicates.insert(topic.name.as_str());
        }
    }
    let mut decision = Decision { records: Vec::new(), response: Vec::with_capacity(request.topics.len()) };
    for topic in &request.topics {
        let outcome = if duplicates.contains(topic.name.as_str()) {
            if !seen.remove(topic.name.as_str()) {
                continue;
            }
            Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name.".to_owned()))
        } else {
            extend_topic(image, topic, MAX_RECORDS_PER_REQUEST.saturating_sub(decision.records.len()), quota)
        };
        let result = CreatePartitionsTopicResult::default().with_name(super::copy_name(&topic.name));
        decision.response.push(match outcome {
            Ok(records) => {
                decision.records.extend(records);
                result.with_error_message(None)
            }
            Err(refusal) => result.with_error_code(refusal.code.code()).with_error_message(refusal.message.map(StrBytes::from_string)),
        });
    }
    if request.validate_only {
        decision.records.clear();
    }
    decision
}

fn extend_topic(
    image: &Image,
    asked: &CreatePartitionsTopic,
    room: usize,
    quota: &mut dyn MutationQuota,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let topic = image.topic_by_name(asked.name.as_str()).ok_or(Refusal::silent(ErrorCode::UnknownTopicOrPartition))?;
    let current = topic.partition_count();
    if asked.count == current {
        return Err(Refusal::new(ErrorCode::InvalidPartitions, format!("Topic already has {current} partition(s).")));
    }
    if asked.count < current {
        return Err(Refusal::new(
            ErrorCode::InvalidPartitions,
            format!("The topic {} currently has {current} partition(s); {} would not be an increase.", asked.name.as_str(), asked.count),
        ));
    }
    let additional = asked.count - current;
    let count = usize::try_from(additional).unwrap_or(usize::MAX);
    if let Some(assignments) = &asked.assignments
        && assignments.len() != count
    {
        return Err(Refusal::new(
            ErrorCode::InvalidReplicaAssignment,
            format!("Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.", assignments.len()),
        ));
    }
    if count > room {
        return Err(Refusal::new(ErrorCode::PolicyViolation, "Unable to perform excessively large batch operation.".to_owned()));
    }
    quota.take(count)?;
    let factor = topic.partitions.front().map_or(1, |partition| partition.replicas.len());
    let placed = match &asked.assignments {
        Some(assignments) => {
            let wire = assignments.iter().map(|assignment| assignment.broker_ids.iter().map(|broker| broker.0).collect::<Vec<i32>>());
            (current..)
                .zip(wire)
                .map(|(partition, brokers)| check_manual_assignment(image, &brokers, Some(factor), partition))
                .collect::<Result<Vec<_>, _>>()?
        }
        None => {
            let seed =
                topic.partitions.front().and_then(|partition| partition.replicas.first()).map_or(0, |leader| place_of(image, *leader));
            place(image, current, additional, i16::try_from(factor).unwrap_or(i16::MAX), seed)
                .map_err(|error| Refusal::new(ErrorCode::InvalidReplicationFactor, error.to_string()))?
        }
    };
    let first = usize::try_from(current).unwrap_or(0);
    Ok(placed
        .into_iter()
        .enumerate()
        .map(|(step, replicas)| new_partition(image, topic.id, crate::image::index_of(first + step), replicas))
        .collect())
}

/// Where the topic's first leader stands among the active brokers, so that the new partitions go on with its circle.
fn place_of(image: &Image, leader: model::BrokerId) -> u64 {
    let position = image.brokers().filter(|broker| broker.is_active()).position(|broker| broker.id == leader);
    position.and_then(|position| u64::try_from(position).ok()).unwrap_or(0)
}
