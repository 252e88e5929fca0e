//! BrokerRegistration in a cluster of several brokers (`ClusterControlManager.registerBroker`; KIP-631, KIP-841, KIP-966).

use model::BrokerEpoch;
use protocol::ErrorCode;

use super::brokers::BrokerRegistration;
use super::elections::{Passage, pass};
use super::{Decision, Refusal};
use crate::configs::ConfigView;
use crate::image::{Broker, Image};

/// A broker's wish to be part of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegistrationWish {
    /// The cluster that it believes to be in.
    pub cluster_id: String,
    /// What it says of itself.
    pub registration: BrokerRegistration,
    /// The epoch of its run before, if it knows that since then nothing was lost of what it had: it stopped in order, or its disk is known to
    /// have everything. Anything else means that it may have lost data.
    pub previous_epoch: Option<BrokerEpoch>,
}

/// Decides the registration of a broker: it begins fenced, and its heartbeats unfence it. What it led before goes to others and it leaves all
/// in-sync sets; if it may have lost data it is not even eligible. `session_alive` tells whether the broker of this id is known to be alive.
///
/// The answer is the broker's epoch if this run of it is registered already; without one the epoch is the index of the records in the log.
///
/// # Errors
/// INCONSISTENT_CLUSTER_ID, DUPLICATE_BROKER_REGISTRATION for another process with the id, UNSUPPORTED_VERSION for a broker that cannot serve
/// what the cluster has finalized.
pub fn admit_broker(view: ConfigView<'_>, wish: RegistrationWish, session_alive: bool) -> Result<Decision<Option<BrokerEpoch>>, Refusal> {
    let image = view.image();
    let RegistrationWish { cluster_id, registration, previous_epoch } = wish;
    let expected = image.cluster_id().unwrap_or_default();
    if cluster_id != expected {
        let message = format!("Expected cluster ID {expected}, but got cluster ID {cluster_id}");
        return Err(Refusal::new(ErrorCode::InconsistentClusterId, message));
    }
    let id = registration.broker_id;
    let known = image.broker(id);
    let is_same_run = known.is_some_and(|known| known.incarnation_id == registration.incarnation_id);
    if session_alive && known.is_some() && !is_same_run {
        let message = format!("Another broker is registered with that broker id {id}, and it is alive.");
        return Err(Refusal::new(ErrorCode::DuplicateBrokerRegistration, message));
    }
    check_features(image, &registration)?;
    if let Some(known) = known.filter(|known| is_same_run && tells_the_same(known, &registration)) {
        // The answer to the first request was lost on its way.
        return Ok(Decision { records: Vec::new(), response: Some(known.epoch) });
    }
    let is_whole = known.is_some_and(|known| previous_epoch == Some(known.epoch));
    let mut records = pass(view, if is_whole { Passage::Leaves(id) } else { Passage::LosesData(id) });
    records.extend(registration.into_records(true));
    Ok(Decision { records, response: None })
}

fn tells_the_same(known: &Broker, registration: &BrokerRegistration) -> bool {
    known.listeners == registration.listeners
        && known.rack == registration.rack
        && known.features == registration.features
        && known.directory_id == registration.directory_id
}

fn check_features(image: &Image, registration: &BrokerRegistration) -> Result<(), Refusal> {
    for (name, level) in image.features() {
        let range = registration.features.get(name);
        let (min, max) = range.map_or((0, 0), |range| (range.min, range.max));
        if !(min..=max).contains(&level) {
            let message = format!(
                "Unable to register because the broker does not support finalized version {level} of {name}. \
                 The broker wants a version between {min} and {max}, inclusive."
            );
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, message));
        }
    }
    Ok(())
}
