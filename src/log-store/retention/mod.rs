//! Retention: where a log begins, and the segments that it loses at its start.
//!
//! A check plans each log (`plan`, pure), writes the new log starts of all of them with one sync, and only then takes the segments out of the
//! readers' sight, removes their index rows, and renames the files to `.<number>.deleted`; `removals` unlinks them after `file.delete.delay.ms`. A crash in
//! between loses nothing and leaves nothing: the next open removes what ends at or before the log start, and what is named `.deleted`.
//!
//! The segment that is appended to may go, too. It is closed first, so that an append that comes meanwhile begins the next one.
//!
//! Invariants:
//! - A log start that stands inside a segment stands on synced bytes where there is a journal: its entries before the log start are void, and those
//!   behind it can be written again only behind bytes that are there.
//! - Appends wait for a check only while it changes what is in memory, and for its index rows; never for a file.
//!
//! In Kafka: `LogManager.cleanupLogs`, `UnifiedLog.deleteOldSegments`, `maybeIncrementLogStartOffset`, `LocalLog.removeAndDeleteSegments`.

pub(crate) mod plan;
pub(crate) mod removals;
pub(crate) mod roll;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{Offset, Timestamp};
use rocksdb::WriteBatch;

use crate::StorageError;
use crate::engine::Engine;
use crate::keys::{self, Family};
use crate::partition_log::{Inner, PartitionLog, write_changes};
use crate::recovery::pass;
use crate::store::Store;
use crate::sync::sync_segment;
use crate::view::{Span, Unindexed, View};
use plan::{DropReason, Plan, SegmentFacts, plan};

/// So many logs share the sync of their log starts.
const LOGS_PER_SYNC_MAX: usize = 256;

/// A log that is to be looked at.
#[derive(Clone, Debug)]
pub struct RetentionCheck {
    /// The log.
    pub log: PartitionLog,
    /// Nothing at or beyond it goes.
    pub high_watermark: Offset,
}

/// What a check took from a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    /// Why, for each segment that went, the oldest first.
    pub drops: Vec<DropReason>,
    /// The bytes of these segments.
    pub size_bytes: u64,
    /// Where the log begins now.
    pub log_start: Offset,
}

impl Store {
    /// Drops the segments that their logs' configurations do not allow to keep. It waits for the disk. The files go at `monotonic` plus
    /// `file.delete.delay.ms`, with [`Store::remove_due`]. Tells of the logs that lost something or failed; a log that failed lost nothing, and the
    /// next check tries again.
    #[must_use]
    pub fn retain(
        &self,
        checks: &[RetentionCheck],
        now: Timestamp,
        monotonic: Duration,
    ) -> Vec<(PartitionLog, Result<Retained, StorageError>)> {
        let mut results = Vec::new();
        for group in checks.chunks(LOGS_PER_SYNC_MAX) {
            let mut due = Vec::new();
            for check in group {
                match check.log.0.plan_retention(check.high_watermark, now) {
                    Ok(None) => {}
                    Ok(Some(plan)) => due.push((check.log.clone(), plan)),
                    Err(_) if check.log.0.is_deleted() => {}
                    Err(error) => results.push((check.log.clone(), Err(error))),
                }
            }
            if !due.is_empty() {
                drop_segments(self.engine(), due, monotonic, &mut results);
            }
        }
        results
    }
}

/// Carries out what was planned.
fn drop_segments(
    engine: &Engine,
    mut due: Vec<(PartitionLog, Plan)>,
    monotonic: Duration,
    results: &mut Vec<(PartitionLog, Result<Retained, StorageError>)>,
) {
    due.sort_unstable_by_key(|(log, _)| log.id());
    // No compaction, truncation or deletion of these logs comes between. In the order of their ids, as any other who would hold several.
    let logs: Vec<_> = due.iter().map(|(log, _)| log.clone()).collect();
    let segments: Vec<_> = logs.iter().map(|log| log.0.segments_lock.lock()).collect();
    let dropped = begin_logs(engine, due, results);
    // Without the index lock, which every append may wait for: nobody else writes rows in these ranges any more.
    let dropped: Vec<_> = dropped
        .into_iter()
        .map(|(log, plan, spans)| {
            let rows_removed = spans.last().map_or(Ok(()), |(_, upper)| log.0.delete_rows_before(*upper));
            (log, plan, spans, rows_removed)
        })
        .collect();
    for (log, plan, spans, rows_removed) in dropped {
        let delay_ms = u64::try_from(log.0.state().config.file_delete_delay_ms).unwrap_or(0);
        let due = monotonic.saturating_add(Duration::from_millis(delay_ms));
        let size_bytes = spans.iter().map(|(span, _)| span.length).sum();
        // IMPORTANT: before anybody who waits for the segments may give their names again.
        let retired = spans.iter().map(|(span, _)| log.0.retire(&span.segment, due)).fold(Ok(()), Result::and);
        // Rows and files of segments that are gone are in nobody's way; but an index or a disk that fails must be told.
        let done = rows_removed.and(retired);
        results.push((log, done.map(|()| Retained { drops: plan.drops, size_bytes, log_start: plan.log_start })));
    }
    drop(segments);
}

/// A log, why it loses something, and the segments, each with where the next one begins.
type Dropped = (PartitionLog, Plan, Vec<(Span, Offset)>);

/// Lets the logs begin where planned, on the disk first, and takes what lies before out of sight.
fn begin_logs(
    engine: &Engine,
    due: Vec<(PartitionLog, Plan)>,
    results: &mut Vec<(PartitionLog, Result<Retained, StorageError>)>,
) -> Vec<Dropped> {
    let _index = engine.index_lock.lock();
    let mut batch = WriteBatch::default();
    let mut begun = Vec::new();
    for (log, plan) in due.into_iter().filter(|(log, _)| !log.0.is_deleted()) {
        // What the producers of the dropped batches did is nowhere else.
        let put = log.0.put_log_start(&mut batch, plan.log_start).and_then(|()| log.0.put_changes(&mut batch));
        match put {
            Ok(()) => begun.push((log, plan)),
            Err(error) => results.push((log, Err(error))),
        }
    }
    // IMPORTANT: synced, since files go after it, and a journal's entries of these segments are void from here on. Only a test leaves that out, which
    // proves that it would be noticed.
    let is_synced = !engine.failpoints().skips("retention.before_row");
    let written = pass(engine, "retention.before_row", &engine.partitions_directory)
        .and_then(|()| if is_synced { engine.write_synced(batch) } else { engine.write(batch) })
        .and_then(|()| pass(engine, "retention.after_row", &engine.partitions_directory));
    if let Err(error) = written {
        begun.iter().for_each(|(log, _)| log.0.state().poisoned = true);
        results.extend(begun.into_iter().map(|(log, _)| (log, Err(error.clone()))));
        return Vec::new();
    }
    let begin = |(log, plan): (PartitionLog, Plan)| {
        log.0.begin_at(plan.log_start);
        let spans = log.0.take_dead_segments();
        (log, plan, spans)
    };
    begun.into_iter().map(begin).collect()
}

impl PartitionLog {
    /// Moves the log start forward. No segment goes before the next [`Store::retain`]. A lower `to` changes nothing; one behind the log's end counts
    /// as the log's end. It survives what an append survives.
    ///
    /// # Errors
    /// If the disk or the index fails.
    pub fn advance_log_start(&self, to: Offset) -> Result<(), StorageError> {
        let log = &*self.0;
        let to = to.min(log.log_end());
        if to <= log.log_start() {
            return Ok(());
        }
        let has_journal = log.engine.journal.get().is_some();
        if has_journal {
            log.sync_before(to)?;
        }
        let _segments = log.segments_lock.lock();
        let _index = log.engine.index_lock.lock();
        if log.is_deleted() {
            return Err(StorageError::Deleted { partition: log.id });
        }
        if to <= log.log_start() {
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        log.put_log_start(&mut batch, to)?;
        // The next open passes segments over that lie before; what their producers did would be lost with them.
        log.put_changes(&mut batch)?;
        pass(&log.engine, "retention.before_row", &log.directory())?;
        // Synced with a journal, but for a test that proves that it would be noticed.
        if has_journal && !log.engine.failpoints().skips("retention.before_row") {
            log.engine.write_synced(batch)?;
        } else {
            log.engine.write(batch)?;
        }
        log.begin_at(to);
        Ok(())
    }
}

impl Inner {
    /// Brings the segment to the disk that the log would begin in, if it would begin within.
    fn sync_before(&self, log_start: Offset) -> Result<(), StorageError> {
        let view = self.view();
        match view.span_at(log_start).filter(|span| span.segment.base_offset < log_start) {
            Some(span) => sync_segment(self, &span.segment),
            None => Ok(()),
        }
    }

    /// What the log is to lose, if anything. The active segment is closed if it is among that.
    fn plan_retention(&self, high_watermark: Offset, now: Timestamp) -> Result<Option<Plan>, StorageError> {
        if self.is_deleted() {
            return Ok(None);
        }
        self.with_current_segments(|view| self.plan_retention_of(view, high_watermark, now))
    }

    fn plan_retention_of(&self, view: &View, high_watermark: Offset, now: Timestamp) -> Result<Option<Plan>, StorageError> {
        let retention = self.state().config.retention;
        let facts: Vec<_> = view
            .spans()
            .zip(view.uppers())
            .map(|(span, upper)| SegmentFacts { upper, size_bytes: span.length, is_active: view.is_active(span) })
            .collect();
        let decide = |high_watermark| {
            plan(&facts, self.log_start(), high_watermark, &retention, now, |place| {
                view.spans().nth(place).map_or(Ok(i64::MAX), |span| self.largest_timestamp(span))
            })
        };
        let mut decided = decide(high_watermark)?;
        if decided.drops_active && !self.close_active(decided.log_start)? {
            let without_active = view.active.as_ref().map_or(Offset::ZERO, |active| active.segment.base_offset);
            decided = decide(without_active.min(high_watermark))?;
        }
        Ok(Some(decided).filter(|decided| !decided.drops.is_empty()))
    }

    /// The time of the segment's newest record; of one without any what compaction's empty batches say, or the time of its last write
    /// (`LogSegment.largestTimestamp`).
    fn largest_timestamp(&self, span: &Span) -> Result<i64, StorageError> {
        let segment = &span.segment;
        let mut known = segment.newest();
        if known.position < span.length {
            for row in self.rows_of(span, known.offset.max(segment.base_offset), span.length)? {
                known.timestamp = known.timestamp.max(row.max_timestamp);
                (known.offset, known.position) = (row.end_offset, row.end_position());
            }
            segment.set_newest(known);
        }
        let mut largest = known.timestamp;
        self.walk_unindexed(span, known.position, |header, _| {
            largest = largest.max(if header.record_count > 0 { header.max_timestamp } else { -1 });
            Ok(true)
        })?;
        if largest < 0 {
            self.walk_unindexed(span, 0, |header, _| {
                largest = largest.max(header.max_timestamp);
                Ok(true)
            })?;
        }
        if largest >= 0 { Ok(largest) } else { self.modified_ms(span) }
    }

    /// Closes the active segment, so that the next append begins a new one, if the log still ends at `log_end`. Its bytes are on the disk then.
    fn close_active(&self, log_end: Offset) -> Result<bool, StorageError> {
        let Some(active) = self.view().active else { return Ok(false) };
        // No sync job names it once it is closed, and later recovery points mean its bytes, too.
        sync_segment(self, &active.segment)?;
        let mut state = self.state();
        if self.is_deleted() || state.poisoned || self.log_end() != log_end {
            return Ok(false);
        }
        if let Some(mut block) = state.block.take().filter(|block| !block.is_empty()) {
            state.closed.push(block.close());
        }
        let unsynced = std::mem::take(&mut state.unsynced_bytes);
        self.engine.unsynced_bytes.fetch_sub(unsynced, Ordering::Relaxed);
        (state.first_timestamp, state.created_ms) = (None, None);
        self.change_view(|view| {
            if let Some(active) = view.active.take() {
                Arc::make_mut(&mut view.sealed).push(active);
            }
        });
        Ok(true)
    }

    /// Adds the row that says where the log begins, not before it begins now. The caller holds the index lock.
    fn put_log_start(&self, batch: &mut WriteBatch, to: Offset) -> Result<(), StorageError> {
        let key = keys::partition::key(self.id);
        let row = self.engine.row("partition", &key, keys::partition::Row::decode)?;
        let row = row.ok_or(StorageError::UnreadableRow { family: "partition" })?;
        let log_start = to.max(self.log_start());
        let row = keys::partition::Row { log_start, log_end: row.log_end.max(log_start), ..row };
        let aborted = [keys::aborted_transaction::key(self.id, Offset::ZERO), keys::aborted_transaction::key(self.id, log_start)];
        self.engine.delete_range(batch, Family::Default, &aborted[0], &aborted[1])?;
        self.engine.put(batch, Family::Default, &key, &row.encode())
    }

    /// Adds the rows of producers and epochs that are owed. The caller holds the index lock.
    fn put_changes(&self, batch: &mut WriteBatch) -> Result<(), StorageError> {
        let mut state = self.state();
        let changed = (&mut state.producers, &mut *self.transactions.lock(), &mut *self.epochs.write());
        write_changes(&self.engine, batch, self.id, changed)
    }

    /// Lets the log begin there, once a row says so.
    fn begin_at(&self, log_start: Offset) {
        let log_start = log_start.max(self.log_start());
        self.set_log_start(log_start);
        self.epochs.write().begin_at(log_start);
    }

    /// Takes the segments that lie wholly before the log start out of sight, each with where the next one begins. The caller holds the locks on
    /// the segments and on the index.
    fn take_dead_segments(&self) -> Vec<(Span, Offset)> {
        let log_start = self.log_start();
        let mut state = self.state();
        let dead = self.change_view(|view| {
            let uppers: Vec<_> = view.uppers().take_while(|upper| *upper <= log_start).take(view.sealed.len()).collect();
            let Some(upper) = uppers.last().copied() else { return Vec::new() };
            let spans: Vec<_> = Arc::make_mut(&mut view.sealed).drain(..uppers.len()).collect();
            if view.unindexed.offset < upper {
                view.unindexed = Unindexed { segment_base: upper, offset: upper, position: 0 };
            }
            spans.into_iter().zip(uppers).collect()
        });
        if let Some((_, upper)) = dead.last() {
            state.closed.retain(|block| block.row.segment_base >= *upper);
            self.tail.drop_before(*upper, &self.engine.tails);
        }
        dead
    }

    /// Removes the index rows before an offset. The caller holds the lock on the segments.
    fn delete_rows_before(&self, end: Offset) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        let from = keys::index::prefix(self.id);
        self.engine.delete_range(&mut batch, Family::Index, &from, &keys::index::key(self.id, end))?;
        self.engine.write(batch)
    }
}
