//! UnregisterBroker (key 64, version 0): forgets a broker (KIP-500).
//!
//! # Deviations
//! - A broker that runs is refused with INVALID_REQUEST; Kafka forgets it, and its partitions with it, until it registers again.
//!
//! # Tests
//! Java tools `kafka-cluster unregister`.

use protocol::StrBytes;
use protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use crate::api::{Api, Context, Versions};
use crate::error_codes;

pub(crate) struct UnregisterBroker;

impl Api for UnregisterBroker {
    const KEY: i16 = 64;
    const NAME: &'static str = "UnregisterBroker";
    const VERSIONS: Versions = Versions::new(0, 0);
    const FOR_CONTROLLER: bool = true;
    type Request = UnregisterBrokerRequest;
    type Response = UnregisterBrokerResponse;

    async fn handle(cx: Context, request: UnregisterBrokerRequest) -> UnregisterBrokerResponse {
        let response = UnregisterBrokerResponse::default().with_error_message(None);
        let (code, message) = match cx.broker.controller.unregister_broker(request.broker_id.0).await {
            Ok(Ok(())) => return response,
            Ok(Err(refusal)) => (refusal.code.code(), refusal.message.map(StrBytes::from_string)),
            Err(error) => error_codes::control_fields(error),
        };
        response.with_error_code(code).with_error_message(message)
    }
}
