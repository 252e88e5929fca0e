//! The cluster and its history.

use std::collections::BTreeMap;

use metadata::configs::{ConfigView, StaticConfig};
use metadata::controller::{self as decide, BrokerRegistration, BrokerSessions, Heartbeat, RegistrationWish};
use metadata::{ConfigResource, Image, MetadataRecord, Partition};
use model::{BrokerId, LeaderEpoch, PartitionIndex, TopicId, TopicIdPartition};
use replication::{Event, MinIsr};
use uuid::Uuid;

use crate::broker::{Broker, Role, offset};
use crate::dice::Dice;
use crate::invariants::{Promises, Violation, check_partition};
use crate::messages::{Envelope, Message, Node};
use crate::mutant::Mutant;

pub(crate) const BROKERS: usize = 3;
const SESSION_MS: u64 = 300;
const LAG_MS: u64 = 100;
const CLUSTER: &str = "simulated";

/// What a history without a violation came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The same for the same seed.
    pub fingerprint: u64,
    /// How many records were acknowledged.
    pub acknowledged: usize,
    /// The last leader epoch.
    pub leader_epoch: i32,
    /// How many records followers cut.
    pub cut: usize,
}

/// Plays the history of a seed: so many steps with faults, then none until all is well again.
///
/// # Errors
/// The first violation of an invariant.
pub fn run(seed: u64, steps: usize, mutant: Option<Mutant>) -> Result<Outcome, Violation> {
    let mut world = World::new(seed, mutant)?;
    for _ in 0..steps {
        world.step()?;
        world.check()?;
    }
    world.settle()?;
    let leader_epoch = world.partition().leader_epoch.get();
    let acknowledged = world.promises.acknowledged.iter().flatten().count();
    Ok(Outcome { fingerprint: world.fingerprint, acknowledged, leader_epoch, cut: world.cut })
}

pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) brokers: Vec<Broker>,
    /// What the controller has.
    pub(crate) image: Image,
    entries: Vec<Vec<MetadataRecord>>,
    pub(crate) sessions: BrokerSessions,
    /// The controller's.
    pub(crate) term: u64,
    /// What a controller decided and has not appended yet, with the term that it decided in. Of one term there is one at a time.
    pub(crate) decided: Option<(u64, Vec<MetadataRecord>)>,
    statics: StaticConfig,
    pub(crate) now_ms: u64,
    pub(crate) under_way: Vec<Envelope>,
    /// Messages that come much later.
    pub(crate) held: Vec<Envelope>,
    /// Pairs of places between which nothing gets through, in this direction.
    pub(crate) cuts: Vec<(Node, Node)>,
    pub(crate) promises: Promises,
    runs: u128,
    values: u64,
    /// Only what is on the disk survives a crash, and only that counts (`klamm.durability=group`); else all that was written does.
    pub(crate) disk_counts: bool,
    pub(crate) min_insync: usize,
    /// Little is produced, so that what comes late still fits.
    is_quiet: bool,
    pub(crate) cut: usize,
    fingerprint: u64,
}

fn id(place: usize) -> BrokerId {
    BrokerId::new_or_zero(i32::try_from(place).unwrap_or(0))
}

pub(crate) fn partition_id() -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId(Uuid::from_u128(1)), partition: PartitionIndex::ZERO }
}

impl World {
    fn new(seed: u64, mutant: Option<Mutant>) -> Result<Self, Violation> {
        let mut dice = Dice::new(seed);
        let (disk_counts, min_insync, is_quiet) = (dice.once_in(2), 1 + dice.below(2), dice.once_in(3));
        let image = Image::default();
        let sessions = BrokerSessions::begin(BrokerId::MAX, &image, SESSION_MS, 0);
        let mut world = Self {
            dice,
            mutant,
            brokers: (0..BROKERS).map(|place| Broker::new(id(place))).collect(),
            image,
            entries: Vec::new(),
            sessions,
            term: 1,
            decided: None,
            statics: StaticConfig::new(),
            now_ms: 0,
            under_way: Vec::new(),
            held: Vec::new(),
            cuts: Vec::new(),
            promises: Promises::default(),
            runs: 0,
            values: 0,
            disk_counts,
            min_insync,
            is_quiet,
            cut: 0,
            fingerprint: 0,
        };
        world.record(vec![MetadataRecord::Cluster { cluster_id: CLUSTER.to_owned() }])?;
        for place in 0..BROKERS {
            world.start(place);
        }
        while !world.image.brokers().all(|broker| broker.is_active()) || world.image.brokers().count() < BROKERS {
            world.round()?;
        }
        let TopicIdPartition { topic_id, partition } = partition_id();
        let unclean = mutant == Some(Mutant::UncleanElections);
        let config = |key: &str, value: String| MetadataRecord::Config {
            resource: ConfigResource::topic("t"),
            key: key.to_owned(),
            value: Some(value),
        };
        let replicas: Vec<BrokerId> = (0..BROKERS).map(id).collect();
        world.record(vec![
            MetadataRecord::Topic { name: "t".to_owned(), topic_id },
            config("min.insync.replicas", min_insync.to_string()),
            config("unclean.leader.election.enable", unclean.to_string()),
            MetadataRecord::Partition {
                topic_id,
                partition,
                isr: replicas.clone(),
                leader: replicas.first().copied(),
                replicas,
                leader_epoch: LeaderEpoch::ZERO,
                partition_epoch: 0,
            },
        ])?;
        Ok(world)
    }

    pub(crate) fn view(&self) -> ConfigView<'_> {
        self.view_of(&self.image)
    }

    pub(crate) fn view_of<'a>(&'a self, image: &'a Image) -> ConfigView<'a> {
        ConfigView::new(image, BrokerId::MAX, &self.statics)
    }

    /// The partition as the controller has it.
    pub(crate) fn partition(&self) -> Partition {
        let nothing = || Partition {
            replicas: Vec::new(),
            isr: Vec::new(),
            leader: None,
            leader_epoch: LeaderEpoch::ZERO,
            partition_epoch: 0,
            eligible_leader_replicas: Vec::new(),
            last_known_leader: None,
            adding_replicas: Vec::new(),
            removing_replicas: Vec::new(),
        };
        self.image.partition(partition_id()).map_or_else(nothing, |partition| Partition::clone(partition))
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// The metadata log grows.
    pub(crate) fn record(&mut self, records: Vec<MetadataRecord>) -> Result<(), Violation> {
        if records.is_empty() {
            return Ok(());
        }
        let before = self.image.partition(partition_id()).cloned();
        self.image = self.image.apply(self.image.index() + 1, &records).0;
        self.entries.push(records);
        self.sessions.follow(&self.image, self.now_ms);
        match self.image.partition(partition_id()) {
            Some(after) => check_partition(&self.image, before.as_deref(), after),
            None => Ok(()),
        }
    }

    pub(crate) fn start(&mut self, place: usize) {
        self.runs += 1;
        let run = self.runs;
        let leads_on = self.is(Mutant::LeadOnUnderOldEpoch);
        if let Some(broker) = self.brokers.get_mut(place).filter(|broker| !broker.is_up) {
            broker.is_up = true;
            broker.run = run;
            // The controller need not have noticed that it was away.
            let known = self.image.broker(id(place)).filter(|known| !known.fenced);
            if let (true, Some(known)) = (leads_on, known) {
                broker.epoch = Some(known.epoch);
            }
        }
    }

    /// The process dies; of a power cut only what is on the disk is left, and some of what was on its way there.
    fn crash(&mut self, place: usize) {
        let Some(broker) = self.brokers.get_mut(place).filter(|broker| broker.is_up) else { return };
        if self.disk_counts {
            let kept = broker.synced + self.dice.below(broker.log.len() - broker.synced + 1);
            broker.truncate(kept);
        }
        broker.synced = broker.log.len();
        broker.is_up = false;
        broker.high_watermark = 0;
        broker.role = Role::Nothing;
        (broker.term, broker.epoch, broker.asked) = (None, None, None);
        broker.unacknowledged.clear();
    }

    /// A crash that takes what was on the disk along. No more of them at once than are promised to be survived. What the broker said before comes
    /// late, and often it is soon back.
    pub(crate) fn lose_disk(&mut self, place: usize) {
        let partition = self.partition();
        let lost = id(place);
        let others = partition.isr.iter().chain(&partition.eligible_leader_replicas).filter(|member| **member != lost).count();
        if self.min_insync < 2 || others == 0 || self.brokers.iter().any(|broker| broker.is_wiped) {
            return;
        }
        self.crash(place);
        let kept = self.brokers.get(place).map_or(0, |broker| self.dice.clone().below(broker.log.len() + 1));
        let next_run = self.runs + 1;
        if let Some(broker) = self.brokers.get_mut(place) {
            broker.truncate(kept);
            broker.is_wiped = true;
            broker.disk_since_run = next_run;
        }
        self.hold_what_comes_from(place);
        if self.dice.once_in(2) {
            self.start(place);
        }
    }

    /// What a broker said and has not come yet comes much later.
    pub(crate) fn hold_what_comes_from(&mut self, place: usize) {
        let is_late = |envelope: &Envelope| envelope.from == Node::Broker(place);
        let (late, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.under_way).into_iter().partition(is_late);
        self.under_way = others;
        self.held.extend(late);
    }

    fn step(&mut self) -> Result<(), Violation> {
        self.now_ms += u64::try_from(self.dice.below(8)).unwrap_or(0);
        let place = self.dice.below(BROKERS);
        let what = self.dice.below(200);
        match what {
            0..30 if !self.is_quiet || self.dice.once_in(6) => self.produce(place)?,
            0..30 => {}
            30..42 => self.sync(place)?,
            42..96 => self.deliver_one()?,
            96..126 => self.fetch(place),
            126..144 => self.learn(place)?,
            144..164 => self.tell(place),
            164..172 => self.fence_dead()?,
            172..178 => self.look_for_lag(place)?,
            178..184 => self.read(place)?,
            184..189 => {
                if self.brokers.get(place).is_some_and(|broker| broker.is_up) {
                    if self.dice.once_in(4) {
                        self.crash(place);
                    }
                } else {
                    self.start(place);
                }
            }
            189..193 => self.cut_or_heal(),
            193..194 => {
                self.term += 1;
                self.sessions = BrokerSessions::begin(BrokerId::MAX, &self.image, SESSION_MS, self.now_ms);
            }
            194..196 if !self.is_deciding() => self.record(decide::balance_leaders(self.view(), 10).records)?,
            196..197 => self.lose_disk(place),
            197..198 => self.deliver_late()?,
            198..199 => self.append_decided()?,
            _ => self.ask_again(place),
        }
        self.note(what);
        Ok(())
    }

    pub(crate) fn note(&mut self, what: usize) {
        let mut mix = |value: usize| {
            let value = u64::try_from(value).unwrap_or(0);
            self.fingerprint = (self.fingerprint ^ value).wrapping_mul(0x0100_0000_01B3).rotate_left(5);
        };
        mix(what);
        for broker in &self.brokers {
            mix(broker.log.len());
            mix(broker.high_watermark);
        }
        mix(self.under_way.len());
        mix(self.entries.len());
    }

    pub(crate) fn check(&self) -> Result<(), Violation> {
        match self.image.partition(partition_id()) {
            Some(partition) => self.promises.check_candidates(&self.image, partition, &self.brokers, self.disk_counts),
            None => Ok(()),
        }
    }

    pub(crate) fn send(&mut self, from: Node, to: Node, run: u128, message: Message) {
        self.under_way.push(Envelope { from, to, run, message });
    }

    /// One of the messages that were held.
    fn deliver_late(&mut self) -> Result<(), Violation> {
        if self.held.is_empty() {
            return Ok(());
        }
        // Often of the newest, which fit best into what is.
        let among = if self.dice.once_in(2) { self.held.len() } else { self.held.len().min(6) };
        let late = self.held.swap_remove(self.held.len() - 1 - self.dice.below(among));
        self.deliver(late)
    }

    /// Any message, in any order; some are lost, some come twice.
    fn deliver_one(&mut self) -> Result<(), Violation> {
        if self.dice.once_in(15) {
            return self.deliver_late();
        }
        if self.under_way.is_empty() {
            return Ok(());
        }
        let at = self.dice.below(self.under_way.len());
        let envelope = self.under_way.swap_remove(at);
        if self.dice.once_in(12) || self.cuts.contains(&(envelope.from, envelope.to)) {
            return Ok(());
        }
        if self.dice.once_in(12) {
            self.under_way.push(envelope.clone());
        }
        if self.dice.once_in(15) {
            self.held.push(envelope);
            return Ok(());
        }
        self.deliver(envelope)
    }

    fn cut_or_heal(&mut self) {
        let mut end = || match self.dice.below(BROKERS + 1) {
            BROKERS => Node::Controller,
            place => Node::Broker(place),
        };
        let pair = (end(), end());
        match self.cuts.iter().position(|cut| *cut == pair) {
            Some(at) => drop(self.cuts.swap_remove(at)),
            None if self.cuts.len() < 4 => self.cuts.push(pair),
            None => self.cuts.clear(),
        }
    }

    /// A broker registers, or tells that it lives.
    pub(crate) fn tell(&mut self, place: usize) {
        let is_mutant = self.is(Mutant::ClaimWholeData);
        // A broker knows the metadata before it registers.
        let last = self.image.broker(id(place)).map(|last| (last.incarnation_id.as_u128(), last.epoch));
        let Some(broker) = self.brokers.get(place).filter(|broker| broker.is_up) else { return };
        let (run, known) = (broker.run, broker.image.index());
        let message = match broker.epoch {
            None => {
                let is_of_disk = |(run, _): &(u128, _)| *run >= broker.disk_since_run || is_mutant;
                Message::Register { previous: last.filter(is_of_disk).map(|(_, epoch)| epoch) }
            }
            Some(broker_epoch) => Message::Beat(Heartbeat {
                broker_id: broker.id,
                broker_epoch,
                metadata_index: known,
                wants_fence: false,
                wants_shutdown: false,
            }),
        };
        self.send(Node::Broker(place), Node::Controller, run, message);
    }

    pub(crate) fn admit(&mut self, place: usize, run: u128, previous: Option<model::BrokerEpoch>) -> Result<(), Violation> {
        let registration = BrokerRegistration {
            broker_id: id(place),
            incarnation_id: Uuid::from_u128(run),
            listeners: Vec::new(),
            rack: None,
            features: BTreeMap::new(),
            directory_id: None,
        };
        let wish = RegistrationWish { cluster_id: CLUSTER.to_owned(), registration, previous_epoch: previous };
        let is_alive = self.sessions.is_alive(id(place), self.now_ms);
        let Ok(mut decision) = decide::admit_broker(self.view(), wish, is_alive) else { return Ok(()) };
        if self.is(Mutant::StayInSyncOverRestart) {
            decision.records.retain(|record| matches!(record, MetadataRecord::RegisterBroker { .. }));
        }
        self.record(decision.records)?;
        if let Some(broker) = self.image.broker(id(place)) {
            let epoch = decision.response.unwrap_or(broker.epoch);
            self.send(Node::Controller, Node::Broker(place), run, Message::Registered { epoch });
        }
        Ok(())
    }

    /// Whether the controller waits for the end of a proposal: it decides on nothing else meanwhile.
    pub(crate) fn is_deciding(&self) -> bool {
        self.decided.as_ref().is_some_and(|(term, _)| *term == self.term)
    }

    /// What was decided reaches the log, in the same term or in a later one.
    pub(crate) fn append_decided(&mut self) -> Result<(), Violation> {
        match self.decided.take() {
            Some((term, records)) if decide::counts(Some(term), self.term) || self.is(Mutant::AppendInLaterTerm) => self.record(records),
            _ => Ok(()),
        }
    }

    pub(crate) fn fence_dead(&mut self) -> Result<(), Violation> {
        if self.is_deciding() {
            return Ok(());
        }
        while let Some(dead) = self.sessions.over(self.now_ms) {
            let records = self.image.broker(dead).map(|broker| decide::fence_broker(self.view(), broker)).unwrap_or_default();
            self.record(records)?;
        }
        Ok(())
    }

    /// A broker applies the next entries of the metadata log.
    fn learn(&mut self, place: usize) -> Result<(), Violation> {
        let count = 1 + self.dice.below(3);
        for _ in 0..count {
            self.learn_one(place)?;
        }
        Ok(())
    }

    pub(crate) fn learn_one(&mut self, place: usize) -> Result<bool, Violation> {
        let Some(broker) = self.brokers.get_mut(place).filter(|broker| broker.is_up) else { return Ok(false) };
        let next = broker.image.index() + 1;
        let entry = usize::try_from(next - 1).ok().and_then(|at| self.entries.get(at));
        let Some(entry) = entry else { return Ok(false) };
        broker.image = broker.image.apply(next, entry).0;
        self.take_role(place)?;
        Ok(true)
    }

    pub(crate) fn learn_up_to(&mut self, place: usize, index: u64) -> Result<(), Violation> {
        while self.brokers.get(place).is_some_and(|broker| broker.image.index() < index) && self.learn_one(place)? {}
        self.take_role(place)
    }

    pub(crate) fn look_for_lag(&mut self, place: usize) -> Result<(), Violation> {
        let event = Event::CheckLag { now_ms: self.now_ms, lag_max_ms: LAG_MS };
        self.tell_leader(place, event)
    }

    pub(crate) fn produce(&mut self, place: usize) -> Result<(), Violation> {
        let at_once = self.is(Mutant::AcknowledgeAtAppend);
        let counts_unsynced = !self.disk_counts || self.is(Mutant::LeaderCountsUnsynced);
        self.values += 1;
        let value = self.values;
        let Some(broker) = self.brokers.get_mut(place) else { return Ok(()) };
        let Role::Leads(state) = &broker.role else { return Ok(()) };
        if state.min_isr() != MinIsr::Satisfied {
            return Ok(());
        }
        let at = broker.log.len();
        broker.log.push(crate::broker::Record { epoch: state.leader_epoch().get(), value });
        broker.unacknowledged.push((at, value));
        if at_once {
            self.promises.acknowledge(at, value)?;
        }
        if counts_unsynced { self.tell_leader(place, Event::LocalLogEnd(offset(at + 1))) } else { Ok(()) }
    }

    pub(crate) fn sync(&mut self, place: usize) -> Result<(), Violation> {
        let Some(broker) = self.brokers.get_mut(place).filter(|broker| broker.is_up) else { return Ok(()) };
        broker.synced = broker.log.len();
        let end = offset(broker.synced);
        self.tell_leader(place, Event::LocalLogEnd(end))
    }

    /// A consumer reads all that this broker shows, if it leads.
    fn read(&mut self, place: usize) -> Result<(), Violation> {
        let beyond = self.is(Mutant::ReadBeyondHighWatermark);
        let Some(broker) = self.brokers.get(place) else { return Ok(()) };
        let Role::Leads(state) = &broker.role else { return Ok(()) };
        if !state.has_current_high_watermark() && self.mutant != Some(Mutant::ServeBeforeCurrentHighWatermark) {
            return Ok(());
        }
        self.promises.see(state.leader_epoch().get(), broker.high_watermark)?;
        let end = if beyond { broker.log.len() } else { broker.high_watermark };
        let shown = broker.log.get(..end).unwrap_or_default();
        self.promises.read(shown)
    }
}
