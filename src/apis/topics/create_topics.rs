//! CreateTopics (key 19, versions 2-7).
//!
//! - -1 partitions or replicas mean the broker's defaults (from version 4, KIP-464); a manual assignment requires both to be -1.
//! - `validate_only` answers what a creation would, and creates nothing.
//! - Each topic succeeds or fails on its own; a name given twice fails as INVALID_REQUEST.
//! - Version 5 tells the configuration (KIP-525), version 7 the topic id.
//! - Beyond the client's `controller_mutation_rate` a topic is THROTTLING_QUOTA_EXCEEDED from version 6 (KIP-599).
//!
//! # Deviations
//! - A topic is usable at this broker when the answer leaves (Kafka's may still answer UNKNOWN_TOPIC_OR_PARTITION for a moment).
//!
//! # Tests
//! `create_describe_delete` of every client, Java tools `kafka-topics`.

use protocol::messages::create_topics_response::CreatableTopicResult;
use protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use crate::api::{Api, Context, Versions};
use crate::error_codes;
use crate::throttle;

/// From this version on a topic beyond the quota is refused; before, it is created and the client is made to wait (KIP-599).
const STRICT_SINCE: i16 = 6;

pub(crate) struct CreateTopics;

impl Api for CreateTopics {
    const KEY: i16 = 19;
    const NAME: &'static str = "CreateTopics";
    const VERSIONS: Versions = Versions::new(2, 7);
    const FOR_CONTROLLER: bool = true;
    type Request = CreateTopicsRequest;
    type Response = CreateTopicsResponse;

    async fn handle(cx: Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
        let names: Vec<_> = request.topics.iter().map(|topic| topic.name.clone()).collect();
        let mut response = CreateTopicsResponse::default();
        let quota = cx.broker.quotas.mutations_of(cx.client(), cx.version >= STRICT_SINCE);
        response.topics = match cx.broker.controller.create_topics(request, quota).await {
            Ok((topics, quota)) => {
                response.throttle_time_ms = throttle::millis(quota.wait());
                topics
            }
            Err(error) => names
                .into_iter()
                .map(|name| CreatableTopicResult::default().with_name(name).with_error_code(error_codes::control(error).code()))
                .collect(),
        };
        response
    }
}
