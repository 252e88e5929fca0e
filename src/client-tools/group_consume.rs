//! `klamm consume --group`: one member of a classic consumer group, by the same protocol as the clients' libraries speak it.
//!
//! A member joins, is told (or as the group's leader tells) who reads what, reads from the committed offsets on, and says that it lives. Offsets are
//! committed after their records are on standard output: after a kill some may be printed again, and none is left out. It leaves at its end, at
//! SIGINT and at SIGTERM, so that the others need not wait for it.
//!
//! In Kafka: `ClassicKafkaConsumer`, `ConsumerCoordinator`.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest,
};
use protocol::{ErrorCode, StrBytes};
use wire::clock::Clock as _;

use crate::args::{ConsumeArgs, Position};
use crate::cluster::{Cluster, is_retriable, text, topic_name};
use crate::consume::Reader;
use crate::group_protocol::{self, RANGE, Subscriber};
use crate::offsets::Place;
use crate::patience::Patience;
use crate::signals::Signals;
use crate::{ToolProblem, groups};

/// Kafka's word for groups of consumers.
const PROTOCOL_TYPE: &str = "consumer";
/// How often offsets are committed (`auto.commit.interval.ms`).
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// How often a member says that it lives, at most a third of its session (`heartbeat.interval.ms`).
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
/// How often the leader looks whether the topic has more partitions.
const METADATA_INTERVAL: Duration = Duration::from_secs(30);
/// How long the others wait for this member to join again.
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
/// How long this member waits for the others, who may take as long as their own `max.poll.interval.ms`.
const JOIN_TIMEOUT: Duration = Duration::from_secs(600);

pub(crate) async fn run(args: &ConsumeArgs, group: &str, cluster: &mut Cluster, mut reader: Reader<'_>) -> Result<(), ToolProblem> {
    let mut signals = Signals::install().map_err(ToolProblem::Signals)?;
    let mut member = Member::new(args, group, cluster).await?;
    let outcome = tokio::select! {
        outcome = member.work(cluster, &mut reader) => outcome,
        _ = signals.next() => {
            // An answer may be under way that nobody waits for any more.
            cluster.disconnect();
            Ok(())
        }
    };
    let end = async {
        // What could not be printed is not committed.
        let ended = match &outcome {
            Ok(()) => reader.end(),
            Err(_) => Ok(()),
        };
        let committed = match (&outcome, &ended) {
            (Ok(()), Ok(())) => member.commit(cluster, &reader).await.map(drop),
            _ => Ok(()),
        };
        let left = member.leave(cluster).await;
        outcome.and(ended).and(committed).and(left)
    };
    tokio::select! {
        outcome = end => outcome,
        _ = signals.again() => Err(ToolProblem::Interrupted),
    }
}

/// Why a member stops to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// All is read that was asked for.
    Done,
    /// The members share the partitions anew.
    Rebalance,
    /// The group goes on without this member.
    Lost,
    /// Another broker coordinates the group, or none for the moment.
    Moved,
}

/// What a code of the coordinator says about this member; `None` for all others.
fn stop_of(code: i16) -> Option<Stop> {
    match ErrorCode::try_from_code(code)? {
        ErrorCode::RebalanceInProgress => Some(Stop::Rebalance),
        ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => Some(Stop::Lost),
        ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable | ErrorCode::CoordinatorLoadInProgress => Some(Stop::Moved),
        _ => None,
    }
}

struct Member<'a> {
    args: &'a ConsumeArgs,
    group: &'a str,
    coordinator: i32,
    /// Empty before the coordinator has given one.
    member_id: StrBytes,
    /// -1 before it has joined once.
    generation: i32,
    /// Whether it reads what the group gave it, as far as it knows.
    is_joined: bool,
    /// If it is the group's leader: how many partitions the topic had when they were shared.
    shared: Option<usize>,
    heartbeat_interval: Duration,
    heartbeat_due: Duration,
    commit_due: Duration,
    metadata_due: Duration,
    /// What the group has of this member's partitions.
    committed: BTreeMap<i32, i64>,
}

impl<'a> Member<'a> {
    async fn new(args: &'a ConsumeArgs, group: &'a str, cluster: &mut Cluster) -> Result<Self, ToolProblem> {
        cluster.topic(&args.topic, false).await?;
        let coordinator = cluster.coordinator(group).await?;
        let session = Duration::from_millis(u64::try_from(args.session_timeout_ms).unwrap_or(0));
        Ok(Self {
            args,
            group,
            coordinator,
            member_id: StrBytes::default(),
            generation: -1,
            is_joined: false,
            shared: None,
            heartbeat_interval: HEARTBEAT_INTERVAL.min(session / 3),
            heartbeat_due: Duration::ZERO,
            commit_due: Duration::ZERO,
            metadata_due: Duration::ZERO,
            committed: BTreeMap::new(),
        })
    }

    /// Joins and reads, again and again, until all is read.
    async fn work(&mut self, cluster: &mut Cluster, reader: &mut Reader<'_>) -> Result<(), ToolProblem> {
        let mut patience = Patience::new(cluster, !reader.exit_at_end);
        loop {
            let problem = match self.turn(cluster, reader, &mut patience).await {
                Ok(Stop::Done) => return Ok(()),
                Ok(Stop::Moved) => self.refused(ErrorCode::NotCoordinator.code()),
                Ok(Stop::Rebalance | Stop::Lost) => continue,
                // Before it was a member once, what is wrong may be wrong for ever.
                Err(problem) if self.generation < 0 => return Err(problem),
                Err(problem) => problem,
            };
            patience.wait(cluster, problem).await?;
            match cluster.coordinator(self.group).await {
                Ok(coordinator) => self.coordinator = coordinator,
                Err(problem) => patience.wait(cluster, problem).await?,
            }
            // Whether the group still has this member, its heartbeat tells.
            self.heartbeat_due = Duration::ZERO;
        }
    }

    /// Reads until something ends that, and joins before if it has to. As long as the group did not say otherwise, the member goes on where it was:
    /// it has printed more than it committed.
    async fn turn(&mut self, cluster: &mut Cluster, reader: &mut Reader<'_>, patience: &mut Patience) -> Result<Stop, ToolProblem> {
        if !self.is_joined {
            reader.positions.clear();
            reader.ended.clear();
            let partitions = match self.join(cluster).await? {
                Ok(partitions) => partitions,
                Err(stop) => return Ok(stop),
            };
            reader.positions = self.begin(cluster, &partitions).await?;
            self.is_joined = true;
        }
        let stop = self.read(cluster, reader, patience).await?;
        match stop {
            Stop::Done | Stop::Moved => {}
            Stop::Rebalance => {
                // A coordinator that has moved says so here, and the member asks again.
                if self.commit(cluster, reader).await? == Some(Stop::Moved) {
                    return Ok(Stop::Moved);
                }
                self.is_joined = false;
            }
            Stop::Lost => {
                self.member_id = StrBytes::default();
                self.is_joined = false;
            }
        }
        Ok(stop)
    }

    fn refused(&self, code: i16) -> ToolProblem {
        ToolProblem::refused(format!("group '{}'", self.group), code, None)
    }

    /// Becomes a member of the next generation and gets its partitions.
    async fn join(&mut self, cluster: &mut Cluster) -> Result<Result<Vec<i32>, Stop>, ToolProblem> {
        let deadline = cluster.deadline();
        let subscription = group_protocol::subscription(&[&self.args.topic]);
        let joined = loop {
            let protocol = JoinGroupRequestProtocol::default().with_name(text(RANGE)).with_metadata(subscription.clone());
            let request = JoinGroupRequest::default()
                .with_group_id(GroupId(text(self.group)))
                .with_session_timeout_ms(self.args.session_timeout_ms)
                .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS.max(self.args.session_timeout_ms))
                .with_member_id(self.member_id.clone())
                .with_protocol_type(text(PROTOCOL_TYPE))
                .with_protocols(vec![protocol]);
            let answer = cluster.ask_within(self.coordinator, &request, JOIN_TIMEOUT).await?;
            match ErrorCode::try_from_code(answer.error_code) {
                None => break answer,
                Some(ErrorCode::MemberIdRequired) => self.member_id = answer.member_id,
                Some(ErrorCode::UnknownMemberId) => self.member_id = StrBytes::default(),
                Some(error) if stop_of(error.code()) == Some(Stop::Moved) && cluster.pause(deadline).await => return Ok(Err(Stop::Moved)),
                Some(error) if error.is_retriable() && cluster.pause(deadline).await => {}
                Some(error) => return Err(self.refused(error.code())),
            }
        };
        self.member_id = joined.member_id.clone();
        self.generation = joined.generation_id;
        self.shared = None;
        let shares = if joined.leader == joined.member_id { self.share(cluster, &joined).await? } else { Vec::new() };
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(self.group)))
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone())
            .with_protocol_type(Some(text(PROTOCOL_TYPE)))
            .with_protocol_name(Some(text(RANGE)))
            .with_assignments(shares);
        let answer = cluster.ask_within(self.coordinator, &request, JOIN_TIMEOUT).await?;
        if answer.error_code != 0 {
            return stop_of(answer.error_code).map(Err).ok_or_else(|| self.refused(answer.error_code));
        }
        let assigned = group_protocol::assigned(answer.assignment).unwrap_or_default();
        let partitions: Vec<i32> = assigned.into_iter().filter(|(topic, _)| *topic == self.args.topic).map(|(_, number)| number).collect();
        let now = cluster.clock.monotonic();
        self.heartbeat_due = now + self.heartbeat_interval;
        self.commit_due = now + COMMIT_INTERVAL;
        self.metadata_due = now + METADATA_INTERVAL;
        self.committed.clear();
        if io::stderr().is_terminal() {
            eprintln!("group {}: generation {}, partitions [{}]", self.group, self.generation, crate::output::ids(&partitions));
        }
        Ok(Ok(partitions))
    }

    /// As the group's leader: who gets what.
    async fn share(&mut self, cluster: &mut Cluster, joined: &JoinGroupResponse) -> Result<Vec<SyncGroupRequestAssignment>, ToolProblem> {
        let mut members = Vec::new();
        for member in &joined.members {
            members.push(Subscriber {
                member_id: member.member_id.to_string(),
                instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
                topics: group_protocol::subscribed_topics(member.metadata.clone()).unwrap_or_default(),
            });
        }
        let mut names: Vec<String> = members.iter().flat_map(|member| member.topics.clone()).collect();
        names.sort();
        names.dedup();
        let topics = cluster.metadata(Some(&names), false).await?;
        let counts: BTreeMap<String, usize> = topics.into_iter().map(|topic| (topic.name, topic.partitions.len())).collect();
        self.shared = counts.get(&self.args.topic).copied();
        let share = |(member_id, places): (String, Vec<Place>)| {
            SyncGroupRequestAssignment::default().with_member_id(text(&member_id)).with_assignment(group_protocol::assignment(&places))
        };
        Ok(group_protocol::range(&members, &counts).into_iter().map(share).collect())
    }

    /// Where to begin: at the committed offsets, elsewhere where the command line says.
    async fn begin(&mut self, cluster: &mut Cluster, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, ToolProblem> {
        let place = |partition: &i32| (self.args.topic.clone(), *partition);
        let committed = groups::committed(cluster, self.coordinator, self.group).await?;
        let mut positions = BTreeMap::new();
        let mut others: Vec<Place> = Vec::new();
        for partition in partitions {
            match committed.get(&place(partition)) {
                Some(offset) => drop(positions.insert(*partition, *offset)),
                None => others.push(place(partition)),
            }
        }
        self.committed = positions.clone();
        positions.extend(
            groups::resolve(cluster, &others, self.args.from).await?.into_iter().map(|((_, partition), offset)| (partition, offset)),
        );
        Ok(positions)
    }

    /// Reads its partitions until something ends that.
    async fn read(&mut self, cluster: &mut Cluster, reader: &mut Reader<'_>, patience: &mut Patience) -> Result<Stop, ToolProblem> {
        let mut leaders = reader.leaders(cluster).await?;
        loop {
            if reader.is_done() || (reader.exit_at_end && reader.positions.is_empty()) {
                return Ok(Stop::Done);
            }
            if let Some(stop) = self.keep(cluster, reader).await? {
                return Ok(stop);
            }
            if reader.positions.is_empty() {
                cluster.clock.sleep_until(self.heartbeat_due).await;
                continue;
            }
            match reader.round(cluster, &leaders).await? {
                None => patience.renew(cluster),
                Some((partition, code)) if code == ErrorCode::OffsetOutOfRange.code() => {
                    // Retention was faster than the group.
                    let place = [(self.args.topic.clone(), partition)];
                    let first = groups::resolve(cluster, &place, Position::Earliest).await?;
                    reader.positions.extend(first.into_values().map(|offset| (partition, offset)));
                }
                Some(refusal) => {
                    let problem = reader.refused(refusal);
                    patience.wait(cluster, problem).await?;
                    leaders = reader.leaders(cluster).await?;
                }
            }
        }
    }

    /// Does what is due: says that it lives, commits, looks for new partitions.
    async fn keep(&mut self, cluster: &mut Cluster, reader: &Reader<'_>) -> Result<Option<Stop>, ToolProblem> {
        let now = cluster.clock.monotonic();
        if now >= self.heartbeat_due {
            let request = HeartbeatRequest::default()
                .with_group_id(GroupId(text(self.group)))
                .with_generation_id(self.generation)
                .with_member_id(self.member_id.clone());
            let answer = cluster.ask(self.coordinator, &request).await?;
            if answer.error_code != 0 {
                return stop_of(answer.error_code).map(Some).ok_or_else(|| self.refused(answer.error_code));
            }
            self.heartbeat_due = now + self.heartbeat_interval;
        }
        if now >= self.commit_due {
            self.commit_due = now + COMMIT_INTERVAL;
            if let Some(stop) = self.commit(cluster, reader).await? {
                return Ok(Some(stop));
            }
        }
        if let Some(shared) = self.shared
            && now >= self.metadata_due
        {
            self.metadata_due = now + METADATA_INTERVAL;
            let topic = cluster.topic(&self.args.topic, false).await?;
            if topic.partitions.len() != shared {
                return Ok(Some(Stop::Rebalance));
            }
        }
        Ok(None)
    }

    /// Commits what was printed and is not committed yet. A group that goes on without this member takes nothing from it any more.
    async fn commit(&mut self, cluster: &mut Cluster, reader: &Reader<'_>) -> Result<Option<Stop>, ToolProblem> {
        let positions =
            reader.positions.iter().chain(&reader.ended).filter(|(partition, offset)| self.committed.get(partition) != Some(offset));
        let fresh: BTreeMap<i32, i64> = positions.map(|(partition, offset)| (*partition, *offset)).collect();
        if fresh.is_empty() || self.generation < 0 {
            return Ok(None);
        }
        let partition = |(partition, offset): (&i32, &i64)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(*offset)
                .with_committed_leader_epoch(-1)
                .with_committed_metadata(Some(text("")))
        };
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(&self.args.topic))
            .with_partitions(fresh.iter().map(partition).collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(self.group)))
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.member_id.clone())
            .with_topics(vec![topic]);
        let deadline = cluster.deadline();
        loop {
            let answer = cluster.ask(self.coordinator, &request).await?;
            let refused =
                answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code).find(|code| *code != 0);
            match refused {
                None => {
                    self.committed.extend(fresh);
                    return Ok(None);
                }
                Some(code) if stop_of(code).is_some() => return Ok(stop_of(code)),
                Some(code) if is_retriable(code) && cluster.pause(deadline).await => {}
                Some(code) => return Err(ToolProblem::refused(format!("offsets of group '{}'", self.group), code, None)),
            }
        }
    }

    /// Leaves the group. One that does not know this member any more has nothing to be told.
    async fn leave(&mut self, cluster: &mut Cluster) -> Result<(), ToolProblem> {
        if self.member_id.is_empty() {
            return Ok(());
        }
        let member = MemberIdentity::default().with_member_id(self.member_id.clone());
        let request = LeaveGroupRequest::default().with_group_id(GroupId(text(self.group))).with_members(vec![member]);
        let answer = cluster.ask(self.coordinator, &request).await?;
        match answer.error_code {
            0 => Ok(()),
            code if stop_of(code).is_some() => Ok(()),
            code => Err(self.refused(code)),
        }
    }
}
