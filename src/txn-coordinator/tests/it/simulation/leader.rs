//! A partition's leader, as Kafka's are: sequences, epochs, the check with the coordinator and its guard, markers (`ProducerAppendInfo`,
//! `ProducerStateManager`, `UnifiedLog.maybeStartTransactionVerification`). Its log survives a crash, and all that follows from the log.

use std::collections::BTreeMap;

use protocol::ErrorCode;
use txn_coordinator::{MarkerOutcome, Markers, TransactionResult};

use super::Mutant;

/// A batch of one record.
#[derive(Clone, Debug)]
pub(super) struct Produce {
    pub(super) from: usize,
    pub(super) id: usize,
    pub(super) producer: (i64, i16),
    pub(super) sequence: i32,
    /// Which transaction, and which record of it.
    pub(super) transaction: usize,
    pub(super) number: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Entry {
    Data { producer_id: i64, epoch: i16, sequence: i32, transaction: usize, number: usize },
    Marker { producer_id: i64, epoch: i16, coordinator_epoch: i32, commit: bool },
}

#[derive(Clone, Copy, Debug)]
struct State {
    epoch: i16,
    last_sequence: i32,
    is_open: bool,
    coordinator_epoch: i32,
}

struct Pending {
    attempt: u64,
    produce: Produce,
    guard: u64,
}

pub(super) struct Leader {
    pub(super) log: Vec<Entry>,
    mutant: Option<Mutant>,
    states: BTreeMap<i64, State>,
    /// Of each producer whose first batch of a transaction waits for the coordinator.
    guards: BTreeMap<i64, u64>,
    pending: BTreeMap<u64, Pending>,
    next: u64,
}

impl Leader {
    pub(super) fn new(mutant: Option<Mutant>) -> Self {
        Self { log: Vec::new(), mutant, states: BTreeMap::new(), guards: BTreeMap::new(), pending: BTreeMap::new(), next: 0 }
    }

    pub(super) fn next_verification(&self) -> u64 {
        self.next
    }

    /// The answer, or `None`: the coordinator is to be asked first.
    pub(super) fn produce(&mut self, attempt: u64, produce: Produce) -> Option<Option<ErrorCode>> {
        match self.check(&produce) {
            Err(answer) => Some(answer),
            Ok(()) if self.is_in_transaction(&produce) || self.mutant == Some(Mutant::DoesNotVerify) => {
                self.append(&produce);
                Some(None)
            }
            Ok(()) => {
                let verification = self.next;
                self.next += 1;
                let guard = *self.guards.entry(produce.producer.0).or_insert(verification);
                self.pending.insert(verification, Pending { attempt, produce, guard });
                None
            }
        }
    }

    fn is_in_transaction(&self, produce: &Produce) -> bool {
        self.states.get(&produce.producer.0).is_some_and(|state| state.is_open && state.epoch == produce.producer.1)
    }

    /// An error is an answer, be it a good one.
    fn check(&self, produce: &Produce) -> Result<(), Option<ErrorCode>> {
        let Some(state) = self.states.get(&produce.producer.0) else {
            return if produce.sequence == 0 { Ok(()) } else { Err(Some(ErrorCode::OutOfOrderSequenceNumber)) };
        };
        // KAFKA-19690: before the coordinator is asked.
        if produce.producer.1 < state.epoch {
            return Err(Some(ErrorCode::InvalidProducerEpoch));
        }
        let last = if produce.producer.1 == state.epoch { state.last_sequence } else { -1 };
        if produce.sequence <= last && self.mutant != Some(Mutant::ForgetsSequences) {
            return Err(None);
        }
        if produce.sequence > last + 1 && self.mutant != Some(Mutant::ForgetsSequences) {
            return Err(Some(ErrorCode::OutOfOrderSequenceNumber));
        }
        if produce.sequence == last { Err(None) } else { Ok(()) }
    }

    fn append(&mut self, produce: &Produce) {
        let (producer_id, epoch) = produce.producer;
        let (sequence, transaction, number) = (produce.sequence, produce.transaction, produce.number);
        let entry = Entry::Data { producer_id, epoch, sequence, transaction, number };
        self.guards.remove(&producer_id);
        self.apply(&entry);
        self.log.push(entry);
    }

    fn apply(&mut self, entry: &Entry) {
        match *entry {
            Entry::Data { producer_id, epoch, sequence, .. } => {
                let coordinator_epoch = self.states.get(&producer_id).map_or(-1, |state| state.coordinator_epoch);
                self.states.insert(producer_id, State { epoch, last_sequence: sequence, is_open: true, coordinator_epoch });
            }
            Entry::Marker { producer_id, epoch, coordinator_epoch, .. } => {
                let last = self.states.get(&producer_id).filter(|state| state.epoch == epoch).map_or(-1, |state| state.last_sequence);
                self.states.insert(producer_id, State { epoch, last_sequence: last, is_open: false, coordinator_epoch });
            }
        }
    }

    /// The coordinator's answer: to whom, which attempt, and the code.
    pub(super) fn verified(&mut self, verification: u64, error: Option<ErrorCode>) -> Option<(Produce, u64, Option<ErrorCode>)> {
        let Pending { attempt, produce, guard } = self.pending.remove(&verification)?;
        let answer = |error| Some((produce.clone(), attempt, error));
        if error.is_some() {
            return answer(error);
        }
        let is_guarded = self.guards.get(&produce.producer.0) == Some(&guard) || self.is_in_transaction(&produce);
        if !is_guarded && self.mutant == Some(Mutant::GuardBeforeEpoch) {
            return answer(Some(ErrorCode::InvalidTxnState));
        }
        if let Err(error) = self.check(&produce) {
            return answer(error);
        }
        if !is_guarded && self.mutant != Some(Mutant::ForgetsTheGuard) {
            return answer(Some(ErrorCode::InvalidTxnState));
        }
        self.append(&produce);
        answer(None)
    }

    pub(super) fn marker(&mut self, markers: &Markers) -> MarkerOutcome {
        let (producer_id, epoch) = (markers.producer_id.get(), markers.producer_epoch.get());
        let coordinator_epoch = markers.coordinator_epoch.get();
        if let Some(state) = self.states.get(&producer_id) {
            if coordinator_epoch < state.coordinator_epoch && self.mutant != Some(Mutant::NoCoordinatorEpoch) {
                return MarkerOutcome::Fenced;
            }
            let must_be_above = markers.transaction_version.supports_epoch_bump() && self.mutant != Some(Mutant::MarkerEpochMayBeEqual);
            // KIP-1228: the epoch of a marker is one that no transaction has had. One that is there already is a repetition, if nothing is open.
            let is_repeated = epoch == state.epoch && (!state.is_open || epoch == i16::MAX);
            if epoch < state.epoch || (must_be_above && epoch == state.epoch && !is_repeated) {
                return MarkerOutcome::Fenced;
            }
        }
        let entry = Entry::Marker { producer_id, epoch, coordinator_epoch, commit: markers.result == TransactionResult::Commit };
        self.guards.remove(&producer_id);
        self.apply(&entry);
        self.log.push(entry);
        MarkerOutcome::Written
    }

    /// Whether the producer has been fenced here.
    pub(super) fn has_fenced(&self, (producer_id, epoch): (i64, i16)) -> bool {
        self.states.get(&producer_id).is_some_and(|state| state.epoch > epoch)
    }

    pub(super) fn crash(&mut self) {
        self.pending.clear();
        self.guards.clear();
        self.states.clear();
        for entry in self.log.clone() {
            self.apply(&entry);
        }
    }

    /// Whose transactions are open.
    pub(super) fn open(&self) -> Vec<i64> {
        self.states.iter().filter(|(_, state)| state.is_open).map(|(producer_id, _)| *producer_id).collect()
    }
}
