//! FindCoordinator (key 10, versions 0-6): which broker coordinates a group or a transactional id.
//!
//! - The topic that holds them is created at the first question, and the answer waits for it.
//! - From version 4 several keys at once (KIP-699).
//!
//! # Deviations
//! - Key type 2 (share groups) is INVALID_REQUEST until those exist.
//! - The first question is answered with the coordinator; Kafka first answers COORDINATOR_NOT_AVAILABLE while it creates the topic.
//!
//! # Tests
//! Every group scenario.

use protocol::messages::find_coordinator_response::Coordinator;
use protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::{ErrorCode, StrBytes};

use crate::api::{Api, Context, Versions};
use crate::cluster::metadata::wire_id;

const KEY_TYPE_GROUP: i8 = 0;
const KEY_TYPE_TRANSACTION: i8 = 1;
const KEY_TYPE_SHARE: i8 = 2;

pub(crate) struct FindCoordinator;

impl Api for FindCoordinator {
    const KEY: i16 = 10;
    const NAME: &'static str = "FindCoordinator";
    const VERSIONS: Versions = Versions::new(0, 6);
    type Request = FindCoordinatorRequest;
    type Response = FindCoordinatorResponse;

    async fn handle(cx: Context, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
        let mut response = FindCoordinatorResponse::default();
        if cx.version >= 4 {
            for key in request.coordinator_keys {
                response.coordinators.push(find(&cx, key, request.key_type).await);
            }
            return response;
        }
        let found = find(&cx, request.key, request.key_type).await;
        response.error_code = found.error_code;
        response.node_id = found.node_id;
        response.host = found.host;
        response.port = found.port;
        if cx.version >= 1 {
            response.error_message = if found.error_code == 0 { Some(StrBytes::from_static_str("NONE")) } else { found.error_message };
        }
        response
    }
}

async fn find(cx: &Context, key: StrBytes, key_type: i8) -> Coordinator {
    let result = match key_type {
        KEY_TYPE_GROUP => cx.broker.groups.coordinator_of(&key).await,
        KEY_TYPE_TRANSACTION => cx.broker.transactions.coordinator_of(&key).await,
        _ => Err(ErrorCode::InvalidRequest),
    };
    let image = cx.broker.metadata.image();
    let mut row = Coordinator::default();
    row.key = key;
    row.node_id = wire_id(None);
    row.port = -1;
    let endpoint = result.and_then(|id| {
        let broker = image.broker(id).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        broker.endpoint(cx.listener()).map(|endpoint| (id, endpoint)).ok_or(ErrorCode::CoordinatorNotAvailable)
    });
    match endpoint {
        Ok((id, endpoint)) => {
            row.node_id = wire_id(Some(id));
            row.host = StrBytes::from_string(endpoint.host.clone());
            row.port = i32::from(endpoint.port);
        }
        Err(error) => {
            row.error_code = error.code();
            // Kafka has no sentence for share groups.
            if key_type != KEY_TYPE_SHARE {
                row.error_message = Some(StrBytes::from_string(error.to_string()));
            }
        }
    }
    row
}
