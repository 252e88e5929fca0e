//! DeleteTopics (key 20, versions 1-6): by name, and by id from version 6 (KIP-516).
//!
//! - Refused as TOPIC_DELETION_DISABLED where `delete.topic.enable` is false (from version 3; INVALID_REQUEST before).
//! - When the answer leaves, the partitions no longer serve, parked fetches have been answered; the files go after `file.delete.delay.ms`, or at the
//!   next start.
//! - Beyond the client's `controller_mutation_rate` a topic is THROTTLING_QUOTA_EXCEEDED from version 5 (KIP-599).
//!
//! # Deviations
//! None.
//!
//! # Tests
//! `create_describe_delete` and `delete_recreate` of every client.

use protocol::messages::delete_topics_response::DeletableTopicResult;
use protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use crate::api::{Api, Context, Versions};
use crate::error_codes;
use crate::throttle;

/// From this version on a topic beyond the quota is refused; before, it is deleted and the client is made to wait (KIP-599).
const STRICT_SINCE: i16 = 5;

pub(crate) struct DeleteTopics;

impl Api for DeleteTopics {
    const KEY: i16 = 20;
    const NAME: &'static str = "DeleteTopics";
    const VERSIONS: Versions = Versions::new(1, 6);
    const FOR_CONTROLLER: bool = true;
    type Request = DeleteTopicsRequest;
    type Response = DeleteTopicsResponse;

    async fn handle(cx: Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
        let by_name = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::nil()));
        let asked: Vec<_> = by_name.chain(request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id))).collect();
        if !cx.broker.config.delete_topic_enable {
            let error = if cx.version < 3 { ErrorCode::InvalidRequest } else { ErrorCode::TopicDeletionDisabled };
            return refused(asked, error, cx.version);
        }
        let quota = cx.broker.quotas.mutations_of(cx.client(), cx.version >= STRICT_SINCE);
        match cx.broker.controller.delete_topics(request, quota).await {
            Ok((responses, quota)) => {
                DeleteTopicsResponse::default().with_responses(responses).with_throttle_time_ms(throttle::millis(quota.wait()))
            }
            Err(error) => refused(asked, error_codes::control(error), cx.version),
        }
    }
}

fn refused(asked: Vec<(Option<TopicName>, Uuid)>, error: ErrorCode, version: i16) -> DeleteTopicsResponse {
    let mut response = DeleteTopicsResponse::default();
    for (name, topic_id) in asked {
        let mut row = DeletableTopicResult::default();
        row.name = name;
        row.error_code = error.code();
        if version >= 6 {
            row.topic_id = topic_id;
        }
        if version >= 5 {
            row.error_message = Some(StrBytes::from_string(error.to_string()));
        }
        response.responses.push(row);
    }
    response
}
