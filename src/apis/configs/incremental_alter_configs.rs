//! IncrementalAlterConfigs (key 44, versions 0-1): sets, deletes, appends to and subtracts from configurations (KIP-339).
//!
//! - Each resource is altered whole or not; one that is named twice is refused at both places.
//! - `validate_only` changes nothing.
//!
//! # Deviations
//! - The levels of broker loggers (resource type 8) are refused with INVALID_REQUEST: klamm's log has no such names.
//!
//! # Tests
//! Java tools `kafka-configs --alter`; `alter_configs` in `metadata`.

use protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use crate::api::{Api, Context, Versions};
use crate::error_codes;

pub(crate) struct IncrementalAlterConfigs;

impl Api for IncrementalAlterConfigs {
    const KEY: i16 = 44;
    const NAME: &'static str = "IncrementalAlterConfigs";
    const VERSIONS: Versions = Versions::new(0, 1);
    const FOR_CONTROLLER: bool = true;
    type Request = IncrementalAlterConfigsRequest;
    type Response = IncrementalAlterConfigsResponse;

    async fn handle(cx: Context, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
        let asked: Vec<_> = request.resources.iter().map(|resource| (resource.resource_type, resource.resource_name.clone())).collect();
        let rows = cx.broker.controller.incremental_alter_configs(request).await.unwrap_or_else(|error| {
            let (code, message) = error_codes::control_fields(error);
            let refused = AlterConfigsResourceResponse::default().with_error_code(code).with_error_message(message);
            asked
                .into_iter()
                .map(|(resource_type, name)| refused.clone().with_resource_type(resource_type).with_resource_name(name))
                .collect()
        });
        IncrementalAlterConfigsResponse::default().with_responses(rows)
    }
}
