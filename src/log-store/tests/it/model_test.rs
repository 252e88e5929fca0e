//! Random histories, compared with a log that is a list.

use bytes::Bytes;
use log_store::{DropReason, LogConfig, PartitionLog, Store};
use model::{Offset, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tempfile::TempDir;

use crate::scratch::*;

#[derive(Clone, Debug)]
enum Step {
    Append { records: u8, size: u16 },
    AppendMany { batches: u8, size: u16 },
    FlushIndex,
    Reopen { clean: bool },
    Truncate { permille: u16 },
    AdvanceStart { permille: u16 },
    Retain { permille: u16 },
    Read { permille: u16, max_bytes: u16 },
    Time { permille: u16 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..5_u8, 0..3_000_u16).prop_map(|(records, size)| Step::Append { records, size }),
        2 => (2..12_u8, 0..400_u16).prop_map(|(batches, size)| Step::AppendMany { batches, size }),
        2 => Just(Step::FlushIndex),
        2 => any::<bool>().prop_map(|clean| Step::Reopen { clean }),
        1 => (0..=1_000_u16).prop_map(|permille| Step::Truncate { permille }),
        1 => (0..=1_000_u16).prop_map(|permille| Step::AdvanceStart { permille }),
        2 => (0..=1_000_u16).prop_map(|permille| Step::Retain { permille }),
        4 => (0..=1_000_u16, any::<u16>()).prop_map(|(permille, max_bytes)| Step::Read { permille, max_bytes }),
        1 => (0..=1_000_u16).prop_map(|permille| Step::Time { permille }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// One batch of the list: offsets, bytes, timestamp of its first record (they grow by one within it).
struct Known {
    base: i64,
    next: i64,
    bytes: Bytes,
    time: i64,
}

struct Pair {
    dir: TempDir,
    open: Option<(Store, PartitionLog)>,
    known: Vec<Known>,
    start: i64,
    end: i64,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self { dir: scratch(), open: None, known: Vec::new(), start: 0, end: 0 };
        pair.reopen(false);
        pair
    }

    fn reopen(&mut self, clean: bool) {
        if let Some((store, _)) = self.open.take()
            && clean
        {
            store.close().unwrap();
        }
        if self.dir.path().join("klamm.layout").exists() {
            assert_eq!(crate::inspecting::verified(self.dir.path()).0.faults(), Vec::<String>::new(), "a check before the open");
        }
        let store = open(self.dir.path());
        let log = store.open_partition(partition(0), small_segments(6_000)).unwrap();
        self.open = Some((store, log));
    }

    fn parts(&self) -> (&Store, &PartitionLog) {
        let (store, log) = self.open.as_ref().unwrap();
        (store, log)
    }

    fn append(&mut self, batches: usize, records: u8, size: u16) {
        let mut requests = Vec::new();
        for _ in 0..batches {
            let time = self.end;
            let timestamps: Vec<i64> = (0..i64::from(records)).map(|number| time + number).collect();
            let made = batch(&timestamps, usize::from(size));
            let bytes = made.clone().into_sequenced(offset(self.end), epoch(0), None).to_bytes();
            let next = self.end + i64::from(records);
            self.known.push(Known { base: self.end, next, bytes, time });
            self.end = next;
            requests.push((vec![made], epoch(0)));
        }
        let (store, log) = self.parts();
        for answer in append_each(store, log, requests) {
            answer.unwrap();
        }
    }

    /// An offset between the log's start and its end.
    fn at(&self, permille: u16) -> i64 {
        self.start + (self.end - self.start) * i64::from(permille) / 1_000
    }

    fn truncate(&mut self, to: i64) {
        self.parts().1.truncate(offset(to)).unwrap();
        if to < self.end {
            self.known.retain(|known| known.next <= to);
            self.end = self.known.last().map_or(0, |known| known.next);
            // Nothing is cut below the log start; a batch that straddles it may go whole.
            self.start = self.start.min(self.end.max(self.start));
            self.end = self.end.max(self.start);
        }
    }

    /// Keeps a part of the bytes; where that begins is the log's choice.
    fn retain(&mut self, permille: u16) {
        let (store, log) = self.parts();
        let allowed = log.size_bytes() * u64::from(permille) / 1_000;
        let (size_before, end) = (log.size_bytes(), log.log_end_offset());
        log.update_config(LogConfig { retention: keeping_bytes(allowed), ..small_segments(6_000) });
        let drops = retain(store, log, end, 0).map(|retained| retained.drops).unwrap_or_default();
        assert!(log.size_bytes() >= allowed.min(size_before) || drops.contains(&DropReason::LogStart));
        assert!(allowed > 0 || log.size_bytes() == 0);
        let start = log.log_start_offset().get();
        assert!(start == self.start || self.known.iter().any(|known| known.next == start), "{start}");
        self.start = start;
        self.known.retain(|known| known.next > start);
    }

    fn read(&self, from: i64, max_bytes: usize) {
        let log = self.parts().1;
        let bytes = read_bytes(log, offset(from), Offset::MAX, max_bytes).unwrap();
        let expected: Vec<u8> = self.known.iter().filter(|known| known.next > from).flat_map(|known| known.bytes.iter().copied()).collect();
        assert!(expected.starts_with(&bytes), "other bytes at {from}");
        if from < self.end {
            let first = self.known.iter().find(|known| known.next > from).unwrap();
            assert!(bytes.len() >= first.bytes.len() && bytes.len() <= max_bytes.max(first.bytes.len()), "{} bytes", bytes.len());
        }
    }

    fn time(&self, from: i64) {
        let found = self.parts().1.first_at_or_after(Timestamp(from), Offset::MAX).unwrap();
        // Times equal offsets unless the log start leapt over the end of a cut.
        let expected =
            self.known.iter().flat_map(|known| (0..known.next - known.base).map(|number| (known.base + number, known.time + number)));
        let expected = expected.filter(|(at, _)| *at >= self.start).find(|(_, time)| *time >= from);
        assert_eq!(found.map(|found| (found.offset.get(), found.timestamp.millis())), expected);
    }

    fn check(&self) {
        let log = self.parts().1;
        assert_eq!((log.log_start_offset().get(), log.log_end_offset().get()), (self.start, self.end));
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Append { records, size } => self.append(1, records, size),
            Step::AppendMany { batches, size } => self.append(usize::from(batches), 1, size),
            Step::FlushIndex => self.parts().0.flush_index().unwrap(),
            Step::Reopen { clean } => self.reopen(clean),
            Step::Truncate { permille } => self.truncate(self.at(permille)),
            Step::AdvanceStart { permille } => {
                let to = self.at(permille);
                self.parts().1.advance_log_start(offset(to)).unwrap();
                self.start = self.start.max(to);
                self.known.retain(|known| known.next > self.start);
            }
            Step::Retain { permille } => self.retain(permille),
            Step::Read { permille, max_bytes } => self.read(self.at(permille), usize::from(max_bytes)),
            Step::Time { permille } => self.time(self.at(permille)),
        }
        self.check();
    }
}

#[test]
fn any_history_reads_like_a_list() {
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&steps(), |steps| {
        let mut pair = Pair::new();
        for step in &steps {
            pair.take(step);
        }
        pair.reopen(true);
        pair.check();
        pair.read(pair.start, 1 << 20);
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
