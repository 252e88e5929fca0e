//! AllocateProducerIds (key 67, version 0): a block of producer ids for one broker to give out (KIP-730).
//!
//! - An epoch that is not that of the broker's registration is STALE_BROKER_EPOCH, an unknown broker BROKER_ID_NOT_REGISTERED.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! `a_broker_registers_beats_and_alters_its_partitions`.

use model::{BrokerEpoch, BrokerId};
use protocol::ErrorCode;
use protocol::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse, ProducerId};

use crate::api::{Api, Context, Versions};
use crate::error_codes;

pub(crate) struct AllocateProducerIds;

impl Api for AllocateProducerIds {
    const KEY: i16 = 67;
    const NAME: &'static str = "AllocateProducerIds";
    const VERSIONS: Versions = Versions::new(0, 0);
    const FOR_CONTROLLER: bool = true;
    const FROM_BROKERS: bool = true;
    type Request = AllocateProducerIdsRequest;
    type Response = AllocateProducerIdsResponse;

    async fn handle(cx: Context, request: AllocateProducerIdsRequest) -> AllocateProducerIdsResponse {
        let response = AllocateProducerIdsResponse::default();
        let Some(broker_id) = BrokerId::new(request.broker_id.0) else {
            return response.with_error_code(ErrorCode::BrokerIdNotRegistered.code());
        };
        let Some(epoch) = BrokerEpoch::new(request.broker_epoch) else {
            return response.with_error_code(ErrorCode::StaleBrokerEpoch.code());
        };
        let code = match cx.broker.controller.allocate_producer_ids_to(broker_id, epoch).await {
            Ok(Ok(block)) => return response.with_producer_id_start(ProducerId(block.first.get())).with_producer_id_len(block.count),
            Ok(Err(error)) => error_codes::producer_ids(error),
            Err(error) => error_codes::control(error),
        };
        response.with_error_code(code.code())
    }
}
