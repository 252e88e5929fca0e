//! APIs of classic consumer groups and their offsets.

pub(crate) mod delete_groups;
pub(crate) mod describe_groups;
pub(crate) mod find_coordinator;
pub(crate) mod heartbeat;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_groups;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod sync_group;
pub(crate) mod txn_offset_commit;

use group_coordinator::{Effects, GroupReply, GroupShard, RequestMeta};
use model::Timestamp;
use protocol::ErrorCode;

use crate::api::Context;

/// Runs an operation on the shard of a group and takes its reply apart with `pick`.
pub(crate) async fn call<T>(
    cx: &Context,
    group_id: &str,
    operation: impl FnOnce(&mut GroupShard, Timestamp, RequestMeta) -> Effects + Send + 'static,
    pick: impl Fn(GroupReply) -> Option<T>,
) -> Result<T, ErrorCode> {
    let reply = cx.broker.groups.call(group_id, &cx.caller(), Box::new(operation)).await?;
    pick(reply).ok_or_else(|| {
        tracing::error!(group_id, version = cx.version, "a coordinator answered another request than it was asked");
        ErrorCode::CoordinatorNotAvailable
    })
}

/// Picks one kind of reply.
macro_rules! pick {
    ($kind:ident) => {
        |reply| match reply {
            group_coordinator::GroupReply::$kind(response) => Some(response),
            _ => None,
        }
    };
}
pub(crate) use pick;
