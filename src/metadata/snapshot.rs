//! The image as bytes: a version, a checksum, the body.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{BrokerId, PartitionIndex, ProducerId, TopicId, TopicName};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::client_quotas::{QuotaEntity, QuotaValues};
use crate::image::{Broker, Image, Partition, Topic, collision_form};
use crate::records::ConfigResource;

const FORMAT_VERSION: u8 = 1;
/// Version and CRC-32C.
const HEADER_BYTES: usize = 5;

/// Why bytes are not an image.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SnapshotError {
    /// Written by a newer klamm.
    #[error("the metadata snapshot has format version {0}, but this program knows only version {FORMAT_VERSION}")]
    UnknownVersion(u8),
    /// Too short for a header.
    #[error("the metadata snapshot is cut: {0} bytes")]
    Cut(usize),
    /// The bytes changed.
    #[error("the metadata snapshot's checksum is {computed:08x}, but it says {stored:08x}")]
    Checksum {
        /// What the bytes give.
        computed: u32,
        /// What the header says.
        stored: u32,
    },
    /// The checksum fits, but the body does not decode.
    #[error("the metadata snapshot cannot be decoded: {0}")]
    Malformed(postcard::Error),
}

/// The image without what can be computed from the rest.
#[derive(Serialize, Deserialize)]
struct Body {
    index: u64,
    cluster_id: Option<String>,
    brokers: Vec<Broker>,
    topics: Vec<TopicBody>,
    configs: Vec<(ConfigResource, BTreeMap<String, String>)>,
    next_producer_id: ProducerId,
    features: Vec<(String, i16)>,
    features_epoch: u64,
}

/// What later versions added to the body; it follows it, and is absent in older snapshots.
#[derive(Default, Serialize, Deserialize)]
struct Extension {
    client_quotas: Vec<(QuotaEntity, QuotaValues)>,
}

/// What came after [`Extension`], and follows it.
#[derive(Default, Serialize, Deserialize)]
struct PartitionsExtension {
    /// Of the partitions for which there is anything to say.
    details: Vec<Details>,
}

/// What came after [`PartitionsExtension`], and follows it.
#[derive(Default, Serialize, Deserialize)]
struct BrokersExtension {
    /// The data directories of the brokers that told theirs.
    directories: Vec<(BrokerId, Uuid)>,
}

#[derive(Serialize, Deserialize)]
struct Details {
    topic_id: TopicId,
    partition: PartitionIndex,
    eligible_leader_replicas: Vec<BrokerId>,
    last_known_leader: Option<BrokerId>,
    adding_replicas: Vec<BrokerId>,
    removing_replicas: Vec<BrokerId>,
}

impl Details {
    /// `None` if there is nothing to say.
    fn of(topic_id: TopicId, partition: PartitionIndex, state: &Partition) -> Option<Self> {
        let is_plain = state.eligible_leader_replicas.is_empty() && state.last_known_leader.is_none() && !state.is_reassigning();
        (!is_plain).then(|| Self {
            topic_id,
            partition,
            eligible_leader_replicas: state.eligible_leader_replicas.clone(),
            last_known_leader: state.last_known_leader,
            adding_replicas: state.adding_replicas.clone(),
            removing_replicas: state.removing_replicas.clone(),
        })
    }

    fn restore(self, image: &mut Image) {
        let position = usize::try_from(self.partition.get()).unwrap_or(usize::MAX);
        let topic = image.topics.get_mut(&self.topic_id).map(Arc::make_mut);
        if let Some(state) = topic.and_then(|topic| topic.partitions.get_mut(position)).map(Arc::make_mut) {
            state.eligible_leader_replicas = self.eligible_leader_replicas;
            state.last_known_leader = self.last_known_leader;
            state.adding_replicas = self.adding_replicas;
            state.removing_replicas = self.removing_replicas;
        }
    }
}

#[derive(Serialize, Deserialize)]
struct TopicBody {
    id: TopicId,
    name: TopicName,
    partitions: Vec<Partition>,
}

impl Image {
    /// The whole image as bytes with a checksum. Equal images give equal bytes.
    #[must_use]
    pub fn to_snapshot(&self) -> Vec<u8> {
        let body = Body {
            index: self.index,
            cluster_id: self.cluster_id.as_deref().map(str::to_owned),
            brokers: self.brokers.values().map(|broker| Broker::clone(broker)).collect(),
            topics: self
                .topics
                .values()
                .map(|topic| TopicBody {
                    id: topic.id,
                    name: topic.name.clone(),
                    partitions: topic.partitions.iter().map(|partition| Partition::clone(partition)).collect(),
                })
                .collect(),
            configs: self.configs.iter().map(|(resource, values)| (resource.clone(), BTreeMap::clone(values))).collect(),
            next_producer_id: self.next_producer_id,
            features: self.features.iter().map(|(name, level)| (name.clone(), *level)).collect(),
            features_epoch: self.features_epoch,
        };
        // Writing plain data to a vector cannot fail: no type here has an encoding that postcard refuses.
        let extension = Extension {
            client_quotas: self.client_quotas.iter().map(|(entity, values)| (entity.clone(), QuotaValues::clone(values))).collect(),
        };
        let details = self.topics.values().flat_map(|topic| {
            topic.partitions().filter_map(|(partition, state)| Details::of(topic.id, partition, state)).collect::<Vec<_>>()
        });
        let partitions = PartitionsExtension { details: details.collect() };
        let directories = self.brokers.values().filter_map(|broker| Some((broker.id, broker.directory_id?)));
        let brokers = BrokersExtension { directories: directories.collect() };
        let body = postcard::to_stdvec(&body)
            .and_then(|body| postcard::to_extend(&extension, body))
            .and_then(|body| postcard::to_extend(&partitions, body))
            .and_then(|body| postcard::to_extend(&brokers, body))
            .unwrap_or_default();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.push(FORMAT_VERSION);
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// The image of the bytes that [`Image::to_snapshot`] wrote.
    ///
    /// # Errors
    /// If the bytes are cut, changed, or of another format.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Image, SnapshotError> {
        let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(SnapshotError::Cut(bytes.len()))?;
        let [version, crc @ ..] = *header;
        if version != FORMAT_VERSION {
            return Err(SnapshotError::UnknownVersion(version));
        }
        let (computed, stored) = (crc32c::crc32c(body), u32::from_le_bytes(crc));
        if computed != stored {
            return Err(SnapshotError::Checksum { computed, stored });
        }
        let (body, rest): (Body, _) = postcard::take_from_bytes(body).map_err(SnapshotError::Malformed)?;
        let (extension, rest): (Extension, _) = take_or_default(rest)?;
        let (partitions, rest): (PartitionsExtension, _) = take_or_default(rest)?;
        let (brokers, _): (BrokersExtension, _) = take_or_default(rest)?;
        let mut image = Image {
            index: body.index,
            cluster_id: body.cluster_id.map(Into::into),
            brokers: body.brokers.into_iter().map(|broker| (broker.id, Arc::new(broker))).collect(),
            configs: body.configs.into_iter().map(|(resource, values)| (resource, Arc::new(values))).collect(),
            client_quotas: extension.client_quotas.into_iter().map(|(entity, values)| (entity, Arc::new(values))).collect(),
            next_producer_id: body.next_producer_id,
            features: body.features.into_iter().collect(),
            features_epoch: body.features_epoch,
            ..Image::default()
        };
        for topic in body.topics {
            if let Some(form) = collision_form(topic.name.as_str()) {
                image.colliding_names.entry(form).or_default().insert(topic.name.clone());
            }
            image.topic_ids.insert(topic.name.clone(), topic.id);
            let partitions = topic.partitions.into_iter().map(Arc::new).collect();
            image.topics.insert(topic.id, Arc::new(Topic { id: topic.id, name: topic.name, partitions }));
        }
        for details in partitions.details {
            details.restore(&mut image);
        }
        for (id, directory_id) in brokers.directories {
            if let Some(broker) = image.brokers.get_mut(&id).map(Arc::make_mut) {
                broker.directory_id = Some(directory_id);
            }
        }
        Ok(image)
    }
}

/// A part that older snapshots lack.
fn take_or_default<'a, T: Default + Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), SnapshotError> {
    if bytes.is_empty() {
        return Ok((T::default(), bytes));
    }
    postcard::take_from_bytes(bytes).map_err(SnapshotError::Malformed)
}
