//! Properties of images: what must hold for any records.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionIndex, ProducerId, TopicId, TopicIdPartition};
use proptest::prelude::*;
use uuid::Uuid;

use crate::{ConfigResource, Delta, Image, MetadataRecord, SnapshotError, decode_records, encode_records};

fn topic_id() -> impl Strategy<Value = TopicId> {
    (1_u128..6).prop_map(|id| TopicId(Uuid::from_u128(id)))
}

fn topic_name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "a.b", "a_b", "c"]).prop_map(str::to_owned)
}

fn broker_id() -> impl Strategy<Value = BrokerId> {
    (1..4).prop_map(BrokerId::new_or_zero)
}

fn partition_index() -> impl Strategy<Value = PartitionIndex> {
    (0..4).prop_map(PartitionIndex::new_or_zero)
}

fn resource() -> impl Strategy<Value = ConfigResource> {
    prop_oneof![topic_name().prop_map(|name| ConfigResource::topic(&name)), broker_id().prop_map(ConfigResource::broker)]
}

fn record() -> impl Strategy<Value = MetadataRecord> {
    let brokers = || prop::collection::vec(broker_id(), 1..3);
    prop_oneof![
        Just(MetadataRecord::Cluster { cluster_id: "c".to_owned() }),
        (topic_name(), -1_i16..3).prop_map(|(name, level)| MetadataRecord::Feature { name, level }),
        (broker_id(), any::<bool>()).prop_map(|(broker_id, fenced)| MetadataRecord::RegisterBroker {
            broker_id,
            incarnation_id: Uuid::from_u128(1),
            listeners: Vec::new(),
            rack: None,
            features: BTreeMap::new(),
            fenced,
        }),
        (broker_id(), any::<u128>())
            .prop_map(|(broker_id, id)| MetadataRecord::BrokerDirectory { broker_id, directory_id: Uuid::from_u128(id) }),
        (broker_id(), 0_i64..9, any::<Option<bool>>()).prop_map(|(broker_id, epoch, fenced)| MetadataRecord::BrokerChange {
            broker_id,
            broker_epoch: BrokerEpoch::new_or_zero(epoch),
            fenced,
            in_controlled_shutdown: None,
        }),
        (broker_id(), 0_i64..9)
            .prop_map(|(broker_id, epoch)| MetadataRecord::UnregisterBroker { broker_id, broker_epoch: BrokerEpoch::new_or_zero(epoch) }),
        broker_id().prop_map(|broker_id| MetadataRecord::BumpLeaderEpochs { broker_id }),
        (topic_name(), topic_id()).prop_map(|(name, topic_id)| MetadataRecord::Topic { name, topic_id }),
        (topic_id(), partition_index(), brokers()).prop_map(|(topic_id, partition, replicas)| MetadataRecord::Partition {
            topic_id,
            partition,
            isr: replicas.clone(),
            leader: replicas.first().copied(),
            replicas,
            leader_epoch: LeaderEpoch::ZERO,
            partition_epoch: 0,
        }),
        (topic_id(), partition_index(), prop::option::of(brokers()), prop::option::of(prop::option::of(broker_id()))).prop_map(
            |(topic_id, partition, isr, leader)| MetadataRecord::PartitionChange { topic_id, partition, isr, leader, replicas: None }
        ),
        (topic_id(), partition_index(), prop::option::of(brokers()), prop::option::of(prop::option::of(broker_id()))).prop_map(
            |(topic_id, partition, ids, last_known_leader)| MetadataRecord::PartitionDetails {
                topic_id,
                partition,
                eligible_leader_replicas: ids.clone(),
                last_known_leader,
                adding_replicas: ids.clone(),
                removing_replicas: ids,
            }
        ),
        topic_id().prop_map(|topic_id| MetadataRecord::RemoveTopic { topic_id }),
        (resource(), prop::option::of("[a-c]{1,2}")).prop_map(|(resource, value)| MetadataRecord::Config {
            resource,
            key: "k".to_owned(),
            value
        }),
        (broker_id(), 0_i64..5000).prop_map(|(broker_id, next)| MetadataRecord::ProducerIds {
            broker_id,
            broker_epoch: BrokerEpoch::ZERO,
            next_producer_id: ProducerId::new_or_zero(next)
        }),
    ]
}

fn records() -> impl Strategy<Value = Vec<MetadataRecord>> {
    prop::collection::vec(record(), 0..40)
}

/// Lookups must agree with each other, whatever was applied.
fn check_consistent(image: &Image) {
    assert_eq!(image.topics().count(), image.topic_count());
    for topic in image.topics() {
        assert_eq!(image.topic_id(topic.name.as_str()), Some(topic.id));
        assert_eq!(image.topic_by_id(topic.id), Some(topic));
        if topic.name.as_str().contains(['.', '_']) {
            assert!(image.colliding_topic(topic.name.as_str()).is_some());
        }
    }
}

/// What a delta says must be what differs.
fn check_delta(before: &Image, after: &Image, delta: &Delta) {
    for topic in after.topics() {
        // Ids are never used twice outside of this test; here one may go and come back in one delta.
        let came_back = delta.topics_deleted.contains_key(&topic.id);
        assert!(came_back || before.topic_by_id(topic.id).is_none() == delta.topics_created.contains(&topic.id));
        for (partition, state) in topic.partitions() {
            let id = TopicIdPartition { topic_id: topic.id, partition };
            let same = before.partition(id).is_some_and(|old| old == state) && !came_back;
            assert!(same || delta.partitions_changed.contains(&id), "{id} changed unseen");
            if !delta.partitions_changed.contains(&id) {
                assert!(before.partition(id).is_some_and(|old| Arc::ptr_eq(old, state)), "{id} was copied though it did not change");
            }
        }
    }
    for topic in before.topics() {
        let gone = after.topic_by_id(topic.id).is_none();
        assert!(!gone || delta.topics_deleted.contains_key(&topic.id));
    }
    assert!(delta.partitions_changed.iter().all(|id| after.partition(*id).is_some()));
    assert!(delta.topics_created.iter().all(|id| after.topic_by_id(*id).is_some()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn applying_one_by_one_equals_applying_all(first in records(), second in records()) {
        let (image, delta) = Image::default().apply(7, &first);
        check_delta(&Image::default(), &image, &delta);
        let (all, delta) = image.apply(8, &second);
        check_delta(&image, &all, &delta);
        check_consistent(&all);
        let one_by_one = second.iter().fold(image, |image, record| image.apply(8, std::slice::from_ref(record)).0);
        if !second.is_empty() {
            prop_assert_eq!(&one_by_one, &all);
        }
    }

    #[test]
    fn the_delta_between_two_images_says_all_that_differs(first in records(), second in records()) {
        let former = Image::default().apply(7, &first).0;
        let image = former.apply(8, &second).0;
        let delta = Delta::between(&former, &image);
        for topic in former.topics() {
            prop_assert_eq!(delta.topics_deleted.contains_key(&topic.id), image.topic_by_id(topic.id).is_none());
        }
        for topic in image.topics() {
            prop_assert_eq!(delta.topics_created.contains(&topic.id), former.topic_by_id(topic.id).is_none());
            for (partition, _) in topic.partitions() {
                let id = TopicIdPartition { topic_id: topic.id, partition };
                prop_assert!(delta.partitions_changed.contains(&id));
            }
        }
        prop_assert!(former.brokers().chain(image.brokers()).all(|broker| delta.brokers_changed.contains(&broker.id)));
    }

    #[test]
    fn a_snapshot_gives_the_same_image_back(first in records()) {
        let image = Image::default().apply(3, &first).0;
        let bytes = image.to_snapshot();
        let restored = Image::from_snapshot(&bytes).expect("its own bytes");
        check_consistent(&restored);
        prop_assert_eq!(restored.to_snapshot(), bytes);
        prop_assert_eq!(restored, image);
    }

    #[test]
    fn records_survive_their_bytes(records in records()) {
        prop_assert_eq!(decode_records(&encode_records(&records)), Ok(records));
    }

    #[test]
    fn decoding_anything_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _refused_or_not = decode_records(&bytes);
        let mut versioned = vec![1];
        versioned.extend_from_slice(&bytes);
        let _refused_or_not = decode_records(&versioned);
        let _refused = Image::from_snapshot(&bytes);
    }

    #[test]
    fn a_cut_or_changed_list_of_records_never_panics(records in records(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode_records(&records);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _refused_or_not = decode_records(&bytes);
        bytes.truncate(at);
        prop_assert!(decode_records(&bytes).is_err());
    }
}

#[test]
fn a_changed_snapshot_is_refused_at_every_position() {
    let records = [MetadataRecord::Topic { name: "t".to_owned(), topic_id: TopicId(Uuid::from_u128(1)) }];
    let bytes = Image::default().apply(1, &records).0.to_snapshot();
    for position in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[position] ^= 0x10;
        assert!(Image::from_snapshot(&changed).is_err());
        assert!(Image::from_snapshot(&bytes[..position]).is_err());
    }
    assert_eq!(Image::from_snapshot(&[]), Err(SnapshotError::Cut(0)));
}

/// Snapshots grew twice: what an older klamm wrote must still be read.
#[test]
fn a_snapshot_without_what_came_later_is_read() {
    let topic_id = TopicId(Uuid::from_u128(1));
    let image = Image::default().apply(1, &[MetadataRecord::Topic { name: "t".to_owned(), topic_id }]).0;
    let bytes = image.to_snapshot();
    // Version and checksum, then the body, then an empty list of quotas and an empty list of partitions' details: a byte each.
    for later in 1..=2 {
        let body = &bytes[5..bytes.len() - later];
        let mut older = vec![bytes[0]];
        older.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
        older.extend_from_slice(body);
        assert_eq!(Image::from_snapshot(&older), Ok(image.clone()));
    }
}

/// Of ten thousand topics a change to one shares all others with the image before.
#[test]
fn a_delta_costs_what_changed() {
    let mut records = Vec::new();
    for number in 1..=10_000_u128 {
        let topic_id = TopicId(Uuid::from_u128(number));
        records.push(MetadataRecord::Topic { name: format!("topic-{number}"), topic_id });
        records.push(MetadataRecord::Partition {
            topic_id,
            partition: PartitionIndex::ZERO,
            replicas: vec![BrokerId::ZERO],
            isr: vec![BrokerId::ZERO],
            leader: Some(BrokerId::ZERO),
            leader_epoch: LeaderEpoch::ZERO,
            partition_epoch: 0,
        });
    }
    let before = Image::default().apply(1, &records).0;
    let change = MetadataRecord::PartitionChange {
        topic_id: TopicId(Uuid::from_u128(77)),
        partition: PartitionIndex::ZERO,
        isr: None,
        leader: Some(None),
        replicas: None,
    };
    let (after, delta) = before.apply(2, &[change]);
    assert_eq!(delta.partitions_changed.len(), 1);
    let copied = before.topics().zip(after.topics()).filter(|(old, new)| !Arc::ptr_eq(old, new)).count();
    assert_eq!(copied, 1);
}

/// With the counts of its `Arc`, and without its lists; the allocator's next larger size is 192.
#[test]
fn a_partitions_state_takes_no_more_than_160_bytes() {
    let taken = size_of::<crate::Partition>() + 2 * size_of::<usize>();
    assert!(taken <= 160, "{taken}");
}
