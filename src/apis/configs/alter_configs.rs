//! AlterConfigs (key 33, versions 0-2): sets a resource's configurations; those that are not named go back to their defaults.
//!
//! - Each resource is altered whole or not. kafkajs, aiokafka and librdkafka still send this; Java sends IncrementalAlterConfigs.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! `alter_configs` in `metadata`.

use protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use crate::api::{Api, Context, Versions};
use crate::error_codes;

pub(crate) struct AlterConfigs;

impl Api for AlterConfigs {
    const KEY: i16 = 33;
    const NAME: &'static str = "AlterConfigs";
    const VERSIONS: Versions = Versions::new(0, 2);
    const FOR_CONTROLLER: bool = true;
    type Request = AlterConfigsRequest;
    type Response = AlterConfigsResponse;

    async fn handle(cx: Context, request: AlterConfigsRequest) -> AlterConfigsResponse {
        let asked: Vec<_> = request.resources.iter().map(|resource| (resource.resource_type, resource.resource_name.clone())).collect();
        let rows = cx.broker.controller.alter_configs(request).await.unwrap_or_else(|error| {
            let (code, message) = error_codes::control_fields(error);
            let refused = AlterConfigsResourceResponse::default().with_error_code(code).with_error_message(message);
            asked
                .into_iter()
                .map(|(resource_type, name)| refused.clone().with_resource_type(resource_type).with_resource_name(name))
                .collect()
        });
        AlterConfigsResponse::default().with_responses(rows)
    }
}
