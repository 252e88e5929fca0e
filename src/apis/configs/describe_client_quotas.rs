//! DescribeClientQuotas (key 48, versions 0-1): the quotas whose entity fits a filter (KIP-546).
//!
//! - A component is matched by name, by being the default, or by being there; `strict` leaves out entities with other components.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! Java tools `kafka-configs --describe --entity-type users|clients|ips`; `client_quotas` in `metadata`.

use metadata::controller::describe_client_quotas;
use protocol::StrBytes;
use protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

use crate::api::{Api, Context, Versions};

pub(crate) struct DescribeClientQuotas;

impl Api for DescribeClientQuotas {
    const KEY: i16 = 48;
    const NAME: &'static str = "DescribeClientQuotas";
    const VERSIONS: Versions = Versions::new(0, 1);
    type Request = DescribeClientQuotasRequest;
    type Response = DescribeClientQuotasResponse;

    async fn handle(cx: Context, request: DescribeClientQuotasRequest) -> DescribeClientQuotasResponse {
        let mut response = DescribeClientQuotasResponse::default();
        match describe_client_quotas(&cx.broker.metadata.image(), &request) {
            Ok(entries) => response.entries = Some(entries),
            Err(refusal) => {
                response.error_code = refusal.code.code();
                response.error_message = refusal.message.map(StrBytes::from_string);
                response.entries = None;
            }
        }
        response
    }
}
