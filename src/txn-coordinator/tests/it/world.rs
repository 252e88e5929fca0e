//! A shard with the smallest runtime around it: a log in memory, timers, markers on their way, and a clock that the test moves.

use std::collections::BTreeMap;

use bytes::BytesMut;
use model::{LeaderEpoch, ProducerId, Timestamp};
use protocol::messages::AddPartitionsToTxnResponse;
use protocol::{Encodable, ErrorCode};
use txn_coordinator::{
    CoordinatorRecord, Effects, MarkerOutcome, Markers, MarkersAnswered, Replayed, ReplyId, RequestMeta, TimerEffect, TimerKey, TxnConfig,
    TxnReply, TxnShard,
};

pub(crate) struct World {
    pub(crate) config: TxnConfig,
    pub(crate) shard: TxnShard,
    pub(crate) epoch: i32,
    /// All records that were ever appended.
    pub(crate) log: Vec<CoordinatorRecord>,
    pub(crate) now: i64,
    pub(crate) timers: BTreeMap<TimerKey, i64>,
    /// Sent, and not answered.
    pub(crate) markers: Vec<Markers>,
    /// The next append fails with it.
    pub(crate) append_error: Option<ErrorCode>,
    /// Who waits for which reply, with the request's version.
    pub(crate) awaited: BTreeMap<ReplyId, (String, i16)>,
    /// `None`: the broker has none at the moment.
    pub(crate) spare_producer_id: Option<i64>,
    next_reply: u64,
}

/// What came of an operation.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) records: Vec<CoordinatorRecord>,
    pub(crate) failed: bool,
    /// Label, version, reply.
    pub(crate) replies: Vec<(String, i16, TxnReply)>,
    pub(crate) timers: Vec<TimerEffect>,
    pub(crate) markers: Vec<Markers>,
}

impl World {
    pub(crate) fn new(config: TxnConfig) -> Self {
        let shard = TxnShard::new(config.clone(), LeaderEpoch::ZERO);
        Self {
            config,
            shard,
            epoch: 0,
            log: Vec::new(),
            now: 0,
            timers: BTreeMap::new(),
            markers: Vec::new(),
            append_error: None,
            awaited: BTreeMap::new(),
            spare_producer_id: Some(1_000),
            next_reply: 0,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    pub(crate) fn spare(&self) -> Option<ProducerId> {
        self.spare_producer_id.and_then(ProducerId::new)
    }

    /// A request of that version, whose reply will bear the label.
    pub(crate) fn meta(&mut self, label: &str, api_version: i16) -> RequestMeta {
        self.next_reply += 1;
        let reply = ReplyId(self.next_reply);
        self.awaited.insert(reply, (label.to_owned(), api_version));
        RequestMeta { api_version, reply, spare_producer_id: self.spare() }
    }

    /// Does what the runtime does with effects. Every reply must encode in its request's version.
    pub(crate) fn carry_out(&mut self, effects: Effects) -> Outcome {
        let mut outcome = Outcome::default();
        if effects.took_producer_id {
            *self.spare_producer_id.as_mut().expect("only a spare id is taken") += 1;
        }
        let effects = if effects.records.is_empty() {
            effects
        } else if let Some(error) = self.append_error.take() {
            outcome.failed = true;
            self.shard.append_failed(self.now(), effects, error)
        } else {
            for record in &effects.records {
                assert_eq!(self.shard.replay(&record.key, record.value.as_deref()), Replayed::Applied);
            }
            self.log.extend(effects.records.iter().cloned());
            effects
        };
        outcome.records = effects.records;
        for timer in effects.timers {
            match &timer {
                TimerEffect::Arm { key, at } => {
                    self.timers.insert(key.clone(), at.millis());
                }
                TimerEffect::Cancel { key } => {
                    if self.timers.remove(key).is_none() {
                        continue;
                    }
                }
            }
            outcome.timers.push(timer);
        }
        for (id, reply) in effects.replies {
            let (label, api_version) = self.awaited.remove(&id).expect("a request is answered once");
            encode(&reply, api_version).unwrap_or_else(|error| panic!("{label}: {reply:?} does not encode at {api_version}: {error}"));
            outcome.replies.push((label, api_version, reply));
        }
        self.markers.extend(effects.markers.iter().cloned());
        outcome.markers = effects.markers;
        outcome
    }

    /// The leaders answer the oldest markers of that id.
    pub(crate) fn answer(&mut self, transactional_id: &str, outcome: MarkerOutcome, is_meant: impl Fn(&str) -> bool) -> Outcome {
        let Some(at) = self.markers.iter().position(|markers| markers.transactional_id.as_ref() == transactional_id) else {
            return Outcome::default();
        };
        let markers = &mut self.markers[at];
        let (answered, rest) = markers.partitions.drain(..).partition(|one| is_meant(&format!("{}-{}", one.topic, one.partition)));
        markers.partitions = rest;
        let outcomes: Vec<_> = Vec::into_iter(answered).map(|partition| (partition, outcome)).collect();
        let answered = MarkersAnswered { transactional_id: markers.transactional_id.clone(), delivery: markers.delivery, outcomes };
        if self.markers[at].partitions.is_empty() {
            self.markers.remove(at);
        }
        let effects = self.shard.markers_answered(self.now(), answered);
        self.carry_out(effects)
    }

    /// The next timer that is due by then.
    pub(crate) fn next_timer(&self, by: i64) -> Option<(TimerKey, i64)> {
        let due = self.timers.iter().filter(|(_, at)| **at <= by);
        due.min_by_key(|(key, at)| (**at, (*key).clone())).map(|(key, at)| (key.clone(), *at))
    }

    pub(crate) fn fire(&mut self, key: TimerKey) -> Outcome {
        self.timers.remove(&key);
        let effects = self.shard.timer_fired(self.now(), key, self.spare());
        self.carry_out(effects)
    }

    /// A shard with what the log has.
    pub(crate) fn replayed(&self) -> TxnShard {
        let mut shard = TxnShard::new(self.config.clone(), LeaderEpoch::new_or_zero(self.epoch));
        for record in &self.log {
            shard.replay(&record.key, record.value.as_deref());
        }
        shard
    }

    /// The broker dies and comes back: all soft state, timers and connections are gone.
    pub(crate) fn restart(&mut self) -> Outcome {
        self.epoch += 1;
        self.shard = self.replayed();
        self.timers.clear();
        self.markers.clear();
        self.awaited.clear();
        let effects = self.shard.loaded(self.now());
        self.carry_out(effects)
    }
}

pub(crate) fn encode(reply: &TxnReply, version: i16) -> Result<BytesMut, String> {
    let mut bytes = BytesMut::new();
    let encoded = match reply {
        TxnReply::InitProducerId(reply) => reply.encode(&mut bytes, version),
        TxnReply::AddPartitionsToTxn(result) => {
            let response = AddPartitionsToTxnResponse::default();
            let response = if version > 3 {
                response.with_results_by_transaction(vec![result.clone()])
            } else {
                response.with_results_by_topic_v3_and_below(result.topic_results.clone())
            };
            response.encode(&mut bytes, version)
        }
        TxnReply::AddOffsetsToTxn(reply) => reply.encode(&mut bytes, version),
        TxnReply::EndTxn(reply) => reply.encode(&mut bytes, version),
        TxnReply::DescribeTransactions(reply) => reply.encode(&mut bytes, version),
        TxnReply::ListTransactions(reply) => reply.encode(&mut bytes, version),
    };
    encoded.map_err(|error| error.to_string())?;
    Ok(bytes)
}
