//! APIs of idempotent and transactional producers, and of coordinators among each other.

pub(crate) mod add_offsets_to_txn;
pub(crate) mod add_partitions_to_txn;
pub(crate) mod describe_transactions;
pub(crate) mod end_txn;
pub(crate) mod init_producer_id;
pub(crate) mod list_transactions;
pub(crate) mod verification;
pub(crate) mod write_txn_markers;

use model::Timestamp;
use protocol::ErrorCode;
use txn_coordinator::{Effects, RequestMeta, TxnReply, TxnShard};

use crate::api::Context;

/// Runs an operation on the shard of a transactional id and takes its reply apart with `pick`.
pub(crate) async fn call<T>(
    cx: &Context,
    transactional_id: &str,
    operation: impl FnOnce(&mut TxnShard, Timestamp, RequestMeta) -> Effects + Send + 'static,
    pick: impl Fn(TxnReply) -> Option<T>,
) -> Result<T, ErrorCode> {
    let reply = cx.broker.transactions.call(transactional_id, cx.version, Box::new(operation)).await?;
    pick(reply).ok_or_else(|| {
        tracing::error!(transactional_id, version = cx.version, "a coordinator answered another request than it was asked");
        ErrorCode::CoordinatorNotAvailable
    })
}

/// Picks one kind of reply.
macro_rules! pick {
    ($kind:ident) => {
        |reply| match reply {
            txn_coordinator::TxnReply::$kind(response) => Some(response),
            _ => None,
        }
    };
}
pub(crate) use pick;
