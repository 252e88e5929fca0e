//! A line in the log for each broker key that was set while the broker runs and that nothing acts on.

use std::collections::BTreeSet;

use metadata::{ConfigResourceType, Delta, Image};
use parking_lot::Mutex;

use crate::config::is_without_effect;

/// Which keys were warned of.
#[derive(Debug, Default)]
pub(crate) struct ConfigNotices {
    warned: Mutex<BTreeSet<String>>,
}

impl ConfigNotices {
    /// Warns of keys that are set now and were not warned of before.
    pub(crate) fn apply(&self, image: &Image, delta: &Delta) {
        for key in self.news(image, delta) {
            tracing::warn!("configuration {key} has no effect in klamm");
        }
    }

    fn news(&self, image: &Image, delta: &Delta) -> Vec<String> {
        let brokers = delta.configs_changed.iter().filter(|resource| resource.resource_type == ConfigResourceType::Broker);
        let keys = brokers.flat_map(|resource| image.config_overrides(resource).keys()).filter(|key| is_without_effect(key));
        let mut warned = self.warned.lock();
        keys.filter(|key| warned.insert((*key).clone())).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use metadata::{ConfigResource, MetadataRecord};

    use super::*;

    #[test]
    fn a_key_without_effect_is_told_once_and_others_never() {
        let notices = ConfigNotices::default();
        let set = |image: &Image, key: &str, value: &str| {
            let resource = ConfigResource::cluster_default();
            let record = MetadataRecord::Config { resource, key: key.to_owned(), value: Some(value.to_owned()) };
            image.apply(image.index() + 1, &[record])
        };
        let (image, delta) = set(&Image::default(), "num.io.threads", "3");
        assert_eq!(notices.news(&image, &delta), ["num.io.threads"]);
        let (image, delta) = set(&image, "num.io.threads", "4");
        assert!(notices.news(&image, &delta).is_empty());
        let (image, delta) = set(&image, "max.connections", "4");
        assert!(notices.news(&image, &delta).is_empty());
    }
}
