//! The limits of connections, which may change while the broker runs.
//!
//! In Kafka: `ConnectionQuotas`.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::quotas::{ConnectionRate, Window};
use metadata::configs::ConfigView;
use metadata::{ConfigResourceType, Delta, Image};
use model::config::Row;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch;
use wire::clock::SharedClock;
use wire::{ConnectionBounds, IpOverride, ListenerBound, ListenerName};

use crate::config::{BrokerConfig, HostOverride};
use crate::read_pool::off_thread;

const CONNECTIONS_MAX: &str = "max.connections";
const CONNECTIONS_PER_IP_MAX: &str = "max.connections.per.ip";
const IP_OVERRIDES: &str = "max.connections.per.ip.overrides";
const CREATION_RATE: &str = "max.connection.creation.rate";

/// A host of `max.connections.per.ip.overrides` that nobody knows.
#[derive(Debug, Error)]
#[error("configuration {IP_OVERRIDES} names the host {host}, which is not known here ({reason})")]
pub struct UnknownHost {
    host: String,
    reason: String,
}

/// Limits of new connections per second.
struct Rates {
    window: Window,
    of_broker: ConnectionRate,
    of_listeners: Vec<(ListenerName, ConnectionRate)>,
    /// The listener for which the broker's limit does not hold.
    protected: Option<ListenerName>,
}

impl Rates {
    fn accept(&mut self, listener: &ListenerName, now: Duration) -> Duration {
        let of_broker = if self.protected.as_ref() == Some(listener) { Duration::ZERO } else { self.of_broker.accept(now) };
        let own = self.of_listeners.iter_mut().find(|(name, _)| name == listener);
        own.map_or(Duration::ZERO, |(_, rate)| rate.accept(now)).max(of_broker)
    }

    /// Sets a listener's own limit. What was measured goes on while it stays the same.
    fn set(&mut self, listener: &ListenerName, limit: Option<f64>) {
        match self.of_listeners.iter_mut().find(|(name, _)| name == listener) {
            Some((_, rate)) => rate.set(limit),
            None => {
                let mut rate = ConnectionRate::new(self.window);
                rate.set(limit);
                self.of_listeners.push((listener.clone(), rate));
            }
        }
    }
}

/// What holds now.
pub struct LiveLimits {
    bounds: watch::Sender<Arc<ConnectionBounds>>,
    /// Whether there is a rate at all, so that asking costs one relaxed load while there is none.
    has_rate: AtomicBool,
    rates: Mutex<Rates>,
    clock: SharedClock,
    runtime: Handle,
}

impl LiveLimits {
    /// No limits, until [`LiveLimits::start`].
    #[must_use]
    pub(crate) fn new(window: Window, clock: SharedClock, runtime: Handle) -> Self {
        let of_broker = ConnectionRate::new(window);
        let rates = Mutex::new(Rates { window, of_broker, of_listeners: Vec::new(), protected: None });
        Self { bounds: watch::Sender::default(), has_rate: AtomicBool::new(false), rates, clock, runtime }
    }

    /// How many connections there may be at once.
    #[must_use]
    pub fn bounds(&self) -> Arc<ConnectionBounds> {
        Arc::clone(&self.bounds.borrow())
    }

    /// The same, for whoever acts on changes.
    #[must_use]
    pub fn watch_bounds(&self) -> watch::Receiver<Arc<ConnectionBounds>> {
        self.bounds.subscribe()
    }

    /// Counts a new connection, and says how long its listener is to rest.
    #[must_use]
    pub fn accept_pause(&self, listener: &ListenerName) -> Duration {
        if self.has_rate.load(Ordering::Relaxed) { self.rates.lock().accept(listener, self.clock.monotonic()) } else { Duration::ZERO }
    }

    /// Takes over what a starting broker's configuration says.
    ///
    /// # Errors
    /// A host that nobody knows, which ends the start as in Kafka.
    pub(crate) async fn start(&self, config: &BrokerConfig, view: &ConfigView<'_>) -> Result<(), UnknownHost> {
        let hosts = self.take_over(config, view);
        if hosts.is_empty() {
            return Ok(());
        }
        if let Some(found) = off_thread(move || look_up(&hosts)).await {
            install(&self.bounds, &self.bounds(), found?);
        }
        Ok(())
    }

    /// Takes over what has changed.
    pub(crate) fn apply(&self, config: &BrokerConfig, image: &Image, delta: &Delta) {
        if !delta.configs_changed.iter().any(|resource| resource.resource_type == ConfigResourceType::Broker) {
            return;
        }
        let hosts = self.take_over(config, &ConfigView::new(image, config.broker_id, &config.set));
        if !hosts.is_empty() {
            let (bounds, before) = (self.bounds.clone(), self.bounds());
            // Looking up may take its time, and the metadata goes on.
            self.runtime.spawn(async move {
                match off_thread(move || look_up(&hosts)).await {
                    Some(Ok(found)) => install(&bounds, &before, found),
                    Some(Err(unknown)) => tracing::error!("{unknown}; the limits that are given by name do not hold"),
                    None => {}
                }
            });
        }
    }

    /// Takes over what a view has, and gives the hosts that have to be looked up. A value that does not parse was set by a newer klamm; what held
    /// before goes on.
    fn take_over(&self, config: &BrokerConfig, view: &ConfigView<'_>) -> Vec<HostOverride> {
        let row = |key: &str| config.rows.iter().find(|row: &&Row| row.name == key);
        let text = |key: &str| row(key).and_then(|row| view.effective_broker(row).value).unwrap_or_default();
        let old = self.bounds();
        let names: Vec<ListenerName> = config.listeners.iter().map(|listener| ListenerName::from(listener.name.as_str())).collect();
        // Kafka's words: the inter-broker listener is protected if it is not the only one.
        let protected = names.iter().find(|name| names.len() > 1 && name.as_str() == config.inter_broker_listener).cloned();
        let words = text(IP_OVERRIDES);
        let overrides: Vec<HostOverride> = words.split(',').filter_map(|word| HostOverride::parse(word.trim())).collect();
        let (addresses, hosts): (Vec<_>, Vec<_>) = overrides.into_iter().partition(|entry| entry.host.parse::<IpAddr>().is_ok());
        let of_address = |entry: HostOverride| {
            let address = entry.host.parse::<IpAddr>().ok()?.to_canonical();
            Some(IpOverride { address, connections_max: entry.connections_max })
        };
        let own_bound = |name: &ListenerName| {
            let connections_max = view.of_listener(name.as_str(), CONNECTIONS_MAX)?.parse().ok()?;
            Some(ListenerBound { listener: name.clone(), connections_max })
        };
        self.bounds.send_replace(Arc::new(ConnectionBounds {
            connections_max: text(CONNECTIONS_MAX).parse().unwrap_or(old.connections_max),
            listeners: names.iter().filter_map(own_bound).collect(),
            protected: protected.clone(),
            connections_per_ip_max: text(CONNECTIONS_PER_IP_MAX).parse().unwrap_or(old.connections_per_ip_max),
            ip_overrides: addresses.into_iter().filter_map(of_address).collect(),
        }));
        self.take_over_rates(&text(CREATION_RATE), &names, protected, view);
        hosts
    }

    fn take_over_rates(&self, of_broker: &str, names: &[ListenerName], protected: Option<ListenerName>, view: &ConfigView<'_>) {
        let rate = |text: &str| text.parse::<i32>().ok().filter(|rate| (1..i32::MAX).contains(rate)).map(f64::from);
        let mut rates = self.rates.lock();
        let mut has_rate = rate(of_broker).is_some();
        rates.of_broker.set(rate(of_broker));
        for name in names {
            // What is set for the broker holds for each listener, too; that matters only where the broker's own limit does not hold.
            let inherited = if protected.as_ref() == Some(name) { rate(of_broker) } else { None };
            let own = view.of_listener(name.as_str(), CREATION_RATE).map_or(inherited, rate);
            has_rate |= own.is_some();
            rates.set(name, own);
        }
        rates.protected = protected;
        self.has_rate.store(has_rate, Ordering::Relaxed);
    }
}

/// The addresses of hosts: of each the first, an IPv4 address before others, as Java has it.
fn look_up(hosts: &[HostOverride]) -> Result<Vec<IpOverride>, UnknownHost> {
    let mut found = Vec::with_capacity(hosts.len());
    for entry in hosts {
        let unknown = |reason: String| UnknownHost { host: entry.host.clone(), reason };
        let addresses: Vec<IpAddr> =
            (entry.host.as_str(), 0).to_socket_addrs().map_err(|error| unknown(error.to_string()))?.map(|address| address.ip()).collect();
        let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        let address = address.ok_or_else(|| unknown("it has no address".to_owned()))?;
        found.push(IpOverride { address: address.to_canonical(), connections_max: entry.connections_max });
    }
    Ok(found)
}

/// Adds overrides to the bounds, unless others have come meanwhile.
fn install(bounds: &watch::Sender<Arc<ConnectionBounds>>, before: &Arc<ConnectionBounds>, found: Vec<IpOverride>) {
    bounds.send_if_modified(|now| {
        let is_same = Arc::ptr_eq(now, before);
        if is_same {
            let mut changed = ConnectionBounds::clone(now);
            changed.ip_overrides.extend(found);
            *now = Arc::new(changed);
        }
        is_same
    });
}

#[cfg(test)]
mod tests {
    use metadata::{ConfigResource, MetadataRecord};
    use wire::clock::SystemClock;

    use super::*;
    use crate::config::{Mode, Origin, RawConfig};

    fn config(pairs: &[(&str, &str)]) -> BrokerConfig {
        let mut raw = RawConfig::default();
        for (key, value) in pairs {
            raw.set(*key, *value, Origin::Flag { flag: "test" });
        }
        BrokerConfig::from_map(&raw, Mode::Developer).expect("valid")
    }

    async fn started(config: &BrokerConfig) -> Result<LiveLimits, UnknownHost> {
        let limits = LiveLimits::new(Window::default(), SystemClock::shared(), Handle::current());
        limits.start(config, &ConfigView::new(&Image::default(), config.broker_id, &config.set)).await?;
        Ok(limits)
    }

    fn set(limits: &LiveLimits, config: &BrokerConfig, image: &Image, key: &str, value: Option<&str>) -> Image {
        let resource = ConfigResource::cluster_default();
        let record = MetadataRecord::Config { resource, key: key.to_owned(), value: value.map(str::to_owned) };
        let (image, delta) = image.apply(image.index() + 1, &[record]);
        limits.apply(config, &image, &delta);
        image
    }

    #[tokio::test]
    async fn limits_follow_what_is_set_for_the_broker_and_fall_back_to_its_file() {
        let config = config(&[("max.connections", "7")]);
        let limits = started(&config).await.expect("starts");
        assert_eq!(limits.bounds().connections_max, 7);
        let image = set(&limits, &config, &Image::default(), "max.connections", Some("5"));
        let image = set(&limits, &config, &image, "max.connections.per.ip.overrides", Some("127.0.0.1:2, [::1]:3"));
        assert_eq!(limits.bounds().connections_max, 5);
        assert_eq!(limits.bounds().connections_max_of("::1".parse().expect("an address")), 3);
        let image = set(&limits, &config, &image, "max.connections", None);
        assert_eq!(limits.bounds().connections_max, 7);
        let listener = ListenerName::from("PLAINTEXT");
        assert!(limits.accept_pause(&listener).is_zero());
        set(&limits, &config, &image, "max.connection.creation.rate", Some("1"));
        assert!((0..20).any(|_| !limits.accept_pause(&listener).is_zero()));
    }

    #[tokio::test]
    async fn a_listener_has_limits_of_its_own_and_that_of_the_brokers_is_spared_the_others() {
        let config = config(&[
            ("listeners", "PLAINTEXT://127.0.0.1:0,OTHER://127.0.0.1:0"),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,OTHER:PLAINTEXT"),
            ("listener.name.other.max.connections", "3"),
            ("listener.name.other.max.connection.creation.rate", "1"),
            ("max.connections", "5"),
        ]);
        assert!(config.unused_keys.is_empty());
        let limits = started(&config).await.expect("starts");
        let (brokers, other) = (ListenerName::from("PLAINTEXT"), ListenerName::from("OTHER"));
        let bounds = limits.bounds();
        assert!(bounds.has_room(&other, 2, 4) && !bounds.has_room(&other, 3, 3) && !bounds.has_room(&other, 0, 5));
        assert!(bounds.has_room(&brokers, 4, 9) && !bounds.has_room(&brokers, 5, 5));
        assert!((0..20).all(|_| limits.accept_pause(&brokers).is_zero()));
        assert!((0..20).any(|_| !limits.accept_pause(&other).is_zero()));
        let image = set(&limits, &config, &Image::default(), "listener.name.other.max.connections", Some("4"));
        assert!(limits.bounds().has_room(&other, 3, 3));
        set(&limits, &config, &image, "listener.name.other.max.connections", None);
        assert!(!limits.bounds().has_room(&other, 3, 3));
    }

    #[tokio::test]
    async fn a_host_is_looked_up_and_one_that_nobody_knows_ends_the_start() {
        let of_localhost = config(&[("max.connections.per.ip.overrides", "localhost:2,127.0.0.2:4"), ("max.connections.per.ip", "9")]);
        let bounds = started(&of_localhost).await.expect("starts").bounds();
        let max_of = |address: &str| bounds.connections_max_of(address.parse().expect("an address"));
        assert_eq!(["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(max_of), [2, 4, 9]);
        let unknown = started(&config(&[("max.connections.per.ip.overrides", "no-such-host.invalid:2")])).await.err().expect("unknown");
        assert!(unknown.to_string().contains("names the host no-such-host.invalid, which is not known here ("), "{unknown}");
    }
}
