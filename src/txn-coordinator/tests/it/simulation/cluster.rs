//! The whole: time, the network, and who talks to whom.

use std::collections::BTreeMap;

use protocol::ErrorCode;
use txn_coordinator::{MarkerOutcome, Markers, MarkersAnswered, TimerKey, TransactionVersion};

use super::Mutant;
use super::audit::{self, Counts};
use super::coordinator::Coordinator;
use super::leader::{Leader, Produce};
use super::producer::{Producer, Stage};
use super::random::Random;

pub(super) const PARTITIONS: usize = 3;
const TRANSACTIONAL_IDS: usize = 2;
/// When the faults end.
const CALM_AT: i64 = 15_000;
/// When everything must be over: the longest message is on its way for 4 s, a transaction lasts 3 s.
const END_AT: i64 = 40_000;
pub(super) const TRANSACTION_TIMEOUT_MS: i32 = 3_000;

/// A producer's request to the coordinator.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Init { expected: Option<(i64, i16)> },
    Add { producer: (i64, i16), partition: usize },
    End { producer: (i64, i16), commit: bool },
}

/// An answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) error: Option<ErrorCode>,
    /// Where the answer names one.
    pub(super) producer: Option<(i64, i16)>,
    /// The fences of the id when it was given.
    pub(super) fences: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    /// To the coordinator, of a producer; `attempt` names the answer.
    Ask {
        from: usize,
        attempt: u64,
        id: usize,
        ask: Ask,
    },
    /// To the coordinator, of a leader.
    Verify {
        partition: usize,
        verification: u64,
        id: usize,
        producer: (i64, i16),
    },
    /// To a leader.
    Verified {
        partition: usize,
        verification: u64,
        error: Option<ErrorCode>,
    },
    Produce {
        partition: usize,
        attempt: u64,
        produce: Produce,
    },
    Markers {
        partition: usize,
        life: u64,
        markers: Markers,
    },
    /// To the coordinator.
    MarkersAnswered {
        life: u64,
        answered: MarkersAnswered,
    },
    /// To a producer.
    Told {
        to: usize,
        attempt: u64,
        told: Told,
    },
    /// At a producer: no answer came, or it is time to go on.
    Wake {
        to: usize,
        attempt: u64,
    },
    Timer {
        life: u64,
        key: TimerKey,
    },
    CoordinatorCrash,
    LeaderCrash {
        partition: usize,
    },
    /// Another producer of the same id begins; the old one does not know.
    Rival {
        id: usize,
    },
}

/// What a producer knows and did of a transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct Transaction {
    /// How many of its records were acknowledged.
    pub(super) acknowledged: usize,
    /// What EndTxn answered, if it did.
    pub(super) ended: Option<bool>,
}

pub(super) struct Cluster {
    pub(super) random: Random,
    pub(super) mutant: Option<Mutant>,
    /// The rules of version 2; else of version 1.
    pub(super) has_epoch_per_transaction: bool,
    pub(super) now: i64,
    queue: BTreeMap<(i64, u64), Event>,
    next: u64,
    pub(super) coordinator: Coordinator,
    pub(super) leaders: Vec<Leader>,
    pub(super) producers: Vec<Producer>,
    pub(super) transactions: Vec<Transaction>,
    /// Of each id, how often somebody was given the right to end what others had: a new producer, or a timeout.
    pub(super) fences: Vec<u64>,
    pub(super) finding: Option<String>,
}

impl Cluster {
    pub(super) fn new(seed: u64, version: TransactionVersion, mutant: Option<Mutant>) -> Self {
        let mut cluster = Self {
            random: Random::new(seed),
            mutant,
            has_epoch_per_transaction: version.supports_epoch_bump(),
            now: 0,
            queue: BTreeMap::new(),
            next: 0,
            coordinator: Coordinator::new(version),
            leaders: (0..PARTITIONS).map(|_| Leader::new(mutant)).collect(),
            producers: Vec::new(),
            transactions: Vec::new(),
            fences: vec![0; TRANSACTIONAL_IDS],
            finding: None,
        };
        for id in 0..TRANSACTIONAL_IDS {
            cluster.begin_producer(id);
        }
        for at in (500..CALM_AT).step_by(500) {
            let event = match cluster.random.below(12) {
                0 | 1 => Event::CoordinatorCrash,
                2 | 3 => Event::LeaderCrash { partition: cluster.random.below(PARTITIONS as u64) as usize },
                4 => Event::Rival { id: cluster.random.below(TRANSACTIONAL_IDS as u64) as usize },
                _ => continue,
            };
            cluster.at(at, event);
        }
        cluster
    }

    /// Under the rules of version 1 nothing that is late may come to where it would be taken for something newer.
    fn is_orderly(&self) -> bool {
        !self.has_epoch_per_transaction && self.mutant != Some(Mutant::OneEpochForAll)
    }

    pub(super) fn is_calm(&self) -> bool {
        self.now >= CALM_AT
    }

    fn begin_producer(&mut self, id: usize) {
        let to = self.producers.len();
        self.producers.push(Producer::new(id));
        self.at(self.now, Event::Wake { to, attempt: 0 });
    }

    pub(super) fn at(&mut self, at: i64, event: Event) {
        self.next += 1;
        self.queue.insert((at.max(self.now), self.next), event);
    }

    /// Over the network: soon, late, twice or never.
    pub(super) fn send(&mut self, event: Event) {
        if self.is_calm() {
            return self.at(self.now + 1, event);
        }
        let may_be_late = !(self.is_orderly() && matches!(event, Event::Ask { .. }));
        let copies = match self.random.below(20) {
            0 => 0,
            1 if may_be_late => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay = if may_be_late && self.random.percent(6) { self.random.below(4_000) } else { self.random.below(20) };
            self.at(self.now + 1 + delay as i64, event.clone());
        }
    }

    /// What the run comes to; an error is what is wrong.
    pub(super) fn run(mut self) -> Result<Counts, String> {
        let mut steps = 0_u64;
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if at > END_AT {
                break;
            }
            steps += 1;
            assert!(steps < 2_000_000, "the simulation does not end");
            self.now = at;
            self.step(event);
            if let Some(finding) = self.finding.take() {
                return Err(finding);
            }
        }
        audit::audit(&self)
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Ask { from, attempt, id, ask } => self.coordinator_asked(from, attempt, id, &ask),
            Event::Verify { partition, verification, id, producer } => {
                if let Some(error) = self.coordinator_verifies(partition, id, producer) {
                    self.send(Event::Verified { partition, verification, error });
                }
            }
            Event::Verified { partition, verification, error } => {
                let answer = self.leaders[partition].verified(verification, error);
                self.answer_produce(partition, answer);
            }
            Event::Produce { partition, attempt, produce } => {
                let to = produce.from;
                let verify_before = self.leaders[partition].next_verification();
                let answer = self.leaders[partition].produce(attempt, produce.clone());
                match answer {
                    Some(error) => self.send(Event::Told { to, attempt, told: Told { error, ..Told::default() } }),
                    None => {
                        let (verification, id) = (verify_before, produce.id);
                        self.send(Event::Verify { partition, verification, id, producer: produce.producer });
                    }
                }
            }
            Event::Markers { partition, life, markers } => {
                let outcome = self.leaders[partition].marker(&markers);
                let partitions = markers.partitions.clone();
                let outcomes = partitions.into_iter().map(|one| (one, outcome)).collect();
                let answered = MarkersAnswered { transactional_id: markers.transactional_id, delivery: markers.delivery, outcomes };
                self.answer_markers(life, answered);
            }
            Event::MarkersAnswered { life, answered } => self.coordinator_markers_answered(life, answered),
            Event::Told { to, attempt, told } => self.producer_told(to, attempt, told),
            Event::Wake { to, attempt } => self.producer_wakes(to, attempt),
            Event::Timer { life, key } => self.coordinator_timer(life, key),
            Event::CoordinatorCrash => self.coordinator_crashes(),
            Event::LeaderCrash { partition } => self.leaders[partition].crash(),
            Event::Rival { id } => {
                for producer in self.producers.iter_mut().filter(|producer| producer.id == id) {
                    producer.is_zombie = true;
                }
                self.begin_producer(id);
            }
        }
    }

    fn answer_produce(&mut self, partition: usize, answer: Option<(Produce, u64, Option<ErrorCode>)>) {
        if let Some((produce, attempt, error)) = answer {
            if error == Some(ErrorCode::InvalidTxnState) && self.leaders[partition].has_fenced(produce.producer) {
                self.finding = Some(format!("{:?} is fenced on partition {partition} and is told {error:?}", produce.producer));
            }
            let to = produce.from;
            self.send(Event::Told { to, attempt, told: Told { error, ..Told::default() } });
        }
    }

    /// The coordinator sees a lost answer as a lost connection, sooner or later.
    fn answer_markers(&mut self, life: u64, answered: MarkersAnswered) {
        if !self.is_calm() && self.random.percent(5) {
            return self.markers_lost(life, answered);
        }
        let delay = if self.is_calm() { 0 } else { self.random.below(20) };
        self.at(self.now + 1 + delay as i64, Event::MarkersAnswered { life, answered });
    }

    fn markers_lost(&mut self, life: u64, mut answered: MarkersAnswered) {
        for (_, outcome) in &mut answered.outcomes {
            *outcome = MarkerOutcome::Retry;
        }
        self.at(self.now + 500, Event::MarkersAnswered { life, answered });
    }

    /// Markers to one leader; a copy of them may come late, after others.
    pub(super) fn send_markers(&mut self, life: u64, markers: Markers) {
        for one in &markers.partitions {
            let partition = one.partition.get() as usize;
            let markers = Markers { partitions: vec![one.clone()], ..markers.clone() };
            if !self.is_calm() && self.random.percent(8) {
                // The connection breaks; what was sent arrives all the same, late.
                let outcomes = vec![(one.clone(), MarkerOutcome::Retry)];
                let (transactional_id, delivery) = (markers.transactional_id.clone(), markers.delivery);
                self.markers_lost(life, MarkersAnswered { transactional_id, delivery, outcomes });
                let longest = if self.is_orderly() { 400 } else { 4_000 };
                let late = self.now + 1 + self.random.below(longest) as i64;
                self.at(late, Event::Markers { partition, life: 0, markers });
            } else {
                let delay = if self.is_calm() { 0 } else { self.random.below(20) };
                self.at(self.now + 1 + delay as i64, Event::Markers { partition, life, markers });
            }
        }
    }

    pub(super) fn is_done(&self, to: usize) -> bool {
        matches!(self.producers[to].stage, Stage::Dead)
    }
}
