//! DescribeGroups (key 15, versions 0-6): groups with their members and assignments.
//!
//! - An unknown group is state Dead without an error up to version 5, GROUP_ID_NOT_FOUND from version 6 (KIP-1043).
//! - Each group is asked at its own coordinator.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! `admin_groups` of every client, kafka-consumer-groups --describe.

use protocol::ErrorCode;
use protocol::messages::describe_groups_response::DescribedGroup;
use protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use super::{call, pick};
use crate::api::{Api, Context, Versions};
use crate::cluster::authorized_operations;

pub(crate) struct DescribeGroups;

impl Api for DescribeGroups {
    const KEY: i16 = 15;
    const NAME: &'static str = "DescribeGroups";
    const VERSIONS: Versions = Versions::new(0, 6);
    type Request = DescribeGroupsRequest;
    type Response = DescribeGroupsResponse;

    async fn handle(cx: Context, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
        let mut response = DescribeGroupsResponse::default();
        for group_id in request.groups {
            let mut group = describe(&cx, group_id).await;
            if cx.version >= 3 && request.include_authorized_operations && group.error_code == 0 {
                group.authorized_operations = authorized_operations::GROUP;
            }
            response.groups.push(group);
        }
        response
    }
}

async fn describe(cx: &Context, group_id: GroupId) -> DescribedGroup {
    let mut request = DescribeGroupsRequest::default();
    request.groups = vec![group_id.clone()];
    let reply = call(cx, &group_id, move |shard, now, meta| shard.describe_groups(now, meta, request), pick!(DescribeGroups)).await;
    let found = reply.and_then(|response| response.groups.into_iter().next().ok_or(ErrorCode::CoordinatorNotAvailable));
    found.unwrap_or_else(|code| {
        let mut row = DescribedGroup::default();
        row.group_id = group_id;
        row.error_code = code.code();
        row
    })
}
