//! Appends as leader: to the committer and, for acks=all, on to the high watermark.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use log_store::{AppendError, AppendRequest, Appended, Appends, TransactionCheck, VerifiedProducer};
use metadata::configs::TimestampType;
use model::{LeaderEpoch, Offset, Timestamp};
use record_batch::{AppendOrigin, CheckedBatch};
use replication::{LeaderState, MinIsr};
use thiserror::Error;
use tokio::sync::oneshot;

use super::partition::{Partition, PartitionError, Waiting};

/// When an append is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredAcks {
    /// At once; the client gets no answer.
    None,
    /// When this broker has it.
    Leader,
    /// When all in-sync replicas have it.
    All,
}

/// Who appends, and what is known of what is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendAs {
    /// Who appends; only a client's producer fields are judged.
    pub origin: AppendOrigin,
    /// What is known of the transaction.
    pub transaction: TransactionCheck,
    /// The term in which the append counts; in a later one it is refused. `None`: in whatever term.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Where a batch came to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendOutcome {
    /// The offset of its first record; of the first copy if it was a duplicate.
    pub base_offset: Offset,
    /// The log's end after it.
    pub log_end_offset: Offset,
    /// The time that the broker gave it, for topics with LogAppendTime.
    pub log_append_time: Option<Timestamp>,
    /// The log's start.
    pub log_start_offset: Offset,
}

/// Why a batch was not appended.
#[derive(Debug, Error)]
pub enum AppendRefusal {
    /// The partition does not take appends.
    #[error(transparent)]
    Partition(PartitionError),
    /// Fewer replicas are in sync than `min.insync.replicas` asks; nothing was written.
    #[error("fewer replicas are in sync than min.insync.replicas asks")]
    NotEnoughReplicas,
    /// The same, found after the append: the batch may yet be committed.
    #[error("fewer replicas are in sync than min.insync.replicas asks, found after the append")]
    NotEnoughReplicasAfterAppend,
    /// The log refused.
    #[error(transparent)]
    Log(AppendError),
}

/// The answer of an append under way.
///
/// The append is handed to the store at once, in its order; it is written when the ticket is awaited, if it is small, or the store's committer is woken then
/// or when the ticket is dropped, so that several appends made in a row cost one wake-up.
#[derive(Debug)]
pub struct AppendTicket {
    answer: oneshot::Receiver<Result<AppendOutcome, AppendRefusal>>,
    appends: Appends,
}

impl Future for AppendTicket {
    /// An error says that the broker is going down.
    type Output = Result<Result<AppendOutcome, AppendRefusal>, oneshot::error::RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(cx) {
            return Poll::Ready(answer);
        }
        // At each poll: others may have been enqueued behind this one.
        self.appends.commit();
        Pin::new(&mut self.answer).poll(cx)
    }
}

impl Drop for AppendTicket {
    fn drop(&mut self) {
        self.appends.wake_committer();
    }
}

impl Partition {
    /// Gives checked batches to the log, in the order of calls. The ticket resolves when `acks` is satisfied.
    ///
    /// IMPORTANT: the order of two calls on one partition is the order of their offsets, so a handler must call this before it awaits anything.
    pub fn append(self: &Arc<Self>, batches: Vec<CheckedBatch>, acks: RequiredAcks, origin: AppendOrigin, now: Timestamp) -> AppendTicket {
        self.append_as(batches, acks, AppendAs { origin, transaction: TransactionCheck::Unchecked, leader_epoch: None }, now)
    }

    /// The same of what belongs to a transaction, or to one term of a leader.
    pub fn append_as(self: &Arc<Self>, batches: Vec<CheckedBatch>, acks: RequiredAcks, how: AppendAs, now: Timestamp) -> AppendTicket {
        let AppendAs { origin, transaction, leader_epoch: expected_epoch } = how;
        let (reply, answer) = oneshot::channel();
        let (messages, bytes) = volume(&batches);
        match self.admit(acks, expected_epoch) {
            Err(refusal) => {
                let _gone = reply.send(Err(refusal));
            }
            Ok((leader_epoch, log_append_time)) => {
                let partition = Arc::clone(self);
                let request = AppendRequest {
                    log: self.log.clone(),
                    batches,
                    leader_epoch,
                    log_append_time: log_append_time.then_some(now),
                    now,
                    origin,
                    expected_end: None,
                    transaction,
                    done: Box::new(move |result| {
                        if result.is_ok() {
                            partition.traffic.appended(messages, bytes);
                        }
                        partition.appended(result, acks, leader_epoch, reply);
                    }),
                };
                self.appends.enqueue(request);
            }
        }
        AppendTicket { answer, appends: self.appends.clone() }
    }

    /// What a transactional batch of the producer needs before it is appended.
    #[must_use]
    pub fn begin_verification(&self, producer: &VerifiedProducer, now: Timestamp) -> TransactionCheck {
        self.log.begin_verification(producer, now)
    }

    fn admit(&self, acks: RequiredAcks, expected_epoch: Option<LeaderEpoch>) -> Result<(LeaderEpoch, bool), AppendRefusal> {
        let state = self.state.lock();
        let Some(leader) =
            state.replication.as_ref().filter(|_| state.leads && expected_epoch.is_none_or(|epoch| epoch == state.leader_epoch))
        else {
            return Err(AppendRefusal::Partition(PartitionError::NotLeader));
        };
        if acks == RequiredAcks::All && leader.min_isr() != MinIsr::Satisfied {
            return Err(AppendRefusal::NotEnoughReplicas);
        }
        Ok((state.leader_epoch, state.config.timestamp_type == TimestampType::LogAppendTime))
    }

    /// Runs on the committer's thread, or on that of who awaits the ticket.
    fn appended(
        &self,
        result: Result<Appended, AppendError>,
        acks: RequiredAcks,
        leader_epoch: LeaderEpoch,
        reply: oneshot::Sender<Result<AppendOutcome, AppendRefusal>>,
    ) {
        let appended = match result {
            Ok(appended) => appended,
            Err(error) => {
                let _gone = reply.send(Err(AppendRefusal::Log(error)));
                return;
            }
        };
        let outcome = AppendOutcome {
            base_offset: appended.base_offset,
            log_end_offset: appended.log_end_offset,
            log_append_time: appended.log_append_time,
            log_start_offset: appended.log_start_offset,
        };
        let (consequences, has_followers) = {
            let mut state = self.state.lock();
            if !state.leads || leader_epoch < state.leads_since {
                // Leadership was lost meanwhile: the batch may be cut off before it is replicated, whatever lies at its offset by now.
                drop(state);
                let _gone = reply.send(Err(AppendRefusal::Partition(PartitionError::NotLeader)));
                return;
            }
            state.waiting.push_back(Waiting { required: outcome.log_end_offset, outcome, reply });
            state.offsets.advance_log_end(appended.log_end_offset);
            if let Some(leader) = state.replication.as_mut() {
                leader.local_log_end_advanced(appended.log_end_offset);
            }
            let has_followers = state.replication.as_ref().is_some_and(LeaderState::has_followers);
            (state.take_append(acks), has_followers)
        };
        self.carry_out(consequences);
        if has_followers {
            self.follower_watchers.wake_all();
        }
    }
}

/// How many records the batches hold, and how many bytes they are.
fn volume(batches: &[CheckedBatch]) -> (u64, u64) {
    let messages = batches.iter().map(|batch| u64::try_from(batch.record_count()).unwrap_or(0)).sum();
    let bytes = batches.iter().map(|batch| u64::try_from(batch.size_bytes()).unwrap_or(0)).sum();
    (messages, bytes)
}
