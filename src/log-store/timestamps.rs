//! Looking offsets up by time: index rows say which block, headers which batch, and a walk over its records which record.
//!
//! In Kafka: `UnifiedLog.fetchOffsetByTimestamp`, `LogSegment.findOffsetByTimestamp`, `FileRecords.searchForTimestamp`.

use std::ops::ControlFlow;

use model::{LeaderEpoch, Offset, Timestamp};
use record_batch::{BatchHeader, DecompressLimits, walk_record_heads};

use crate::StorageError;
use crate::partition_log::{Inner, PartitionLog};
use crate::view::{Span, View};
use crate::walk::{Next, Walker, corrupt};

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOffset {
    /// The record's offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// The epoch of the leader that appended it.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Which record of a batch is wanted.
#[derive(Clone, Copy)]
enum Wanted {
    /// The first one that is not older.
    AtOrAfter(i64),
    /// The first one with exactly this time.
    Exactly(i64),
}

impl PartitionLog {
    /// The first record at or after a time, if it lies before `end`.
    ///
    /// # Errors
    /// If the bytes are corrupt or the disk fails.
    pub fn first_at_or_after(&self, timestamp: Timestamp, end: Offset) -> Result<Option<TimedOffset>, StorageError> {
        self.0.with_current_segments(|view| self.first_of(view, timestamp, end))
    }

    fn first_of(&self, view: &View, timestamp: Timestamp, end: Offset) -> Result<Option<TimedOffset>, StorageError> {
        let log = &*self.0;
        let (log_start, target) = (log.log_start(), timestamp.millis());
        for span in view.spans().filter(|span| span.end_offset > log_start) {
            if span.segment.base_offset >= end {
                break;
            }
            if let Some(found) = log.search(span, target, log_start)? {
                return Ok(Some(found).filter(|found| found.offset < end));
            }
        }
        Ok(None)
    }

    /// The first record with the largest timestamp of the log.
    ///
    /// # Errors
    /// If the bytes are corrupt or the disk fails.
    pub fn max_timestamp(&self) -> Result<Option<TimedOffset>, StorageError> {
        self.0.with_current_segments(|view| self.newest_of(view))
    }

    fn newest_of(&self, view: &View) -> Result<Option<TimedOffset>, StorageError> {
        let log = &*self.0;
        let log_start = log.log_start();
        let mut best: Option<(i64, Span, Offset)> = None;
        for span in view.spans().filter(|span| span.end_offset > log_start) {
            let mut consider = |timestamp: i64, offset: Offset| {
                if timestamp >= 0 && best.as_ref().is_none_or(|(newest, ..)| timestamp > *newest) {
                    best = Some((timestamp, span.clone(), offset));
                }
            };
            let mut indexed_end = 0;
            for row in log.rows_of(span, span.segment.base_offset, span.length)? {
                consider(row.max_timestamp, row.max_timestamp_offset);
                indexed_end = row.end_position();
            }
            log.walk_unindexed(span, indexed_end, |header, _| {
                // What compaction left of a batch may name a time that none of its records has any more.
                if header.record_count > 0 {
                    consider(header.max_timestamp, Offset::new_or_zero(header.base_offset));
                }
                Ok(true)
            })?;
        }
        let Some((timestamp, span, offset)) = best else { return Ok(None) };
        let Some(place) = log.locate(view, &span, offset)? else { return Ok(None) };
        log.search_batch(&span, &place.header, place.position, Wanted::Exactly(timestamp), Offset::ZERO)
    }
}

impl Inner {
    fn search(&self, span: &Span, target: i64, log_start: Offset) -> Result<Option<TimedOffset>, StorageError> {
        let mut indexed_end = 0;
        for row in self.rows_of(span, span.segment.base_offset, span.length)? {
            indexed_end = row.end_position();
            if row.max_timestamp < target || row.end_offset <= log_start {
                continue;
            }
            self.verify_block(span, &row)?;
            let mut walker = Walker::new(&self.engine, &span.segment, row.position, row.end_position());
            while let Next::Batch(header) = walker.peek()? {
                if let Some(found) = self.match_batch(span, &header, walker.position(), target, log_start)? {
                    return Ok(Some(found));
                }
                walker.skip(&header);
            }
        }
        let mut found = None;
        self.walk_unindexed(span, indexed_end, |header, position| {
            found = self.match_batch(span, header, position, target, log_start)?;
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    /// Shows the headers of a segment's bytes behind its last row, until `each` says `false`: what has no row yet, and all of a segment whose rows a
    /// compaction has just replaced.
    pub(crate) fn walk_unindexed(
        &self,
        span: &Span,
        position: u64,
        mut each: impl FnMut(&BatchHeader, u64) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let mut walker = Walker::new(&self.engine, &span.segment, position, span.length);
        loop {
            match walker.peek()? {
                Next::Batch(header) => {
                    if !each(&header, walker.position())? {
                        return Ok(());
                    }
                    walker.skip(&header);
                }
                Next::End => return Ok(()),
                Next::Bad => return Err(corrupt(self.id, &span.segment, walker.position())),
            }
        }
    }

    fn match_batch(
        &self,
        span: &Span,
        header: &BatchHeader,
        position: u64,
        target: i64,
        log_start: Offset,
    ) -> Result<Option<TimedOffset>, StorageError> {
        if header.max_timestamp < target || header.next_offset() <= log_start.get() {
            return Ok(None);
        }
        self.search_batch(span, header, position, Wanted::AtOrAfter(target), log_start)
    }

    fn search_batch(
        &self,
        span: &Span,
        header: &BatchHeader,
        position: u64,
        wanted: Wanted,
        log_start: Offset,
    ) -> Result<Option<TimedOffset>, StorageError> {
        let mut bytes = vec![0; header.size_bytes()];
        span.segment.read_exact_at(&self.engine.handles, &mut bytes, position)?;
        let mut found = None;
        let walk = walk_record_heads(&bytes, DecompressLimits::default(), &mut |record| {
            let is_wanted = match wanted {
                Wanted::AtOrAfter(target) => record.timestamp >= target,
                Wanted::Exactly(target) => record.timestamp == target,
            };
            if is_wanted && record.offset >= log_start.get() {
                found = Offset::new(record.offset).map(|offset| (offset, record.timestamp));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        walk.map_err(|_| corrupt(self.id, &span.segment, position))?;
        Ok(found.map(|(offset, timestamp)| TimedOffset {
            offset,
            timestamp: Timestamp(timestamp),
            leader_epoch: LeaderEpoch::new(header.partition_leader_epoch),
        }))
    }
}
