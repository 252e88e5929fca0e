//! OffsetCommit (key 8, versions 2-10): stores a group's offsets.
//!
//! - Version 10 names topics by id (KIP-848). In every version the id is stored with the offset, so that it is known of which topic of that name it was.
//! - Topics that do not exist are UNKNOWN_TOPIC_OR_PARTITION, or UNKNOWN_TOPIC_ID; the others are committed all the same.
//! - Generation -1 commits for groups without members, as simple consumers and reset tools do.
//! - The answer leaves when the offsets are committed to `__consumer_offsets`.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! `commit_and_resume` of every client, kafka-consumer-groups --reset-offsets.

use model::TopicId;
use protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, TopicName};
use protocol::{ErrorCode, StrBytes};

use super::{call, pick};
use crate::api::{Api, Context, Versions};

/// From here on topics have ids and no names.
const WITH_TOPIC_IDS: i16 = 10;

pub(crate) struct OffsetCommit;

impl Api for OffsetCommit {
    const KEY: i16 = 8;
    const NAME: &'static str = "OffsetCommit";
    const VERSIONS: Versions = Versions::new(2, 10);
    type Request = OffsetCommitRequest;
    type Response = OffsetCommitResponse;

    async fn handle(cx: Context, mut request: OffsetCommitRequest) -> OffsetCommitResponse {
        let unknown = take_unknown(&cx, &mut request);
        if request.topics.is_empty() && !unknown.is_empty() {
            return OffsetCommitResponse::default().with_topics(unknown);
        }
        let known = request.topics.clone();
        let group_id = request.group_id.to_string();
        let reply = call(&cx, &group_id, move |shard, now, meta| shard.offset_commit(now, meta, request), pick!(OffsetCommit));
        let mut response = reply.await.unwrap_or_else(|code| {
            let topics = known.iter().map(|topic| refused(topic, &topic.partitions, code));
            OffsetCommitResponse::default().with_topics(topics.collect())
        });
        for topic in unknown {
            match response.topics.iter_mut().find(|known| known.name == topic.name && known.topic_id == topic.topic_id) {
                Some(known) => known.partitions.extend(topic.partitions),
                None => response.topics.push(topic),
            }
        }
        response
    }
}

/// Gives each topic of the request both its name and its id, takes out what does not exist, and gives the answers to that.
fn take_unknown(cx: &Context, request: &mut OffsetCommitRequest) -> Vec<OffsetCommitResponseTopic> {
    let image = cx.broker.metadata.image();
    let by_id = cx.version >= WITH_TOPIC_IDS;
    let mut unknown = Vec::new();
    for topic in &mut request.topics {
        let found = if by_id { image.topic_by_id(TopicId(topic.topic_id)) } else { image.topic_by_name(topic.name.as_str()) };
        let Some(found) = found else {
            let code = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
            unknown.push(refused(topic, &topic.partitions, code));
            topic.partitions.clear();
            continue;
        };
        topic.name = TopicName(StrBytes::from_string(found.name.as_str().to_owned()));
        topic.topic_id = found.id.0;
        let exists = |row: &OffsetCommitRequestPartition| (0..found.partition_count()).contains(&row.partition_index);
        let (known, missing): (Vec<_>, Vec<_>) = std::mem::take(&mut topic.partitions).into_iter().partition(exists);
        topic.partitions = known;
        if !missing.is_empty() {
            unknown.push(refused(topic, &missing, ErrorCode::UnknownTopicOrPartition));
        }
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    unknown
}

fn refused(topic: &OffsetCommitRequestTopic, partitions: &[OffsetCommitRequestPartition], code: ErrorCode) -> OffsetCommitResponseTopic {
    let refused = |row: &OffsetCommitRequestPartition| {
        OffsetCommitResponsePartition::default().with_partition_index(row.partition_index).with_error_code(code.code())
    };
    OffsetCommitResponseTopic::default()
        .with_name(topic.name.clone())
        .with_topic_id(topic.topic_id)
        .with_partitions(partitions.iter().map(refused).collect())
}
