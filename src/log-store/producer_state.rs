//! The state of the idempotent producers of one partition: by it a retried batch is known and answered with its first offset, and which of them have
//! a transaction open.
//!
//! In Kafka: `ProducerStateManager`, `ProducerStateEntry`, `ProducerAppendInfo` (KIP-98; KIP-360 for the epoch rules).

use std::collections::{HashMap, HashSet};

use model::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use record_batch::{BatchHeader, EndTxnMarker};

use crate::AppendError;
use crate::transactions::Change;

/// Kafka's `ProducerStateEntry.NUM_BATCHES_TO_RETAIN`: as many as a producer has in flight.
pub(crate) const BATCHES_MAX: usize = 5;
/// Below this number of producers no sweep is worth its time.
const SWEEP_MIN: usize = 1_000;

/// A batch of a producer that is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrittenBatch {
    pub(crate) first_sequence: Sequence,
    pub(crate) last_sequence: Sequence,
    pub(crate) first_offset: Offset,
    pub(crate) last_offset: Offset,
    /// The batch's largest timestamp or -1.
    pub(crate) timestamp: i64,
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProducerEntry {
    pub(crate) epoch: ProducerEpoch,
    /// When the broker last appended for it; unknown after a rebuild from bytes, since a batch's own time may be years old.
    pub(crate) last_append_ms: Option<i64>,
    /// Oldest first, at most [`BATCHES_MAX`], all of `epoch`.
    batches: Vec<WrittenBatch>,
    /// Where its open transaction begins.
    pub(crate) open_from: Option<Offset>,
    /// Its last marker.
    pub(crate) last_end: Option<LastEnd>,
}

/// The marker that a producer's last transaction ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastEnd {
    /// Where that transaction began; none if nothing had been written in it, or it is not known any more.
    pub(crate) first_offset: Option<Offset>,
    pub(crate) marker: Offset,
    /// The term of the coordinator that wrote it. Those of older terms are refused.
    pub(crate) coordinator_epoch: i32,
}

/// What a batch is to its producer's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the next one.
    Accept,
    /// It is in the log already.
    Duplicate(WrittenBatch),
}

/// A producer of a partition, for DescribeProducers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerSnapshot {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its term.
    pub producer_epoch: ProducerEpoch,
    /// The sequence of its last record.
    pub last_sequence: Option<Sequence>,
    /// The timestamp of its last batch.
    pub last_timestamp: Option<Timestamp>,
    /// The term of the coordinator that wrote its last marker.
    pub coordinator_epoch: Option<i32>,
    /// Where its open transaction begins.
    pub open_from: Option<Offset>,
}

impl ProducerEntry {
    pub(crate) fn new(epoch: ProducerEpoch, last_append_ms: Option<i64>) -> Self {
        Self { epoch, last_append_ms, batches: Vec::new(), open_from: None, last_end: None }
    }

    pub(crate) fn batches(&self) -> &[WrittenBatch] {
        &self.batches
    }

    pub(crate) fn push(&mut self, batch: WrittenBatch) {
        if self.batches.len() >= BATCHES_MAX {
            self.batches.remove(0);
        }
        self.batches.push(batch);
    }

    /// A producer with an open transaction is known until that has ended.
    fn is_expired(&self, now_ms: i64, expiration_ms: i64) -> bool {
        self.open_from.is_none() && self.last_append_ms.is_some_and(|last| now_ms.saturating_sub(last) >= expiration_ms)
    }

    /// The timestamp of the last thing that it wrote; a marker has the time of its append.
    fn last_timestamp(&self) -> Option<Timestamp> {
        let last = self.batches.last();
        let is_marker_last = self.last_end.is_some_and(|end| last.is_none_or(|last| last.last_offset < end.marker));
        let of_marker = self.last_append_ms.filter(|_| is_marker_last).map(Timestamp);
        of_marker.or_else(|| last.filter(|batch| batch.timestamp >= 0).map(|batch| Timestamp(batch.timestamp)))
    }

    /// Whether what lies at the offset is in this state already, so that a replay may overlap.
    fn has_seen(&self, offset: Offset) -> bool {
        let (batch, marker) = (self.batches.last().map(|batch| batch.last_offset), self.last_end.map(|end| end.marker));
        batch.max(marker).is_some_and(|last| last >= offset)
    }

    fn enter_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }

    /// Goes back to what was before the markers at or behind `end`. `false` if that is not known any more.
    fn cut_markers(&mut self, end: Offset) -> bool {
        self.open_from = self.open_from.filter(|first| *first < end);
        let Some(last) = self.last_end.filter(|last| last.marker >= end) else { return true };
        self.open_from = last.first_offset.filter(|first| *first < end);
        // Which transaction ended before this one is not known any more; a later cut must not take it for none.
        let before = self.open_from.and_then(|first| first.get().checked_sub(1)).and_then(Offset::new);
        self.last_end = before.map(|marker| LastEnd { first_offset: None, marker, ..last });
        self.open_from.is_some()
    }
}

/// All producers of one partition. Most partitions have none, so it takes no more room than a pointer until there is one.
#[derive(Debug, Default)]
pub(crate) struct ProducerStates(Option<Box<Producers>>);

#[derive(Debug, Default)]
struct Producers {
    entries: HashMap<ProducerId, ProducerEntry>,
    /// Changed or removed since the last index commit.
    dirty: HashSet<ProducerId>,
    sweep_at: usize,
}

/// Producers of whom a cut left too little.
#[derive(Debug, Default)]
pub(crate) struct CutProducers {
    /// Those without a batch, with the epoch and the first sequence of what was cut.
    forgotten: HashMap<ProducerId, (ProducerEpoch, Sequence)>,
    /// Those with several markers cut: whether a transaction is open before the cut is only in the log.
    unsure: HashSet<ProducerId>,
}

impl CutProducers {
    pub(crate) fn is_empty(&self) -> bool {
        self.forgotten.is_empty() && self.unsure.is_empty()
    }

    /// Those of whom something may lie before the cut, with whether their batches are wanted or only their markers.
    pub(crate) fn to_search(&self) -> impl Iterator<Item = (ProducerId, bool)> {
        // What was cut was all that they have ever written.
        let all = (ProducerEpoch::ZERO, Sequence::ZERO);
        let forgotten = self.forgotten.iter().filter(move |(_, first)| **first != all).map(|(producer, _)| (*producer, true));
        forgotten.chain(self.unsure.iter().filter(|producer| !self.forgotten.contains_key(producer)).map(|producer| (*producer, false)))
    }

    pub(crate) fn has_sent(&self, header: &BatchHeader) -> bool {
        let producer = ProducerId::new(header.producer_id);
        producer.is_some_and(|producer| self.forgotten.contains_key(&producer) || self.unsure.contains(&producer))
    }
}

/// The entries as they were before a group of batches, to go back to if its write fails.
pub(crate) type ProducerUndo = HashMap<ProducerId, Option<ProducerEntry>>;

impl ProducerStates {
    pub(crate) fn load(&mut self, producer: ProducerId, entry: ProducerEntry) {
        self.known().entries.insert(producer, entry);
    }

    fn known(&mut self) -> &mut Producers {
        self.0.get_or_insert_default()
    }

    fn entry(&self, producer: ProducerId) -> Option<&ProducerEntry> {
        self.0.as_ref()?.entries.get(&producer)
    }

    /// All producers, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.0.iter().flat_map(|known| &known.entries).map(|(producer, entry)| (*producer, entry))
    }

    /// Forgets the batches at or beyond `end`. Producers of which nothing else is known are forgotten, and told: what they wrote before is perhaps in
    /// the log.
    pub(crate) fn cut(&mut self, end: Offset) -> CutProducers {
        let mut cut = CutProducers::default();
        let Some(known) = &mut self.0 else { return cut };
        let dirty = &mut known.dirty;
        known.entries.retain(|producer, entry| {
            let before = (entry.open_from, entry.last_end);
            if !entry.cut_markers(end) {
                cut.unsure.insert(*producer);
            }
            if before != (entry.open_from, entry.last_end) {
                dirty.insert(*producer);
            }
            let Some(first) = entry.batches.iter().find(|batch| batch.last_offset >= end).copied() else { return true };
            dirty.insert(*producer);
            entry.batches.retain(|batch| batch.last_offset < end);
            if entry.batches.is_empty() {
                cut.forgotten.insert(*producer, (entry.epoch, first.first_sequence));
            }
            // What it has open here is before the cut as well, so that it will be found again.
            !entry.batches.is_empty()
        });
        cut
    }

    /// Takes over what was found in the log of the producers that a cut made forgotten, as far as it is what they wrote last: a compaction may have
    /// taken batches in between, and then they are better unknown than behind themselves.
    pub(crate) fn take_over(&mut self, cut: &CutProducers, found: Self, is_compacted: bool) {
        let all = self.known();
        for (producer, entry) in found.0.into_iter().flat_map(|found| found.entries) {
            if let Some(known) = all.entries.get_mut(&producer).filter(|_| cut.unsure.contains(&producer)) {
                (known.open_from, known.last_end) = (entry.open_from, entry.last_end);
                all.dirty.insert(producer);
            }
            let Some((epoch, first_cut)) = cut.forgotten.get(&producer) else { continue };
            let next = entry.batches.last().map(|last| last.last_sequence.advance(1));
            if !is_compacted || (entry.epoch == *epoch && next == Some(*first_cut)) {
                all.dirty.insert(producer);
                all.entries.insert(producer, entry);
            }
        }
    }

    /// Judges a batch of a client.
    pub(crate) fn check(&self, header: &BatchHeader, now_ms: i64, expiration_ms: i64) -> Result<Verdict, AppendError> {
        let Some(fields) = header.producer() else { return Ok(Verdict::Accept) };
        let entry = self.entry(fields.producer_id).filter(|entry| !entry.is_expired(now_ms, expiration_ms));
        // An unknown producer may begin anywhere: its state may have expired (Kafka accepts that without TV2).
        let Some(entry) = entry else { return Ok(Verdict::Accept) };
        if fields.producer_epoch < entry.epoch {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id: fields.producer_id,
                current: entry.epoch,
                received: fields.producer_epoch,
            });
        }
        let expected = if fields.producer_epoch > entry.epoch {
            Sequence::ZERO
        } else {
            let same = |batch: &&WrittenBatch| batch.first_sequence == fields.first_sequence && batch.last_sequence == fields.last_sequence;
            if let Some(batch) = entry.batches.iter().find(same) {
                return Ok(Verdict::Duplicate(*batch));
            }
            entry.batches.last().map_or(Sequence::ZERO, |last| last.last_sequence.advance(1))
        };
        if entry.open_from.is_some() && !header.attributes.is_transactional() {
            return Err(AppendError::OutsideOfTransaction { producer_id: fields.producer_id });
        }
        if fields.first_sequence == expected {
            return Ok(Verdict::Accept);
        }
        Err(AppendError::OutOfOrderSequence { producer_id: fields.producer_id, expected, received: fields.first_sequence })
    }

    /// Whether the producer has a transaction open, of that epoch.
    pub(crate) fn is_open(&self, producer_id: ProducerId, producer_epoch: ProducerEpoch) -> bool {
        self.entry(producer_id).is_some_and(|entry| entry.open_from.is_some() && entry.epoch == producer_epoch)
    }

    /// Whether nothing is known of the producer.
    pub(crate) fn is_unknown(&self, producer_id: ProducerId) -> bool {
        self.entry(producer_id).is_none()
    }

    /// Judges a marker of a transaction coordinator. Where each transaction has an epoch of its own (KIP-890), the marker of one that has ended is
    /// late once the next one is open.
    pub(crate) fn check_marker(&self, header: &BatchHeader, marker: &EndTxnMarker, epoch_per_transaction: bool) -> Result<(), AppendError> {
        let fields = ProducerId::new(header.producer_id).zip(ProducerEpoch::new(header.producer_epoch));
        let Some((producer_id, received)) = fields else { return Ok(()) };
        let Some(entry) = self.entry(producer_id) else { return Ok(()) };
        let is_late = epoch_per_transaction && received == entry.epoch && entry.open_from.is_some();
        if received < entry.epoch || is_late {
            return Err(AppendError::InvalidProducerEpoch { producer_id, current: entry.epoch, received });
        }
        match entry.last_end.map(|last| last.coordinator_epoch) {
            Some(current) if current > marker.coordinator_epoch => {
                Err(AppendError::CoordinatorFenced { producer_id, current, received: marker.coordinator_epoch })
            }
            _ => Ok(()),
        }
    }

    /// Takes note of a batch that is (or is about to be) in the log; a control batch's marker is `marker`. What is known already changes nothing,
    /// so a replay may overlap. Says what it does to the partition's transactions.
    pub(crate) fn record(
        &mut self,
        header: &BatchHeader,
        marker: Option<&EndTxnMarker>,
        now_ms: Option<i64>,
        undo: Option<&mut ProducerUndo>,
    ) -> Option<Change> {
        let producer_id = ProducerId::new(header.producer_id)?;
        let epoch = ProducerEpoch::new(header.producer_epoch)?;
        let fields = header.producer();
        if fields.is_none() && marker.is_none() {
            return None;
        }
        if let Some(undo) = undo {
            undo.entry(producer_id).or_insert_with(|| self.entry(producer_id).cloned());
        }
        let (first_offset, last_offset) = (Offset::new_or_zero(header.base_offset), Offset::new_or_zero(header.last_offset()));
        let known = self.known();
        let entry = known.entries.entry(producer_id).or_insert_with(|| ProducerEntry::new(epoch, now_ms));
        if entry.has_seen(last_offset) {
            return None;
        }
        entry.enter_epoch(epoch);
        entry.last_append_ms = now_ms;
        known.dirty.insert(producer_id);
        if let Some(marker) = marker {
            let begun = entry.open_from.take();
            entry.last_end = Some(LastEnd { first_offset: begun, marker: last_offset, coordinator_epoch: marker.coordinator_epoch });
            let is_commit = marker.is_commit;
            return begun.map(|first_offset| Change::Ended { producer_id, first_offset, marker: last_offset, is_commit });
        }
        if let Some(fields) = fields {
            entry.push(WrittenBatch {
                first_sequence: fields.first_sequence,
                last_sequence: fields.last_sequence,
                first_offset,
                last_offset,
                timestamp: header.max_timestamp,
            });
        }
        let begins = header.attributes.is_transactional() && entry.open_from.is_none();
        begins.then(|| {
            entry.open_from = Some(first_offset);
            Change::Begun { producer_id, producer_epoch: epoch, first_offset }
        })
    }

    /// Goes back to the entries before a group that was not written.
    pub(crate) fn roll_back(&mut self, undo: ProducerUndo) {
        for (producer, entry) in undo {
            let known = self.known();
            match entry {
                Some(entry) => known.entries.insert(producer, entry),
                None => known.entries.remove(&producer),
            };
            known.dirty.insert(producer);
        }
    }

    /// Forgets expired producers, once their number has doubled since the last time, so that ids cannot fill the memory.
    pub(crate) fn sweep(&mut self, now_ms: i64, expiration_ms: i64) {
        let Some(known) = self.0.as_mut().filter(|known| known.entries.len() >= known.sweep_at.max(SWEEP_MIN)) else { return };
        let dirty = &mut known.dirty;
        known.entries.retain(|producer, entry| {
            entry.last_append_ms.get_or_insert(now_ms);
            let keep = !entry.is_expired(now_ms, expiration_ms);
            if !keep {
                dirty.insert(*producer);
            }
            keep
        });
        known.sweep_at = known.entries.len().saturating_mul(2);
    }

    /// The changed producers with their entries (`None` = removed), and forgets that they changed.
    pub(crate) fn take_dirty(&mut self) -> Vec<(ProducerId, Option<&ProducerEntry>)> {
        let Some(known) = &mut self.0 else { return Vec::new() };
        let entries = &known.entries;
        known.dirty.drain().map(|producer| (producer, entries.get(&producer))).collect()
    }

    /// Id, last offset and epoch of those that are not expired; without a batch, the last thing that they wrote was a transaction's end.
    pub(crate) fn last_records(&self, now_ms: i64, expiration_ms: i64) -> impl Iterator<Item = (i64, Option<i64>, i16)> {
        let active = self.entries().filter(move |(_, entry)| !entry.is_expired(now_ms, expiration_ms));
        active.map(|(producer, entry)| (producer.get(), entry.batches.last().map(|batch| batch.last_offset.get()), entry.epoch.get()))
    }

    pub(crate) fn snapshots(&self) -> Vec<ProducerSnapshot> {
        let snapshot = |(producer_id, entry): (ProducerId, &ProducerEntry)| ProducerSnapshot {
            producer_id,
            producer_epoch: entry.epoch,
            last_sequence: entry.batches.last().map(|batch| batch.last_sequence),
            last_timestamp: entry.last_timestamp(),
            coordinator_epoch: entry.last_end.map(|end| end.coordinator_epoch),
            open_from: entry.open_from,
        };
        self.entries().map(snapshot).collect()
    }
}
