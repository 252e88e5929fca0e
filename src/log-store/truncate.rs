//! Cutting a log at its end: a follower that parted from its leader. (At its start: `retention`.)

use rocksdb::WriteBatch;

use model::Offset;

use crate::StorageError;
use crate::keys::{self, Family};
use crate::partition_log::{Inner, LogState, PartitionLog};
use crate::recovery::{self, pass};
use crate::sync::sync_segment;

impl PartitionLog {
    /// Cuts the log so that it ends at `to`, or at the beginning of the batch that contains `to`. The cut is on the disk when this returns; a
    /// crash in between is finished at the next open. A `to` at or behind the log's end changes nothing.
    ///
    /// # Errors
    /// If the disk fails; then the partition takes no more writes.
    pub fn truncate(&self, to: Offset) -> Result<(), StorageError> {
        let log = &*self.0;
        let _segments = log.segments_lock.lock();
        let _index = log.engine.index_lock.lock();
        let mut state = log.state();
        if log.is_deleted() {
            return Err(StorageError::Deleted { partition: log.id });
        }
        let view = log.view();
        let to = to.max(log.log_start());
        if to >= view.log_end {
            return Ok(());
        }
        let Some(span) = view.span_at(to) else { return Ok(()) };
        // Compaction may leave no batch at or behind `to` in the segment, or one that begins later.
        let place = log.locate(&view, span, to)?;
        let log_end = place.as_ref().map_or(to, |place| Offset::new_or_zero(place.header.base_offset).min(to));
        let position = place.map_or(span.length, |place| place.position);
        log.settle_names().inspect_err(|_| state.poisoned = true)?;
        let mut batch = WriteBatch::default();
        let point = keys::recovery_point::key(log.id);
        let known = log.engine.row("recovery_point", &point, keys::recovery_point::Row::decode)?;
        if log.engine.journal.get().is_some() {
            // The journal's entries become void, so that what stays must be on the disk.
            let synced = known.map_or(Offset::ZERO, |known| known.offset);
            let kept = view.spans().take_while(|other| other.segment.base_offset <= span.segment.base_offset);
            kept.filter(|other| other.end_offset > synced).try_for_each(|other| sync_segment(log, &other.segment))?;
            log.engine.fence(&mut batch, log.id)?;
        }
        let intent = keys::truncation::Row { log_end, segment_base: span.segment.base_offset, position };
        // Rows of the bytes that stay must be there, since what has no row is scanned again.
        if let Some(known) = known.filter(|known| known.offset > log_end) {
            let row = keys::recovery_point::Row { offset: log_end, segment_base: intent.segment_base, position: intent.position };
            debug_assert!(known.offset > row.offset);
            log.engine.put(&mut batch, Family::Default, &point, &row.encode())?;
        }
        log.engine.put(&mut batch, Family::Default, &keys::truncation::key(log.id), &intent.encode())?;
        if self.first_dirty_offset()?.is_some_and(|first_dirty| first_dirty > log_end) {
            log.engine.put(
                &mut batch,
                Family::Default,
                &keys::cleaner_checkpoint::key(log.id),
                &keys::cleaner_checkpoint::encode(log_end),
            )?;
        }
        log.engine.write_synced(batch)?;
        log.carry_out_intent(&mut state)
    }
}

impl Inner {
    /// Does what a synced intent says, as the next open would: the log is recovered from what is on the disk. A failure stops the partition.
    pub(crate) fn carry_out_intent(&self, state: &mut LogState) -> Result<(), StorageError> {
        let directory = self.directory();
        let recovered =
            pass(&self.engine, "truncate.after_intent", &directory).and_then(|()| recovery::recover(&self.engine, self.id, &directory));
        match recovered {
            Ok(recovered) => {
                self.install(state, recovered);
                Ok(())
            }
            Err(error) => {
                state.poisoned = true;
                Err(error)
            }
        }
    }
}
