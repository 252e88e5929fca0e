//! Open and aborted transactions, as one replay of the batches that are in the log has them.

use std::collections::BTreeMap;
use std::ops::Range;

use log_store::{AbortedTransaction, AppendError, PartitionLog, Store};
use model::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use proptest::test_runner::{RngAlgorithm, TestRng};
use record_batch::{AppendOrigin, BatchBuilder, BatchIter, CheckedBatch, EndTxnMarker};

use crate::scratch::*;

fn transactional(producer: i64, first_sequence: i32, count: i32) -> CheckedBatch {
    let (id, epoch) = (ProducerId::new_or_zero(producer), ProducerEpoch::new_or_zero(0));
    let mut builder = BatchBuilder::new().with_producer(id, epoch, Sequence::new(first_sequence)).with_transactional(true);
    for number in 0..count {
        builder.append(NOW + i64::from(number), None, Some(&[7; 100]), &[]);
    }
    CheckedBatch::from_trusted(builder.build()).unwrap()
}

fn marker(producer: i64, producer_epoch: i16, is_commit: bool, coordinator_epoch: i32) -> CheckedBatch {
    let marker = EndTxnMarker { is_commit, coordinator_epoch };
    let bytes = marker.batch(ProducerId::new_or_zero(producer), ProducerEpoch::new_or_zero(producer_epoch), Timestamp(NOW));
    CheckedBatch::from_trusted(bytes).unwrap()
}

fn end(store: &Store, log: &PartitionLog, batch: CheckedBatch) -> Answer {
    send(store, log, batch, log_store::TransactionCheck::Unchecked, AppendOrigin::Coordinator)
}

#[test]
fn a_transaction_holds_readers_until_its_marker_is_replicated_and_is_listed_if_it_was_aborted() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    append(&store, &log, batch(&[NOW], 10)).unwrap();
    append(&store, &log, transactional(7, 0, 2)).unwrap();
    append(&store, &log, transactional(8, 0, 1)).unwrap();
    assert_eq!(log.first_unstable_offset(offset(4)), Some(offset(1)));
    end(&store, &log, marker(7, 0, false, 3)).unwrap();
    // Before the marker is replicated it may be lost.
    assert_eq!(log.first_unstable_offset(offset(4)), Some(offset(1)));
    assert_eq!(log.first_unstable_offset(offset(5)), Some(offset(3)));
    end(&store, &log, marker(8, 0, true, 3)).unwrap();
    assert_eq!(log.first_unstable_offset(offset(6)), None);
    let aborted = AbortedTransaction {
        producer_id: ProducerId::new_or_zero(7),
        first_offset: offset(1),
        last_offset: offset(4),
        last_stable_offset: offset(3),
    };
    for is_flushed in [false, true] {
        if is_flushed {
            store.flush_index().unwrap();
            store.flush_index().unwrap();
        }
        assert_eq!(log.aborted_transactions(offset(0), offset(6), 1_000).unwrap(), [aborted]);
        assert_eq!(log.aborted_transactions(offset(4), offset(6), 1_000).unwrap(), [aborted]);
        assert_eq!(log.aborted_transactions(offset(5), offset(6), 1_000).unwrap(), []);
        assert_eq!(log.aborted_transactions(offset(0), offset(1), 1_000).unwrap(), []);
    }
    let producers = log.active_producers();
    let seven = producers.iter().find(|producer| producer.producer_id.get() == 7).unwrap();
    assert_eq!((seven.coordinator_epoch, seven.open_from), (Some(3), None));
}

#[test]
fn batches_beside_an_open_transaction_and_markers_of_old_terms_are_refused() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    append(&store, &log, transactional(7, 0, 2)).unwrap();
    let refused = append(&store, &log, produced(7, 0, 2, 1)).unwrap_err();
    assert!(matches!(refused, AppendError::OutsideOfTransaction { .. }), "{refused}");
    end(&store, &log, marker(7, 2, true, 5)).unwrap();
    let refused = end(&store, &log, marker(7, 2, true, 4)).unwrap_err();
    assert!(matches!(refused, AppendError::CoordinatorFenced { current: 5, received: 4, .. }), "{refused}");
    let refused = end(&store, &log, marker(7, 1, true, 5)).unwrap_err();
    assert!(matches!(refused, AppendError::InvalidProducerEpoch { .. }), "{refused}");
    // The marker has raised the producer's epoch.
    let refused = append(&store, &log, transactional(7, 2, 1)).unwrap_err();
    assert!(matches!(refused, AppendError::InvalidProducerEpoch { .. }), "{refused}");
    assert_eq!(log.log_end_offset(), offset(3));
}

#[test]
fn a_cut_that_takes_several_markers_reads_back_to_the_transactions_before_it_and_no_further() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(1_000)).unwrap();
    for number in 0..20 {
        append(&store, &log, transactional(7, 2 * number, 1)).unwrap();
        append(&store, &log, transactional(7, 2 * number + 1, 1)).unwrap();
        end(&store, &log, marker(7, 0, number % 2 == 0, 1)).unwrap();
    }
    store.flush_index().unwrap();
    let files = segment_files(dir.path(), 0);
    assert!(files.len() > 8);
    let mut bytes = std::fs::read(&files[0]).unwrap();
    bytes[8] ^= 0x7f;
    std::fs::write(&files[0], bytes).unwrap();
    // The transaction at 51 stays open, those at 54 and 57 go.
    log.truncate(offset(52)).unwrap();
    assert_eq!(log.first_unstable_offset(offset(52)), Some(offset(51)));
    assert!(matches!(append(&store, &log, transactional(7, 37, 1)), Err(AppendError::OutOfOrderSequence { .. })));
    append(&store, &log, transactional(7, 35, 1)).unwrap();
    end(&store, &log, marker(7, 0, false, 1)).unwrap();
    assert_eq!(log.first_unstable_offset(offset(54)), None);
    let aborted = log.aborted_transactions(offset(51), offset(54), 1_000).unwrap();
    assert_eq!(aborted.iter().map(|aborted| aborted.first_offset).collect::<Vec<_>>(), [offset(51)]);
}

fn keyed(producer: Option<i64>, first_sequence: i32, key: &str, value: &str) -> CheckedBatch {
    let mut builder = BatchBuilder::new();
    if let Some(producer) = producer {
        let (id, epoch) = (ProducerId::new_or_zero(producer), ProducerEpoch::new_or_zero(0));
        builder = builder.with_producer(id, epoch, Sequence::new(first_sequence)).with_transactional(true);
    }
    builder.append(NOW, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    CheckedBatch::from_trusted(builder.build()).unwrap()
}

#[test]
fn what_was_aborted_takes_no_keys_place_and_goes_with_the_cleaning() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(400)).unwrap();
    append(&store, &log, keyed(None, 0, "a", "old")).unwrap();
    append(&store, &log, keyed(None, 0, "b", "old")).unwrap();
    append(&store, &log, keyed(Some(7), 0, "a", "aborted")).unwrap();
    append(&store, &log, keyed(Some(8), 0, "b", "committed")).unwrap();
    end(&store, &log, marker(7, 0, false, 1)).unwrap();
    end(&store, &log, marker(8, 0, true, 1)).unwrap();
    // The producers' last batches are others, so that these need not stay.
    for producer in [7, 8] {
        append(&store, &log, keyed(Some(producer), 1, "c", "later")).unwrap();
        end(&store, &log, marker(producer, 0, true, 1)).unwrap();
    }
    for _ in 0..4 {
        append(&store, &log, keyed(None, 0, "d", "last")).unwrap();
    }
    let values = |log: &PartitionLog| {
        let found = crate::compacting::records(log).into_iter().filter(|(_, key, _)| ["a", "b"].contains(&key.as_str()));
        found.map(|(_, key, value)| format!("{key}={}", value.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(values(&log), ["a=old", "b=old", "a=aborted", "b=committed"]);
    assert_eq!(log.aborted_transactions(offset(0), offset(9), 1_000).unwrap().len(), 1);
    crate::compacting::clean(&store, &log, 400, NOW);
    assert_eq!(values(&log), ["a=old", "b=committed"]);
    // The marker waits until no record of its transaction is left, and then its time; then it and its row go.
    let has_marker = |log: &PartitionLog| offsets(&read_all(log).unwrap()).iter().any(|(first, _)| *first == 4);
    let mut now = NOW;
    for _ in 0..4 {
        assert!(has_marker(&log) || now > NOW);
        append(&store, &log, keyed(None, 0, "d", "last")).unwrap();
        append(&store, &log, keyed(None, 0, "e", &"x".repeat(400))).unwrap();
        crate::compacting::clean(&store, &log, 400, now);
        now += 10 * 24 * 60 * 60 * 1_000;
    }
    assert!(!has_marker(&log));
    assert_eq!(log.aborted_transactions(offset(0), offset(9), 1_000).unwrap(), []);
    assert_eq!(values(&log), ["a=old", "b=committed"]);
}

/// More batches than this are not cut off at once.
const CUT_MAX: usize = 13;

/// Numbers that follow from a seed.
struct Dice(TestRng);

impl Dice {
    fn new(seed: u8) -> Self {
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]))
    }

    fn roll(&mut self, range: Range<i64>) -> i64 {
        use proptest::prelude::Rng;
        let width = u64::try_from(range.end - range.start).unwrap();
        range.start + i64::try_from(self.0.next_u64() % width).unwrap()
    }
}

/// A batch that is in the log.
#[derive(Clone, Copy)]
struct Written {
    producer: i64,
    first: i64,
    next: i64,
    what: What,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Plain,
    Transactional,
    Marker { is_commit: bool },
}

/// What the batches make of transactions: the first offset of the oldest open one, and the aborted ones.
fn replayed(batches: &[Written]) -> (BTreeMap<i64, i64>, Vec<AbortedTransaction>) {
    let (mut open, mut aborted) = (BTreeMap::new(), Vec::new());
    for batch in batches {
        match batch.what {
            What::Plain => {}
            What::Transactional => {
                open.entry(batch.producer).or_insert(batch.first);
            }
            What::Marker { is_commit } => {
                let Some(first) = open.remove(&batch.producer) else { continue };
                if !is_commit {
                    aborted.push(AbortedTransaction {
                        producer_id: ProducerId::new_or_zero(batch.producer),
                        first_offset: offset(first),
                        last_offset: offset(batch.first),
                        last_stable_offset: offset(open.values().min().copied().unwrap_or(batch.next)),
                    });
                }
            }
        }
    }
    (open, aborted)
}

/// Sixteen, or as many as the variable says, up to 255.
fn seeds() -> u8 {
    std::env::var("KLAMM_TRANSACTION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(16)
}

fn check(log: &PartitionLog, batches: &[Written], dice: &mut Dice, context: &str) {
    let (open, aborted) = replayed(batches);
    let (log_start, log_end) = (log.log_start_offset(), log.log_end_offset());
    assert_eq!(log_end.get(), batches.last().map_or(0, |batch| batch.next), "{context}");
    assert_eq!(log.first_unstable_offset(log_end), open.values().min().map(|first| offset(*first)), "{context}");
    for _ in 0..4 {
        let from = offset(dice.roll(log_start.get()..log_end.get() + 1));
        let end = offset(dice.roll(from.get()..log_end.get() + 1));
        let expected: Vec<_> = aborted.iter().filter(|one| one.last_offset >= from && one.first_offset < end).copied().collect();
        assert_eq!(log.aborted_transactions(from, end, 1 << 20).unwrap(), expected, "{context}: {from}..{end}");
        // What is read is covered, however little it is.
        let bytes = read_bytes(log, from, log_end, 500).unwrap();
        let listed = log.aborted_transactions(from, log_end, bytes.len()).unwrap();
        let read = BatchIter::new(&bytes).map_while(Result::ok).map(|view| view.header().next_offset()).max().unwrap_or(0);
        for one in aborted.iter().filter(|one| one.last_offset >= from && one.first_offset.get() < read) {
            assert!(listed.contains(one), "{context}: {one:?} is missing from {from} on");
        }
    }
}

#[test]
fn open_and_aborted_transactions_are_those_of_the_batches_whatever_became_of_the_log() {
    for seed in 0..seeds() {
        let mut dice = Dice::new(seed);
        let dir = scratch();
        let config = small_segments(3_000);
        let mut store = open(dir.path());
        let mut log = store.open_partition(partition(0), config).unwrap();
        let mut batches: Vec<Written> = Vec::new();
        for step in 0..120 {
            let context = format!("seed {seed}, step {step}");
            let producer = dice.roll(1..5);
            let sequence = batches.iter().filter(|one| one.producer == producer && !matches!(one.what, What::Marker { .. }));
            let sequence = i32::try_from(sequence.map(|one| one.next - one.first).sum::<i64>()).unwrap();
            let is_open = replayed(&batches).0.contains_key(&producer);
            let mut write = |what, answer: Answer| {
                let appended = answer.unwrap_or_else(|error| panic!("{context}: {error}"));
                batches.push(Written { producer, first: appended.base_offset.get(), next: appended.log_end_offset.get(), what });
            };
            match dice.roll(0..100) {
                0..40 => {
                    let count = i32::try_from(dice.roll(1..4)).unwrap();
                    write(What::Transactional, append(&store, &log, transactional(producer, sequence, count)));
                }
                40..50 if !is_open => write(What::Plain, append(&store, &log, produced(producer, 0, sequence, 1))),
                50..80 => {
                    let is_commit = dice.roll(0..2) == 0;
                    write(What::Marker { is_commit }, end(&store, &log, marker(producer, 0, is_commit, 1)));
                }
                80..86 => store.flush_index().unwrap(),
                86..92 => {
                    if dice.roll(0..2) == 0 {
                        store.close().unwrap();
                    }
                    drop((log, store));
                    store = open(dir.path());
                    log = store.open_partition(partition(0), config).unwrap();
                }
                92..97 => {
                    let kept = batches.len() - usize::try_from(dice.roll(0..100)).unwrap() % CUT_MAX.min(batches.len() + 1);
                    let to = offset(batches[..kept].last().map_or(0, |batch| batch.next));
                    log.truncate(to).unwrap();
                    batches.truncate(kept);
                }
                97..100 => {
                    // Not into what is open, or would be after a cut: that would be looked for in what is gone.
                    let cuts = batches.len().saturating_sub(CUT_MAX)..=batches.len();
                    let oldest = cuts.filter_map(|kept| replayed(&batches[..kept]).0.into_values().min()).min();
                    let first_cut = batches[..batches.len().saturating_sub(CUT_MAX)].last().map_or(0, |batch| batch.next);
                    let to = offset(oldest.unwrap_or(first_cut).min(first_cut)).max(log.log_start_offset());
                    log.advance_log_start(to).unwrap();
                    let _gone = retain(&store, &log, Offset::MAX.min(log.log_end_offset()), NOW);
                }
                _ => {}
            }
            check(&log, &batches, &mut dice, &context);
        }
    }
}
