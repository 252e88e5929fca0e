//! CreatePartitions (key 37, versions 0-3): raises topics' partition counts.
//!
//! - The count is the new total; a lower or equal one is INVALID_PARTITIONS.
//! - `validate_only` changes nothing.
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

pub(crate) struct CreatePartitions;

impl Api for CreatePartitions {
    const KEY: i16 = 37;
    const NAME: &'static str = "CreatePartitions";
    const VERSIONS: Versions = Versions::new(0, 3);
    type Request = CreatePartitionsRequest;
    type Response = CreatePartitionsResponse;

    async fn handle(cx: Context, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
        let names: Vec<_> = request.topics.iter().map(|topic| topic.name.clone()).collect();
        match cx.broker.controller.create_partitions(request).await {
            Ok(results) => CreatePartitionsResponse::default().with_results(results),
            Err(error) => {
                let (code, message) = error_codes::control_fields(error);
                let refused =
                    |name| CreatePartitionsTopicResult::default().with_name(name).with_error_code(code).with_error_message(message.clone());
                CreatePartitionsResponse::default().with_results(names.into_iter().map(refused).collect())
            }
        }
    }
}
