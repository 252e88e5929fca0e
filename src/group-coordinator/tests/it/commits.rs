//! A seeded simulation of a group whose members are replaced and go on all the same, and commit offsets by themselves and in transactions, while the
//! broker dies and appends of commits fail: a committed offset never goes back (Rel-A17). The same seed gives the same run.
//!
//! All members wait for stable offsets when they begin (KIP-447). Old mistakes ([`Mutant`]) can be put in; each must be found within 1,000 seeds.

use std::collections::VecDeque;

use group_coordinator::{Effects, GroupConfig, GroupReply};
use model::ProducerId;
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::messages::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use protocol::messages::{self, GroupId, TopicName};
use protocol::{ErrorCode, StrBytes};

use crate::scripts::subscription;
use crate::world::{Logged, Outcome, World};

const PARTITIONS: usize = 2;
const STEPS: usize = 150;
const SESSION_MS: i64 = 6_000;

/// A mistake that somebody has made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mutant {
    /// A commit of a member that was replaced counts (Rel-A17).
    ForgetsGenerations,
    /// The marker decides when an offset counts, not the place of its record: it takes back what was committed after it.
    MarkerComesLast,
    /// What was committed in a transaction counts although the transaction is aborted.
    AbortCounts,
    /// A member begins while a transaction of the one before may yet commit (before KIP-447).
    DoesNotWait,
    /// After a restart nothing is known of offsets whose transaction is open.
    ForgetsPending,
}

const MUTANTS: [Mutant; 5] =
    [Mutant::ForgetsGenerations, Mutant::MarkerComesLast, Mutant::AbortCounts, Mutant::DoesNotWait, Mutant::ForgetsPending];

/// A consumer, and its producer.
struct Consumer {
    member_id: StrBytes,
    generation: i32,
    producer_id: ProducerId,
    /// Where it goes on; `None` until it knows where to begin.
    positions: Option<[i64; PARTITIONS]>,
}

/// A transaction that was decided, and whose marker is on its way.
struct Decided {
    producer_id: ProducerId,
    is_commit: bool,
    offsets: [Option<i64>; PARTITIONS],
}

struct Simulation {
    world: World,
    chance: TestRng,
    mutant: Option<Mutant>,
    consumers: Vec<Consumer>,
    markers: VecDeque<Decided>,
    /// The furthest of what was committed: acknowledged, or with a marker in the log.
    committed: [i64; PARTITIONS],
    commits: usize,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group() -> GroupId {
    GroupId(text("g"))
}

fn only_reply(outcome: Outcome) -> GroupReply {
    outcome.replies.into_iter().next().expect("it is answered at once").2
}

impl Simulation {
    fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let world = World::new(GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() });
        let chance = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let (consumers, markers) = (Vec::new(), VecDeque::new());
        Self { world, chance, mutant, consumers, markers, committed: [0; PARTITIONS], commits: 0 }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.chance.next_u64() % bound as u64) as usize
    }

    /// How many commits counted; an error is what is wrong.
    fn run(mut self) -> Result<usize, String> {
        self.replace_member();
        for _ in 0..STEPS {
            match self.below(20) {
                0 => self.replace_member(),
                1 => self.restart(),
                2..8 => self.deliver_marker(),
                8..14 => self.commit(),
                _ => self.transaction(),
            }
            self.check()?;
        }
        while !self.markers.is_empty() {
            self.deliver_marker();
            self.check()?;
        }
        Ok(self.commits)
    }

    /// The member's session is over, and another one comes. The old one does not know, and goes on.
    fn replace_member(&mut self) {
        let end = self.world.now + SESSION_MS + 1;
        while let Some((key, at)) = self.world.next_timer(end) {
            self.world.now = self.world.now.max(at);
            self.world.fire(key);
        }
        self.world.now = end;
        let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(subscription(&["t"]));
        let join = messages::JoinGroupRequest::default()
            .with_group_id(group())
            .with_session_timeout_ms(SESSION_MS as i32)
            .with_rebalance_timeout_ms(SESSION_MS as i32)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let meta = self.world.meta("join", "c", 3);
        let effects = self.world.shard.join_group(self.world.now(), meta, join);
        let GroupReply::Join(joined) = only_reply(self.world.carry_out(effects)) else { panic!("not a join") };
        if joined.error_code != 0 {
            return;
        }
        let assignment = SyncGroupRequestAssignment::default().with_member_id(joined.member_id.clone());
        let sync = messages::SyncGroupRequest::default()
            .with_group_id(group())
            .with_member_id(joined.member_id.clone())
            .with_generation_id(joined.generation_id)
            .with_assignments(vec![assignment]);
        let meta = self.world.meta("sync", "c", 3);
        let effects = self.world.shard.sync_group(self.world.now(), meta, sync);
        self.world.carry_out(effects);
        let producer_id = ProducerId::new_or_zero(self.consumers.len() as i64);
        let (member_id, generation) = (joined.member_id, joined.generation_id);
        self.consumers.push(Consumer { member_id, generation, producer_id, positions: None });
    }

    /// The current member mostly, sometimes one that was replaced; one that knows its positions.
    fn pick(&mut self) -> Option<usize> {
        let last = self.consumers.len().checked_sub(1)?;
        let who = if self.below(3) == 0 { self.below(last + 1) } else { last };
        if self.consumers[who].positions.is_none() {
            let positions = self.fetch(self.mutant != Some(Mutant::DoesNotWait));
            self.consumers[who].positions = positions;
        }
        self.consumers[who].positions.map(|_| who)
    }

    /// The committed offsets; `None` while some may yet change.
    fn fetch(&mut self, require_stable: bool) -> Option<[i64; PARTITIONS]> {
        let topic =
            OffsetFetchRequestTopics::default().with_name(TopicName(text("t"))).with_partition_indexes((0..PARTITIONS as i32).collect());
        let asked = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(vec![topic]));
        let request = messages::OffsetFetchRequest::default().with_groups(vec![asked]).with_require_stable(require_stable);
        let meta = self.world.meta("fetch", "c", 8);
        let effects = self.world.shard.offset_fetch(self.world.now(), meta, request);
        let GroupReply::OffsetFetch(fetched) = only_reply(self.world.carry_out(effects)) else { panic!("not a fetch") };
        let mut offsets = [0; PARTITIONS];
        for row in fetched.groups[0].topics.iter().flat_map(|topic| &topic.partitions) {
            if row.error_code != 0 {
                return None;
            }
            offsets[row.partition_index as usize] = row.committed_offset.max(0);
        }
        Some(offsets)
    }

    /// As whom `who` is seen: the member and generation that it has, or by the mistake the present ones.
    fn seen_as(&self, who: usize) -> (StrBytes, i32) {
        let forgets = self.mutant == Some(Mutant::ForgetsGenerations);
        let seen = self.consumers.last().filter(|_| forgets).unwrap_or(&self.consumers[who]);
        (seen.member_id.clone(), seen.generation)
    }

    /// It has read on, and commits that.
    fn commit(&mut self) {
        let Some(who) = self.pick() else { return };
        let partition = self.below(PARTITIONS);
        let offset = self.read_on(who, partition);
        let row = OffsetCommitRequestPartition::default().with_partition_index(partition as i32).with_committed_offset(offset);
        let topic = OffsetCommitRequestTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![row]);
        let (member_id, generation) = self.seen_as(who);
        let request = messages::OffsetCommitRequest::default()
            .with_group_id(group())
            .with_member_id(member_id)
            .with_generation_id_or_member_epoch(generation)
            .with_topics(vec![topic]);
        let meta = self.world.meta("commit", "c", 8);
        let effects = self.world.shard.offset_commit(self.world.now(), meta, request);
        let GroupReply::OffsetCommit(reply) = self.carry_out_commit(effects) else { panic!("not a commit") };
        if reply.topics[0].partitions[0].error_code == 0 {
            self.committed[partition] = self.committed[partition].max(offset);
            self.commits += 1;
        }
    }

    /// The append of a commit fails now and then. That of a generation does not: what is committed under one that is not in the log, and then lost with
    /// the broker, is taken back by the member of the generation before, in Kafka too.
    fn carry_out_commit(&mut self, effects: Effects) -> GroupReply {
        self.world.append_error = (self.below(20) == 0).then_some(ErrorCode::NotEnoughReplicas);
        let outcome = self.world.carry_out(effects);
        self.world.append_error = None;
        only_reply(outcome)
    }

    fn read_on(&mut self, who: usize, partition: usize) -> i64 {
        let more = 1 + self.below(5) as i64;
        let positions = self.consumers[who].positions.as_mut().expect("it was picked for that");
        positions[partition] += more;
        positions[partition]
    }

    /// It has read on, commits that in a transaction, and ends it one way or the other. Its marker comes later.
    fn transaction(&mut self) {
        let Some(who) = self.pick() else { return };
        let producer_id = self.consumers[who].producer_id;
        if self.markers.iter().any(|decided| decided.producer_id == producer_id) {
            return;
        }
        let partition = self.below(PARTITIONS);
        let offset = self.read_on(who, partition);
        let row = TxnOffsetCommitRequestPartition::default().with_partition_index(partition as i32).with_committed_offset(offset);
        let topic = TxnOffsetCommitRequestTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![row]);
        let (member_id, generation) = self.seen_as(who);
        let request = messages::TxnOffsetCommitRequest::default()
            .with_group_id(group())
            .with_producer_id(messages::ProducerId(producer_id.get()))
            .with_member_id(member_id)
            .with_generation_id(generation)
            .with_topics(vec![topic]);
        let meta = self.world.meta("commit in a transaction", "c", 3);
        let effects = self.world.shard.txn_offset_commit(self.world.now(), meta, request);
        let GroupReply::TxnOffsetCommit(reply) = self.carry_out_commit(effects) else { panic!("not a commit") };
        let is_taken = reply.topics[0].partitions[0].error_code == 0;
        let is_commit = is_taken && self.below(3) > 0;
        let mut offsets = [None; PARTITIONS];
        offsets[partition] = is_taken.then_some(offset);
        if !is_commit {
            // It begins again where the group is.
            self.consumers[who].positions = None;
        }
        self.markers.push_back(Decided { producer_id, is_commit, offsets });
    }

    /// The marker of some decided transaction arrives.
    fn deliver_marker(&mut self) {
        if self.markers.is_empty() {
            return;
        }
        let which = self.below(self.markers.len());
        let Some(Decided { producer_id, is_commit, offsets }) = self.markers.remove(which) else { return };
        self.world.end_of_transaction(producer_id, is_commit || self.mutant == Some(Mutant::AbortCounts));
        for (partition, offset) in offsets.into_iter().enumerate() {
            let Some(offset) = offset.filter(|_| is_commit) else { continue };
            if self.mutant == Some(Mutant::MarkerComesLast) {
                self.write_again(partition, offset);
            }
            self.committed[partition] = self.committed[partition].max(offset);
            self.commits += 1;
        }
    }

    /// What a shard would have that takes an offset at its marker.
    fn write_again(&mut self, partition: usize, offset: i64) {
        let key = [&[0, 1, 0, 1, b'g', 0, 1, b't'][..], &(partition as i32).to_be_bytes()].concat();
        let last = self.world.log.iter().rev().find_map(|logged| match logged {
            Logged::Record(Some(_), record) if record.key == key => record.value.clone(),
            _ => None,
        });
        let mut value = last.expect("the offset's own record is there").to_vec();
        value[2..10].copy_from_slice(&offset.to_be_bytes());
        self.world.shard.replay(&key, Some(&value));
    }

    fn restart(&mut self) {
        if self.mutant == Some(Mutant::ForgetsPending) {
            let open: Vec<ProducerId> = self.markers.iter().map(|decided| decided.producer_id).collect();
            let is_pending = |logged: &Logged| matches!(logged, Logged::Record(Some(producer_id), _) if open.contains(producer_id));
            self.world.log.retain(|logged| !is_pending(logged));
        }
        self.world.restart();
    }

    /// What is shown is the furthest of what was committed: not less, and nothing of what was aborted.
    fn check(&mut self) -> Result<(), String> {
        let Some(shown) = self.fetch(false) else { return Ok(()) };
        match (0..PARTITIONS).find(|partition| shown[*partition] != self.committed[*partition]) {
            Some(partition) => Err(format!("partition {partition} is at {}, committed is {}", shown[partition], self.committed[partition])),
            None => Ok(()),
        }
    }
}

#[test]
fn a_committed_offset_never_goes_back() {
    let seeds = std::env::var("SEEDS").ok().map_or(300, |seeds| seeds.parse().unwrap());
    let run = |seed| Simulation::new(seed, None).run().unwrap_or_else(|finding| panic!("seed {seed}: {finding}"));
    let commits: usize = (0..seeds).map(run).sum();
    // The runs are about something.
    assert!(commits > 20 * seeds as usize, "{commits} commits");
    assert_eq!(run(7), run(7));
}

#[test]
fn every_old_mistake_with_commits_is_found_within_a_thousand_seeds() {
    for mutant in MUTANTS {
        let find = |seed| Simulation::new(seed, Some(mutant)).run().err().map(|finding| (seed, finding));
        let Some((seed, finding)) = (0..1_000).find_map(find) else { panic!("{mutant:?} is not found") };
        println!("{mutant:?}: seed {seed}: {finding}");
    }
}
