//! ApiVersions (key 18, versions 0-4): what this broker serves.
//!
//! - The answer lists exactly the APIs of [`crate::table`]; Produce is told from version 0 (KAFKA-18659: librdkafka stops compressing otherwise).
//! - An unsupported version is answered in version 0's form with UNSUPPORTED_VERSION and the one range of this API (KIP-511).
//! - Version 3 and later carry the client's name and version, which must be well-formed, else INVALID_REQUEST.
//! - Finalized features are told with the epoch of the metadata image; those at level 0 are left out.
//!
//! # Deviations
//! None.
//!
//! # Tests
//! kcat `metadata`, every client's first request; `an_unsupported_version_is_told_the_served_range`.

use protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::{ErrorCode, StrBytes};
use wire::ClientSoftware;

use crate::api::{Api, Context, Versions};
use crate::table;

pub(crate) const KEY: i16 = 18;

pub(crate) struct ApiVersions;

impl Api for ApiVersions {
    const KEY: i16 = KEY;
    const NAME: &'static str = "ApiVersions";
    const VERSIONS: Versions = Versions::new(0, 4);
    type Request = ApiVersionsRequest;
    type Response = ApiVersionsResponse;

    async fn handle(cx: Context, request: ApiVersionsRequest) -> ApiVersionsResponse {
        let mut response = ApiVersionsResponse::default();
        if cx.version >= 3 {
            let (name, version) = (request.client_software_name.as_str(), request.client_software_version.as_str());
            if !is_software_word(name) || !is_software_word(version) {
                response.error_code = ErrorCode::InvalidRequest.code();
                return response;
            }
            cx.connection.set_client_software(ClientSoftware { name: name.to_owned(), version: version.to_owned() });
        }
        response.api_keys = served();
        let image = cx.broker.metadata.image();
        response.finalized_features_epoch = i64::try_from(image.features_epoch()).unwrap_or(i64::MAX);
        let ranges = image.broker(cx.broker.config.broker_id).map(|broker| &broker.features);
        for (name, range) in ranges.into_iter().flatten() {
            // Versions below 4 cannot carry a lowest level of 0 (KAFKA-17492).
            if cx.version >= 4 || range.min > 0 {
                let supported = SupportedFeatureKey::default().with_name(StrBytes::from_string(name.clone()));
                response.supported_features.push(supported.with_min_version(range.min).with_max_version(range.max));
            }
        }
        for (name, level) in image.features() {
            let finalized = FinalizedFeatureKey::default().with_name(StrBytes::from_string(name.to_owned()));
            response.finalized_features.push(finalized.with_min_version_level(level).with_max_version_level(level));
        }
        response
    }
}

/// The answer to a version that is not served, in version 0's form.
pub(crate) fn unsupported_version() -> ApiVersionsResponse {
    let mut response = ApiVersionsResponse::default();
    response.error_code = ErrorCode::UnsupportedVersion.code();
    response.api_keys = vec![version_row(KEY, ApiVersions::VERSIONS)];
    response
}

fn served() -> Vec<ApiVersion> {
    table::APIS.iter().map(|api| version_row(api.key(), api.advertised())).collect()
}

pub(crate) fn version_row(key: i16, versions: Versions) -> ApiVersion {
    let mut row = ApiVersion::default();
    row.api_key = key;
    row.min_version = versions.min;
    row.max_version = versions.max;
    row
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`
fn is_software_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsupported_version_is_told_the_served_range() {
        let response = unsupported_version();
        assert_eq!(response.error_code, 35);
        assert_eq!((response.api_keys[0].api_key, response.api_keys[0].max_version), (18, 4));
    }

    #[test]
    fn software_words_begin_and_end_with_letters_or_digits() {
        assert!(is_software_word("apache-kafka-java"));
        assert!(is_software_word("4.3.1"));
        assert!(!is_software_word(""));
        assert!(!is_software_word("-x"));
        assert!(!is_software_word("a b"));
    }

    #[test]
    fn produce_is_told_from_version_zero_and_nothing_is_told_that_is_not_served() {
        let rows = served();
        assert_eq!(rows.len(), table::APIS.len());
        assert_eq!((rows[0].api_key, rows[0].min_version), (0, 0));
    }
}
