//! What brokers do with what they hear: roles, fetches, changes of the in-sync set.

use std::collections::BTreeSet;

use metadata::MetadataRecord;
use metadata::controller as decide;
use model::BrokerId;
use protocol::ErrorCode;
use protocol::messages::AlterPartitionRequest;
use protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use replication::{Ask, Effects, Event, FetchFault, FetchPosition, FollowerState, IsrProposal, LeaderState, MinIsr, PartitionTerm, Repair};

use crate::broker::{Broker, Role, length, offset};
use crate::invariants::Violation;
use crate::messages::{AlterAnswer, Envelope, FetchAnswer, Message, Node};
use crate::mutant::Mutant;
use crate::world::{World, partition_id};

const BACKOFF_MS: u64 = 50;
/// An epoch that says nothing.
const NO_EPOCH: i64 = -1;

fn unfenced(broker: &metadata::Broker) -> MetadataRecord {
    MetadataRecord::BrokerChange {
        broker_id: broker.id,
        broker_epoch: broker.epoch,
        fenced: Some(false),
        in_controlled_shutdown: Some(false),
    }
}

impl World {
    pub(crate) fn deliver(&mut self, envelope: Envelope) -> Result<(), Violation> {
        let Envelope { from, to, run, message } = envelope;
        match (to, message) {
            // It waits in a queue, and who sent it sends it again.
            (Node::Controller, _) if self.is_deciding() => Ok(()),
            (Node::Controller, Message::Register { previous }) => match from {
                // What a dead process sent is gone with its connection. If it were not, it would be taken for a newer run, as in Kafka.
                Node::Broker(place) if self.brokers.get(place).is_some_and(|broker| broker.is_up && broker.run == run) => {
                    self.admit(place, run, previous)
                }
                _ => Ok(()),
            },
            (Node::Controller, Message::Beat(beat)) => {
                let mut sessions = self.sessions.clone();
                let decided = decide::heartbeat(self.view(), &mut sessions, &beat, self.now_ms);
                self.sessions = sessions;
                decided.map_or(Ok(()), |decision| self.record(decision.records))
            }
            (Node::Controller, Message::Alter { attempt, request }) => self.alter(from, run, attempt, request),
            (Node::Broker(place), Message::Fetch { broker_epoch, position }) => {
                self.serve_fetch((place, from, run), broker_epoch.get(), position)
            }
            (Node::Broker(place), answer) if self.brokers.get(place).is_some_and(|broker| broker.is_up && broker.run == run) => {
                self.hear(place, answer)
            }
            _ => Ok(()),
        }
    }

    fn hear(&mut self, place: usize, message: Message) -> Result<(), Violation> {
        match message {
            Message::Registered { epoch } => {
                if let Some(broker) = self.brokers.get_mut(place) {
                    broker.epoch = Some(epoch);
                    broker.is_wiped = false;
                }
                // It serves nothing before its metadata shows this run.
                self.learn_up_to(place, u64::try_from(epoch.get()).unwrap_or(0))
            }
            Message::Altered { attempt, rests_on, answer } => {
                let is_last = |broker: &Broker| {
                    let term = broker.asked.as_ref().map(|(term, _)| *term);
                    broker.attempts == attempt && matches!(&broker.role, Role::Leads(state) if Some(state.leader_epoch()) == term)
                };
                match answer {
                    _ if !self.brokers.get(place).is_some_and(is_last) => Ok(()),
                    AlterAnswer::Committed { isr, partition_epoch } => self.tell_leader(place, Event::Committed { isr, partition_epoch }),
                    AlterAnswer::Refused => self.tell_leader(place, Event::Refused { partition_epoch: rests_on }),
                    AlterAnswer::Outdated => Ok(()),
                }
            }
            Message::Fetched { position, answer } => {
                self.take_fetched(place, position, answer);
                Ok(())
            }
            Message::Register { .. } | Message::Beat(_) | Message::Alter { .. } | Message::Fetch { .. } => Ok(()),
        }
    }

    /// The broker becomes what its metadata says.
    pub(crate) fn take_role(&mut self, place: usize) -> Result<(), Violation> {
        let (now_ms, disk_counts) = (self.now_ms, self.disk_counts);
        let min_insync = if self.is(Mutant::IgnoreMinInsyncReplicas) { 1 } else { self.min_insync };
        let (cuts_to_high_watermark, forgets_start) = (self.is(Mutant::TruncateToHighWatermark), self.is(Mutant::ForgetEpochStart));
        let Some(broker) = self.brokers.get_mut(place).filter(|broker| broker.is_up) else { return Ok(()) };
        let known = broker.image.broker(broker.id);
        if let Some(known) = known.filter(|known| broker.epoch.is_some_and(|epoch| known.epoch > epoch)) {
            // Another run has taken the id, or an earlier one did late: this one registers again.
            let _newer = known.epoch;
            broker.epoch = None;
            broker.role = Role::Nothing;
            broker.term = None;
            return Ok(());
        }
        if known.is_none_or(|known| Some(known.epoch) != broker.epoch) {
            return Ok(());
        }
        let Some(partition) = broker.image.partition(partition_id()).cloned() else { return Ok(()) };
        let is_new_term = broker.term != Some(partition.leader_epoch);
        broker.term = Some(partition.leader_epoch);
        if partition.leader == Some(broker.id) {
            if let (Role::Leads(_), false) = (&broker.role, is_new_term) {
                let isr: BTreeSet<BrokerId> = partition.isr.iter().copied().collect();
                return self.tell_leader(place, Event::Committed { isr, partition_epoch: partition.partition_epoch });
            }
            let end = offset(broker.log.len());
            let term = PartitionTerm {
                replicas: &partition.replicas,
                isr: &partition.isr,
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                epoch_start: if forgets_start { offset(0) } else { end },
                now_ms,
            };
            let counted = if disk_counts { offset(broker.synced) } else { end };
            broker.role = Role::Leads(LeaderState::new(broker.id, &term, counted, offset(broker.high_watermark), min_insync));
            broker.unacknowledged.clear();
            broker.asked = None;
            return self.take(place, Effects::default());
        }
        if is_new_term || !matches!(broker.role, Role::Follows(_)) {
            broker.role = Role::Follows(FollowerState::new(partition.leader_epoch));
            broker.unacknowledged.clear();
            broker.asked = None;
            if cuts_to_high_watermark {
                broker.truncate(broker.high_watermark);
            }
        }
        Ok(())
    }

    pub(crate) fn tell_leader(&mut self, place: usize, event: Event) -> Result<(), Violation> {
        let Some(broker) = self.brokers.get_mut(place) else { return Ok(()) };
        let Role::Leads(state) = &mut broker.role else { return Ok(()) };
        let effects = state.handle(event);
        self.take(place, effects)
    }

    /// The leader's high watermark is shown, and what lies below it acknowledged.
    fn take(&mut self, place: usize, effects: Effects) -> Result<(), Violation> {
        let Some(broker) = self.brokers.get_mut(place) else { return Ok(()) };
        let Role::Leads(state) = &broker.role else { return Ok(()) };
        let reached = length(state.high_watermark());
        if reached < broker.high_watermark {
            let what = format!("broker {} went from {} back to {reached}", broker.id, broker.high_watermark);
            return Err(Violation { invariant: "HighWatermarkNeverGoesBack", what });
        }
        broker.high_watermark = reached;
        self.promises.commit(broker.log.get(..reached).unwrap_or_default())?;
        if state.min_isr() == MinIsr::Satisfied {
            let done = broker.unacknowledged.iter().take_while(|(at, _)| *at < reached).count();
            for (at, value) in broker.unacknowledged.drain(..done) {
                self.promises.acknowledge(at, value)?;
            }
        }
        match effects.propose {
            Some(proposal) => self.propose(place, proposal),
            None => Ok(()),
        }
    }

    fn propose(&mut self, place: usize, proposal: IsrProposal) -> Result<(), Violation> {
        let Some(broker) = self.brokers.get_mut(place) else { return Ok(()) };
        let Role::Leads(state) = &broker.role else { return Ok(()) };
        let fetched = state.broker_epochs();
        let registered = |id: &BrokerId| broker.image.broker(*id).map_or(NO_EPOCH, |broker| broker.epoch.get());
        let members = proposal.isr.iter().map(|id| {
            let epoch = fetched.get(id).map_or_else(|| registered(id), |epoch| epoch.get());
            BrokerState::default().with_broker_id(id.get().into()).with_broker_epoch(epoch)
        });
        let id = partition_id();
        let asked = PartitionData::default()
            .with_partition_index(id.partition.get())
            .with_leader_epoch(state.leader_epoch().get())
            .with_partition_epoch(proposal.partition_epoch)
            .with_new_isr_with_epochs(members.collect());
        let request = AlterPartitionRequest::default()
            .with_broker_id(broker.id.get().into())
            .with_broker_epoch(broker.epoch.map_or(NO_EPOCH, |epoch| epoch.get()))
            .with_topics(vec![TopicData::default().with_topic_id(id.topic_id.0).with_partitions(vec![asked])]);
        let expands = proposal.isr.len() > state.isr().committed().len();
        let shrinks = proposal.isr.len() < state.isr().committed().len();
        let joins = proposal.isr.difference(state.isr().committed()).next().and_then(|id| usize::try_from(id.get()).ok());
        broker.asked = Some((state.leader_epoch(), request));
        self.ask_again(place);
        if self.dice.once_in(4) {
            self.hold_what_comes_from(place);
            // Its disk is replaced while the controller is asked to let it in.
            if let Some(joins) = joins {
                self.fetch(joins);
                self.lose_disk(joins);
            }
        }
        if expands && self.is(Mutant::IgnorePendingExpand) {
            return self.tell_leader(place, Event::Refused { partition_epoch: proposal.partition_epoch });
        }
        if shrinks && self.is(Mutant::ShrinkBeforeController) {
            return self.tell_leader(place, Event::Committed { isr: proposal.isr, partition_epoch: proposal.partition_epoch + 1 });
        }
        Ok(())
    }

    /// A change whose fate is not known is asked for again.
    pub(crate) fn ask_again(&mut self, place: usize) {
        let Some(broker) = self.brokers.get_mut(place) else { return };
        let Role::Leads(state) = &broker.role else { return };
        let asked = broker.asked.clone().filter(|(epoch, _)| *epoch == state.leader_epoch());
        let Some((_, request)) = asked.filter(|_| state.isr().is_pending()) else { return };
        broker.attempts += 1;
        let (run, attempt) = (broker.run, broker.attempts);
        self.send(Node::Broker(place), Node::Controller, run, Message::Alter { attempt, request });
    }

    fn alter(&mut self, from: Node, run: u128, attempt: u64, mut request: AlterPartitionRequest) -> Result<(), Violation> {
        let Node::Broker(place) = from else { return Ok(()) };
        let Some(asker) = self.brokers.get_mut(place).filter(|broker| broker.attempts_read < attempt) else { return Ok(()) };
        asker.attempts_read = attempt;
        let asked = |request: &AlterPartitionRequest| request.topics.first().and_then(|topic| topic.partitions.first()).cloned();
        let rests_on = asked(&request).map_or(0, |asked| asked.partition_epoch);
        if let Some(newest) = self.image.partition(partition_id()) {
            for asked in request.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                let is_old = asked.leader_epoch < newest.leader_epoch.get();
                if self.is(Mutant::IgnorePartitionEpoch) || (is_old && self.is(Mutant::IgnoreLeaderEpochOfAlter)) {
                    asked.partition_epoch = newest.partition_epoch;
                }
                if self.is(Mutant::IgnoreLeaderEpochOfAlter) {
                    asked.leader_epoch = newest.leader_epoch.get();
                }
                if self.is(Mutant::IgnoreMemberEpochs) {
                    asked.new_isr = asked.new_isr_with_epochs.drain(..).map(|member| member.broker_id).collect();
                }
            }
        }
        let mut image = self.image.clone();
        if self.is(Mutant::LetFencedJoin) {
            let all: Vec<_> = image.brokers().map(|broker| unfenced(broker)).collect();
            image = image.apply(image.index(), &all).0;
        }
        let decided = decide::alter_partition(self.view_of(&image), &request);
        let (records, row) = match decided {
            Ok(decision) => (decision.records, decision.response.first().and_then(|topic| topic.partitions.first()).cloned()),
            Err(_) => (Vec::new(), None),
        };
        if !records.is_empty() && self.dice.once_in(8) {
            // Its answer is lost with it, or with its controller.
            self.decided = Some((self.term, records));
            return Ok(());
        }
        self.record(records)?;
        let answer = match row {
            Some(row) if row.error_code == 0 => AlterAnswer::Committed {
                isr: row.isr.iter().filter_map(|id| BrokerId::new(id.0)).collect(),
                partition_epoch: row.partition_epoch,
            },
            Some(row) if row.error_code == ErrorCode::IneligibleReplica.code() => AlterAnswer::Refused,
            _ => AlterAnswer::Outdated,
        };
        self.send(Node::Controller, from, run, Message::Altered { attempt, rests_on, answer });
        Ok(())
    }

    /// A follower asks its leader. What it has is on its disk before it says so, where the disk counts.
    pub(crate) fn fetch(&mut self, place: usize) {
        let syncs = self.disk_counts && !self.is(Mutant::FollowerReportsUnsynced);
        let now_ms = self.now_ms;
        let Some(broker) = self.brokers.get_mut(place).filter(|broker| broker.is_up) else { return };
        let Role::Follows(state) = &broker.role else { return };
        let Ask::Records(position) = state.next(&broker.as_follower(), now_ms) else { return };
        let leader = broker.image.partition(partition_id()).and_then(|partition| partition.leader);
        let (Some(leader), Some(broker_epoch)) = (leader.and_then(|leader| usize::try_from(leader.get()).ok()), broker.epoch) else {
            return;
        };
        if syncs {
            broker.synced = broker.log.len();
        }
        let run = broker.run;
        self.send(Node::Broker(place), Node::Broker(leader), run, Message::Fetch { broker_epoch, position });
    }

    fn serve_fetch(
        &mut self,
        (place, from, run): (usize, Node, u128),
        broker_epoch: i64,
        position: FetchPosition,
    ) -> Result<(), Violation> {
        let Node::Broker(follower) = from else { return Ok(()) };
        let ignores_parting = self.is(Mutant::IgnoreDivergingEpoch);
        let now_ms = self.now_ms;
        let Some(broker) = self.brokers.get_mut(place).filter(|broker| broker.is_up) else { return Ok(()) };
        let answer = |answer: FetchAnswer| Message::Fetched { position, answer };
        let Role::Leads(state) = &mut broker.role else {
            self.send(Node::Broker(place), from, run, answer(FetchAnswer::NotNow));
            return Ok(());
        };
        let (asked, term) = (position.current_leader_epoch, state.leader_epoch());
        if asked != term {
            let fault = if asked < term { FetchAnswer::Fenced } else { FetchAnswer::NotNow };
            self.send(Node::Broker(place), from, run, answer(fault));
            return Ok(());
        }
        let id = BrokerId::new_or_zero(i32::try_from(follower).unwrap_or(0));
        let registered = broker.image.broker(id);
        // As the broker's Fetch does: an earlier registration's disk may be gone.
        if registered.is_some_and(|known| broker_epoch < known.epoch.get()) {
            self.send(Node::Broker(place), from, run, answer(FetchAnswer::NotNow));
            return Ok(());
        }
        let registered = registered.filter(|known| known.is_active());
        let eligible = registered.is_some_and(|known| known.epoch.get() == broker_epoch);
        let parted = if ignores_parting {
            let end = offset(broker.log.len());
            position.last_fetched_epoch.filter(|_| end < position.offset).map(|last| (last, end))
        } else {
            position.last_fetched_epoch.and_then(|last| {
                let newest = term.get();
                let (epoch, end) = broker.end_of(last.get(), newest)?;
                (epoch < last || end < position.offset).then_some((epoch, end))
            })
        };
        if let Some((epoch, end)) = parted {
            self.send(Node::Broker(place), from, run, answer(FetchAnswer::Diverging { epoch, end }));
            return Ok(());
        }
        let Some(broker) = self.brokers.get_mut(place) else { return Ok(()) };
        let Role::Leads(state) = &mut broker.role else { return Ok(()) };
        if !state.note_broker_epoch(id, model::BrokerEpoch::new(broker_epoch)) {
            self.send(Node::Broker(place), from, run, answer(FetchAnswer::NotNow));
            return Ok(());
        }
        let effects = state.handle(Event::Fetched { broker: id, offset: position.offset, eligible, now_ms });
        self.take(place, effects)?;
        let count = 1 + self.dice.below(4);
        let Some(broker) = self.brokers.get(place) else { return Ok(()) };
        let records = broker.log.iter().skip(length(position.offset)).take(count).copied().collect();
        let high_watermark = offset(broker.high_watermark);
        self.send(Node::Broker(place), from, run, answer(FetchAnswer::Records { records, high_watermark }));
        Ok(())
    }

    fn take_fetched(&mut self, place: usize, position: FetchPosition, answer: FetchAnswer) {
        let takes_late = self.is(Mutant::TakeLateAnswers);
        let now_ms = self.now_ms;
        let Some(broker) = self.brokers.get_mut(place) else { return };
        let last_epoch = broker.as_follower().last_epoch;
        let Role::Follows(state) = &mut broker.role else { return };
        let (at, end) = (length(position.offset), broker.log.len());
        // Offset and term may be those of another moment again; the last record's epoch tells.
        let is_newest = state.leader_epoch() == position.current_leader_epoch && last_epoch == position.last_fetched_epoch;
        let is_late = !is_newest || at != end;
        if is_late && (!takes_late || at > end) {
            return;
        }
        match answer {
            FetchAnswer::Fenced => state.failed(FetchFault::Fenced, now_ms, BACKOFF_MS),
            FetchAnswer::NotNow => state.failed(FetchFault::Passing, now_ms, BACKOFF_MS),
            FetchAnswer::Records { records, high_watermark } => {
                state.fetched();
                broker.truncate(at);
                broker.log.extend(records);
                broker.high_watermark = broker.high_watermark.max(length(high_watermark).min(broker.log.len()));
            }
            FetchAnswer::Diverging { epoch, end } => {
                let own = broker.end_of(epoch.get(), broker.log.last().map_or(-1, |last| last.epoch));
                let log = broker.as_follower();
                let Role::Follows(state) = &mut broker.role else { return };
                let to = match state.diverged(&log, (epoch, end), own, now_ms, BACKOFF_MS) {
                    Repair::Truncate(to) => length(to),
                    Repair::Reset(_) => 0,
                    Repair::Nothing => return,
                };
                self.cut += broker.log.len().saturating_sub(to);
                broker.truncate(to);
            }
        }
    }
}
