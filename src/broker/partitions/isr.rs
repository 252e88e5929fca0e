//! The leader's dealings with its followers: their fetches, the in-sync replicas, and what follows from both.
//!
//! A change of the in-sync replicas is the controller's to make. A partition's proposal goes into a channel; who takes it out asks the controller and
//! brings the answer back (`crate::isr_changes`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, TopicIdPartition};
use replication::{Effects, EpochCheck, Event, IsrProposal, LeaderState, MinIsr};
use tokio::sync::mpsc;

use super::append::RequiredAcks;
use super::partition::{Partition, PartitionError, State, Waiting};
use super::{AppendRefusal, Partitions};

/// Takes proposals of partitions. At most one of each partition is under way.
pub(super) type ProposalSender = mpsc::UnboundedSender<PartitionProposal>;

/// A change of the in-sync replicas that a leader asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionProposal {
    /// The partition.
    pub id: TopicIdPartition,
    /// The term of the leader that asks.
    pub leader_epoch: LeaderEpoch,
    /// The set that it wants, and the partition epoch that this rests on.
    pub proposal: IsrProposal,
    /// The registrations that the followers fetched as. One that has not fetched in this term has none; it is a member already, if it is one.
    pub broker_epochs: BTreeMap<BrokerId, BrokerEpoch>,
}

/// A broker that fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// Its id.
    pub broker: BrokerId,
    /// The registration that it fetches as, if it says.
    pub broker_epoch: Option<BrokerEpoch>,
    /// Whether the controller would take it into the in-sync replicas: it is of the registration that is known here, alive, and not about to stop.
    pub is_eligible: bool,
}

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProposalAnswer {
    /// The controller's state of the partition now.
    Committed {
        /// The in-sync replicas.
        isr: BTreeSet<BrokerId>,
        /// The partition epoch.
        partition_epoch: i32,
    },
    /// It was certainly not taken and never will be (INELIGIBLE_REPLICA): the leader goes on with the set that it had.
    Refused,
    /// The leader's idea of the partition is out of date, so that it cannot know what holds (FENCED_LEADER_EPOCH, INVALID_UPDATE_VERSION): it
    /// reckons with the larger set until the metadata tells.
    Outdated,
    /// Nobody knows whether it was taken: the connection broke, or there is no controller at the moment. It is asked again.
    Unknown,
}

/// What must be done once no lock is held.
#[must_use]
#[derive(Default)]
pub(super) struct Consequences {
    acknowledged: Vec<Waiting>,
    /// Replicated, but to too few.
    refused: Vec<Waiting>,
    has_moved: bool,
    proposal: Option<(LeaderEpoch, IsrProposal, BTreeMap<BrokerId, BrokerEpoch>)>,
}

impl State {
    /// Takes what followed from an event of replication.
    pub(super) fn take_effects(&mut self, effects: Effects) -> Consequences {
        let mut consequences = self.take_high_watermark();
        if let (Some(proposal), Some(leader)) = (effects.propose, &self.replication) {
            consequences.proposal = Some((self.leader_epoch, proposal, leader.broker_epochs()));
        }
        consequences
    }

    /// Takes over the leader's high watermark.
    pub(super) fn take_high_watermark(&mut self) -> Consequences {
        self.take_append(RequiredAcks::All)
    }

    /// The same after an append whose answer waits last.
    pub(super) fn take_append(&mut self, acks: RequiredAcks) -> Consequences {
        let Some(high_watermark) = self.replication.as_ref().map(LeaderState::high_watermark) else { return Consequences::default() };
        let log = &self.log;
        let has_moved = self.offsets.advance_high_watermark(high_watermark, |high_watermark| log.first_unstable_offset(high_watermark));
        let mut consequences = Consequences { has_moved, ..Consequences::default() };
        self.take_satisfied(acks, &mut consequences);
        consequences
    }

    /// Takes out the waiting appends that are satisfied now: those below the high watermark, and the newest one if it needs only the leader.
    fn take_satisfied(&mut self, newest: RequiredAcks, into: &mut Consequences) {
        if newest != RequiredAcks::All {
            into.acknowledged.extend(self.waiting.pop_back());
        }
        let high_watermark = self.offsets.high_watermark();
        if self.waiting.front().is_none_or(|waiting| waiting.required > high_watermark) {
            return;
        }
        let is_enough = self.replication.as_ref().is_none_or(|leader| leader.min_isr() == MinIsr::Satisfied);
        let done = if is_enough { &mut into.acknowledged } else { &mut into.refused };
        while self.waiting.front().is_some_and(|waiting| waiting.required <= high_watermark) {
            done.extend(self.waiting.pop_front());
        }
    }
}

impl Partition {
    /// Answers, wakes, and asks for what follows from a change of the state.
    pub(super) fn carry_out(&self, consequences: Consequences) {
        let Consequences { acknowledged, refused, has_moved, proposal } = consequences;
        for waiting in acknowledged {
            let _gone = waiting.reply.send(Ok(waiting.outcome));
        }
        for waiting in refused {
            let _gone = waiting.reply.send(Err(AppendRefusal::NotEnoughReplicasAfterAppend));
        }
        if has_moved {
            self.watchers.wake_all();
        }
        if let Some((leader_epoch, proposal, broker_epochs)) = proposal {
            // Nobody takes it out of the channel when the broker stops.
            let _stopping = self.proposals.send(PartitionProposal { id: self.id(), leader_epoch, proposal, broker_epochs });
        }
    }

    /// Another broker has fetched: it has all that lies before `offset`.
    ///
    /// # Errors
    /// If the partition is led under another epoch by now, the broker holds no replica, or a later registration of it has fetched.
    pub fn follower_fetched(
        &self,
        follower: Follower,
        current_leader_epoch: Option<LeaderEpoch>,
        offset: Offset,
        now: Duration,
    ) -> Result<(), PartitionError> {
        let Follower { broker, broker_epoch, is_eligible } = follower;
        let consequences = {
            let mut state = self.state.lock();
            let leader = state.replication.as_mut().ok_or(PartitionError::NotLeader)?;
            if leader.check_epoch(current_leader_epoch) != EpochCheck::Current || !leader.has_follower(broker) {
                return Err(PartitionError::NotLeader);
            }
            if !leader.note_broker_epoch(broker, broker_epoch) {
                return Err(PartitionError::NotLeader);
            }
            let effects = leader.handle(Event::Fetched { broker, offset, eligible: is_eligible, now_ms: milliseconds(now) });
            state.take_effects(effects)
        };
        self.carry_out(consequences);
        Ok(())
    }

    /// Whether the broker holds a replica of a partition that this one leads.
    #[must_use]
    pub fn has_follower(&self, broker: BrokerId) -> bool {
        self.state.lock().replication.as_ref().is_some_and(|leader| leader.has_follower(broker))
    }

    /// Of the given brokers the follower that has most, if it has all before `offset` and this broker leads.
    #[must_use]
    pub fn fullest_follower(&self, among: &[BrokerId], offset: Offset) -> Option<BrokerId> {
        self.state.lock().replication.as_ref()?.fullest_follower(among, offset)
    }

    /// The in-sync replicas that the controller is known to have, if this broker leads.
    #[must_use]
    pub fn in_sync(&self) -> Option<BTreeSet<BrokerId>> {
        self.state.lock().replication.as_ref().map(|leader| leader.isr().committed().clone())
    }

    /// Whether the high watermark has reached what was there when this broker began to lead; a follower's word is as good as its leader's.
    #[must_use]
    pub fn has_current_high_watermark(&self) -> bool {
        self.state.lock().replication.as_ref().is_none_or(LeaderState::has_current_high_watermark)
    }

    /// Whether the proposal still waits for its answer.
    pub(crate) fn is_pending(&self, proposal: &PartitionProposal) -> bool {
        let state = self.state.lock();
        state.leader_epoch == proposal.leader_epoch && state.replication.as_ref().is_some_and(|leader| leader.isr().is_pending())
    }

    /// Takes the answer to a proposal; one that does not belong to this term changes nothing.
    pub fn proposal_answered(&self, proposal: &PartitionProposal, answer: ProposalAnswer) {
        let event = match answer {
            ProposalAnswer::Committed { isr, partition_epoch } => Event::Committed { isr, partition_epoch },
            ProposalAnswer::Refused => Event::Refused { partition_epoch: proposal.proposal.partition_epoch },
            ProposalAnswer::Outdated | ProposalAnswer::Unknown => return,
        };
        self.leader_event(Some(proposal.leader_epoch), event);
    }

    /// Looks for followers that have fallen behind.
    pub(super) fn check_lag(&self, now_ms: u64, lag_max_ms: u64) {
        self.leader_event(None, Event::CheckLag { now_ms, lag_max_ms });
    }

    fn leader_event(&self, of_term: Option<LeaderEpoch>, event: Event) {
        let consequences = {
            let mut state = self.state.lock();
            let leader_epoch = state.leader_epoch;
            let Some(leader) = state.replication.as_mut().filter(|_| of_term.is_none_or(|term| term == leader_epoch)) else { return };
            let effects = leader.handle(event);
            state.take_effects(effects)
        };
        self.carry_out(consequences);
    }

    fn leads_others(&self) -> bool {
        self.state.lock().replication.as_ref().is_some_and(LeaderState::has_followers)
    }
}

impl Partitions {
    /// Whether this broker leads a partition that others follow.
    #[must_use]
    pub fn has_followers(&self) -> bool {
        self.by_id.read().values().any(|partition| partition.leads_others())
    }

    /// Lets each led partition look for followers that have fallen behind (`Partition.maybeShrinkIsr`).
    pub fn check_lag(&self, lag_max: Duration) {
        let now_ms = milliseconds(self.clock.monotonic());
        for partition in self.all() {
            partition.check_lag(now_ms, milliseconds(lag_max));
        }
    }

    /// The partitions' proposals; for one taker.
    #[must_use]
    pub fn take_proposals(&self) -> Option<mpsc::UnboundedReceiver<PartitionProposal>> {
        self.proposed.lock().take()
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
