//! Retention: what a check drops, what readers see of it, and what a kill or a power cut leaves.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use log_store::{
    CleanError, Cleaner, DropReason, Durability, FailAction, Failpoints, LogConfig, PartitionLog, ReadError, Retention, RetentionCheck,
    Store, StoreOptions, choose_logs,
};
use model::{Offset, Timestamp};
use record_batch::BatchBuilder;
use tempfile::TempDir;

use crate::compacting::{candidate, clean, keyed, records};
use crate::scratch::*;

const BOTH: [Durability; 2] = [Durability::Os, Durability::Group];

fn open_in(directory: &Path, durability: Durability) -> Store {
    Store::open(StoreOptions { durability, ..options(directory) }).unwrap()
}

/// Two batches a segment.
fn config(retention: Retention) -> LogConfig {
    LogConfig { retention, ..small_segments(2_500) }
}

fn append_timed(store: &Store, log: &PartitionLog, timestamps: std::ops::Range<i64>) {
    for timestamp in timestamps {
        append(store, log, batch(&[NOW + timestamp], 1_000)).unwrap();
    }
}

/// Ten batches at `NOW` and the nine milliseconds behind it, in five segments.
fn ten(store: &Store, retention: Retention) -> PartitionLog {
    let log = store.open_partition(partition(0), config(retention)).unwrap();
    append_timed(store, &log, 0..10);
    log
}

#[test]
fn old_segments_go_and_readers_see_a_shorter_log() {
    for durability in BOTH {
        let dir = scratch();
        let store = open_in(dir.path(), durability);
        let log = ten(&store, keeping_ms(1_000));
        let size_before = log.size_bytes();
        assert!(retain(&store, &log, offset(10), NOW + 1_000).is_none());
        // The newest of the second segment is at NOW + 3.
        let held = log.read(offset(2), Offset::MAX, 100, true).unwrap();
        let retained = retain(&store, &log, offset(10), NOW + 1_004).unwrap();
        assert_eq!((retained.drops, retained.log_start), (vec![DropReason::RetentionMs; 2], offset(4)));
        assert_eq!((log.log_start_offset(), log.size_bytes()), (offset(4), size_before - retained.size_bytes));
        assert!(
            matches!(log.read(offset(3), Offset::MAX, 100, true), Err(ReadError::OutOfRange { log_start, .. }) if log_start == offset(4))
        );
        assert_eq!(offsets(&read_all(&log).unwrap()).first(), Some(&(4, 5)));
        assert_eq!(log.first_at_or_after(Timestamp(NOW), Offset::MAX).unwrap().unwrap().offset, offset(4));
        assert_eq!(log.max_timestamp().unwrap().unwrap().offset, offset(9));
        // The files stay for a minute, and who reads one goes on.
        assert_eq!((segment_files(dir.path(), 0).len(), deleted_files(dir.path(), 0).len()), (3, 2));
        assert_eq!(store.next_removal(), Some(Duration::from_secs(60)));
        store.remove_due(Duration::from_secs(59)).unwrap();
        assert_eq!(deleted_files(dir.path(), 0).len(), 2);
        store.remove_due(Duration::from_secs(60)).unwrap();
        assert_eq!((deleted_files(dir.path(), 0).len(), store.next_removal()), (0, None));
        assert_eq!(offsets(&held.into_bytes().unwrap()), [(2, 3)]);
        // A kill changes nothing, a clean stop neither.
        let found = [killed(&dir), {
            store.close().unwrap();
            killed(&dir)
        }];
        for found in found {
            let store = open_in(found.path(), durability);
            let log = store.open_partition(partition(0), config(keeping_ms(1_000))).unwrap();
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (offset(4), offset(10)));
            assert_eq!(offsets(&read_all(&log).unwrap()).first(), Some(&(4, 5)));
        }
    }
}

/// The directory as a kill at this moment leaves it.
fn killed(dir: &TempDir) -> TempDir {
    let found = scratch();
    copy_directory(dir.path(), found.path());
    found
}

#[test]
fn an_old_active_segment_goes_with_its_log_and_the_next_append_begins_another() {
    for durability in BOTH {
        for indexed in [false, true] {
            let dir = scratch();
            let store = open_in(dir.path(), durability);
            let log = store.open_partition(partition(0), config(keeping_ms(1_000))).unwrap();
            for sequence in 0..5 {
                append_in(&store, &log, produced(7, 2, sequence, 1), epoch(3)).unwrap();
            }
            if indexed {
                store.flush_index().unwrap();
            }
            // An unacknowledged end keeps it.
            assert!(retain(&store, &log, offset(4), NOW + 9_000).is_none());
            assert_eq!(retain(&store, &log, offset(5), NOW + 9_000).unwrap().log_start, offset(5));
            assert_eq!((log.log_start_offset(), log.log_end_offset(), log.size_bytes()), (offset(5), offset(5), 0));
            assert!(read_all(&log).unwrap().is_empty() && log.max_timestamp().unwrap().is_none());
            assert!(retain(&store, &log, offset(5), NOW + 9_000).is_none());
            store.remove_due(Duration::MAX).unwrap();
            // The producer and the epoch are known on, also after a kill at this very moment.
            let check = |store: &Store, log: &PartitionLog| {
                assert_eq!((log.log_start_offset(), log.log_end_offset()), (offset(5), offset(5)));
                assert!(append_in(store, log, produced(7, 2, 4, 1), epoch(3)).unwrap().duplicate);
                assert_eq!(append_in(store, log, produced(7, 2, 5, 1), epoch(3)).unwrap().base_offset, offset(5));
                assert_eq!(log.end_offset_for_epoch(epoch(2)), Some((epoch(2), offset(5))));
                assert_eq!(offsets(&read_all(log).unwrap()), [(5, 6)]);
            };
            let found = killed(&dir);
            check(&store, &log);
            let store = open_in(found.path(), durability);
            let log = store.open_partition(partition(0), config(keeping_ms(1_000))).unwrap();
            check(&store, &log);
            drop((log, store));
            let store = open_in(found.path(), durability);
            let log = store.open_partition(partition(0), config(keeping_ms(1_000))).unwrap();
            assert_eq!(offsets(&read_all(&log).unwrap()), [(5, 6)]);
        }
    }
}

#[test]
fn a_log_keeps_at_least_what_retention_bytes_allows() {
    let dir = scratch();
    let store = open(dir.path());
    let log = ten(&store, keeping_bytes(4_500));
    let retained = retain(&store, &log, offset(10), NOW).unwrap();
    assert_eq!((retained.drops, retained.log_start), (vec![DropReason::RetentionBytes; 2], offset(4)));
    assert!(log.size_bytes() > 4_500 && log.size_bytes() < 4_500 + 2_500);
    assert!(retain(&store, &log, offset(10), NOW).is_none());
    // A change of the configuration acts at the next check.
    log.update_config(config(keeping_bytes(0)));
    assert_eq!(retain(&store, &log, offset(10), NOW).unwrap().log_start, offset(10));
    append_timed(&store, &log, 0..1);
    assert_eq!(offsets(&read_all(&log).unwrap()), [(10, 11)]);
}

#[test]
fn records_without_a_timestamp_are_as_old_as_their_file() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), config(keeping_ms(3_600_000))).unwrap();
    let mut builder = BatchBuilder::new();
    builder.append(-1, None, Some(b"value"), &[]);
    append(&store, &log, record_batch::CheckedBatch::from_trusted(builder.build()).unwrap()).unwrap();
    let file = &segment_files(dir.path(), 0)[0];
    let written = file.metadata().unwrap().modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    let written = i64::try_from(written.as_millis()).unwrap();
    assert!(retain(&store, &log, offset(1), written + 3_600_000).is_none());
    assert!(retain(&store, &log, offset(1), written + 3_600_001).is_some());
}

#[test]
fn a_moved_log_start_gives_its_segments_up_at_the_next_check_also_where_nothing_expires() {
    for durability in BOTH {
        let dir = scratch();
        let store = open_in(dir.path(), durability);
        let compacted = Retention { delete: false, retention_ms: Some(0), retention_bytes: Some(0) };
        let log = ten(&store, compacted);
        log.advance_log_start(offset(7)).unwrap();
        assert_eq!((log.log_start_offset(), segment_files(dir.path(), 0).len()), (offset(7), 5));
        let retained = retain(&store, &log, offset(10), NOW + 9_999).unwrap();
        assert_eq!((retained.drops, retained.log_start), (vec![DropReason::LogStart; 3], offset(7)));
        assert_eq!(offsets(&read_all(&log).unwrap()).first(), Some(&(7, 8)));
        let found = killed(&dir);
        let store = open_in(found.path(), durability);
        let log = store.open_partition(partition(0), config(compacted)).unwrap();
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (offset(7), offset(10)));
    }
}

#[test]
fn a_crash_between_the_row_and_the_files_is_finished_at_the_next_open() {
    for durability in BOTH {
        for keeps_active in [true, false] {
            let dir = scratch();
            let found = scratch();
            let (from, to) = (dir.path().to_owned(), found.path().to_owned());
            let copy = FailAction::Call(Arc::new(move || copy_directory(&from, &to)));
            let failpoints = Failpoints::arm([("retention.after_row", 1, copy)]).unwrap();
            let store = Store::open(StoreOptions { failpoints, durability, ..options(dir.path()) }).unwrap();
            let log = ten(&store, keeping_ms(1_000));
            let now = if keeps_active { NOW + 1_005 } else { NOW + 2_000 };
            let expected = retain(&store, &log, offset(10), now).unwrap().log_start;
            assert_eq!(expected, offset(if keeps_active { 4 } else { 10 }));
            // As it was when the row was there and all files, and as it was when they had been renamed.
            for found in [found, killed(&dir)] {
                let directory = found.path();
                let store = open_in(directory, durability);
                let log = store.open_partition(partition(0), config(keeping_ms(1_000))).unwrap();
                assert_eq!((log.log_start_offset(), log.log_end_offset()), (expected, offset(10)));
                assert!(deleted_files(directory, 0).is_empty());
                assert!(segment_files(directory, 0).len() <= 3, "{:?}", segment_files(directory, 0));
                append_timed(&store, &log, 1_995..1_998);
                assert_eq!(offsets(&read_all(&log).unwrap()).first(), Some(&(expected.get(), expected.get() + 1)));
                retain(&store, &log, offset(13), now);
                assert_eq!((log.log_start_offset(), log.log_end_offset()), (expected, offset(13)));
                drop((log, store));
                let store = open_in(directory, durability);
                let log = store.open_partition(partition(0), config(keeping_ms(1_000))).unwrap();
                assert_eq!((log.log_start_offset(), log.log_end_offset()), (expected, offset(13)));
            }
        }
    }
}

#[test]
fn a_dropped_file_that_cannot_be_renamed_takes_no_later_file_of_its_name_along() {
    let dir = scratch();
    let store = open(dir.path());
    let log = ten(&store, keeping_ms(1_000));
    // Whatever name it would get is taken.
    let first = segment_files(dir.path(), 0)[0].display().to_string();
    let names: Vec<_> = (0..9).map(|number| format!("{first}.{number}.deleted")).chain([format!("{first}.deleted")]).collect();
    names.iter().for_each(|name| std::fs::create_dir(name).unwrap());
    assert_eq!(retain(&store, &log, offset(10), NOW + 1_004).unwrap().log_start, offset(4));
    names.iter().for_each(|name| std::fs::remove_dir(name).unwrap());
    // A follower whose leader has other records begins anew, under the same name.
    log.reset(offset(0)).unwrap();
    append_timed(&store, &log, 2_000..2_001);
    let expected = read_all(&log).unwrap();
    store.remove_due(Duration::from_secs(60)).unwrap();
    assert_eq!(segment_files(dir.path(), 0).len(), 1, "the live file is gone");
    let found = killed(&dir);
    let log = open(found.path()).open_partition(partition(0), config(keeping_ms(1_000))).unwrap();
    assert_eq!(read_all(&log).unwrap(), expected);
}

#[test]
fn a_row_that_cannot_be_written_drops_nothing_and_stops_the_log() {
    let dir = scratch();
    let store = open_with(dir.path(), "retention.after_row", 1, FailAction::Fail);
    let log = ten(&store, keeping_ms(0));
    let check = RetentionCheck { log: log.clone(), high_watermark: offset(10) };
    let results = store.retain(&[check], Timestamp(NOW + 9_000), Duration::ZERO);
    assert!(matches!(results.as_slice(), [(_, Err(_))]));
    assert!(log.is_poisoned());
    assert_eq!((offsets(&read_all(&log).unwrap()).len(), segment_files(dir.path(), 0).len()), (10, 5));
}

/// The length of the first segment whenever one is about to be synced: so much is on the disk for sure.
fn remembering_syncs(directory: &Path) -> (Store, Arc<AtomicU64>) {
    let synced = Arc::new(AtomicU64::new(0));
    let points = Failpoints::every("sync.before", {
        let (synced, directory) = (Arc::clone(&synced), directory.to_owned());
        Arc::new(move || {
            let length = segment_files(&directory, 0).first().map_or(0, |file| file.metadata().unwrap().len());
            synced.store(length, Ordering::SeqCst);
        })
    });
    let options = StoreOptions { failpoints: points.unwrap(), durability: Durability::Group, ..options(directory) };
    (Store::open(options).unwrap(), synced)
}

fn cut_first_segment(directory: &Path, length: u64) {
    let file = &segment_files(directory, 0)[0];
    std::fs::File::options().write(true).open(file).unwrap().set_len(length).unwrap();
}

#[test]
fn what_is_appended_behind_deleted_records_survives_a_power_cut() {
    for delete_to in [12, 20] {
        let dir = scratch();
        let (store, synced) = remembering_syncs(dir.path());
        let log = store.open_partition(partition(0), LogConfig::default()).unwrap();
        for sequence in 0..20 {
            append(&store, &log, produced(7, 0, sequence, 1)).unwrap();
        }
        log.advance_log_start(offset(delete_to)).unwrap();
        for sequence in 20..30 {
            append(&store, &log, produced(7, 0, sequence, 1)).unwrap();
        }
        let expected = read_all(&log).unwrap();
        // The power goes: of the segment only what was synced is there.
        let found = killed(&dir);
        cut_first_segment(found.path(), synced.load(Ordering::SeqCst));
        for _ in 0..2 {
            let log = open_in(found.path(), Durability::Group).open_partition(partition(0), LogConfig::default()).unwrap();
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (offset(delete_to), offset(30)));
            assert_eq!(read_all(&log).unwrap(), expected);
        }
    }
}

#[test]
fn what_a_journal_is_behind_survives_a_power_cut_though_it_was_written_without_one() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), LogConfig::default()).unwrap();
    for sequence in 0..10 {
        append(&store, &log, produced(7, 0, sequence, 1)).unwrap();
    }
    drop((log, store));
    let (store, synced) = remembering_syncs(dir.path());
    let log = store.open_partition(partition(0), LogConfig::default()).unwrap();
    for sequence in 10..20 {
        append(&store, &log, produced(7, 0, sequence, 1)).unwrap();
    }
    let expected = read_all(&log).unwrap();
    let found = killed(&dir);
    cut_first_segment(found.path(), synced.load(Ordering::SeqCst));
    let log = open_in(found.path(), Durability::Group).open_partition(partition(0), LogConfig::default()).unwrap();
    assert_eq!(read_all(&log).unwrap(), expected);
}

#[test]
fn a_replay_brings_no_dropped_segment_back_and_loses_none_that_is_kept() {
    for time in [NOW + 1_004, NOW + 2_000] {
        let dir = scratch();
        let store = open_in(dir.path(), Durability::Group);
        let log = ten(&store, keeping_ms(1_000));
        let expected = retain(&store, &log, offset(10), time).unwrap().log_start;
        append_timed(&store, &log, 1_010..1_013);
        // The power goes: the newest segment, which no sync named yet, is not there, and the renamed ones have their old names.
        let found = killed(&dir);
        std::fs::remove_file(segment_files(found.path(), 0).last().unwrap()).unwrap();
        for file in deleted_files(found.path(), 0) {
            std::fs::rename(&file, file.with_extension("").with_extension("")).unwrap();
        }
        let store = open_in(found.path(), Durability::Group);
        let log = store.open_partition(partition(0), config(keeping_ms(1_000))).unwrap();
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (expected, offset(13)));
        assert_eq!(offsets(&read_all(&log).unwrap()).first(), Some(&(expected.get(), expected.get() + 1)));
        assert!(append_in(&store, &log, batch(&[NOW + 2_000], 10), epoch(0)).unwrap().base_offset == offset(13));
    }
}

#[test]
fn readers_beside_a_check_find_records_or_are_told_that_they_are_gone() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), LogConfig { file_delete_delay_ms: 0, ..config(keeping_bytes(3_000)) }).unwrap();
    append_timed(&store, &log, 0..3);
    let stop = Arc::new(AtomicBool::new(false));
    let failures = Arc::new(Mutex::new(Vec::new()));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (log, stop, failures) = (log.clone(), Arc::clone(&stop), Arc::clone(&failures));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let from = log.log_start_offset();
                    match log.read(from, Offset::MAX, 100, true) {
                        Ok(range) => assert!(range.into_bytes().is_ok()),
                        Err(ReadError::OutOfRange { .. }) => {}
                        Err(error) => failures.lock().unwrap().push(format!("read: {error}")),
                    }
                    if let Err(error) = log.first_at_or_after(Timestamp(NOW), Offset::MAX) {
                        failures.lock().unwrap().push(format!("by time: {error}"));
                    }
                    if let Err(error) = log.max_timestamp() {
                        failures.lock().unwrap().push(format!("newest: {error}"));
                    }
                }
            })
        })
        .collect();
    for number in 0..300_i64 {
        append_timed(&store, &log, number..number + 1);
        let end = log.log_end_offset();
        retain(&store, &log, end, NOW);
        store.remove_due(Duration::ZERO).unwrap();
        if number % 50 == 0 {
            store.flush_index().unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    assert_eq!(failures.lock().unwrap().as_slice(), [""; 0]);
    assert!(segment_files(dir.path(), 0).len() <= 3);
}

#[test]
fn a_deleted_partitions_files_wait_for_their_time_and_nobody_sees_them() {
    let dir = scratch();
    let store = open(dir.path());
    let log = ten(&store, keeping_ms(0));
    let keep = store.open_partition(partition(1), LogConfig::default()).unwrap();
    append_timed(&store, &keep, 0..1);
    store.delete_partition_later(partition(0), Duration::from_secs(5)).unwrap();
    assert!(matches!(log.read(offset(0), Offset::MAX, 100, true), Err(ReadError::Deleted)));
    assert_eq!(store.partitions().unwrap(), [partition(1)]);
    assert!(retain(&store, &log, offset(10), NOW + 9_000).is_none());
    store.remove_due(Duration::from_secs(4)).unwrap();
    assert_eq!(segment_files(dir.path(), 0).len(), 5);
    // A crash finishes it, too.
    let found = killed(&dir);
    assert_eq!(open(found.path()).partitions().unwrap(), [partition(1)]);
    assert!(segment_files(found.path(), 0).is_empty());
    store.remove_due(Duration::from_secs(5)).unwrap();
    assert!(segment_files(dir.path(), 0).is_empty());
    // One that is made anew meanwhile is left alone.
    store.delete_partition_later(partition(1), Duration::from_secs(6)).unwrap();
    let anew = store.open_partition(partition(1), LogConfig::default()).unwrap();
    append_timed(&store, &anew, 0..2);
    store.remove_due(Duration::from_secs(6)).unwrap();
    assert_eq!(offsets(&read_all(&anew).unwrap()), [(0, 1), (1, 2)]);
}

#[test]
fn hundreds_of_logs_are_checked_together() {
    let dir = scratch();
    let store = open(dir.path());
    let mut checks = Vec::new();
    for number in 0..300 {
        let log = store.open_partition(partition(number), config(keeping_ms(1_000))).unwrap();
        let age = if number % 3 == 0 { 0 } else { 5_000 };
        append(&store, &log, batch(&[NOW + age], 10)).unwrap();
        checks.push(RetentionCheck { log, high_watermark: offset(1) });
    }
    let results = store.retain(&checks, Timestamp(NOW + 5_000), Duration::ZERO);
    assert_eq!(results.len(), 100);
    for (number, check) in checks.iter().enumerate() {
        assert_eq!(check.log.log_start_offset(), offset(i64::from(number % 3 == 0)), "{number}");
    }
}

#[test]
fn a_cleaning_whose_log_loses_segments_meanwhile_is_no_failure_and_the_next_one_goes_on() {
    for kept_bytes in [0, 150, 300] {
        let dir = scratch();
        let store = open(dir.path());
        let config = LogConfig { file_delete_delay_ms: 0, ..small_segments(100) };
        let log = store.open_partition(partition(0), config).unwrap();
        for number in 0..6 {
            append(&store, &log, keyed(&[("a", Some(&number.to_string())), ("b", Some(&number.to_string()))])).unwrap();
        }
        store.flush_index().unwrap();
        let cleaner = Cleaner::new(1 << 20, 0.9);
        let chosen = choose_logs(vec![candidate(&log, 1_000)], Timestamp(NOW), 1).chosen.pop().unwrap();
        log.update_config(LogConfig { retention: keeping_bytes(kept_bytes), ..config });
        let mut is_dropped = false;
        let outcome = cleaner.clean(&chosen, Timestamp(NOW), &|| Duration::ZERO, &mut |_| {
            if !std::mem::replace(&mut is_dropped, true) {
                assert!(retain(&store, &log, offset(12), NOW).is_some());
                store.remove_due(Duration::ZERO).unwrap();
            }
            ControlFlow::Continue(())
        });
        assert!(matches!(outcome, Err(CleanError::Changed)), "{outcome:?}");
        let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
        let offsets_left = |log: &PartitionLog| records(log).into_iter().map(|(offset, ..)| offset).collect::<Vec<_>>();
        assert_eq!(offsets_left(&log), (start..end).collect::<Vec<_>>());
        append(&store, &log, keyed(&[("a", Some("6")), ("b", Some("6"))])).unwrap();
        let again = clean(&store, &log, 1_000, NOW);
        assert_eq!((again > 0, offsets_left(&log).len()), (start < 10, if start < 10 { 4 } else { 2 }), "{start}");
    }
}
