//! DescribeConfigs: entries with source, synonyms, type and documentation, as `ConfigHelper` builds them.

use std::collections::{BTreeMap, BTreeSet};

use model::config::{Row, Scope};
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym};
use protocol::{ErrorCode, StrBytes};

use super::rows::{TOPIC_ROWS, broker_default, broker_family};
use super::{CLIENT_METRICS_ROWS, ConfigSource, ConfigView, EffectiveConfig, LISTENER_PREFIX, config_type};
use crate::controller::{ConfigTables, Refusal, check_topic_name};
use crate::records::{ConfigResource, ConfigResourceType};

/// What a DescribeConfigs request asks for beside the values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DescribeOptions {
    /// The synonyms of each key.
    pub synonyms: bool,
    /// The sentence of each key.
    pub documentation: bool,
}

impl ConfigView<'_> {
    /// Answers one resource of a DescribeConfigs request. `tables` holds the rows of brokers and groups, which other crates own.
    #[must_use]
    pub fn describe(
        &self,
        resource: &DescribeConfigsResource,
        options: DescribeOptions,
        tables: ConfigTables<'_>,
    ) -> DescribeConfigsResult {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(StrBytes::from_string(resource.resource_name.to_string()));
        match self.entries(resource, options, tables) {
            Ok(entries) => result.with_configs(entries),
            Err(refusal) => result
                .with_error_code(refusal.code.code())
                .with_error_message(Some(StrBytes::from_string(refusal.message.unwrap_or_default()))),
        }
    }

    fn entries(
        &self,
        resource: &DescribeConfigsResource,
        options: DescribeOptions,
        tables: ConfigTables<'_>,
    ) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
        let name = resource.resource_name.as_str();
        // An empty list of keys means all, as no list does.
        let asked = resource.configuration_keys.as_deref().filter(|keys| !keys.is_empty());
        let is_asked = |row: &&Row| asked.is_none_or(|keys| keys.iter().any(|key| key.as_str() == row.name));
        match ConfigResourceType::from_wire(resource.resource_type) {
            Some(ConfigResourceType::Topic) => {
                check_topic_name(name)?;
                if self.image.topic_id(name).is_none() {
                    return Err(Refusal::silent(ErrorCode::UnknownTopicOrPartition));
                }
                let overrides = self.image.config_overrides(&ConfigResource::topic(name));
                Ok(TOPIC_ROWS.iter().filter(is_asked).map(|row| self.topic_entry(row, overrides, options)).collect())
            }
            Some(ConfigResourceType::Broker) if name.is_empty() => {
                let set = self.image.config_overrides(&ConfigResource::cluster_default());
                let rows = tables.broker.iter().filter(|row| set.contains_key(row.name)).filter(is_asked);
                Ok(rows.map(|row| self.cluster_default_entry(row, set, options)).collect())
            }
            Some(ConfigResourceType::Broker) => {
                let id: i32 = name
                    .parse()
                    .map_err(|_| Refusal::new(ErrorCode::InvalidRequest, format!("Broker id must be an integer, but it is: {name}")))?;
                if id != self.broker_id.get() {
                    return Err(Refusal::new(
                        ErrorCode::InvalidRequest,
                        format!("Unexpected broker id, expected {} or empty string, but received {name}", self.broker_id),
                    ));
                }
                let of_listeners =
                    self.listener_keys().into_iter().filter(|key| asked.is_none_or(|keys| keys.iter().any(|asked| asked.as_str() == *key)));
                let of_listeners = of_listeners.filter_map(|key| self.listener_entry(key, tables.broker, options));
                Ok(tables.broker.iter().filter(is_asked).map(|row| self.broker_entry(row, options)).chain(of_listeners).collect())
            }
            Some(ConfigResourceType::Group) if name.is_empty() => {
                Err(Refusal::new(ErrorCode::InvalidRequest, "Group name must not be empty".to_owned()))
            }
            Some(ConfigResourceType::Group) => {
                let group = ConfigResource { resource_type: ConfigResourceType::Group, name: name.to_owned() };
                let overrides = self.image.config_overrides(&group);
                Ok(tables.group.iter().filter(is_asked).map(|row| self.group_entry(row, overrides, options)).collect())
            }
            Some(ConfigResourceType::ClientMetrics) if name.is_empty() => {
                Err(Refusal::new(ErrorCode::InvalidRequest, "Client metrics subscription name must not be empty".to_owned()))
            }
            Some(ConfigResourceType::ClientMetrics) => {
                let subscription = ConfigResource { resource_type: ConfigResourceType::ClientMetrics, name: name.to_owned() };
                let overrides = self.image.config_overrides(&subscription);
                Ok(CLIENT_METRICS_ROWS.iter().filter(is_asked).map(|row| client_metrics_entry(row, overrides, options)).collect())
            }
            None => Err(Refusal::new(ErrorCode::InvalidRequest, format!("Unsupported resource type: {}", resource.resource_type))),
        }
    }

    fn topic_entry(&self, row: &Row, overrides: &BTreeMap<String, String>, options: DescribeOptions) -> DescribeConfigsResourceResult {
        let effective = self.effective_topic(row, overrides);
        let mut synonyms = row.synonym.map(|name| self.broker_synonyms(name, broker_default(row), row.is_sensitive())).unwrap_or_default();
        if overrides.contains_key(row.name) {
            synonyms.insert(0, synonym(row.name, effective.value.as_deref(), ConfigSource::Topic));
        }
        entry(row, effective, synonyms, false, options)
    }

    fn group_entry(&self, row: &Row, overrides: &BTreeMap<String, String>, options: DescribeOptions) -> DescribeConfigsResourceResult {
        let effective = match overrides.get(row.name) {
            Some(value) => EffectiveConfig { value: Some(super::canonical(row, value)), source: ConfigSource::Group },
            None => {
                let from_broker =
                    row.synonym.and_then(|name| self.broker_layers().iter().find_map(|(values, _)| values.get(name).cloned()));
                EffectiveConfig { value: from_broker.or(row.default.map(str::to_owned)), source: ConfigSource::Default }
            }
        };
        // A key without a broker key has its own default as the last synonym.
        let mut synonyms = self.broker_synonyms(row.synonym.unwrap_or(row.name), row.default, row.is_sensitive());
        if overrides.contains_key(row.name) {
            synonyms.insert(0, synonym(row.name, effective.value.as_deref(), effective.source));
        }
        entry(row, effective, synonyms, false, options)
    }

    fn broker_entry(&self, row: &Row, options: DescribeOptions) -> DescribeConfigsResourceResult {
        let synonyms = self.broker_synonyms(row.name, row.default, row.is_sensitive());
        entry(row, self.effective_broker(row), synonyms, row.scope == Scope::Static, options)
    }

    /// The keys that are set for single listeners.
    fn listener_keys(&self) -> BTreeSet<&str> {
        self.broker_layers()
            .into_iter()
            .flat_map(|(values, _)| values.keys())
            .map(String::as_str)
            .filter(|key| key.starts_with(LISTENER_PREFIX))
            .collect()
    }

    /// A key for one listener, in Kafka's form: the key for all listeners is its synonym, it counts as read-only, and nothing explains it.
    fn listener_entry(&self, key: &str, rows: &[Row], options: DescribeOptions) -> Option<DescribeConfigsResourceResult> {
        let (_, base) = key.strip_prefix(LISTENER_PREFIX)?.split_once('.')?;
        let row = rows.iter().find(|row| row.name == base)?;
        let mut synonyms = Vec::new();
        for (values, source) in self.broker_layers() {
            let set = [key, base].into_iter().filter_map(|name| Some((name, values.get(name)?)));
            synonyms.extend(set.map(|(name, value)| synonym(name, (!row.is_sensitive()).then_some(value.as_str()), source)));
        }
        let own = synonyms.iter().position(|synonym| synonym.name.as_str() == key)?;
        synonyms.drain(..own);
        if let Some(default) = row.default {
            synonyms.push(synonym(base, (!row.is_sensitive()).then_some(default), ConfigSource::Default));
        }
        let effective = self.broker_layers().into_iter().find_map(|(values, source)| Some((values.get(key)?, source)));
        let (value, source) = effective?;
        let effective = EffectiveConfig { value: Some(super::canonical(row, value)), source };
        let entry = entry(row, effective, synonyms, true, options);
        Some(entry.with_name(StrBytes::from_string(key.to_owned())).with_documentation(None))
    }

    fn cluster_default_entry(&self, row: &Row, set: &BTreeMap<String, String>, options: DescribeOptions) -> DescribeConfigsResourceResult {
        let value = set.get(row.name).cloned();
        let synonyms = vec![synonym(row.name, value.as_deref().filter(|_| !row.is_sensitive()), ConfigSource::DynamicDefaultBroker)];
        let effective = EffectiveConfig { value, source: ConfigSource::DynamicDefaultBroker };
        entry(row, effective, synonyms, row.scope == Scope::Static, options)
    }

    /// All places where a broker key or a key of its family has a value. What comes before the key itself is dropped, as Kafka does: so a
    /// default that stands under another name of the family (`log.retention.hours`) never shows.
    fn broker_synonyms(&self, name: &str, default: Option<&str>, sensitive: bool) -> Vec<DescribeConfigsSynonym> {
        let mut found = Vec::new();
        for (values, source) in self.broker_layers() {
            for (key, _) in broker_family(name) {
                if let Some(value) = values.get(key) {
                    found.push((key, value.as_str(), source));
                }
            }
        }
        if let Some(default) = default {
            found.push((name, default, ConfigSource::Default));
        }
        found
            .into_iter()
            .skip_while(|(key, _, _)| *key != name)
            .map(|(key, value, source)| synonym(key, (!sensitive).then_some(value), source))
            .collect()
    }
}

/// A subscription that does not exist has the defaults; only what is set has a synonym, itself.
fn client_metrics_entry(row: &Row, overrides: &BTreeMap<String, String>, options: DescribeOptions) -> DescribeConfigsResourceResult {
    let set = overrides.get(row.name).map(|value| super::canonical(row, value));
    let synonyms = set.iter().map(|value| synonym(row.name, Some(value), ConfigSource::ClientMetrics)).collect();
    let source = if set.is_some() { ConfigSource::ClientMetrics } else { ConfigSource::Default };
    entry(row, EffectiveConfig { value: set.or(row.default.map(str::to_owned)), source }, synonyms, false, options)
}

fn synonym(name: &str, value: Option<&str>, source: ConfigSource) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym::default()
        .with_name(StrBytes::from_string(name.to_owned()))
        .with_value(value.map(|value| StrBytes::from_string(value.to_owned())))
        .with_source(source.to_wire())
}

/// Kafka takes the source from the first synonym, so a value from another key of the family counts as a default.
fn entry(
    row: &Row,
    effective: EffectiveConfig,
    synonyms: Vec<DescribeConfigsSynonym>,
    read_only: bool,
    options: DescribeOptions,
) -> DescribeConfigsResourceResult {
    let source = synonyms.first().map_or(ConfigSource::Default.to_wire(), |first| first.source);
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(row.name))
        .with_value(effective.value.filter(|_| !row.is_sensitive()).map(StrBytes::from_string))
        .with_read_only(read_only)
        .with_config_source(source)
        .with_is_sensitive(row.is_sensitive())
        .with_synonyms(if options.synonyms { synonyms } else { Vec::new() })
        .with_config_type(config_type(&row.kind))
        .with_documentation(options.documentation.then(|| StrBytes::from_static_str(row.doc)))
}

#[cfg(test)]
mod tests {
    use model::BrokerId;
    use model::config::Kind;

    use super::*;
    use crate::configs::StaticConfig;
    use crate::image::Image;
    use crate::records::MetadataRecord;

    #[test]
    fn what_is_set_for_one_listener_is_described_beside_the_table() {
        let row = |name, scope| Row { name, kind: Kind::Int(0, i64::MAX), default: Some("9"), scope, synonym: None, doc: "A limit." };
        let rows = [row("max.connections", Scope::Broker)];
        let broker = BrokerId::new(1).expect("an id");
        let statics = StaticConfig::from([
            ("listener.name.inner.max.connections".to_owned(), "5".to_owned()),
            ("listener.name.inner.of.another.time".to_owned(), "6".to_owned()),
            ("max.connections".to_owned(), "8".to_owned()),
        ]);
        let (key, value) = ("listener.name.outer.max.connections".to_owned(), Some("7".to_owned()));
        let (image, _) = Image::default().apply(1, &[MetadataRecord::Config { resource: ConfigResource::broker(broker), key, value }]);
        let asked = |keys: Option<&str>| {
            let resource = DescribeConfigsResource::default()
                .with_resource_type(4)
                .with_resource_name(StrBytes::from_static_str("1"))
                .with_configuration_keys(keys.map(|key| vec![StrBytes::from_string(key.to_owned())]));
            let tables = ConfigTables { broker: &rows, group: &[] };
            let options = DescribeOptions { synonyms: true, documentation: true };
            let entries = ConfigView::new(&image, broker, &statics).describe(&resource, options, tables).configs;
            let told = entries.into_iter().map(|entry| {
                let synonyms: Vec<_> =
                    entry.synonyms.iter().map(|one| format!("{}={}", one.name, one.value.as_deref().unwrap_or("-"))).collect();
                format!("{}={} {} {}", entry.name, entry.value.as_deref().unwrap_or("-"), entry.read_only, synonyms.join(" "))
            });
            told.collect::<Vec<_>>()
        };
        let outer = "listener.name.outer.max.connections=7 true listener.name.outer.max.connections=7 max.connections=8 max.connections=9";
        let inner = "listener.name.inner.max.connections=5 true listener.name.inner.max.connections=5 max.connections=8 max.connections=9";
        assert_eq!(asked(None), ["max.connections=8 false max.connections=8 max.connections=9", inner, outer]);
        assert_eq!(asked(Some("listener.name.outer.max.connections")), [outer]);
    }
}
