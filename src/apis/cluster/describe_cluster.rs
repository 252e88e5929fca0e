//! DescribeCluster (key 60, versions 0-2): brokers with their addresses, the cluster's id and controller.
//!
//! - Endpoint type 1 (brokers) is answered here; another is UNSUPPORTED_ENDPOINT_TYPE (KIP-919) with an explanation.
//! - Version 2 may ask for fenced brokers too (KIP-1073).
//!
//! # Deviations
//! None.
//!
//! # Tests
//! The Java admin client's `describeCluster`, kafka-broker-api-versions.

use protocol::messages::describe_cluster_response::DescribeClusterBroker;
use protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use protocol::{ErrorCode, StrBytes};

use super::authorized_operations;
use super::metadata::wire_id;
use crate::api::{Api, Context, Versions};

const ENDPOINT_TYPE_BROKER: i8 = 1;
const ENDPOINT_TYPE_CONTROLLER: i8 = 2;

pub(crate) struct DescribeCluster;

impl Api for DescribeCluster {
    const KEY: i16 = 60;
    const NAME: &'static str = "DescribeCluster";
    const VERSIONS: Versions = Versions::new(0, 2);
    type Request = DescribeClusterRequest;
    type Response = DescribeClusterResponse;

    async fn handle(cx: Context, request: DescribeClusterRequest) -> DescribeClusterResponse {
        let mut response = DescribeClusterResponse::default();
        if cx.version >= 1 && request.endpoint_type != ENDPOINT_TYPE_BROKER {
            let (error, message) = if request.endpoint_type == ENDPOINT_TYPE_CONTROLLER {
                (
                    ErrorCode::MismatchedEndpointType,
                    "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
                )
            } else {
                (ErrorCode::UnsupportedEndpointType, "Unsupported endpoint type")
            };
            response.error_code = error.code();
            response.error_message = Some(StrBytes::from_static_str(message));
            return response;
        }
        let image = cx.broker.metadata.image();
        response.cluster_id = StrBytes::from_string(image.cluster_id().unwrap_or_default().to_owned());
        response.controller_id = wire_id(cx.broker.controller.leader());
        if request.include_cluster_authorized_operations {
            response.cluster_authorized_operations = authorized_operations::CLUSTER;
        }
        for broker in image.brokers().filter(|broker| !broker.fenced || request.include_fenced_brokers) {
            let Some(endpoint) = broker.endpoint(cx.listener()) else { continue };
            let mut row = DescribeClusterBroker::default();
            row.broker_id = wire_id(Some(broker.id));
            row.host = StrBytes::from_string(endpoint.host.clone());
            row.port = i32::from(endpoint.port);
            row.rack = broker.rack.clone().map(StrBytes::from_string);
            if cx.version >= 2 {
                row.is_fenced = broker.fenced;
            }
            response.brokers.push(row);
        }
        response
    }
}
