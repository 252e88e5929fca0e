//! Random histories: requests of all versions with right, stale and nonsense producers, markers, time, failed appends and restarts. After each step
//! what the log says is what the shard has, an id has at most one transaction, and nothing went back.

use std::collections::BTreeMap;

use model::Timestamp;
use proptest::prelude::{Strategy, prop_oneof, proptest};
use proptest::test_runner::{Config, RngSeed};
use protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use protocol::messages::describe_transactions_response::TransactionState;
use protocol::messages::{self, ProducerId, TopicName, TransactionalId};
use protocol::{ErrorCode, StrBytes};
use txn_coordinator::{Effects, MarkerOutcome, ReplyId, RequestMeta, TransactionResult, TransactionVersion, TxnConfig, TxnReply, TxnShard};

use crate::world::{Outcome, World};

const IDS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Copy, Debug)]
enum Step {
    /// `knows`: what the producer holds is named.
    Init {
        id: usize,
        knows: bool,
        version: i16,
    },
    Add {
        id: usize,
        partition: i32,
        version: i16,
        stale: i16,
        verify: bool,
    },
    AddOffsets {
        id: usize,
    },
    End {
        id: usize,
        commit: bool,
        version: i16,
        stale: i16,
    },
    Answer {
        id: usize,
        outcome: u8,
        partition: Option<i32>,
    },
    Advance {
        by: i64,
    },
    /// The log has it that an idle id has nearly used up its epochs.
    Age {
        id: usize,
    },
    FailAppend,
    Restart,
    Expire,
    SetVersion {
        version: i16,
    },
    Spare {
        has: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0..IDS.len();
    let stale = || prop_oneof![8 => 0_i16..1, 1 => 1_i16..2, 1 => -1_i16..0];
    prop_oneof![
        4 => (id(), proptest::bool::ANY, 0_i16..6).prop_map(|(id, knows, version)| Step::Init { id, knows, version }),
        8 => (id(), 0..4_i32, 0_i16..6, stale(), proptest::bool::weighted(0.2))
            .prop_map(|(id, partition, version, stale, verify)| Step::Add { id, partition, version, stale, verify }),
        1 => id().prop_map(|id| Step::AddOffsets { id }),
        6 => (id(), proptest::bool::ANY, 0_i16..6, stale())
            .prop_map(|(id, commit, version, stale)| Step::End { id, commit, version, stale }),
        8 => (id(), 0..10_u8, proptest::option::of(0..4_i32)).prop_map(|(id, outcome, partition)| Step::Answer { id, outcome, partition }),
        4 => prop_oneof![0..200_i64, 0..90_000_i64].prop_map(|by| Step::Advance { by }),
        1 => id().prop_map(|id| Step::Age { id }),
        1 => proptest::strategy::Just(Step::FailAppend),
        1 => proptest::strategy::Just(Step::Restart),
        1 => proptest::strategy::Just(Step::Expire),
        1 => (0_i16..3).prop_map(|version| Step::SetVersion { version }),
        1 => proptest::bool::weighted(0.8).prop_map(|has| Step::Spare { has }),
    ]
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn transactional_id(id: usize) -> TransactionalId {
    TransactionalId(text(IDS[id]))
}

/// What the shard has of each id.
fn described(shard: &TxnShard) -> BTreeMap<String, TransactionState> {
    let request = messages::DescribeTransactionsRequest::default().with_transactional_ids((0..IDS.len()).map(transactional_id).collect());
    let meta = RequestMeta { api_version: 0, reply: ReplyId(0), spare_producer_id: None };
    let TxnReply::DescribeTransactions(reply) = shard.describe_transactions(meta, request).replies.remove(0).1 else { panic!("no answer") };
    reply.transaction_states.into_iter().map(|one| (one.transactional_id.as_str().to_owned(), one)).collect()
}

struct History {
    world: World,
    next_spare: i64,
    /// What the producers of each id were told last.
    told: BTreeMap<usize, (i64, i16)>,
    before: BTreeMap<String, TransactionState>,
}

impl History {
    fn new(version: i16) -> Self {
        let transaction_version = TransactionVersion::from_feature_level(version).unwrap();
        let config = TxnConfig { transaction_version, transactional_id_expiration_ms: 500_000, ..TxnConfig::default() };
        let world = World::new(config);
        let before = described(&world.shard);
        Self { world, next_spare: 0, told: BTreeMap::new(), before }
    }

    fn producer(&self, id: usize, stale: i16) -> (ProducerId, i16) {
        let (producer_id, epoch) = self.told.get(&id).copied().unwrap_or((1_000, 0));
        (ProducerId(producer_id), epoch.saturating_sub(stale))
    }

    fn carry_out(&mut self, id: usize, effects: Effects) {
        let outcome = self.world.carry_out(effects);
        self.learn(id, &outcome);
    }

    fn learn(&mut self, id: usize, outcome: &Outcome) {
        for (_, _, reply) in &outcome.replies {
            let (code, producer_id, epoch) = match reply {
                TxnReply::InitProducerId(reply) => (reply.error_code, reply.producer_id.0, reply.producer_epoch),
                TxnReply::EndTxn(reply) => (reply.error_code, reply.producer_id.0, reply.producer_epoch),
                _ => continue,
            };
            if code == 0 && producer_id != -1 {
                assert!((0..i16::MAX).contains(&epoch), "a producer that cannot be fenced: {producer_id}/{epoch}");
                self.told.insert(id, (producer_id, epoch));
            }
        }
        self.check_markers(outcome);
    }

    /// Markers are asked for of decided transactions only, and say what was decided.
    fn check_markers(&self, outcome: &Outcome) {
        let now = described(&self.world.shard);
        for markers in &outcome.markers {
            let state = &now[markers.transactional_id.as_ref()];
            let expected = match markers.result {
                TransactionResult::Commit => "PrepareCommit",
                TransactionResult::Abort => "PrepareAbort",
            };
            assert_eq!(state.transaction_state.as_str(), expected);
            assert_eq!((state.producer_id.0, state.producer_epoch), (markers.producer_id.get(), markers.producer_epoch.get()));
            let partitions: usize = state.topics.iter().map(|topic| topic.partitions.len()).sum();
            assert!((1..=partitions).contains(&markers.partitions.len()));
        }
    }

    fn take(&mut self, step: Step) {
        let now = self.world.now();
        match step {
            Step::Init { id, knows, version } => {
                let (producer_id, epoch) = if knows && version >= 3 { self.producer(id, 0) } else { (ProducerId(-1), -1) };
                let request = messages::InitProducerIdRequest::default()
                    .with_transactional_id(Some(transactional_id(id)))
                    .with_transaction_timeout_ms(30_000)
                    .with_producer_id(producer_id)
                    .with_producer_epoch(epoch);
                let meta = self.world.meta("init", version);
                let effects = self.world.shard.init_producer_id(now, meta, request);
                self.carry_out(id, effects);
            }
            Step::Add { id, partition, version, stale, verify } => {
                let (producer_id, epoch) = self.producer(id, stale);
                let topic = AddPartitionsToTxnTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![partition]);
                let request = AddPartitionsToTxnTransaction::default()
                    .with_transactional_id(transactional_id(id))
                    .with_producer_id(producer_id)
                    .with_producer_epoch(epoch)
                    .with_verify_only(verify)
                    .with_topics(vec![topic]);
                let meta = self.world.meta("add", version);
                let effects = self.world.shard.add_partitions_to_txn(now, meta, request);
                assert!(!verify || effects.records.is_empty());
                self.carry_out(id, effects);
            }
            Step::AddOffsets { id } => {
                let (producer_id, epoch) = self.producer(id, 0);
                let request = messages::AddOffsetsToTxnRequest::default()
                    .with_transactional_id(transactional_id(id))
                    .with_producer_id(producer_id)
                    .with_producer_epoch(epoch)
                    .with_group_id(messages::GroupId(text("g")));
                let meta = self.world.meta("add-offsets", 4);
                let effects = self.world.shard.add_offsets_to_txn(now, meta, request, 50);
                self.carry_out(id, effects);
            }
            Step::End { id, commit, version, stale } => {
                let (producer_id, epoch) = self.producer(id, stale);
                let request = messages::EndTxnRequest::default()
                    .with_transactional_id(transactional_id(id))
                    .with_producer_id(producer_id)
                    .with_producer_epoch(epoch)
                    .with_committed(commit);
                let meta = self.world.meta("end", version);
                let effects = self.world.shard.end_txn(now, meta, request);
                self.carry_out(id, effects);
            }
            Step::Answer { id, outcome, partition } => {
                let outcome = match outcome {
                    0 => MarkerOutcome::Gone,
                    1 | 2 => MarkerOutcome::Retry,
                    _ => MarkerOutcome::Written,
                };
                let outcome = self.world.answer(IDS[id], outcome, |name| partition.is_none_or(|index| name == format!("t-{index}")));
                self.learn(id, &outcome);
            }
            other => self.disturb(other),
        }
    }

    fn disturb(&mut self, step: Step) {
        match step {
            Step::Advance { by } => {
                let end = self.world.now + by;
                while let Some((key, at)) = self.world.next_timer(end) {
                    self.world.now = self.world.now.max(at);
                    let outcome = self.world.fire(key);
                    self.check_markers(&outcome);
                    self.check();
                }
                self.world.now = end;
            }
            Step::Age { id } => self.age(id),
            Step::FailAppend => self.world.append_error = Some(ErrorCode::NotEnoughReplicas),
            Step::Restart => {
                let outcome = self.world.restart();
                self.check_markers(&outcome);
            }
            Step::Expire => {
                let effects = self.world.shard.expire_transactional_ids(self.world.now());
                self.world.carry_out(effects);
            }
            Step::SetVersion { version } => {
                let version = TransactionVersion::from_feature_level(version).unwrap();
                self.world.config.transaction_version = version;
                self.world.shard.set_transaction_version(version);
            }
            Step::Spare { has } => {
                if let Some(id) = self.world.spare_producer_id.take() {
                    self.next_spare = id;
                }
                self.world.spare_producer_id = has.then_some(self.next_spare);
            }
            step => panic!("{step:?} is a request"),
        }
    }

    fn age(&mut self, id: usize) {
        let state = &self.before[IDS[id]];
        if state.transaction_state.as_str() != "Empty" || state.producer_epoch > 100 {
            return;
        }
        let last = self.world.log.iter().rev().find(|record| record.key[4..] == *IDS[id].as_bytes());
        let mut record = last.unwrap().clone();
        let mut value = record.value.unwrap().to_vec();
        value[10..12].copy_from_slice(&32_764_i16.to_be_bytes());
        record.value = Some(value.into());
        self.world.log.push(record);
        self.told.insert(id, (state.producer_id.0, 32_764));
        self.world.restart();
    }

    fn check(&mut self) {
        let live = described(&self.world.shard);
        assert_eq!(live, described(&self.world.replayed()), "the log has something else");
        for (id, state) in &live {
            let before = &self.before[id];
            check_step(before, state);
            let is_decided = state.transaction_state.as_str().starts_with("Prepare");
            let has_partitions = !state.topics.is_empty();
            assert_eq!(has_partitions, is_decided || state.transaction_state.as_str() == "Ongoing", "{state:?}");
        }
        self.before = live;
    }
}

/// An id's step within one operation: its producer id and epoch do not go back, and a transaction is decided before the next one begins.
fn check_step(before: &TransactionState, after: &TransactionState) {
    if before.error_code != 0 || after.error_code != 0 {
        let may_go = ["", "Empty", "CompleteCommit", "CompleteAbort"];
        assert!(may_go.contains(&before.transaction_state.as_str()), "{before:?} was forgotten");
        return;
    }
    assert!((before.producer_id.0, before.producer_epoch) <= (after.producer_id.0, after.producer_epoch), "{before:?} -> {after:?}");
    let (from, to) = (before.transaction_state.as_str(), after.transaction_state.as_str());
    let is_right = match from {
        "Empty" | "CompleteCommit" | "CompleteAbort" => ["Empty", "Ongoing", "CompleteAbort", from].contains(&to),
        "Ongoing" => ["Ongoing", "PrepareCommit", "PrepareAbort"].contains(&to),
        "PrepareCommit" => ["PrepareCommit", "CompleteCommit"].contains(&to),
        "PrepareAbort" => ["PrepareAbort", "CompleteAbort"].contains(&to),
        _ => false,
    };
    assert!(is_right, "{before:?} -> {after:?}");
}

proptest! {
    #![proptest_config(Config { cases: 400, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() })]

    #[test]
    fn what_survives_a_restart_is_what_was_replayed(version in 0_i16..3, steps in proptest::collection::vec(step(), 1..150)) {
        let mut history = History::new(version);
        for step in steps {
            history.take(step);
            history.check();
        }
        // Nothing hangs: with leaders that answer, everything open ends after its timeout.
        history.world.append_error = None;
        history.world.spare_producer_id.get_or_insert(history.next_spare + 1);
        for _ in 0..20 {
            history.take(Step::Advance { by: 31_000 });
            history.check();
            for id in 0..IDS.len() {
                history.take(Step::Answer { id, outcome: 9, partition: None });
                history.check();
            }
        }
        let open = ["Ongoing", "PrepareCommit", "PrepareAbort"];
        for (id, state) in described(&history.world.shard) {
            assert!(!open.contains(&state.transaction_state.as_str()), "{id} hangs: {state:?}");
        }
        assert!(history.world.now() > Timestamp(0));
    }
}
