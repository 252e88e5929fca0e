//! The image: everything that the metadata log says, at one index of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use model::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionIndex, ProducerId, TopicId, TopicIdPartition, TopicName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::client_quotas::{QuotaEntity, QuotaValues};
use crate::records::{ConfigResource, ConfigResourceType, Endpoint, FeatureRange};

/// The topics that the cluster itself writes to.
const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

const NO_QUOTAS: &QuotaValues = &BTreeMap::new();
const NO_OVERRIDES: &BTreeMap<String, String> = &BTreeMap::new();

/// Whether a topic of this name belongs to the cluster itself (`Topic.isInternal`).
#[must_use]
pub fn is_internal_topic(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

/// A registered broker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Broker {
    /// Its id.
    pub id: BrokerId,
    /// The log index of its registration.
    pub epoch: BrokerEpoch,
    /// The random id of its run.
    pub incarnation_id: Uuid,
    /// Its client listeners.
    pub listeners: Vec<Endpoint>,
    /// Where it stands.
    pub rack: Option<String>,
    /// The features that it can serve.
    pub features: BTreeMap<String, FeatureRange>,
    /// Whether it may not lead.
    pub fenced: bool,
    /// Whether it is about to stop.
    pub in_controlled_shutdown: bool,
    /// The id of its data directory; `None` of one that registered before there were such ids. A snapshot has it in a part of its own.
    #[serde(skip)]
    pub directory_id: Option<Uuid>,
}

impl Broker {
    /// Whether it may lead partitions and join in-sync sets.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// Where it is reached by a listener.
    #[must_use]
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.listeners.iter().find(|endpoint| endpoint.listener == listener)
    }
}

/// One partition's state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Partition {
    /// The brokers that hold it, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those that are in sync.
    pub isr: Vec<BrokerId>,
    /// The leader, if there is one.
    pub leader: Option<BrokerId>,
    /// The leader's term.
    pub leader_epoch: LeaderEpoch,
    /// Grows with each change of the partition: the compare-and-set value of AlterPartition.
    pub partition_epoch: i32,
    /// Replicas that left the in-sync set while it was smaller than min.insync.replicas, and so have all that was acknowledged (KIP-966).
    /// They may lead once the in-sync set is empty.
    #[serde(skip)]
    pub eligible_leader_replicas: Vec<BrokerId>,
    /// The last leader of a partition whose in-sync set became empty.
    #[serde(skip)]
    pub last_known_leader: Option<BrokerId>,
    /// The replicas that a reassignment under way adds. They are among [`Partition::replicas`].
    #[serde(skip)]
    pub adding_replicas: Vec<BrokerId>,
    /// The replicas that a reassignment under way removes at its end. They are among [`Partition::replicas`].
    #[serde(skip)]
    pub removing_replicas: Vec<BrokerId>,
}

impl Partition {
    /// Whether its replicas are being moved.
    #[must_use]
    pub const fn is_reassigning(&self) -> bool {
        !self.adding_replicas.is_empty() || !self.removing_replicas.is_empty()
    }
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// Its partitions; the index is the partition's number.
    pub partitions: Vector<Arc<Partition>>,
}

impl Topic {
    /// One of its partitions.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index.get()).ok()?)
    }

    /// Its partitions with their numbers, in order.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = (PartitionIndex, &Arc<Partition>)> {
        self.partitions.iter().enumerate().map(|(index, partition)| (index_of(index), partition))
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partition_count(&self) -> i32 {
        index_of(self.partitions.len()).get()
    }

    /// Whether it belongs to the cluster itself.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        is_internal_topic(self.name.as_str())
    }
}

/// The number of the partition at a position of a topic's list, which is never as long as 2^31.
pub(crate) fn index_of(position: usize) -> PartitionIndex {
    PartitionIndex::new_or_zero(i32::try_from(position).unwrap_or(i32::MAX))
}

/// The whole state of the cluster at one index of the metadata log. Cloning it costs a few counts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Image {
    pub(crate) index: u64,
    pub(crate) cluster_id: Option<Arc<str>>,
    pub(crate) brokers: OrdMap<BrokerId, Arc<Broker>>,
    pub(crate) topics: OrdMap<TopicId, Arc<Topic>>,
    pub(crate) topic_ids: OrdMap<TopicName, TopicId>,
    /// Names with `.` or `_`, by their form with `_` only: two of one form would share a metric's name in Kafka.
    pub(crate) colliding_names: OrdMap<String, BTreeSet<TopicName>>,
    pub(crate) configs: OrdMap<ConfigResource, Arc<BTreeMap<String, String>>>,
    pub(crate) client_quotas: OrdMap<QuotaEntity, Arc<QuotaValues>>,
    pub(crate) next_producer_id: ProducerId,
    pub(crate) features: OrdMap<String, i16>,
    pub(crate) features_epoch: u64,
}

impl Image {
    /// The index of the last applied log entry; 0 before the first.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The cluster's id, once it has one.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// A broker.
    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&Arc<Broker>> {
        self.brokers.get(&id)
    }

    /// All registered brokers, by id, fenced ones too.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }

    /// The brokers that are not fenced, by id: those that Metadata answers.
    pub fn alive_brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    /// A topic by its name.
    #[must_use]
    pub fn topic_by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(self.topic_ids.get(name)?)
    }

    /// A topic by its id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// A topic's id by its name.
    #[must_use]
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.topic_ids.get(name).copied()
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topic_ids.values().filter_map(|id| self.topics.get(id))
    }

    /// The topics from a name on (itself included), by name: what a paged answer continues with.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        self.topic_ids.range(TopicName::from(name)..).filter_map(|(_, id)| self.topics.get(id))
    }

    /// How many topics there are.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// A partition.
    #[must_use]
    pub fn partition(&self, id: TopicIdPartition) -> Option<&Arc<Partition>> {
        self.topic_by_id(id.topic_id)?.partition(id.partition)
    }

    /// The values that were set on a resource; none if none were.
    #[must_use]
    pub fn config_overrides(&self, resource: &ConfigResource) -> &BTreeMap<String, String> {
        self.configs.get(resource).map_or(NO_OVERRIDES, Arc::as_ref)
    }

    /// The groups for which something is set, with what is set.
    pub fn group_overrides(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, String>)> {
        self.configs
            .iter()
            .filter(|(resource, _)| resource.resource_type == ConfigResourceType::Group)
            .map(|(resource, values)| (resource.name.as_str(), values.as_ref()))
    }

    /// All client quotas, by entity.
    pub fn client_quotas(&self) -> impl Iterator<Item = (&QuotaEntity, &QuotaValues)> {
        self.client_quotas.iter().map(|(entity, values)| (entity, values.as_ref()))
    }

    /// The quotas of one entity; none if none were set.
    #[must_use]
    pub fn client_quota(&self, entity: &QuotaEntity) -> &QuotaValues {
        self.client_quotas.get(entity).map_or(NO_QUOTAS, Arc::as_ref)
    }

    /// All resources of a type for which something is set.
    pub fn configured(&self, resource_type: ConfigResourceType) -> impl Iterator<Item = &str> {
        self.configs.keys().filter(move |resource| resource.resource_type == resource_type).map(|resource| resource.name.as_str())
    }

    /// The first id of the next block of producer ids.
    #[must_use]
    pub const fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    /// The finalized features and their levels (none has level 0).
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.features.iter().map(|(name, level)| (name.as_str(), *level))
    }

    /// A feature's finalized level; 0 if it is not finalized.
    #[must_use]
    pub fn feature_level(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// The log index at which features last changed: the epoch that ApiVersions answers.
    #[must_use]
    pub const fn features_epoch(&self) -> u64 {
        self.features_epoch
    }

    /// An existing topic whose name a metric could not tell from this one (`a.b` and `a_b`).
    #[must_use]
    pub fn colliding_topic(&self, name: &str) -> Option<&TopicName> {
        self.colliding_names.get(&collision_form(name)?)?.first()
    }
}

/// A name's form with `_` for `.`; `None` if it has neither, since then it collides with nothing but itself.
pub(crate) fn collision_form(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}
