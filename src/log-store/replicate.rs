//! Appending as a follower: batches as the leader's log has them.
//!
//! Base offsets, leader epochs and timestamps stay; there may be gaps between batches, which compaction leaves. Producers are taken note of and never
//! refused: the leader has judged them. Segments are this broker's own, so that the same log may be cut into other files on each replica.
//!
//! In Kafka: `UnifiedLog.appendAsFollower`, `truncateFullyAndStartAt`.

use model::{LeaderEpoch, Offset, Timestamp};
use record_batch::SequencedBatch;
use rocksdb::WriteBatch;

use crate::append::{Gathering, Incoming};
use crate::append_request::{Appended, Content, Done, Queued};
use crate::keys::{self, Family};
use crate::partition_log::{Inner, LogState, PartitionLog};
use crate::{AppendDone, AppendError, StorageError};

/// Batches of the leader's log for a follower's.
pub struct ReplicateRequest {
    /// The follower's log.
    pub log: PartitionLog,
    /// The batches in order ([`SequencedBatch::all_replicated`] checks them). None may lie before the log's end.
    pub batches: Vec<SequencedBatch>,
    /// The term under which the leader sent them. No batch may be of a newer one.
    pub leader_epoch: LeaderEpoch,
    /// The time now, for rolling and for the expiry of producers.
    pub now: Timestamp,
    /// Called once, as of an [`crate::AppendRequest`]. After an error a part of the batches, from the first one on, may be in the log all the
    /// same.
    pub done: AppendDone,
}

impl From<ReplicateRequest> for Queued {
    fn from(request: ReplicateRequest) -> Self {
        let ReplicateRequest { log, batches, leader_epoch, now, done } = request;
        Self { log, content: Content::Replicated(batches), leader_epoch, now, done: Done::new(done) }
    }
}

impl PartitionLog {
    /// Puts the batches into the run, one by one, so that each of them may begin a segment.
    pub(crate) fn replicate(
        &self,
        state: &mut LogState,
        group: &mut Gathering,
        batches: Vec<SequencedBatch>,
        leader_epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        let log = &*self.0;
        let base_offset = batches.first().map_or(group.end, |batch| Offset::new_or_zero(batch.header().base_offset));
        for batch in batches {
            log.may_follow(group, &batch, leader_epoch)?;
            let header = batch.header();
            let incoming = Incoming {
                size_bytes: batch.size_bytes(),
                newest_timestamp: header.max_timestamp,
                end: Offset::new_or_zero(header.next_offset()),
                now,
            };
            let expected = group.end;
            self.make_room(state, group, &incoming)?;
            if group.end != expected {
                // What stands before was not written.
                return Err(AppendError::UnexpectedEnd { expected, log_end: group.end });
            }
            group.run.is_replicated = true;
            group.put(log, state, batch, now);
        }
        let (log_end_offset, log_start_offset) = (group.end, log.log_start());
        Ok(Appended { base_offset, log_end_offset, log_append_time: None, log_start_offset, duplicate: false })
    }

    /// Drops all that the log has and lets it begin, and end, at `to`: what the leader has begins there. Nothing is left when this returns; a
    /// crash in between is finished at the next open.
    ///
    /// # Errors
    /// If the disk fails; then the partition takes no more writes.
    pub fn reset(&self, to: Offset) -> Result<(), StorageError> {
        let log = &*self.0;
        let _segments = log.segments_lock.lock();
        let _index = log.engine.index_lock.lock();
        let mut state = log.state();
        if log.is_deleted() {
            return Err(StorageError::Deleted { partition: log.id });
        }
        log.settle_names().inspect_err(|_| state.poisoned = true)?;
        let mut batch = WriteBatch::default();
        // Where the log began, its first file stays as an empty one; one that begins behind the new end may not.
        let first = log.view().spans().map(|span| span.segment.base_offset).next();
        let segment_base = first.map_or(to, |first| first.min(to));
        let intent = keys::truncation::Row { log_end: to, segment_base, position: 0 };
        let put = |batch: &mut WriteBatch, key: &[u8], value: &[u8]| log.engine.put(batch, Family::Default, key, value);
        put(&mut batch, &keys::truncation::key(log.id), &intent.encode())?;
        let row = keys::partition::Row { deleting: false, log_start: to, log_end: to, boot: log.engine.boot };
        put(&mut batch, &keys::partition::key(log.id), &row.encode())?;
        log.engine.delete_prefix(&mut batch, Family::Index, &keys::index::prefix(log.id))?;
        for prefix in [keys::producer::prefix, keys::leader_epoch::prefix, keys::aborted_transaction::prefix] {
            log.engine.delete_prefix(&mut batch, Family::Default, &prefix(log.id))?;
        }
        for key in [keys::recovery_point::key(log.id), keys::cleaner_checkpoint::key(log.id)] {
            log.engine.delete(&mut batch, Family::Default, &key)?;
        }
        // The journal's entries of what goes are void.
        log.engine.fence(&mut batch, log.id)?;
        log.engine.write_synced(batch)?;
        log.carry_out_intent(&mut state)
    }
}

impl Inner {
    /// Whether the batch may stand at the run's end.
    fn may_follow(&self, group: &Gathering, batch: &SequencedBatch, leader_epoch: LeaderEpoch) -> Result<(), AppendError> {
        let (header, end) = (batch.header(), group.end);
        let base_offset = Offset::new_or_zero(header.base_offset);
        if base_offset < end {
            return Err(AppendError::BelowLogEnd { base_offset, log_end: end });
        }
        let newest = match group.run.batches.last() {
            Some(last) => last.header().partition_leader_epoch,
            None => LeaderEpoch::to_wire(self.epochs.read().latest_with_batch()),
        };
        let received = header.partition_leader_epoch;
        if received < newest.max(0) || received > leader_epoch.get() {
            return Err(AppendError::UnorderedEpoch { base_offset, received });
        }
        Ok(())
    }
}
