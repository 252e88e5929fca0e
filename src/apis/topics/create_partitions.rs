//! CreatePartitions (key 37, versions 0-3): raises topics' partition counts.
//!
//! - The count is the new total; a lower or equal one is INVALID_PARTITIONS.
//! - `validate_only` changes nothing.
//! - Beyond the client's `controller_mutation_rate` a topic is THROTTLING_QUOTA_EXCEEDED from version 3 (KIP-599).
//!
//! # Deviations
//! None.
//!
//! # Tests
//! Java tools `kafka-topics --alter --partitions`.

use protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use crate::api::{Api, Context, Versions};
use crate::error_codes;
use crate::throttle;

/// From this version on partitions beyond the quota are refused; before, they are created and the client is made to wait (KIP-599).
const STRICT_SINCE: i16 = 3;

pub(crate) struct CreatePartitions;

impl Api for CreatePartitions {
    const KEY: i16 = 37;
    const NAME: &'static str = "CreatePartitions";
    const VERSIONS: Versions = Versions::new(0, 3);
    const FOR_CONTROLLER: bool = true;
    type Request = CreatePartitionsRequest;
    type Response = CreatePartitionsResponse;

    async fn handle(cx: Context, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
        let names: Vec<_> = request.topics.iter().map(|topic| topic.name.clone()).collect();
        let quota = cx.broker.quotas.mutations_of(cx.client(), cx.version >= STRICT_SINCE);
        match cx.broker.controller.create_partitions(request, quota).await {
            Ok((results, quota)) => {
                CreatePartitionsResponse::default().with_results(results).with_throttle_time_ms(throttle::millis(quota.wait()))
            }
            Err(error) => {
                let (code, message) = error_codes::control_fields(error);
                let refused =
                    |name| CreatePartitionsTopicResult::default().with_name(name).with_error_code(code).with_error_message(message.clone());
                CreatePartitionsResponse::default().with_results(names.into_iter().map(refused).collect())
            }
        }
    }
}
