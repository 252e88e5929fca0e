//! ListConfigResources (key 74, versions 0-1): the names of what can be configured (KIP-1142; version 0 is KIP-714's list of subscriptions).
//!
//! - Version 0 means client metrics only. Of version 1 an empty list of types means all.
//! - Groups and client metrics are listed when something is set for them, topics and brokers always.
//!
//! # Deviations
//! - Broker loggers are not listed, since their levels cannot be set.
//!
//! # Tests
//! Java tools `kafka-configs --describe --entity-type groups`.

use metadata::{ConfigResourceType, Image};
use protocol::messages::list_config_resources_response::ConfigResource;
use protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use protocol::{ErrorCode, StrBytes};

use crate::api::{Api, Context, Versions};

const BROKER_LOGGER: i8 = 8;
const ALL: [i8; 4] = [
    ConfigResourceType::Topic.to_wire(),
    ConfigResourceType::Broker.to_wire(),
    ConfigResourceType::ClientMetrics.to_wire(),
    ConfigResourceType::Group.to_wire(),
];

pub(crate) struct ListConfigResources;

impl Api for ListConfigResources {
    const KEY: i16 = 74;
    const NAME: &'static str = "ListConfigResources";
    const VERSIONS: Versions = Versions::new(0, 1);
    type Request = ListConfigResourcesRequest;
    type Response = ListConfigResourcesResponse;

    async fn handle(cx: Context, request: ListConfigResourcesRequest) -> ListConfigResourcesResponse {
        let mut types = match (cx.version, request.resource_types.is_empty()) {
            (0, _) => vec![ConfigResourceType::ClientMetrics.to_wire()],
            (_, true) => ALL.to_vec(),
            (_, false) => request.resource_types,
        };
        types.sort_unstable();
        types.dedup();
        let image = cx.broker.metadata.image();
        let mut response = ListConfigResourcesResponse::default();
        for wire_type in types {
            match ConfigResourceType::from_wire(wire_type) {
                Some(known) => {
                    response.config_resources.extend(names(&image, known).into_iter().map(|name| {
                        ConfigResource::default().with_resource_name(StrBytes::from_string(name)).with_resource_type(wire_type)
                    }))
                }
                None if wire_type == BROKER_LOGGER => {}
                None => {
                    let mut refused = ListConfigResourcesResponse::default();
                    refused.error_code = ErrorCode::UnsupportedVersion.code();
                    return refused;
                }
            }
        }
        response
    }
}

fn names(image: &Image, resource_type: ConfigResourceType) -> Vec<String> {
    match resource_type {
        ConfigResourceType::Topic => image.topics().map(|topic| topic.name.as_str().to_owned()).collect(),
        ConfigResourceType::Broker => image.alive_brokers().map(|broker| broker.id.to_string()).collect(),
        ConfigResourceType::ClientMetrics | ConfigResourceType::Group => image.configured(resource_type).map(str::to_owned).collect(),
    }
}
