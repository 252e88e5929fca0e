//! The state of the idempotent producers of one partition: by it a retried batch is known and answered with its first offset.
//!
//! In Kafka: `ProducerStateManager`, `ProducerStateEntry`, `ProducerAppendInfo` (KIP-98; KIP-360 for the epoch rules).

use std::collections::{HashMap, HashSet};

use model::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use record_batch::{BatchHeader, ProducerFields};

use crate::AppendError;

/// Kafka's `ProducerStateEntry.NUM_BATCHES_TO_RETAIN`: as many as a producer has in flight.
const BATCHES_MAX: usize = 5;
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
}

impl ProducerEntry {
    pub(crate) fn new(epoch: ProducerEpoch, last_append_ms: Option<i64>) -> Self {
        Self { epoch, last_append_ms, batches: Vec::new() }
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

    fn is_expired(&self, now_ms: i64, expiration_ms: i64) -> bool {
        self.last_append_ms.is_some_and(|last| now_ms.saturating_sub(last) >= expiration_ms)
    }
}

/// All producers of one partition.
#[derive(Debug, Default)]
pub(crate) struct ProducerStates {
    entries: HashMap<ProducerId, ProducerEntry>,
    /// Changed or removed since the last index commit.
    dirty: HashSet<ProducerId>,
    sweep_at: usize,
}

/// Producers of whose batches a cut left none, with the epoch and the first sequence of what was cut.
#[derive(Debug, Default)]
pub(crate) struct CutProducers(HashMap<ProducerId, (ProducerEpoch, Sequence)>);

impl CutProducers {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has_sent(&self, header: &BatchHeader) -> bool {
        header.producer().is_some_and(|fields| self.0.contains_key(&fields.producer_id))
    }
}

/// The entries as they were before a group of batches, to go back to if its write fails.
pub(crate) type ProducerUndo = HashMap<ProducerId, Option<ProducerEntry>>;

impl ProducerStates {
    pub(crate) fn load(&mut self, producer: ProducerId, entry: ProducerEntry) {
        self.entries.insert(producer, entry);
    }

    /// All producers, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.entries.iter().map(|(producer, entry)| (*producer, entry))
    }

    /// Forgets the batches at or beyond `end`. Producers of which nothing else is known are forgotten, and told: what they wrote before is perhaps in
    /// the log.
    pub(crate) fn cut(&mut self, end: Offset) -> CutProducers {
        let mut cut = CutProducers::default();
        let dirty = &mut self.dirty;
        self.entries.retain(|producer, entry| {
            let Some(first) = entry.batches.iter().find(|batch| batch.last_offset >= end).copied() else { return true };
            dirty.insert(*producer);
            entry.batches.retain(|batch| batch.last_offset < end);
            if entry.batches.is_empty() {
                cut.0.insert(*producer, (entry.epoch, first.first_sequence));
            }
            !entry.batches.is_empty()
        });
        cut
    }

    /// Takes over what was found in the log of the producers that a cut made forgotten, as far as it is what they wrote last: a compaction may have
    /// taken batches in between, and then they are better unknown than behind themselves.
    pub(crate) fn take_over(&mut self, cut: &CutProducers, found: Self, is_compacted: bool) {
        for (producer, entry) in found.entries {
            let Some((epoch, first_cut)) = cut.0.get(&producer) else { continue };
            let next = entry.batches.last().map(|last| last.last_sequence.advance(1));
            if !is_compacted || (entry.epoch == *epoch && next == Some(*first_cut)) {
                self.dirty.insert(producer);
                self.entries.insert(producer, entry);
            }
        }
    }

    /// Judges a batch of a client.
    pub(crate) fn check(&self, fields: &ProducerFields, now_ms: i64, expiration_ms: i64) -> Result<Verdict, AppendError> {
        let entry = self.entries.get(&fields.producer_id).filter(|entry| !entry.is_expired(now_ms, expiration_ms));
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
        if fields.first_sequence == expected {
            return Ok(Verdict::Accept);
        }
        Err(AppendError::OutOfOrderSequence { producer_id: fields.producer_id, expected, received: fields.first_sequence })
    }

    /// Takes note of a batch that is (or is about to be) in the log. A batch that is known already changes nothing, so a replay may overlap.
    pub(crate) fn record(&mut self, header: &BatchHeader, now_ms: Option<i64>, undo: Option<&mut ProducerUndo>) {
        let Some(fields) = header.producer() else { return };
        let producer = fields.producer_id;
        let last_offset = Offset::new_or_zero(header.last_offset());
        if let Some(undo) = undo {
            undo.entry(producer).or_insert_with(|| self.entries.get(&producer).cloned());
        }
        let entry = self.entries.entry(producer).or_insert_with(|| ProducerEntry::new(fields.producer_epoch, now_ms));
        if entry.batches.last().is_some_and(|last| last.last_offset >= last_offset) {
            return;
        }
        if entry.epoch != fields.producer_epoch {
            entry.epoch = fields.producer_epoch;
            entry.batches.clear();
        }
        entry.last_append_ms = now_ms;
        entry.push(WrittenBatch {
            first_sequence: fields.first_sequence,
            last_sequence: fields.last_sequence,
            first_offset: Offset::new_or_zero(header.base_offset),
            last_offset,
            timestamp: header.max_timestamp,
        });
        self.dirty.insert(producer);
    }

    /// Goes back to the entries before a group that was not written.
    pub(crate) fn roll_back(&mut self, undo: ProducerUndo) {
        for (producer, entry) in undo {
            match entry {
                Some(entry) => self.entries.insert(producer, entry),
                None => self.entries.remove(&producer),
            };
            self.dirty.insert(producer);
        }
    }

    /// Forgets expired producers, once their number has doubled since the last time, so that ids cannot fill the memory.
    pub(crate) fn sweep(&mut self, now_ms: i64, expiration_ms: i64) {
        if self.entries.len() < self.sweep_at.max(SWEEP_MIN) {
            return;
        }
        let dirty = &mut self.dirty;
        self.entries.retain(|producer, entry| {
            entry.last_append_ms.get_or_insert(now_ms);
            let keep = !entry.is_expired(now_ms, expiration_ms);
            if !keep {
                dirty.insert(*producer);
            }
            keep
        });
        self.sweep_at = self.entries.len().saturating_mul(2);
    }

    /// The changed producers with their entries (`None` = removed), and forgets that they changed.
    pub(crate) fn take_dirty(&mut self) -> Vec<(ProducerId, Option<&ProducerEntry>)> {
        let entries = &self.entries;
        self.dirty.drain().map(|producer| (producer, entries.get(&producer))).collect()
    }

    /// Id, last offset and epoch of those that are not expired; without a batch, the last thing that they wrote was a transaction's end.
    pub(crate) fn last_records(&self, now_ms: i64, expiration_ms: i64) -> impl Iterator<Item = (i64, Option<i64>, i16)> {
        let active = self.entries.iter().filter(move |(_, entry)| !entry.is_expired(now_ms, expiration_ms));
        active.map(|(producer, entry)| (producer.get(), entry.batches.last().map(|batch| batch.last_offset.get()), entry.epoch.get()))
    }

    pub(crate) fn snapshots(&self) -> Vec<ProducerSnapshot> {
        let snapshot = |(producer, entry): (&ProducerId, &ProducerEntry)| ProducerSnapshot {
            producer_id: *producer,
            producer_epoch: entry.epoch,
            last_sequence: entry.batches.last().map(|batch| batch.last_sequence),
            last_timestamp: entry.batches.last().filter(|batch| batch.timestamp >= 0).map(|batch| Timestamp(batch.timestamp)),
        };
        self.entries.iter().map(snapshot).collect()
    }
}
