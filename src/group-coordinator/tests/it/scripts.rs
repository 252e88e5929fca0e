//! Golden scripts: `testscripts/*.txt`, one verb per line, its effects indented beneath. `UPDATE=1 cargo test` writes the effects anew; read the
//! difference before it is committed.
//!
//! `[label:] verb group key=value ...`; a label names the request in its reply. Member ids are `client-#n`, n counting all requests.
//! Verbs: config, join, sync, heartbeat, leave, commit, txn-commit, end, fetch, delete-offsets, list, describe, delete, advance, cleanup, topics-deleted, fail-append,
//! restart, unload.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::{BufMut, Bytes, BytesMut};
use group_coordinator::{Effects, GroupConfig};
use model::{ProducerId, TopicName};
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::messages::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use protocol::messages::{self, GroupId};
use protocol::{ErrorCode, StrBytes};

use crate::print;
use crate::world::{Outcome, World};

#[test]
fn every_script_has_the_effects_that_it_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts");
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 15);
    for path in paths {
        let expected = std::fs::read_to_string(&path).unwrap();
        let actual = run(&expected);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, actual).unwrap();
        } else {
            let difference = expected.lines().zip(actual.lines()).position(|(expected, actual)| expected != actual);
            let line = difference.unwrap_or(expected.lines().count().min(actual.lines().count())) + 1;
            assert!(expected == actual, "{} differs from line {line} on:\n{actual}", path.display());
        }
    }
}

pub(crate) fn run(script: &str) -> String {
    let mut world = World::new(GroupConfig::default());
    let mut out = String::new();
    for line in script.lines().filter(|line| !line.starts_with(' ')) {
        out += line;
        out.push('\n');
        if !line.trim().is_empty() && !line.starts_with('#') {
            for effect in step(&mut world, line) {
                out += &format!("  {}\n", print::shorten(&effect).replace('\n', "\n  "));
            }
        }
    }
    out
}

struct Command<'a> {
    label: &'a str,
    verb: &'a str,
    words: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Command<'a> {
    fn parse(line: &'a str) -> Self {
        let (label, rest) = line.split_once(": ").unwrap_or(("", line));
        let mut parts = rest.split_whitespace();
        let verb = parts.next().unwrap();
        let (options, words): (Vec<&str>, Vec<&str>) = parts.partition(|part| part.contains('='));
        let options = options.into_iter().map(|option| option.split_once('=').unwrap()).collect();
        Self { label: if label.is_empty() { "-" } else { label }, verb, words, options }
    }

    fn group(&self) -> GroupId {
        GroupId(text(self.words.first().copied().unwrap_or("")))
    }

    fn option(&self, name: &str) -> Option<StrBytes> {
        self.options.get(name).map(|value| text(&print::lengthen(value)))
    }

    fn number(&self, name: &str, default: i64) -> i64 {
        self.options.get(name).map_or(default, |value| value.parse().unwrap())
    }

    fn int(&self, name: &str, default: i32) -> i32 {
        self.number(name, i64::from(default)) as i32
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn show(outcome: &Outcome) -> Vec<String> {
    let mut lines: Vec<String> = outcome.records.iter().map(print::record).collect();
    if outcome.failed {
        lines.insert(0, "append failed".to_owned());
    }
    for (label, _, reply) in &outcome.replies {
        lines.extend(
            print::reply(reply).iter().enumerate().map(|(at, line)| if at == 0 { format!("{label} <- {line}") } else { line.clone() }),
        );
    }
    lines.extend(outcome.timers.iter().map(print::timer));
    lines
}

fn step(world: &mut World, line: &str) -> Vec<String> {
    let command = Command::parse(line);
    match command.verb {
        "config" => {
            world.config.initial_rebalance_delay_ms = command.int("delay", 3000);
            world.config.group_size_max = command.number("size", 2_147_483_647) as usize;
            world.config.offsets_retention_ms = command.number("retention", 604_800_000);
            world.config.batch_bytes_max = command.number("batch", 1_048_588) as usize;
            show(&world.restart())
        }
        "advance" => advance(world, command.words[0].parse().unwrap()),
        "restart" => show(&world.restart()),
        "fail-append" => {
            world.append_error =
                Some(if command.words.first() == Some(&"timeout") { ErrorCode::RequestTimedOut } else { ErrorCode::NotLeaderOrFollower });
            Vec::new()
        }
        "unload" => {
            let effects = world.shard.unload(ErrorCode::NotCoordinator);
            show(&world.carry_out(effects))
        }
        "end" => {
            let producer_id = ProducerId::new(command.number("producer", 0)).unwrap();
            world.end_of_transaction(producer_id, command.words.first() == Some(&"commit"));
            Vec::new()
        }
        "cleanup" => {
            let effects = world.shard.cleanup_expired_offsets(world.now());
            show(&world.carry_out(effects))
        }
        "topics-deleted" => {
            let topics: Vec<TopicName> = command.words.iter().map(|word| TopicName::from(*word)).collect();
            let effects = world.shard.topics_deleted(world.now(), &topics);
            show(&world.carry_out(effects))
        }
        _ => {
            let effects = request(world, &command);
            show(&world.carry_out(effects))
        }
    }
}

fn advance(world: &mut World, by: i64) -> Vec<String> {
    let end = world.now + by;
    let mut lines = Vec::new();
    while let Some((key, at)) = world.next_timer(end) {
        world.now = world.now.max(at);
        lines.push(format!("@{} {}", world.now, print::timer_key(&key)));
        let outcome = world.fire(key);
        lines.extend(show(&outcome));
    }
    world.now = end;
    lines
}

fn request(world: &mut World, command: &Command<'_>) -> Effects {
    let version = command.int("version", latest(command.verb)) as i16;
    let meta = world.meta(command.label, command.options.get("client").unwrap_or(&"c"), version);
    let (now, shard) = (world.now(), &mut world.shard);
    match command.verb {
        "join" => shard.join_group(now, meta, join(command)),
        "sync" => {
            let request = messages::SyncGroupRequest::default()
                .with_group_id(command.group())
                .with_member_id(command.option("member").unwrap_or_default())
                .with_group_instance_id(command.option("instance"))
                .with_generation_id(command.int("gen", 1))
                .with_protocol_type(command.option("type"))
                .with_protocol_name(command.option("protocol"))
                .with_assignments(assignments(command));
            shard.sync_group(now, meta, request)
        }
        "heartbeat" => {
            let request = messages::HeartbeatRequest::default()
                .with_group_id(command.group())
                .with_member_id(command.option("member").unwrap_or_default())
                .with_group_instance_id(command.option("instance"))
                .with_generation_id(command.int("gen", 1));
            shard.heartbeat(now, meta, request)
        }
        "leave" => {
            let members = command.words.get(1..).unwrap_or_default().iter().map(|word| {
                let (id, instance) = word.split_once('@').map_or((*word, None), |(id, instance)| (id, Some(text(instance))));
                MemberIdentity::default().with_member_id(text(&print::lengthen(id))).with_group_instance_id(instance)
            });
            let request = messages::LeaveGroupRequest::default().with_group_id(command.group());
            let member_id = command.option("member").unwrap_or_default();
            shard.leave_group(now, meta, request.with_members(members.collect()).with_member_id(member_id))
        }
        "commit" => shard.offset_commit(now, meta, commit(command)),
        "txn-commit" => shard.txn_offset_commit(now, meta, txn_commit(command)),
        "fetch" => shard.offset_fetch(now, meta, fetch(command, version)),
        "delete-offsets" => {
            let topics = partitions(command.words.get(1..).unwrap_or_default()).into_iter().map(|(topic, partitions)| {
                let partition = |index: i32| OffsetDeleteRequestPartition::default().with_partition_index(index);
                OffsetDeleteRequestTopic::default().with_name(topic).with_partitions(partitions.into_iter().map(partition).collect())
            });
            let request = messages::OffsetDeleteRequest::default().with_group_id(command.group()).with_topics(topics.collect());
            shard.offset_delete(now, meta, request)
        }
        "list" => {
            let names = |name: &str| command.options.get(name).map(|names| names.split(',').map(text).collect()).unwrap_or_default();
            let request = messages::ListGroupsRequest::default().with_states_filter(names("states")).with_types_filter(names("types"));
            shard.list_groups(now, meta, request)
        }
        "describe" => {
            let groups = command.words.iter().map(|id| GroupId(text(id))).collect();
            shard.describe_groups(now, meta, messages::DescribeGroupsRequest::default().with_groups(groups))
        }
        "delete" => {
            let groups = command.words.iter().map(|id| GroupId(text(id))).collect();
            shard.delete_groups(now, meta, messages::DeleteGroupsRequest::default().with_groups_names(groups))
        }
        verb => panic!("unknown verb {verb}"),
    }
}

fn latest(verb: &str) -> i32 {
    match verb {
        "join" | "commit" | "fetch" => 9,
        "sync" | "leave" | "list" => 5,
        "heartbeat" => 4,
        "txn-commit" => 5,
        "describe" => 6,
        "delete" => 2,
        _ => 0,
    }
}

/// A consumer's subscription.
pub(crate) fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    bytes.put_i32(topics.len() as i32);
    for topic in topics {
        bytes.put_i16(topic.len() as i16);
        bytes.put_slice(topic.as_bytes());
    }
    bytes.put_i32(-1);
    bytes.put_i32(0);
    bytes.freeze()
}

/// `protocols=range:t1+t2,sticky:t1`; `!` stands for metadata that is no subscription.
fn join(command: &Command<'_>) -> messages::JoinGroupRequest {
    let protocols = command.options.get("protocols").unwrap_or(&"range:t").split(',').filter(|one| !one.is_empty()).map(|protocol| {
        let (name, topics) = protocol.split_once(':').unwrap();
        let topics: Vec<&str> = topics.split('+').collect();
        let metadata = if topics == ["!"] { Bytes::from_static(b"!") } else { subscription(&topics) };
        JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(metadata)
    });
    messages::JoinGroupRequest::default()
        .with_group_id(command.group())
        .with_member_id(command.option("member").unwrap_or_default())
        .with_group_instance_id(command.option("instance"))
        .with_session_timeout_ms(command.int("session", 10_000))
        .with_rebalance_timeout_ms(command.int("rebalance", 30_000))
        .with_protocol_type(command.option("type").unwrap_or_else(|| text("consumer")))
        .with_protocols(protocols.collect())
}

/// `assign=c-#1:x,c-#2:y`.
fn assignments(command: &Command<'_>) -> Vec<SyncGroupRequestAssignment> {
    let given = command.options.get("assign").map(|given| given.split(',').collect::<Vec<_>>()).unwrap_or_default();
    let assignment = |one: &str| {
        let (id, assignment) = one.split_once(':').unwrap();
        let assignment = Bytes::from(assignment.to_owned());
        SyncGroupRequestAssignment::default().with_member_id(text(&print::lengthen(id))).with_assignment(assignment)
    };
    given.into_iter().map(assignment).collect()
}

/// `t-0:42:metadata` words.
fn commit(command: &Command<'_>) -> messages::OffsetCommitRequest {
    let topics = command.words.get(1..).unwrap_or_default().iter().map(|word| {
        let mut parts = word.split(':');
        let (topic, partition) = parts.next().unwrap().split_once('-').unwrap();
        let offset = parts.next().unwrap().parse().unwrap();
        let metadata = parts.next().map(|metadata| match metadata.strip_prefix('*') {
            Some(length) => text(&"x".repeat(length.parse().unwrap())),
            None => text(metadata),
        });
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(partition.parse().unwrap())
            .with_committed_offset(offset)
            .with_committed_leader_epoch(command.int("epoch", -1))
            .with_committed_metadata(metadata);
        let topic = OffsetCommitRequestTopic::default().with_name(messages::TopicName(text(topic)));
        topic.with_topic_id(topic_id(command)).with_partitions(vec![partition])
    });
    messages::OffsetCommitRequest::default()
        .with_group_id(command.group())
        .with_member_id(command.option("member").unwrap_or_default())
        .with_group_instance_id(command.option("instance"))
        .with_generation_id_or_member_epoch(command.int("gen", -1))
        .with_retention_time_ms(command.number("retention", -1))
        .with_topics(topics.collect())
}

/// The same words as of `commit`, with `producer=`.
fn txn_commit(command: &Command<'_>) -> messages::TxnOffsetCommitRequest {
    let topics = commit(command).topics.into_iter().map(|topic| {
        let partition = |partition: OffsetCommitRequestPartition| {
            TxnOffsetCommitRequestPartition::default()
                .with_partition_index(partition.partition_index)
                .with_committed_offset(partition.committed_offset)
                .with_committed_leader_epoch(partition.committed_leader_epoch)
                .with_committed_metadata(partition.committed_metadata)
        };
        let partitions = topic.partitions.into_iter().map(partition).collect();
        TxnOffsetCommitRequestTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    messages::TxnOffsetCommitRequest::default()
        .with_group_id(command.group())
        .with_member_id(command.option("member").unwrap_or_default())
        .with_group_instance_id(command.option("instance"))
        .with_generation_id(command.int("gen", -1))
        .with_producer_id(messages::ProducerId(command.number("producer", 0)))
        .with_producer_epoch(0)
        .with_topics(topics.collect())
}

/// `id=N`, or the topics have no known id.
fn topic_id(command: &Command<'_>) -> uuid::Uuid {
    uuid::Uuid::from_u128(u128::try_from(command.int("id", 0)).unwrap())
}

fn partitions(words: &[&str]) -> Vec<(messages::TopicName, Vec<i32>)> {
    let one = |word: &&str| {
        let (topic, partitions) = word.split_once('-').unwrap();
        (messages::TopicName(text(topic)), partitions.split(',').map(|partition| partition.parse().unwrap()).collect())
    };
    words.iter().map(one).collect()
}

fn fetch(command: &Command<'_>, version: i16) -> messages::OffsetFetchRequest {
    let asked = partitions(command.words.get(1..).unwrap_or_default());
    let request = messages::OffsetFetchRequest::default().with_require_stable(command.int("stable", 0) != 0);
    if version >= 8 {
        let topic = |(name, partitions)| {
            OffsetFetchRequestTopics::default().with_name(name).with_topic_id(topic_id(command)).with_partition_indexes(partitions)
        };
        let topics = (!asked.is_empty()).then(|| asked.into_iter().map(topic).collect());
        return request.with_groups(vec![OffsetFetchRequestGroup::default().with_group_id(command.group()).with_topics(topics)]);
    }
    let topic = |(name, partitions)| OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(partitions);
    let topics = (!asked.is_empty()).then(|| asked.into_iter().map(topic).collect());
    request.with_group_id(command.group()).with_topics(topics)
}
