//! Who a run of a broker says that it is: its registration, the birth of a new cluster, and whether a directory is this broker's at all.
//!
//! A broker alone registers itself ([`register`]); one of several is registered by the controller (`cluster`).

use std::collections::{BTreeMap, HashMap};

use log_store::{StorageError, Store};
use metadata::configs::ConfigView;
use metadata::controller::{BrokerRegistration, RegistrationWish, admit_broker, bootstrap_cluster, register_broker};
use metadata::{Endpoint, FeatureRange, Image, MetadataRecord};
use quorum::MetadataQuorum;
use uuid::Uuid;

use crate::cluster;
use crate::config::BrokerConfig;
use crate::coordinators::TRANSACTION_VERSION_FEATURE;
use crate::entropy::Entropy;
use crate::start::StartError;

/// How often another id is tried; one in 64 does not do.
const ATTEMPTS: usize = 100;

/// Under which key the data directory has its id.
const DIRECTORY: &[u8] = b"directory";

/// The features that this broker serves, and the levels that a new cluster begins with.
const FEATURES: &[(&str, FeatureRange, i16)] =
    &[("metadata.version", FeatureRange { min: 7, max: 30 }, 30), (TRANSACTION_VERSION_FEATURE, FeatureRange { min: 0, max: 2 }, 2)];

/// What this run of the broker says of itself.
pub(crate) fn registration(
    config: &BrokerConfig,
    bound_ports: &HashMap<String, u16>,
    entropy: &dyn Entropy,
    directory_id: Uuid,
) -> BrokerRegistration {
    let listeners = config.listeners.iter().map(|listener| {
        let bound = bound_ports.get(&listener.name).copied().unwrap_or(listener.bind.port);
        let advertised = listener.advertised_when_bound(bound);
        Endpoint {
            listener: listener.name.clone(),
            host: advertised.host,
            port: advertised.port,
            security_protocol: listener.security_protocol.to_wire(),
        }
    });
    BrokerRegistration {
        broker_id: config.broker_id,
        incarnation_id: entropy.uuid(),
        listeners: listeners.collect(),
        rack: config.rack.clone(),
        features: FEATURES.iter().map(|(name, range, _)| ((*name).to_owned(), *range)).collect::<BTreeMap<_, _>>(),
        directory_id: Some(directory_id),
    }
}

/// The id of the data directory. It gets one when it is first used, and keeps it.
///
/// # Errors
/// If the store fails.
pub(crate) fn directory_id(store: &Store, entropy: &dyn Entropy) -> Result<Uuid, StorageError> {
    if let Some(known) = store.kv_get(DIRECTORY)?.and_then(|bytes| Uuid::from_slice(&bytes).ok()) {
        return Ok(known);
    }
    // As Kafka's: one that begins with a dash looks like an option where people write it.
    let id = std::iter::repeat_with(|| entropy.uuid())
        .take(ATTEMPTS)
        .find(|id| !uuid_text(*id).starts_with('-'))
        .unwrap_or_else(|| entropy.uuid());
    store.kv_put_synced(DIRECTORY, id.as_bytes())?;
    Ok(id)
}

/// The records of a new cluster's birth; none if it has begun.
pub(crate) fn birth(configured_id: Option<&str>, image: &Image, entropy: &dyn Entropy) -> Vec<MetadataRecord> {
    let cluster_id = configured_id.map_or_else(|| uuid_text(entropy.uuid()), str::to_owned);
    let levels: Vec<_> = FEATURES.iter().map(|(name, _, level)| (*name, *level)).collect();
    bootstrap_cluster(image, &cluster_id, &levels)
}

/// Records the cluster's birth, if it is new, and this run of the broker: one proposal, so one sync.
///
/// Where others have joined, this run may lack what they have: it is admitted as any of them, fenced until it tells that it lives.
pub(crate) async fn register(
    config: &BrokerConfig,
    registration: BrokerRegistration,
    store: &Store,
    quorum: &dyn MetadataQuorum,
    entropy: &dyn Entropy,
) -> Result<(), StartError> {
    let term = quorum.leader_term();
    let image = quorum.image();
    check_identity(config, &image)?;
    let mut records = birth(config.cluster_id.as_deref(), &image, entropy);
    let refused = |error: &dyn std::fmt::Display| StartError::Metadata(error.to_string());
    // The store's lock proves that no other process of this broker lives.
    if image.brokers().any(|broker| broker.id != config.broker_id) {
        let is_whole = cluster::is_whole(store, config.durability)?;
        let previous_epoch = image.broker(config.broker_id).filter(|_| is_whole).map(|known| known.epoch);
        let cluster_id = image.cluster_id().unwrap_or_default().to_owned();
        let view = ConfigView::new(&image, config.broker_id, &config.set);
        let wish = RegistrationWish { cluster_id, registration, previous_epoch };
        records.extend(admit_broker(view, wish, false).map_err(|refusal| refused(&refusal))?.records);
        quorum.propose(term, records).await?;
        cluster::note_run(store)?;
    } else {
        records.extend(register_broker(&image, registration, false).map_err(|error| refused(&error))?.records);
        quorum.propose(term, records).await?;
    }
    Ok(())
}

pub(crate) fn check_identity(config: &BrokerConfig, image: &Image) -> Result<(), StartError> {
    if let (Some(found), Some(configured)) = (image.cluster_id(), config.cluster_id.as_deref())
        && found != configured
    {
        return Err(StartError::OtherCluster { found: found.to_owned(), configured: configured.to_owned() });
    }
    match image.brokers().next() {
        Some(broker) if image.broker(config.broker_id).is_none() => {
            Err(StartError::OtherBroker { found: broker.id, configured: config.broker_id })
        }
        _ => Ok(()),
    }
}

/// Of which cluster the directory of one of several is: nobody of another one is to write to its log.
pub(crate) fn cluster_on_disk(config: &BrokerConfig, image: &Image) -> Result<Option<String>, StartError> {
    let Some(found) = image.cluster_id().map(str::to_owned) else { return Ok(None) };
    match config.cluster_id.clone().filter(|configured| *configured != found) {
        Some(configured) => Err(StartError::OtherCluster { found, configured }),
        None => Ok(Some(found)),
    }
}

/// Kafka's form of a cluster id: 22 characters of URL-safe base64.
fn uuid_text(id: Uuid) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = id.as_u128();
    let mut text = [b'A'; 22];
    // 128 bits are 21 characters of 6 bits and one of 2, padded to the right.
    if let Some(last) = text.last_mut() {
        *last = ALPHABET.get(usize::try_from((bits & 3) << 4).unwrap_or(0)).copied().unwrap_or(b'A');
    }
    bits >>= 2;
    for place in text.iter_mut().rev().skip(1) {
        *place = ALPHABET.get(usize::try_from(bits & 63).unwrap_or(0)).copied().unwrap_or(b'A');
        bits >>= 6;
    }
    text.iter().map(|byte| char::from(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_has_the_form_of_kafkas() {
        assert_eq!(uuid_text(uuid::Uuid::nil()), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(uuid_text(uuid::Uuid::from_u128(u128::MAX)), "_____________________w");
    }
}
