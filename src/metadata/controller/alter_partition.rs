//! AlterPartition: the leader of a partition asks for another in-sync set (`ReplicationControlManager.alterPartition`; KIP-497, KIP-841, KIP-903).
//!
//! The change rests on a leader epoch and a partition epoch; if either is not the newest, nothing changes: a late or repeated request has no
//! effect. Several changes in one request are decided one after the other.

use model::{BrokerEpoch, BrokerId, PartitionIndex, TopicId, TopicIdPartition};
use protocol::ErrorCode;
use protocol::messages::alter_partition_request::PartitionData as Asked;
use protocol::messages::alter_partition_response::{PartitionData, TopicData};
use protocol::messages::{AlterPartitionRequest, BrokerId as WireBrokerId};

use super::elections::is_active;
use super::heartbeat::check_broker_epoch;
use super::partition_change::PartitionChange;
use super::{Decision, Refusal};
use crate::configs::ConfigView;
use crate::image::{Image, Partition};
use crate::records::MetadataRecord;

/// The wire's word for a leader that recovers from an unclean election; klamm's have recovered when they lead.
const RECOVERING: i8 = 1;

/// An in-sync set that is asked for, with the registration that each member was seen with. No epoch means that it is not checked.
type Wanted = Vec<(BrokerId, Option<BrokerEpoch>)>;

/// A partition and the records of its change.
type Change = (TopicIdPartition, Vec<MetadataRecord>);

/// Decides an AlterPartition request of version 2 or 3, as the controller's broker sees configurations.
///
/// # Errors
/// STALE_BROKER_EPOCH, if the broker is not the registered one.
pub fn alter_partition(view: ConfigView<'_>, request: &AlterPartitionRequest) -> Result<Decision<Vec<TopicData>>, Refusal> {
    let stale = || Refusal::silent(ErrorCode::StaleBrokerEpoch);
    let broker_id = BrokerId::new(request.broker_id.0).ok_or_else(stale)?;
    let broker_epoch = BrokerEpoch::new(request.broker_epoch).ok_or_else(stale)?;
    check_broker_epoch(view.image(), broker_id, broker_epoch)?;
    let mut image = view.image().clone();
    let mut records = Vec::new();
    let mut response = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut rows = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let row = PartitionData::default().with_partition_index(asked.partition_index);
            rows.push(match alter(view.on(&image), broker_id, TopicId(topic.topic_id), asked) {
                Ok((id, change)) => {
                    // The next change of the request must see this one.
                    image = image.apply(image.index(), &change).0;
                    records.extend(change);
                    tell(&image, id, broker_id, row)
                }
                Err(code) => row.with_error_code(code.code()),
            });
        }
        response.push(TopicData::default().with_topic_id(topic.topic_id).with_partitions(rows));
    }
    Ok(Decision { records, response })
}

fn alter(view: ConfigView<'_>, leader: BrokerId, topic_id: TopicId, asked: &Asked) -> Result<Change, ErrorCode> {
    let image = view.image();
    let topic = image.topic_by_id(topic_id).ok_or(ErrorCode::UnknownTopicId)?;
    let found = PartitionIndex::new(asked.partition_index).and_then(|index| Some((index, topic.partition(index)?)));
    let (partition, before) = found.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let isr = check(image, leader, before, asked)?;
    let id = TopicIdPartition { topic_id, partition };
    let mut change = PartitionChange::new(id, before, view.election_rules(topic.name.as_str()));
    change.isr = isr;
    Ok((id, change.build(&|id| is_active(image, id))))
}

/// The in-sync set that is asked for, if everything that the request rests on still holds.
fn check(image: &Image, leader: BrokerId, before: &Partition, asked: &Asked) -> Result<Vec<BrokerId>, ErrorCode> {
    // A leader that is ahead has heard of a newer controller than this one.
    if asked.leader_epoch > before.leader_epoch.get() || asked.partition_epoch > before.partition_epoch {
        return Err(ErrorCode::NotController);
    }
    if asked.leader_epoch < before.leader_epoch.get() {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if before.leader != Some(leader) {
        return Err(ErrorCode::InvalidRequest);
    }
    if asked.partition_epoch < before.partition_epoch {
        return Err(ErrorCode::InvalidUpdateVersion);
    }
    let wanted = wanted(asked).ok_or(ErrorCode::InvalidRequest)?;
    let isr: Vec<BrokerId> = wanted.iter().map(|(member, _)| *member).collect();
    let is_repeated = isr.iter().enumerate().any(|(place, member)| isr.iter().skip(place + 1).any(|other| other == member));
    let is_within = isr.iter().all(|member| before.replicas.contains(member));
    if is_repeated || !is_within || !isr.contains(&leader) || asked.leader_recovery_state == RECOVERING {
        return Err(ErrorCode::InvalidRequest);
    }
    let is_eligible = |(member, epoch): &(BrokerId, Option<BrokerEpoch>)| {
        image.broker(*member).is_some_and(|broker| broker.is_active() && epoch.is_none_or(|epoch| epoch == broker.epoch))
    };
    if wanted.iter().all(is_eligible) { Ok(isr) } else { Err(ErrorCode::IneligibleReplica) }
}

/// `None` if a broker's id is none. Version 3 has epochs beside the ids, version 2 has not.
fn wanted(asked: &Asked) -> Option<Wanted> {
    if asked.new_isr_with_epochs.is_empty() {
        return asked.new_isr.iter().map(|id| Some((BrokerId::new(id.0)?, None))).collect();
    }
    let members = asked.new_isr_with_epochs.iter();
    members.map(|member| Some((BrokerId::new(member.broker_id.0)?, BrokerEpoch::new(member.broker_epoch)))).collect()
}

/// The partition as it will be. The change may end a reassignment and with it the asking broker's leadership: then it must hear of that first.
fn tell(image: &Image, id: TopicIdPartition, asker: BrokerId, row: PartitionData) -> PartitionData {
    let Some(partition) = image.partition(id) else { return row.with_error_code(ErrorCode::UnknownTopicOrPartition.code()) };
    if partition.leader != Some(asker) {
        return row.with_error_code(ErrorCode::NewLeaderElected.code());
    }
    row.with_leader_id(WireBrokerId(BrokerId::to_wire(partition.leader)))
        .with_leader_epoch(partition.leader_epoch.get())
        .with_isr(partition.isr.iter().map(|member| WireBrokerId(member.get())).collect())
        .with_partition_epoch(partition.partition_epoch)
}
