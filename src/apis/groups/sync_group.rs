//! SyncGroup (key 14, versions 0-5): the leader brings the assignment, each member fetches its own.
//!
//! - Followers wait for the leader; the reply leaves after the group's record is committed.
//! - From version 5 the protocol type and name must be given and be those of the generation (KIP-559).
//!
//! # Deviations
//! None.
//!
//! # Tests
//! `group_of_three_with_one_killed`; golden scripts of `group-coordinator`.

use protocol::ErrorCode;
use protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::{call, pick};
use crate::api::{Api, Context, Versions};

/// From this version on the request must name protocol type and protocol, though they are nullable.
const SYNC_WITH_PROTOCOL: i16 = 5;

pub(crate) struct SyncGroup;

impl Api for SyncGroup {
    const KEY: i16 = 14;
    const NAME: &'static str = "SyncGroup";
    const VERSIONS: Versions = Versions::new(0, 5);
    type Request = SyncGroupRequest;
    type Response = SyncGroupResponse;

    async fn handle(cx: Context, request: SyncGroupRequest) -> SyncGroupResponse {
        if cx.version >= SYNC_WITH_PROTOCOL && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
            return refused(ErrorCode::InconsistentGroupProtocol);
        }
        let group_id = request.group_id.to_string();
        let reply = call(&cx, &group_id, move |shard, now, meta| shard.sync_group(now, meta, request), pick!(Sync));
        reply.await.unwrap_or_else(refused)
    }
}

fn refused(code: ErrorCode) -> SyncGroupResponse {
    let mut response = SyncGroupResponse::default();
    response.error_code = code.code();
    response
}
