//! OffsetFetch (key 9, versions 1-10): the offsets that a group has stored.
//!
//! - Nothing stored is offset -1 without an error, also for unknown groups.
//! - Null topics mean all (from version 2); from version 8 several groups at once (KIP-709), each at its own coordinator.
//! - Version 10 names topics by id (KIP-848): an unknown one is UNKNOWN_TOPIC_ID, and an offset that was committed to an earlier topic of the same name
//!   is not told. Of all topics of a group, those that are gone are left out.
//! - An error stands in each partition up to version 1, in the answer up to version 7, in the group from version 8.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! `commit_and_resume` and `admin_lag` of every client, kafka-consumer-groups --describe.

use model::TopicId;
use protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use protocol::{ErrorCode, StrBytes};

use super::{call, pick};
use crate::api::{Api, Context, Versions};

/// From here on topics have ids and no names.
const WITH_TOPIC_IDS: i16 = 10;

pub(crate) struct OffsetFetch;

impl Api for OffsetFetch {
    const KEY: i16 = 9;
    const NAME: &'static str = "OffsetFetch";
    const VERSIONS: Versions = Versions::new(1, 10);
    type Request = OffsetFetchRequest;
    type Response = OffsetFetchResponse;

    async fn handle(cx: Context, request: OffsetFetchRequest) -> OffsetFetchResponse {
        if cx.version < 8 {
            return of_one_group(&cx, request).await;
        }
        let mut response = OffsetFetchResponse::default();
        for group in request.groups {
            response.groups.push(of_group(&cx, group, request.require_stable).await);
        }
        response
    }
}

async fn of_one_group(cx: &Context, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let topics = request.topics.clone().unwrap_or_default();
    let group_id = request.group_id.to_string();
    let reply = call(cx, &group_id, move |shard, now, meta| shard.offset_fetch(now, meta, request), pick!(OffsetFetch));
    reply.await.unwrap_or_else(|code| {
        let mut response = OffsetFetchResponse::default();
        if cx.version >= 2 {
            response.error_code = code.code();
            return response;
        }
        for topic in topics {
            let mut row = OffsetFetchResponseTopic::default();
            row.name = topic.name;
            row.partitions = topic.partition_indexes.iter().map(|index| refused(*index, code)).collect();
            response.topics.push(row);
        }
        response
    })
}

fn refused(index: i32, code: ErrorCode) -> OffsetFetchResponsePartition {
    let mut partition = OffsetFetchResponsePartition::default();
    partition.partition_index = index;
    partition.committed_offset = -1;
    partition.metadata = Some(protocol::StrBytes::new());
    partition.error_code = code.code();
    partition
}

async fn of_group(cx: &Context, mut group: OffsetFetchRequestGroup, require_stable: bool) -> OffsetFetchResponseGroup {
    let by_id = cx.version >= WITH_TOPIC_IDS;
    let unknown = if by_id { name_topics(cx, &mut group) } else { Vec::new() };
    let id = group.group_id.clone();
    let wants_all = group.topics.is_none();
    let mut request = OffsetFetchRequest::default();
    request.require_stable = require_stable;
    request.groups = vec![group];
    let reply = call(cx, &id, move |shard, now, meta| shard.offset_fetch(now, meta, request), pick!(OffsetFetch)).await;
    let found = reply.and_then(|response| response.groups.into_iter().next().ok_or(ErrorCode::CoordinatorNotAvailable));
    match found {
        Ok(mut row) => {
            if by_id && wants_all {
                identify_topics(cx, &mut row);
            }
            row.topics.extend(unknown);
            row
        }
        Err(code) => OffsetFetchResponseGroup::default().with_group_id(id).with_error_code(code.code()),
    }
}

/// Gives the topics of a request their names, takes out those that do not exist, and gives the answers to those.
fn name_topics(cx: &Context, group: &mut OffsetFetchRequestGroup) -> Vec<OffsetFetchResponseTopics> {
    let image = cx.broker.metadata.image();
    let mut unknown = Vec::new();
    for topic in group.topics.iter_mut().flatten() {
        if let Some(found) = image.topic_by_id(TopicId(topic.topic_id)) {
            topic.name = TopicName(StrBytes::from_string(found.name.as_str().to_owned()));
            continue;
        }
        let refused = |index: &i32| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(*index)
                .with_committed_offset(-1)
                .with_error_code(ErrorCode::UnknownTopicId.code())
        };
        let partitions = topic.partition_indexes.iter().map(refused).collect();
        unknown.push(OffsetFetchResponseTopics::default().with_topic_id(topic.topic_id).with_partitions(partitions));
    }
    if let Some(topics) = &mut group.topics {
        topics.retain(|topic| !topic.name.is_empty());
    }
    unknown
}

/// Gives all topics of which a group has offsets their ids. Those that are gone have none to be told by, and are left out.
fn identify_topics(cx: &Context, group: &mut OffsetFetchResponseGroup) {
    let image = cx.broker.metadata.image();
    group.topics.retain_mut(|topic| {
        let found = image.topic_by_name(topic.name.as_str());
        found.is_some_and(|found| {
            topic.topic_id = found.id.0;
            true
        })
    });
}
