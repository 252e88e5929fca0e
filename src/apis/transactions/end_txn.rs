//! EndTxn (key 26, versions 0-5): a producer commits or aborts.
//!
//! - The answer leaves when the decision is committed; the markers follow.
//! - From version 5 on each transaction has an epoch of its own, and the answer names the producer of the next one (KIP-890).
//!
//! # Deviations
//! - Version 5 is taken for a retry only of an end by the rules of transaction.version 2; Kafka tells a producer that version 1 fenced at its last
//!   epoch an epoch that cannot be fenced.
//!
//! # Tests
//! The transactions scenarios of `compat-tests`; the golden scripts of `txn-coordinator`.

use protocol::messages::{EndTxnRequest, EndTxnResponse, ProducerId};

use super::{call, pick};
use crate::api::{Api, Context, Versions};

pub(crate) struct EndTxn;

impl Api for EndTxn {
    const KEY: i16 = 26;
    const NAME: &'static str = "EndTxn";
    const VERSIONS: Versions = Versions::new(0, 5);
    type Request = EndTxnRequest;
    type Response = EndTxnResponse;

    async fn handle(cx: Context, request: EndTxnRequest) -> EndTxnResponse {
        let transactional_id = request.transactional_id.to_string();
        let ended = call(&cx, &transactional_id, move |shard, now, meta| shard.end_txn(now, meta, request), pick!(EndTxn)).await;
        ended.unwrap_or_else(|error| {
            EndTxnResponse::default().with_error_code(error.code()).with_producer_id(ProducerId(-1)).with_producer_epoch(-1)
        })
    }
}
