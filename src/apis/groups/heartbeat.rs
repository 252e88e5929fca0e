//! Heartbeat (key 12, versions 0-4): renews a member's session and tells it of a rebalance.
//!
//! - REBALANCE_IN_PROGRESS also renews the session.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! Every group scenario; golden scripts of `group-coordinator`.

use protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::{call, pick};
use crate::api::{Api, Context, Versions};

pub(crate) struct Heartbeat;

impl Api for Heartbeat {
    const KEY: i16 = 12;
    const NAME: &'static str = "Heartbeat";
    const VERSIONS: Versions = Versions::new(0, 4);
    type Request = HeartbeatRequest;
    type Response = HeartbeatResponse;

    async fn handle(cx: Context, request: HeartbeatRequest) -> HeartbeatResponse {
        let group_id = request.group_id.to_string();
        let reply = call(&cx, &group_id, move |shard, now, meta| shard.heartbeat(now, meta, request), pick!(Heartbeat));
        reply.await.unwrap_or_else(|code| {
            let mut response = HeartbeatResponse::default();
            response.error_code = code.code();
            response
        })
    }
}
