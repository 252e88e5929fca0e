//! JoinGroup (key 11, versions 0-9): a member joins or rejoins its group and waits for the new generation.
//!
//! - From version 4 a member without an id gets one with MEMBER_ID_REQUIRED and joins again (KIP-394).
//! - From version 5 static members (`group.instance.id`, KIP-345); version 9 may let the leader skip the assignment.
//! - The reply waits until all known members have joined or the rebalance timeout ends; it holds no thread.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! `group_of_three_with_one_killed`, `static_membership` and the assignors' scenarios; golden scripts of `group-coordinator`.

use protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::{call, pick};
use crate::api::{Api, Context, Versions};

pub(crate) struct JoinGroup;

impl Api for JoinGroup {
    const KEY: i16 = 11;
    const NAME: &'static str = "JoinGroup";
    const VERSIONS: Versions = Versions::new(0, 9);
    type Request = JoinGroupRequest;
    type Response = JoinGroupResponse;

    async fn handle(cx: Context, request: JoinGroupRequest) -> JoinGroupResponse {
        let group_id = request.group_id.to_string();
        let reply = call(&cx, &group_id, move |shard, now, meta| shard.join_group(now, meta, request), pick!(Join));
        reply.await.unwrap_or_else(|code| {
            let mut response = JoinGroupResponse::default();
            response.error_code = code.code();
            response
        })
    }
}
