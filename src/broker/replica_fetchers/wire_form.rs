//! What a follower sends and what comes back, in Kafka's messages.

use std::collections::HashMap;
use std::io;

use metadata::Image;
use model::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicIdPartition};
use protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::{FetchRequest, ListOffsetsRequest, TopicName};
use protocol::{ErrorCode, StrBytes};

use crate::broker_connection::Connection;
use crate::config::ReplicaFetchConfig;

use super::session::Named;

/// With topic ids, the follower's broker epoch, and its log start.
const FETCH_VERSION: i16 = 17;
const LIST_OFFSETS_VERSION: i16 = 10;
/// ListOffsets' numbers for the begin and the end of a log.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// A fetch of what is named, in this order.
pub(super) fn fetch_request(
    broker_id: BrokerId,
    broker_epoch: Option<BrokerEpoch>,
    config: &ReplicaFetchConfig,
    wait_ms: i32,
    named: &Named,
) -> FetchRequest {
    let replica = ReplicaState::default()
        .with_replica_id(protocol::messages::BrokerId(broker_id.get()))
        .with_replica_epoch(BrokerEpoch::to_wire(broker_epoch));
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (id, position) in &named.positions {
        let partition = FetchPartition::default()
            .with_partition(id.partition.get())
            .with_current_leader_epoch(position.current_leader_epoch.get())
            .with_fetch_offset(position.offset.get())
            .with_last_fetched_epoch(LeaderEpoch::to_wire(position.last_fetched_epoch))
            .with_log_start_offset(position.log_start.get())
            .with_partition_max_bytes(config.partition_bytes_max);
        match topics.last_mut().filter(|topic| topic.topic_id == id.topic_id.0) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(FetchTopic::default().with_topic_id(id.topic_id.0).with_partitions(vec![partition])),
        }
    }
    let mut forgotten: Vec<ForgottenTopic> = Vec::new();
    for id in &named.forgotten {
        match forgotten.last_mut().filter(|topic| topic.topic_id == id.topic_id.0) {
            Some(topic) => topic.partitions.push(id.partition.get()),
            None => forgotten.push(ForgottenTopic::default().with_topic_id(id.topic_id.0).with_partitions(vec![id.partition.get()])),
        }
    }
    FetchRequest::default()
        .with_replica_state(replica)
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(config.bytes_min)
        .with_max_bytes(config.response_bytes_max)
        .with_session_id(named.session_id)
        .with_session_epoch(named.epoch)
        .with_topics(topics)
        .with_forgotten_topics_data(forgotten)
}

/// An answer to a fetch.
pub(super) enum Fetched {
    /// The session's id, 0 if there is none, and the answer's rows by partition.
    Rows(i32, Vec<(TopicIdPartition, PartitionData)>),
    /// The leader does not know the session, or not as we do.
    NoSession,
}

/// Fetches.
pub(super) async fn fetch(connection: &mut Connection, request: &FetchRequest) -> io::Result<Fetched> {
    let response = connection.call(FETCH_VERSION, request).await?;
    match code_of(response.error_code) {
        _ if response.error_code == 0 => {}
        ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch | ErrorCode::FetchSessionTopicIdError => {
            return Ok(Fetched::NoSession);
        }
        _ => return Err(io::Error::other(format!("it answered {}", protocol::error_name(response.error_code)))),
    }
    let mut rows = Vec::new();
    for topic in response.responses {
        let topic_id = TopicId(topic.topic_id);
        for row in topic.partitions {
            if let Some(partition) = PartitionIndex::new(row.partition_index) {
                rows.push((TopicIdPartition { topic_id, partition }, row));
            }
        }
    }
    Ok(Fetched::Rows(response.session_id, rows))
}

/// Where a leader's log begins and ends.
pub(super) struct Bounds {
    pub(super) id: TopicIdPartition,
    pub(super) found: Result<(Offset, Offset), ErrorCode>,
}

/// Asks for the bounds of logs. ListOffsets names topics, which the image must have.
pub(super) async fn ask_bounds(
    connection: &mut Connection,
    broker_id: BrokerId,
    image: &Image,
    partitions: &[(TopicIdPartition, LeaderEpoch)],
) -> io::Result<Vec<Bounds>> {
    let starts = list_offsets(connection, broker_id, image, partitions, EARLIEST).await?;
    let ends = list_offsets(connection, broker_id, image, partitions, LATEST).await?;
    let bounds = starts.into_iter().filter_map(|(id, start)| {
        let end = ends.get(&id)?;
        Some(Bounds { id, found: start.and_then(|start| end.map(|end| (start, end))) })
    });
    Ok(bounds.collect())
}

async fn list_offsets(
    connection: &mut Connection,
    broker_id: BrokerId,
    image: &Image,
    partitions: &[(TopicIdPartition, LeaderEpoch)],
    timestamp: i64,
) -> io::Result<HashMap<TopicIdPartition, Result<Offset, ErrorCode>>> {
    let mut ids = HashMap::new();
    let mut topics: Vec<ListOffsetsTopic> = Vec::new();
    for (id, leader_epoch) in partitions {
        let Some(topic) = image.topic_by_id(id.topic_id) else { continue };
        let name = TopicName(StrBytes::from_string(topic.name.as_str().to_owned()));
        let partition = ListOffsetsPartition::default()
            .with_partition_index(id.partition.get())
            .with_current_leader_epoch(leader_epoch.get())
            .with_timestamp(timestamp);
        ids.insert(name.clone(), id.topic_id);
        match topics.last_mut().filter(|topic| topic.name == name) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(ListOffsetsTopic::default().with_name(name).with_partitions(vec![partition])),
        }
    }
    let request = ListOffsetsRequest::default().with_replica_id(protocol::messages::BrokerId(broker_id.get())).with_topics(topics);
    let response = connection.call(LIST_OFFSETS_VERSION, &request).await?;
    let mut found = HashMap::new();
    for topic in response.topics {
        let Some(topic_id) = ids.get(&topic.name).copied() else { continue };
        for row in topic.partitions {
            let Some(partition) = PartitionIndex::new(row.partition_index) else { continue };
            let offset = if row.error_code == 0 {
                Offset::new(row.offset).ok_or(ErrorCode::UnknownServerError)
            } else {
                Err(code_of(row.error_code))
            };
            found.insert(TopicIdPartition { topic_id, partition }, offset);
        }
    }
    Ok(found)
}

/// An error code by its number; an unknown one counts as a fault that passes.
pub(super) fn code_of(code: i16) -> ErrorCode {
    ErrorCode::try_from_code(code).unwrap_or(ErrorCode::UnknownServerError)
}
