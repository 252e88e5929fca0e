//! The in-sync replicas as the active controller has them: a leader's proposals become AlterPartition requests.

use std::collections::BTreeSet;
use std::time::Duration;

use model::BrokerId;
use protocol::ErrorCode;
use protocol::messages::AlterPartitionRequest;
use protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use protocol::messages::alter_partition_response::PartitionData as Answered;
use wire::BoxFuture;
use wire::clock::SharedClock;

use crate::controller_channel::ControllerChannel;
use crate::isr_changes::IsrProposer;
use crate::metadata_view::MetadataView;
use crate::partitions::{PartitionProposal, ProposalAnswer};

const ALTER_PARTITION_VERSION: i16 = 3;
/// How long one attempt may take; a proposal of unknown fate is asked again.
const ATTEMPT: Duration = Duration::from_secs(5);
/// The epoch of a broker that is not registered: the controller refuses it as a member.
const NO_EPOCH: i64 = -1;

/// Asks the active controller.
pub(crate) struct ByController {
    /// This broker.
    pub(crate) broker_id: BrokerId,
    /// The way to it.
    pub(crate) channel: ControllerChannel,
    /// Who is registered.
    pub(crate) metadata: MetadataView,
    /// Time.
    pub(crate) clock: SharedClock,
}

impl IsrProposer for ByController {
    fn propose<'a>(&'a self, proposal: &'a PartitionProposal) -> BoxFuture<'a, ProposalAnswer> {
        Box::pin(async move {
            let request = self.request(proposal);
            let deadline = self.clock.monotonic() + ATTEMPT;
            let Ok(response) = self.channel.send(ALTER_PARTITION_VERSION, &request, deadline).await else { return ProposalAnswer::Unknown };
            if response.error_code == ErrorCode::StaleBrokerEpoch.code() {
                // A later run of this broker is registered, or it was taken for dead: its metadata will tell.
                return ProposalAnswer::Outdated;
            }
            let answered = response.topics.first().and_then(|topic| topic.partitions.first());
            answered.filter(|_| response.error_code == 0).map_or(ProposalAnswer::Unknown, answer_of)
        })
    }
}

impl ByController {
    fn request(&self, proposal: &PartitionProposal) -> AlterPartitionRequest {
        let image = self.metadata.image();
        let epoch_of = |id: BrokerId| image.broker(id).map_or(NO_EPOCH, |broker| broker.epoch.get());
        // IMPORTANT: of a follower the registration that fetched; what is registered under its id by now may have begun with an empty disk.
        let member_epoch = |id: BrokerId| proposal.broker_epochs.get(&id).map_or_else(|| epoch_of(id), |fetched| fetched.get());
        let members = proposal.proposal.isr.iter();
        let members = members.map(|id| BrokerState::default().with_broker_id(id.get().into()).with_broker_epoch(member_epoch(*id)));
        let partition = PartitionData::default()
            .with_partition_index(proposal.id.partition.get())
            .with_leader_epoch(proposal.leader_epoch.get())
            .with_new_isr_with_epochs(members.collect())
            .with_partition_epoch(proposal.proposal.partition_epoch);
        let topic = TopicData::default().with_topic_id(proposal.id.topic_id.0).with_partitions(vec![partition]);
        AlterPartitionRequest::default()
            .with_broker_id(self.broker_id.get().into())
            .with_broker_epoch(epoch_of(self.broker_id))
            .with_topics(vec![topic])
    }
}

fn answer_of(answered: &Answered) -> ProposalAnswer {
    let code = answered.error_code;
    if code == 0 {
        let isr: BTreeSet<BrokerId> = answered.isr.iter().filter_map(|id| BrokerId::new(id.0)).collect();
        return ProposalAnswer::Committed { isr, partition_epoch: answered.partition_epoch };
    }
    if code == ErrorCode::IneligibleReplica.code() {
        return ProposalAnswer::Refused;
    }
    let outdated = [
        ErrorCode::FencedLeaderEpoch,
        ErrorCode::InvalidUpdateVersion,
        ErrorCode::NewLeaderElected,
        ErrorCode::UnknownTopicId,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::InvalidRequest,
    ];
    if outdated.iter().any(|outdated| outdated.code() == code) { ProposalAnswer::Outdated } else { ProposalAnswer::Unknown }
}
