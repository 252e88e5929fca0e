//! ApiVersions (key 18, versions 0-4) on the controller listener: what the active controller answers there.
//!
//! - The answer lists what brokers ask of the controller, and what of clients' requests only the controller can answer.
//!
//! # Deviations
//! - The controller listener tells no features: whoever needs them finds them on a client listener.
//!
//! # Tests
//! `every_controller_api_answers_every_version_that_it_serves`.

use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use crate::api::{Api, Context, Versions};
use crate::connection::api_versions::{self, version_row};
use crate::table;

pub(crate) struct ApiVersions;

impl Api for ApiVersions {
    const KEY: i16 = api_versions::KEY;
    const NAME: &'static str = "ApiVersions";
    const VERSIONS: Versions = Versions::new(0, 4);
    const FROM_BROKERS: bool = true;
    type Request = ApiVersionsRequest;
    type Response = ApiVersionsResponse;

    async fn handle(_cx: Context, _request: ApiVersionsRequest) -> ApiVersionsResponse {
        let mut response = ApiVersionsResponse::default();
        response.api_keys = table::on_controller().map(|api| version_row(api.key(), api.served())).collect();
        response.api_keys.push(version_row(Self::KEY, Self::VERSIONS));
        response.api_keys.sort_by_key(|row| row.api_key);
        response
    }
}
