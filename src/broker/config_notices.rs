//! A line in the log for each key that was set while the broker runs and that nothing acts on.

use std::collections::BTreeSet;

use metadata::configs::topic_row;
use metadata::{ConfigResourceType, Delta, Image};
use parking_lot::Mutex;

use crate::config::{WITHOUT_EFFECT, is_without_effect};

/// Which keys were warned of.
#[derive(Debug, Default)]
pub(crate) struct ConfigNotices {
    warned: Mutex<BTreeSet<(&'static str, String)>>,
}

impl ConfigNotices {
    /// Warns of keys that are set now and were not warned of before.
    pub(crate) fn apply(&self, image: &Image, delta: &Delta) {
        for (of, key) in self.news(image, delta) {
            tracing::warn!("configuration {key} of {of} has no effect in klamm");
        }
    }

    fn news(&self, image: &Image, delta: &Delta) -> Vec<(&'static str, String)> {
        let mut warned = self.warned.lock();
        let mut news = Vec::new();
        for resource in &delta.configs_changed {
            let of = kind_of(resource.resource_type);
            let keys = image.config_overrides(resource).keys().filter(|key| is_idle(resource.resource_type, key));
            news.extend(keys.map(|key| (of, key.clone())).filter(|notice| warned.insert(notice.clone())));
        }
        news
    }
}

const fn kind_of(resource_type: ConfigResourceType) -> &'static str {
    match resource_type {
        ConfigResourceType::Broker => "brokers",
        ConfigResourceType::Topic => "topics",
        ConfigResourceType::Group => "groups",
        ConfigResourceType::ClientMetrics => "client metrics",
    }
}

/// Whether nothing acts on a key. There are neither the groups whose keys can be set, nor reports of clients' metrics.
fn is_idle(resource_type: ConfigResourceType, key: &str) -> bool {
    match resource_type {
        ConfigResourceType::Broker => is_without_effect(key),
        ConfigResourceType::Topic => topic_row(key).is_some_and(|row| row.doc.ends_with(WITHOUT_EFFECT)),
        ConfigResourceType::Group | ConfigResourceType::ClientMetrics => true,
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
        assert_eq!(notices.news(&image, &delta), [("brokers", "num.io.threads".to_owned())]);
        let (image, delta) = set(&image, "num.io.threads", "4");
        assert!(notices.news(&image, &delta).is_empty());
        let (image, delta) = set(&image, "max.connections", "4");
        assert!(notices.news(&image, &delta).is_empty());
        let of_topic =
            |key: &str| MetadataRecord::Config { resource: ConfigResource::topic("t"), key: key.to_owned(), value: Some("1".to_owned()) };
        let topic = MetadataRecord::Topic { name: "t".to_owned(), topic_id: model::TopicId(uuid::Uuid::from_u128(1)) };
        let (image, delta) = image.apply(image.index() + 1, &[topic, of_topic("segment.index.bytes"), of_topic("retention.ms")]);
        assert_eq!(notices.news(&image, &delta), [("topics", "segment.index.bytes".to_owned())]);
    }
}
