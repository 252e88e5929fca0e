//! The fetcher of one leader.

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use log_store::{AppendError, Appended};
use model::{BrokerId, LeaderEpoch, Offset, TopicIdPartition};
use parking_lot::Mutex;
use protocol::ErrorCode;
use protocol::messages::fetch_response::PartitionData;
use record_batch::SequencedBatch;
use replication::{Ask, FetchFault, FetchPosition, FollowerLog, FollowerState, Repair};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::broker_connection::Connection;
use crate::partitions::{FollowError, Partition};
use crate::read_pool::off_thread;
use crate::replication_throttle::ReplicationSide;

use super::FetchersParts;
use super::session::FetcherSession;
use super::wire_form::{self, Fetched};

/// How long to wait for bytes that are on their way to the disk, once, when a partition changes its role.
const SETTLE_PAUSE: Duration = Duration::from_millis(5);
/// The first pause after a connection that failed; each further one is twice as long, up to `replica.fetch.backoff.ms`.
const RECONNECT_PAUSE_FIRST: Duration = Duration::from_millis(20);

/// What is held up by a throttle is looked at again after this time, a tenth of the throttle's sample.
const THROTTLE_PAUSE: Duration = Duration::from_millis(100);

/// A partition that is fetched.
pub(super) struct Followed {
    pub(super) partition: Arc<Partition>,
    pub(super) state: FollowerState,
}

/// What a fetcher fetches; changed from outside.
pub(super) struct Shared {
    leader: BrokerId,
    partitions: Mutex<BTreeMap<TopicIdPartition, Followed>>,
    /// Told of partitions that have come.
    changed: Notify,
}

impl Shared {
    pub(super) fn new(leader: BrokerId) -> Self {
        Self { leader, partitions: Mutex::default(), changed: Notify::new() }
    }

    pub(super) fn insert(&self, id: TopicIdPartition, followed: Followed) {
        self.partitions.lock().insert(id, followed);
        self.changed.notify_one();
    }

    pub(super) fn remove(&self, id: TopicIdPartition) {
        self.partitions.lock().remove(&id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.partitions.lock().is_empty()
    }

    /// The partition, if it is still followed under this term.
    fn get(&self, id: TopicIdPartition, leader_epoch: LeaderEpoch) -> Option<Arc<Partition>> {
        let partitions = self.partitions.lock();
        partitions.get(&id).filter(|followed| followed.state.leader_epoch() == leader_epoch).map(|followed| Arc::clone(&followed.partition))
    }

    /// Changes the partition's state, if it is still followed under this term.
    fn change<T>(&self, id: TopicIdPartition, leader_epoch: LeaderEpoch, change: impl FnOnce(&mut FollowerState) -> T) -> Option<T> {
        let mut partitions = self.partitions.lock();
        partitions.get_mut(&id).map(|followed| &mut followed.state).filter(|state| state.leader_epoch() == leader_epoch).map(change)
    }
}

/// What to do next.
#[derive(Default)]
struct Plan {
    records: Vec<(TopicIdPartition, FetchPosition)>,
    bounds: Vec<(TopicIdPartition, LeaderEpoch)>,
    /// When there is more to do, of the monotonic clock.
    next: Option<Duration>,
}

impl Plan {
    /// How long the answer may wait for records: not beyond the time at which there is more to ask.
    fn wait_ms(&self, now: Duration, wait_max_ms: i32) -> i32 {
        if !self.bounds.is_empty() {
            return 0;
        }
        let until_next = self.next.map_or(u128::MAX, |next| next.saturating_sub(now).as_millis().saturating_add(1));
        i32::try_from(until_next).unwrap_or(i32::MAX).min(wait_max_ms)
    }

    fn not_before(&mut self, due: Duration) {
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
    }
}

/// An append that is under way, and what the answer said of the leader's offsets.
struct Appending {
    id: TopicIdPartition,
    leader_epoch: LeaderEpoch,
    partition: Arc<Partition>,
    appended: Option<oneshot::Receiver<Result<Appended, AppendError>>>,
    high_watermark: Offset,
    log_start: Offset,
}

pub(super) struct Fetcher {
    parts: Arc<FetchersParts>,
    shared: Arc<Shared>,
    connection: Option<Connection>,
    session: FetcherSession,
    /// Connections in a row that failed.
    failures: u32,
    /// The last partition that had records in an answer that was full: the next request begins behind it, so that none starves.
    served: Option<TopicIdPartition>,
}

impl Fetcher {
    pub(super) fn new(parts: Arc<FetchersParts>, shared: Arc<Shared>) -> Self {
        Self { parts, shared, connection: None, session: FetcherSession::default(), failures: 0, served: None }
    }

    pub(super) async fn run(mut self, stopping: CancellationToken) {
        let (clock, shared) = (Arc::clone(&self.parts.clock), Arc::clone(&self.shared));
        loop {
            let mut changed = pin!(shared.changed.notified());
            if changed.as_mut().enable() {
                // What came before is in the plan.
                changed.set(shared.changed.notified());
            }
            let plan = self.plan();
            if plan.records.is_empty() && plan.bounds.is_empty() {
                let due = plan.next.unwrap_or(Duration::MAX);
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = changed => {}
                    () = clock.sleep_until(due), if plan.next.is_some() => {}
                }
                continue;
            }
            let result = tokio::select! {
                () = stopping.cancelled() => return,
                () = changed => {
                    // An answer to the old request may be on its way.
                    self.connection = None;
                    continue;
                }
                result = self.ask(&plan) => result,
            };
            match result {
                // From here on nothing is given up half-way.
                Ok(Answers { bounds, records }) => {
                    self.parts.absences.found(shared.leader);
                    if std::mem::take(&mut self.failures) > 0 {
                        tracing::info!(leader = %shared.leader, "fetches from a leader again");
                    }
                    self.take_bounds(&plan.bounds, bounds).await;
                    self.take_records(&plan.records, records).await;
                }
                Err(error) => {
                    self.connection = None;
                    if is_closed(&error) {
                        self.parts.absences.lost(shared.leader);
                    }
                    let pause = RECONNECT_PAUSE_FIRST.saturating_mul(1 << self.failures.min(16)).min(self.parts.config.backoff_max);
                    if self.failures == 0 {
                        tracing::warn!(leader = %shared.leader, %error, "cannot fetch from a leader; it is tried until it works or another one leads");
                    } else {
                        tracing::debug!(leader = %shared.leader, %error, failures = self.failures, "cannot fetch from a leader");
                    }
                    self.failures = self.failures.saturating_add(1);
                    let due = clock.monotonic() + pause;
                    tokio::select! {
                        () = stopping.cancelled() => return,
                        // The leader has come back under another address, or so.
                        () = shared.changed.notified() => {}
                        () = clock.sleep_until(due) => {}
                    }
                }
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.parts.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    fn backoff_max_ms(&self) -> u64 {
        u64::try_from(self.parts.config.backoff_max.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether a partition has to leave room for others: it is throttled, catches up, and the rate is used up.
    fn is_held_up(&self, id: TopicIdPartition) -> bool {
        let parts = &self.parts;
        let is_in_sync = || parts.metadata.image().partition(id).is_some_and(|state| state.isr.contains(&parts.broker_id));
        parts.throttle.holds_up(ReplicationSide::Follower, id) && !is_in_sync()
    }

    fn plan(&self) -> Plan {
        let now = self.parts.clock.monotonic();
        let now_ms = self.now_ms();
        let mut plan = Plan::default();
        for (id, followed) in &*self.shared.partitions.lock() {
            let log = match followed.partition.follower_log(followed.state.leader_epoch()) {
                Ok(log) => log,
                Err(FollowError::Unsettled) => {
                    plan.not_before(now + SETTLE_PAUSE);
                    continue;
                }
                // The metadata that says so is being applied.
                Err(_) => continue,
            };
            match followed.state.next(&log, now_ms) {
                Ask::Records(_) if self.is_held_up(*id) => plan.not_before(now + THROTTLE_PAUSE),
                Ask::Records(position) => plan.records.push((*id, position)),
                Ask::Bounds { current_leader_epoch } => plan.bounds.push((*id, current_leader_epoch)),
                Ask::NothingUntil { until_ms } => plan.not_before(Duration::from_millis(until_ms)),
                Ask::Nothing => {}
            }
        }
        if let Some(served) = self.served {
            let behind = plan.records.partition_point(|(id, _)| *id <= served);
            plan.records.rotate_left(behind);
        }
        plan
    }

    /// Sends what the plan asks, over a new connection if there is none.
    async fn ask(&mut self, plan: &Plan) -> io::Result<Answers> {
        let parts = Arc::clone(&self.parts);
        let image = parts.metadata.image();
        let broker_epoch = image.broker(parts.broker_id).map(|broker| broker.epoch);
        let connection = match self.connection.as_mut() {
            Some(connection) => connection,
            None => {
                let leader = image.broker(self.shared.leader);
                let endpoint = leader.and_then(|leader| leader.endpoint(&parts.listener));
                let endpoint = endpoint.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "its address is not known"))?;
                // What was asked by the last one may have been heard or not.
                self.session.give_up();
                let (clock, timeout) = (Arc::clone(&parts.clock), parts.config.socket_timeout);
                let client_id = format!("broker-{}-fetcher", parts.broker_id);
                self.connection.insert(Connection::open(&endpoint.host, endpoint.port, client_id, clock, timeout).await?)
            }
        };
        let mut bounds = Vec::new();
        if !plan.bounds.is_empty() {
            bounds = wire_form::ask_bounds(connection, parts.broker_id, &image, &plan.bounds).await?;
        }
        let mut records = Vec::new();
        if !plan.records.is_empty() {
            let wait_ms = plan.wait_ms(parts.clock.monotonic(), parts.config.wait_max_ms);
            let named = self.session.ask(&plan.records);
            let request = wire_form::fetch_request(parts.broker_id, broker_epoch, &parts.config, wait_ms, &named);
            match wire_form::fetch(connection, &request).await? {
                Fetched::Rows(session_id, rows) => {
                    self.session.answered(session_id);
                    records = rows;
                }
                // The next request begins another one.
                Fetched::NoSession => self.session.give_up(),
            }
        }
        Ok(Answers { bounds, records })
    }

    /// Cuts the logs that end outside of their leader's.
    async fn take_bounds(&self, asked: &[(TopicIdPartition, LeaderEpoch)], answers: Vec<wire_form::Bounds>) {
        for (id, leader_epoch) in asked {
            let answer = answers.iter().find(|answer| answer.id == *id);
            let found = answer.map_or(Err(ErrorCode::UnknownServerError), |answer| answer.found);
            let log = self.shared.get(*id, *leader_epoch).and_then(|partition| partition.follower_log(*leader_epoch).ok());
            match (found, log) {
                (Ok((start, end)), Some(log)) => {
                    let repair = self.shared.change(*id, *leader_epoch, |state| state.bounded(&log, start, end));
                    self.repair(*id, *leader_epoch, repair.unwrap_or(Repair::Nothing)).await;
                }
                (Err(code), Some(_)) => self.failed(*id, *leader_epoch, code),
                (_, None) => {}
            }
        }
    }

    async fn take_records(&mut self, asked: &[(TopicIdPartition, FetchPosition)], answers: Vec<(TopicIdPartition, PartitionData)>) {
        let asked: BTreeMap<_, _> = asked.iter().copied().collect();
        let mut appending = Vec::new();
        let mut parted = Vec::new();
        let (mut bytes, mut last) = (0, None);
        for (id, row) in answers {
            let Some(position) = asked.get(&id) else { continue };
            let leader_epoch = position.current_leader_epoch;
            let Some(partition) = self.shared.get(id, leader_epoch) else { continue };
            if row.error_code != 0 {
                self.failed(id, leader_epoch, wire_form::code_of(row.error_code));
                continue;
            }
            if let (Some(epoch), Some(end)) = (LeaderEpoch::new(row.diverging_epoch.epoch), Offset::new(row.diverging_epoch.end_offset)) {
                parted.push((id, partition, *position, (epoch, end)));
                continue;
            }
            let records = row.records.unwrap_or_default();
            let (high_watermark, log_start) = (Offset::new_or_zero(row.high_watermark), Offset::new_or_zero(row.log_start_offset));
            let appended = if records.is_empty() {
                None
            } else {
                (bytes, last) = (bytes + records.len(), Some(id));
                match SequencedBatch::all_replicated(&records) {
                    Ok(batches) => {
                        self.parts.throttle.record(ReplicationSide::Follower, id, records.len());
                        Some(partition.replicate(batches, leader_epoch, self.parts.clock.now()))
                    }
                    Err(error) => {
                        tracing::error!(partition = %id, leader = %self.shared.leader, offset = %position.offset, %error, "the leader sent damaged batches; they are not kept");
                        self.failed(id, leader_epoch, ErrorCode::CorruptMessage);
                        continue;
                    }
                }
            };
            appending.push(Appending { id, leader_epoch, partition, appended, high_watermark, log_start });
        }
        let is_full = bytes >= usize::try_from(self.parts.config.response_bytes_max).unwrap_or(usize::MAX) / 2;
        self.served = last.filter(|_| is_full);
        if let Some(one) = appending.first() {
            one.partition.commit();
        }
        // A leader says each thing once: where it was not taken over, it must be told anew.
        let mut has_missed = !parted.is_empty();
        for one in appending {
            has_missed |= !self.settle(one).await;
        }
        for (id, partition, position, leaders) in parted {
            self.part(id, &partition, &position, leaders).await;
        }
        if has_missed {
            self.session.give_up();
        }
    }

    /// Waits until an append counts, and takes over the leader's offsets. Returns whether it did.
    async fn settle(&self, appending: Appending) -> bool {
        let Appending { id, leader_epoch, partition, appended, high_watermark, log_start } = appending;
        if let Some(appended) = appended {
            match appended.await {
                Ok(Ok(_)) => {}
                Ok(Err(AppendError::StaleLeaderEpoch { .. } | AppendError::Deleted | AppendError::Closed)) | Err(_) => return false,
                Ok(Err(error)) => {
                    tracing::error!(partition = %id, %error, "batches of the leader cannot be appended");
                    self.failed(id, leader_epoch, ErrorCode::KafkaStorageError);
                    return false;
                }
            }
        }
        self.shared.change(id, leader_epoch, FollowerState::fetched);
        let result = if partition.moves_log_start(log_start) {
            off_thread(move || partition.follow_offsets(leader_epoch, high_watermark, log_start)).await.unwrap_or(Ok(()))
        } else {
            partition.follow_offsets(leader_epoch, high_watermark, log_start)
        };
        if let Err(error @ (FollowError::Append(_) | FollowError::Storage(_))) = &result {
            tracing::error!(partition = %id, %error, "the log's start cannot follow the leader's");
        }
        result.is_ok()
    }

    /// Cuts the log where it parts from the leader's.
    async fn part(&self, id: TopicIdPartition, partition: &Arc<Partition>, position: &FetchPosition, leaders: (LeaderEpoch, Offset)) {
        let leader_epoch = position.current_leader_epoch;
        let log = FollowerLog { log_start: position.log_start, log_end: position.offset, last_epoch: position.last_fetched_epoch };
        let own = partition.end_offset_for_epoch(leaders.0);
        let (now_ms, backoff_max_ms) = (self.now_ms(), self.backoff_max_ms());
        let repair = self.shared.change(id, leader_epoch, |state| state.diverged(&log, leaders, own, now_ms, backoff_max_ms));
        self.repair(id, leader_epoch, repair.unwrap_or(Repair::Nothing)).await;
    }

    async fn repair(&self, id: TopicIdPartition, leader_epoch: LeaderEpoch, repair: Repair) {
        let Some(partition) = self.shared.get(id, leader_epoch).filter(|_| repair != Repair::Nothing) else { return };
        match off_thread(move || partition.repair(leader_epoch, repair)).await {
            Some(Ok(()) | Err(FollowError::OtherTerm)) => {}
            Some(Err(FollowError::Unsettled)) | None => self.failed(id, leader_epoch, ErrorCode::UnknownServerError),
            Some(Err(error @ (FollowError::Append(_) | FollowError::Storage(_)))) => {
                tracing::error!(partition = %id, %error, "the log cannot be cut");
                self.failed(id, leader_epoch, ErrorCode::KafkaStorageError);
            }
        }
    }

    fn failed(&self, id: TopicIdPartition, leader_epoch: LeaderEpoch, code: ErrorCode) {
        let fault = match code {
            ErrorCode::OffsetOutOfRange => FetchFault::OutOfRange,
            ErrorCode::FencedLeaderEpoch => FetchFault::Fenced,
            _ => FetchFault::Passing,
        };
        tracing::debug!(partition = %id, leader = %self.shared.leader, ?code, "the leader gave nothing");
        let (now_ms, backoff_max_ms) = (self.now_ms(), self.backoff_max_ms());
        self.shared.change(id, leader_epoch, |state| state.failed(fault, now_ms, backoff_max_ms));
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.parts.absences.found(self.shared.leader);
    }
}

/// Whether the other side has ended a connection, or lets nobody in. Silence is neither.
fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionRefused | ConnectionReset | UnexpectedEof)
}

/// What the leader said.
struct Answers {
    bounds: Vec<wire_form::Bounds>,
    records: Vec<(TopicIdPartition, PartitionData)>,
}
