//! Input that is meant to hurt.

use proptest::collection::vec;
use proptest::prelude::{any, proptest};
use proptest::test_runner::{Config, RngSeed};
use protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use protocol::messages::{InitProducerIdRequest, ProducerId, TopicName, TransactionalId};
use protocol::{ErrorCode, StrBytes};
use txn_coordinator::{MarkerOutcome, MarkersAnswered, Replayed, TxnConfig, TxnReply};

use crate::world::World;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[test]
fn texts_that_no_record_can_hold_are_refused() {
    let mut world = World::new(TxnConfig::default());
    let long = TransactionalId(text(&"x".repeat(40_000)));
    let request = InitProducerIdRequest::default().with_transactional_id(Some(long)).with_transaction_timeout_ms(1);
    let meta = world.meta("init", 5);
    let effects = world.shard.init_producer_id(world.now(), meta, request);
    let TxnReply::InitProducerId(reply) = &effects.replies[0].1 else { panic!("not an init") };
    assert_eq!(reply.error_code, ErrorCode::InvalidRequest.code());
    assert!(effects.records.is_empty());

    let id = || TransactionalId(text("id"));
    let meta = world.meta("init", 5);
    let request = InitProducerIdRequest::default().with_transactional_id(Some(id())).with_transaction_timeout_ms(1);
    let effects = world.shard.init_producer_id(world.now(), meta, request);
    world.carry_out(effects);
    for (topic, partition) in [("x".repeat(250), 0), ("t".to_owned(), -1)] {
        let topic = AddPartitionsToTxnTopic::default().with_name(TopicName(text(&topic))).with_partitions(vec![partition]);
        let request = AddPartitionsToTxnTransaction::default().with_transactional_id(id()).with_topics(vec![topic]);
        let meta = world.meta("add", 5);
        let effects = world.shard.add_partitions_to_txn(world.now(), meta, request.with_producer_id(ProducerId(1_000)));
        assert!(effects.records.is_empty());
    }
}

#[test]
fn records_of_other_types_are_skipped_and_counted() {
    let mut world = World::new(TxnConfig::default());
    assert_eq!(world.shard.replay(&[0, 1, 0, 1, b'g'], Some(&[0, 0])), Replayed::UnknownType);
    assert_eq!(world.shard.replay(&[0, 0, 0, 1, b'g'], Some(&[9])), Replayed::Malformed);
    assert_eq!(world.shard.replay(&[0, 0, 0, 1, b'g'], None), Replayed::Applied);
    assert_eq!((world.shard.skipped_records().unknown_type, world.shard.skipped_records().malformed), (1, 1));
}

#[test]
fn answers_about_nothing_do_nothing() {
    let mut world = World::new(TxnConfig::default());
    let partition = model::TopicPartition { topic: "t".into(), partition: model::PartitionIndex::ZERO };
    let answered = MarkersAnswered { transactional_id: "nobody".into(), delivery: 3, outcomes: vec![(partition, MarkerOutcome::Written)] };
    assert_eq!(world.shard.markers_answered(world.now(), answered), txn_coordinator::Effects::default());
}

proptest! {
    #![proptest_config(Config { cases: 300, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() })]

    #[test]
    fn garbage_records_do_no_harm(records in vec((0_i16..2, vec(any::<u8>(), 0..20), 0_u8..2, vec(any::<u8>(), 0..120)), 1..20)) {
        let mut world = World::new(TxnConfig::default());
        for (kind, id, version, value) in records {
            let key: Vec<u8> = kind.to_be_bytes().into_iter().chain((id.len() as i16).to_be_bytes()).chain(id).collect();
            // Whole fields, so that some of them are values: an id, an epoch, a timeout and one of the states.
            let head = [0, version, 0, 0, 0, 0, 0, 0, 0, 9, 0x7f, 0xff, 0, 0, 0, 1, value.first().copied().unwrap_or(0) % 8];
            let value: Vec<u8> = head.into_iter().chain(value).collect();
            world.shard.replay(&key, Some(&value));
        }
        let effects = world.shard.loaded(world.now());
        world.carry_out(effects);
        for _ in 0..100 {
            let Some((key, at)) = world.next_timer(1 << 50) else { break };
            world.now = world.now.max(at);
            world.fire(key);
        }
    }
}
