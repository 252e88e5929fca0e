//! OffsetFetch (key 9, versions 1-9): the offsets that a group has stored.
//!
//! - Nothing stored is offset -1 without an error, also for unknown groups.
//! - Null topics mean all (from version 2); from version 8 several groups at once (KIP-709), each at its own coordinator.
//! - An error stands in each partition up to version 1, in the answer up to version 7, in the group from version 8.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! `commit_and_resume` and `admin_lag` of every client, kafka-consumer-groups --describe.

use protocol::ErrorCode;
use protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use protocol::messages::offset_fetch_response::{OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic};
use protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};

use super::{call, pick};
use crate::api::{Api, Context, Versions};

pub(crate) struct OffsetFetch;

impl Api for OffsetFetch {
    const KEY: i16 = 9;
    const NAME: &'static str = "OffsetFetch";
    const VERSIONS: Versions = Versions::new(1, 9);
    type Request = OffsetFetchRequest;
    type Response = OffsetFetchResponse;

    async fn handle(cx: Context, request: OffsetFetchRequest) -> OffsetFetchResponse {
        if cx.version < 8 {
            return of_one_group(&cx, request).await;
        }
        let mut response = OffsetFetchResponse::default();
        for group in request.groups {
            response.groups.push(of_group(&cx, group, request.require_stable).await);
        }
        response
    }
}

async fn of_one_group(cx: &Context, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let topics = request.topics.clone().unwrap_or_default();
    let group_id = request.group_id.to_string();
    let reply = call(cx, &group_id, move |shard, now, meta| shard.offset_fetch(now, meta, request), pick!(OffsetFetch));
    reply.await.unwrap_or_else(|code| {
        let mut response = OffsetFetchResponse::default();
        if cx.version >= 2 {
            response.error_code = code.code();
            return response;
        }
        for topic in topics {
            let mut row = OffsetFetchResponseTopic::default();
            row.name = topic.name;
            row.partitions = topic.partition_indexes.iter().map(|index| refused(*index, code)).collect();
            response.topics.push(row);
        }
        response
    })
}

fn refused(index: i32, code: ErrorCode) -> OffsetFetchResponsePartition {
    let mut partition = OffsetFetchResponsePartition::default();
    partition.partition_index = index;
    partition.committed_offset = -1;
    partition.metadata = Some(protocol::StrBytes::new());
    partition.error_code = code.code();
    partition
}

async fn of_group(cx: &Context, group: OffsetFetchRequestGroup, require_stable: bool) -> OffsetFetchResponseGroup {
    let id = group.group_id.clone();
    let mut request = OffsetFetchRequest::default();
    request.require_stable = require_stable;
    request.groups = vec![group];
    let reply = call(cx, &id, move |shard, now, meta| shard.offset_fetch(now, meta, request), pick!(OffsetFetch)).await;
    let found = reply.and_then(|response| response.groups.into_iter().next().ok_or(ErrorCode::CoordinatorNotAvailable));
    found.unwrap_or_else(|code| {
        let mut row = OffsetFetchResponseGroup::default();
        row.group_id = id;
        row.error_code = code.code();
        row
    })
}
