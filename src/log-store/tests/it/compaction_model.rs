//! Random histories of a compacted log, compared with Kafka's rules on plain lists.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use log_store::{Cleaner, FAILPOINTS, Failpoints, LogToClean, PartitionLog, Store, StoreOptions, choose_logs};
use model::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use record_batch::{BatchBuilder, BatchIter, CheckedBatch, Codec, DecompressLimits};

use crate::compacting::{RETENTION_MS, rules};
use crate::scratch::*;

#[derive(Clone, Debug)]
struct Written {
    key: Option<u8>,
    value: Option<u8>,
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        records: Vec<Written>,
        codec: u8,
        producer: Option<u8>,
    },
    /// `dies_at`: the hit of the history's failpoint at which the process might have died.
    Clean {
        slots: u8,
        segment_bytes: u16,
        stable_permille: u16,
        dies_at: u64,
    },
    Wait {
        ms: u16,
    },
    Reopen {
        clean: bool,
    },
    Truncate {
        permille: u16,
    },
    AdvanceStart {
        permille: u16,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Old logs may have records without a key.
    let record =
        (prop::option::weighted(0.95, 0..6_u8), prop::option::weighted(0.8, any::<u8>())).prop_map(|(key, value)| Written { key, value });
    let append = (prop::collection::vec(record, 1..5), 0..5_u8, prop::option::weighted(0.3, 0..3_u8))
        .prop_map(|(records, codec, producer)| Step::Append { records, codec, producer });
    let clean = (1..12_u8, 100..900_u16, 0..=1_300_u16, 1..4_u64)
        .prop_map(|(slots, segment_bytes, stable_permille, dies_at)| Step::Clean { slots, segment_bytes, stable_permille, dies_at });
    let step = prop_oneof![
        12 => append,
        4 => clean,
        2 => (0..700_u16).prop_map(|ms| Step::Wait { ms }),
        1 => any::<bool>().prop_map(|clean| Step::Reopen { clean }),
        1 => (500..=1_000_u16).prop_map(|permille| Step::Truncate { permille }),
        1 => (0..=600_u16).prop_map(|permille| Step::AdvanceStart { permille }),
    ];
    proptest::collection::vec(step, 1..70)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    offset: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Batch {
    base: i64,
    last: i64,
    horizon: Option<i64>,
    codec: Option<Codec>,
    producer: (i64, i32),
    records: Vec<Record>,
}

fn decode(bytes: &[u8]) -> Vec<Batch> {
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
            producer: (header.producer_id, header.base_sequence),
            records,
        }
    });
    batches.collect()
}

/// The log as a list, and what is beside it.
#[derive(Default)]
struct Model {
    batches: Vec<Batch>,
    /// Producer to its next sequence and last offset.
    producers: BTreeMap<i64, (i32, i64)>,
    first_dirty: i64,
    end: i64,
}

impl Model {
    /// Kafka's rules on lists.
    fn clean(&mut self, start: i64, end: i64, first_uncleanable: i64, bases: &BTreeSet<i64>, now: i64) {
        let mut newest: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        for record in self.batches.iter().flat_map(|batch| &batch.records).filter(|record| (start..end).contains(&record.offset)) {
            if let Some(key) = &record.key {
                newest.insert(key.clone(), record.offset);
            }
        }
        // Segments are written anew whole, up to the one that holds the last offset looked at.
        let rewritten_end = bases.range(end..).next().copied().unwrap_or(i64::MAX);
        let mut kept = Vec::new();
        for mut batch in std::mem::take(&mut self.batches) {
            if batch.base >= rewritten_end {
                kept.push(batch);
                continue;
            }
            let has_passed = batch.horizon.is_some_and(|horizon| horizon <= now);
            batch.records.retain(|record| {
                if record.offset >= end {
                    return true;
                }
                let Some(key) = &record.key else { return false };
                newest.get(key).is_none_or(|newest| record.offset >= *newest) && (record.value.is_some() || !has_passed)
            });
            let is_last_of_producer = self.producers.get(&batch.producer.0).is_some_and(|(_, last)| *last == batch.last);
            if batch.records.is_empty() {
                if is_last_of_producer || batch.last + 1 == first_uncleanable {
                    (batch.horizon, batch.codec) = (None, None);
                    kept.push(batch);
                }
                continue;
            }
            if batch.horizon.is_none() && batch.records.iter().any(|record| record.value.is_none()) {
                batch.horizon = Some(now + RETENTION_MS);
            }
            kept.push(batch);
        }
        self.batches = kept;
        self.first_dirty = end;
    }
}

/// Copies the directory at a hit of a failpoint, as it would be found after a death there.
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

    /// What the log is after the death that was asked for, if the cleaning came so far.
    fn found(&self) -> Option<(i64, Vec<Batch>)> {
        self.left.store(0, Ordering::SeqCst);
        if !self.copy.exists() {
            return None;
        }
        assert_eq!(crate::inspecting::verified(&self.copy).0.faults(), Vec::<String>::new(), "a check before the open");
        let store = open(&self.copy);
        let log = store.open_partition(partition(0), small_segments(SEGMENT_BYTES)).unwrap();
        let leftovers = segment_files(&self.copy, 0).iter().any(|file| file.extension().unwrap() != "log");
        assert!(!leftovers, "half-made files are left");
        let start = log.log_start_offset().get();
        let batches = if start < log.log_end_offset().get() { decode(&read_to_end(&log, start)) } else { Vec::new() };
        let end = log.log_end_offset().get();
        drop((log, store));
        std::fs::remove_dir_all(&self.copy).unwrap();
        Some((end, batches))
    }
}

struct World {
    dir: tempfile::TempDir,
    death: Death,
    failpoints: Failpoints,
    store: Store,
    log: PartitionLog,
    model: Model,
    now: i64,
}

const SEGMENT_BYTES: u64 = 350;

impl World {
    fn new(failpoint: &str) -> Self {
        let dir = scratch();
        let (death, failpoints) = Death::at(failpoint, dir.path().to_owned());
        let store = Store::open(StoreOptions { failpoints: failpoints.clone(), ..options(dir.path()) }).unwrap();
        let log = store.open_partition(partition(0), small_segments(SEGMENT_BYTES)).unwrap();
        Self { dir, death, failpoints, store, log, model: Model::default(), now: NOW }
    }

    /// The batches that can be read.
    fn readable(&self) -> Vec<Batch> {
        let start = self.log.log_start_offset().get();
        self.model.batches.iter().filter(|batch| batch.last >= start).cloned().collect()
    }

    /// After a death in the middle some segments are as before and some as after.
    fn check_death(&self, before: &[Batch]) {
        let Some((end, found)) = self.death.found() else { return };
        let after = self.readable();
        assert_eq!(end, self.model.end);
        for batch in &found {
            assert!(before.contains(batch) || after.contains(batch), "{batch:?} is neither from before nor from after");
        }
        let offsets =
            |batches: &[Batch]| batches.iter().flat_map(|batch| &batch.records).map(|record| record.offset).collect::<BTreeSet<_>>();
        assert!(offsets(&found).is_superset(&offsets(&after)), "lost");
        assert!(offsets(&found).is_subset(&offsets(before)), "came back");
        let bases = |batches: &[Batch]| batches.iter().map(|batch| batch.base).collect::<BTreeSet<_>>();
        assert!(bases(&found).is_superset(&bases(&after)), "a producer's or the log's end is lost");
    }

    fn offset(&self, permille: u16) -> i64 {
        self.model.end * i64::from(permille) / 1_000
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Append { records, codec, producer } => self.append(records, *codec, *producer),
            Step::Clean { slots, segment_bytes, stable_permille, dies_at } => {
                let stable = self.offset(*stable_permille).min(self.model.end);
                let before = self.readable();
                self.clean(usize::from(*slots), u64::from(*segment_bytes), stable, *dies_at);
                self.check_death(&before);
            }
            Step::Wait { ms } => self.now += i64::from(*ms),
            Step::Reopen { clean } => self.reopen(*clean),
            Step::Truncate { permille } => self.truncate(self.offset(*permille)),
            Step::AdvanceStart { permille } => {
                self.log.advance_log_start(offset(self.offset(*permille))).unwrap();
            }
        }
    }

    fn append(&mut self, records: &[Written], codec: u8, producer: Option<u8>) {
        let mut builder = BatchBuilder::new().with_codec(Codec::ALL[usize::from(codec)], None);
        let count = i32::try_from(records.len()).unwrap();
        if let Some(producer) = producer {
            let next = self.model.producers.get(&i64::from(producer)).map_or(0, |(next, _)| *next);
            builder = builder.with_producer(ProducerId::new_or_zero(i64::from(producer)), ProducerEpoch::ZERO, Sequence::new(next));
            self.model.producers.insert(i64::from(producer), (next + count, self.model.end + i64::from(count) - 1));
        }
        for (record, number) in records.iter().zip(0..) {
            let value = record.value.map(|value| vec![value; 12]);
            builder.append(self.now + number, record.key.map(|key| vec![key; 3]).as_deref(), value.as_deref(), &[]);
        }
        let batch = CheckedBatch::from_trusted(builder.build()).unwrap();
        let mut known = decode(batch.bytes()).remove(0);
        let base = append(&self.store, &self.log, batch).unwrap().base_offset.get();
        assert_eq!(base, self.model.end);
        (known.base, known.last) = (known.base + base, known.last + base);
        known.records.iter_mut().for_each(|record| record.offset += base);
        self.model.batches.push(known);
        self.model.end = base + i64::from(count);
    }

    /// The bases of the segments that count.
    fn bases(&self) -> BTreeSet<i64> {
        let names = segment_files(self.dir.path(), 0);
        names.iter().map(|file| file.file_name().unwrap().to_str().unwrap()[..20].parse().unwrap()).collect()
    }

    fn clean(&mut self, slots: usize, segment_bytes: u64, stable: i64, dies_at: u64) {
        self.store.flush_index().unwrap();
        self.log.remove_replaced_files(Timestamp(i64::MAX)).unwrap();
        let bases = self.bases();
        let cleaner = Cleaner::new(slots * 24, 0.9);
        let candidate = LogToClean { log: self.log.clone(), rules: rules(segment_bytes), last_stable_offset: offset(stable) };
        let mut choice = choose_logs(vec![candidate], Timestamp(self.now), 1);
        let start = self.model.first_dirty.max(self.log.log_start_offset().get());
        // Whole segments below the bound and the segment that is appended to.
        let active = bases.last().copied().unwrap_or(0);
        let bound = stable.max(start);
        let first_uncleanable = if bound >= active { active } else { bases.range(..=bound).next_back().copied().unwrap_or(active) };
        let Some(chosen) = choice.chosen.pop() else {
            assert!(start >= first_uncleanable, "dirty from {start} to {first_uncleanable} and not due");
            return;
        };
        assert!(start < first_uncleanable);
        self.death.left.store(dies_at, Ordering::SeqCst);
        let cleaning = cleaner.clean(&chosen, Timestamp(self.now), 0, &mut |_| ControlFlow::Continue(())).unwrap();
        let end = cleaning.next_dirty_offset.get();
        assert_eq!(cleaning.first_dirty_offset.get(), start);
        assert!(end > start && end <= first_uncleanable, "{start}..{end}, {first_uncleanable}");
        self.model.clean(start, end, first_uncleanable, &bases, self.now);
    }

    fn reopen(&mut self, clean: bool) {
        if clean {
            self.store.close().unwrap();
        }
        let elsewhere = scratch();
        let between = open(elsewhere.path());
        self.log = between.open_partition(partition(9), small_segments(1)).unwrap();
        self.store = between;
        self.store = Store::open(StoreOptions { failpoints: self.failpoints.clone(), ..options(self.dir.path()) }).unwrap();
        self.log = self.store.open_partition(partition(0), small_segments(SEGMENT_BYTES)).unwrap();
    }

    fn truncate(&mut self, to: i64) {
        if to >= self.model.end || to < self.log.log_start_offset().get() {
            return;
        }
        self.log.truncate(offset(to)).unwrap();
        let end = self.log.log_end_offset().get();
        // The cut is at `to`, or where the batch begins that holds it.
        let cut = self.model.batches.iter().find(|batch| batch.base <= to && to <= batch.last).map_or(to, |batch| batch.base);
        assert_eq!(end, cut.max(self.log.log_start_offset().get()));
        self.model.batches.retain(|batch| batch.last < end);
        self.model.end = end;
        self.model.first_dirty = self.model.first_dirty.min(end);
        self.model.producers.clear();
        for batch in self.model.batches.iter().filter(|batch| batch.producer.0 >= 0) {
            let next = batch.producer.1 + i32::try_from(batch.last - batch.base).unwrap() + 1;
            self.model.producers.insert(batch.producer.0, (next, batch.last));
        }
    }

    fn compare(&self) {
        assert_eq!(self.log.log_end_offset().get(), self.model.end);
        let start = self.log.log_start_offset().get();
        let from_start = self.readable();
        let found = if start < self.model.end { decode(&read_to_end(&self.log, start)) } else { Vec::new() };
        assert_eq!(found, from_start);
        for from in (start..self.model.end).step_by(3) {
            let expected = from_start.iter().find(|batch| batch.last >= from).map(|batch| batch.base);
            let bytes = read_bytes(&self.log, offset(from), Offset::MAX, 1).unwrap();
            assert_eq!(decode(&bytes).first().map(|batch| batch.base), expected, "from {from}");
        }
    }
}

/// All batches from an offset on; there may be none at the end.
fn read_to_end(log: &PartitionLog, from: i64) -> Vec<u8> {
    let (mut from, mut all) = (from, Vec::new());
    loop {
        let bytes = read_bytes(log, offset(from), Offset::MAX, 1).unwrap();
        let Some(last) = decode(&bytes).last().map(|batch| batch.last) else { return all };
        all.extend_from_slice(&bytes);
        from = last + 1;
        if from >= log.log_end_offset().get() {
            return all;
        }
    }
}

#[test]
fn any_history_is_cleaned_as_the_rules_say() {
    let cases = std::env::var("KLAMM_COMPACT_CASES").ok().map_or(60, |cases| cases.parse().unwrap());
    let seed = std::env::var("KLAMM_COMPACT_SEED").ok().map_or(1, |seed| seed.parse::<u64>().unwrap());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let failpoints: Vec<&str> = FAILPOINTS.iter().copied().filter(|name| name.starts_with("compaction.")).collect();
    let result = runner.run(&(steps(), prop::sample::select(failpoints)), |(steps, failpoint)| {
        let mut world = World::new(failpoint);
        for step in &steps {
            world.step(step);
            if !matches!(step, Step::Append { .. } | Step::Wait { .. }) {
                world.compare();
            }
        }
        world.compare();
        Ok(())
    });
    if let Err(error) = result {
        panic!("seed {seed}: {error}");
    }
}
