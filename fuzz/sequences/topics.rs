//! Topics: created, grown, deleted, described.

use protocol::messages::create_partitions_request::CreatePartitionsTopic;
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_topic_partitions_request::TopicRequest;
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::{
    ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, InitProducerIdRequest, MetadataRequest, ProducerId, TopicName, TransactionalId,
};
use uuid::Uuid;

use super::client::{Run, text};
use super::world::{Partition, Topic};
use super::{Checked, Finding, ensure};

/// Settings that a topic may be created with, and whether it then keeps every well-formed batch as it is.
const SETTINGS: &[(Option<(&str, &str)>, bool)] = &[
    (None, true),
    (None, true),
    (None, true),
    (Some(("message.timestamp.type", "LogAppendTime")), false),
    (Some(("compression.type", "gzip")), false),
    (Some(("max.message.bytes", "90")), false),
    (Some(("cleanup.policy", "compact")), false),
];

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn partitions(count: usize) -> Vec<Partition> {
    (0..count).map(|_| Partition::default()).collect()
}

impl Run<'_> {
    pub(crate) async fn create_topic(&mut self, slot: usize) -> Checked {
        let version = self.version::<CreateTopicsRequest>();
        let count = 1 + self.source.below(3);
        let (setting, plain) = self.source.pick(SETTINGS);
        let validate_only = self.source.one_in(16);
        let name = self.world.topics[slot].name.clone();
        let configs = setting.map(|(key, value)| CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value))));
        let topic = CreatableTopic::default()
            .with_name(topic_name(&name))
            .with_num_partitions(i32::try_from(count).unwrap())
            .with_replication_factor(1)
            .with_configs(configs.into_iter().collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000).with_validate_only(validate_only);
        let answer = self.call(version, &request).await?;
        ensure!(answer.topics.len() == 1, "one topic was asked for");
        let row = &answer.topics[0];
        if self.world.topics[slot].live.is_some() {
            ensure!(row.error_code == 36, "an existing topic is created again with code {}", row.error_code);
            return Ok(());
        }
        ensure!(row.error_code == 0, "a new topic is refused: {row:?}");
        if validate_only {
            return Ok(());
        }
        let (id, told) = self.look_up(slot).await?.ok_or_else(|| Finding(format!("{name} was created and is not there")))?;
        ensure!(version < 7 || row.topic_id == id, "{name} has another id than the creation told");
        ensure!(told == count, "{name} was created with {count} partitions and has {told}");
        ensure!(!self.world.topics[slot].dead.contains(&id), "{name} has the id of a deleted topic");
        self.world.topics[slot].live = Some(Topic { id, plain, partitions: partitions(count) });
        Ok(())
    }

    /// The topic's id and number of partitions as the metadata has them.
    async fn look_up(&mut self, slot: usize) -> Checked<Option<(Uuid, usize)>> {
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name(&self.world.topics[slot].name)));
        let answer =
            self.call(12, &MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false)).await?;
        ensure!(answer.topics.len() == 1, "one topic was asked for");
        let row = &answer.topics[0];
        Ok((row.error_code == 0).then_some((row.topic_id, row.partitions.len())))
    }

    pub(crate) async fn delete_topic(&mut self, slot: usize) -> Checked {
        let version = self.version::<DeleteTopicsRequest>();
        let by_id = version >= 6 && self.source.one_in(2);
        let slots = &self.world.topics[slot];
        let name = topic_name(&slots.name);
        let dead_id = slots.dead.last().copied().unwrap_or(Uuid::from_u128(7));
        let id = slots.live.as_ref().map_or(dead_id, |topic| topic.id);
        let mut request = DeleteTopicsRequest::default().with_timeout_ms(1000);
        if by_id {
            request.topics = vec![DeleteTopicState::default().with_name(None).with_topic_id(id)];
        } else if version >= 6 {
            request.topics = vec![DeleteTopicState::default().with_name(Some(name))];
        } else {
            request.topic_names = vec![name];
        }
        let answer = self.call(version, &request).await?;
        ensure!(answer.responses.len() == 1, "one topic was asked for");
        let code = answer.responses[0].error_code;
        let expected = match (self.world.topics[slot].live.is_some(), by_id) {
            (true, _) => 0,
            (false, true) => 100,
            (false, false) => 3,
        };
        ensure!(code == expected, "deleting is answered with {code} instead of {expected}");
        self.world.deleted(slot);
        let found = self.look_up(slot).await?;
        ensure!(found.is_none(), "a deleted topic is there: {found:?}");
        Ok(())
    }

    pub(crate) async fn create_partitions(&mut self, slot: usize) -> Checked {
        let version = self.version::<CreatePartitionsRequest>();
        let count = self.source.below(6);
        let validate_only = self.source.one_in(4);
        let name = topic_name(&self.world.topics[slot].name);
        let topic = CreatePartitionsTopic::default().with_name(name).with_count(i32::try_from(count).unwrap()).with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000).with_validate_only(validate_only);
        let answer = self.call(version, &request).await?;
        ensure!(answer.results.len() == 1, "one topic was asked for");
        let code = answer.results[0].error_code;
        let had = self.world.topics[slot].live.as_ref().map(|topic| topic.partitions.len());
        let expected = match had {
            None => 3,
            Some(had) if count <= had => 37,
            Some(_) => 0,
        };
        ensure!(code == expected, "growing from {had:?} to {count} is answered with {code} instead of {expected}");
        if let Some(topic) = self.world.topics[slot].live.as_mut().filter(|_| code == 0 && !validate_only) {
            topic.partitions.resize_with(count, Partition::default);
        }
        let expected = self.world.topics[slot].live.as_ref().map(|topic| (topic.id, topic.partitions.len()));
        let found = self.look_up(slot).await?;
        ensure!(found == expected, "after growing, metadata has {found:?} instead of {expected:?}");
        Ok(())
    }

    pub(crate) async fn metadata(&mut self, slot: usize) -> Checked {
        let version = self.version::<MetadataRequest>();
        if self.source.one_in(4) {
            let topics = if version == 0 { Some(Vec::new()) } else { None };
            let answer = self.call(version, &MetadataRequest::default().with_topics(topics)).await?;
            for live in self.world.topics.iter().filter(|slot| slot.live.is_some()) {
                let found = answer.topics.iter().any(|row| row.name.as_ref().is_some_and(|name| name.as_str() == live.name));
                ensure!(found, "{} is missing in the list of all topics", live.name);
            }
            return Ok(());
        }
        let creates = version < 4 || self.source.one_in(2);
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name(&self.world.topics[slot].name)));
        let request = MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(creates);
        let answer = self.call(version, &request).await?;
        ensure!(answer.topics.len() == 1, "one topic was asked for");
        let row = &answer.topics[0];
        if let Some(topic) = &self.world.topics[slot].live {
            ensure!(row.error_code == 0 && row.partitions.len() == topic.partitions.len(), "metadata differs: {row:?}");
            ensure!(version < 10 || row.topic_id == topic.id, "metadata tells another id: {row:?}");
        } else if creates {
            ensure!(row.error_code == 0, "a topic was not created by asking for it: {row:?}");
            let count = row.partitions.len();
            let (id, _) = self.look_up(slot).await?.ok_or_else(|| Finding("an auto-created topic is not there".to_owned()))?;
            ensure!(!self.world.topics[slot].dead.contains(&id), "an auto-created topic has the id of a deleted one");
            self.world.topics[slot].live = Some(Topic { id, plain: true, partitions: partitions(count) });
        } else {
            ensure!(row.error_code == 3, "an unknown topic is told: {row:?}");
        }
        Ok(())
    }

    /// The APIs that only look.
    pub(crate) async fn describe(&mut self, slot: usize) -> Checked {
        let name = self.world.topics[slot].name.clone();
        let count = self.world.topics[slot].live.as_ref().map(|topic| topic.partitions.len());
        match self.source.below(4) {
            0 => {
                let version = self.version::<DescribeConfigsRequest>();
                let resource = DescribeConfigsResource::default().with_resource_type(2).with_resource_name(text(&name));
                let request = DescribeConfigsRequest::default()
                    .with_resources(vec![resource.with_configuration_keys(None)])
                    .with_include_synonyms(self.source.one_in(2))
                    .with_include_documentation(version >= 3 && self.source.one_in(2));
                let answer = self.call(version, &request).await?;
                ensure!(answer.results.len() == 1, "one topic was asked for");
                let expected = if count.is_some() { 0 } else { 3 };
                let row = &answer.results[0];
                ensure!(row.error_code == expected, "the configuration of {name} is told with {row:?}");
            }
            1 => {
                let limit = i32::try_from(self.source.below(4)).unwrap();
                let topics = vec![TopicRequest::default().with_name(topic_name(&name))];
                let request = DescribeTopicPartitionsRequest::default().with_topics(topics).with_response_partition_limit(limit);
                let answer = self.call(0, &request).await?;
                ensure!(answer.topics.len() == 1, "one topic was asked for");
                let row = &answer.topics[0];
                ensure!((row.error_code == 0) == count.is_some(), "{name} is described with {row:?}");
                let complete = Some(row.partitions.len()) == count || answer.next_cursor.is_some();
                ensure!(complete || count.is_none(), "partitions are missing and no cursor says so: {answer:?}");
            }
            2 => {
                let version = self.version::<DescribeClusterRequest>();
                let answer = self.call(version, &DescribeClusterRequest::default()).await?;
                ensure!(answer.error_code == 0 && answer.brokers.len() == 1, "the cluster is described with {answer:?}");
            }
            _ => {
                let version = self.version::<ApiVersionsRequest>();
                let mut request = ApiVersionsRequest::default();
                if version >= 3 {
                    request = request.with_client_software_name(text("sequences")).with_client_software_version(text("1"));
                }
                let answer = self.call(version, &request).await?;
                ensure!(answer.error_code == 0 && !answer.api_keys.is_empty(), "the versions are told with {answer:?}");
            }
        }
        Ok(())
    }

    pub(crate) async fn init_producer_id(&mut self) -> Checked {
        let version = self.version::<InitProducerIdRequest>();
        let transactional = self.source.one_in(8);
        let mut request = InitProducerIdRequest::default().with_transaction_timeout_ms(60_000);
        request.transactional_id = transactional.then(|| TransactionalId(text("transactional")));
        if version >= 3 {
            request = request.with_producer_id(ProducerId(-1)).with_producer_epoch(-1);
        }
        let answer = self.call(version, &request).await?;
        if transactional {
            // Nobody coordinates it: the topic for that is never asked for here.
            ensure!(answer.error_code == 16, "a transactional id is answered with {answer:?}");
            return Ok(());
        }
        ensure!(answer.error_code == 0 && answer.producer_epoch == 0, "no producer id: {answer:?}");
        ensure!(!self.world.producers.contains(&answer.producer_id.0), "a producer id was given twice: {answer:?}");
        self.world.producers.push(answer.producer_id.0);
        Ok(())
    }
}
