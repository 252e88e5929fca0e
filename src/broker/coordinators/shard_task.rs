//! The task that owns one shard.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use group_coordinator::{Effects, GroupConfig, GroupReply, GroupShard, GroupSummary, ReplyId, RequestMeta, TimerEffect, TimerKey};
use model::{Sequence, Timestamp, TopicName};
use protocol::ErrorCode;
use record_batch::{AppendOrigin, BatchBuilder, CheckedBatch};
use tokio::sync::{mpsc, oneshot};
use wire::clock::SharedClock;

use crate::entropy::Entropy;
use crate::partitions::{AppendRefusal, Partition, PartitionError, RequiredAcks};

use super::{Caller, Operation, load};

pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) operation: Operation,
    pub(super) reply: oneshot::Sender<Result<GroupReply, ErrorCode>>,
}

pub(super) enum Work {
    Call(Call),
    TopicsDeleted(Vec<TopicName>),
    ExpireOffsets,
    Summarize(oneshot::Sender<Vec<GroupSummary>>),
}

pub(super) struct ShardTask {
    config: GroupConfig,
    shard: GroupShard,
    /// Whether the log may hold more than the shard knows, so that it must be loaded anew.
    is_doubtful: bool,
    partition: Arc<Partition>,
    clock: SharedClock,
    entropy: Arc<dyn Entropy>,
    work: mpsc::UnboundedReceiver<Work>,
    /// What came while the shard was loaded.
    early: VecDeque<Work>,
    replies: HashMap<ReplyId, oneshot::Sender<Result<GroupReply, ErrorCode>>>,
    next_reply: u64,
    timers: Timers,
}

/// Armed timers, by due time and by key. Times are monotonic: a wall clock that jumps (a laptop that slept) must not end every session.
#[derive(Default)]
struct Timers {
    by_time: BTreeMap<(Duration, u64), TimerKey>,
    by_key: HashMap<TimerKey, (Duration, u64)>,
    next: u64,
}

impl Timers {
    fn arm(&mut self, key: TimerKey, at: Duration) {
        self.cancel(&key);
        self.next += 1;
        self.by_time.insert((at, self.next), key.clone());
        self.by_key.insert(key, (at, self.next));
    }

    fn cancel(&mut self, key: &TimerKey) {
        if let Some(place) = self.by_key.remove(key) {
            self.by_time.remove(&place);
        }
    }

    fn next_due(&self) -> Option<Duration> {
        self.by_time.keys().next().map(|(at, _)| *at)
    }

    fn pop_due(&mut self, now: Duration) -> Option<TimerKey> {
        let entry = self.by_time.first_entry().filter(|entry| entry.key().0 <= now)?;
        let key = entry.remove();
        self.by_key.remove(&key);
        Some(key)
    }
}

impl ShardTask {
    pub(super) fn new(
        config: GroupConfig,
        partition: Arc<Partition>,
        clock: SharedClock,
        entropy: Arc<dyn Entropy>,
        work: mpsc::UnboundedReceiver<Work>,
    ) -> Self {
        let (early, replies, timers) = (VecDeque::new(), HashMap::new(), Timers::default());
        let shard = GroupShard::new(config.clone());
        Self { config, shard, is_doubtful: false, partition, clock, entropy, work, early, replies, next_reply: 0, timers }
    }

    /// Loads the shard, then serves it until its sender is dropped or its log fails.
    pub(super) async fn run(mut self) {
        while self.serve().await {
            self.shard = GroupShard::new(self.config.clone());
            self.timers = Timers::default();
        }
    }

    /// Loads the shard and serves it. Returns whether it is wanted again, loaded anew.
    async fn serve(&mut self) -> bool {
        match self.load().await {
            Some(Ok(())) => {}
            // Another broker leads by now.
            Some(Err(PartitionError::NotLeader)) | None => return false,
            Some(Err(error)) => {
                tracing::error!(partition = %self.partition.id(), %error, "the coordinator cannot load its partition and does not serve it");
                return false;
            }
        }
        let effects = self.shard.loaded(self.clock.now());
        if self.carry_out(effects).await {
            while self.step().await {}
        }
        std::mem::take(&mut self.is_doubtful)
    }

    /// Loads the shard; what comes meanwhile waits. `None` if the shard is not wanted any more.
    async fn load(&mut self) -> Option<Result<(), PartitionError>> {
        let mut loading = pin!(load::load(&mut self.shard, &self.partition));
        loop {
            tokio::select! {
                biased;
                loaded = loading.as_mut() => return Some(loaded),
                work = self.work.recv() => self.early.push_back(work?),
            }
        }
    }

    async fn step(&mut self) -> bool {
        if let Some(work) = self.early.pop_front() {
            let effects = self.begin(work, self.clock.now());
            return self.carry_out(effects).await;
        }
        let due = self.timers.next_due();
        let clock = Arc::clone(&self.clock);
        let timer = async move {
            match due {
                Some(deadline) => clock.sleep_until(deadline).await,
                None => pending().await,
            }
        };
        let work = tokio::select! {
            biased;
            () = timer => None,
            work = self.work.recv() => match work {
                Some(work) => Some(work),
                None => return false,
            },
        };
        let now = self.clock.now();
        match work {
            Some(work) => {
                let effects = self.begin(work, now);
                self.carry_out(effects).await
            }
            None => {
                while let Some(key) = self.timers.pop_due(self.clock.monotonic()) {
                    let effects = self.shard.timer_fired(now, key);
                    if !self.carry_out(effects).await {
                        return false;
                    }
                }
                true
            }
        }
    }

    fn begin(&mut self, work: Work, now: Timestamp) -> Effects {
        match work {
            Work::Call(Call { caller, operation, reply }) => {
                self.next_reply += 1;
                let id = ReplyId(self.next_reply);
                self.replies.insert(id, reply);
                let meta = RequestMeta {
                    client_id: caller.client_id,
                    client_host: caller.client_host,
                    api_version: caller.api_version,
                    reply: id,
                    new_member_uuid: self.entropy.uuid(),
                };
                operation(&mut self.shard, now, meta)
            }
            Work::TopicsDeleted(topics) => self.shard.topics_deleted(now, &topics),
            Work::ExpireOffsets => self.shard.cleanup_expired_offsets(now),
            Work::Summarize(reply) => {
                let _gone = reply.send(self.shard.summaries());
                Effects::default()
            }
        }
    }

    /// Appends, replays, arms, replies. Returns false when the partition is gone: the shard is then dropped.
    async fn carry_out(&mut self, effects: Effects) -> bool {
        if !effects.records.is_empty() {
            let partition = Arc::clone(&self.partition);
            match append(&partition, &effects, self.clock.now()).await {
                Ok(()) => {
                    for record in &effects.records {
                        match effects.transaction {
                            Some((producer_id, _)) => {
                                self.shard.replay_in_transaction(producer_id, &record.key, record.value.as_deref());
                            }
                            None => {
                                self.shard.replay(&record.key, record.value.as_deref());
                            }
                        }
                    }
                }
                Err(refusal) => return self.undo(effects, &refusal),
            }
        }
        self.release(effects);
        true
    }

    /// The records were not appended: the shard takes back what it did, and answers whom it must.
    fn undo(&mut self, refused: Effects, refusal: &AppendRefusal) -> bool {
        tracing::error!(partition = %self.partition.id(), error = %refusal, "the coordinator's append failed");
        if matches!(refusal, AppendRefusal::NotEnoughReplicasAfterAppend) {
            // They lie in the log and may yet be committed, whatever is answered now.
            let refused = self.shard.append_failed(self.clock.now(), refused, ErrorCode::CoordinatorNotAvailable);
            self.release(refused);
            let effects = self.shard.unload(ErrorCode::CoordinatorLoadInProgress);
            self.release(effects);
            self.is_doubtful = true;
            return false;
        }
        let gone = matches!(refusal, AppendRefusal::Partition(_));
        let code = if gone { ErrorCode::NotCoordinator } else { ErrorCode::CoordinatorNotAvailable };
        let effects = self.shard.append_failed(self.clock.now(), refused, code);
        self.release(effects);
        if gone {
            let effects = self.shard.unload(ErrorCode::NotCoordinator);
            self.release(effects);
        }
        !gone
    }

    fn release(&mut self, effects: Effects) {
        let Effects { records: _, transaction: _, replies, timers } = effects;
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        for timer in timers {
            match timer {
                TimerEffect::Arm { key, at } => self.timers.arm(key, monotonic + millis_between(now, at)),
                TimerEffect::Cancel { key } => self.timers.cancel(&key),
            }
        }
        for (id, reply) in replies {
            if let Some(sender) = self.replies.remove(&id) {
                // A closed channel means that the client has gone.
                let _gone = sender.send(Ok(reply));
            }
        }
    }
}

async fn append(partition: &Arc<Partition>, effects: &Effects, now: Timestamp) -> Result<(), AppendRefusal> {
    let mut builder = BatchBuilder::new();
    if let Some((producer_id, producer_epoch)) = effects.transaction {
        // Nobody counts the sequences of what a coordinator appends; Kafka writes zero.
        builder = builder.with_producer(producer_id, producer_epoch, Some(Sequence::ZERO)).with_transactional(true);
    }
    for record in &effects.records {
        builder.append(now.millis(), Some(&record.key), record.value.as_deref(), &[]);
    }
    let batch = CheckedBatch::from_trusted(builder.build()).map_err(|_| AppendRefusal::NotEnoughReplicas)?;
    let ticket = partition.append(vec![batch], RequiredAcks::All, AppendOrigin::Coordinator, now);
    match ticket.await {
        Ok(Ok(_outcome)) => Ok(()),
        Ok(Err(refusal)) => Err(refusal),
        Err(_dropped) => Err(AppendRefusal::Partition(PartitionError::NotLeader)),
    }
}

fn millis_between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(to.millis().saturating_sub(from.millis())).unwrap_or(0))
}
