//! UpdateFeatures (key 57, versions 0-2): finalizes the levels of features (KIP-584, KIP-1022).
//!
//! - All features change or none. A level that a broker does not support is INVALID_UPDATE_VERSION.
//! - Version 0 allows a downgrade by a flag, later ones say how; up to version 1 each feature has an answer of its own.
//!
//! # Deviations
//! - `metadata.version` stays as it is: klamm's log has one form, so a downgrade of it is refused as Kafka refuses one that would lose data.
//!
//! # Tests
//! kafka-features in `compat-tests`.

use protocol::StrBytes;
use protocol::messages::update_features_response::UpdatableFeatureResult;
use protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use crate::api::{Api, Context, Versions};
use crate::error_codes;

pub(crate) struct UpdateFeatures;

impl Api for UpdateFeatures {
    const KEY: i16 = 57;
    const NAME: &'static str = "UpdateFeatures";
    const VERSIONS: Versions = Versions::new(0, 2);
    const FOR_CONTROLLER: bool = true;
    type Request = UpdateFeaturesRequest;
    type Response = UpdateFeaturesResponse;

    async fn handle(cx: Context, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
        let response = UpdateFeaturesResponse::default().with_error_message(None);
        let names: Vec<_> = request.feature_updates.iter().map(|update| update.feature.clone()).collect();
        let (code, message) = match cx.broker.controller.update_features(cx.version, request).await {
            Ok(Ok(())) if cx.version <= 1 => {
                let result = |name| UpdatableFeatureResult::default().with_feature(name).with_error_message(None);
                return response.with_results(names.into_iter().map(result).collect());
            }
            Ok(Ok(())) => return response,
            Ok(Err(refusal)) => (refusal.code.code(), refusal.message.map(StrBytes::from_string)),
            Err(error) => error_codes::control_fields(error),
        };
        response.with_error_code(code).with_error_message(message)
    }
}
