//! InitProducerId (key 22, versions 0-5): an id for an idempotent producer, or an epoch for a transactional one.
//!
//! - Without a transactional id the answer is a fresh producer id with epoch 0, whatever id the producer had.
//! - With one, whoever had it is fenced and an open transaction is aborted first: CONCURRENT_TRANSACTIONS until that is done.
//! - A producer id without an epoch, or the other way round, is INVALID_REQUEST (version 3, KIP-360).
//!
//! # Deviations
//! - A retried request of a producer whose epochs are used up is answered as before, or fenced; Kafka answers UNKNOWN_SERVER_ERROR. It may be retried
//!   more than once; Kafka fences the second retry after a change of producer id.
//!
//! # Tests
//! `idempotent_restart` of every client; the transactions scenarios of `compat-tests`.

use protocol::ErrorCode;
use protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::{call, pick};
use crate::api::{Api, Context, Versions};
use crate::error_codes;

/// The wire's word for no producer id and for no epoch.
const NONE: i64 = -1;

pub(crate) struct InitProducerId;

impl Api for InitProducerId {
    const KEY: i16 = 22;
    const NAME: &'static str = "InitProducerId";
    const VERSIONS: Versions = Versions::new(0, 5);
    type Request = InitProducerIdRequest;
    type Response = InitProducerIdResponse;

    async fn handle(cx: Context, request: InitProducerIdRequest) -> InitProducerIdResponse {
        let half_given = cx.version >= 3 && (request.producer_id.0 == NONE) != (i64::from(request.producer_epoch) == NONE);
        let result = if half_given {
            Err(ErrorCode::InvalidRequest)
        } else if let Some(transactional_id) = request.transactional_id.clone() {
            let operation = move |shard: &mut txn_coordinator::TxnShard, now, meta| shard.init_producer_id(now, meta, request);
            call(&cx, &transactional_id, operation, pick!(InitProducerId)).await
        } else {
            let id = cx.broker.producer_ids.next().await.map_err(error_codes::control);
            id.map(|id| InitProducerIdResponse::default().with_producer_id(ProducerId(id.get())).with_producer_epoch(0))
        };
        result.unwrap_or_else(|error| {
            let refused = InitProducerIdResponse::default().with_error_code(error.code());
            refused.with_producer_id(ProducerId(NONE)).with_producer_epoch(-1)
        })
    }
}
