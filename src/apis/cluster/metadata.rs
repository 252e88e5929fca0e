//! Metadata (key 3, versions 0-13): brokers, topics, partitions and their leaders.
//!
//! - All topics: an empty list in version 0, null from version 1; an empty list from version 1 means none.
//! - By topic id from version 12; an unknown id is UNKNOWN_TOPIC_ID with a null name. Below version 12 a null name or an id is INVALID_REQUEST.
//! - An unknown name is created if the broker, the request (from version 4) and the client's `controller_mutation_rate` allow it; internal topics get their own settings.
//! - Addresses are those of the listener that the request came by.
//!
//! # Deviations
//! - An answer that names another broker as a leader leaves after 4 ms. If that leader's process has just ended, it waits up to 350 ms for the next leader; without one it says LEADER_NOT_AVAILABLE (for at most 2 s). Kafka tells the dead leader until its session is over.
//! - A broker that was fenced stays in the list for 3 s more; Kafka takes 9 s to fence one that died, and lists it as long.
//! - Auto-create answers with leaders at once; Kafka first answers a retriable error and the client asks again.
//! - A topic with neither name nor id is UNKNOWN_TOPIC_ID; Kafka answers UNKNOWN_SERVER_ERROR for the whole request.
//!
//! # Tests
//! kcat `-L`, `unknown_topic` and `create_describe_delete` of every client.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use metadata::{Image, Topic};
use model::{BrokerId, TopicId};
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
use protocol::messages::{CreateTopicsRequest, MetadataRequest, MetadataResponse, TopicName};
use protocol::{ErrorCode, StrBytes};
use wire::clock::timeout_at;

use super::authorized_operations;
use crate::api::{Api, Context, Versions};

/// So long an answer waits for the next leader of a partition whose leader has just gone: also for another controller first, if the leader was the
/// active one. The connection's other answers wait with it.
const NEXT_LEADER_WITHIN: Duration = Duration::from_millis(350);

/// A client that lost its leader asks at once, often before this broker has seen that its own connection to the leader is closed too. So long it
/// looks before it names a leader that is not itself.
const LOSS_SEEN_WITHIN: Duration = Duration::from_millis(4);

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
        let image = once_led(&cx, (!wants_all).then_some(&asked)).await;
        let mut response = MetadataResponse::default();
        response.brokers = brokers(&cx, &image);
        response.cluster_id = Some(StrBytes::from_string(image.cluster_id().unwrap_or_default().to_owned()));
        response.controller_id = wire_id(cx.broker.controller.leader());
        if (8..=10).contains(&cx.version) && request.include_cluster_authorized_operations {
            response.cluster_authorized_operations = authorized_operations::CLUSTER;
        }
        response.topics = if wants_all {
            image.topics().map(|topic| describe(&cx, topic)).collect()
        } else {
            asked.iter().map(|asked| look_up(&cx, &image, asked)).collect()
        };
        if cx.version >= 8 && request.include_topic_authorized_operations {
            for topic in response.topics.iter_mut().filter(|topic| topic.error_code == 0) {
                topic.topic_authorized_operations = authorized_operations::TOPIC;
            }
        }
        response
    }
}

/// The newest image; where a leader of what is asked (all, if that is none) has just gone, the next one that names another leader, if it comes in
/// time.
async fn once_led(cx: &Context, asked: Option<&Vec<MetadataRequestTopic>>) -> Arc<Image> {
    let broker = &cx.broker;
    let leads_any = |image: &Image, counts: &dyn Fn(BrokerId) -> bool| {
        let of_topic = |topic: &Topic| topic.partitions().any(|(_, state)| state.leader.is_some_and(counts));
        match asked {
            None => image.topics().any(|topic| of_topic(topic)),
            Some(asked) => asked.iter().any(|asked| find(image, asked).is_some_and(of_topic)),
        }
    };
    let (began, own) = (broker.clock.monotonic(), broker.config.broker_id);
    if leads_any(&broker.metadata.image(), &|leader| leader != own) {
        broker.clock.sleep_until(began + LOSS_SEEN_WITHIN).await;
    }
    let mut published = broker.metadata.subscribe();
    loop {
        published.borrow_and_update();
        let image = broker.metadata.image();
        let waits = broker.absences.is_any_lost() && leads_any(&image, &|leader| broker.absences.is_lost(leader));
        if !waits || timeout_at(&*broker.clock, began + NEXT_LEADER_WITHIN, published.changed()).await.is_err() {
            return image;
        }
    }
}

fn find<'a>(image: &'a Image, asked: &MetadataRequestTopic) -> Option<&'a Topic> {
    match &asked.name {
        Some(name) if asked.topic_id.is_nil() => image.topic_by_name(name.as_str()),
        _ => image.topic_by_id(TopicId(asked.topic_id)),
    }
    .map(|topic| &**topic)
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
    let listed = image.brokers().filter(|broker| !broker.fenced || cx.broker.absences.is_just_fenced(broker.id));
    let advertised = listed.filter_map(|broker| {
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

fn look_up(cx: &Context, image: &Image, asked: &MetadataRequestTopic) -> MetadataResponseTopic {
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
            Some(topic) => describe(cx, topic),
            None if metadata::controller::check_topic_name(name.as_str()).is_err() => refused(ErrorCode::InvalidTopicException),
            None => refused(ErrorCode::UnknownTopicOrPartition),
        },
        _ => image.topic_by_id(TopicId(asked.topic_id)).map_or_else(|| refused(ErrorCode::UnknownTopicId), |topic| describe(cx, topic)),
    }
}

fn describe(cx: &Context, topic: &Topic) -> MetadataResponseTopic {
    let mut row = MetadataResponseTopic::default();
    row.name = Some(TopicName(StrBytes::from_string(topic.name.as_str().to_owned())));
    row.topic_id = topic.id.0;
    row.is_internal = topic.is_internal();
    row.partitions = topic
        .partitions()
        .map(|(index, state)| {
            let mut partition = MetadataResponsePartition::default();
            partition.partition_index = index.get();
            let leader = state.leader.filter(|leader| !cx.broker.absences.is_lost(*leader));
            partition.leader_id = wire_id(leader);
            partition.leader_epoch = state.leader_epoch.get();
            partition.replica_nodes = state.replicas.iter().map(|id| wire_id(Some(*id))).collect();
            partition.isr_nodes = state.isr.iter().map(|id| wire_id(Some(*id))).collect();
            if leader.is_none() {
                partition.error_code = ErrorCode::LeaderNotAvailable.code();
            }
            partition
        })
        .collect();
    row
}
