//! ListGroups (key 16, versions 0-5): the groups that this broker coordinates.
//!
//! - Version 4 filters by state (KIP-518), version 5 by type (KIP-848).
//!
//! # Deviations
//! None.
//!
//! # Tests
//! `admin_groups` of every client, kafka-consumer-groups --list.

use protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use super::pick;
use crate::api::{Api, Context, Versions};

pub(crate) struct ListGroups;

impl Api for ListGroups {
    const KEY: i16 = 16;
    const NAME: &'static str = "ListGroups";
    const VERSIONS: Versions = Versions::new(0, 5);
    type Request = ListGroupsRequest;
    type Response = ListGroupsResponse;

    async fn handle(cx: Context, request: ListGroupsRequest) -> ListGroupsResponse {
        let mut response = ListGroupsResponse::default();
        let caller = cx.caller();
        let replies = cx.broker.groups.call_all(&caller, || {
            let request = request.clone();
            Box::new(move |shard, now, meta| shard.list_groups(now, meta, request))
        });
        match replies.await {
            Err(code) => response.error_code = code.code(),
            Ok(replies) => {
                for part in replies.into_iter().filter_map(pick!(ListGroups)) {
                    if part.error_code != 0 {
                        response.error_code = part.error_code;
                    }
                    response.groups.extend(part.groups);
                }
            }
        }
        response
    }
}
