//! The task that owns one shard.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ::coordinator::{ReplyId, TimerEffect};
use model::{LeaderEpoch, Sequence, Timestamp};
use protocol::ErrorCode;
use record_batch::{AppendOrigin, BatchBuilder, CheckedBatch};
use tokio::sync::{mpsc, oneshot};
use wire::clock::SharedClock;

use crate::partitions::{AppendAs, AppendRefusal, Partition, PartitionError, RequiredAcks, TransactionCheck};

use super::coordinator::{Call, Coordinator, EndOfTransaction, Released, ToAppend, Work};
use super::load;
use super::timers::Timers;

pub(super) struct ShardTask<C: Coordinator> {
    parts: C::Parts,
    coordinator: C,
    /// The term of the partition's leader that this task serves. It appends nothing in another one.
    leader_epoch: LeaderEpoch,
    /// Whether the log may hold more than the shard knows, so that it must be loaded anew.
    is_doubtful: bool,
    partition: Arc<Partition>,
    clock: SharedClock,
    work: mpsc::UnboundedReceiver<Work<C>>,
    queue: mpsc::WeakUnboundedSender<Work<C>>,
    /// What came while the shard was loaded.
    early: VecDeque<Work<C>>,
    replies: HashMap<ReplyId, oneshot::Sender<Result<C::Reply, ErrorCode>>>,
    next_reply: u64,
    timers: Timers<C::TimerKey>,
}

impl<C: Coordinator> ShardTask<C> {
    /// The task, and the way to give it work. It ends when that is dropped.
    pub(super) fn new(
        parts: C::Parts,
        partition: Arc<Partition>,
        leader_epoch: LeaderEpoch,
        clock: SharedClock,
    ) -> (Self, mpsc::UnboundedSender<Work<C>>) {
        let (sender, work) = mpsc::unbounded_channel();
        let queue = sender.downgrade();
        let (early, replies, timers) = (VecDeque::new(), HashMap::new(), Timers::default());
        let coordinator = C::new(&parts, leader_epoch, queue.clone());
        let (is_doubtful, next_reply) = (false, 0);
        let task =
            Self { parts, coordinator, leader_epoch, is_doubtful, partition, clock, work, queue, early, replies, next_reply, timers };
        (task, sender)
    }

    /// Loads the shard, then serves it until its sender is dropped or its log fails.
    pub(super) async fn run(mut self) {
        while self.serve().await {
            self.coordinator = C::new(&self.parts, self.leader_epoch, self.queue.clone());
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
        self.coordinator.prepare().await;
        let effects = self.coordinator.loaded(self.clock.now());
        if self.carry_out(effects, TransactionCheck::Unchecked).await {
            while self.step().await {}
        }
        std::mem::take(&mut self.is_doubtful)
    }

    /// Loads the shard; what comes meanwhile waits. `None` if the shard is not wanted any more.
    async fn load(&mut self) -> Option<Result<(), PartitionError>> {
        let mut loading = pin!(load::load(&mut self.coordinator, &self.partition));
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
            return self.work_on(work).await;
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
        match work {
            Some(work) => self.work_on(work).await,
            None => {
                while let Some(key) = self.timers.pop_due(self.clock.monotonic()) {
                    self.coordinator.prepare().await;
                    let effects = self.coordinator.timer_fired(self.clock.now(), key);
                    if !self.carry_out(effects, TransactionCheck::Unchecked).await {
                        return false;
                    }
                }
                true
            }
        }
    }

    async fn work_on(&mut self, work: Work<C>) -> bool {
        match work {
            Work::Call(Call { caller, operation, transaction, reply }) => {
                self.coordinator.prepare().await;
                self.next_reply += 1;
                let id = ReplyId(self.next_reply);
                self.replies.insert(id, reply);
                let meta = self.coordinator.meta(caller, id);
                let effects = operation(self.coordinator.shard(), self.clock.now(), meta);
                self.carry_out(effects, transaction).await
            }
            Work::Event(event) => {
                self.coordinator.prepare().await;
                let effects = self.coordinator.event(self.clock.now(), event);
                self.carry_out(effects, TransactionCheck::Unchecked).await
            }
            Work::EndOfTransaction(end) => self.end_transaction(end).await,
        }
    }

    /// Writes a marker. What it decides counts when it is committed, here as in the log.
    async fn end_transaction(&mut self, end: EndOfTransaction) -> bool {
        let EndOfTransaction { producer_id, producer_epoch, marker, check, done } = end;
        let batch = marker.batch(producer_id, producer_epoch, self.clock.now());
        let appended = match CheckedBatch::from_trusted(batch) {
            Ok(batch) => self.append(batch, check).await,
            Err(_) => Err(AppendRefusal::NotEnoughReplicas),
        };
        let goes_on = match &appended {
            Ok(()) => {
                self.coordinator.replay_end_of_transaction(producer_id, marker.is_commit);
                true
            }
            Err(refusal) => self.follow_refusal(refusal),
        };
        let _gone = done.send(appended);
        goes_on
    }

    /// Appends, replays, arms, replies. Returns false when the partition is gone: the shard is then dropped.
    async fn carry_out(&mut self, effects: C::Effects, check: TransactionCheck) -> bool {
        let ToAppend { records, transaction } = C::to_append(&effects);
        if !records.is_empty() {
            let mut builder = BatchBuilder::new();
            if let Some((producer_id, producer_epoch)) = transaction {
                // Nobody counts the sequences of what a coordinator appends; Kafka writes zero.
                builder = builder.with_producer(producer_id, producer_epoch, Some(Sequence::ZERO)).with_transactional(true);
            }
            let now = self.clock.now();
            for record in records {
                builder.append(now.millis(), Some(&record.key), record.value.as_deref(), &[]);
            }
            let appended = match CheckedBatch::from_trusted(builder.build()) {
                Ok(batch) => self.append(batch, check).await,
                Err(_) => Err(AppendRefusal::NotEnoughReplicas),
            };
            match appended {
                Ok(()) => {
                    let producer_id = transaction.map(|(producer_id, _)| producer_id);
                    for record in records {
                        self.coordinator.replay(producer_id, &record.key, record.value.as_deref());
                    }
                }
                Err(refusal) => {
                    let goes_on = self.undo(effects, &refusal);
                    self.coordinator.act();
                    return goes_on;
                }
            }
        }
        self.release(effects);
        if self.coordinator.has_to_act() {
            // Whoever has been answered goes first: his answer is not to wait for what nobody waits for, on the same processor.
            tokio::task::yield_now().await;
            self.coordinator.act();
        }
        true
    }

    fn append(&self, batch: CheckedBatch, transaction: TransactionCheck) -> impl Future<Output = Result<(), AppendRefusal>> + use<C> {
        let how = AppendAs { origin: AppendOrigin::Coordinator, transaction, leader_epoch: Some(self.leader_epoch) };
        let ticket = self.partition.append_as(vec![batch], RequiredAcks::All, how, self.clock.now());
        async move {
            match ticket.await {
                Ok(Ok(_outcome)) => Ok(()),
                Ok(Err(refusal)) => Err(refusal),
                Err(_dropped) => Err(AppendRefusal::Partition(PartitionError::NotLeader)),
            }
        }
    }

    /// The records were not appended: the shard takes back what it did, and answers whom it must.
    fn undo(&mut self, refused: C::Effects, refusal: &AppendRefusal) -> bool {
        let code = match refusal {
            AppendRefusal::Partition(_) => ErrorCode::NotCoordinator,
            // The word of the transaction's coordinator was missing, or has come too late.
            AppendRefusal::Log(log_store::AppendError::Unverified { .. }) => ErrorCode::InvalidTxnState,
            AppendRefusal::NotEnoughReplicas | AppendRefusal::NotEnoughReplicasAfterAppend | AppendRefusal::Log(_) => {
                ErrorCode::CoordinatorNotAvailable
            }
        };
        let effects = self.coordinator.append_failed(self.clock.now(), refused, code);
        self.release(effects);
        self.follow_refusal(refusal)
    }

    /// Whether the shard may go on after a refused append.
    fn follow_refusal(&mut self, refusal: &AppendRefusal) -> bool {
        let unload_with = match refusal {
            // They lie in the log and may yet be committed, whatever is answered now.
            AppendRefusal::NotEnoughReplicasAfterAppend => {
                self.is_doubtful = true;
                ErrorCode::CoordinatorLoadInProgress
            }
            AppendRefusal::Partition(_) => ErrorCode::NotCoordinator,
            AppendRefusal::NotEnoughReplicas => return true,
            AppendRefusal::Log(log_store::AppendError::Storage(_)) => {
                tracing::error!(partition = %self.partition.id(), error = %refusal, "the coordinator's append failed");
                return true;
            }
            AppendRefusal::Log(_) => return true,
        };
        tracing::warn!(partition = %self.partition.id(), error = %refusal, "the coordinator's append is refused, and its state loaded anew by whoever leads");
        let effects = self.coordinator.unload(unload_with);
        self.release(effects);
        false
    }

    fn release(&mut self, effects: C::Effects) {
        let Released { replies, timers } = self.coordinator.release(effects);
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

fn millis_between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(to.millis().saturating_sub(from.millis())).unwrap_or(0))
}
