//! A producer, as a client is one: a request at a time, sent again until it is answered; some transactions are committed, some aborted; what is
//! fatal makes it begin anew.

use protocol::ErrorCode;

use super::cluster::{Ask, Cluster, Event, PARTITIONS, Told, Transaction};
use super::leader::Produce;

/// How long it waits for an answer.
const PATIENCE_MS: i64 = 200;
/// How long it waits when it is told to wait.
const BACKOFF_MS: i64 = 30;
/// From when on producers die for good.
const DYING_FROM: i64 = 13_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// `goes_on`: after an error, with what it holds.
    Init {
        goes_on: bool,
    },
    /// The old rules only.
    Add,
    Produce,
    End {
        commit: bool,
    },
    Dead,
}

pub(super) struct Producer {
    pub(super) id: usize,
    /// Somebody else has begun; when it learns that it stops.
    pub(super) is_zombie: bool,
    pub(super) stage: Stage,
    holds: (i64, i16),
    attempt: u64,
    /// The fences of its id when it began.
    fences: u64,
    sequences: [i32; PARTITIONS],
    transaction: usize,
    /// Where its records go.
    plan: Vec<usize>,
    will_commit: bool,
    must_go_on: bool,
}

impl Producer {
    pub(super) fn new(id: usize) -> Self {
        Self {
            id,
            is_zombie: false,
            stage: Stage::Init { goes_on: false },
            holds: (-1, -1),
            attempt: 0,
            fences: 0,
            sequences: [0; PARTITIONS],
            transaction: 0,
            plan: Vec::new(),
            will_commit: true,
            must_go_on: false,
        }
    }
}

impl Cluster {
    pub(super) fn producer_wakes(&mut self, to: usize, attempt: u64) {
        if self.producers[to].attempt != attempt || self.is_done(to) {
            return;
        }
        if self.producers[to].stage == Stage::Produce && self.random.percent(10) {
            // It has waited too long for its record (Kafka's delivery.timeout.ms). What it sent may yet arrive.
            self.abort(to);
        }
        self.ask(to);
    }

    /// Ends the transaction because of an error: afterwards it goes on under another epoch.
    fn abort(&mut self, to: usize) {
        let producer = &mut self.producers[to];
        producer.stage = Stage::End { commit: false };
        producer.must_go_on = true;
    }

    fn ask(&mut self, to: usize) {
        // Towards the end some die in the middle of what they do, and nobody comes after them.
        let dies = self.now > DYING_FROM && !self.is_calm() && self.random.percent(5);
        let producer = &mut self.producers[to];
        if dies {
            producer.stage = Stage::Dead;
        }
        producer.attempt += 1;
        let (attempt, id, holds) = (producer.attempt, producer.id, producer.holds);
        let event = match producer.stage {
            Stage::Dead => return,
            Stage::Init { goes_on } => Event::Ask { from: to, attempt, id, ask: Ask::Init { expected: goes_on.then_some(holds) } },
            Stage::Add => {
                let partition = producer.plan[self.transactions[producer.transaction].acknowledged];
                Event::Ask { from: to, attempt, id, ask: Ask::Add { producer: holds, partition } }
            }
            Stage::Produce => {
                let transaction = producer.transaction;
                let number = self.transactions[transaction].acknowledged;
                let partition = producer.plan[number];
                let sequence = producer.sequences[partition];
                let produce = Produce { from: to, id, producer: holds, sequence, transaction, number };
                Event::Produce { partition, attempt, produce }
            }
            Stage::End { commit } => Event::Ask { from: to, attempt, id, ask: Ask::End { producer: holds, commit } },
        };
        self.send(event);
        self.at(self.now + PATIENCE_MS, Event::Wake { to, attempt });
    }

    pub(super) fn producer_told(&mut self, to: usize, attempt: u64, told: Told) {
        let producer = &self.producers[to];
        if producer.attempt != attempt || self.is_done(to) {
            return;
        }
        match told.error {
            None => self.go_on(to, told),
            Some(
                ErrorCode::ConcurrentTransactions
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator
                | ErrorCode::CoordinatorLoadInProgress,
            ) => {
                let producer = &mut self.producers[to];
                producer.attempt += 1;
                let attempt = producer.attempt;
                self.at(self.now + BACKOFF_MS, Event::Wake { to, attempt });
            }
            Some(ErrorCode::TransactionAbortable | ErrorCode::InvalidTxnState | ErrorCode::OutOfOrderSequenceNumber)
                if matches!(producer.stage, Stage::Produce) =>
            {
                self.abort(to);
                self.ask(to);
            }
            Some(error) => self.give_up(to, error),
        }
    }

    fn go_on(&mut self, to: usize, told: Told) {
        let stage = self.producers[to].stage;
        match stage {
            Stage::Init { .. } => {
                let producer = &mut self.producers[to];
                producer.holds = told.producer.unwrap();
                producer.sequences = [0; PARTITIONS];
                producer.fences = told.fences;
                self.begin_transaction(to);
            }
            Stage::Add => {
                self.producers[to].stage = Stage::Produce;
                self.ask(to);
            }
            Stage::Produce => {
                let has_own_epoch = self.has_epoch_per_transaction;
                let producer = &mut self.producers[to];
                let transaction = &mut self.transactions[producer.transaction];
                producer.sequences[producer.plan[transaction.acknowledged]] += 1;
                transaction.acknowledged += 1;
                producer.stage = if transaction.acknowledged == producer.plan.len() {
                    Stage::End { commit: producer.will_commit }
                } else if has_own_epoch {
                    Stage::Produce
                } else {
                    Stage::Add
                };
                self.ask(to);
            }
            Stage::End { commit } => {
                let has_own_epoch = self.has_epoch_per_transaction;
                let producer = &mut self.producers[to];
                self.transactions[producer.transaction].ended = Some(commit);
                if has_own_epoch {
                    producer.holds = told.producer.unwrap();
                    producer.sequences = [0; PARTITIONS];
                }
                if std::mem::take(&mut producer.must_go_on) && !has_own_epoch {
                    producer.stage = Stage::Init { goes_on: true };
                    return self.ask(to);
                }
                self.begin_transaction(to);
            }
            Stage::Dead => {}
        }
    }

    fn begin_transaction(&mut self, to: usize) {
        if self.is_calm() {
            self.producers[to].stage = Stage::Dead;
            return;
        }
        let plan = (0..1 + self.random.below(4)).map(|_| self.random.below(PARTITIONS as u64) as usize).collect();
        let will_commit = self.random.percent(65);
        let has_own_epoch = self.has_epoch_per_transaction;
        let producer = &mut self.producers[to];
        producer.transaction = self.transactions.len();
        self.transactions.push(Transaction::default());
        producer.plan = plan;
        producer.will_commit = will_commit;
        producer.stage = if has_own_epoch { Stage::Produce } else { Stage::Add };
        if self.random.percent(10) {
            // It thinks for a while, perhaps for too long.
            let producer = &mut self.producers[to];
            producer.attempt += 1;
            let attempt = producer.attempt;
            let pause = self.random.below(500) as i64;
            return self.at(self.now + pause, Event::Wake { to, attempt });
        }
        self.ask(to);
    }

    /// A fatal error. There must be somebody who fenced it.
    fn give_up(&mut self, to: usize, error: ErrorCode) {
        let producer = &self.producers[to];
        let (id, stage) = (producer.id, producer.stage);
        if self.fences[id] == producer.fences && !matches!(stage, Stage::Init { .. }) {
            self.finding = Some(format!("t{id} is told {error:?} at {stage:?}, and nobody has fenced it"));
        }
        let producer = &mut self.producers[to];
        if producer.is_zombie || self.now > DYING_FROM {
            producer.stage = Stage::Dead;
            return;
        }
        producer.stage = Stage::Init { goes_on: false };
        self.ask(to);
    }
}
