//! LeaveGroup (key 13, versions 0-5): members leave at once instead of by their session timeout.
//!
//! - From version 3 several members, also static ones by their instance id (KIP-345); each has its own error.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! Every group scenario; golden scripts of `group-coordinator`.

use protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::{call, pick};
use crate::api::{Api, Context, Versions};

pub(crate) struct LeaveGroup;

impl Api for LeaveGroup {
    const KEY: i16 = 13;
    const NAME: &'static str = "LeaveGroup";
    const VERSIONS: Versions = Versions::new(0, 5);
    type Request = LeaveGroupRequest;
    type Response = LeaveGroupResponse;

    async fn handle(cx: Context, request: LeaveGroupRequest) -> LeaveGroupResponse {
        let group_id = request.group_id.to_string();
        let reply = call(&cx, &group_id, move |shard, now, meta| shard.leave_group(now, meta, request), pick!(Leave));
        reply.await.unwrap_or_else(|code| {
            let mut response = LeaveGroupResponse::default();
            response.error_code = code.code();
            response
        })
    }
}
