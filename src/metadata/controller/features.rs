//! UpdateFeatures: finalizes the levels of features (`FeatureControlManager.updateFeatures`).

use protocol::ErrorCode;
use protocol::messages::UpdateFeaturesRequest;
use protocol::messages::update_features_request::FeatureUpdateKey;

use super::{Decision, Refusal};
use crate::configs::ConfigView;
use crate::image::Image;
use crate::records::{FeatureRange, MetadataRecord};

const METADATA_VERSION: &str = "metadata.version";
/// What stands before the refusal of one feature, since then none is changed.
const NONE_CHANGED: &str = "The update failed for all features since the following feature had an error: ";

/// How a level may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UpgradeType {
    Upgrade,
    SafeDowngrade,
    UnsafeDowngrade,
}

/// Decides an UpdateFeatures request of that version: all features change or none.
///
/// # Errors
/// A feature or a level that a broker does not support, or a downgrade that is not asked for as one.
pub fn update_features(view: ConfigView<'_>, api_version: i16, request: &UpdateFeaturesRequest) -> Result<Decision<()>, Refusal> {
    let mut records = Vec::new();
    for update in &request.feature_updates {
        let changed = update_feature(view, api_version, update).map_err(|reason| {
            let (level, feature) = (update.max_version_level, update.feature.as_str());
            let message = format!("{NONE_CHANGED}Invalid update version {level} for feature {feature}. {reason}");
            Refusal::new(ErrorCode::InvalidUpdateVersion, message)
        })?;
        records.extend(changed);
    }
    if request.validate_only {
        records.clear();
    }
    Ok(Decision { records, response: () })
}

fn update_feature(view: ConfigView<'_>, api_version: i16, update: &FeatureUpdateKey) -> Result<Option<MetadataRecord>, String> {
    let upgrade_type = upgrade_type(api_version, update).ok_or("The controller does not support the given upgrade type.")?;
    let (name, level) = (update.feature.as_str(), update.max_version_level);
    if level < 0 {
        return Err("A feature version cannot be less than 0.".to_owned());
    }
    check_support(view, name, level)?;
    let current = view.image().feature_level(name);
    if level < current && upgrade_type == UpgradeType::Upgrade {
        let reason = "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.";
        return Err(reason.to_owned());
    }
    if level > current && upgrade_type != UpgradeType::Upgrade {
        return Err("Can't downgrade to a newer version.".to_owned());
    }
    if name == METADATA_VERSION && level < current {
        return Err(match upgrade_type {
            UpgradeType::UnsafeDowngrade => "Unsafe metadata downgrade is not supported in this version.",
            UpgradeType::Upgrade | UpgradeType::SafeDowngrade => {
                "Refusing to perform the requested downgrade because it might delete metadata information."
            }
        }
        .to_owned());
    }
    Ok((level != current).then(|| MetadataRecord::Feature { name: name.to_owned(), level }))
}

/// Version 0 has a flag instead.
fn upgrade_type(api_version: i16, update: &FeatureUpdateKey) -> Option<UpgradeType> {
    match (api_version, update.upgrade_type, update.allow_downgrade) {
        (..=0, _, false) | (1.., 1, _) => Some(UpgradeType::Upgrade),
        (..=0, _, true) | (1.., 2, _) => Some(UpgradeType::SafeDowngrade),
        (1.., 3, _) => Some(UpgradeType::UnsafeDowngrade),
        _ => None,
    }
}

fn check_support(view: ConfigView<'_>, name: &str, level: i16) -> Result<(), String> {
    let own = format!("Local controller {}", view.broker_id());
    check_range(&own, range_of(view.image(), view.broker_id(), name), level)?;
    view.image().brokers().try_for_each(|broker| check_range(&format!("Broker {}", broker.id), broker.features.get(name).copied(), level))
}

fn range_of(image: &Image, broker_id: model::BrokerId, name: &str) -> Option<FeatureRange> {
    image.broker(broker_id)?.features.get(name).copied()
}

fn check_range(who: &str, range: Option<FeatureRange>, level: i16) -> Result<(), String> {
    match range {
        Some(range) if range.min <= level && level <= range.max => Ok(()),
        Some(range) if range.max > 0 => Err(format!("{who} only supports versions {}-{}", range.min, range.max)),
        _ => Err(format!("{who} does not support this feature.")),
    }
}
