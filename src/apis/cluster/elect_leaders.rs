//! ElectLeaders (key 43, versions 0-2): gives partitions back to their preferred leader, or to any living replica (KIP-460).
//!
//! - No list means all partitions; then those that need no election are left out of the answer, their topics are not.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! Java tools `kafka-leader-election`.

use protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use crate::api::{Api, Context, Versions};
use crate::error_codes;

pub(crate) struct ElectLeaders;

impl Api for ElectLeaders {
    const KEY: i16 = 43;
    const NAME: &'static str = "ElectLeaders";
    const VERSIONS: Versions = Versions::new(0, 2);
    const FOR_CONTROLLER: bool = true;
    type Request = ElectLeadersRequest;
    type Response = ElectLeadersResponse;

    async fn handle(cx: Context, request: ElectLeadersRequest) -> ElectLeadersResponse {
        let mut response = ElectLeadersResponse::default();
        let error = match cx.broker.controller.elect_leaders(request).await {
            Ok(Ok(results)) => {
                response.replica_election_results = results;
                return response;
            }
            Ok(Err(refusal)) => refusal.code,
            Err(error) => error_codes::control(error),
        };
        // Version 0 has no place for it.
        if cx.version >= 1 {
            response.error_code = error.code();
        }
        response
    }
}
