//! IncrementalAlterConfigs and AlterConfigs (`ConfigAdminManager`, `ConfigurationControlManager`). Each resource is altered whole or not.

use std::collections::{BTreeMap, BTreeSet};

use model::BrokerId;
use model::config::{Kind, Row};
use protocol::messages::alter_configs_request::AlterConfigsRequest;
use protocol::messages::alter_configs_response::AlterConfigsResourceResponse as LegacyResponse;
use protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, IncrementalAlterConfigsRequest};
use protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use protocol::{ErrorCode, StrBytes};

use super::{ConfigTables, Decision, Refusal, check_topic_name};
use crate::configs::{
    ConfigView, InvalidConfig, check_broker_values, check_client_metrics, check_group_values, check_topic_values, topic_row,
};
use crate::records::{ConfigResource, ConfigResourceType, MetadataRecord};

/// Decides an IncrementalAlterConfigs request.
#[must_use]
pub fn incremental_alter_configs(
    view: ConfigView<'_>,
    request: &IncrementalAlterConfigsRequest,
    tables: ConfigTables<'_>,
) -> Decision<Vec<AlterConfigsResourceResponse>> {
    let repeated = repeated(request.resources.iter().map(|resource| (resource.resource_type, resource.resource_name.as_str())));
    let mut decision = Decision { records: Vec::new(), response: Vec::with_capacity(request.resources.len()) };
    for resource in &request.resources {
        let outcome = if repeated.contains(&(resource.resource_type, resource.resource_name.as_str())) {
            Err(Refusal::new(ErrorCode::InvalidRequest, "Each resource must appear at most once.".to_owned()))
        } else {
            incremental_values(view, resource, tables).and_then(|(resource, asked)| records_for(view, &resource, asked, tables))
        };
        let (code, message) = settle(&mut decision.records, outcome);
        decision.response.push(
            AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(StrBytes::from_string(resource.resource_name.to_string()))
                .with_error_code(code)
                .with_error_message(message),
        );
    }
    if request.validate_only {
        decision.records.clear();
    }
    decision
}

/// Decides an AlterConfigs request: what is not named goes back to its default.
#[must_use]
pub fn alter_configs(view: ConfigView<'_>, request: &AlterConfigsRequest, tables: ConfigTables<'_>) -> Decision<Vec<LegacyResponse>> {
    let repeated_resources = repeated(request.resources.iter().map(|resource| (resource.resource_type, resource.resource_name.as_str())));
    let mut decision = Decision { records: Vec::new(), response: Vec::with_capacity(request.resources.len()) };
    for resource in &request.resources {
        let name = resource.resource_name.as_str();
        let outcome = if repeated_resources.contains(&(resource.resource_type, name)) {
            Err(Refusal::new(ErrorCode::InvalidRequest, "Each resource must appear at most once.".to_owned()))
        } else if !repeated(resource.configs.iter().map(|config| config.name.as_str())).is_empty() {
            Err(Refusal::new(ErrorCode::InvalidRequest, "Error due to duplicate config keys".to_owned()))
        } else {
            known_resource(view, resource.resource_type, name).and_then(|key| {
                let mut asked: BTreeMap<String, Option<String>> =
                    view.image().config_overrides(&key).keys().map(|name| (name.clone(), None)).collect();
                for config in &resource.configs {
                    let value = config.value.as_ref().ok_or_else(|| null_values(config.name.as_str()))?;
                    asked.insert(config.name.to_string(), Some(value.to_string()));
                }
                records_for(view, &key, asked, tables)
            })
        };
        let (code, message) = settle(&mut decision.records, outcome);
        decision.response.push(
            LegacyResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(StrBytes::from_string(name.to_owned()))
                .with_error_code(code)
                .with_error_message(message),
        );
    }
    if request.validate_only {
        decision.records.clear();
    }
    decision
}

fn settle(records: &mut Vec<MetadataRecord>, outcome: Result<Vec<MetadataRecord>, Refusal>) -> (i16, Option<StrBytes>) {
    match outcome {
        Ok(new) => {
            records.extend(new);
            (0, None)
        }
        Err(refusal) => (refusal.code.code(), refusal.message.map(StrBytes::from_string)),
    }
}

fn null_values(names: &str) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, format!("Null value not supported for : {names}"))
}

fn repeated<T: Ord + Copy>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    items.filter(|item| !seen.insert(*item)).collect()
}

/// The resource, if it can have configurations and is there.
fn known_resource(view: ConfigView<'_>, resource_type: i8, name: &str) -> Result<ConfigResource, Refusal> {
    let invalid = |message: String| Refusal::new(ErrorCode::InvalidRequest, message);
    let known = ConfigResourceType::from_wire(resource_type).ok_or_else(|| invalid(format!("Unknown resource type {resource_type}")))?;
    match known {
        ConfigResourceType::Topic => {
            if name.is_empty() {
                return Err(invalid("Default topic resources are not allowed.".to_owned()));
            }
            check_topic_name(name)?;
            if view.image().topic_id(name).is_none() {
                return Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist.")));
            }
        }
        ConfigResourceType::Broker if name.is_empty() => {}
        ConfigResourceType::Broker => {
            let id: i32 = name.parse().map_err(|_| invalid(format!("Node id must be an integer, but it is: {name}")))?;
            if BrokerId::new(id).is_none_or(|id| view.image().broker(id).is_none()) {
                return Err(Refusal::new(ErrorCode::InvalidRequest, format!("No broker with id {name} found.")));
            }
        }
        ConfigResourceType::Group if name.is_empty() => return Err(invalid("Default group resources are not allowed.".to_owned())),
        ConfigResourceType::Group => {}
        ConfigResourceType::ClientMetrics if name.is_empty() => {
            return Err(invalid("Client metrics subscription name must not be empty.".to_owned()));
        }
        ConfigResourceType::ClientMetrics => {}
    }
    Ok(ConfigResource { resource_type: known, name: name.to_owned() })
}

/// What an incremental request asks of a resource: for each key it names, the value that it would have.
fn incremental_values(
    view: ConfigView<'_>,
    asked: &AlterConfigsResource,
    tables: ConfigTables<'_>,
) -> Result<(ConfigResource, BTreeMap<String, Option<String>>), Refusal> {
    if !repeated(asked.configs.iter().map(|config| config.name.as_str())).is_empty() {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "Error due to duplicate config keys".to_owned()));
    }
    let without: Vec<&str> = asked
        .configs
        .iter()
        .filter(|config| config.config_operation != 1 && config.value.is_none())
        .map(|config| config.name.as_str())
        .collect();
    if !without.is_empty() {
        return Err(null_values(&without.join(",")));
    }
    let resource = known_resource(view, asked.resource_type, asked.resource_name.as_str())?;
    let current = view.image().config_overrides(&resource);
    let mut values = BTreeMap::new();
    for config in &asked.configs {
        let key = config.name.as_str();
        let given = config.value.as_ref().map(|value| value.as_str()).unwrap_or_default();
        let value = match config.config_operation {
            0 => Some(given.to_owned()),
            1 => None,
            operation @ (2 | 3) => {
                let row = row_of(&resource, key, tables);
                if !row.is_some_and(|row| matches!(row.kind, Kind::List(_))) {
                    let operation = if operation == 2 { "APPEND" } else { "SUBTRACT" };
                    return Err(InvalidConfig::NotAList { operation, key: key.to_owned() }.into());
                }
                let old = current.get(key).map(String::as_str).or(row.and_then(|row| row.default)).unwrap_or_default();
                Some(changed_list(old, given, operation == 2))
            }
            operation => {
                return Err(Refusal::new(ErrorCode::InvalidRequest, format!("Unknown operations type {operation}")));
            }
        };
        values.insert(key.to_owned(), value);
    }
    Ok((resource, values))
}

fn changed_list(old: &str, given: &str, append: bool) -> String {
    let mut words: Vec<&str> = old.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    for word in given.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if !append {
            words.retain(|kept| *kept != word);
        } else if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(",")
}

fn row_of<'a>(resource: &ConfigResource, key: &str, tables: ConfigTables<'a>) -> Option<&'a Row> {
    match resource.resource_type {
        ConfigResourceType::Topic => topic_row(key),
        ConfigResourceType::Broker => tables.broker.iter().find(|row| row.name == key),
        ConfigResourceType::Group => tables.group.iter().find(|row| row.name == key),
        // Kafka does not know which of these keys are lists, and neither appends nor subtracts.
        ConfigResourceType::ClientMetrics => None,
    }
}

/// Checks what the resource would have set then, and gives the records of what changes.
fn records_for(
    view: ConfigView<'_>,
    resource: &ConfigResource,
    asked: BTreeMap<String, Option<String>>,
    tables: ConfigTables<'_>,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let current = view.image().config_overrides(resource);
    let mut after = current.clone();
    for (key, value) in &asked {
        match value {
            Some(value) => after.insert(key.clone(), value.clone()),
            None => after.remove(key),
        };
    }
    match resource.resource_type {
        ConfigResourceType::Topic => check_topic_values(&after, |key| view.topic_value(key, &BTreeMap::new()))?,
        ConfigResourceType::Broker => check_broker_values(view, resource.name.is_empty(), &asked, tables.broker)?,
        ConfigResourceType::ClientMetrics => check_client_metrics(&after)?,
        ConfigResourceType::Group => check_group_values(view, &after, tables)?,
    }
    Ok(asked
        .into_iter()
        .filter(|(key, value)| current.get(key) != value.as_ref())
        .map(|(key, value)| MetadataRecord::Config { resource: resource.clone(), key, value })
        .collect())
}
