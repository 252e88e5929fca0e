//! Random histories: what survives a restart is what was replayed, every request is answered once, nothing panics.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, Bytes};
use group_coordinator::{Effects, GroupConfig, GroupReply, GroupShard};
use model::TopicName as Topic;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use proptest::test_runner::{Config, RngSeed};
use protocol::messages::describe_groups_response::DescribedGroup;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::messages::{self, GroupId, TopicName};
use protocol::{ErrorCode, StrBytes};

use crate::scripts::subscription;
use crate::world::{Logged, Outcome, World};

const GROUPS: [&str; 2] = ["g", "h"];
const TOPICS: [&str; 3] = ["t", "u", "v"];

#[derive(Clone, Debug)]
enum Step {
    JoinNew { group: usize, instance: Option<u8>, version: i16, protocols: u8 },
    JoinKnown { member: usize, protocols: u8 },
    Sync { member: usize, stale: bool },
    Heartbeat { member: usize },
    Leave { member: usize },
    Commit { member: Option<usize>, group: usize, topic: usize, partition: i32, version: i16 },
    DeleteOffsets { group: usize, topic: usize },
    DeleteGroup { group: usize },
    TopicDeleted { topic: usize },
    Cleanup,
    Advance { by: i64 },
    FailAppend,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let member = || 0_usize..12;
    let group = || 0_usize..GROUPS.len();
    let topic = || 0_usize..TOPICS.len();
    prop_oneof![
        5 => (group(), proptest::option::weighted(0.4, 0_u8..3), 3_i16..10, any::<u8>())
            .prop_map(|(group, instance, version, protocols)| Step::JoinNew { group, instance, version, protocols }),
        8 => (member(), any::<u8>()).prop_map(|(member, protocols)| Step::JoinKnown { member, protocols }),
        8 => (member(), proptest::bool::weighted(0.1)).prop_map(|(member, stale)| Step::Sync { member, stale }),
        3 => member().prop_map(|member| Step::Heartbeat { member }),
        1 => member().prop_map(|member| Step::Leave { member }),
        3 => (proptest::option::weighted(0.7, member()), group(), topic(), 0_i32..3, 2_i16..10)
            .prop_map(|(member, group, topic, partition, version)| Step::Commit { member, group, topic, partition, version }),
        1 => (group(), topic()).prop_map(|(group, topic)| Step::DeleteOffsets { group, topic }),
        1 => group().prop_map(|group| Step::DeleteGroup { group }),
        1 => topic().prop_map(|topic| Step::TopicDeleted { topic }),
        1 => proptest::strategy::Just(Step::Cleanup),
        4 => (0_i64..12_000).prop_map(|by| Step::Advance { by }),
        1 => proptest::strategy::Just(Step::FailAppend),
        1 => proptest::strategy::Just(Step::Restart),
    ]
}

/// What a client knows of its membership.
#[derive(Clone, Debug)]
struct Known {
    group: String,
    member_id: StrBytes,
    instance: Option<StrBytes>,
    generation: i32,
    /// The members to assign to, when it leads.
    members: Vec<StrBytes>,
}

struct History {
    world: World,
    known: Vec<Known>,
    /// Groups whose last change could not be appended, so that the shard is ahead of the log until the next record.
    ahead: BTreeSet<String>,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn protocols(choice: u8) -> Vec<JoinGroupRequestProtocol> {
    let protocol =
        |name: &str, topics: &[&str]| JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(subscription(topics));
    match choice % 8 {
        0..4 => vec![protocol("range", &["t"]), protocol("sticky", &["t"])],
        4 => vec![protocol("sticky", &["t"]), protocol("range", &["t"])],
        5 => vec![protocol("sticky", &["t", "u"]), protocol("range", &["u"])],
        6 => vec![protocol("range", &["u"])],
        _ => vec![protocol("range", &["t"]).with_metadata(Bytes::from_static(b"!")), protocol("sticky", &["t"])],
    }
}

impl History {
    fn carry_out(&mut self, effects: Effects, group: &str, instance: Option<StrBytes>) {
        let outcome = self.world.carry_out(effects);
        self.learn(&outcome, group, instance);
    }

    fn learn(&mut self, outcome: &Outcome, group: &str, instance: Option<StrBytes>) {
        if outcome.failed {
            self.ahead.extend(GROUPS.iter().map(|group| (*group).to_owned()));
        }
        for record in &outcome.records {
            if record.key.first_chunk() == Some(&[0, 2]) {
                self.ahead.remove(std::str::from_utf8(&record.key[4..]).unwrap());
            }
        }
        for (label, _, reply) in &outcome.replies {
            let GroupReply::Join(reply) = reply else { continue };
            let required = reply.error_code == ErrorCode::MemberIdRequired.code();
            if reply.error_code != 0 && !required {
                continue;
            }
            let members = reply.members.iter().map(|member| member.member_id.clone()).collect();
            let group = label.split(' ').next().filter(|name| !name.is_empty()).unwrap_or(group).to_owned();
            let known =
                Known { group, member_id: reply.member_id.clone(), instance: instance.clone(), generation: reply.generation_id, members };
            match self.known.iter_mut().find(|one| one.member_id == known.member_id && one.group == known.group) {
                Some(one) => *one = Known { instance: one.instance.clone(), ..known },
                None => self.known.insert(0, known),
            }
        }
        self.known.truncate(12);
    }

    fn join(&mut self, group: &str, member_id: StrBytes, instance: Option<StrBytes>, version: i16, choice: u8) {
        let meta = self.world.meta(group, "c", version);
        let request = messages::JoinGroupRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_member_id(member_id)
            .with_group_instance_id(instance.clone())
            .with_session_timeout_ms(6_000 + 1_000 * i32::from(choice % 8))
            .with_rebalance_timeout_ms(5_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(protocols(choice));
        let effects = self.world.shard.join_group(self.world.now(), meta, request);
        self.carry_out(effects, group, instance);
    }

    fn take(&mut self, step: Step) {
        let now = self.world.now();
        match step {
            Step::JoinNew { group, instance, version, protocols } => {
                let instance = instance.map(|instance| text(&format!("i{instance}")));
                self.join(GROUPS[group], StrBytes::new(), instance, version, protocols);
            }
            Step::JoinKnown { member, protocols } => {
                let Some(known) = self.known.get(member).cloned() else { return };
                self.join(&known.group, known.member_id, known.instance, 9, protocols);
            }
            Step::Sync { member, stale } => self.sync(member, stale),
            Step::Heartbeat { member } => {
                let Some(known) = self.known.get(member).cloned() else { return };
                let meta = self.world.meta(&known.group, "c", 4);
                let request =
                    messages::HeartbeatRequest::default().with_group_id(GroupId(text(&known.group))).with_member_id(known.member_id);
                let effects = self.world.shard.heartbeat(now, meta, request.with_generation_id(known.generation));
                self.carry_out(effects, &known.group, None);
            }
            Step::Leave { member } => {
                let Some(known) = self.known.get(member).cloned() else { return };
                let meta = self.world.meta(&known.group, "c", 5);
                let request = messages::LeaveGroupRequest::default().with_group_id(GroupId(text(&known.group)));
                let member = MemberIdentity::default().with_member_id(known.member_id).with_group_instance_id(known.instance);
                let effects = self.world.shard.leave_group(now, meta, request.with_members(vec![member]));
                self.carry_out(effects, &known.group, None);
            }
            Step::Advance { by } => {
                let end = self.world.now + by;
                while let Some((key, at)) = self.world.next_timer(end) {
                    self.world.now = self.world.now.max(at);
                    let outcome = self.world.fire(key);
                    self.learn(&outcome, "", None);
                }
                self.world.now = end;
            }
            Step::FailAppend => self.world.append_error = Some(ErrorCode::RequestTimedOut),
            Step::Restart => {
                self.world.restart();
                self.ahead.clear();
            }
            admin => self.offsets_and_admin(admin),
        }
    }

    fn sync(&mut self, member: usize, stale: bool) {
        let Some(known) = self.known.get(member).cloned() else { return };
        let meta = self.world.meta(&known.group, "c", 5);
        let generation = known.generation - i32::from(stale);
        let assignment = Bytes::from(format!("{generation}"));
        let assign = |id: &StrBytes| SyncGroupRequestAssignment::default().with_member_id(id.clone()).with_assignment(assignment.clone());
        let request = messages::SyncGroupRequest::default()
            .with_group_id(GroupId(text(&known.group)))
            .with_member_id(known.member_id)
            .with_group_instance_id(known.instance)
            .with_generation_id(generation)
            .with_assignments(known.members.iter().map(assign).collect());
        let effects = self.world.shard.sync_group(self.world.now(), meta, request);
        self.carry_out(effects, &known.group, None);
    }

    fn offsets_and_admin(&mut self, step: Step) {
        let now = self.world.now();
        let topic_name = |topic: usize| TopicName(text(TOPICS[topic]));
        let effects = match step {
            Step::Commit { member, group, topic, partition, version } => {
                let known = member.and_then(|member| self.known.get(member).cloned());
                let group = known.as_ref().map_or(GROUPS[group].to_owned(), |known| known.group.clone());
                let partition = OffsetCommitRequestPartition::default().with_partition_index(partition).with_committed_offset(now.millis());
                let topic = OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
                let request = messages::OffsetCommitRequest::default()
                    .with_group_id(GroupId(text(&group)))
                    .with_member_id(known.as_ref().map(|known| known.member_id.clone()).unwrap_or_default())
                    .with_generation_id_or_member_epoch(known.map_or(-1, |known| known.generation))
                    .with_retention_time_ms(if version < 5 { 3_000 } else { -1 })
                    .with_topics(vec![topic]);
                let meta = self.world.meta(&group, "c", version);
                self.world.shard.offset_commit(now, meta, request)
            }
            Step::DeleteOffsets { group, topic } => {
                let partitions = (0..3).map(|index| OffsetDeleteRequestPartition::default().with_partition_index(index)).collect();
                let topic = OffsetDeleteRequestTopic::default().with_name(topic_name(topic)).with_partitions(partitions);
                let request = messages::OffsetDeleteRequest::default().with_group_id(GroupId(text(GROUPS[group]))).with_topics(vec![topic]);
                let meta = self.world.meta(GROUPS[group], "c", 0);
                self.world.shard.offset_delete(now, meta, request)
            }
            Step::DeleteGroup { group } => {
                let request = messages::DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(GROUPS[group]))]);
                let meta = self.world.meta(GROUPS[group], "c", 2);
                self.world.shard.delete_groups(now, meta, request)
            }
            Step::TopicDeleted { topic } => self.world.shard.topics_deleted(now, &[Topic::from(TOPICS[topic])]),
            _ => self.world.shard.cleanup_expired_offsets(now),
        };
        self.carry_out(effects, "", None);
    }

    /// What the log says must be what the shard has, but for groups in the middle of a rebalance: of these the log has the generation before.
    fn check(&mut self) {
        let mut replayed = self.world.replayed();
        let (live, stored) = (durable(&mut self.world.shard), durable(&mut replayed));
        assert_eq!(live.offsets, stored.offsets);
        for group in GROUPS {
            let (live, stored) = (&live.groups[group], &stored.groups[group]);
            if self.ahead.contains(group) {
                continue;
            }
            match live.group_state.as_str() {
                "Empty" | "Stable" | "Dead" => assert_eq!(live, stored),
                _ => assert_ne!(stored.group_state.as_str(), "Dead", "{group} is not in the log"),
            }
        }
        let generations = self.generations();
        for (group, generation) in generations.iter().filter(|(group, _)| live.groups[group.as_str()].group_state.as_str() == "Stable") {
            if self.ahead.contains(group) {
                continue;
            }
            let member_id = live.groups[group.as_str()].members[0].member_id.clone();
            let request = messages::HeartbeatRequest::default().with_group_id(GroupId(text(group))).with_member_id(member_id);
            let request = request.with_generation_id(*generation);
            let now = self.world.now();
            for shard in [&mut self.world.shard, &mut replayed] {
                let effects = shard.heartbeat(now, nobody(4), request.clone());
                let GroupReply::Heartbeat(reply) = &effects.replies[0].1 else { panic!("not a heartbeat") };
                assert_eq!(reply.error_code, 0, "{group} is not at {generation}");
            }
        }
    }

    /// The generation of each group in the log.
    fn generations(&self) -> BTreeMap<String, i32> {
        let mut generations = BTreeMap::new();
        let records = self.world.log.iter().filter_map(|logged| match logged {
            Logged::Record(_, record) => Some(record),
            Logged::End { .. } => None,
        });
        for record in records.filter(|record| record.key.first_chunk() == Some(&[0, 2])) {
            let group = String::from_utf8(record.key[4..].to_vec()).unwrap();
            match &record.value {
                None => generations.remove(&group),
                Some(value) => {
                    let mut value = value.slice(2..);
                    let kind = value.get_i16();
                    value.advance(kind as usize);
                    generations.insert(group, value.get_i32())
                }
            };
        }
        generations
    }
}

struct Durable {
    groups: BTreeMap<String, DescribedGroup>,
    offsets: messages::OffsetFetchResponse,
}

/// A request whose reply only the test reads.
fn nobody(api_version: i16) -> group_coordinator::RequestMeta {
    group_coordinator::RequestMeta {
        client_id: String::new(),
        client_host: String::new(),
        api_version,
        reply: group_coordinator::ReplyId(0),
        new_member_uuid: uuid::Uuid::nil(),
    }
}

fn durable(shard: &mut GroupShard) -> Durable {
    let ids = || GROUPS.iter().map(|group| GroupId(text(group)));
    let now = model::Timestamp(0);
    let describe = messages::DescribeGroupsRequest::default().with_groups(ids().collect());
    let GroupReply::DescribeGroups(described) = shard.describe_groups(now, nobody(6), describe).replies.remove(0).1 else {
        panic!("not described")
    };
    let asked = ids().map(|id| OffsetFetchRequestGroup::default().with_group_id(id).with_topics(None)).collect();
    let fetch = messages::OffsetFetchRequest::default().with_groups(asked);
    let GroupReply::OffsetFetch(offsets) = shard.offset_fetch(now, nobody(9), fetch).replies.remove(0).1 else { panic!("not fetched") };
    let groups = described.groups.into_iter().map(|group| (group.group_id.as_str().to_owned(), group)).collect();
    Durable { groups, offsets }
}

proptest! {
    #![proptest_config(Config { cases: 150, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() })]

    #[test]
    fn what_survives_a_restart_is_what_was_replayed(
        delay in prop_oneof![proptest::strategy::Just(0), proptest::strategy::Just(3_000)],
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let config =
            GroupConfig { initial_rebalance_delay_ms: delay, group_size_max: 4, offsets_retention_ms: 20_000, ..GroupConfig::default() };
        let mut history = History { world: World::new(config), known: Vec::new(), ahead: BTreeSet::new() };
        for step in steps {
            history.take(step);
            history.check();
        }
        // Every request was answered or is parked: the unloading answers the rest.
        let effects = history.world.shard.unload(ErrorCode::NotCoordinator);
        history.world.carry_out(effects);
        assert!(history.world.awaited.is_empty(), "never answered: {:?}", history.world.awaited);
    }
}
