//! The coordinator: the real shard, with a runtime that may crash after each append, and whose appends may fail or be in doubt.

use std::collections::BTreeMap;

use model::{LeaderEpoch, ProducerEpoch, ProducerId, Timestamp};
use protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use protocol::messages::{self, TopicName, TransactionalId};
use protocol::{ErrorCode, StrBytes};
use txn_coordinator::{
    CoordinatorRecord, Effects, MarkersAnswered, ReplyId, RequestMeta, TimerEffect, TimerKey, TransactionVersion, TxnConfig, TxnReply,
    TxnShard,
};

use super::Mutant;
use super::cluster::{Ask, Cluster, Event, TRANSACTION_TIMEOUT_MS, Told};

pub(super) struct Coordinator {
    config: TxnConfig,
    shard: TxnShard,
    log: Vec<CoordinatorRecord>,
    /// How often it was loaded.
    life: u64,
    timers: BTreeMap<TimerKey, i64>,
    spare: i64,
    /// By a mistake the records of this operation are others than the shard thinks.
    is_altered: bool,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(id: usize) -> TransactionalId {
    TransactionalId(text(&format!("t{id}")))
}

impl Coordinator {
    pub(super) fn new(transaction_version: TransactionVersion) -> Self {
        let config = TxnConfig { transaction_version, ..TxnConfig::default() };
        let shard = TxnShard::new(config.clone(), LeaderEpoch::ZERO);
        let mut coordinator = Self { config, shard, log: Vec::new(), life: 1, timers: BTreeMap::new(), spare: 1_000, is_altered: false };
        coordinator.write_old_id();
        coordinator
    }

    /// The log has it that the first id has nearly used up its epochs.
    fn write_old_id(&mut self) {
        let request = messages::InitProducerIdRequest::default()
            .with_transactional_id(Some(name(0)))
            .with_transaction_timeout_ms(TRANSACTION_TIMEOUT_MS);
        let mut scratch = TxnShard::new(TxnConfig::default(), LeaderEpoch::ZERO);
        let mut record = scratch.init_producer_id(Timestamp(0), self.meta(5), request).records.remove(0);
        let mut value = record.value.unwrap().to_vec();
        value[2..10].copy_from_slice(&500_i64.to_be_bytes());
        value[10..12].copy_from_slice(&32_740_i16.to_be_bytes());
        record.value = Some(value.into());
        self.shard.replay(&record.key, record.value.as_deref());
        self.log.push(record);
    }

    fn meta(&self, api_version: i16) -> RequestMeta {
        RequestMeta { api_version, reply: ReplyId(0), spare_producer_id: ProducerId::new(self.spare) }
    }
}

/// What came of an operation.
enum Carried {
    Done(Vec<TxnReply>),
    /// Nobody is answered.
    Crashed,
}

fn told(reply: &TxnReply) -> (Option<ErrorCode>, Option<(i64, i16)>) {
    let code = |code: i16| if code == 0 { None } else { ErrorCode::try_from_code(code) };
    match reply {
        TxnReply::InitProducerId(reply) => (code(reply.error_code), Some((reply.producer_id.0, reply.producer_epoch))),
        TxnReply::EndTxn(reply) => (code(reply.error_code), Some((reply.producer_id.0, reply.producer_epoch))),
        TxnReply::AddPartitionsToTxn(result) => (code(result.topic_results[0].results_by_partition[0].partition_error_code), None),
        other => panic!("nobody asked for {other:?}"),
    }
}

impl Cluster {
    pub(super) fn coordinator_asked(&mut self, from: usize, attempt: u64, id: usize, ask: &Ask) {
        let now = Timestamp(self.now);
        let v2 = self.has_epoch_per_transaction;
        let mut effects = match *ask {
            Ask::Init { expected } => {
                let (producer_id, epoch) = expected.unwrap_or((-1, -1));
                let request = messages::InitProducerIdRequest::default()
                    .with_transactional_id(Some(name(id)))
                    .with_transaction_timeout_ms(TRANSACTION_TIMEOUT_MS)
                    .with_producer_id(messages::ProducerId(producer_id))
                    .with_producer_epoch(epoch);
                self.coordinator.shard.init_producer_id(now, self.coordinator.meta(5), request)
            }
            Ask::Add { producer, partition } => self.add(id, producer, partition, 3),
            Ask::End { producer, commit } => {
                let request = messages::EndTxnRequest::default()
                    .with_transactional_id(name(id))
                    .with_producer_id(messages::ProducerId(producer.0))
                    .with_producer_epoch(producer.1)
                    .with_committed(commit);
                self.coordinator.shard.end_txn(now, self.coordinator.meta(if v2 { 5 } else { 4 }), request)
            }
        };
        if matches!(ask, Ask::Init { .. }) && !effects.records.is_empty() {
            self.fences[id] += 1;
            if self.mutant == Some(Mutant::FencesTwice) {
                self.fence_twice(&mut effects);
            }
        }
        let overflowed = effects.markers.first().filter(|_| self.mutant == Some(Mutant::EpochOverflows)).cloned();
        let Carried::Done(replies) = self.carry_out(effects) else { return };
        for reply in replies {
            let (mut error, mut producer) = told(&reply);
            if let (Some(markers), None) = (&overflowed, error) {
                producer = Some((markers.producer_id.get(), markers.producer_epoch.get()));
            }
            if self.mutant == Some(Mutant::WrongErrorOrder) && matches!(ask, Ask::Add { .. }) {
                error = error.map(|_| ErrorCode::ProducerFenced);
            }
            let told = Told { error, producer, fences: self.fences[id] };
            self.send(Event::Told { to: from, attempt, told });
        }
    }

    /// The epoch of an abort becomes one larger.
    fn fence_twice(&mut self, effects: &mut Effects) {
        const PREPARE_ABORT: u8 = 3;
        for record in &mut effects.records {
            let mut value = record.value.clone().unwrap().to_vec();
            let epoch = i16::from_be_bytes([value[10], value[11]]);
            if value[16] != PREPARE_ABORT || epoch > 32_000 {
                continue;
            }
            value[10..12].copy_from_slice(&(epoch + 1).to_be_bytes());
            record.value = Some(value.into());
            self.coordinator.is_altered = true;
        }
        if self.coordinator.is_altered {
            for markers in &mut effects.markers {
                markers.producer_epoch = ProducerEpoch::new_or_zero(markers.producer_epoch.get() + 1);
                // They are replayed twice.
                markers.delivery += 1;
            }
        }
    }

    fn add(&mut self, id: usize, producer: (i64, i16), partition: usize, version: i16) -> Effects {
        let topic = AddPartitionsToTxnTopic::default().with_name(TopicName(text("p"))).with_partitions(vec![partition as i32]);
        let request = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(name(id))
            .with_producer_id(messages::ProducerId(producer.0))
            .with_producer_epoch(producer.1)
            // A client of the old rules has added the partition before.
            .with_verify_only(version > 3 && !self.has_epoch_per_transaction)
            .with_topics(vec![topic]);
        self.coordinator.shard.add_partitions_to_txn(Timestamp(self.now), self.coordinator.meta(version), request)
    }

    /// A leader asks whether a partition is in the transaction, or adds it. `None`: no answer comes.
    pub(super) fn coordinator_verifies(&mut self, partition: usize, id: usize, producer: (i64, i16)) -> Option<Option<ErrorCode>> {
        let effects = self.add(id, producer, partition, 5);
        let Carried::Done(replies) = self.carry_out(effects) else { return None };
        let error = told(&replies[0]).0;
        let is_refused = self.mutant == Some(Mutant::WrongErrorOrder) && error == Some(ErrorCode::ConcurrentTransactions);
        Some(if is_refused { Some(ErrorCode::ProducerFenced) } else { error })
    }

    pub(super) fn coordinator_markers_answered(&mut self, life: u64, answered: MarkersAnswered) {
        if life == self.coordinator.life {
            let effects = self.coordinator.shard.markers_answered(Timestamp(self.now), answered);
            self.carry_out(effects);
        }
    }

    pub(super) fn coordinator_timer(&mut self, life: u64, key: TimerKey) {
        if life != self.coordinator.life || self.coordinator.timers.get(&key) != Some(&self.now) {
            return;
        }
        self.coordinator.timers.remove(&key);
        let spare = ProducerId::new(self.coordinator.spare);
        if let TimerKey::Timeout { transactional_id } = &key {
            let id: usize = transactional_id[1..].parse().unwrap();
            self.fences[id] += 1;
        }
        let effects = self.coordinator.shard.timer_fired(Timestamp(self.now), key, spare);
        self.carry_out(effects);
    }

    pub(super) fn coordinator_crashes(&mut self) {
        self.coordinator.life += 1;
        self.coordinator.is_altered = false;
        self.coordinator.timers.clear();
        let epoch = LeaderEpoch::new_or_zero(self.coordinator.life as i32);
        self.coordinator.shard = TxnShard::new(self.coordinator.config.clone(), epoch);
        for record in &self.coordinator.log {
            self.coordinator.shard.replay(&record.key, record.value.as_deref());
        }
        let mut effects = self.coordinator.shard.loaded(Timestamp(self.now));
        match self.mutant {
            Some(Mutant::LosesMarkersAtLoad) => effects.markers.clear(),
            Some(Mutant::LosesTimersAtLoad) => effects.timers.clear(),
            _ => {}
        }
        self.carry_out(effects);
    }

    fn carry_out(&mut self, mut effects: Effects) -> Carried {
        if effects.took_producer_id {
            self.coordinator.spare += 1;
        }
        if self.mutant == Some(Mutant::MarkersBeforeDecision) {
            for markers in std::mem::take(&mut effects.markers) {
                self.send_markers(self.coordinator.life, markers);
            }
        }
        if !effects.records.is_empty() {
            let chance = if self.is_calm() { 100 } else { self.random.below(100) };
            match chance {
                0 | 1 => {
                    effects = self.coordinator.shard.append_failed(Timestamp(self.now), effects, ErrorCode::NotEnoughReplicas);
                }
                3 if self.mutant == Some(Mutant::TrustsADoubtfulAppend) => self.replay(&effects),
                2 | 3 => {
                    // In doubt; it is found out by loading.
                    if chance == 2 {
                        self.write(&effects);
                    }
                    self.coordinator_crashes();
                    return Carried::Crashed;
                }
                4 => {
                    // It dies between the append and everything else.
                    self.write(&effects);
                    self.coordinator_crashes();
                    return Carried::Crashed;
                }
                _ => {
                    self.write(&effects);
                    self.replay(&effects);
                    if self.coordinator.is_altered {
                        self.replay(&effects);
                    }
                }
            }
        }
        self.coordinator.is_altered = false;
        Carried::Done(self.release(effects))
    }

    fn write(&mut self, effects: &Effects) {
        self.coordinator.log.extend(effects.records.iter().cloned());
    }

    fn replay(&mut self, effects: &Effects) {
        for record in &effects.records {
            self.coordinator.shard.replay(&record.key, record.value.as_deref());
        }
    }

    fn release(&mut self, effects: Effects) -> Vec<TxnReply> {
        let life = self.coordinator.life;
        for timer in effects.timers {
            match timer {
                TimerEffect::Arm { key, at } => {
                    let at = at.millis().max(self.now);
                    self.coordinator.timers.insert(key.clone(), at);
                    self.at(at, Event::Timer { life, key });
                }
                TimerEffect::Cancel { key } => {
                    self.coordinator.timers.remove(&key);
                }
            }
        }
        for markers in effects.markers {
            self.send_markers(life, markers);
        }
        effects.replies.into_iter().map(|(_, reply)| reply).collect()
    }

    /// What the coordinator has of its ids, for the audit.
    pub(super) fn coordinator_states(&self) -> Vec<(String, String)> {
        let request = messages::ListTransactionsRequest::default().with_duration_filter(-1);
        let meta = self.coordinator.meta(2);
        let effects = self.coordinator.shard.list_transactions(Timestamp(self.now), meta, request, &|_| true);
        let (_, TxnReply::ListTransactions(listed)) = &effects.replies[0] else { panic!("not a list") };
        let states = listed.transaction_states.iter();
        states.map(|one| (one.transactional_id.as_str().to_owned(), one.transaction_state.as_str().to_owned())).collect()
    }
}
