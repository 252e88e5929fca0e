//! The records of the metadata log and their bytes.

use std::collections::BTreeMap;

use model::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionIndex, ProducerId, TopicId};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::client_quotas::{QuotaEntity, QuotaValue};

/// The first byte of each encoded list of records.
const FORMAT_VERSION: u8 = 1;

/// What a configuration belongs to, with the numbers that the wire uses (`ConfigResource.Type`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ConfigResourceType {
    /// A topic (2).
    Topic,
    /// A broker, or with the empty name the default of all brokers (4).
    Broker,
    /// A client metrics subscription (16).
    ClientMetrics,
    /// A group (32).
    Group,
}

impl ConfigResourceType {
    /// The type of a wire number, if it can be stored at all (broker loggers cannot).
    #[must_use]
    pub const fn from_wire(number: i8) -> Option<Self> {
        match number {
            2 => Some(Self::Topic),
            4 => Some(Self::Broker),
            16 => Some(Self::ClientMetrics),
            32 => Some(Self::Group),
            _ => None,
        }
    }

    /// The wire number.
    #[must_use]
    pub const fn to_wire(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::ClientMetrics => 16,
            Self::Group => 32,
        }
    }
}

/// One thing that has configurations.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ConfigResource {
    /// Its type.
    pub resource_type: ConfigResourceType,
    /// Its name: a topic's name, a broker's id in digits, or empty for the default of all brokers.
    pub name: String,
}

impl ConfigResource {
    /// The resource of a topic.
    #[must_use]
    pub fn topic(name: &str) -> Self {
        Self { resource_type: ConfigResourceType::Topic, name: name.to_owned() }
    }

    /// The resource of one broker.
    #[must_use]
    pub fn broker(id: BrokerId) -> Self {
        Self { resource_type: ConfigResourceType::Broker, name: id.to_string() }
    }

    /// The resource that holds the default of all brokers.
    #[must_use]
    pub fn cluster_default() -> Self {
        Self { resource_type: ConfigResourceType::Broker, name: String::new() }
    }
}

/// Where clients reach a broker by one of its listeners.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// The listener's name, as `PLAINTEXT`.
    pub listener: String,
    /// The advertised host.
    pub host: String,
    /// The advertised port.
    pub port: u16,
    /// The number of the security protocol: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// The levels of a feature that a broker can serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FeatureRange {
    /// The lowest level.
    pub min: i16,
    /// The highest level.
    pub max: i16,
}

/// One change of the cluster's state. Shaped after KRaft's records (KIP-631).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MetadataRecord {
    /// Names the cluster. It comes first and once.
    Cluster {
        /// The id that Metadata answers.
        cluster_id: String,
    },
    /// Finalizes a feature's level; level 0 takes it away.
    Feature {
        /// The feature, as `group.version`.
        name: String,
        /// Its level.
        level: i16,
    },
    /// A broker announces itself, at each of its starts. Its broker epoch is the log index of this record.
    RegisterBroker {
        /// The broker.
        broker_id: BrokerId,
        /// A random id of this run of the process.
        incarnation_id: Uuid,
        /// Its client listeners.
        listeners: Vec<Endpoint>,
        /// Where it stands, if it said so.
        rack: Option<String>,
        /// The features that it can serve.
        features: BTreeMap<String, FeatureRange>,
        /// Whether it may not lead yet.
        fenced: bool,
    },
    /// A broker's standing changes. An epoch other than the broker's own makes the record void.
    BrokerChange {
        /// The broker.
        broker_id: BrokerId,
        /// The epoch of the registration that this concerns.
        broker_epoch: BrokerEpoch,
        /// The new value of fenced.
        fenced: Option<bool>,
        /// The new value of in controlled shutdown.
        in_controlled_shutdown: Option<bool>,
    },
    /// Forgets a broker.
    UnregisterBroker {
        /// The broker.
        broker_id: BrokerId,
        /// The epoch of the registration that this concerns.
        broker_epoch: BrokerEpoch,
    },
    /// Raises the leader epoch of every partition that the broker leads: its new run must not be taken for its old one.
    BumpLeaderEpochs {
        /// The leader.
        broker_id: BrokerId,
    },
    /// A new topic, still without partitions.
    Topic {
        /// Its name.
        name: String,
        /// Its id.
        topic_id: TopicId,
    },
    /// A new partition. Partitions of a topic come in order.
    Partition {
        /// The topic.
        topic_id: TopicId,
        /// The partition's number.
        partition: PartitionIndex,
        /// The brokers that hold it, the preferred leader first.
        replicas: Vec<BrokerId>,
        /// Those that are in sync.
        isr: Vec<BrokerId>,
        /// The leader, if there is one.
        leader: Option<BrokerId>,
        /// The leader's term.
        leader_epoch: LeaderEpoch,
        /// The number of the partition's state.
        partition_epoch: i32,
    },
    /// A partition changes. The partition epoch grows by one; a given leader, even the same, makes the leader epoch grow by one.
    PartitionChange {
        /// The topic.
        topic_id: TopicId,
        /// The partition's number.
        partition: PartitionIndex,
        /// The new in-sync replicas, if they change.
        isr: Option<Vec<BrokerId>>,
        /// The new leader (or none), if it changes.
        leader: Option<Option<BrokerId>>,
        /// The new replicas, if they change.
        replicas: Option<Vec<BrokerId>>,
    },
    /// A topic goes, with its partitions and configurations.
    RemoveTopic {
        /// The topic.
        topic_id: TopicId,
    },
    /// A configuration is set, or with no value taken away.
    Config {
        /// What it belongs to.
        resource: ConfigResource,
        /// The key.
        key: String,
        /// The value.
        value: Option<String>,
    },
    /// A block of producer ids is given out: the next block begins here.
    ProducerIds {
        /// The broker that took the block.
        broker_id: BrokerId,
        /// Its epoch.
        broker_epoch: BrokerEpoch,
        /// The first id of the next block.
        next_producer_id: ProducerId,
    },
    /// A client quota is set, or with no value taken away.
    ClientQuota {
        /// Whom it concerns.
        entity: QuotaEntity,
        /// The quota's key.
        key: String,
        /// The value.
        value: Option<QuotaValue>,
    },
    /// More of a partition that changes. It stands behind the [`MetadataRecord::PartitionChange`] of the same proposal, which raises the epochs.
    PartitionDetails {
        /// The topic.
        topic_id: TopicId,
        /// The partition's number.
        partition: PartitionIndex,
        /// The new eligible leader replicas, if they change.
        eligible_leader_replicas: Option<Vec<BrokerId>>,
        /// The new last known leader (or none), if it changes.
        last_known_leader: Option<Option<BrokerId>>,
        /// The replicas that a reassignment adds, if they change.
        adding_replicas: Option<Vec<BrokerId>>,
        /// The replicas that a reassignment removes, if they change.
        removing_replicas: Option<Vec<BrokerId>>,
    },
    /// The id of a broker's data directory. It stands behind the [`MetadataRecord::RegisterBroker`] of the same proposal.
    BrokerDirectory {
        /// The broker.
        broker_id: BrokerId,
        /// A random id that its data directory got when it was first used.
        directory_id: Uuid,
    },
}

/// Why bytes are not records.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Written by a newer klamm.
    #[error("metadata records have format version {0}, but this program knows only version {FORMAT_VERSION}")]
    UnknownVersion(u8),
    /// Cut, changed or foreign.
    #[error("metadata records cannot be decoded: {0}")]
    Malformed(postcard::Error),
    /// There is more than the records.
    #[error("{0} bytes follow the metadata records")]
    TrailingBytes(usize),
    /// There is nothing at all.
    #[error("metadata records are empty bytes")]
    Empty,
}

/// The bytes of a list of records: a version byte, then postcard.
#[must_use]
pub fn encode_records(records: &[MetadataRecord]) -> Vec<u8> {
    // Writing plain data to a vector cannot fail: no type here has an encoding that postcard refuses.
    postcard::to_extend(records, vec![FORMAT_VERSION]).unwrap_or_default()
}

/// The records of the bytes that [`encode_records`] wrote.
///
/// # Errors
/// If the bytes are of another format, cut or changed. It never panics, and it reserves no memory on the word of a length in the bytes.
pub fn decode_records(bytes: &[u8]) -> Result<Vec<MetadataRecord>, DecodeError> {
    let (version, body) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if *version != FORMAT_VERSION {
        return Err(DecodeError::UnknownVersion(*version));
    }
    let (records, rest) = postcard::take_from_bytes(body).map_err(DecodeError::Malformed)?;
    if rest.is_empty() { Ok(records) } else { Err(DecodeError::TrailingBytes(rest.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_encoding() {
        let records = vec![
            MetadataRecord::Topic { name: "t".to_owned(), topic_id: TopicId(Uuid::from_u128(7)) },
            MetadataRecord::PartitionChange {
                topic_id: TopicId(Uuid::from_u128(7)),
                partition: PartitionIndex::ZERO,
                isr: None,
                leader: Some(None),
                replicas: None,
            },
            MetadataRecord::Config { resource: ConfigResource::topic("t"), key: "a".to_owned(), value: None },
        ];
        assert_eq!(decode_records(&encode_records(&records)), Ok(records));
    }

    #[test]
    fn a_newer_format_is_refused_by_its_version() {
        assert_eq!(decode_records(&[9, 0]), Err(DecodeError::UnknownVersion(9)));
        assert_eq!(decode_records(&[]), Err(DecodeError::Empty));
    }

    #[test]
    fn bytes_after_the_records_are_refused() {
        let mut bytes = encode_records(&[]);
        bytes.push(0);
        assert_eq!(decode_records(&bytes), Err(DecodeError::TrailingBytes(1)));
    }
}
