//! What becomes of partitions when a broker comes or goes, and the elections that the controller holds by itself
//! (`ReplicationControlManager.generateLeaderAndIsrUpdates` and who calls it; KIP-841, KIP-966).

use model::{BrokerId, PartitionIndex, TopicIdPartition, TopicName};

use super::Decision;
use super::partition_change::{Election, PartitionChange};
use crate::configs::ConfigView;
use crate::image::{Broker, Image, Partition};
use crate::records::MetadataRecord;

/// A leader that may lack what was acknowledged: `unclean.leader.election.enable` allowed it, or all who had it lost it. Worth a line in the
/// log wherever it happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UncleanElection {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// The leader.
    pub leader: BrokerId,
}

/// How a broker's part in its partitions changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Passage {
    /// It leaves the in-sync sets and leads nothing; what it has stays whole, so it may be eligible.
    Leaves(BrokerId),
    /// The same, and it may have lost what it had (KIP-966's unclean shutdown; an empty disk), so it is eligible for nothing.
    LosesData(BrokerId),
    /// It may lead again.
    Comes(BrokerId),
}

/// The changes of all partitions that a broker's coming or going concerns.
pub(super) fn pass(view: ConfigView<'_>, passage: Passage) -> Vec<MetadataRecord> {
    let image = view.image();
    let may_lead = |id: BrokerId| match passage {
        Passage::Leaves(broker) | Passage::LosesData(broker) if broker == id => false,
        Passage::Comes(broker) if broker == id => true,
        Passage::Leaves(_) | Passage::LosesData(_) | Passage::Comes(_) => is_active(image, id),
    };
    let concerns = |partition: &Partition| match passage {
        Passage::Leaves(broker) => partition.isr.contains(&broker) || partition.leader == Some(broker),
        Passage::LosesData(broker) => {
            partition.isr.contains(&broker) || partition.eligible_leader_replicas.contains(&broker) || partition.leader == Some(broker)
        }
        Passage::Comes(broker) => partition.leader.is_none() && partition.replicas.contains(&broker),
    };
    change_all(view, usize::MAX, concerns, |mut change| {
        match passage {
            Passage::Leaves(broker) => change.isr.retain(|member| *member != broker),
            Passage::LosesData(broker) => {
                change.isr.retain(|member| *member != broker);
                change.not_whole = Some(broker);
            }
            Passage::Comes(_) => {}
        }
        change.build(&may_lead)
    })
}

/// Decides that a broker may neither lead nor be in sync: its session is over, or it asked for it. A broker that is fenced stays so.
#[must_use]
pub fn fence_broker(view: ConfigView<'_>, broker: &Broker) -> Vec<MetadataRecord> {
    if broker.fenced {
        return Vec::new();
    }
    let mut records = pass(view, Passage::Leaves(broker.id));
    records.push(standing(broker, Some(true), None));
    records
}

/// The record of a broker's new standing.
pub(super) const fn standing(broker: &Broker, fenced: Option<bool>, in_controlled_shutdown: Option<bool>) -> MetadataRecord {
    MetadataRecord::BrokerChange { broker_id: broker.id, broker_epoch: broker.epoch, fenced, in_controlled_shutdown }
}

/// Gives partitions back to their preferred leaders, as far as these may lead: at most `max` at once, so that they do not all move in one
/// moment (`maybeBalancePartitionLeaders`). What is answered tells whether there may be more.
#[must_use]
pub fn balance_leaders(view: ConfigView<'_>, max: usize) -> Decision<bool> {
    let image = view.image();
    let concerns = |partition: &Partition| {
        let preferred = partition.replicas.first().copied();
        partition.leader.is_some() && partition.leader != preferred
    };
    let records = change_all(view, max, concerns, |mut change| {
        change.election = Election::Preferred;
        change.build(&|id| is_active(image, id))
    });
    let changes = records.iter().filter(|record| matches!(record, MetadataRecord::PartitionChange { .. })).count();
    Decision { response: changes >= max, records }
}

/// Elects any living replica where a topic allows it and nobody leads (`maybeElectUncleanLeaders`): the setting may have come after the last
/// complete replica went.
#[must_use]
pub fn elect_unclean_leaders(view: ConfigView<'_>, max: usize) -> Vec<MetadataRecord> {
    let image = view.image();
    change_all(
        view,
        max,
        |partition| partition.leader.is_none(),
        |change| {
            if change.election == Election::Unclean { change.build(&|id| is_active(image, id)) } else { Vec::new() }
        },
    )
}

/// Whether a broker leads any partition.
#[must_use]
pub(super) fn leads_any(image: &Image, broker: BrokerId) -> bool {
    image.topics().any(|topic| topic.partitions.iter().any(|partition| partition.leader == Some(broker)))
}

/// Whether a broker may lead and join in-sync sets.
pub(super) fn is_active(image: &Image, id: BrokerId) -> bool {
    image.broker(id).is_some_and(|broker| broker.is_active())
}

/// Changes each partition that is concerned, at most `max` of them.
fn change_all<'a>(
    view: ConfigView<'a>,
    max: usize,
    concerns: impl Fn(&Partition) -> bool,
    change: impl Fn(PartitionChange<'a>) -> Vec<MetadataRecord>,
) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    let mut changed = 0;
    for topic in view.image().topics() {
        let mut rules = None;
        for (partition, state) in topic.partitions().filter(|(_, state)| concerns(state)) {
            if changed >= max {
                return records;
            }
            let rules = *rules.get_or_insert_with(|| view.election_rules(topic.name.as_str()));
            let id = TopicIdPartition { topic_id: topic.id, partition };
            let change = change(PartitionChange::new(id, state, rules));
            changed += usize::from(!change.is_empty());
            records.extend(change);
        }
    }
    records
}

/// The elections among these records, decided on this image, that may lose what was acknowledged: the new leader was neither in sync nor
/// eligible.
#[must_use]
pub fn unclean_elections(image: &Image, records: &[MetadataRecord]) -> Vec<UncleanElection> {
    let unclean = |record: &MetadataRecord| {
        let MetadataRecord::PartitionChange { topic_id, partition, leader: Some(Some(leader)), .. } = record else { return None };
        let topic = image.topic_by_id(*topic_id)?;
        let before = topic.partition(*partition)?;
        let is_complete = before.isr.contains(leader) || before.eligible_leader_replicas.contains(leader);
        (!is_complete).then(|| UncleanElection { topic: topic.name.clone(), partition: *partition, leader: *leader })
    };
    records.iter().filter_map(unclean).collect()
}
