//! OffsetFetch: how far a group has come.

use std::collections::BTreeMap;

use model::Timestamp;
use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use protocol::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName};
use protocol::{ErrorCode, StrBytes};

use uuid::Uuid;

use crate::effects::{Effects, GroupReply, RequestMeta};
use crate::offsets::GroupOffsets;
use crate::operation::Operation;
use crate::records::CommittedOffset;
use crate::replies::text;
use crate::shard::GroupShard;

/// OffsetFetch from here on asks for several groups (KIP-709).
const FETCH_WITH_GROUPS: i16 = 8;

impl GroupShard {
    /// Handles OffsetFetch, for the groups of the request that this shard holds. An unknown group has no offsets, which is no error. Who requires
    /// stable offsets gets none that an open transaction may change (KIP-447).
    pub fn offset_fetch(&mut self, now: Timestamp, meta: RequestMeta, request: OffsetFetchRequest) -> Effects {
        let mut operation = Operation::new(&self.config, now);
        let mut response = OffsetFetchResponse::default();
        if meta.api_version >= FETCH_WITH_GROUPS {
            response.groups = request.groups.iter().map(|group| self.fetch_group(group, request.require_stable)).collect();
        } else {
            let asked = |topic: &OffsetFetchRequestTopic| (topic.name.clone(), Uuid::nil(), topic.partition_indexes.clone());
            let topics = request.topics.as_ref().map(|topics| topics.iter().map(asked));
            let found = self.fetch(&request.group_id, topics, request.require_stable);
            response.topics = found.into_iter().map(|(name, _, partitions)| old_topic(name, partitions)).collect();
        }
        operation.reply(meta.reply, GroupReply::OffsetFetch(response));
        operation.effects
    }

    fn fetch_group(&self, group: &OffsetFetchRequestGroup, require_stable: bool) -> OffsetFetchResponseGroup {
        let asked = |topic: &OffsetFetchRequestTopics| (topic.name.clone(), topic.topic_id, topic.partition_indexes.clone());
        let found = self.fetch(&group.group_id, group.topics.as_ref().map(|topics| topics.iter().map(asked)), require_stable);
        let topic = |(name, topic_id, partitions)| {
            OffsetFetchResponseTopics::default().with_name(name).with_topic_id(topic_id).with_partitions(partitions)
        };
        OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_topics(found.into_iter().map(topic).collect())
    }

    /// The offsets of the topics that are asked for; of all that the group has if none are named.
    fn fetch(
        &self,
        group_id: &GroupId,
        asked: Option<impl Iterator<Item = (TopicName, Uuid, Vec<i32>)>>,
        require_stable: bool,
    ) -> Vec<FoundTopic> {
        let offsets = self.offsets.of_group(group_id);
        let found = |(name, topic_id, partitions): (TopicName, Uuid, Vec<i32>)| {
            let found = asked_partitions(offsets, &name, topic_id, &partitions);
            (name, topic_id, found)
        };
        let all = || offsets.into_iter().flatten();
        let mut topics: Vec<FoundTopic> = match asked {
            Some(topics) => topics.map(found).collect(),
            None => all().map(|(name, partitions)| (TopicName(text(name)), Uuid::nil(), all_partitions(partitions))).collect(),
        };
        if require_stable && self.pending.is_open(group_id) {
            for (name, _, partitions) in &mut topics {
                for answer in partitions.iter_mut().filter(|answer| self.pending.has(group_id, name, answer.partition_index)) {
                    *answer = describe(answer.partition_index, None).with_error_code(ErrorCode::UnstableOffsetCommit.code());
                }
            }
        }
        topics
    }
}

/// A topic with its id, if it was asked for by that, and what is stored of it.
type FoundTopic = (TopicName, Uuid, Vec<OffsetFetchResponsePartitions>);

fn asked_partitions(offsets: Option<&GroupOffsets>, topic: &str, topic_id: Uuid, partitions: &[i32]) -> Vec<OffsetFetchResponsePartitions> {
    let committed = offsets.and_then(|topics| topics.get(topic));
    let of = |partition: &i32| committed.and_then(|partitions| partitions.get(partition)).filter(|found| is_of_topic(found, topic_id));
    partitions.iter().map(|partition| describe(*partition, of(partition))).collect()
}

/// Whether an offset was committed to this topic and not to an earlier one of its name, as far as both ids are known (KIP-848).
fn is_of_topic(committed: &CommittedOffset, topic_id: Uuid) -> bool {
    committed.topic_id.is_nil() || topic_id.is_nil() || committed.topic_id == topic_id
}

fn all_partitions(partitions: &BTreeMap<i32, CommittedOffset>) -> Vec<OffsetFetchResponsePartitions> {
    partitions.iter().map(|(partition, committed)| describe(*partition, Some(committed))).collect()
}

fn describe(partition: i32, committed: Option<&CommittedOffset>) -> OffsetFetchResponsePartitions {
    let answer = OffsetFetchResponsePartitions::default().with_partition_index(partition);
    match committed {
        Some(committed) => answer
            .with_committed_offset(committed.offset)
            .with_committed_leader_epoch(committed.leader_epoch)
            .with_metadata(Some(text(&committed.metadata))),
        None => answer.with_committed_offset(-1).with_committed_leader_epoch(-1).with_metadata(Some(StrBytes::new())),
    }
}

/// The form of a topic before several groups could be asked for.
fn old_topic(name: TopicName, partitions: Vec<OffsetFetchResponsePartitions>) -> OffsetFetchResponseTopic {
    let old = |new: OffsetFetchResponsePartitions| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(new.partition_index)
            .with_committed_offset(new.committed_offset)
            .with_committed_leader_epoch(new.committed_leader_epoch)
            .with_metadata(new.metadata)
            .with_error_code(new.error_code)
    };
    OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.into_iter().map(old).collect())
}
