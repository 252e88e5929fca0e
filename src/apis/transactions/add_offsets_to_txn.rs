//! AddOffsetsToTxn (key 25, versions 0-4): the offsets partition of a group joins a transaction.
//!
//! - Clients that follow transaction.version 2 do not send it: there TxnOffsetCommit is enough (KIP-890).
//! - The offsets topic is created if it is missing.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! `transactions-consume-transform-produce` of clients without transaction.version 2.

use protocol::ErrorCode;
use protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use broker::coordinators::OFFSETS_TOPIC;

use super::{call, pick};
use crate::api::{Api, Context, Versions};

pub(crate) struct AddOffsetsToTxn;

impl Api for AddOffsetsToTxn {
    const KEY: i16 = 25;
    const NAME: &'static str = "AddOffsetsToTxn";
    const VERSIONS: Versions = Versions::new(0, 4);
    type Request = AddOffsetsToTxnRequest;
    type Response = AddOffsetsToTxnResponse;

    async fn handle(cx: Context, request: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
        let refused = |error: ErrorCode| AddOffsetsToTxnResponse::default().with_error_code(error.code());
        if let Err(error) = cx.broker.groups.coordinator_of(&request.group_id).await
            && cx.broker.groups.partition_of(&request.group_id).is_none()
        {
            return refused(error);
        }
        let offsets_partitions = cx.broker.metadata.image().topic_by_name(OFFSETS_TOPIC).map_or(0, |topic| topic.partition_count());
        let transactional_id = request.transactional_id.to_string();
        let operation =
            move |shard: &mut txn_coordinator::TxnShard, now, meta| shard.add_offsets_to_txn(now, meta, request, offsets_partitions);
        call(&cx, &transactional_id, operation, pick!(AddOffsetsToTxn)).await.unwrap_or_else(refused)
    }
}
