//! Compaction: what is kept, what readers see meanwhile, and what a death at any moment leaves.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log_store::{
    CleanError, Cleaner, Cleaning, CompactionRules, FailAction, LogConfig, LogToClean, PartitionLog, ReadError, Store, StoreOptions,
    choose_logs,
};
use model::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use record_batch::{BatchBuilder, BatchIter, CheckedBatch, DecompressLimits};

use crate::scratch::*;

pub(crate) const RETENTION_MS: i64 = 1_000;

pub(crate) fn rules(segment_bytes: u64) -> CompactionRules {
    CompactionRules {
        delete_retention_ms: RETENTION_MS,
        min_compaction_lag_ms: 0,
        max_compaction_lag_ms: i64::MAX,
        min_cleanable_dirty_ratio: 0.0,
        segment_bytes,
    }
}

/// A batch of keys with values; no value is a tombstone.
pub(crate) fn keyed(records: &[(&str, Option<&str>)]) -> CheckedBatch {
    let mut builder = BatchBuilder::new();
    for (at, (key, value)) in records.iter().enumerate() {
        builder.append(NOW + i64::try_from(at).unwrap(), Some(key.as_bytes()), value.map(str::as_bytes), &[]);
    }
    CheckedBatch::from_trusted(builder.build()).unwrap()
}

pub(crate) fn candidate(log: &PartitionLog, segment_bytes: u64) -> LogToClean {
    LogToClean { log: log.clone(), rules: rules(segment_bytes), last_stable_offset: log.log_end_offset() }
}

/// One cleaning, if the log is due.
/// So long replaced files stay, from the monotonic time zero.
const DELAY: Duration = Duration::from_secs(60);

pub(crate) fn clean_once(cleaner: &Cleaner, candidate: LogToClean, now: i64) -> Option<Result<Cleaning, CleanError>> {
    let mut choice = choose_logs(vec![candidate], Timestamp(now), 1);
    assert!(choice.failed.is_empty(), "{:?}", choice.failed);
    choice.chosen.pop().map(|chosen| cleaner.clean(&chosen, Timestamp(now), &|| DELAY, &mut |_| ControlFlow::Continue(())))
}

/// Cleans until there is nothing to clean. How often that was.
pub(crate) fn clean(store: &Store, log: &PartitionLog, segment_bytes: u64, now: i64) -> usize {
    store.flush_index().unwrap();
    let cleaner = Cleaner::new(1 << 20, 0.9);
    let mut rounds = 0;
    while let Some(cleaned) = clean_once(&cleaner, candidate(log, segment_bytes), now) {
        cleaned.unwrap();
        rounds += 1;
    }
    rounds
}

pub(crate) type Found = Vec<(i64, String, Option<String>)>;

/// All records: offset, key, value.
pub(crate) fn records(log: &PartitionLog) -> Found {
    records_in(&read_all(log).unwrap())
}

pub(crate) fn records_in(bytes: &[u8]) -> Found {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut all = Vec::new();
    for batch in BatchIter::new(bytes) {
        batch
            .unwrap()
            .walk_records(DecompressLimits::default(), &mut |record| {
                all.push((record.offset, text(record.key.unwrap_or_default()), record.value.map(text)));
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    all
}

fn newest(records: &Found) -> BTreeMap<String, (i64, Option<String>)> {
    records.iter().map(|(offset, key, value)| (key.clone(), (*offset, value.clone()))).collect()
}

fn owned(records: &[(i64, &str, Option<&str>)]) -> Found {
    records.iter().map(|(offset, key, value)| (*offset, (*key).to_owned(), value.map(str::to_owned))).collect()
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    segment_files(directory, 0).iter().map(|file| file.file_name().unwrap().to_str().unwrap().trim_start_matches('0').to_owned()).collect()
}

/// Segments that hold one batch each.
pub(crate) const ONE_BATCH: u64 = 100;

/// a=1 b=1 | a=2 | c=1 | b=2 a=3 | d=1, the last one active.
pub(crate) fn five_segments(store: &Store) -> PartitionLog {
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    let batches: [&[_]; 5] = [
        &[("a", Some("1")), ("b", Some("1"))],
        &[("a", Some("2"))],
        &[("c", Some("1"))],
        &[("b", Some("2")), ("a", Some("3"))],
        &[("d", Some("1"))],
    ];
    for batch in batches {
        append(store, &log, keyed(batch)).unwrap();
    }
    log
}

#[test]
fn the_newest_record_of_each_key_is_left_where_it_was() {
    let dir = scratch();
    let store = open(dir.path());
    let log = five_segments(&store);
    assert_eq!(clean(&store, &log, 1_000, NOW), 1);
    let expected = owned(&[(3, "c", Some("1")), (4, "b", Some("2")), (5, "a", Some("3")), (6, "d", Some("1"))]);
    assert_eq!(records(&log), expected);
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.first_dirty_offset().unwrap()), (offset(0), offset(7), Some(offset(6))));
    // Replaced files go later.
    assert_eq!((names(dir.path()), deleted_files(dir.path(), 0).len()), (vec![".1.log".to_owned(), "6.0.log".to_owned()], 4));
    store.remove_due(DELAY - Duration::from_millis(1)).unwrap();
    assert_eq!((store.next_removal(), deleted_files(dir.path(), 0).len()), (Some(DELAY), 4));
    store.remove_due(DELAY).unwrap();
    assert_eq!((store.next_removal(), deleted_files(dir.path(), 0).len()), (None, 0));
    assert_eq!(records(&log), expected);
    drop((log, store));
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    assert_eq!(records(&log), expected);
    assert_eq!(append(&store, &log, keyed(&[("c", Some("2"))])).unwrap().base_offset, offset(7));
    append(&store, &log, keyed(&[("e", Some("1"))])).unwrap();
    assert_eq!(clean(&store, &log, 1_000, NOW), 1);
    assert_eq!(records(&log).iter().map(|record| record.0).collect::<Vec<_>>(), [4, 5, 6, 7, 8]);
    assert!(names(dir.path()).contains(&".2.log".to_owned()));
}

#[test]
fn the_next_open_removes_replaced_files_and_finishes_what_was_half_done() {
    let dir = scratch();
    let store = open(dir.path());
    let log = five_segments(&store);
    clean(&store, &log, 1_000, NOW);
    let expected = records(&log);
    drop((log, store));
    let directory = dir.path().join("partitions").join(partition(0).to_string());
    std::fs::write(directory.join("00000000000000000003.7.cleaned"), b"half-made").unwrap();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    assert_eq!(names(dir.path()), [".1.log", "6.0.log"]);
    assert_eq!(records(&log), expected);
}

#[test]
fn readers_go_on_through_a_cleaning_and_find_what_follows_a_hole() {
    let dir = scratch();
    let store = open(dir.path());
    let log = five_segments(&store);
    let held = log.read(offset(0), Offset::MAX, 1 << 20, true).unwrap();
    clean(&store, &log, 1_000, NOW);
    store.remove_due(Duration::MAX).unwrap();
    // What was on its way to a socket is complete.
    assert_eq!(records_in(&held.into_bytes().unwrap())[..2], owned(&[(0, "a", Some("1")), (1, "b", Some("1"))]));
    // From an offset inside a hole: the next batch.
    for from in 0..=3 {
        let bytes = read_bytes(&log, offset(from), Offset::MAX, 1 << 20).unwrap();
        assert_eq!(records_in(&bytes)[0].0, 3, "from {from}");
    }
    assert!(matches!(log.read(offset(8), Offset::MAX, 100, true), Err(ReadError::OutOfRange { .. })));
    assert_eq!(read_bytes(&log, offset(0), offset(0), 100).unwrap().len(), 0);
    // A bound inside the hole shows nothing of what lies behind it.
    assert_eq!(read_bytes(&log, offset(0), offset(2), 100).unwrap().len(), 0);
}

#[test]
fn reads_that_meet_swaps_and_removed_files_see_each_key_and_never_fail() {
    let dir = scratch();
    // One open file at a time, so that readers must open files again.
    let store = Store::open(StoreOptions { open_segments_max: 1, tail_bytes_per_partition: 0, ..options(dir.path()) }).unwrap();
    let log = store.open_partition(partition(0), small_segments(300)).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let write = |number: i32| {
        let value = number.to_string();
        append(&store, &log, keyed(&[(&format!("k{}", number % 5), Some(&value)), ("x", Some(&value))])).unwrap();
    };
    (0..10).for_each(write);
    std::thread::scope(|scope| {
        let readers = [(); 2].map(|()| {
            scope.spawn(|| {
                let mut reads = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let found = records(&log);
                    assert!(found.is_sorted_by_key(|record| record.0));
                    assert_eq!(newest(&found).len(), 6);
                    let timed = log.first_at_or_after(Timestamp(NOW), Offset::MAX).unwrap();
                    assert!(timed.is_some() && log.max_timestamp().unwrap().is_some());
                    reads += 1;
                }
                reads
            })
        });
        for number in 10..130 {
            write(number);
            if number % 4 == 0 {
                clean(&store, &log, if number % 8 == 0 { 600 } else { 1 }, NOW);
                store.remove_due(Duration::MAX).unwrap();
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        readers.into_iter().for_each(|reader| assert!(reader.join().unwrap() > 0));
    });
}

#[test]
fn the_end_of_a_cleaned_segment_may_be_empty_and_so_may_all_of_it() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    for value in ["1", "2", "3"] {
        append(&store, &log, keyed(&[("a", Some(value))])).unwrap();
    }
    append(&store, &log, keyed(&[("b", Some("1"))])).unwrap();
    // One segment each: the first two are left without a batch.
    assert_eq!(clean(&store, &log, 1, NOW), 1);
    let expected = owned(&[(2, "a", Some("3")), (3, "b", Some("1"))]);
    assert_eq!(records(&log), expected);
    for from in 0..=2 {
        assert_eq!(records_in(&read_bytes(&log, offset(from), Offset::MAX, 1 << 20).unwrap())[0].0, 2);
    }
    store.close().unwrap();
    drop((log, store));
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    assert_eq!((records(&log), log.log_end_offset()), (expected, offset(4)));
}

#[test]
fn an_active_segment_without_rows_follows_a_cleaned_one() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    append(&store, &log, keyed(&[("b", Some("1"))])).unwrap();
    append(&store, &log, keyed(&[("a", Some("1"))])).unwrap();
    append(&store, &log, keyed(&[("a", Some("2"))])).unwrap();
    store.flush_index().unwrap();
    let cleaner = Cleaner::new(1 << 20, 0.9);
    clean_once(&cleaner, candidate(&log, 1_000), NOW).unwrap().unwrap();
    append(&store, &log, keyed(&[("c", Some("1"))])).unwrap();
    append(&store, &log, keyed(&[("a", Some("3"))])).unwrap();
    let expected = records(&log);
    // A death, so that there is no row of the last appends.
    drop((log, store));
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    assert_eq!((records(&log), log.log_end_offset()), (expected, offset(5)));
}

#[test]
fn what_is_not_stable_not_synced_or_without_a_row_is_left_alone() {
    let dir = scratch();
    let store = open(dir.path());
    let log = five_segments(&store);
    let cleaner = Cleaner::new(1 << 20, 0.9);
    store.flush_index().unwrap();
    let bounded = |end| LogToClean { last_stable_offset: offset(end), ..candidate(&log, 1_000) };
    assert!(clean_once(&cleaner, bounded(1), NOW).is_none());
    let cleaning = clean_once(&cleaner, bounded(4), NOW).unwrap().unwrap();
    assert_eq!((cleaning.first_dirty_offset, cleaning.next_dirty_offset), (offset(0), offset(4)));
    assert_eq!(records(&log).iter().map(|record| record.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_map_with_room_for_a_few_keys_cleans_in_rounds() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(400)).unwrap();
    let mut expected = BTreeMap::new();
    for number in 0..60 {
        let key = format!("k{}", number % 17);
        let value = number.to_string();
        let at = append(&store, &log, keyed(&[(&key, Some(&value))])).unwrap().base_offset;
        expected.insert(key, (at.get(), Some(value)));
    }
    append(&store, &log, keyed(&[("last", Some(&"x".repeat(400)))])).unwrap();
    store.flush_index().unwrap();
    let before = newest(&records(&log));
    let cleaner = Cleaner::new(24 * 6, 0.9);
    let mut rounds = 0;
    while let Some(cleaned) = clean_once(&cleaner, candidate(&log, 1_000), NOW) {
        assert!(cleaned.unwrap().map_bytes <= 24 * 6);
        rounds += 1;
        assert_eq!(newest(&records(&log)), before);
    }
    assert!(rounds >= 12, "{rounds}");
    let left = records(&log);
    assert_eq!(left.len(), 18);
    assert!(expected.iter().all(|(key, (at, value))| left.contains(&(*at, key.clone(), value.clone()))));
}

#[test]
fn tombstones_outlive_what_they_delete_by_the_retention() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    for batch in [[("a", Some("1"))], [("a", None)], [("b", Some("1"))]] {
        append(&store, &log, keyed(&batch)).unwrap();
    }
    clean(&store, &log, 1_000, NOW);
    assert_eq!(records(&log), owned(&[(1, "a", None), (2, "b", Some("1"))]));
    let again = |number: i64, now: i64| {
        append(&store, &log, keyed(&[("b", Some(&number.to_string()))])).unwrap();
        clean(&store, &log, 1_000, now);
        records(&log).iter().any(|(_, key, _)| key == "a")
    };
    assert!(again(2, NOW + RETENTION_MS - 1));
    assert!(!again(3, NOW + RETENTION_MS));
}

#[test]
fn a_producers_last_batch_outlives_its_records_so_that_its_retry_is_known() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    let produced = |sequence: i32, value: &str| {
        let mut builder = BatchBuilder::new().with_producer(ProducerId::new_or_zero(7), ProducerEpoch::ZERO, Sequence::new(sequence));
        builder.append(NOW, Some(b"a"), Some(value.as_bytes()), &[]);
        CheckedBatch::from_trusted(builder.build()).unwrap()
    };
    append(&store, &log, produced(0, "1")).unwrap();
    append(&store, &log, produced(1, "2")).unwrap();
    append(&store, &log, keyed(&[("a", Some("3"))])).unwrap();
    append(&store, &log, keyed(&[("b", Some("1"))])).unwrap();
    clean(&store, &log, 1_000, NOW);
    assert_eq!(records(&log), owned(&[(2, "a", Some("3")), (3, "b", Some("1"))]));
    assert_eq!(offsets(&read_all(&log).unwrap()), [(1, 2), (2, 3), (3, 4)]);
    assert!(append(&store, &log, produced(1, "2")).unwrap().duplicate);
    // Known from the header alone, too.
    store.close().unwrap();
    drop((log, store));
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    assert!(append(&store, &log, produced(1, "2")).unwrap().duplicate);
    assert_eq!(append(&store, &log, produced(2, "4")).unwrap().base_offset, offset(4));
}

#[test]
fn records_are_found_by_their_time_after_a_cleaning() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    let at = |time: i64, key: &str| {
        let mut builder = BatchBuilder::new();
        builder.append(time, Some(key.as_bytes()), Some(b"1"), &[]);
        CheckedBatch::from_trusted(builder.build()).unwrap()
    };
    // The newest time is of a record that goes; its batch stays as a header, since the cleaning ends there.
    for (time, key) in [(10, "a"), (20, "b"), (30, "a"), (90, "c"), (40, "c")] {
        append(&store, &log, at(time, key)).unwrap();
    }
    store.flush_index().unwrap();
    let cleaner = Cleaner::new(1 << 20, 0.9);
    clean_once(&cleaner, candidate(&log, 1_000), NOW).unwrap().unwrap();
    let find = |time: i64| {
        log.first_at_or_after(Timestamp(time), Offset::MAX).unwrap().map(|found| (found.offset.get(), found.timestamp.millis()))
    };
    assert_eq!([0, 11, 21, 31, 91].map(find), [Some((1, 20)), Some((1, 20)), Some((2, 30)), Some((3, 90)), None]);
    append(&store, &log, at(50, "d")).unwrap();
    assert_eq!(clean(&store, &log, 1_000, NOW), 1);
    assert_eq!([31, 41, 51].map(find), [Some((4, 40)), Some((5, 50)), None]);
    assert_eq!(log.max_timestamp().unwrap().map(|found| found.offset.get()), Some(5));
}

#[test]
fn a_lag_keeps_young_records_as_they_are_and_makes_old_ones_due() {
    let dir = scratch();
    let store = open(dir.path());
    let log = five_segments(&store);
    store.flush_index().unwrap();
    let cleaner = Cleaner::new(1 << 20, 0.9);
    let lagging = |min, max, ratio| {
        let rules =
            CompactionRules { min_compaction_lag_ms: min, max_compaction_lag_ms: max, min_cleanable_dirty_ratio: ratio, ..rules(1_000) };
        LogToClean { rules, ..candidate(&log, 1_000) }
    };
    assert!(clean_once(&cleaner, lagging(100, i64::MAX, 0.0), NOW + 99).is_none());
    assert!(clean_once(&cleaner, lagging(0, i64::MAX, 1.0), NOW + 50).is_none());
    assert!(clean_once(&cleaner, lagging(0, 100, 1.0), NOW + 100).is_none());
    let cleaning = clean_once(&cleaner, lagging(0, 100, 1.0), NOW + 102).unwrap().unwrap();
    assert_eq!(cleaning.next_dirty_offset, offset(6));
}

#[test]
fn a_cleaning_that_is_told_to_stop_leaves_the_log_whole_and_no_file() {
    let dir = scratch();
    let store = open(dir.path());
    let log = five_segments(&store);
    store.flush_index().unwrap();
    let before = records(&log);
    let cleaner = Cleaner::new(1 << 20, 0.9);
    for stop_at in 0..9 {
        let mut choice = choose_logs(vec![candidate(&log, 1)], Timestamp(NOW), 1);
        let Some(chosen) = choice.chosen.pop() else { break };
        let mut pieces = 0;
        let mut pace = |_: u64| {
            pieces += 1;
            if pieces > stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let result = cleaner.clean(&chosen, Timestamp(NOW), &|| Duration::ZERO, &mut pace);
        if stop_at == 8 {
            assert!(result.is_ok(), "{result:?}");
        } else {
            assert!(matches!(result, Err(CleanError::Stopped)), "{stop_at}: {result:?}");
        }
        assert_eq!(newest(&records(&log)), newest(&before));
        assert!(names(dir.path()).iter().all(|name| !name.ends_with("cleaned")));
    }
}

#[test]
fn a_truncation_or_a_deletion_ends_a_cleaning_that_is_under_way() {
    for deletes in [false, true] {
        let dir = scratch();
        let store = open(dir.path());
        let log = five_segments(&store);
        store.flush_index().unwrap();
        let cleaner = Cleaner::new(1 << 20, 0.9);
        let chosen = choose_logs(vec![candidate(&log, 1_000)], Timestamp(NOW), 1).chosen.pop().unwrap();
        let mut pieces = 0;
        let mut pace = |_: u64| {
            pieces += 1;
            // In the middle of the writing.
            if pieces == 6 && deletes {
                store.delete_partition(partition(0)).unwrap();
            } else if pieces == 6 {
                log.truncate(offset(3)).unwrap();
            }
            ControlFlow::Continue(())
        };
        let result = cleaner.clean(&chosen, Timestamp(NOW), &|| Duration::ZERO, &mut pace);
        assert!(matches!(result, Err(CleanError::Changed)), "{result:?}");
        if deletes {
            assert!(names(dir.path()).is_empty());
        } else {
            assert_eq!(records(&log).iter().map(|record| record.0).collect::<Vec<_>>(), [0, 1, 2]);
            assert_eq!(names(dir.path()), [".0.log", "2.0.log", "3.0.log"]);
        }
    }
}

#[test]
fn a_removal_that_is_due_takes_no_file_that_was_made_under_the_name_of_a_replaced_one() {
    let (dir, found) = (scratch(), scratch());
    let store = open(dir.path());
    let log = five_segments(&store);
    clean(&store, &log, 1_000, NOW);
    log.truncate(offset(3)).unwrap();
    assert_eq!(deleted_files(dir.path(), 0).len(), 4, "their time has not come");
    append(&store, &log, keyed(&[("x", Some("1"))])).unwrap();
    append(&store, &log, keyed(&[("y", Some("1"))])).unwrap();
    let expected = records(&log);
    assert!(names(dir.path()).contains(&"4.0.log".to_owned()), "{:?}", names(dir.path()));
    store.remove_due(Duration::MAX).unwrap();
    assert!(deleted_files(dir.path(), 0).is_empty());
    copy_directory(dir.path(), found.path());
    for directory in [dir.path(), found.path()] {
        assert!(names(directory).contains(&"4.0.log".to_owned()), "{:?}", names(directory));
    }
    let store = open(found.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    assert_eq!(records(&log), expected);
}

#[test]
fn a_truncation_finds_the_segment_whose_end_is_empty() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    for (key, value) in [("b", "1"), ("a", "1"), ("a", "2"), ("c", "1"), ("d", "1")] {
        append(&store, &log, keyed(&[(key, Some(value))])).unwrap();
    }
    // Two segments: b and the hole where a was, then the rest.
    clean(&store, &log, 160, NOW);
    assert_eq!(records(&log).iter().map(|record| record.0).collect::<Vec<_>>(), [0, 2, 3, 4]);
    log.truncate(offset(1)).unwrap();
    assert_eq!((log.log_end_offset(), records(&log).len()), (offset(1), 1));
    append(&store, &log, keyed(&[("e", Some("1"))])).unwrap();
    let expected = records(&log);
    drop((log, store));
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    assert_eq!((records(&log), log.log_end_offset()), (expected, offset(2)));
}

#[test]
fn a_moved_log_start_and_a_cleaning_agree() {
    let dir = scratch();
    let store = open(dir.path());
    let log = five_segments(&store);
    clean(&store, &log, 1_000, NOW);
    log.advance_log_start(offset(5)).unwrap();
    assert_eq!(records_in(&read_bytes(&log, offset(5), Offset::MAX, 1 << 20).unwrap())[0].0, 4);
    assert_eq!(records_in(&read_bytes(&log, offset(6), Offset::MAX, 1 << 20).unwrap())[0].0, 6);
    append(&store, &log, keyed(&[("a", Some("9"))])).unwrap();
    clean(&store, &log, 1_000, NOW);
    log.advance_log_start(offset(7)).unwrap();
    drop((log, store));
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (offset(7), offset(8)));
    assert_eq!(records(&log), owned(&[(7, "a", Some("9"))]));
}

#[test]
fn a_batch_that_cannot_be_read_stops_the_cleaning_and_nothing_is_lost() {
    let dir = scratch();
    let store = open(dir.path());
    let log = five_segments(&store);
    store.flush_index().unwrap();
    drop((log, store));
    let victim = &segment_files(dir.path(), 0)[1];
    let mut bytes = std::fs::read(victim).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(victim, &bytes).unwrap();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    let result = clean_once(&Cleaner::new(1 << 20, 0.9), candidate(&log, 1_000), NOW).unwrap();
    assert!(result.is_err_and(|error| error.is_lasting()));
    assert_eq!(names(dir.path()).len(), 5);
}

#[test]
fn a_full_disk_stops_a_cleaning_that_may_be_tried_again() {
    for failpoint in ["compaction.after_create", "compaction.before_sync", "compaction.before_swap"] {
        let dir = scratch();
        let store = open_with(dir.path(), failpoint, 1, FailAction::NoSpace);
        let log = five_segments(&store);
        store.flush_index().unwrap();
        let cleaner = Cleaner::new(1 << 20, 0.9);
        let error = clean_once(&cleaner, candidate(&log, 1_000), NOW).unwrap().unwrap_err();
        assert!(!error.is_lasting(), "{failpoint}: {error}");
        assert_eq!(names(dir.path()).len(), 5, "{failpoint}");
        clean_once(&cleaner, candidate(&log, 1_000), NOW).unwrap().unwrap();
        assert_eq!(records(&log).len(), 4);
    }
}

/// Segments of a few batches with rewritten keys, cleaned once before, so that there are all kinds of files.
fn history(store: &Store) -> PartitionLog {
    let log = store.open_partition(partition(0), small_segments(300)).unwrap();
    let write = |from: i32, to: i32| {
        for number in from..to {
            let value = number.to_string();
            append(store, &log, keyed(&[(&format!("k{}", number % 7), Some(&value)), (&format!("r{}", number % 3), None)])).unwrap();
        }
    };
    write(0, 20);
    clean(store, &log, 600, NOW);
    write(20, 40);
    store.flush_index().unwrap();
    log
}

#[test]
fn a_death_at_any_moment_of_a_cleaning_loses_nothing_and_brings_nothing_back() {
    for failpoint in log_store::FAILPOINTS.iter().filter(|name| name.starts_with("compaction.")) {
        let mut looked_at = 0;
        // The first hits are the history's.
        for hit in 4..=13 {
            let (dir, found) = (scratch(), scratch());
            let (from, to) = (dir.path().to_owned(), found.path().join("found"));
            let copy = FailAction::Call(Arc::new(move || copy_directory(&from, &to)));
            let store = open_with(dir.path(), failpoint, hit, copy);
            let log = history(&store);
            // Only a copy that is made from here on is looked at.
            let in_history = found.path().join("found").exists();
            let before = records(&log);
            let rounds = clean(&store, &log, 600, NOW + RETENTION_MS);
            store.remove_due(Duration::MAX).unwrap();
            assert_eq!(rounds, 1);
            let after = records(&log);
            drop((log, store));
            if in_history || !found.path().join("found").exists() {
                continue;
            }
            let context = format!("{failpoint}={hit}");
            looked_at += 1;
            let faults = crate::inspecting::verified(&found.path().join("found")).0.faults();
            assert_eq!(faults, Vec::<String>::new(), "{context}: a check before the open");
            for _ in 0..2 {
                let store = open(&found.path().join("found"));
                let log = store.open_partition(partition(0), small_segments(300)).unwrap();
                assert_eq!(log.log_end_offset(), offset(80), "{context}");
                let now = records(&log);
                assert!(now.iter().all(|record| before.contains(record)), "{context}: something came back");
                assert!(after.iter().all(|record| now.contains(record)), "{context}: something is lost");
                assert!(now.is_sorted_by_key(|record| record.0));
                let names = names(&found.path().join("found"));
                assert!(names.iter().all(|name| !name.ends_with("cleaned")), "{context}: {names:?}");
            }
            let store = open(&found.path().join("found"));
            let log = store.open_partition(partition(0), small_segments(300)).unwrap();
            clean(&store, &log, 600, NOW + RETENTION_MS);
            assert_eq!(records(&log), after, "{context}");
        }
        assert!(looked_at > 1, "{failpoint}: {looked_at}");
    }
}

#[test]
fn with_group_durability_a_replay_leaves_swapped_segments_alone() {
    let (dir, found) = (scratch(), scratch());
    let group = |directory: &Path| {
        let durability = log_store::Durability::Group;
        Store::open(StoreOptions { durability, ..options(directory) }).unwrap()
    };
    let store = group(dir.path());
    let log = history(&store);
    clean(&store, &log, 600, NOW);
    store.remove_due(Duration::MAX).unwrap();
    append(&store, &log, keyed(&[("k1", Some("new"))])).unwrap();
    let (expected, files) = (records(&log), names(dir.path()));
    // The worst of power cuts: of what no sync was asked for nothing is left; the journal has it.
    let found = found.path().join("found");
    copy_directory(dir.path(), &found);
    let active = segment_files(&found, 0).pop().unwrap();
    std::fs::File::options().write(true).open(active).unwrap().set_len(0).unwrap();
    for _ in 0..2 {
        let store = group(&found);
        let log = store.open_partition(partition(0), small_segments(300)).unwrap();
        assert_eq!(records(&log), expected);
        assert_eq!(names(&found), files);
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

/// The long form: `KLAMM_COMPACT_KEYS=50000000 KLAMM_COMPACT_MAP_BYTES=268435456`.
#[test]
fn millions_of_keys_are_cleaned_in_rounds_within_the_maps_memory() {
    let keys = number("KLAMM_COMPACT_KEYS", 5_000_000);
    let map_bytes = number("KLAMM_COMPACT_MAP_BYTES", 24_000_000);
    const PER_BATCH: u64 = 10_000;
    const SEGMENT_BYTES: u64 = 64 << 20;
    let dir = scratch();
    let store = Store::open(StoreOptions::new(dir.path())).unwrap();
    let log = store.open_partition(partition(0), small_segments(SEGMENT_BYTES)).unwrap();
    let write = |first: u64, step: u64, marker: u8| {
        let mut builder = BatchBuilder::new();
        let mut key = first;
        for _ in 0..PER_BATCH {
            builder.append(NOW, Some(&key.to_be_bytes()), Some(&[marker]), &[]);
            key += step;
        }
        append(&store, &log, CheckedBatch::from_trusted(builder.build()).unwrap()).unwrap();
    };
    // Each key once, then every tenth again.
    (0..keys / PER_BATCH).for_each(|batch| write(batch * PER_BATCH, 1, 1));
    (0..keys / 10 / PER_BATCH).for_each(|batch| write(batch * PER_BATCH * 10, 10, 2));
    // A roll, so that all of it lies in complete segments.
    store.open_partition(partition(0), LogConfig { segment_bytes: 1, ..LogConfig::default() }).unwrap();
    append(&store, &log, keyed(&[("last", Some("x"))])).unwrap();
    store.flush_index().unwrap();
    let cleaner = Cleaner::new(usize::try_from(map_bytes).unwrap(), 0.9);
    let mut rounds = 0;
    while let Some(cleaned) = clean_once(&cleaner, candidate(&log, SEGMENT_BYTES), NOW) {
        let cleaned = cleaned.unwrap();
        assert!(cleaned.map_bytes <= map_bytes, "{cleaned:?}");
        store.remove_due(Duration::MAX).unwrap();
        rounds += 1;
    }
    let rewritten = keys + keys / 10;
    assert_eq!(rounds, rewritten.div_ceil(map_bytes / 24 * 9 / 10), "rounds");
    let (mut left, mut newer, mut from) = (0_u64, 0_u64, offset(0));
    while from < log.log_end_offset() {
        let bytes = read_bytes(&log, from, Offset::MAX, 4 << 20).unwrap();
        for batch in BatchIter::new(&bytes) {
            let batch = batch.unwrap();
            from = offset(batch.header().next_offset());
            let each = &mut |record: record_batch::RecordView<'_>| {
                left += 1;
                newer += u64::from(record.value == Some(&[2]));
                ControlFlow::Continue(())
            };
            batch.walk_records(DecompressLimits::default(), each).unwrap();
        }
    }
    assert_eq!((left, newer), (keys + 1, keys / 10));
}

/// The open must take nothing away for what it cannot find.
#[test]
fn replaced_files_stay_when_what_stands_for_them_is_gone() {
    let dir = scratch();
    let store = open(dir.path());
    let log = five_segments(&store);
    clean(&store, &log, 1_000, NOW);
    drop((log, store));
    let is_cleaned = |path: &&PathBuf| path.to_str().unwrap().ends_with(".1.log");
    let cleaned = segment_files(dir.path(), 0).iter().find(is_cleaned).unwrap().clone();
    let saved = dir.path().join("saved");
    std::fs::rename(&cleaned, &saved).unwrap();
    let before = names(dir.path());
    let store = open(dir.path());
    let refusal = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap_err();
    assert!(matches!(&refusal, log_store::StorageError::MissingSegment { path, .. } if *path == cleaned), "{refusal}");
    assert_eq!(names(dir.path()), before);
    // Once it is back, all is well, and what it stands for goes.
    std::fs::rename(&saved, &cleaned).unwrap();
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    assert_eq!(records(&log).iter().map(|record| record.0).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert_eq!(names(dir.path()), [".1.log", "6.0.log"]);
}

/// Seen in the order of system calls, since ext4 brings the names along with the file. Everybody else's syncs of directories are left out.
#[test]
fn a_swap_comes_after_the_sync_of_each_directory_that_leads_to_the_file() {
    const NAME: &str = "compacting::a_swap_comes_after_the_sync_of_each_directory_that_leads_to_the_file";
    if std::env::var_os("KLAMM_TRACED").is_some() {
        let dir = scratch();
        let store = open_with(dir.path(), "sync.before_directory", 1, FailAction::Skip);
        clean(&store, &five_segments(&store), 1_000, NOW);
        return;
    }
    let dir = scratch();
    let out = dir.path().join("trace");
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-y", "-e", "trace=fsync,rename", "-o"]).arg(&out).arg(std::env::current_exe().unwrap());
    command.args(["--exact", NAME]).env("KLAMM_TRACED", "1").stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    if !command.status().is_ok_and(|status| status.success()) {
        println!("skipped: needs strace, and the right to use it");
        return;
    }
    let calls = std::fs::read_to_string(out).unwrap();
    let before_swap: Vec<_> = calls.lines().take_while(|call| !(call.contains("rename(") && call.contains(".cleaned"))).collect();
    assert!(before_swap.len() < calls.lines().count(), "{calls}");
    for end in ["-0>", "/partitions>"] {
        assert!(before_swap.iter().any(|call| call.contains("fsync(") && call.contains(end)), "{end} in {before_swap:?}");
    }
}
