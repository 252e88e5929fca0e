//! CreateTopics, auto-creation and the cluster's own topics (`ReplicationControlManager.createTopics`, `ControllerApis.createTopics`).

use std::collections::{BTreeMap, BTreeSet};

use model::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};
use protocol::messages::TopicName as WireTopicName;
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use super::placement::{PlacementError, place};
use super::{Decision, MAX_RECORDS_PER_REQUEST, MutationQuota, Refusal, TopicContext, Unlimited, check_topic_name};
use crate::configs::{InvalidConfig, TOPIC_ROWS, check_topic_values};
use crate::image::Image;
use crate::records::{ConfigResource, MetadataRecord};

const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// A topic of the cluster's own that is created at its first use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InternalTopic {
    /// `__consumer_offsets`.
    ConsumerOffsets {
        /// `offsets.topic.num.partitions`.
        partitions: i32,
        /// `offsets.topic.replication.factor`.
        replication_factor: i16,
        /// `offsets.topic.segment.bytes`.
        segment_bytes: i32,
    },
    /// `__transaction_state`.
    TransactionState {
        /// `transaction.state.log.num.partitions`.
        partitions: i32,
        /// `transaction.state.log.replication.factor`.
        replication_factor: i16,
        /// `transaction.state.log.min.isr`.
        min_insync_replicas: i32,
        /// `transaction.state.log.segment.bytes`.
        segment_bytes: i32,
    },
}

impl InternalTopic {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ConsumerOffsets { .. } => "__consumer_offsets",
            Self::TransactionState { .. } => "__transaction_state",
        }
    }

    /// What a CreateTopics request says of it.
    #[must_use]
    pub fn creatable(&self) -> CreatableTopic {
        match *self {
            Self::ConsumerOffsets { partitions, replication_factor, segment_bytes } => CreatableTopic::default()
                .with_name(WireTopicName(StrBytes::from_static_str(self.name())))
                .with_num_partitions(partitions)
                .with_replication_factor(replication_factor)
                .with_configs(vec![
                    set("cleanup.policy", "compact".to_owned()),
                    set("compression.type", "producer".to_owned()),
                    set("segment.bytes", segment_bytes.to_string()),
                ]),
            Self::TransactionState { partitions, replication_factor, min_insync_replicas, segment_bytes } => CreatableTopic::default()
                .with_name(WireTopicName(StrBytes::from_static_str(self.name())))
                .with_num_partitions(partitions)
                .with_replication_factor(replication_factor)
                .with_configs(vec![
                    set("cleanup.policy", "compact".to_owned()),
                    set("compression.type", "uncompressed".to_owned()),
                    set("min.insync.replicas", min_insync_replicas.to_string()),
                    set("segment.bytes", segment_bytes.to_string()),
                    set("unclean.leader.election.enable", "false".to_owned()),
                ]),
        }
    }
}

fn set(key: &'static str, value: String) -> CreatableTopicConfig {
    CreatableTopicConfig::default().with_name(StrBytes::from_static_str(key)).with_value(Some(StrBytes::from_string(value)))
}

/// Decides a CreateTopics request: one result per topic, first those named once in the request's order, then duplicates.
///
/// Auto-creation asks for a topic with -1 partitions and replicas. `ids` gives the new topics' ids; it is asked once for each topic that
/// will exist. Each topic's partitions are paid for from `quota`, also where they are only validated, as Kafka does.
pub fn create_topics(
    context: &TopicContext<'_>,
    request: &CreateTopicsRequest,
    ids: &mut dyn Iterator<Item = Uuid>,
    quota: &mut dyn MutationQuota,
) -> Decision<Vec<CreatableTopicResult>> {
    let mut seen = BTreeSet::new();
    let mut duplicates = BTreeSet::new();
    for topic in &request.topics {
        if !seen.insert(topic.name.as_str()) {
            duplicates.insert(topic.name.as_str());
        }
    }
    let topics = || request.topics.iter().filter(|topic| !duplicates.contains(topic.name.as_str()));
    let mut decision = Decision { records: Vec::new(), response: Vec::with_capacity(request.topics.len()) };
    let total: i64 = topics().map(|topic| partitions_asked(context, topic)).sum();
    let too_many = total > i64::try_from(MAX_RECORDS_PER_REQUEST).unwrap_or(i64::MAX);
    let mut created_names = BTreeMap::new();
    for topic in topics() {
        let outcome = if too_many {
            Err(Refusal::new(ErrorCode::PolicyViolation, "Excessively large number of partitions per request.".to_owned()))
        } else {
            create_topic(context, topic, ids, &mut created_names, quota)
        };
        match outcome {
            Ok((records, result)) => {
                decision.records.extend(records);
                decision.response.push(result);
            }
            Err(refusal) => decision.response.push(refused(topic.name.as_str(), refusal)),
        }
    }
    for name in duplicates {
        let refusal = Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name.".to_owned());
        decision.response.push(refused(name, refusal));
    }
    if request.validate_only {
        decision.records.clear();
    }
    decision
}

/// Decides to create a topic of the cluster's own. A topic that exists needs no records.
///
/// # Errors
/// If there are not enough brokers, or the configured numbers make no topic.
pub fn create_internal_topic(context: &TopicContext<'_>, topic: InternalTopic, id: Uuid) -> Result<Decision<TopicId>, Refusal> {
    if let Some(existing) = context.view.image().topic_id(topic.name()) {
        return Ok(Decision { records: Vec::new(), response: existing });
    }
    let (records, _) = create_topic(context, &topic.creatable(), &mut std::iter::once(id), &mut BTreeMap::new(), &mut Unlimited)?;
    Ok(Decision { records, response: TopicId(id) })
}

fn partitions_asked(context: &TopicContext<'_>, topic: &CreatableTopic) -> i64 {
    if !topic.assignments.is_empty() {
        return i64::try_from(topic.assignments.len()).unwrap_or(i64::MAX);
    }
    match topic.num_partitions {
        -1 => i64::from(context.defaults.num_partitions),
        count => i64::from(count.max(0)),
    }
}

fn refused(name: &str, refusal: Refusal) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(WireTopicName(StrBytes::from_string(name.to_owned())))
        .with_error_code(refusal.code.code())
        .with_error_message(refusal.message.map(StrBytes::from_string))
}

/// `created_names` holds the forms of names that this request creates, since they are not in the image yet but collide all the same.
fn create_topic(
    context: &TopicContext<'_>,
    topic: &CreatableTopic,
    ids: &mut dyn Iterator<Item = Uuid>,
    created_names: &mut BTreeMap<String, String>,
    quota: &mut dyn MutationQuota,
) -> Result<(Vec<MetadataRecord>, CreatableTopicResult), Refusal> {
    let image = context.view.image();
    let name = topic.name.as_str();
    check_new_name(image, name, created_names)?;
    let configs = creation_configs(context, topic)?;
    let seed = u64::try_from(image.topic_count()).unwrap_or(0);
    let assignments =
        if topic.assignments.is_empty() { placed_assignments(context, topic, seed)? } else { manual_assignments(image, topic)? };
    quota.take(assignments.len())?;
    let topic_id = ids.next().map(TopicId).ok_or(Refusal::silent(ErrorCode::UnknownServerError))?;
    if let Some(form) = crate::image::collision_form(name) {
        created_names.insert(form, name.to_owned());
    }
    let result = CreatableTopicResult::default()
        .with_error_message(None)
        .with_name(WireTopicName(StrBytes::from_string(name.to_owned())))
        .with_topic_id(topic_id.0)
        .with_num_partitions(i32::try_from(assignments.len()).unwrap_or(i32::MAX))
        .with_replication_factor(assignments.first().and_then(|replicas| i16::try_from(replicas.len()).ok()).unwrap_or(-1))
        .with_configs(Some(effective_configs(context, &configs)));
    // IMPORTANT: configurations come after the topic, which they need, and before its partitions, whose leaders act on them.
    let mut records = vec![MetadataRecord::Topic { name: name.to_owned(), topic_id }];
    records.extend(configs.into_iter().map(|(key, value)| MetadataRecord::Config {
        resource: ConfigResource::topic(name),
        key,
        value: Some(value),
    }));
    for (index, replicas) in assignments.into_iter().enumerate() {
        records.push(new_partition(image, topic_id, crate::image::index_of(index), replicas));
    }
    Ok((records, result))
}

fn check_new_name(image: &Image, name: &str, created_names: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if name == CLUSTER_METADATA_TOPIC {
        return Err(Refusal::new(ErrorCode::InvalidRequest, format!("Creation of internal topic {CLUSTER_METADATA_TOPIC} is prohibited.")));
    }
    if image.topic_id(name).is_some() {
        return Err(Refusal::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
    }
    check_topic_name(name)?;
    let in_request = crate::image::collision_form(name).and_then(|form| created_names.get(&form).cloned());
    match image.colliding_topic(name).map(ToString::to_string).or(in_request) {
        Some(other) => Err(Refusal::new(ErrorCode::InvalidTopicException, format!("Topic '{name}' collides with existing topic: {other}"))),
        None => Ok(()),
    }
}

fn creation_configs(context: &TopicContext<'_>, topic: &CreatableTopic) -> Result<BTreeMap<String, String>, Refusal> {
    let missing: Vec<&str> = topic.configs.iter().filter(|config| config.value.is_none()).map(|config| config.name.as_str()).collect();
    if !missing.is_empty() {
        return Err(InvalidConfig::NullValues(missing.join(",")).into());
    }
    let values: BTreeMap<String, String> =
        topic.configs.iter().filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string()))).collect();
    check_topic_values(&values, |key| context.view.topic_value(key, &BTreeMap::new()))?;
    Ok(values)
}

fn placed_assignments(context: &TopicContext<'_>, topic: &CreatableTopic, seed: u64) -> Result<Vec<Vec<BrokerId>>, Refusal> {
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        return Err(Refusal::new(
            ErrorCode::InvalidReplicationFactor,
            "Replication factor must be larger than 0, or -1 to use the default value.".to_owned(),
        ));
    }
    if topic.num_partitions < -1 || topic.num_partitions == 0 {
        return Err(Refusal::new(
            ErrorCode::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.".to_owned(),
        ));
    }
    let count = if topic.num_partitions == -1 { context.defaults.num_partitions } else { topic.num_partitions };
    let factor = if topic.replication_factor == -1 { context.defaults.replication_factor } else { topic.replication_factor };
    place(context.view.image(), 0, count, factor, seed).map_err(|error| match error {
        PlacementError::NotPositive(_) | PlacementError::AllFenced | PlacementError::TooFewBrokers { .. } => {
            Refusal::new(ErrorCode::InvalidReplicationFactor, format!("Unable to replicate the partition {factor} time(s): {error}"))
        }
    })
}

fn manual_assignments(image: &Image, topic: &CreatableTopic) -> Result<Vec<Vec<BrokerId>>, Refusal> {
    if topic.replication_factor != -1 {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "A manual partition assignment was specified, but replication factor was not set to -1.".to_owned(),
        ));
    }
    if topic.num_partitions != -1 {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "A manual partition assignment was specified, but numPartitions was not set to -1.".to_owned(),
        ));
    }
    let invalid = |message: String| Refusal::new(ErrorCode::InvalidReplicaAssignment, message);
    let mut by_index = BTreeMap::new();
    let mut factor = None;
    for assignment in &topic.assignments {
        let index = assignment.partition_index;
        if by_index.contains_key(&index) {
            return Err(invalid(format!("Found multiple manual partition assignments for partition {index}")));
        }
        let wire: Vec<i32> = assignment.broker_ids.iter().map(|broker| broker.0).collect();
        let replicas = check_manual_assignment(image, &wire, factor, index)?;
        factor = Some(replicas.len());
        by_index.insert(index, replicas);
    }
    if !by_index.keys().zip(0..).all(|(index, expected)| *index == expected) {
        return Err(invalid("partitions should be a consecutive 0-based integer sequence".to_owned()));
    }
    Ok(by_index.into_values().collect())
}

/// Checks one partition's brokers as a person gave them (`validateManualPartitionAssignment`).
pub(super) fn check_manual_assignment(
    image: &Image,
    brokers: &[i32],
    factor: Option<usize>,
    partition: i32,
) -> Result<Vec<BrokerId>, Refusal> {
    let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if brokers.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".to_owned());
    }
    let mut sorted = brokers.to_vec();
    sorted.sort_unstable();
    let mut previous = None;
    for broker in sorted {
        if BrokerId::new(broker).is_none_or(|id| image.broker(id).is_none()) {
            return invalid(format!("The manual partition assignment includes broker {broker}, but no such broker is registered."));
        }
        if previous == Some(broker) {
            return invalid(format!("The manual partition assignment includes the broker {broker} more than once."));
        }
        previous = Some(broker);
    }
    if let Some(factor) = factor
        && factor != brokers.len()
    {
        return invalid(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with previous \
             partitions, which have {factor} replica(s).",
            brokers.len()
        ));
    }
    let replicas: Vec<BrokerId> = brokers.iter().filter_map(|broker| BrokerId::new(*broker)).collect();
    if in_sync_of(image, &replicas).is_empty() {
        return invalid(format!(
            "All brokers specified in the manual partition assignment for partition {partition} are fenced or in controlled shutdown."
        ));
    }
    Ok(replicas)
}

fn in_sync_of(image: &Image, replicas: &[BrokerId]) -> Vec<BrokerId> {
    replicas.iter().copied().filter(|id| image.broker(*id).is_some_and(|broker| broker.is_active())).collect()
}

/// The record of a new partition: in sync is who is active, and the first of them leads.
pub(super) fn new_partition(image: &Image, topic_id: TopicId, partition: PartitionIndex, replicas: Vec<BrokerId>) -> MetadataRecord {
    let isr = in_sync_of(image, &replicas);
    let leader = isr.first().copied();
    MetadataRecord::Partition { topic_id, partition, replicas, isr, leader, leader_epoch: LeaderEpoch::ZERO, partition_epoch: 0 }
}

fn effective_configs(context: &TopicContext<'_>, overrides: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    TOPIC_ROWS
        .iter()
        .map(|row| {
            let effective = context.view.effective_topic(row, overrides);
            // What the request sets is told as it was written, blanks included, as in Kafka.
            let given = overrides.get(row.name).cloned();
            CreatableTopicConfigs::default()
                .with_name(StrBytes::from_static_str(row.name))
                .with_value(given.or(effective.value).filter(|_| !row.is_sensitive()).map(StrBytes::from_string))
                .with_config_source(effective.source.to_wire())
                .with_is_sensitive(row.is_sensitive())
        })
        .collect()
}
