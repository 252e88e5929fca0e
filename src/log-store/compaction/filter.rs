//! What becomes of one batch: kept byte for byte, written anew with fewer records, left as a bare header, or dropped. Pure.
//!
//! In Kafka: `Cleaner.cleanInto` (`RecordFilter`), `MemoryRecords.filterTo`, `CleanedTransactionMetadata`; KIP-534 (delete horizon).

use std::collections::{HashMap, HashSet};
use std::ops::{ControlFlow, RangeInclusive};

use bytes::Bytes;
use model::Offset;
use record_batch::{BatchBuilder, BatchError, BatchHeader, BatchView, DecompressLimits, EndTxnMarker, RecordView};

use super::map::OffsetMap;
use crate::AbortedTransaction;

/// What an idempotent producer that is still known has last written; its state must outlive its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastRecord {
    /// None, if it was a transaction's marker.
    pub(crate) last_offset: Option<i64>,
    pub(crate) producer_epoch: i16,
}

/// By producer id.
pub(crate) type ActiveProducers = HashMap<i64, LastRecord>;

/// What holds for all batches of one cleaning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilterRules {
    pub(crate) now_ms: i64,
    pub(crate) delete_retention_ms: i64,
    /// The end of what this cleaning may touch.
    pub(crate) first_uncleanable: Offset,
}

/// What is kept of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Nothing,
    AsItIs,
    Rewritten(Bytes),
}

/// The aborted transactions of what is cleaned: their records are no newest values, and go.
#[derive(Debug, Default)]
pub(crate) struct Aborted(HashMap<i64, Vec<RangeInclusive<i64>>>);

impl Aborted {
    pub(crate) fn of(transactions: &[AbortedTransaction]) -> Self {
        let mut by_producer: HashMap<_, Vec<_>> = HashMap::new();
        for aborted in transactions {
            by_producer.entry(aborted.producer_id.get()).or_default().push(aborted.first_offset.get()..=aborted.last_offset.get());
        }
        Self(by_producer)
    }

    /// Whether the batch's records do not count.
    pub(crate) fn has(&self, header: &BatchHeader) -> bool {
        if !header.attributes.is_transactional() || header.attributes.is_control() {
            return false;
        }
        // In the order of their markers; those of one producer do not overlap.
        let ranges = self.0.get(&header.producer_id).map(Vec::as_slice).unwrap_or_default();
        let next = ranges.partition_point(|range| *range.end() < header.base_offset);
        ranges.get(next).is_some_and(|range| range.contains(&header.base_offset))
    }
}

/// The transactions that the cleaning has met records of.
#[derive(Debug, Default)]
pub(crate) struct SeenTransactions(HashSet<i64>);

impl SeenTransactions {
    /// Whether nothing of the marker's transaction is left, so that the marker may go once its time has come. A marker of a kind that is not known
    /// stays.
    fn ends_nothing(&mut self, batch: &BatchView<'_>) -> Result<bool, BatchError> {
        let mut is_marker = None;
        batch.walk_records(DecompressLimits::default(), &mut |record| {
            let marker = EndTxnMarker::decode(record.key.unwrap_or_default(), record.value.unwrap_or_default());
            is_marker = Some(matches!(marker, Ok(Some(_))));
            ControlFlow::Break(())
        })?;
        Ok(match is_marker {
            // Its record went in an earlier cleaning.
            None => true,
            Some(true) => !self.0.remove(&batch.header().producer_id),
            Some(false) => false,
        })
    }
}

/// Decides about the batches of a log, from its first one on.
pub(crate) struct Filter<'a> {
    pub(crate) map: &'a OffsetMap,
    pub(crate) producers: &'a ActiveProducers,
    pub(crate) rules: FilterRules,
    pub(crate) aborted: &'a Aborted,
    pub(crate) transactions: &'a mut SeenTransactions,
    /// The markers that went.
    pub(crate) dropped_markers: Vec<Offset>,
    /// For each record of the batch at hand, whether it stays.
    pub(crate) stays: Vec<bool>,
}

impl Filter<'_> {
    /// Decides about the next batch.
    ///
    /// # Errors
    /// If the records cannot be read, or not be compressed again.
    pub(crate) fn batch(&mut self, batch: &BatchView<'_>) -> Result<Kept, BatchError> {
        let header = batch.header();
        let horizon = header.attributes.has_delete_horizon().then_some(header.base_timestamp);
        let has_passed = horizon.is_some_and(|horizon| horizon <= self.rules.now_ms);
        let is_control = header.attributes.is_control();
        let is_spent = if is_control {
            self.transactions.ends_nothing(batch)?
        } else {
            if header.attributes.is_transactional() {
                self.transactions.0.insert(header.producer_id);
            }
            false
        };
        let drops_all = (is_spent && has_passed) || self.aborted.has(header);
        if is_control && drops_all {
            self.dropped_markers.push(Offset::new_or_zero(header.base_offset));
        }
        let must_stay = self.must_stay(header);
        if drops_all && !must_stay {
            return Ok(Kept::Nothing);
        }
        let found = self.judge(batch, drops_all, has_passed)?;
        if found.kept == 0 {
            return if must_stay { bare(header).map(Kept::Rewritten) } else { Ok(Kept::Nothing) };
        }
        let needs_horizon = horizon.is_none() && (found.has_tombstones || is_spent);
        if found.dropped == 0 && !needs_horizon {
            return Ok(Kept::AsItIs);
        }
        let mut builder = BatchBuilder::in_place_of(header);
        if needs_horizon {
            builder = builder.with_delete_horizon(Some(self.rules.now_ms.saturating_add(self.rules.delete_retention_ms)));
        }
        let mut stays = self.stays.iter();
        batch.walk_records(DecompressLimits::default(), &mut |record| {
            if stays.next().is_some_and(|stays| *stays) {
                builder.append_view(&record);
            }
            ControlFlow::Continue(())
        })?;
        builder.try_build().map(Kept::Rewritten)
    }

    /// Whether something must be left of the batch, if only its header: the last one of a producer holds its sequence, the last one of the cleaning
    /// its end.
    fn must_stay(&self, header: &BatchHeader) -> bool {
        let last = if header.producer_id >= 0 { self.producers.get(&header.producer_id) } else { None };
        let is_last_of_producer = last.is_some_and(|last| match last.last_offset {
            Some(offset) => offset == header.last_offset(),
            None => header.attributes.is_control() && header.producer_epoch == last.producer_epoch,
        });
        is_last_of_producer || header.next_offset() == self.rules.first_uncleanable.get()
    }

    fn judge(&mut self, batch: &BatchView<'_>, drops_all: bool, has_passed: bool) -> Result<Found, BatchError> {
        let mut stays = std::mem::take(&mut self.stays);
        stays.clear();
        let mut found = Found::default();
        let is_control = batch.header().attributes.is_control();
        let walked = batch.walk_records(DecompressLimits::default(), &mut |record| {
            let keep = !drops_all && (is_control || self.keeps(&record, has_passed));
            stays.push(keep);
            if keep {
                found.kept += 1;
                found.has_tombstones |= record.value.is_none();
            } else {
                found.dropped += 1;
            }
            ControlFlow::Continue(())
        });
        self.stays = stays;
        walked.map(|()| found)
    }

    /// Whether the record is its key's newest, and if it is a tombstone, one that has not been there long enough. Records without a key have no place
    /// in a compacted log.
    fn keeps(&self, record: &RecordView<'_>, has_passed: bool) -> bool {
        if record.offset >= self.map.end().get() {
            return true;
        }
        let Some(key) = record.key else { return false };
        let is_newest = self.map.get(key).is_none_or(|newest| record.offset >= newest.get());
        is_newest && (record.value.is_some() || !has_passed)
    }
}

#[derive(Default)]
struct Found {
    kept: u64,
    dropped: u64,
    has_tombstones: bool,
}

/// The batch without records.
fn bare(header: &BatchHeader) -> Result<Bytes, BatchError> {
    BatchBuilder::in_place_of(header).with_delete_horizon(None).try_build()
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
