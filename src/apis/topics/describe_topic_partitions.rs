//! DescribeTopicPartitions (key 75, version 0): topics with their partitions, in pages (KIP-966).
//!
//! - No topics asked means all; answers are sorted by name and hold at most `max.request.partition.size.limit` (2000) partitions.
//! - A cursor with a negative partition, or of a topic that is not asked for, is INVALID_REQUEST for all topics.
//! - Where a page ends within the list, the cursor names the next partition.
//!
//! # Deviations
//! - An invalid name is INVALID_TOPIC_EXCEPTION for its topic; Kafka answers UNKNOWN_SERVER_ERROR for all topics.
//!
//! # Tests
//! The Java admin client's `describeTopics`, kafka-topics --describe.

use std::collections::BTreeSet;

use metadata::{Image, Topic};
use protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName};
use protocol::{ErrorCode, StrBytes};

use crate::api::{Api, Context, Versions};
use crate::cluster::authorized_operations;
use crate::cluster::metadata::wire_id;

/// Kafka's `max.request.partition.size.limit`.
const PARTITIONS_MAX: usize = 2000;

pub(crate) struct DescribeTopicPartitions;

impl Api for DescribeTopicPartitions {
    const KEY: i16 = 75;
    const NAME: &'static str = "DescribeTopicPartitions";
    const VERSIONS: Versions = Versions::new(0, 0);
    type Request = DescribeTopicPartitionsRequest;
    type Response = DescribeTopicPartitionsResponse;

    async fn handle(cx: Context, request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
        let image = cx.broker.metadata.image();
        let limit = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PARTITIONS_MAX);
        let all = request.topics.is_empty();
        if let Some(cursor) = &request.cursor
            && (cursor.partition_index < 0 || !(all || request.topics.iter().any(|topic| topic.name == cursor.topic_name)))
        {
            return refuse_all(&request);
        }
        let mut names: BTreeSet<String> = if all {
            image.topics().map(|topic| topic.name.as_str().to_owned()).collect()
        } else {
            request.topics.iter().map(|topic| topic.name.as_str().to_owned()).collect()
        };
        let mut first_partition = 0;
        let mut first_topic = String::new();
        if let Some(cursor) = &request.cursor {
            first_topic = cursor.topic_name.as_str().to_owned();
            first_partition = cursor.partition_index;
            names = names.split_off(&first_topic);
        }
        page(&image, names, (&first_topic, first_partition), limit)
    }
}

fn page(image: &Image, names: BTreeSet<String>, first: (&str, i32), limit: usize) -> DescribeTopicPartitionsResponse {
    let mut response = DescribeTopicPartitionsResponse::default();
    let mut left = limit;
    for name in names {
        let from = if name == first.0 { first.1 } else { 0 };
        if left == 0 {
            response.next_cursor = Some(cursor(&name, from));
            break;
        }
        let Some(topic) = image.topic_by_name(&name) else {
            response.topics.push(unknown(name));
            continue;
        };
        let (row, next) = describe(topic, from, left);
        left = left.saturating_sub(row.partitions.len());
        response.topics.push(row);
        if let Some(next) = next {
            response.next_cursor = Some(cursor(&name, next));
            break;
        }
    }
    response
}

/// A cursor must be one that an earlier answer to the same question gave.
fn refuse_all(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let mut response = DescribeTopicPartitionsResponse::default();
    for topic in &request.topics {
        let mut row = DescribeTopicPartitionsResponseTopic::default();
        row.error_code = ErrorCode::InvalidRequest.code();
        row.name = Some(topic.name.clone());
        response.topics.push(row);
    }
    response
}

fn cursor(topic: &str, partition: i32) -> Cursor {
    let mut cursor = Cursor::default();
    cursor.topic_name = TopicName(StrBytes::from_string(topic.to_owned()));
    cursor.partition_index = partition;
    cursor
}

fn unknown(name: String) -> DescribeTopicPartitionsResponseTopic {
    let valid = metadata::controller::check_topic_name(&name).is_ok();
    let mut row = DescribeTopicPartitionsResponseTopic::default();
    row.error_code = if valid { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::InvalidTopicException }.code();
    row.name = Some(TopicName(StrBytes::from_string(name)));
    row
}

/// Describes up to `limit` partitions from number `from` on; says at which number it had to stop.
fn describe(topic: &Topic, from: i32, limit: usize) -> (DescribeTopicPartitionsResponseTopic, Option<i32>) {
    let mut row = DescribeTopicPartitionsResponseTopic::default();
    row.name = Some(TopicName(StrBytes::from_string(topic.name.as_str().to_owned())));
    row.topic_id = topic.id.0;
    row.is_internal = topic.is_internal();
    row.topic_authorized_operations = authorized_operations::TOPIC;
    for (index, state) in topic.partitions().filter(|(index, _)| index.get() >= from) {
        if row.partitions.len() == limit {
            return (row, Some(index.get()));
        }
        let mut partition = DescribeTopicPartitionsResponsePartition::default();
        partition.partition_index = index.get();
        partition.leader_id = wire_id(state.leader);
        partition.leader_epoch = state.leader_epoch.get();
        partition.replica_nodes = state.replicas.iter().map(|id| wire_id(Some(*id))).collect();
        partition.isr_nodes = state.isr.iter().map(|id| wire_id(Some(*id))).collect();
        partition.eligible_leader_replicas = Some(Vec::new());
        partition.last_known_elr = Some(Vec::new());
        row.partitions.push(partition);
    }
    (row, None)
}
