//! Input that is meant to hurt.

use bytes::Bytes;
use group_coordinator::{GroupConfig, GroupReply, GroupShard, Replayed};
use proptest::collection::vec;
use proptest::prelude::{any, proptest};
use proptest::test_runner::{Config, RngSeed};
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::{GroupId, JoinGroupRequest, OffsetCommitRequest};
use protocol::{ErrorCode, StrBytes};

use crate::world::World;

fn join(group_id: &str, protocols: usize) -> JoinGroupRequest {
    let protocol = |index: usize| {
        JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_string((index % 1000).to_string()))
            .with_metadata(Bytes::from_static(&[0, 0, 0x7f]))
    };
    JoinGroupRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group_id.to_owned())))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(i32::MIN)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols((0..protocols).map(protocol).collect())
}

#[test]
fn texts_that_no_record_can_hold_are_refused() {
    let mut world = World::new(GroupConfig::default());
    let long = "x".repeat(40_000);
    for (group, client, expected) in [(long.as_str(), "c", ErrorCode::InvalidGroupId), ("g", long.as_str(), ErrorCode::InvalidRequest)] {
        let meta = world.meta("join", client, 3);
        let effects = world.shard.join_group(world.now(), meta, join(group, 1));
        let GroupReply::Join(reply) = &effects.replies[0].1 else { panic!("not a join") };
        assert_eq!(reply.error_code, expected.code());
        assert!(effects.records.is_empty());
    }
    let meta = world.meta("commit", "c", 9);
    let group_id = GroupId(StrBytes::from_string(long));
    let effects = world.shard.offset_commit(
        world.now(),
        meta,
        OffsetCommitRequest::default().with_group_id(group_id).with_generation_id_or_member_epoch(-1),
    );
    assert!(effects.records.is_empty());
}

#[test]
fn a_hundred_thousand_protocols_take_no_time() {
    let mut world = World::new(GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() });
    for _ in 0..2 {
        let meta = world.meta("join", "c", 3);
        let effects = world.shard.join_group(world.now(), meta, join("g", 100_000));
        world.carry_out(effects);
    }
}

#[test]
fn records_of_other_group_types_are_skipped_and_counted() {
    let mut shard = GroupShard::new(GroupConfig::default());
    assert_eq!(shard.replay(&[0, 3, 0, 1, b'g'], Some(&[0, 0, 0, 0, 0, 1])), Replayed::UnknownType);
    assert_eq!(shard.replay(&[0, 2, 0, 1, b'g'], Some(&[9])), Replayed::Malformed);
    assert_eq!(shard.replay(&[0, 2, 0, 1, b'g'], None), Replayed::Applied);
    assert_eq!((shard.skipped_records().unknown_type, shard.skipped_records().malformed), (1, 1));
}

proptest! {
    #![proptest_config(Config { cases: 300, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() })]

    #[test]
    fn garbage_records_do_no_harm(records in vec((0_i16..4, vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..80)), 1..20)) {
        let mut world = World::new(GroupConfig::default());
        for (kind, key, value) in records {
            let key: Vec<u8> = kind.to_be_bytes().into_iter().chain(key).collect();
            let value: Vec<u8> = [0, (value.len() % 5) as u8].into_iter().chain(value).collect();
            world.shard.replay(&key, Some(&value));
        }
        let effects = world.shard.loaded(world.now());
        world.carry_out(effects);
        while let Some((key, at)) = world.next_timer(1 << 40) {
            world.now = world.now.max(at);
            world.fire(key);
        }
    }
}
