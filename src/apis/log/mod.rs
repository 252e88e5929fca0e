//! APIs that read and write logs.

pub(crate) mod delete_records;
pub(crate) mod describe_producers;
pub(crate) mod fetch;
mod leader_hints;
pub(crate) mod list_offsets;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;

use std::sync::Arc;

use broker::partitions::Partition;
use metadata::{Image, Topic};
use model::{LeaderEpoch, PartitionIndex, TopicId, TopicIdPartition};
use protocol::ErrorCode;
use uuid::Uuid;

use crate::api::Context;
use crate::error_codes;

/// The wire's word for no leader epoch.
pub(crate) const NO_EPOCH: i32 = -1;

/// A topic as a request names it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TopicRef<'a> {
    /// By name, in older versions.
    Name(&'a str),
    /// By id, in newer ones.
    Id(Uuid),
}

/// The topic that a request means, if it exists.
fn topic_of<'i>(image: &'i Image, topic: TopicRef<'_>) -> Option<&'i Topic> {
    let topic = match topic {
        TopicRef::Name(name) => image.topic_by_name(name),
        TopicRef::Id(id) => image.topic_by_id(TopicId(id)),
    };
    topic.map(Arc::as_ref)
}

/// The partition that a request means, if this broker serves it; else the code that the client must see.
pub(crate) fn find_partition(cx: &Context, image: &Image, topic: TopicRef<'_>, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
    let unknown = match topic {
        TopicRef::Name(_) => ErrorCode::UnknownTopicOrPartition,
        TopicRef::Id(_) => ErrorCode::UnknownTopicId,
    };
    let topic = topic_of(image, topic).ok_or(unknown)?;
    let partition = PartitionIndex::new(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let id = TopicIdPartition { topic_id: topic.id, partition };
    if image.partition(id).is_none() {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    let partitions = &cx.broker.partitions;
    partitions.get(id).ok_or_else(|| if partitions.is_damaged(id) { ErrorCode::KafkaStorageError } else { ErrorCode::NotLeaderOrFollower })
}

/// As [`find_partition`], if this broker leads the partition under the epoch that the request knows, in the wire's number: -1 is none, and what lies
/// below is older than any epoch.
pub(crate) fn find_led(
    cx: &Context,
    image: &Image,
    topic: TopicRef<'_>,
    partition: i32,
    current_leader_epoch: i32,
) -> Result<Arc<Partition>, ErrorCode> {
    let partition = find_partition(cx, image, topic, partition)?;
    partition.check_leader(LeaderEpoch::new(current_leader_epoch)).map_err(|error| error_codes::partition(&error))?;
    if current_leader_epoch < NO_EPOCH {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    Ok(partition)
}
