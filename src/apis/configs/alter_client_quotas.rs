//! AlterClientQuotas (key 49, versions 0-1): sets and removes quotas of users, client ids and addresses (KIP-546).
//!
//! - Each entry is altered whole or not. Values are checked as Kafka does.
//!
//! # Deviations
//! - Quotas are stored and described, not enforced yet; no answer is throttled.
//! - The name of an `ip` entity must be an address: host names are not resolved.
//!
//! # Tests
//! Java tools `kafka-configs --entity-type users|clients|ips`; `client_quotas` in `metadata`.

use protocol::StrBytes;
use protocol::messages::alter_client_quotas_response::EntryData;
use protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};

use crate::api::{Api, Context, Versions};
use crate::topics::control_code;

pub(crate) struct AlterClientQuotas;

impl Api for AlterClientQuotas {
    const KEY: i16 = 49;
    const NAME: &'static str = "AlterClientQuotas";
    const VERSIONS: Versions = Versions::new(0, 1);
    type Request = AlterClientQuotasRequest;
    type Response = AlterClientQuotasResponse;

    async fn handle(cx: Context, request: AlterClientQuotasRequest) -> AlterClientQuotasResponse {
        let count = request.entries.len();
        let rows = cx.broker.controller.alter_client_quotas(request).await.unwrap_or_else(|error| {
            let refused = EntryData::default()
                .with_error_code(control_code(error).code())
                .with_error_message(Some(StrBytes::from_string(error.to_string())));
            vec![refused; count]
        });
        AlterClientQuotasResponse::default().with_entries(rows)
    }
}
