//! AlterClientQuotas and DescribeClientQuotas (`ClientQuotaControlManager`, `ClientQuotasImage`; KIP-546).

use core::net::IpAddr;
use std::collections::BTreeMap;

use protocol::messages::alter_client_quotas_request::EntryData as AlterEntry;
use protocol::messages::alter_client_quotas_response as altered;
use protocol::messages::describe_client_quotas_request::ComponentData;
use protocol::messages::describe_client_quotas_response as described;
use protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};
use protocol::{ErrorCode, StrBytes};

use super::{Decision, Refusal};
use crate::client_quotas::{CLIENT_ID, IP, QuotaEntity, QuotaValue, USER};
use crate::image::Image;
use crate::records::MetadataRecord;

/// What a quota's value may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ValueKind {
    Double,
    Long,
    Int,
}

/// The keys of users and client ids.
const CLIENT_KEYS: &[(&str, ValueKind)] = &[
    ("consumer_byte_rate", ValueKind::Long),
    ("controller_mutation_rate", ValueKind::Double),
    ("producer_byte_rate", ValueKind::Long),
    ("request_percentage", ValueKind::Double),
];
/// The keys of addresses.
const IP_KEYS: &[(&str, ValueKind)] = &[("connection_creation_rate", ValueKind::Int)];

const MATCH_EXACT: i8 = 0;
const MATCH_DEFAULT: i8 = 1;
const MATCH_SPECIFIED: i8 = 2;

fn invalid(message: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, message)
}

/// Decides an AlterClientQuotas request. Each entry is altered whole or not. Of an entity that is named twice the first entry is taken, the others
/// are not, and its one answer says so.
#[must_use]
pub fn alter_client_quotas(image: &Image, request: &AlterClientQuotasRequest) -> Decision<Vec<altered::EntryData>> {
    let mut decision: Decision<Vec<altered::EntryData>> =
        Decision { records: Vec::new(), response: Vec::with_capacity(request.entries.len()) };
    let mut places = BTreeMap::new();
    for entry in &request.entries {
        let names: BTreeMap<_, _> = entry.entity.iter().map(|part| (&part.entity_type, &part.entity_name)).collect();
        if let Some(row) = places.get(&names).and_then(|place: &usize| decision.response.get_mut(*place)) {
            row.error_code = ErrorCode::InvalidRequest.code();
            row.error_message = Some(StrBytes::from_static_str("An entity is named twice; its first entry counts"));
            continue;
        }
        places.insert(names, decision.response.len());
        let mut row = altered::EntryData::default().with_error_message(None).with_entity(quota_entity(entry));
        match entry_records(image, entry) {
            Ok(records) if !request.validate_only => decision.records.extend(records),
            Ok(_) => {}
            Err(refusal) => {
                row.error_code = refusal.code.code();
                row.error_message = refusal.message.map(StrBytes::from_string);
            }
        }
        decision.response.push(row);
    }
    decision
}

/// The entity that an entry names, as its answer repeats it.
#[must_use]
pub fn quota_entity(entry: &AlterEntry) -> Vec<altered::EntityData> {
    let last_of_its_kind = entry.entity.iter().enumerate().filter(|(place, part)| {
        let mut later = entry.entity.iter().skip(place + 1);
        later.all(|other| other.entity_type != part.entity_type)
    });
    let parts = last_of_its_kind.map(|(_, part)| {
        altered::EntityData::default()
            .with_entity_type(StrBytes::from_string(part.entity_type.to_string()))
            .with_entity_name(part.entity_name.as_ref().map(|name| StrBytes::from_string(name.to_string())))
    });
    parts.collect()
}

fn entry_records(image: &Image, entry: &AlterEntry) -> Result<Vec<MetadataRecord>, Refusal> {
    let entity = entity_of(entry)?;
    let keys = if entity.0.contains_key(IP) { IP_KEYS } else { CLIENT_KEYS };
    let current = image.client_quota(&entity);
    let mut changes = BTreeMap::new();
    for op in &entry.ops {
        let key = op.key.as_str();
        let Some((_, kind)) = keys.iter().find(|(known, _)| *known == key) else {
            return Err(invalid(format!("Invalid configuration key {key}")));
        };
        if changes.contains_key(key) {
            return Err(invalid(format!("Duplicate quota key {key}")));
        }
        if !op.remove {
            check_value(key, *kind, op.value)?;
        }
        changes.insert(key.to_owned(), (!op.remove).then(|| QuotaValue::new(op.value)));
    }
    let news = changes.into_iter().filter(|(key, value)| current.get(key).copied() != *value);
    Ok(news.map(|(key, value)| MetadataRecord::ClientQuota { entity: entity.clone(), key, value }).collect())
}

fn entity_of(entry: &AlterEntry) -> Result<QuotaEntity, Refusal> {
    let mut names = BTreeMap::new();
    for part in &entry.entity {
        let kind = part.entity_type.as_str();
        if !matches!(kind, USER | CLIENT_ID | IP) {
            return Err(invalid(format!("Unhandled client quota entity type: {kind}")));
        }
        let name = part.entity_name.as_ref().map(ToString::to_string);
        if name.as_deref() == Some("") {
            return Err(invalid(format!("Empty {kind} not supported")));
        }
        if kind == IP && name.as_ref().is_some_and(|name| name.parse::<IpAddr>().is_err()) {
            return Err(invalid(format!("{} is not a valid IP or resolvable host.", name.unwrap_or_default())));
        }
        // Of a kind that is named twice the last name counts, as in Kafka.
        names.insert(kind.to_owned(), name);
    }
    if names.is_empty() {
        return Err(invalid("Invalid empty client quota entity".to_owned()));
    }
    if names.contains_key(IP) && names.len() > 1 {
        return Err(invalid("Invalid quota entity combination, IP entity should not be combined with User or ClientId".to_owned()));
    }
    Ok(QuotaEntity(names))
}

fn check_value(key: &str, kind: ValueKind, value: f64) -> Result<(), Refusal> {
    // Written so that not-a-number is refused, too.
    if value.is_nan() || value <= 0.0 {
        return Err(invalid(format!("Quota {key} must be greater than 0")));
    }
    let whole = |name: &str, most: f64| {
        if value > most || value.fract() != 0.0 {
            return Err(invalid(format!("Quota {key} must be a whole number that a {name} can hold")));
        }
        Ok(())
    };
    match kind {
        ValueKind::Double => Ok(()),
        ValueKind::Long => whole("long", 9_223_372_036_854_775_807.0),
        ValueKind::Int => whole("int", f64::from(i32::MAX)),
    }
}

/// Answers a DescribeClientQuotas request.
///
/// # Errors
/// A filter that makes no sense.
pub fn describe_client_quotas(image: &Image, request: &DescribeClientQuotasRequest) -> Result<Vec<described::EntryData>, Refusal> {
    let mut wanted: BTreeMap<&str, &ComponentData> = BTreeMap::new();
    for component in &request.components {
        let kind = component.entity_type.as_str();
        if kind.is_empty() {
            return Err(invalid("Unexpected empty filter component entity type".to_owned()));
        }
        if !matches!(kind, USER | CLIENT_ID | IP) {
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, format!("Custom entity type '{kind}' not supported")));
        }
        match (component.match_type, component._match.is_some()) {
            (MATCH_EXACT, true) | (MATCH_DEFAULT | MATCH_SPECIFIED, false) => {}
            (MATCH_EXACT, false) => return Err(invalid("Request specified MATCH_TYPE_EXACT, but no match string.".to_owned())),
            (MATCH_DEFAULT, true) => return Err(invalid("Request specified MATCH_TYPE_DEFAULT, but also a match string.".to_owned())),
            (MATCH_SPECIFIED, true) => {
                return Err(invalid("Request specified MATCH_TYPE_SPECIFIED, but also a match string.".to_owned()));
            }
            (other, _) => return Err(invalid(format!("Unknown match type {other}"))),
        }
        if wanted.insert(kind, component).is_some() {
            return Err(invalid(format!("Duplicate filter component entity type {kind}")));
        }
    }
    if wanted.contains_key(IP) && wanted.len() > 1 {
        return Err(invalid(
            "Invalid entity filter component combination, IP filter component should not be used with user or clientId filter component."
                .to_owned(),
        ));
    }
    let matching = image.client_quotas().filter(|(entity, _)| {
        let fits = wanted.iter().all(|(kind, component)| entity.0.get(*kind).is_some_and(|name| is_match(component, name.as_deref())));
        fits && (!request.strict || entity.0.len() == wanted.len())
    });
    Ok(matching.map(|(entity, values)| described_entry(entity, values)).collect())
}

fn is_match(component: &ComponentData, name: Option<&str>) -> bool {
    match component.match_type {
        MATCH_EXACT => component._match.as_ref().map(|wanted| wanted.as_str()) == name,
        MATCH_DEFAULT => name.is_none(),
        _ => name.is_some(),
    }
}

fn described_entry(entity: &QuotaEntity, values: &BTreeMap<String, QuotaValue>) -> described::EntryData {
    let parts = entity.0.iter().map(|(kind, name)| {
        described::EntityData::default()
            .with_entity_type(StrBytes::from_string(kind.clone()))
            .with_entity_name(name.clone().map(StrBytes::from_string))
    });
    let values = values
        .iter()
        .map(|(key, value)| described::ValueData::default().with_key(StrBytes::from_string(key.clone())).with_value(value.get()));
    described::EntryData::default().with_entity(parts.collect()).with_values(values.collect())
}

#[cfg(test)]
mod tests {
    use protocol::messages::alter_client_quotas_request::{EntityData, OpData};

    use super::*;

    fn entry(parts: &[(&str, Option<&str>)], key: &str, value: f64, remove: bool) -> AlterEntry {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let parts = parts.iter().map(|(kind, name)| EntityData::default().with_entity_type(text(kind)).with_entity_name(name.map(text)));
        let op = OpData::default().with_key(text(key)).with_value(value).with_remove(remove);
        AlterEntry::default().with_entity(parts.collect()).with_ops(vec![op])
    }

    fn altered(image: &Image, entry: AlterEntry) -> (i16, Image) {
        let decision = alter_client_quotas(image, &AlterClientQuotasRequest::default().with_entries(vec![entry]));
        let code = decision.response.first().map_or(-1, |row| row.error_code);
        (code, image.apply(image.index() + 1, &decision.records).0)
    }

    #[test]
    fn a_quota_is_set_described_kept_in_a_snapshot_and_removed() {
        let (code, image) =
            altered(&Image::default(), entry(&[("user", Some("a")), ("client-id", None)], "producer_byte_rate", 1024.0, false));
        assert_eq!(code, 0);
        let image = Image::from_snapshot(&image.to_snapshot()).unwrap();
        let rows = describe_client_quotas(&image, &DescribeClientQuotasRequest::default()).unwrap();
        assert_eq!(rows.len(), 1);
        assert!((rows[0].values[0].value - 1024.0).abs() < f64::EPSILON);
        let user =
            ComponentData::default().with_entity_type(StrBytes::from_static_str("user")).with_match_type(MATCH_SPECIFIED).with_match(None);
        let strict = DescribeClientQuotasRequest::default().with_components(vec![user]).with_strict(true);
        assert!(describe_client_quotas(&image, &strict).unwrap().is_empty());
        let (code, image) = altered(&image, entry(&[("user", Some("a")), ("client-id", None)], "producer_byte_rate", 0.0, true));
        assert_eq!((code, image.client_quotas().count()), (0, 0));
    }

    #[test]
    fn of_an_entity_named_twice_the_first_entry_counts_and_of_a_kind_named_twice_the_last_name() {
        let of = |name: &'static str, rate: f64| entry(&[("user", Some("x")), ("user", Some(name))], "producer_byte_rate", rate, false);
        let request = AlterClientQuotasRequest::default().with_entries(vec![of("a", 1.0), of("b", 2.0), of("a", 3.0)]);
        let decision = alter_client_quotas(&Image::default(), &request);
        let codes: Vec<i16> = decision.response.iter().map(|row| row.error_code).collect();
        assert_eq!(codes, [ErrorCode::InvalidRequest.code(), 0]);
        assert_eq!(decision.response[0].entity.len(), 1);
        let image = Image::default().apply(1, &decision.records).0;
        let rates: Vec<f64> = image.client_quotas().flat_map(|(_, values)| values.values().map(|value| value.get())).collect();
        assert!(rates.iter().zip([1.0, 2.0]).all(|(left, right)| (left - right).abs() < f64::EPSILON) && rates.len() == 2, "{rates:?}");
    }

    #[test]
    fn what_is_no_quota_is_refused() {
        let image = Image::default();
        let invalid = ErrorCode::InvalidRequest.code();
        assert_eq!(altered(&image, entry(&[], "producer_byte_rate", 1.0, false)).0, invalid);
        assert_eq!(altered(&image, entry(&[("user", Some(""))], "producer_byte_rate", 1.0, false)).0, invalid);
        assert_eq!(altered(&image, entry(&[("user", None), ("ip", None)], "producer_byte_rate", 1.0, false)).0, invalid);
        assert_eq!(altered(&image, entry(&[("user", None)], "connection_creation_rate", 1.0, false)).0, invalid);
        assert_eq!(altered(&image, entry(&[("user", None)], "producer_byte_rate", 1.5, false)).0, invalid);
        assert_eq!(altered(&image, entry(&[("user", None)], "request_percentage", f64::NAN, false)).0, invalid);
        assert_eq!(altered(&image, entry(&[("user", None)], "request_percentage", 1.5, false)).0, 0);
    }
}
