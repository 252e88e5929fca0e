//! Committed offsets.

use std::collections::BTreeMap;

use protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use protocol::messages::{GroupId, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, OffsetFetchResponse};

use super::client::{Run, text};
use super::groups::is_membership_error;
use super::topics::topic_name;
use super::world::Committed;
use super::{Checked, ensure};

const NONE: (i64, &str) = (-1, "");

/// From this version on several groups are asked at once.
const OFFSET_FETCH_BY_GROUPS: i16 = 8;
/// From this version on topics are named by their ids, in commits too.
const OFFSETS_BY_ID: i16 = 10;
const UNKNOWN_TOPIC_ID: i16 = 100;

impl Run<'_> {
    pub(crate) async fn commit(&mut self, slot: usize) -> Checked {
        let version = self.version::<OffsetCommitRequest>();
        let group = usize::from(self.source.one_in(4));
        let number = self.source.below(self.world.groups[group].members.len());
        let member = self.world.groups[group].members[number].clone();
        let simple = self.source.one_in(2);
        let partition = i32::try_from(self.source.below(4)).unwrap();
        let offset = i64::try_from(self.source.below(256)).unwrap();
        let metadata = self.source.pick(&["", "some"]);
        let name = self.world.topics[slot].name.clone();
        let row = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text(metadata)));
        let id = self.world.topic_id(&name);
        let topic = OffsetCommitRequestTopic::default().with_name(topic_name(&name)).with_topic_id(id).with_partitions(vec![row]);
        let mut request =
            OffsetCommitRequest::default().with_group_id(GroupId(text(&self.world.groups[group].id))).with_topics(vec![topic]);
        if simple {
            request.generation_id_or_member_epoch = -1;
        } else {
            request.generation_id_or_member_epoch = member.generation + self.source.pick(&[0, 0, 0, -1, 1]);
            request.member_id = text(&member.id);
            if version >= 7 {
                request.group_instance_id = member.instance_id.as_deref().map(text);
            }
        }
        let generation = request.generation_id_or_member_epoch;
        let answer = self.call(version, &request).await?;
        let rows = answer.topics.first().map_or(0, |topic| topic.partitions.len());
        ensure!(answer.topics.len() == 1 && rows == 1, "one partition was committed: {answer:?}");
        let code = answer.topics[0].partitions[0].error_code;
        if self.world.partition(slot, partition).is_none() {
            let gone = version >= OFFSETS_BY_ID && self.world.topics[slot].live.is_none();
            let expected = if gone { UNKNOWN_TOPIC_ID } else { 3 };
            ensure!(code == expected || is_membership_error(code), "an unknown partition is committed with {code}");
            return Ok(());
        }
        ensure!(code != 0 || simple || !self.is_stale(group, generation), "a commit of the stale generation {generation} is taken");
        if code == 0 {
            self.world.groups[group].committed.insert((name, partition), (offset, metadata.to_owned()));
        }
        Ok(())
    }

    pub(crate) async fn fetch_offsets(&mut self, slot: usize) -> Checked {
        let version = self.version::<OffsetFetchRequest>();
        let group = self.source.below(self.world.groups.len());
        // A null list of topics came with version 2.
        let all = version >= 2 && self.source.one_in(2);
        let wanted = [self.world.topics[slot].name.clone()];
        self.compare_offsets(version, group, (!all).then_some(&wanted)).await
    }

    pub(crate) async fn read_back_offsets(&mut self) -> Checked {
        for group in 0..self.world.groups.len() {
            for version in [7, 9, 10] {
                self.compare_offsets(version, group, None).await?;
            }
        }
        Ok(())
    }

    async fn compare_offsets(&mut self, version: i16, group: usize, topics: Option<&[String]>) -> Checked {
        let group_id = GroupId(text(&self.world.groups[group].id));
        let indexes = vec![0, 1, 2, 3];
        let mut request = OffsetFetchRequest::default();
        if version >= OFFSET_FETCH_BY_GROUPS {
            let topic = |name: &String| {
                let topic = OffsetFetchRequestTopics::default().with_name(topic_name(name)).with_topic_id(self.world.topic_id(name));
                topic.with_partition_indexes(indexes.clone())
            };
            let topics = topics.map(|names| names.iter().map(topic).collect());
            request.groups = vec![OffsetFetchRequestGroup::default().with_group_id(group_id).with_topics(topics)];
        } else {
            let topic =
                |name: &String| OffsetFetchRequestTopic::default().with_name(topic_name(name)).with_partition_indexes(indexes.clone());
            request.group_id = group_id;
            request.topics = topics.map(|names| names.iter().map(topic).collect());
        }
        let answer = self.call(version, &request).await?;
        let told = self.told_offsets(version, &answer)?;
        // What is gone is refused by id; by name it has no offsets.
        let topics =
            topics.map(|names| names.iter().filter(|name| version < OFFSETS_BY_ID || self.world.is_live(name)).collect::<Vec<_>>());
        let group = &self.world.groups[group];
        for ((topic, partition), committed) in &told {
            let known = group.committed.get(&(topic.clone(), *partition));
            let known = known.map_or(NONE, |(offset, metadata)| (*offset, metadata.as_str()));
            let found = (committed.0, committed.1.as_str());
            ensure!(found == known, "{} has {known:?} committed for {topic}-{partition}, and {found:?} is told", group.id);
        }
        for (topic, partition) in group.committed.keys() {
            let asked = topics.as_ref().is_none_or(|names| names.contains(&topic) && indexes.contains(partition));
            ensure!(!asked || told.contains_key(&(topic.clone(), *partition)), "{}'s offset of {topic}-{partition} is missing", group.id);
        }
        Ok(())
    }

    pub(crate) async fn delete_offsets(&mut self, slot: usize) -> Checked {
        let group = self.source.below(self.world.groups.len());
        let partition = i32::try_from(self.source.below(4)).unwrap();
        let name = self.world.topics[slot].name.clone();
        let row = OffsetDeleteRequestPartition::default().with_partition_index(partition);
        let topic = OffsetDeleteRequestTopic::default().with_name(topic_name(&name)).with_partitions(vec![row]);
        let request = OffsetDeleteRequest::default().with_group_id(GroupId(text(&self.world.groups[group].id))).with_topics(vec![topic]);
        let answer = self.call(0, &request).await?;
        let row = answer.topics.first().and_then(|topic| topic.partitions.first());
        if answer.error_code == 0 && row.is_some_and(|row| row.error_code == 0) {
            self.world.groups[group].committed.remove(&(name, partition));
        }
        Ok(())
    }

    /// What an answer tells, by topic and partition.
    fn told_offsets(&self, version: i16, answer: &OffsetFetchResponse) -> Checked<BTreeMap<(String, i32), Committed>> {
        let mut told = BTreeMap::new();
        if version >= OFFSET_FETCH_BY_GROUPS {
            for group in &answer.groups {
                ensure!(group.error_code == 0, "offsets are told with {answer:?}");
                for topic in &group.topics {
                    let name = if version >= OFFSETS_BY_ID { self.world.name_of(topic.topic_id) } else { Some(topic.name.to_string()) };
                    let expected = if name.is_some() { 0 } else { UNKNOWN_TOPIC_ID };
                    for row in &topic.partitions {
                        ensure!(row.error_code == expected, "offsets are told with {answer:?}");
                        let metadata = row.metadata.as_ref().map(ToString::to_string).unwrap_or_default();
                        if let Some(name) = &name {
                            told.insert((name.clone(), row.partition_index), (row.committed_offset, metadata));
                        }
                    }
                }
            }
            return Ok(told);
        }
        ensure!(answer.error_code == 0, "offsets are told with {answer:?}");
        for topic in &answer.topics {
            for row in &topic.partitions {
                ensure!(row.error_code == 0, "offsets are told with {answer:?}");
                let metadata = row.metadata.as_ref().map(ToString::to_string).unwrap_or_default();
                told.insert((topic.name.to_string(), row.partition_index), (row.committed_offset, metadata));
            }
        }
        Ok(told)
    }
}
