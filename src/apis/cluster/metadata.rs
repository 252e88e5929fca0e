//! Metadata (key 3, versions 0-13): brokers, topics, partitions and their leaders.
//!
//! - All topics: an empty list in version 0, null from version 1; an empty list from version 1 means none.
//! - By topic id from version 12; an unknown id is UNKNOWN_TOPIC_ID with a null name. Below version 12 a null name or an id is INVALID_REQUEST.
//! - An unknown name is created if the broker, the request (from version 4) and the client's `controller_mutation_rate` allow it; internal topics get their own settings.
//! - Addresses are those of the listener that the request came by.
//!
//! # Deviations
//! - Auto-create answers with leaders at once; Kafka first answers a retriable error and the client asks again.
//! - A topic with neither name nor id is UNKNOWN_TOPIC_ID; Kafka answers UNKNOWN_SERVER_ERROR for the whole request.
//!
//! # Tests
//! kcat `-L`, `unknown_topic` and `create_describe_delete` of every client.

use std::collections::HashSet;

use metadata::{Image, Topic};
use model::{BrokerId, TopicId};
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
use protocol::messages::{CreateTopicsRequest, MetadataRequest, MetadataResponse, TopicName};
use protocol::{ErrorCode, StrBytes};

use super::authorized_operations;
use crate::api::{Api, Context, Versions};

pub(crate) struct Metadata;

impl Api for Metadata {
    const KEY: i16 = 3;
    const NAME: &'static str = "Metadata";
    const VERSIONS: Versions = Versions::new(0, 13);
    type Request = MetadataRequest;
    type Response = MetadataResponse;

    async fn handle(cx: Context, request: MetadataRequest) -> MetadataResponse {
        let wants_all = match &request.topics {
            None => true,
            Some(topics) => topics.is_empty() && cx.version == 0,
        };
        let asked = asked_once(request.topics.unwrap_or_default());
        if cx.version < 12 && asked.iter().any(|asked| asked.name.is_none() || !asked.topic_id.is_nil()) {
            return refuse_all(&asked);
        }
        if !wants_all && (cx.version < 4 || request.allow_auto_topic_creation) {
            create_missing(&cx, &asked).await;
        }
        let image = cx.broker.metadata.image();
        let mut response = MetadataResponse::default();
        response.brokers = brokers(&cx, &image);
        response.cluster_id = Some(StrBytes::from_string(image.cluster_id().unwrap_or_default().to_owned()));
        response.controller_id = wire_id(cx.broker.controller.leader());
        if (8..=10).contains(&cx.version) && request.include_cluster_authorized_operations {
            response.cluster_authorized_operations = authorized_operations::CLUSTER;
        }
        response.topics = if wants_all {
            image.topics().map(|topic| describe(topic)).collect()
        } else {
            asked.iter().map(|asked| look_up(&image, asked)).collect()
        };
        if cx.version >= 8 && request.include_topic_authorized_operations {
            for topic in response.topics.iter_mut().filter(|topic| topic.error_code == 0) {
                topic.topic_authorized_operations = authorized_operations::TOPIC;
            }
        }
        response
    }
}

/// What is asked, each topic once. Where one is asked by id, those without an id are passed over, as in Kafka.
fn asked_once(mut asked: Vec<MetadataRequestTopic>) -> Vec<MetadataRequestTopic> {
    let by_id = asked.iter().any(|asked| !asked.topic_id.is_nil());
    let mut seen = HashSet::new();
    asked.retain(|asked| {
        let name = asked.name.clone().filter(|_| !by_id);
        (!by_id || !asked.topic_id.is_nil()) && seen.insert((asked.topic_id, name))
    });
    asked
}

/// What a version below 12 cannot ask.
fn refuse_all(asked: &[MetadataRequestTopic]) -> MetadataResponse {
    let mut response = MetadataResponse::default();
    for asked in asked {
        let mut topic = MetadataResponseTopic::default();
        topic.error_code = ErrorCode::InvalidRequest.code();
        topic.name = Some(asked.name.clone().unwrap_or_default());
        topic.topic_id = asked.topic_id;
        response.topics.push(topic);
    }
    response
}

/// The wire's broker id; -1 for none.
pub(crate) fn wire_id(id: Option<BrokerId>) -> protocol::messages::BrokerId {
    protocol::messages::BrokerId(BrokerId::to_wire(id))
}

fn brokers(cx: &Context, image: &Image) -> Vec<MetadataResponseBroker> {
    let advertised = image.brokers().filter(|broker| !broker.fenced).filter_map(|broker| {
        let endpoint = broker.endpoint(cx.listener())?;
        let mut row = MetadataResponseBroker::default();
        row.node_id = wire_id(Some(broker.id));
        row.host = StrBytes::from_string(endpoint.host.clone());
        row.port = i32::from(endpoint.port);
        row.rack = broker.rack.clone().map(StrBytes::from_string);
        Some(row)
    });
    advertised.collect()
}

/// Creates the asked topics that do not exist, where the broker allows it. Refusals show in the look-up that follows.
async fn create_missing(cx: &Context, asked: &[MetadataRequestTopic]) {
    if !cx.broker.config.auto_create_topics_enable {
        return;
    }
    let image = cx.broker.metadata.image();
    let mut request = CreateTopicsRequest::default();
    for name in asked.iter().filter_map(|asked| asked.name.as_ref()) {
        if image.topic_by_name(name.as_str()).is_some() || metadata::controller::check_topic_name(name.as_str()).is_err() {
            continue;
        }
        if name.as_str() == broker::coordinators::OFFSETS_TOPIC {
            let _shown_by_the_look_up = cx.broker.controller.create_offsets_topic().await;
            continue;
        }
        if name.as_str() == broker::coordinators::TRANSACTIONS_TOPIC {
            let _shown_by_the_look_up = cx.broker.controller.create_transactions_topic().await;
            continue;
        }
        if request.topics.iter().any(|topic| topic.name == *name) {
            continue;
        }
        let mut topic = CreatableTopic::default();
        topic.name = name.clone();
        topic.num_partitions = -1;
        topic.replication_factor = -1;
        request.topics.push(topic);
    }
    if !request.topics.is_empty() {
        // Kafka's broker asks its controller by a new version of CreateTopics, in the client's name.
        let quota = cx.broker.quotas.mutations_of(cx.client(), true);
        let _shown_by_the_look_up = cx.broker.controller.create_topics(request, quota).await;
    }
}

fn look_up(image: &Image, asked: &MetadataRequestTopic) -> MetadataResponseTopic {
    let by_id = !asked.topic_id.is_nil();
    let refused = |error: ErrorCode| {
        let mut topic = MetadataResponseTopic::default();
        topic.error_code = error.code();
        topic.name = asked.name.clone();
        topic.topic_id = asked.topic_id;
        topic
    };
    match &asked.name {
        Some(name) if !by_id => match image.topic_by_name(name.as_str()) {
            Some(topic) => describe(topic),
            None if metadata::controller::check_topic_name(name.as_str()).is_err() => refused(ErrorCode::InvalidTopicException),
            None => refused(ErrorCode::UnknownTopicOrPartition),
        },
        _ => image.topic_by_id(TopicId(asked.topic_id)).map_or_else(|| refused(ErrorCode::UnknownTopicId), |topic| describe(topic)),
    }
}

fn describe(topic: &Topic) -> MetadataResponseTopic {
    let mut row = MetadataResponseTopic::default();
    row.name = Some(TopicName(StrBytes::from_string(topic.name.as_str().to_owned())));
    row.topic_id = topic.id.0;
    row.is_internal = topic.is_internal();
    row.partitions = topic
        .partitions()
        .map(|(index, state)| {
            let mut partition = MetadataResponsePartition::default();
            partition.partition_index = index.get();
            partition.leader_id = wire_id(state.leader);
            partition.leader_epoch = state.leader_epoch.get();
            partition.replica_nodes = state.replicas.iter().map(|id| wire_id(Some(*id))).collect();
            partition.isr_nodes = state.isr.iter().map(|id| wire_id(Some(*id))).collect();
            if state.leader.is_none() {
                partition.error_code = ErrorCode::LeaderNotAvailable.code();
            }
            partition
        })
        .collect();
    row
}
