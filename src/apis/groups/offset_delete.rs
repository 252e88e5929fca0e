//! OffsetDelete (key 47, version 0): removes stored offsets of a group (KIP-496).
//!
//! - Offsets of topics that the group subscribes to are GROUP_SUBSCRIBED_TO_TOPIC.
//! - Topics that do not exist are UNKNOWN_TOPIC_OR_PARTITION.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! kafka-consumer-groups --delete-offsets; golden scripts of `group-coordinator`.

use protocol::ErrorCode;
use protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::{call, pick};
use crate::api::{Api, Context, Versions};

pub(crate) struct OffsetDelete;

impl Api for OffsetDelete {
    const KEY: i16 = 47;
    const NAME: &'static str = "OffsetDelete";
    const VERSIONS: Versions = Versions::new(0, 0);
    type Request = OffsetDeleteRequest;
    type Response = OffsetDeleteResponse;

    async fn handle(cx: Context, mut request: OffsetDeleteRequest) -> OffsetDeleteResponse {
        let image = cx.broker.metadata.image();
        let mut unknown = Vec::new();
        request.topics.retain_mut(|topic| {
            let count = image.topic_by_name(topic.name.as_str()).map_or(0, |found| found.partition_count());
            let mut row = OffsetDeleteResponseTopic::default();
            row.name = topic.name.clone();
            for asked in topic.partitions.iter().filter(|asked| !(0..count).contains(&asked.partition_index)) {
                let mut partition = OffsetDeleteResponsePartition::default();
                partition.partition_index = asked.partition_index;
                partition.error_code = ErrorCode::UnknownTopicOrPartition.code();
                row.partitions.push(partition);
            }
            topic.partitions.retain(|asked| (0..count).contains(&asked.partition_index));
            if !row.partitions.is_empty() {
                unknown.push(row);
            }
            !topic.partitions.is_empty()
        });
        let group_id = request.group_id.to_string();
        let reply = call(&cx, &group_id, move |shard, now, meta| shard.offset_delete(now, meta, request), pick!(OffsetDelete));
        let mut response = reply.await.unwrap_or_else(|code| {
            let mut response = OffsetDeleteResponse::default();
            response.error_code = code.code();
            response
        });
        if response.error_code == 0 {
            for row in unknown {
                match response.topics.iter_mut().find(|topic| topic.name == row.name) {
                    Some(topic) => topic.partitions.extend(row.partitions),
                    None => response.topics.push(row),
                }
            }
        }
        response
    }
}
