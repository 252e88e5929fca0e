//! The limits of connections, which may change while the broker runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::quotas::{ConnectionRate, Window};
use metadata::configs::ConfigView;
use metadata::{ConfigResourceType, Delta, Image};
use model::config::Row;
use parking_lot::{Mutex, RwLock};
use wire::ConnectionBounds;
use wire::clock::SharedClock;

use crate::config::{BrokerConfig, parse_ip_override};

const CONNECTIONS_MAX: &str = "max.connections";
const CONNECTIONS_PER_IP_MAX: &str = "max.connections.per.ip";
const IP_OVERRIDES: &str = "max.connections.per.ip.overrides";
const CREATION_RATE: &str = "max.connection.creation.rate";

/// What holds now.
pub struct LiveLimits {
    bounds: RwLock<Arc<ConnectionBounds>>,
    /// Whether there is a rate at all, so that asking costs one relaxed load while there is none.
    has_rate: AtomicBool,
    rate: Mutex<ConnectionRate>,
    clock: SharedClock,
}

impl LiveLimits {
    /// What the broker's own configuration says.
    #[must_use]
    pub(crate) fn new(config: &BrokerConfig, window: Window, clock: SharedClock) -> Self {
        let bounds = RwLock::new(Arc::clone(&config.connection_limits.bounds));
        Self { bounds, has_rate: AtomicBool::new(false), rate: Mutex::new(ConnectionRate::new(window)), clock }
    }

    /// How many connections there may be at once.
    #[must_use]
    pub fn bounds(&self) -> Arc<ConnectionBounds> {
        Arc::clone(&self.bounds.read())
    }

    /// Counts a new connection, and says how long its listener is to rest.
    #[must_use]
    pub fn accept_pause(&self) -> Duration {
        if self.has_rate.load(Ordering::Relaxed) { self.rate.lock().accept(self.clock.monotonic()) } else { Duration::ZERO }
    }

    /// Takes over what has changed.
    pub(crate) fn apply(&self, config: &BrokerConfig, image: &Image, delta: &Delta) {
        if delta.configs_changed.iter().any(|resource| resource.resource_type == ConfigResourceType::Broker) {
            self.take_over(config, &ConfigView::new(image, config.broker_id, &config.set));
        }
    }

    /// Takes over what a view has. A value that does not parse was set by a newer klamm; what held before goes on.
    pub(crate) fn take_over(&self, config: &BrokerConfig, view: &ConfigView<'_>) {
        let row = |key: &str| config.rows.iter().find(|row: &&Row| row.name == key);
        let text = |key: &str| row(key).and_then(|row| view.effective_broker(row).value).unwrap_or_default();
        let old = self.bounds();
        let words = text(IP_OVERRIDES);
        let overrides: Option<Vec<_>> = words.split(',').map(str::trim).filter(|word| !word.is_empty()).map(parse_ip_override).collect();
        *self.bounds.write() = Arc::new(ConnectionBounds {
            connections_max: text(CONNECTIONS_MAX).parse().unwrap_or(old.connections_max),
            connections_per_ip_max: text(CONNECTIONS_PER_IP_MAX).parse().unwrap_or(old.connections_per_ip_max),
            ip_overrides: overrides.unwrap_or_else(|| old.ip_overrides.clone()),
        });
        let rate = text(CREATION_RATE).parse::<i32>().ok().filter(|rate| (1..i32::MAX).contains(rate)).map(f64::from);
        self.rate.lock().set(rate);
        self.has_rate.store(rate.is_some(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use metadata::{ConfigResource, MetadataRecord};
    use wire::clock::SystemClock;

    use super::*;
    use crate::config::{Mode, RawConfig};

    #[test]
    fn limits_follow_what_is_set_for_the_broker_and_fall_back_to_its_file() {
        let mut raw = RawConfig::default();
        raw.set("max.connections", "7", crate::config::Origin::Flag { flag: "test" });
        let config = BrokerConfig::from_map(&raw, Mode::Developer).expect("valid");
        let limits = LiveLimits::new(&config, Window::default(), SystemClock::shared());
        let set = |image: &Image, key: &str, value: Option<&str>| {
            let resource = ConfigResource::cluster_default();
            let record = MetadataRecord::Config { resource, key: key.to_owned(), value: value.map(str::to_owned) };
            let (image, delta) = image.apply(image.index() + 1, &[record]);
            limits.apply(&config, &image, &delta);
            image
        };
        assert_eq!(limits.bounds().connections_max, 7);
        let image = set(&Image::default(), "max.connections", Some("5"));
        let image = set(&image, "max.connections.per.ip.overrides", Some("127.0.0.1:2, [::1]:3"));
        assert_eq!(limits.bounds().connections_max, 5);
        assert_eq!(limits.bounds().connections_max_of("::1".parse().expect("an address")), 3);
        let image = set(&image, "max.connections", None);
        assert_eq!(limits.bounds().connections_max, 7);
        assert!(limits.accept_pause().is_zero());
        set(&image, "max.connection.creation.rate", Some("1"));
        assert!((0..20).any(|_| !limits.accept_pause().is_zero()));
    }
}
