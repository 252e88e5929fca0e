//! How records make the next image, and what a delta says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{BrokerEpoch, BrokerId, PartitionIndex, ProducerId, TopicId, TopicIdPartition, TopicName};

use crate::client_quotas::QuotaEntity;
use crate::image::{Broker, Image, Partition, Topic, collision_form, index_of};
use crate::records::{ConfigResource, ConfigResourceType, MetadataRecord};

/// What changed from one image to the next. Whoever acts on it looks the new state up in the image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// The index of the image that it leads to.
    pub index: u64,
    /// Topics that exist now and did not before.
    pub topics_created: BTreeSet<TopicId>,
    /// Topics that existed before and do not now, as they were last.
    pub topics_deleted: BTreeMap<TopicId, Arc<Topic>>,
    /// Partitions that exist now and are new or changed (those of created topics too).
    pub partitions_changed: BTreeSet<TopicIdPartition>,
    /// Resources whose configurations changed. Those of a deleted topic go without being named here.
    pub configs_changed: BTreeSet<ConfigResource>,
    /// Entities whose client quotas changed.
    pub client_quotas_changed: BTreeSet<QuotaEntity>,
    /// Brokers that registered, changed or went.
    pub brokers_changed: BTreeSet<BrokerId>,
    /// Whether finalized features changed.
    pub features_changed: bool,
    /// Whether the next block of producer ids moved.
    pub producer_ids_changed: bool,
    /// How many records fitted nothing and were left out. More than 0 means a decision on a stale image: worth a line in the log.
    pub ignored_records: usize,
}

impl Delta {
    /// The delta from nothing to an image: what a broker acts on when it starts.
    #[must_use]
    pub fn from_nothing(image: &Image) -> Self {
        Self {
            index: image.index,
            topics_created: image.topics.keys().copied().collect(),
            topics_deleted: BTreeMap::new(),
            partitions_changed: image
                .topics
                .values()
                .flat_map(|topic| topic.partitions().map(|(partition, _)| TopicIdPartition { topic_id: topic.id, partition }))
                .collect(),
            configs_changed: image.configs.keys().cloned().collect(),
            client_quotas_changed: image.client_quotas.keys().cloned().collect(),
            brokers_changed: image.brokers.keys().copied().collect(),
            features_changed: !image.features.is_empty(),
            producer_ids_changed: image.next_producer_id > ProducerId::ZERO,
            ignored_records: 0,
        }
    }

    /// The delta from one image to another that did not come of it record by record: what was there and is not goes, and all that is there counts
    /// as changed. Topics that stay are not created anew.
    #[must_use]
    pub fn between(former: &Image, image: &Image) -> Self {
        let mut delta = Self::from_nothing(image);
        delta.topics_created.retain(|id| !former.topics.contains_key(id));
        let gone = former.topics.iter().filter(|(id, _)| !image.topics.contains_key(*id));
        delta.topics_deleted = gone.map(|(id, topic)| (*id, Arc::clone(topic))).collect();
        let of_deleted: BTreeSet<_> = delta.topics_deleted.values().map(|topic| ConfigResource::topic(topic.name.as_str())).collect();
        let configs: Vec<_> = former.configs.keys().filter(|resource| !of_deleted.contains(*resource)).cloned().collect();
        delta.configs_changed.extend(configs);
        delta.client_quotas_changed.extend(former.client_quotas.keys().cloned());
        delta.brokers_changed.extend(former.brokers.keys().copied());
        delta.features_changed |= !former.features.is_empty();
        delta
    }

    fn forget_partitions_of(&mut self, topic_id: TopicId) {
        self.partitions_changed.retain(|changed| changed.topic_id != topic_id);
    }
}

impl Image {
    /// The image after these records, which stand in the log at `index`, and what they changed.
    #[must_use]
    pub fn apply(&self, index: u64, records: &[MetadataRecord]) -> (Image, Delta) {
        let mut image = self.clone();
        let mut delta = Delta { index, ..Delta::default() };
        image.index = index;
        for record in records {
            if image.apply_one(&mut delta, index, record).is_none() {
                delta.ignored_records += 1;
            }
        }
        (image, delta)
    }

    /// `None` if the record fits nothing.
    fn apply_one(&mut self, delta: &mut Delta, index: u64, record: &MetadataRecord) -> Option<()> {
        match record {
            MetadataRecord::Cluster { cluster_id } => {
                if self.cluster_id.is_some() {
                    return None;
                }
                self.cluster_id = Some(cluster_id.as_str().into());
            }
            MetadataRecord::Feature { name, level } => {
                if *level <= 0 {
                    self.features.remove(name);
                } else {
                    self.features.insert(name.clone(), *level);
                }
                self.features_epoch = index;
                delta.features_changed = true;
            }
            MetadataRecord::RegisterBroker { .. } => self.register(delta, index, record),
            MetadataRecord::BrokerChange { broker_id, broker_epoch, fenced, in_controlled_shutdown } => {
                let broker = Arc::make_mut(self.brokers.get_mut(broker_id).filter(|broker| broker.epoch == *broker_epoch)?);
                broker.fenced = fenced.unwrap_or(broker.fenced);
                broker.in_controlled_shutdown = in_controlled_shutdown.unwrap_or(broker.in_controlled_shutdown);
                delta.brokers_changed.insert(*broker_id);
            }
            MetadataRecord::UnregisterBroker { broker_id, broker_epoch } => {
                self.brokers.get(broker_id).filter(|broker| broker.epoch == *broker_epoch)?;
                self.brokers.remove(broker_id);
                delta.brokers_changed.insert(*broker_id);
            }
            MetadataRecord::BrokerDirectory { broker_id, directory_id } => {
                Arc::make_mut(self.brokers.get_mut(broker_id)?).directory_id = Some(*directory_id);
                delta.brokers_changed.insert(*broker_id);
            }
            MetadataRecord::BumpLeaderEpochs { broker_id } => self.bump_leader_epochs(delta, *broker_id),
            MetadataRecord::Topic { name, topic_id } => return self.add_topic(delta, name, *topic_id),
            MetadataRecord::Partition { .. } => return self.add_partition(delta, record),
            MetadataRecord::PartitionChange { .. } => return self.change_partition(delta, record),
            MetadataRecord::PartitionDetails { .. } => return self.change_details(delta, record),
            MetadataRecord::RemoveTopic { topic_id } => return self.remove_topic(delta, *topic_id),
            MetadataRecord::Config { resource, key, value } => self.set_config(delta, resource, key, value.as_deref()),
            MetadataRecord::ClientQuota { entity, key, value } => {
                let values = Arc::make_mut(self.client_quotas.entry(entity.clone()).or_default());
                match value {
                    Some(value) => values.insert(key.clone(), *value),
                    None => values.remove(key),
                };
                if values.is_empty() {
                    self.client_quotas.remove(entity);
                }
                delta.client_quotas_changed.insert(entity.clone());
            }
            MetadataRecord::ProducerIds { next_producer_id, .. } => {
                // Ids that were given out once must never be given out again, whatever order proposals took.
                if *next_producer_id <= self.next_producer_id {
                    return None;
                }
                self.next_producer_id = *next_producer_id;
                delta.producer_ids_changed = true;
            }
        }
        Some(())
    }

    fn register(&mut self, delta: &mut Delta, index: u64, record: &MetadataRecord) {
        if let MetadataRecord::RegisterBroker { broker_id, incarnation_id, listeners, rack, features, fenced } = record {
            let broker = Broker {
                id: *broker_id,
                epoch: BrokerEpoch::new_or_zero(i64::try_from(index).unwrap_or(i64::MAX)),
                incarnation_id: *incarnation_id,
                listeners: listeners.clone(),
                rack: rack.clone(),
                features: features.clone(),
                fenced: *fenced,
                in_controlled_shutdown: false,
                directory_id: None,
            };
            self.brokers.insert(*broker_id, Arc::new(broker));
            delta.brokers_changed.insert(*broker_id);
        }
    }

    fn bump_leader_epochs(&mut self, delta: &mut Delta, broker_id: BrokerId) {
        let led: Vec<(TopicId, Vec<usize>)> = self
            .topics
            .values()
            .map(|topic| {
                let positions = topic.partitions.iter().enumerate();
                (topic.id, positions.filter(|(_, partition)| partition.leader == Some(broker_id)).map(|(at, _)| at).collect())
            })
            .filter(|(_, positions): &(TopicId, Vec<usize>)| !positions.is_empty())
            .collect();
        for (topic_id, positions) in led {
            let Some(topic) = self.topics.get_mut(&topic_id).map(Arc::make_mut) else { continue };
            for position in positions {
                if let Some(partition) = topic.partitions.get_mut(position).map(Arc::make_mut) {
                    partition.leader_epoch = partition.leader_epoch.next();
                    partition.partition_epoch = partition.partition_epoch.saturating_add(1);
                    delta.partitions_changed.insert(TopicIdPartition { topic_id, partition: index_of(position) });
                }
            }
        }
    }

    fn add_topic(&mut self, delta: &mut Delta, name: &str, topic_id: TopicId) -> Option<()> {
        if self.topic_ids.contains_key(name) || self.topics.contains_key(&topic_id) {
            return None;
        }
        let name = TopicName::from(name);
        if let Some(form) = collision_form(name.as_str()) {
            self.colliding_names.entry(form).or_default().insert(name.clone());
        }
        self.topic_ids.insert(name.clone(), topic_id);
        self.topics.insert(topic_id, Arc::new(Topic { id: topic_id, name, partitions: imbl::Vector::new() }));
        delta.topics_created.insert(topic_id);
        Some(())
    }

    fn add_partition(&mut self, delta: &mut Delta, record: &MetadataRecord) -> Option<()> {
        let MetadataRecord::Partition { topic_id, partition, replicas, isr, leader, leader_epoch, partition_epoch } = record else {
            return None;
        };
        let topic = self.topics.get_mut(topic_id).filter(|topic| topic.partition_count() == partition.get())?;
        Arc::make_mut(topic).partitions.push_back(Arc::new(Partition {
            replicas: replicas.clone(),
            isr: isr.clone(),
            leader: *leader,
            leader_epoch: *leader_epoch,
            partition_epoch: *partition_epoch,
            eligible_leader_replicas: Vec::new(),
            last_known_leader: None,
            adding_replicas: Vec::new(),
            removing_replicas: Vec::new(),
        }));
        delta.partitions_changed.insert(TopicIdPartition { topic_id: *topic_id, partition: *partition });
        Some(())
    }

    /// A partition to be changed; a copy of its own from here on.
    fn partition_mut(&mut self, topic_id: TopicId, partition: PartitionIndex) -> Option<&mut Partition> {
        let position = usize::try_from(partition.get()).ok()?;
        self.topics.get(&topic_id)?.partitions.get(position)?;
        Some(Arc::make_mut(Arc::make_mut(self.topics.get_mut(&topic_id)?).partitions.get_mut(position)?))
    }

    fn change_partition(&mut self, delta: &mut Delta, record: &MetadataRecord) -> Option<()> {
        let MetadataRecord::PartitionChange { topic_id, partition, isr, leader, replicas } = record else { return None };
        let state = self.partition_mut(*topic_id, *partition)?;
        if let Some(isr) = isr {
            state.isr.clone_from(isr);
        }
        if let Some(replicas) = replicas {
            state.replicas.clone_from(replicas);
        }
        if let Some(leader) = leader {
            state.leader = *leader;
            state.leader_epoch = state.leader_epoch.next();
        }
        state.partition_epoch = state.partition_epoch.saturating_add(1);
        delta.partitions_changed.insert(TopicIdPartition { topic_id: *topic_id, partition: *partition });
        Some(())
    }

    fn change_details(&mut self, delta: &mut Delta, record: &MetadataRecord) -> Option<()> {
        let MetadataRecord::PartitionDetails {
            topic_id,
            partition,
            eligible_leader_replicas,
            last_known_leader,
            adding_replicas,
            removing_replicas,
        } = record
        else {
            return None;
        };
        let state = self.partition_mut(*topic_id, *partition)?;
        let lists = [
            (&mut state.eligible_leader_replicas, eligible_leader_replicas),
            (&mut state.adding_replicas, adding_replicas),
            (&mut state.removing_replicas, removing_replicas),
        ];
        for (list, new) in lists {
            if let Some(new) = new {
                list.clone_from(new);
            }
        }
        state.last_known_leader = last_known_leader.unwrap_or(state.last_known_leader);
        delta.partitions_changed.insert(TopicIdPartition { topic_id: *topic_id, partition: *partition });
        Some(())
    }

    fn remove_topic(&mut self, delta: &mut Delta, topic_id: TopicId) -> Option<()> {
        let topic = self.topics.remove(&topic_id)?;
        self.topic_ids.remove(&topic.name);
        if let Some(form) = collision_form(topic.name.as_str())
            && let Some(names) = self.colliding_names.get_mut(&form)
        {
            names.remove(&topic.name);
            if names.is_empty() {
                self.colliding_names.remove(&form);
            }
        }
        let resource = ConfigResource::topic(topic.name.as_str());
        self.configs.remove(&resource);
        delta.configs_changed.remove(&resource);
        delta.forget_partitions_of(topic_id);
        if !delta.topics_created.remove(&topic_id) {
            delta.topics_deleted.insert(topic_id, topic);
        }
        Some(())
    }

    fn set_config(&mut self, delta: &mut Delta, resource: &ConfigResource, key: &str, value: Option<&str>) {
        // A topic's configurations follow its life: without the topic there is nothing to configure, and a later one of the name starts
        // with none.
        if resource.resource_type == ConfigResourceType::Topic && !self.topic_ids.contains_key(resource.name.as_str()) {
            delta.ignored_records += 1;
            return;
        }
        let values = Arc::make_mut(self.configs.entry(resource.clone()).or_default());
        match value {
            Some(value) => {
                values.insert(key.to_owned(), value.to_owned());
            }
            None => {
                values.remove(key);
            }
        }
        if values.is_empty() {
            self.configs.remove(resource);
        }
        delta.configs_changed.insert(resource.clone());
    }
}
