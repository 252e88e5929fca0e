//! The scenarios on consumer groups, for rdkafka.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::player::{PATIENCE, Played, Table, check, control, equal, names, records, until};
use crate::rdkafka_driver::{Rdkafka, config, reader, refusal};
use crate::scenarios::{Answer, Refusal, created, refused};

const GROUP: [(&str, &str); 4] =
    [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500"), ("auto.offset.reset", "earliest"), ("enable.auto.commit", "false")];

/// What a member has seen so far.
#[derive(Default)]
struct Seen {
    values: Vec<String>,
    assigned: BTreeSet<i32>,
    rebalances: usize,
    fenced: bool,
}

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Seen>>);

impl Notes {
    fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Notes {
    fn error(&self, error: KafkaError, _reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.with(|seen| seen.fenced = true);
        }
    }
}

impl ConsumerContext for Notes {
    fn pre_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.with(|seen| match rebalance {
            Rebalance::Assign(list) => {
                seen.rebalances += 1;
                seen.assigned.extend(list.elements().iter().map(|element| element.partition()));
            }
            Rebalance::Revoke(list) => list.elements().iter().for_each(|element| {
                seen.assigned.remove(&element.partition());
            }),
            Rebalance::Error(_) => {}
        });
    }
}

/// A group member that commits each record after it has noted it.
struct Member {
    notes: Notes,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    fn join(group: &str, topic: &str, more: &[(&str, &str)]) -> Played<Member> {
        let (notes, stopping) = (Notes::default(), Arc::new(AtomicBool::new(false)));
        let settings = [&GROUP[..], &[("group.id", group)], more].concat();
        let consumer: BaseConsumer<Notes> = config(&settings).create_with_context(notes.clone())?;
        consumer.subscribe(&[topic])?;
        let stop = Arc::clone(&stopping);
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match consumer.poll(Duration::from_millis(100)) {
                    Some(Ok(message)) => {
                        let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
                        consumer.context().with(|seen| seen.values.push(value));
                        // A commit that a rebalance refuses: the record is read again by its new owner.
                        let _ = consumer.commit_message(&message, CommitMode::Sync);
                    }
                    Some(Err(KafkaError::MessageConsumptionFatal(_))) => consumer.context().with(|seen| seen.fenced = true),
                    _ => {}
                }
            }
        });
        Ok(Member { notes, stopping, thread: Some(thread) })
    }

    fn assigned(&self) -> BTreeSet<i32> {
        self.notes.with(|seen| seen.assigned.clone())
    }

    fn values(&self) -> Vec<String> {
        self.notes.with(|seen| seen.values.clone())
    }
}

/// It leaves the group.
impl Drop for Member {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Waits until the members hold all partitions, each once, in shares that differ by at most one.
fn shared_evenly(members: &[Member], partitions: usize) -> Played {
    let shares = || members.iter().map(Member::assigned).collect::<Vec<_>>();
    until(
        PATIENCE,
        || format!("even shares: {:?}", shares()),
        || {
            let sizes: Vec<usize> = shares().iter().map(BTreeSet::len).collect();
            let all: BTreeSet<i32> = shares().into_iter().flatten().collect();
            let spread = sizes.iter().max().unwrap_or(&0) - sizes.iter().min().unwrap_or(&0);
            Ok(all.len() == partitions && sizes.iter().sum::<usize>() == partitions && spread <= 1)
        },
    )
}

fn different(values: impl IntoIterator<Item = String>) -> usize {
    values.into_iter().collect::<BTreeSet<_>>().len()
}

pub fn table() -> Table<Rdkafka> {
    vec![
        ("group-of-three-one-killed", three_one_killed),
        ("assignors", assignors),
        ("static-membership", static_membership),
        ("group-admin", group_admin),
        ("commit-and-resume-after-kill", resume_after_kill),
        ("member-survives-kill", survives_kill),
    ]
}

fn three_one_killed(client: &Rdkafka) -> Played {
    let topic = client.made("shared", 6, &[])?;
    let members = [Member::join("three", topic, &[])?, Member::join("three", topic, &[])?];
    let mut child = Command::new(env::current_exe()?).args(["member", "three", topic]).stdout(Stdio::piped()).spawn()?;
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let lines = BufReader::new(child.stdout.take().ok_or("no output of the child")?).lines();
    let telling = Arc::clone(&told);
    thread::spawn(move || lines.map_while(Result::ok).for_each(|line| telling.lock().unwrap_or_else(PoisonError::into_inner).push(line)));
    let told = || told.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let seen = || different(told().into_iter().filter(|line| !line.contains(' ')).chain(members.iter().flat_map(Member::values)));
    let played = (|| {
        until(
            PATIENCE,
            || format!("two partitions each: {:?}", told().last()),
            || Ok(told().last().is_some_and(|line| line == "assigned 2") && members.iter().all(|member| member.assigned().len() == 2)),
        )?;
        client.send(topic, &records(&names(60, "v"), 6), &[])?;
        until(PATIENCE, || format!("60 values, got {}", seen()), || Ok(seen() == 60))?;
        child.kill()?;
        client.send(topic, &records(&names(60, "w"), 6), &[])?;
        shared_evenly(&members, 6)?;
        until(PATIENCE, || format!("120 values, got {}", seen()), || Ok(seen() == 120))
    })();
    let _ = child.kill();
    child.wait()?;
    played
}

/// The third member, a process of its own that can be killed: it prints its values, and how many partitions it holds.
pub fn child_member(group: &str, topic: &str) -> Played {
    let (member, mut printed, mut held) = (Member::join(group, topic, &[])?, 0, None);
    loop {
        for value in member.values().iter().skip(printed) {
            println!("{value}");
            printed += 1;
        }
        let now = member.assigned().len();
        if held.replace(now) != Some(now) {
            println!("assigned {now}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn assignors(client: &Rdkafka) -> Played {
    for (assignor, name) in
        [("range", "assigned-range"), ("roundrobin", "assigned-roundrobin"), ("cooperative-sticky", "assigned-cooperative-sticky")]
    {
        let (topic, mut members) = (client.made(name, 6, &[])?, Vec::new());
        for _ in 0..3 {
            members.push(Member::join(assignor, topic, &[("partition.assignment.strategy", assignor)])?);
            shared_evenly(&members, 6)?;
        }
        client.send(topic, &records(&names(30, "v"), 6), &[])?;
        let seen = || members.iter().flat_map(Member::values).collect::<Vec<_>>();
        until(PATIENCE, || format!("{assignor}: 30 records, got {}", seen().len()), || Ok(seen().len() == 30))?;
        equal(different(seen()), 30, "different records")?;
        members.pop();
        shared_evenly(&members, 6)?;
    }
    Ok(())
}

fn static_membership(client: &Rdkafka) -> Played {
    let topic = client.made("static", 4, &[])?;
    let join = |instance| Member::join("static", topic, &[("group.instance.id", instance)]);
    let mut members = vec![join("two")?, join("one")?];
    shared_evenly(&members, 4)?;
    let first = members.pop().ok_or("no member")?;
    let held = first.assigned();
    drop(first);
    let second = members.pop().ok_or("no member")?;
    let rebalances = || second.notes.with(|seen| seen.rebalances);
    let before = rebalances();
    let back = join("one")?;
    until(PATIENCE, || "the instance is back".into(), || Ok(!back.assigned().is_empty()))?;
    equal((back.assigned(), rebalances()), (held, before), "assignment of the returned, rebalances of the other")?;
    let double = join("two")?;
    until(PATIENCE, || "the older double is fenced".into(), || Ok(second.notes.with(|seen| seen.fenced)))?;
    drop(double);
    Ok(())
}

fn committed(group: &str, topic: &str, partitions: i32) -> Answer<Vec<i64>> {
    let (consumer, mut wanted) = (reader(&[("group.id", group)])?, TopicPartitionList::new());
    wanted.add_partition_range(topic, 0, partitions - 1);
    let offsets = consumer.committed_offsets(wanted, PATIENCE).map_err(refusal)?;
    Ok(offsets.elements().iter().map(|element| element.offset().to_raw().unwrap_or(-1)).collect())
}

/// The group's state and its members' client ids, as ListGroups and DescribeGroups tell them.
fn described(group: &str) -> Answer<Option<(String, Vec<String>)>> {
    let all = reader(&[])?.fetch_group_list(None, PATIENCE).map_err(refusal)?;
    let found = all.groups().iter().find(|info| info.name() == group);
    Ok(found.map(|info| (info.state().to_owned(), info.members().iter().map(|member| member.client_id().to_owned()).collect())))
}

fn group_admin(client: &Rdkafka) -> Played {
    let topic = created(client, "administered")?;
    client.send(topic, &records(&names(10, "v"), 1), &[])?;
    let member = Member::join("admin", topic, &[("client.id", "administered-client")])?;
    until(PATIENCE, || "the commit of 10".into(), || Ok(committed("admin", topic, 1)? == [10]))?;
    equal(described("admin")?, Some(("Stable".into(), vec!["administered-client".into()])), "state and members")?;
    let delete = || -> Answer {
        let deleted =
            client.runtime.block_on(client.admin.delete_groups(&["admin"], &rdkafka::admin::AdminOptions::new())).map_err(refusal)?;
        deleted.into_iter().try_for_each(|result| result.map(|_| ()).map_err(|(group, code)| Refusal(format!("{group}: {code:?}"))))
    };
    refused(delete(), &["NonEmptyGroup"], "delete of a live group")?;
    drop(member);
    until(PATIENCE, || "the group is empty".into(), || Ok(described("admin")?.is_some_and(|(state, _)| state == "Empty")))?;
    let mut reset = TopicPartitionList::new();
    reset.add_partition_offset(topic, 0, Offset::Offset(2))?;
    reader(&[("group.id", "admin")])?.commit(&reset, CommitMode::Sync)?;
    equal(committed("admin", topic, 1)?, vec![2], "reset offset")?;
    delete()?;
    equal(described("admin")?, None, "the deleted group in the list")?;
    refused(delete(), &["GroupIdNotFound"], "a second delete")
}

fn resume_after_kill(client: &Rdkafka) -> Played {
    let topic = created(client, "resumed")?;
    client.send(topic, &records(&names(40, "v"), 1), &[])?;
    let member = Member::join("resume", topic, &[])?;
    until(PATIENCE, || "the commit of 40".into(), || Ok(committed("resume", topic, 1)? == [40]))?;
    drop(member);
    client.send(topic, &records(&names(60, "w"), 1), &[])?;
    control("/kill9-and-restart")?;
    let member = Member::join("resume", topic, &[])?;
    until(PATIENCE, || format!("60 values, got {}", member.values().len()), || Ok(member.values().len() >= 60))?;
    equal(member.values(), names(60, "w"), "values after the restart")
}

fn survives_kill(client: &Rdkafka) -> Played {
    let topic = client.made("survived", 3, &[])?;
    let member = Member::join("survivor", topic, &[])?;
    client.send(topic, &records(&names(30, "v"), 3), &[])?;
    until(PATIENCE, || "30 values before the kill".into(), || Ok(different(member.values()) == 30))?;
    control("/kill9-and-restart")?;
    client.send(topic, &records(&names(30, "w"), 3), &[])?;
    until(Duration::from_secs(45), || format!("60 values, got {}", different(member.values())), || Ok(different(member.values()) == 60))?;
    until(PATIENCE, || "the commits of 20".into(), || Ok(committed("survivor", topic, 3)? == [20, 20, 20]))?;
    check(!member.notes.with(|seen| seen.fenced), || "the member was fenced".into())
}
