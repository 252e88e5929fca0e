//! DeleteGroups (key 42, versions 0-2): removes empty groups and their offsets.
//!
//! - A group with members is NON_EMPTY_GROUP, an unknown one GROUP_ID_NOT_FOUND.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! `admin_groups` of every client, kafka-consumer-groups --delete.

use std::collections::HashSet;

use protocol::ErrorCode;
use protocol::messages::delete_groups_response::DeletableGroupResult;
use protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId};

use super::{call, pick};
use crate::api::{Api, Context, Versions};

pub(crate) struct DeleteGroups;

impl Api for DeleteGroups {
    const KEY: i16 = 42;
    const NAME: &'static str = "DeleteGroups";
    const VERSIONS: Versions = Versions::new(0, 2);
    type Request = DeleteGroupsRequest;
    type Response = DeleteGroupsResponse;

    async fn handle(cx: Context, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
        let mut response = DeleteGroupsResponse::default();
        let mut seen = HashSet::new();
        for group_id in request.groups_names.into_iter().filter(|name| seen.insert(name.clone())) {
            response.results.push(delete(&cx, group_id).await);
        }
        response
    }
}

async fn delete(cx: &Context, group_id: GroupId) -> DeletableGroupResult {
    let mut request = DeleteGroupsRequest::default();
    request.groups_names = vec![group_id.clone()];
    let reply = call(cx, &group_id, move |shard, now, meta| shard.delete_groups(now, meta, request), pick!(DeleteGroups)).await;
    let found = reply.and_then(|response| response.results.into_iter().next().ok_or(ErrorCode::CoordinatorNotAvailable));
    found.unwrap_or_else(|code| {
        let mut row = DeletableGroupResult::default();
        row.group_id = group_id;
        row.error_code = code.code();
        row
    })
}
