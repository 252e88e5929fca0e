//! A store with one log, and the list that it must read like.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use log_store::{
    AppendError, Cleaner, CompactionRules, Durability, Failpoints, LogConfig, LogToClean, PartitionLog, Retention, Store, StoreOptions,
    choose_logs,
};
use model::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use record_batch::{BatchBuilder, BatchIter, CheckedBatch, Codec};

use super::model::{Batch, CleaningFacts, Model, Segment, decode};
use super::{Piece, Producing, Step};
use crate::compacting::{RETENTION_MS, rules};
use crate::scratch::*;

const SEGMENT_BYTES: u64 = 450;
const SEGMENT_MS: i64 = 900;

/// How a history's store is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// At the hits of this one the directory may be copied, as it would be found after a death there; or `sync.before`: then the journal is small, and
    /// its files are used again.
    pub(crate) failpoint: &'static str,
    pub(crate) durability: Durability,
    /// Whether recent batches are kept in memory.
    pub(crate) has_tail: bool,
}

/// Copies the directory at a hit of a failpoint.
struct Death {
    /// The hits until then.
    left: Arc<AtomicU64>,
    copy: PathBuf,
    _scratch: tempfile::TempDir,
}

impl Death {
    fn at(failpoint: &str, directory: PathBuf) -> (Self, Failpoints) {
        let scratch = scratch();
        let (left, copy) = (Arc::new(AtomicU64::new(0)), scratch.path().join("found"));
        let (counted, to) = (Arc::clone(&left), copy.clone());
        let call = move || {
            if counted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) == Ok(1) {
                copy_directory(&directory, &to);
            }
        };
        (Self { left, copy, _scratch: scratch }, Failpoints::every(failpoint, Arc::new(call)).unwrap())
    }
}

pub(crate) struct World {
    dir: tempfile::TempDir,
    death: Death,
    options: StoreOptions,
    /// None while it is closed.
    open: Option<(Store, PartitionLog)>,
    config: LogConfig,
    pub(crate) model: Model,
    now: i64,
    /// The last segment's file, how much of it is on the disk for sure, and where the log ended then; without it none is known.
    synced: Option<(PathBuf, u64, i64)>,
    /// Then the synced bytes change behind the test's back, so that nothing is taken.
    has_small_journal: bool,
}

impl World {
    pub(crate) fn new(manner: Manner) -> Self {
        let dir = scratch();
        let (death, failpoints) = Death::at(manner.failpoint, dir.path().to_owned());
        let has_small_journal = manner.failpoint == "sync.before";
        let defaults = options(dir.path());
        let options = StoreOptions {
            failpoints,
            durability: manner.durability,
            journal_file_bytes: if has_small_journal { 1_500 } else { defaults.journal_file_bytes },
            tail_bytes_total: if manner.has_tail { defaults.tail_bytes_total } else { 0 },
            ..defaults
        };
        let config = LogConfig { segment_ms: SEGMENT_MS, file_delete_delay_ms: 0, ..small_segments(SEGMENT_BYTES) };
        let mut world =
            Self { dir, death, options, open: None, config, model: Model::default(), now: NOW, synced: None, has_small_journal };
        world.reopen();
        world
    }

    fn store(&self) -> &Store {
        &self.open.as_ref().unwrap().0
    }

    fn log(&self) -> &PartitionLog {
        &self.open.as_ref().unwrap().1
    }

    fn reopen(&mut self) {
        let store = Store::open(self.options.clone()).unwrap();
        let log = store.open_partition(partition(0), self.config).unwrap();
        self.open = Some((store, log));
    }

    /// An offset of the log or a little beyond.
    fn offset(&self, permille: u16) -> i64 {
        self.model.start + (self.model.end - self.model.start) * i64::from(permille) / 1_000
    }

    /// The segments that count, as files.
    fn segments(&self) -> Vec<Segment> {
        let segment = |file: &PathBuf| Segment {
            base: file.file_name().unwrap().to_str().unwrap()[..20].parse().unwrap(),
            size_bytes: file.metadata().unwrap().len(),
        };
        segment_files(self.dir.path(), 0).iter().map(segment).collect()
    }

    fn forget_dead_segments(&mut self) {
        self.store().remove_due(Duration::MAX).unwrap();
        self.model.forget_before(self.segments().first().map(|first| first.base));
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Append(pieces) => self.append(pieces),
            Step::Again { producer, back } => self.again(i64::from(*producer), usize::from(*back)),
            Step::Gap { producer } => self.gap(i64::from(*producer)),
            Step::Roll => {
                self.log().update_config(LogConfig { segment_bytes: 1, ..self.config });
                self.append(&[Piece { records: vec![(Some(0), Some(0), 0)], codec: 0, producer: None }]);
                self.log().update_config(self.config);
            }
            Step::FlushIndex => self.store().flush_index().unwrap(),
            Step::Wait { ms } => self.now += i64::from(*ms),
            Step::Clean { slots, segment_bytes, stable_permille, lag_ms, dies_at } => {
                let stable = self.offset(*stable_permille).min(self.model.end);
                let rules = CompactionRules { min_compaction_lag_ms: i64::from(*lag_ms), ..rules(u64::from(*segment_bytes)) };
                let before = self.model.readable();
                self.clean(usize::from(*slots), &rules, stable, *dies_at);
                self.check_death(&before);
            }
            Step::Retain { ms, bytes, permille } => {
                let retention = Retention {
                    delete: ms.is_some() || bytes.is_some(),
                    retention_ms: ms.map(i64::from),
                    retention_bytes: bytes.map(u64::from),
                };
                self.retain(retention, self.offset(*permille).min(self.model.end));
            }
            Step::DeleteRecords { permille } => self.delete_records(self.offset(*permille).min(self.model.end)),
            Step::Truncate { permille } => self.truncate(self.offset(*permille)),
            Step::Close => self.close(),
            Step::Crash { lost_permille } => self.crash(*lost_permille),
            Step::Read { permille, max_bytes } => self.read(self.offset(*permille), usize::from(*max_bytes)),
            Step::Times { permille } => self.times(*permille),
        }
        self.check_offsets();
    }

    /// A batch of a piece, as its producer would send it.
    fn batch(&self, piece: &Piece, producers: &mut std::collections::BTreeMap<i64, (i16, i32)>) -> CheckedBatch {
        let mut builder = BatchBuilder::new().with_codec(Codec::ALL[usize::from(piece.codec)], None);
        if let Some(Producing { id, bumps }) = piece.producer {
            let id = i64::from(id);
            let known = self.model.producers.get(&id);
            let entry = producers.entry(id).or_insert_with(|| known.map_or((0, 0), |known| (known.epoch, known.next_sequence())));
            if bumps {
                *entry = (entry.0 + 1, 0);
            }
            let (epoch, sequence) = (ProducerEpoch::new_or_zero(entry.0), Sequence::new(entry.1));
            builder = builder.with_producer(ProducerId::new_or_zero(id), epoch, sequence);
            entry.1 += i32::try_from(piece.records.len()).unwrap();
        }
        for (key, value, late) in &piece.records {
            let value = value.map(|value| vec![value; 12]);
            builder.append(self.now - i64::from(*late), key.map(|key| vec![key; 3]).as_deref(), value.as_deref(), &[]);
        }
        CheckedBatch::from_trusted(builder.build()).unwrap()
    }

    /// All pieces are under way before the first is answered.
    fn append(&mut self, pieces: &[Piece]) {
        let mut producers = std::collections::BTreeMap::new();
        let batches: Vec<_> = pieces.iter().map(|piece| self.batch(piece, &mut producers)).collect();
        let requests = batches.iter().map(|batch| (vec![batch.clone()], epoch(0))).collect();
        let answers = append_each(self.store(), self.log(), requests);
        for (batch, answer) in batches.iter().zip(answers) {
            let appended = answer.unwrap();
            assert_eq!((appended.base_offset.get(), appended.duplicate), (self.model.end, false));
            self.model.append(decode(batch.bytes()).remove(0));
        }
    }

    fn raw(&self, producer: i64, epoch: i16, sequence: i32, count: i32) -> CheckedBatch {
        produced(producer, epoch, sequence, count)
    }

    /// A producer sends again what it has sent.
    fn again(&mut self, id: i64, back: usize) {
        let Some(known) = self.model.producers.get(&id).filter(|known| !known.is_unsure) else { return };
        let Some((sequence, count, base)) = known.batches.iter().rev().nth(back).copied() else { return };
        let appended = append(self.store(), self.log(), self.raw(id, known.epoch, sequence, count)).unwrap();
        assert_eq!((appended.base_offset.get(), appended.duplicate), (base, true), "producer {id}, sequence {sequence}");
    }

    /// A producer leaves a sequence out, and one of an earlier epoch comes back.
    fn gap(&mut self, id: i64) {
        let Some(known) = self.model.producers.get(&id).filter(|known| !known.is_unsure).cloned() else { return };
        let refused = append(self.store(), self.log(), self.raw(id, known.epoch, known.next_sequence() + 3, 1));
        assert!(matches!(refused, Err(AppendError::OutOfOrderSequence { .. })), "producer {id}: {refused:?}");
        if known.epoch > 0 {
            let refused = append(self.store(), self.log(), self.raw(id, known.epoch - 1, 0, 1));
            assert!(matches!(refused, Err(AppendError::InvalidProducerEpoch { .. })), "producer {id}: {refused:?}");
        }
    }

    fn clean(&mut self, slots: usize, rules: &CompactionRules, stable: i64, dies_at: u64) {
        self.store().flush_index().unwrap();
        self.store().remove_due(Duration::MAX).unwrap();
        let segments = self.segments();
        let bases: Vec<i64> = segments.iter().map(|segment| segment.base).collect();
        let cleaner = Cleaner::new(slots * 24, 0.9);
        let candidate = LogToClean { log: self.log().clone(), rules: *rules, last_stable_offset: offset(stable) };
        let mut choice = choose_logs(vec![candidate], Timestamp(self.now), 1);
        assert!(choice.failed.is_empty(), "{:?}", choice.failed);
        let model = &self.model;
        let (start, first_uncleanable) = model.cleanable(&segments, stable, self.now, rules.min_compaction_lag_ms);
        let Some(chosen) = choice.chosen.pop() else {
            let dirty = segments.iter().filter(|segment| segment.base < first_uncleanable && segment.size_bytes > 0);
            assert!(
                start >= first_uncleanable || dirty.count() == 0 || !model.last_is_active(&segments),
                "dirty from {start} to {first_uncleanable} and not due"
            );
            return;
        };
        assert!(start < first_uncleanable);
        let known = self.log().active_producers().iter().map(|producer| producer.producer_id.get()).collect();
        // A copy beside other threads at work would be none of one moment.
        self.death.left.store(if self.has_small_journal { 0 } else { dies_at }, Ordering::SeqCst);
        let cleaning = cleaner.clean(&chosen, Timestamp(self.now), &|| Duration::ZERO, &mut |_| ControlFlow::Continue(())).unwrap();
        let end = cleaning.next_dirty_offset.get();
        assert_eq!(cleaning.first_dirty_offset.get(), start);
        assert!(end > start && end <= first_uncleanable, "{start}..{end}, {first_uncleanable}");
        let facts = CleaningFacts { start, end, first_uncleanable, now: self.now, delete_retention_ms: RETENTION_MS };
        self.model.clean(&facts, &bases, &known);
    }

    /// After a death in the middle of a cleaning some segments are as before and some as after.
    fn check_death(&self, before: &[Batch]) {
        self.death.left.store(0, Ordering::SeqCst);
        if !self.death.copy.exists() {
            return;
        }
        assert_eq!(crate::inspecting::verified(&self.death.copy).0.faults(), Vec::<String>::new(), "a check before the open");
        let store =
            Store::open(StoreOptions { directory: self.death.copy.clone(), failpoints: Failpoints::default(), ..self.options.clone() })
                .unwrap();
        let log = store.open_partition(partition(0), self.config).unwrap();
        let leftovers = segment_files(&self.death.copy, 0).iter().any(|file| file.extension().unwrap() != "log");
        assert!(!leftovers, "half-made files are left");
        assert_eq!((log.log_start_offset().get(), log.log_end_offset().get()), (self.model.start, self.model.end));
        let (found, after) = (decode(&read_to_end(&log, self.model.start)), self.model.readable());
        for batch in &found {
            assert!(before.contains(batch) || after.contains(batch), "{batch:?} is neither from before nor from after");
        }
        let offsets =
            |batches: &[Batch]| batches.iter().flat_map(|batch| &batch.records).map(|record| record.offset).collect::<BTreeSet<_>>();
        assert!(offsets(&found).is_superset(&offsets(&after)), "lost");
        assert!(offsets(&found).is_subset(&offsets(before)), "came back");
        let bases = |batches: &[Batch]| batches.iter().map(|batch| batch.base).collect::<BTreeSet<_>>();
        assert!(bases(&found).is_superset(&bases(&after)), "a producer's or the log's end is lost");
        drop((log, store));
        std::fs::remove_dir_all(&self.death.copy).unwrap();
    }

    fn retain(&mut self, retention: Retention, high_watermark: i64) {
        self.store().remove_due(Duration::MAX).unwrap();
        self.log().update_config(LogConfig { retention, ..self.config });
        let segments = self.segments();
        let (gone, start) = self.model.retained(&segments, &retention, high_watermark, self.now);
        let retained = retain(self.store(), self.log(), offset(high_watermark), self.now);
        let context = format!("{retention:?}, high watermark {high_watermark}, now {}: {segments:?}, {:?}", self.now, self.model.batches);
        let found = retained.map_or((0, self.model.start), |retained| (retained.drops.len(), retained.log_start.get()));
        assert_eq!(found, (gone, start), "{context}");
        self.store().remove_due(Duration::ZERO).unwrap();
        let left: Vec<_> = self.segments().iter().map(|segment| segment.base).collect();
        assert_eq!(left, segments[gone..].iter().map(|segment| segment.base).collect::<Vec<_>>());
        self.model.start = start;
        self.forget_dead_segments();
        self.log().update_config(self.config);
    }

    fn delete_records(&mut self, to: i64) {
        self.log().advance_log_start(offset(to)).unwrap();
        if to > self.model.start && self.segments().last().is_some_and(|last| last.base < to) {
            self.note_synced();
        }
        self.model.start = self.model.start.max(to);
    }

    fn truncate(&mut self, to: i64) {
        if to >= self.model.end {
            self.log().truncate(offset(to)).unwrap();
            return;
        }
        self.log().truncate(offset(to)).unwrap();
        // The cut is at `to`, or where the batch begins that holds it.
        let cut = self.model.batches.iter().find(|batch| batch.base <= to && to <= batch.last).map_or(to, |batch| batch.base);
        self.forget_dead_segments();
        self.model.cut(cut);
        self.model.first_dirty = self.model.first_dirty.map(|dirty| dirty.min(cut));
        self.note_synced();
    }

    /// All bytes of the last segment are on the disk.
    fn note_synced(&mut self) {
        let last = segment_files(self.dir.path(), 0).pop();
        self.synced = last.map(|file| (file.clone(), file.metadata().unwrap().len(), self.model.end));
    }

    fn close(&mut self) {
        self.store().close().unwrap();
        self.open = None;
        self.note_synced();
        self.reopen();
        self.forget_dead_segments();
    }

    /// The process dies, and with it a part of what no sync has brought to the disk.
    fn crash(&mut self, lost_permille: u16) {
        let is_active = self.model.last_is_active(&self.segments());
        self.open = None;
        if let Some(file) = segment_files(self.dir.path(), 0)
            .pop()
            .filter(|_| !(self.has_small_journal && self.options.durability == Durability::Group) && is_active)
        {
            let length = file.metadata().unwrap().len();
            let synced = self.synced.as_ref().filter(|(synced, ..)| *synced == file);
            let (synced, synced_end) = synced.map_or((0, 0), |(_, length, end)| (*length, *end));
            let kept = length - length.saturating_sub(synced) * u64::from(lost_permille) / 1_000;
            std::fs::File::options().write(true).open(&file).unwrap().set_len(kept).unwrap();
            if self.options.durability == Durability::Os {
                let bytes = std::fs::read(&file).unwrap();
                let whole = BatchIter::new(&bytes).map_while(Result::ok).map(|batch| batch.header().next_offset()).last();
                let base: i64 = file.file_name().unwrap().to_str().unwrap()[..20].parse().unwrap();
                let end = whole.unwrap_or(base).max(synced_end);
                if end < self.model.end {
                    self.model.cut(end);
                }
            }
        }
        self.reopen();
        if self.options.durability == Durability::Group {
            // The next life's journal knows nothing of it.
            self.note_synced();
        }
        self.forget_dead_segments();
    }

    fn check_offsets(&self) {
        let log = self.log();
        assert_eq!((log.log_start_offset().get(), log.log_end_offset().get()), (self.model.start, self.model.end));
    }

    fn read(&self, from: i64, max_bytes: usize) {
        let bytes = read_bytes(self.log(), offset(from), Offset::MAX, max_bytes).unwrap();
        let whole: Vec<_> = BatchIter::new(&bytes).map_while(Result::ok).map(|batch| batch.bytes().len()).collect();
        let found = decode(&bytes[..whole.iter().sum()]);
        let expected: Vec<_> = self.model.batches.iter().filter(|batch| batch.last >= from).cloned().collect();
        assert!(expected.starts_with(&found), "from {from}: {found:?}, not {expected:?}");
        assert_eq!(found.is_empty(), expected.is_empty(), "from {from}");
        assert!(bytes.len() <= max_bytes.max(whole.first().copied().unwrap_or(0)));
    }

    fn times(&self, permille: u16) {
        let (log, model) = (self.log(), &self.model);
        let span = self.now + 10 - NOW;
        let time = NOW + span * i64::from(permille) / 1_000;
        let found = log.first_at_or_after(Timestamp(time), Offset::MAX).unwrap();
        let found = found.map(|found| (found.offset.get(), found.timestamp.millis()));
        assert_eq!(found, model.first_at_or_after(time), "{time}");
        let newest = log.max_timestamp().unwrap().map(|found| found.timestamp.millis());
        self.store().remove_due(Duration::MAX).unwrap();
        assert_eq!(newest, model.max_timestamp(&self.segments()));
    }

    /// Reads all of it and compares.
    pub(crate) fn compare(&self) {
        let (log, start) = (self.log(), self.model.start);
        let expected = self.model.readable();
        assert_eq!(decode(&read_to_end(log, start)), expected);
        for from in (start..self.model.end).step_by(3) {
            let first = expected.iter().find(|batch| batch.last >= from).map(|batch| batch.base);
            let bytes = read_bytes(log, offset(from), Offset::MAX, 1).unwrap();
            assert_eq!(decode(&bytes).first().map(|batch| batch.base), first, "from {from}");
        }
        let producers = log.active_producers();
        let is_unsure = |id: i64| self.model.producers.get(&id).is_some_and(|producer| producer.is_unsure);
        let found: BTreeSet<_> = producers
            .iter()
            .filter(|producer| !is_unsure(producer.producer_id.get()))
            .map(|producer| (producer.producer_id.get(), producer.producer_epoch.get(), producer.last_sequence.map(Sequence::get)))
            .collect();
        let expected: BTreeSet<_> = self
            .model
            .producers
            .iter()
            .filter(|(id, _)| !is_unsure(**id))
            .map(|(id, producer)| (*id, producer.epoch, Some(producer.next_sequence() - 1)))
            .collect();
        assert_eq!(found, expected, "producers");
    }
}

/// All batches from an offset on; there may be none at the end.
fn read_to_end(log: &PartitionLog, from: i64) -> Vec<u8> {
    let (mut from, mut all) = (from, Vec::new());
    while from < log.log_end_offset().get() {
        let bytes = read_bytes(log, offset(from), Offset::MAX, 1).unwrap();
        let Some(last) = decode(&bytes).last().map(|batch| batch.last) else { return all };
        all.extend_from_slice(&bytes);
        from = last + 1;
    }
    all
}
