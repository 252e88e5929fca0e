//! Golden scripts: `testscripts/*.txt`, one verb per line, its effects indented beneath. `UPDATE=1 cargo test` writes the effects anew; read the
//! difference before it is committed.
//!
//! `[label:] verb id word ... key=value ...`; a label names the request in its reply. Producers are `p=id/epoch`, partitions `t-0`. The first spare
//! producer id is 1000. Verbs: config, init, add, verify, add-offsets, end, describe, list, markers, no-spare, spare, advance, expire, fail-append,
//! restart, record (a record that is in the log already).

use std::collections::BTreeMap;
use std::path::Path;

use protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use protocol::messages::{self, GroupId, TransactionalId};
use protocol::{ErrorCode, StrBytes};
use txn_coordinator::{Effects, MarkerOutcome, TransactionVersion, TxnConfig};

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
    let mut world = World::new(TxnConfig::default());
    let mut out = String::new();
    for line in script.lines().filter(|line| !line.starts_with(' ')) {
        out += line;
        out.push('\n');
        if !line.trim().is_empty() && !line.starts_with('#') {
            for effect in step(&mut world, line) {
                out += &format!("  {}\n", effect.replace('\n', "\n  "));
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
        let (label, rest) = line.split_once(": ").unwrap_or(("-", line));
        let mut parts = rest.split_whitespace();
        let verb = parts.next().unwrap();
        let (options, words): (Vec<&str>, Vec<&str>) = parts.partition(|part| part.contains('='));
        let options = options.into_iter().map(|option| option.split_once('=').unwrap()).collect();
        Self { label, verb, words, options }
    }

    fn id(&self) -> TransactionalId {
        TransactionalId(text(self.words.first().filter(|word| **word != "''").copied().unwrap_or("")))
    }

    fn number(&self, name: &str, default: i64) -> i64 {
        self.options.get(name).map_or(default, |value| value.parse().unwrap())
    }

    fn int(&self, name: &str, default: i32) -> i32 {
        self.number(name, i64::from(default)) as i32
    }

    /// `p=id/epoch`.
    fn producer(&self) -> (messages::ProducerId, i16) {
        let Some(producer) = self.options.get("p") else { return (messages::ProducerId(-1), -1) };
        let (id, epoch) = producer.split_once('/').unwrap();
        (messages::ProducerId(id.parse().unwrap()), epoch.parse().unwrap())
    }

    fn names(&self, name: &str) -> Vec<StrBytes> {
        self.options.get(name).map(|names| names.split(',').map(text).collect()).unwrap_or_default()
    }

    fn topics(&self) -> Vec<AddPartitionsToTxnTopic> {
        let words = self.words.get(1..).unwrap_or_default().iter();
        let topic = |word: &&str| {
            let (topic, partition) = word.rsplit_once('-').unwrap();
            AddPartitionsToTxnTopic::default().with_name(messages::TopicName(text(topic))).with_partitions(vec![partition.parse().unwrap()])
        };
        words.map(topic).collect()
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
    lines.extend(outcome.markers.iter().map(print::markers));
    lines
}

fn step(world: &mut World, line: &str) -> Vec<String> {
    let command = Command::parse(line);
    match command.verb {
        "config" => {
            let version = TransactionVersion::from_feature_level(command.int("version", 2) as i16).unwrap();
            world.config.transaction_version = version;
            world.config.transaction_timeout_max_ms = command.int("max-timeout", 900_000);
            world.config.transactional_id_expiration_ms = command.number("expiration", 604_800_000);
            world.config.batch_bytes_max = command.number("batch", 1_048_588) as usize;
            show(&world.restart())
        }
        "set-version" => {
            let version = TransactionVersion::from_feature_level(command.words[0].parse().unwrap()).unwrap();
            world.config.transaction_version = version;
            world.shard.set_transaction_version(version);
            Vec::new()
        }
        "advance" => advance(world, command.words[0].parse().unwrap()),
        "restart" => show(&world.restart()),
        "no-spare" => {
            world.spare_producer_id = None;
            Vec::new()
        }
        "spare" => {
            world.spare_producer_id = Some(command.words[0].parse().unwrap());
            Vec::new()
        }
        "fail-append" => {
            world.append_error =
                Some(if command.words.first() == Some(&"gone") { ErrorCode::NotLeaderOrFollower } else { ErrorCode::NotEnoughReplicas });
            Vec::new()
        }
        "expire" => {
            let effects = world.shard.expire_transactional_ids(world.now());
            show(&world.carry_out(effects))
        }
        "markers" => {
            let outcome = match command.words[1] {
                "ok" => MarkerOutcome::of(None),
                "moved" => MarkerOutcome::of(Some(ErrorCode::NotLeaderOrFollower)),
                "gone" => MarkerOutcome::Gone,
                "fenced" => MarkerOutcome::of(Some(ErrorCode::TransactionCoordinatorFenced)),
                word => panic!("unknown outcome {word}"),
            };
            let of: Vec<&str> = command.words[2..].to_vec();
            let outcome = world.answer(command.words[0], outcome, |name| of.is_empty() || of.contains(&name));
            show(&outcome)
        }
        "epoch" => set_epoch(world, &command),
        _ => {
            let effects = request(world, &command);
            show(&world.carry_out(effects))
        }
    }
}

/// `epoch id p=id/epoch`: the log has it that an idle id is that far.
fn set_epoch(world: &mut World, command: &Command<'_>) -> Vec<String> {
    let (id, epoch) = command.producer();
    let mut record = world.log.last().unwrap().clone();
    let mut value = record.value.unwrap().to_vec();
    value[2..10].copy_from_slice(&id.0.to_be_bytes());
    value[10..12].copy_from_slice(&epoch.to_be_bytes());
    record.value = Some(value.into());
    let line = print::record(&record);
    world.log.push(record);
    let mut lines = vec![line];
    lines.extend(show(&world.restart()));
    lines
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
    let version = command.int("v", latest(command.verb)) as i16;
    let meta = world.meta(command.label, version);
    let (now, shard) = (world.now(), &mut world.shard);
    let (producer_id, epoch) = command.producer();
    match command.verb {
        "init" => {
            let request = messages::InitProducerIdRequest::default()
                .with_transactional_id(Some(command.id()))
                .with_transaction_timeout_ms(command.int("timeout", 60_000))
                .with_producer_id(producer_id)
                .with_producer_epoch(epoch);
            shard.init_producer_id(now, meta, request)
        }
        "add" | "verify" => {
            let request = AddPartitionsToTxnTransaction::default()
                .with_transactional_id(command.id())
                .with_producer_id(producer_id)
                .with_producer_epoch(epoch)
                .with_verify_only(command.verb == "verify")
                .with_topics(command.topics());
            shard.add_partitions_to_txn(now, meta, request)
        }
        "add-offsets" => {
            let request = messages::AddOffsetsToTxnRequest::default()
                .with_transactional_id(command.id())
                .with_producer_id(producer_id)
                .with_producer_epoch(epoch)
                .with_group_id(GroupId(text(command.words[1])));
            shard.add_offsets_to_txn(now, meta, request, 50)
        }
        "end" => {
            let request = messages::EndTxnRequest::default()
                .with_transactional_id(command.id())
                .with_producer_id(producer_id)
                .with_producer_epoch(epoch)
                .with_committed(command.words[1] == "commit");
            shard.end_txn(now, meta, request)
        }
        "describe" => {
            let ids = command.words.iter().map(|id| TransactionalId(text(if *id == "''" { "" } else { id }))).collect();
            shard.describe_transactions(meta, messages::DescribeTransactionsRequest::default().with_transactional_ids(ids))
        }
        "list" => {
            let ids = command.names("producers").iter().map(|id| messages::ProducerId(id.parse().unwrap())).collect();
            let request = messages::ListTransactionsRequest::default()
                .with_state_filters(command.names("states"))
                .with_producer_id_filters(ids)
                .with_duration_filter(command.number("duration", -1));
            let begins = command.options.get("begins").copied().unwrap_or("");
            shard.list_transactions(now, meta, request, &|id| id.starts_with(begins))
        }
        verb => panic!("unknown verb {verb}"),
    }
}

fn latest(verb: &str) -> i32 {
    match verb {
        "init" | "add" | "verify" | "end" => 5,
        "add-offsets" => 4,
        "list" => 2,
        _ => 0,
    }
}
