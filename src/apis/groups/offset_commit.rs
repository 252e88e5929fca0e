//! OffsetCommit (key 8, versions 2-9): stores a group's offsets.
//!
//! - Topics that do not exist are UNKNOWN_TOPIC_OR_PARTITION; the others are committed all the same.
//! - Generation -1 commits for groups without members, as simple consumers and reset tools do.
//! - The answer leaves when the offsets are committed to `__consumer_offsets`.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! `commit_and_resume` of every client, kafka-consumer-groups --reset-offsets.

use protocol::ErrorCode;
use protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::{call, pick};
use crate::api::{Api, Context, Versions};

pub(crate) struct OffsetCommit;

impl Api for OffsetCommit {
    const KEY: i16 = 8;
    const NAME: &'static str = "OffsetCommit";
    const VERSIONS: Versions = Versions::new(2, 9);
    type Request = OffsetCommitRequest;
    type Response = OffsetCommitResponse;

    async fn handle(cx: Context, mut request: OffsetCommitRequest) -> OffsetCommitResponse {
        let image = cx.broker.metadata.image();
        let exists = |topic: &OffsetCommitRequestTopic, partition: i32| {
            image.topic_by_name(topic.name.as_str()).is_some_and(|found| (0..found.partition_count()).contains(&partition))
        };
        let mut unknown = Vec::new();
        for topic in &mut request.topics {
            let (known, missing): (Vec<_>, Vec<_>) =
                std::mem::take(&mut topic.partitions).into_iter().partition(|row| exists(topic, row.partition_index));
            topic.partitions = known;
            if !missing.is_empty() {
                unknown.push(refused(topic, missing.iter().map(|row| row.partition_index), ErrorCode::UnknownTopicOrPartition));
            }
        }
        request.topics.retain(|topic| !topic.partitions.is_empty());
        if request.topics.is_empty() && !unknown.is_empty() {
            let mut response = OffsetCommitResponse::default();
            response.topics = unknown;
            return response;
        }
        let known = request.topics.clone();
        let group_id = request.group_id.to_string();
        let reply = call(&cx, &group_id, move |shard, now, meta| shard.offset_commit(now, meta, request), pick!(OffsetCommit));
        let mut response = reply.await.unwrap_or_else(|code| {
            let mut response = OffsetCommitResponse::default();
            response.topics =
                known.iter().map(|topic| refused(topic, topic.partitions.iter().map(|row| row.partition_index), code)).collect();
            response
        });
        for topic in unknown {
            match response.topics.iter_mut().find(|known| known.name == topic.name) {
                Some(known) => known.partitions.extend(topic.partitions),
                None => response.topics.push(topic),
            }
        }
        response
    }
}

fn refused(topic: &OffsetCommitRequestTopic, partitions: impl Iterator<Item = i32>, code: ErrorCode) -> OffsetCommitResponseTopic {
    let mut row = OffsetCommitResponseTopic::default();
    row.name = topic.name.clone();
    row.partitions = partitions
        .map(|index| {
            let mut partition = OffsetCommitResponsePartition::default();
            partition.partition_index = index;
            partition.error_code = code.code();
            partition
        })
        .collect();
    row
}
