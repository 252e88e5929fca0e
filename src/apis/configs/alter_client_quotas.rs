//! AlterClientQuotas (key 49, versions 0-1): sets and removes quotas of users, client ids and addresses (KIP-546).
//!
//! - Each entry is altered whole or not. Values are checked as Kafka does.
//!
//! # Deviations
//! - `request_percentage` counts the time that handlers run, not that of reading and writing sockets, nor that of reads from disk.
//! - The name of an `ip` entity must be an address: host names are not resolved.
//!
//! # Tests
//! Java tools `kafka-configs --entity-type users|clients|ips`; `client_quotas` in `metadata`.

use metadata::controller::quota_entity;
use protocol::messages::alter_client_quotas_response::EntryData;
use protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};

use crate::api::{Api, Context, Versions};
use crate::error_codes;

pub(crate) struct AlterClientQuotas;

impl Api for AlterClientQuotas {
    const KEY: i16 = 49;
    const NAME: &'static str = "AlterClientQuotas";
    const VERSIONS: Versions = Versions::new(0, 1);
    const FOR_CONTROLLER: bool = true;
    type Request = AlterClientQuotasRequest;
    type Response = AlterClientQuotasResponse;

    async fn handle(cx: Context, request: AlterClientQuotasRequest) -> AlterClientQuotasResponse {
        let asked: Vec<_> = request.entries.iter().map(quota_entity).collect();
        let rows = cx.broker.controller.alter_client_quotas(request).await.unwrap_or_else(|error| {
            let (code, message) = error_codes::control_fields(error);
            let refused = EntryData::default().with_error_code(code).with_error_message(message);
            asked.into_iter().map(|entity| refused.clone().with_entity(entity)).collect()
        });
        AlterClientQuotasResponse::default().with_entries(rows)
    }
}
