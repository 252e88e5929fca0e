//! The follower's side of a partition: what its log has, appends of the leader's batches, cuts.

use std::sync::Arc;

use log_store::{AppendError, Appended, ReplicateRequest, StorageError};
use model::{LeaderEpoch, Offset, Timestamp};
use record_batch::SequencedBatch;
use replication::{FollowerLog, Repair, follow_offsets};
use thiserror::Error;
use tokio::sync::oneshot;

use super::partition::Partition;

/// Why a follower's log was left alone.
#[derive(Debug, Error)]
pub enum FollowError {
    /// The partition is not followed under this term any more.
    #[error("the partition is not followed under this leader epoch any more")]
    OtherTerm,
    /// Bytes are on their way to the disk that may not be reported yet.
    #[error("bytes are on their way to the disk")]
    Unsettled,
    /// The log refused the batches.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The disk refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Partition {
    /// What the log has, for a fetch under this term. With `klamm.durability=group` only what is on the disk is ever reported.
    ///
    /// # Errors
    /// If this broker does not follow under the term, or not all is on the disk yet.
    pub fn follower_log(&self, leader_epoch: LeaderEpoch) -> Result<FollowerLog, FollowError> {
        self.check_follower(leader_epoch)?;
        let log_end = self.log.log_end_offset();
        if self.log.acknowledged_end_offset() != log_end {
            return Err(FollowError::Unsettled);
        }
        Ok(FollowerLog { log_start: self.log.log_start_offset(), log_end, last_epoch: self.log.latest_epoch() })
    }

    /// Hands batches of the leader's to the log. The answer comes when they count as written; who does not await it at once must wake the
    /// committer ([`Partition::commit`]).
    pub fn replicate(
        self: &Arc<Self>,
        batches: Vec<SequencedBatch>,
        leader_epoch: LeaderEpoch,
        now: Timestamp,
    ) -> oneshot::Receiver<Result<Appended, AppendError>> {
        let (reply, answer) = oneshot::channel();
        let partition = Arc::clone(self);
        self.appends.enqueue_replicated(ReplicateRequest {
            log: self.log.clone(),
            batches,
            leader_epoch,
            now,
            done: Box::new(move |result| {
                partition.take_log_end();
                let _gone = reply.send(result);
            }),
        });
        answer
    }

    /// Sees to it that handed over batches are under way, or in their logs if they are few. For who will await them, and holds no lock.
    pub fn commit(&self) {
        self.appends.commit();
    }

    /// Takes over how far the log is acknowledged, whoever this broker is to the partition by now.
    fn take_log_end(&self) {
        let consequences = {
            let mut state = self.state.lock();
            let log_end = self.log.acknowledged_end_offset();
            state.offsets.advance_log_end(log_end);
            if let Some(leader) = state.replication.as_mut() {
                leader.local_log_end_advanced(log_end);
            }
            state.take_high_watermark()
        };
        self.carry_out(consequences);
    }

    /// Takes over what an answer said of the leader's offsets. It may move the log's start, so it must not run on a network worker if
    /// [`Partition::moves_log_start`].
    ///
    /// # Errors
    /// If this broker does not follow under the term, or the disk refuses.
    pub fn follow_offsets(
        &self,
        leader_epoch: LeaderEpoch,
        leader_high_watermark: Offset,
        leader_log_start: Offset,
    ) -> Result<(), FollowError> {
        let log = self.follower_log(leader_epoch)?;
        let (high_watermark, log_start) = follow_offsets(&log, leader_high_watermark, leader_log_start);
        let has_moved = {
            let mut state = self.state.lock();
            if state.leads || state.leader_epoch != leader_epoch {
                return Err(FollowError::OtherTerm);
            }
            state.offsets.advance_high_watermark(high_watermark, |high_watermark| self.log.first_unstable_offset(high_watermark))
        };
        if has_moved {
            self.watchers.wake_all();
        }
        if log_start > log.log_start {
            self.log.advance_log_start(log_start)?;
            self.take_log_start();
        }
        Ok(())
    }

    /// Whether the leader's log start is beyond this log's.
    #[must_use]
    pub fn moves_log_start(&self, leader_log_start: Offset) -> bool {
        leader_log_start > self.log.log_start_offset()
    }

    /// Cuts the log as its follower. It waits for the disk.
    ///
    /// # Errors
    /// If this broker does not follow under the term, not all is on the disk yet, or the disk refuses.
    pub fn repair(&self, leader_epoch: LeaderEpoch, repair: Repair) -> Result<(), FollowError> {
        // IMPORTANT: no leader's log is cut. Whoever makes this broker the leader waits here.
        let _role = self.role.lock();
        let log = self.follower_log(leader_epoch)?;
        match repair {
            Repair::Nothing => return Ok(()),
            Repair::Truncate(to) => self.log.truncate(to)?,
            Repair::Reset(to) => self.log.reset(to)?,
        }
        let (log_start, log_end) = (self.log.log_start_offset(), self.log.log_end_offset());
        let high_watermark = self.offsets().high_watermark();
        let is_below = self.state.lock().offsets.cut(log_start, log_end);
        if is_below {
            tracing::warn!(partition = %self.id(), from = %log.log_end, to = %log_end, %high_watermark, "cut the log below its high watermark: records are lost that were replicated, by an unclean election");
        } else {
            tracing::info!(partition = %self.id(), from = %log.log_end, to = %log_end, %log_start, "cut the log to what its leader has");
        }
        self.watchers.wake_all();
        Ok(())
    }

    fn check_follower(&self, leader_epoch: LeaderEpoch) -> Result<(), FollowError> {
        let state = self.state.lock();
        if state.leads || state.leader_epoch != leader_epoch { Err(FollowError::OtherTerm) } else { Ok(()) }
    }
}
