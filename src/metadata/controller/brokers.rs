//! Brokers come and cluster begins (`ClusterControlManager`).

use std::collections::BTreeMap;

use model::{BrokerId, TopicIdPartition};
use thiserror::Error;
use uuid::Uuid;

use super::Decision;
use crate::image::Image;
use crate::records::{Endpoint, FeatureRange, MetadataRecord};

/// What a broker says of itself at its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerRegistration {
    /// Its id.
    pub broker_id: BrokerId,
    /// A random id of this run.
    pub incarnation_id: Uuid,
    /// Its client listeners.
    pub listeners: Vec<Endpoint>,
    /// Where it stands.
    pub rack: Option<String>,
    /// The features that it can serve.
    pub features: BTreeMap<String, FeatureRange>,
    /// The id of its data directory, if it tells one.
    pub directory_id: Option<Uuid>,
}

impl BrokerRegistration {
    /// The records of it.
    pub(crate) fn into_records(self, fenced: bool) -> Vec<MetadataRecord> {
        let Self { broker_id, incarnation_id, listeners, rack, features, directory_id } = self;
        let directory = directory_id.map(|directory_id| MetadataRecord::BrokerDirectory { broker_id, directory_id });
        std::iter::once(MetadataRecord::RegisterBroker { broker_id, incarnation_id, listeners, rack, features, fenced })
            .chain(directory)
            .collect()
    }
}

/// Another process with this broker's id is alive.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("broker {broker_id} is already registered by a running process (incarnation {incarnation_id})")]
pub struct DuplicateBroker {
    /// The id.
    pub broker_id: BrokerId,
    /// The other run.
    pub incarnation_id: Uuid,
}

/// The records that begin a cluster: its id and its finalized features. A cluster that has begun needs none.
#[must_use]
pub fn bootstrap_cluster(image: &Image, cluster_id: &str, features: &[(&str, i16)]) -> Vec<MetadataRecord> {
    if image.cluster_id().is_some() {
        return Vec::new();
    }
    let features = features.iter().filter(|(_, level)| *level > 0);
    std::iter::once(MetadataRecord::Cluster { cluster_id: cluster_id.to_owned() })
        .chain(features.map(|(name, level)| MetadataRecord::Feature { name: (*name).to_owned(), level: *level }))
        .collect()
}

/// Decides the registration of a broker at its start: unfenced, with a new broker epoch (the index of the record), and with a new leader
/// epoch on each partition that it leads, so that nothing of its last run is taken for this one's. Partitions without a leader in whose
/// in-sync set it stands get it as leader.
///
/// `session_alive` tells whether another run of this id is known to be alive: the image alone cannot say.
///
/// # Errors
/// If it is.
pub fn register_broker(image: &Image, registration: BrokerRegistration, session_alive: bool) -> Result<Decision<()>, DuplicateBroker> {
    let (broker_id, incarnation_id) = (registration.broker_id, registration.incarnation_id);
    if let Some(known) = image.broker(broker_id)
        && session_alive
        && known.incarnation_id != incarnation_id
    {
        return Err(DuplicateBroker { broker_id, incarnation_id: known.incarnation_id });
    }
    let mut records = registration.into_records(false);
    let leads_any = image.topics().any(|topic| topic.partitions.iter().any(|partition| partition.leader == Some(broker_id)));
    if leads_any {
        records.push(MetadataRecord::BumpLeaderEpochs { broker_id });
    }
    for topic in image.topics() {
        for (partition, state) in topic.partitions() {
            if state.leader.is_none() && state.isr.contains(&broker_id) {
                let id = TopicIdPartition { topic_id: topic.id, partition };
                records.push(lead(id, broker_id));
            }
        }
    }
    Ok(Decision { records, response: () })
}

fn lead(id: TopicIdPartition, broker_id: BrokerId) -> MetadataRecord {
    MetadataRecord::PartitionChange {
        topic_id: id.topic_id,
        partition: id.partition,
        isr: None,
        leader: Some(Some(broker_id)),
        replicas: None,
    }
}
