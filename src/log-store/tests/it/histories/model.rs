//! The log as plain lists, and Kafka's rules on them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use log_store::Retention;
use record_batch::{BatchIter, Codec, DecompressLimits};

/// What Kafka remembers of a producer.
const REMEMBERED_MAX: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) timestamp: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) base: i64,
    pub(crate) last: i64,
    pub(crate) horizon: Option<i64>,
    /// None without records.
    pub(crate) codec: Option<Codec>,
    /// Id, epoch, first sequence.
    pub(crate) producer: (i64, i16, i32),
    pub(crate) max_timestamp: i64,
    pub(crate) records: Vec<Record>,
}

pub(crate) fn decode(bytes: &[u8]) -> Vec<Batch> {
    let batches = BatchIter::new(bytes).map(|batch| {
        let batch = batch.unwrap();
        let header = *batch.header();
        let mut records = Vec::new();
        let each = &mut |record: record_batch::RecordView<'_>| {
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            records.push(Record { offset: record.offset, key, value, timestamp: record.timestamp });
            ControlFlow::Continue(())
        };
        batch.walk_records(DecompressLimits::default(), each).unwrap();
        Batch {
            base: header.base_offset,
            last: header.last_offset(),
            horizon: header.attributes.has_delete_horizon().then_some(header.base_timestamp),
            codec: (header.record_count > 0).then(|| header.attributes.codec().unwrap()),
            producer: (header.producer_id, header.producer_epoch, header.base_sequence),
            max_timestamp: header.max_timestamp,
            records,
        }
    });
    batches.collect()
}

/// A segment's file.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) base: i64,
    pub(crate) size_bytes: u64,
}

/// A batch that a producer has written: first sequence, records, base offset.
pub(crate) type Written = (i32, i32, i64);

/// What is known of a producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    /// The oldest first.
    pub(crate) batches: Vec<Written>,
    /// All that it ever wrote and that was not cut, with their epochs, whether it is still in the log or not.
    history: Vec<(i16, Written)>,
    /// A cut took all that is remembered, and what came before cannot be told from the log: then it may be unknown, but nothing older.
    pub(crate) is_unsure: bool,
    /// It was unknown once, and so may be again.
    was_unsure: bool,
}

impl Producer {
    pub(crate) fn next_sequence(&self) -> i32 {
        self.history.last().map_or(0, |(_, (first, count, _))| first + count)
    }
}

/// The log as a list, and what is beside it.
#[derive(Default)]
pub(crate) struct Model {
    /// All that is in a segment.
    pub(crate) batches: Vec<Batch>,
    pub(crate) producers: BTreeMap<i64, Producer>,
    /// What the last cleaning has not looked at.
    pub(crate) first_dirty: Option<i64>,
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// What a cleaning was told.
pub(crate) struct CleaningFacts {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) first_uncleanable: i64,
    pub(crate) now: i64,
    pub(crate) delete_retention_ms: i64,
}

impl Model {
    /// The batches that can be read.
    pub(crate) fn readable(&self) -> Vec<Batch> {
        self.batches.iter().filter(|batch| batch.last >= self.start).cloned().collect()
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        self.batches.iter().flat_map(|batch| &batch.records).filter(|record| record.offset >= self.start)
    }

    /// Offset and time of the first record at or after a time.
    pub(crate) fn first_at_or_after(&self, timestamp: i64) -> Option<(i64, i64)> {
        self.records().find(|record| record.timestamp >= timestamp).map(|record| (record.offset, record.timestamp))
    }

    /// The largest time of a record in a segment that is not wholly before the log start; as in Kafka the record itself may be.
    pub(crate) fn max_timestamp(&self, segments: &[Segment]) -> Option<i64> {
        let mut alive = segments.iter().zip(segments.iter().skip(1).map(|next| next.base).chain([self.end]));
        let first = alive.find(|(_, upper)| *upper > self.start)?.0.base;
        self.batches.iter().filter(|batch| batch.base >= first && !batch.records.is_empty()).map(|batch| batch.max_timestamp).max()
    }

    pub(crate) fn append(&mut self, mut batch: Batch) {
        let count = i32::try_from(batch.last - batch.base + 1).unwrap();
        (batch.base, batch.last) = (batch.base + self.end, batch.last + self.end);
        batch.records.iter_mut().for_each(|record| record.offset += self.end);
        let (id, epoch, first) = batch.producer;
        if id >= 0 {
            self.remember(id, epoch, (first, count, self.end));
        }
        self.end += i64::from(count);
        self.batches.push(batch);
    }

    fn remember(&mut self, id: i64, epoch: i16, written: Written) {
        let producer = self.producers.entry(id).or_default();
        if producer.epoch != epoch {
            producer.epoch = epoch;
            producer.batches.clear();
        }
        producer.is_unsure = false;
        producer.history.push((epoch, written));
        if producer.batches.len() == REMEMBERED_MAX {
            producer.batches.remove(0);
        }
        producer.batches.push(written);
    }

    /// The log ends at `end` now. Of each producer what lies before is remembered; of one without that, what the log has of it.
    pub(crate) fn cut(&mut self, end: i64) {
        self.batches.retain(|batch| batch.last < end);
        self.end = end.max(self.start);
        let end = self.end;
        let is_left = |(_, count, base): &Written| base + i64::from(*count) <= end;
        for (id, producer) in &mut self.producers {
            producer.history.retain(|(_, written)| is_left(written));
            let first_cut = producer.batches.iter().find(|written| !is_left(written)).map(|written| written.0);
            producer.batches.retain(is_left);
            if !producer.batches.is_empty() {
                continue;
            }
            let Some((epoch, last)) = producer.history.last().copied() else { continue };
            if first_cut.is_none() {
                // Unsure since an earlier cut; this one may lie before the epoch that was so.
                producer.epoch = epoch;
                continue;
            }
            let last_offset = last.2 + i64::from(last.1) - 1;
            let is_in_log = self.batches.iter().any(|batch| batch.producer.0 == *id && batch.last == last_offset);
            producer.is_unsure = producer.was_unsure || !is_in_log || epoch != producer.epoch || Some(last.0 + last.1) != first_cut;
            producer.was_unsure |= producer.is_unsure;
            producer.epoch = epoch;
            producer.batches.extend((!producer.is_unsure).then_some(last));
        }
        self.producers.retain(|_, producer| !producer.history.is_empty());
    }

    /// Segments before the first one that is left are gone.
    pub(crate) fn forget_before(&mut self, first_base: Option<i64>) {
        self.batches.retain(|batch| first_base.is_some_and(|base| batch.base >= base));
    }

    /// Kafka's rules of compaction; the `known` producers keep their last batch.
    pub(crate) fn clean(&mut self, facts: &CleaningFacts, bases: &[i64], known: &BTreeSet<i64>) {
        let CleaningFacts { start, end, first_uncleanable, now, delete_retention_ms } = *facts;
        let mut newest: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        for record in self.batches.iter().flat_map(|batch| &batch.records).filter(|record| (start..end).contains(&record.offset)) {
            if let Some(key) = &record.key {
                newest.insert(key.clone(), record.offset);
            }
        }
        // Segments are written anew whole, up to the one that holds the last offset looked at.
        let rewritten_end = bases.iter().find(|base| **base >= end).copied().unwrap_or(i64::MAX);
        let mut kept = Vec::new();
        for mut batch in std::mem::take(&mut self.batches) {
            if batch.base >= rewritten_end {
                kept.push(batch);
                continue;
            }
            let count_before = batch.records.len();
            let has_passed = batch.horizon.is_some_and(|horizon| horizon <= now);
            batch.records.retain(|record| {
                if record.offset >= end {
                    return true;
                }
                let Some(key) = &record.key else { return false };
                newest.get(key).is_none_or(|newest| record.offset >= *newest) && (record.value.is_some() || !has_passed)
            });
            let last_of_producer = self.producers.get(&batch.producer.0).and_then(|producer| producer.history.last());
            let is_last_of_producer = last_of_producer.is_some_and(|(_, (_, count, base))| base + i64::from(*count) == batch.last + 1)
                && known.contains(&batch.producer.0);
            if batch.records.is_empty() {
                if is_last_of_producer || batch.last + 1 == first_uncleanable {
                    (batch.horizon, batch.codec) = (None, None);
                    kept.push(batch);
                }
                continue;
            }
            if batch.records.len() < count_before {
                batch.max_timestamp = batch.records.iter().map(|record| record.timestamp).max().unwrap();
            }
            if batch.horizon.is_none() && batch.records.iter().any(|record| record.value.is_none()) {
                batch.horizon = Some(now + delete_retention_ms);
            }
            kept.push(batch);
        }
        self.batches = kept;
        self.first_dirty = Some(end);
    }

    /// From where to where a cleaning may look: whole segments below the bound and the segment that is appended to.
    pub(crate) fn cleanable(&self, segments: &[Segment], stable: i64, now: i64, lag_ms: i64) -> (i64, i64) {
        let start = self.first_dirty.filter(|dirty| (self.start..=self.end).contains(dirty)).unwrap_or(self.start);
        let active = segments.last().map_or(0, |last| last.base);
        let mut bound = stable;
        if lag_ms > 0 {
            let uppers = segments.iter().skip(1).map(|segment| segment.base);
            let mut dirty = segments.iter().zip(uppers).filter(|(_, upper)| *upper > start);
            if let Some((young, _)) = dirty.find(|(segment, upper)| self.largest_timestamp(segment.base, *upper) > now - lag_ms) {
                bound = bound.min(young.base);
            }
        }
        let bound = bound.max(start);
        let containing = segments.iter().rev().find(|segment| segment.base <= bound);
        (start, if bound >= active { active } else { containing.map_or(active, |segment| segment.base) })
    }

    /// The largest time of a segment; of one without records that of its empty batches, of one without batches that of its file, which is now.
    fn largest_timestamp(&self, base: i64, upper: i64) -> i64 {
        let of_it = || self.batches.iter().filter(|batch| (base..upper).contains(&batch.base));
        let of_records = of_it().filter(|batch| !batch.records.is_empty()).map(|batch| batch.max_timestamp).max();
        of_records.or_else(|| of_it().map(|batch| batch.max_timestamp).max()).unwrap_or(i64::MAX)
    }

    /// Whether appends go to the last segment, and not to one that begins at the log's end.
    pub(crate) fn last_is_active(&self, segments: &[Segment]) -> bool {
        let base = segments.last().map_or(0, |last| last.base);
        let bytes_end = self.batches.iter().filter(|batch| batch.base >= base).map(|batch| batch.last + 1).max().unwrap_or(base);
        bytes_end == self.end
    }

    /// Kafka's rules of retention: how many of the segments go, and where the log begins then.
    pub(crate) fn retained(&self, segments: &[Segment], retention: &Retention, high_watermark: i64, now: i64) -> (usize, i64) {
        let uppers: Vec<i64> = segments.iter().skip(1).map(|segment| segment.base).chain([self.end]).collect();
        let active = if self.last_is_active(segments) { segments.len().saturating_sub(1) } else { segments.len() };
        let may_go = |at: usize| at < segments.len() && uppers[at] <= high_watermark && !(at == active && segments[at].size_bytes == 0);
        let mut gone = 0;
        while may_go(gone) && gone != active && uppers[gone] <= self.start {
            gone += 1;
        }
        if retention.delete {
            if let Some(allowed) = retention.retention_bytes {
                let mut left: u64 = segments[gone..].iter().map(|segment| segment.size_bytes).sum();
                while may_go(gone) && left >= allowed + segments[gone].size_bytes {
                    left -= segments[gone].size_bytes;
                    gone += 1;
                }
            }
            if let Some(retention_ms) = retention.retention_ms {
                while may_go(gone) && now.saturating_sub(self.largest_timestamp(segments[gone].base, uppers[gone])) > retention_ms {
                    gone += 1;
                }
            }
        }
        (gone, if gone == 0 { self.start } else { self.start.max(uppers[gone - 1]) })
    }
}
