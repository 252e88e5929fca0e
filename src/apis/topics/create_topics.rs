//! CreateTopics (key 19, versions 2-7).
//!
//! - -1 partitions or replicas mean the broker's defaults (from version 4, KIP-464); a manual assignment requires both to be -1.
//! - `validate_only` answers what a creation would, and creates nothing.
//! - Each topic succeeds or fails on its own; a name given twice fails as INVALID_REQUEST.
//! - Version 5 tells the configuration (KIP-525), version 7 the topic id.
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

pub(crate) struct CreateTopics;

impl Api for CreateTopics {
    const KEY: i16 = 19;
    const NAME: &'static str = "CreateTopics";
    const VERSIONS: Versions = Versions::new(2, 7);
    type Request = CreateTopicsRequest;
    type Response = CreateTopicsResponse;

    async fn handle(cx: Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
        let names: Vec<_> = request.topics.iter().map(|topic| topic.name.clone()).collect();
        let mut response = CreateTopicsResponse::default();
        response.topics = match cx.broker.controller.create_topics(request).await {
            Ok(topics) => topics,
            Err(error) => names
                .into_iter()
                .map(|name| CreatableTopicResult::default().with_name(name).with_error_code(error_codes::control(error).code()))
                .collect(),
        };
        response
    }
}
