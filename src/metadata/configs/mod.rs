//! Configurations of topics and brokers: rows, effective values with where they come from, and DescribeConfigs.
//!
//! A topic key's value is, in this order: what was set on the topic; what was set on the broker (by id) under the key's broker name; what
//! was set as the default of all brokers; what stands in the broker's file; Kafka's default. In Kafka: `KafkaConfigSchema`,
//! `ConfigHelper`, `DynamicBrokerConfig`.

mod broker_checks;
mod client_metrics;
mod describe;
mod group_checks;
mod group_rows;
mod java_pattern;
mod rows;
mod topic_config;
mod values;

use std::collections::BTreeMap;

use model::BrokerId;
use model::config::{Kind, Row};

pub(crate) use broker_checks::check_broker_values;
pub use broker_checks::is_host;
pub use client_metrics::CLIENT_METRICS_ROWS;
pub(crate) use client_metrics::check_client_metrics;
pub use describe::DescribeOptions;
pub(crate) use group_checks::check_group_values;
pub use group_rows::GROUP_ROWS;
pub use rows::{TOPIC_ROWS, topic_row};
pub use topic_config::{TimestampType, TopicCompression, TopicConfig};
pub use values::{InvalidConfig, canonical, check, check_topic_values};

use crate::image::Image;
use crate::records::ConfigResource;

/// Where a value comes from, with the wire's numbers (`DescribeConfigsResponse.ConfigSource`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigSource {
    /// Set on the topic (1).
    Topic,
    /// Set on this broker while it ran (2).
    DynamicBroker,
    /// Set for all brokers while they ran (3).
    DynamicDefaultBroker,
    /// In the broker's file, flags or environment (4).
    StaticBroker,
    /// Kafka's default (5).
    Default,
    /// Set on the subscription to client metrics (7).
    ClientMetrics,
    /// Set on the group (8).
    Group,
}

impl ConfigSource {
    /// The wire number.
    #[must_use]
    pub const fn to_wire(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::DynamicBroker => 2,
            Self::DynamicDefaultBroker => 3,
            Self::StaticBroker => 4,
            Self::Default => 5,
            Self::ClientMetrics => 7,
            Self::Group => 8,
        }
    }
}

/// A key's effective value and where it comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EffectiveConfig {
    /// The value; none where Kafka has null.
    pub value: Option<String>,
    /// Its source.
    pub source: ConfigSource,
}

/// The keys that the broker's file, flags and environment set, as text, by Kafka's names.
pub type StaticConfig = BTreeMap<String, String>;

/// How the keys begin that are for one listener, before its name in lower case.
const LISTENER_PREFIX: &str = "listener.name.";

/// What may be set for one listener and acts on it (`SocketServer.ListenerReconfigurableConfigs`).
const LISTENER_LIMITS: &[&str] = &["max.connections", "max.connection.creation.rate"];

/// The limit that a key sets for a listener, as [`LISTENER_LIMITS`] has it.
#[must_use]
pub fn limit_of_listener(key: &str) -> Option<&'static str> {
    let (_, limit) = key.strip_prefix(LISTENER_PREFIX)?.split_once('.')?;
    LISTENER_LIMITS.iter().find(|known| **known == limit).copied()
}

/// What the controller must know of a topic's configuration to elect leaders.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ElectionRules {
    /// `min.insync.replicas`.
    pub(crate) min_insync_replicas: usize,
    /// `unclean.leader.election.enable`.
    pub(crate) unclean_leader_election: bool,
}

/// The configurations of an image as one broker sees them: its file's values count below what the image says.
#[derive(Clone, Copy, Debug)]
pub struct ConfigView<'a> {
    image: &'a Image,
    broker_id: BrokerId,
    statics: &'a StaticConfig,
}

impl<'a> ConfigView<'a> {
    /// A view of an image from a broker with these static values.
    #[must_use]
    pub const fn new(image: &'a Image, broker_id: BrokerId, statics: &'a StaticConfig) -> Self {
        Self { image, broker_id, statics }
    }

    /// The same look at another image.
    #[must_use]
    pub(crate) const fn on<'b>(&self, image: &'b Image) -> ConfigView<'b>
    where
        'a: 'b,
    {
        ConfigView { image, broker_id: self.broker_id, statics: self.statics }
    }

    /// The image.
    #[must_use]
    pub const fn image(&self) -> &'a Image {
        self.image
    }

    /// The broker that looks.
    #[must_use]
    pub const fn broker_id(&self) -> BrokerId {
        self.broker_id
    }

    /// A topic's configuration as the broker acts on it. A topic that does not exist has the defaults.
    #[must_use]
    pub fn topic(&self, name: &str) -> TopicConfig {
        let overrides = self.image.config_overrides(&ConfigResource::topic(name));
        TopicConfig::read(|key| self.topic_value(key, overrides))
    }

    /// What elections of a topic's partitions go by; a small part of [`ConfigView::topic`].
    #[must_use]
    pub(crate) fn election_rules(&self, name: &str) -> ElectionRules {
        let overrides = self.image.config_overrides(&ConfigResource::topic(name));
        let flag = self.topic_value("unclean.leader.election.enable", overrides);
        ElectionRules {
            min_insync_replicas: self.topic_value("min.insync.replicas", overrides).trim().parse().unwrap_or(1),
            unclean_leader_election: flag.trim().eq_ignore_ascii_case("true"),
        }
    }

    /// A topic key's effective value as text, given what is set on the topic.
    pub(crate) fn topic_value(&self, key: &str, overrides: &BTreeMap<String, String>) -> String {
        topic_row(key).and_then(|row| self.effective_topic(row, overrides).value).unwrap_or_default()
    }

    /// A topic row's effective value and source, given what is set on the topic.
    #[must_use]
    pub fn effective_topic(&self, row: &Row, overrides: &BTreeMap<String, String>) -> EffectiveConfig {
        if let Some(value) = overrides.get(row.name) {
            return EffectiveConfig { value: Some(canonical(row, value)), source: ConfigSource::Topic };
        }
        let family = row.synonym.map(rows::broker_family).unwrap_or_default();
        for (values, source) in self.broker_layers() {
            for (key, factor) in &family {
                if let Some(value) = values.get(*key) {
                    return EffectiveConfig { value: Some(scale(row, value, *factor)), source };
                }
            }
        }
        EffectiveConfig { value: row.default.map(str::to_owned), source: ConfigSource::Default }
    }

    /// A broker row's effective value and source on this broker.
    #[must_use]
    pub fn effective_broker(&self, row: &Row) -> EffectiveConfig {
        for (values, source) in self.broker_layers() {
            if let Some(value) = values.get(row.name) {
                return EffectiveConfig { value: Some(canonical(row, value)), source };
            }
        }
        EffectiveConfig { value: row.default.map(str::to_owned), source: ConfigSource::Default }
    }

    /// What is set for a listener of this broker under `listener.name.NAME.`, if anything is.
    #[must_use]
    pub fn of_listener(&self, listener: &str, key: &str) -> Option<&'a str> {
        let key = format!("{LISTENER_PREFIX}{}.{key}", listener.to_lowercase());
        self.broker_layers().into_iter().find_map(|(values, _)| values.get(&key)).map(|value| value.trim())
    }

    /// What is set for this broker, the strongest first.
    fn broker_layers(&self) -> [(&'a BTreeMap<String, String>, ConfigSource); 3] {
        [
            (self.image.config_overrides(&ConfigResource::broker(self.broker_id)), ConfigSource::DynamicBroker),
            (self.image.config_overrides(&ConfigResource::cluster_default()), ConfigSource::DynamicDefaultBroker),
            (self.statics, ConfigSource::StaticBroker),
        ]
    }
}

/// A value of hours or minutes in milliseconds. Kafka's -1 (for ever) stays -1 in every unit.
fn scale(row: &Row, value: &str, factor: i64) -> String {
    match value.trim().parse::<i64>() {
        Ok(number) if factor != 1 && number >= 0 => number.saturating_mul(factor).to_string(),
        Ok(_) | Err(_) => canonical(row, value),
    }
}

/// The wire's number of a row's type (`DescribeConfigsResponse.ConfigType`).
#[must_use]
pub const fn config_type(kind: &Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::Text | Kind::NonEmptyText | Kind::OneOf(_) | Kind::OneOfAnyCase(_) => 2,
        Kind::Int(..) => 3,
        Kind::Short(..) => 4,
        Kind::Long(..) => 5,
        Kind::Double(..) => 6,
        Kind::List(_) => 7,
        Kind::Class => 8,
        Kind::Password => 9,
    }
}
