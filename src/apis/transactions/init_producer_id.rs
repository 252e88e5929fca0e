//! InitProducerId (key 22, versions 0-5): an id for an idempotent producer.
//!
//! - Without a transactional id the answer is a fresh producer id with epoch 0, whatever id the producer had.
//! - A producer id without an epoch, or the other way round, is INVALID_REQUEST (version 3, KIP-360).
//!
//! # Deviations
//! - A transactional id is INVALID_REQUEST until transactions exist.
//!
//! # Tests
//! `idempotent_restart` of every client; the Java producer's default.

use protocol::ErrorCode;
use protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

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
        let result = if request.transactional_id.is_some() || half_given {
            Err(ErrorCode::InvalidRequest)
        } else {
            cx.broker.producer_ids.next().await.map_err(error_codes::control)
        };
        let mut response = InitProducerIdResponse::default();
        match result {
            Ok(id) => {
                response.producer_id = ProducerId(id.get());
                response.producer_epoch = 0;
            }
            Err(error) => {
                response.error_code = error.code();
                response.producer_id = ProducerId(NONE);
                response.producer_epoch = -1;
            }
        }
        response
    }
}
