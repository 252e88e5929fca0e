//! `klamm.durability=group` without a power cut: what a segment lost comes back from the journal, and nothing that was taken back on purpose does.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use log_store::{AppendError, Durability, FailAction, Failpoints, LogConfig, PartitionLog, StorageError, Store, StoreOptions};

use crate::scratch::*;

fn group_options(directory: &Path) -> StoreOptions {
    StoreOptions { durability: Durability::Group, ..options(directory) }
}

fn open_group(directory: &Path) -> Store {
    Store::open(group_options(directory)).unwrap()
}

/// The directory as a power cut leaves it in the worst case: of the segments only what was `kept` of each.
fn cut_power(from: &Path, to: &Path, kept: u64) {
    copy_directory(from, to);
    for number in 0..4 {
        for file in segment_files(to, number) {
            std::fs::File::options().write(true).open(file).unwrap().set_len(kept).unwrap();
        }
    }
}

fn produce(store: &Store, log: &PartitionLog, sequences: std::ops::Range<i32>) {
    for sequence in sequences {
        assert!(!append(store, log, produced(7, 0, sequence, 1)).unwrap().duplicate);
    }
}

fn sequences(log: &PartitionLog) -> Vec<i32> {
    let bytes = read_all(log).unwrap();
    record_batch::BatchIter::new(&bytes).map(|view| view.unwrap().header().base_sequence).collect()
}

#[test]
fn an_append_that_is_alone_is_answered_by_the_committer_and_several_at_once_by_the_journals_thread() {
    let (dir, found) = (scratch(), scratch());
    let store = open_group(dir.path());
    let log = store.open_partition(partition(0), LogConfig::default()).unwrap();
    let (sender, answers) = channel();
    let mut next = 0;
    // Behind several, one may still find the journal's thread at work.
    for (count, thread) in [(1, "commit-0"), (1, "commit-0"), (2, "journal-0"), (3, "journal-0")] {
        for _ in 0..count {
            let sender = sender.clone();
            // Who appends several at once wakes the committer when all are there.
            let done = Box::new(move |result: Answer| {
                sender.send((result.unwrap().base_offset.get(), std::thread::current().name().unwrap().to_owned())).unwrap();
            });
            store.appends().enqueue(request(&log, vec![produced(7, 0, next, 1)], done));
            next += 1;
        }
        store.appends().wake_committer();
        let expected: Vec<_> = (next - count..next).map(|offset| (i64::from(offset), thread.to_owned())).collect();
        assert_eq!(answers.iter().take(expected.len()).collect::<Vec<_>>(), expected);
    }
    produce(&store, &log, next..next + 5);
    next += 5;
    let found = found.path().join("found");
    cut_power(dir.path(), &found, 0);
    let log = open_group(&found).open_partition(partition(0), LogConfig::default()).unwrap();
    assert_eq!(sequences(&log), (0..next).collect::<Vec<_>>());
}

#[test]
fn what_segments_lost_comes_back_with_its_producers_also_twice() {
    let (dir, found) = (scratch(), scratch());
    let store = open_group(dir.path());
    let logs: Vec<_> = (0..4).map(|number| store.open_partition(partition(number), LogConfig::default()).unwrap()).collect();
    for log in &logs {
        produce(&store, log, 0..60);
    }
    // Nothing of the first two is left, not even their directories.
    let found = found.path().join("found");
    cut_power(dir.path(), &found, 0);
    for number in 0..2 {
        std::fs::remove_dir_all(found.join("partitions").join(partition(number).to_string())).unwrap();
    }
    for _ in 0..2 {
        let store = open_group(&found);
        for number in 0..4 {
            let log = store.open_partition(partition(number), LogConfig::default()).unwrap();
            assert_eq!(sequences(&log), (0..60).collect::<Vec<_>>());
            assert!(append(&store, &log, produced(7, 0, 59, 1)).unwrap().duplicate);
        }
        // Dropped without a clean stop.
    }
    let store = open_group(&found);
    let log = store.open_partition(partition(1), LogConfig::default()).unwrap();
    produce(&store, &log, 60..70);
    store.close().unwrap();
    drop((log, store));
    let log = open_group(&found).open_partition(partition(1), LogConfig::default()).unwrap();
    assert_eq!(sequences(&log), (0..70).collect::<Vec<_>>());
}

#[test]
fn a_full_file_is_used_again_only_after_its_segments_are_synced() {
    let (dir, found) = (scratch(), scratch());
    let copies = Arc::new(AtomicUsize::new(0));
    let (from, to, count) = (dir.path().to_owned(), found.path().to_owned(), Arc::clone(&copies));
    // As it would be found after a cut in the middle of the third release: the synced bytes are there, and of the others none.
    let copy = FailAction::Call(Arc::new(move || {
        copy_directory(&from, &to.join("found"));
        count.fetch_add(1, Ordering::SeqCst);
    }));
    let failpoints = Failpoints::arm([("journal.before_release", 3, copy)]).unwrap();
    let store = Store::open(StoreOptions { failpoints, journal_file_bytes: 30 * 4_096, journal_files_max: 2, ..group_options(dir.path()) })
        .unwrap();
    let log = store.open_partition(partition(0), LogConfig::default()).unwrap();
    produce(&store, &log, 0..300);
    assert_eq!(copies.load(Ordering::SeqCst), 1);
    let files = std::fs::read_dir(dir.path().join("journal")).unwrap().count();
    assert_eq!(files, 2);
    let log = open_group(&found.path().join("found")).open_partition(partition(0), LogConfig::default()).unwrap();
    let there = sequences(&log);
    assert!(there.len() > 60, "{}", there.len());
    assert_eq!(there, (0..i32::try_from(there.len()).unwrap()).collect::<Vec<_>>());
}

#[test]
fn truncated_bytes_do_not_come_back_and_those_behind_the_cut_do() {
    let (dir, found) = (scratch(), scratch());
    let store = open_group(dir.path());
    let log = store.open_partition(partition(0), small_segments(2_000)).unwrap();
    produce(&store, &log, 0..40);
    log.truncate(offset(17)).unwrap();
    let kept = segment_files(dir.path(), 0).last().unwrap().metadata().unwrap().len();
    for sequence in 17..30 {
        append(&store, &log, produced(8, 0, sequence - 17, 1)).unwrap();
    }
    let expected = read_all(&log).unwrap();
    // What was synced by the truncation is there, what came after is not.
    let found = found.path().join("found");
    copy_directory(dir.path(), &found);
    let files = segment_files(&found, 0);
    let cut = files.iter().position(|file| file.metadata().unwrap().len() >= kept && *file != files[0]).unwrap_or(0);
    for (number, file) in files.iter().enumerate().skip(cut.max(1)) {
        let kept = if number == 1 { kept } else { 0 };
        std::fs::File::options().write(true).open(file).unwrap().set_len(kept).unwrap();
    }
    let log = open_group(&found).open_partition(partition(0), small_segments(2_000)).unwrap();
    assert_eq!(read_all(&log).unwrap(), expected);
}

#[test]
fn a_deleted_partition_does_not_come_back_and_a_dropped_segment_neither() {
    let dir = scratch();
    let store = open_group(dir.path());
    let logs: Vec<_> = (0..2).map(|number| store.open_partition(partition(number), small_segments(1_000)).unwrap()).collect();
    for log in &logs {
        produce(&store, log, 0..40);
    }
    store.delete_partition(partition(0)).unwrap();
    logs[1].advance_log_start(offset(25)).unwrap();
    assert!(!retain(&store, &logs[1], offset(40), NOW).unwrap().drops.is_empty());
    let expected = read_all(&logs[1]).unwrap();
    drop((logs, store));
    for _ in 0..2 {
        let store = open_group(dir.path());
        assert_eq!(store.partitions().unwrap(), [partition(1)]);
        let log = store.open_partition(partition(1), small_segments(1_000)).unwrap();
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (offset(25), offset(40)));
        assert_eq!(read_all(&log).unwrap(), expected);
    }
}

#[test]
fn a_clean_stop_leaves_nothing_to_replay_and_the_other_durability_removes_the_journal() {
    let dir = scratch();
    let store = open_group(dir.path());
    let log = store.open_partition(partition(0), LogConfig::default()).unwrap();
    produce(&store, &log, 0..20);
    drop((log, store));
    let store = open(dir.path());
    assert!(!dir.path().join("journal").exists());
    let log = store.open_partition(partition(0), LogConfig::default()).unwrap();
    produce(&store, &log, 20..30);
    drop((log, store));
    let store = open_group(dir.path());
    let log = store.open_partition(partition(0), LogConfig::default()).unwrap();
    produce(&store, &log, 30..40);
    store.close().unwrap();
    let file = std::fs::read(dir.path().join("journal/0.journal")).unwrap();
    assert!(file.iter().take(24).all(|byte| *byte == 0));
    assert_eq!(sequences(&log), (0..40).collect::<Vec<_>>());
}

#[test]
fn a_sync_that_fails_is_answered_as_a_failure_and_never_tried_again() {
    for failpoint in ["journal.before_write", "journal.before_sync"] {
        let dir = scratch();
        let failpoints = Failpoints::arm([(failpoint, 3, FailAction::Fail)]).unwrap();
        let store = Store::open(StoreOptions { failpoints, ..group_options(dir.path()) }).unwrap();
        let log = store.open_partition(partition(0), LogConfig::default()).unwrap();
        let other = store.open_partition(partition(1), LogConfig::default()).unwrap();
        produce(&store, &log, 0..2);
        let failed = append(&store, &log, produced(7, 0, 2, 1));
        assert!(matches!(failed, Err(AppendError::Storage(StorageError::Io { .. }))), "{failed:?}");
        assert_eq!(log.acknowledged_end_offset(), offset(2));
        let later = append(&store, &other, produced(7, 0, 0, 1));
        assert!(matches!(later, Err(AppendError::Storage(StorageError::Stopped))), "{later:?}");
        assert!(store.close().is_err());
        assert_eq!(sequences(&log)[..2], [0, 1]);
        drop((log, other, store));
        let store = open_group(dir.path());
        let log = store.open_partition(partition(0), LogConfig::default()).unwrap();
        // It was never acknowledged; it may be there or not, and a retry makes one of it.
        append(&store, &log, produced(7, 0, 2, 1)).unwrap();
        assert_eq!(sequences(&log), [0, 1, 2]);
    }
}

/// A store that counts the syncs of its segments.
fn counting(directory: &Path) -> (Store, Arc<AtomicUsize>) {
    let syncs = Arc::new(AtomicUsize::new(0));
    // A failpoint fires once, so there is one for each hit.
    let points = Failpoints::every("sync.before", {
        let syncs = Arc::clone(&syncs);
        Arc::new(move || {
            syncs.fetch_add(1, Ordering::SeqCst);
        })
    });
    (Store::open(StoreOptions { failpoints: points.unwrap(), ..options(directory) }).unwrap(), syncs)
}

#[test]
fn segments_that_a_killed_process_left_unsynced_are_synced_before_the_recovery_point_lies_behind_them() {
    let (dir, killed) = (scratch(), scratch());
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(4_000)).unwrap();
    produce(&store, &log, 0..5);
    store.flush_index().unwrap();
    // No sync was asked for yet: the batches are in one segment, and the copy has no recovery point.
    let found = killed.path().join("found");
    copy_directory(dir.path(), &found);
    let (store, syncs) = counting(&found);
    let log = store.open_partition(partition(0), small_segments(200)).unwrap();
    let before = segment_files(&found, 0).len();
    produce(&store, &log, 5..6);
    assert_eq!(segment_files(&found, 0).len(), before + 1);
    store.close().unwrap();
    // The one from before, once with its own job and once as left behind, and the new one.
    assert_eq!(syncs.load(Ordering::SeqCst), 3);
}

#[test]
fn flush_messages_syncs_the_segments_before_the_answer() {
    let dir = scratch();
    let (store, syncs) = counting(dir.path());
    let config = LogConfig { flush_messages: 3, segment_bytes: 400, ..LogConfig::default() };
    let log = store.open_partition(partition(0), config).unwrap();
    let other = store.open_partition(partition(1), LogConfig::default()).unwrap();
    let mut counts = Vec::new();
    for sequence in 0..6 {
        append(&store, &other, produced(7, 0, sequence, 1)).unwrap();
        append(&store, &log, produced(7, 0, sequence, 1)).unwrap();
        counts.push(syncs.load(Ordering::SeqCst));
    }
    assert!(counts[1] == 0 && counts[2] >= 1 && counts[5] > counts[2], "{counts:?}");
    // A failed one is the answer.
    let dir = scratch();
    let store = open_with(dir.path(), "sync.before", 1, FailAction::Fail);
    let log = store.open_partition(partition(0), LogConfig { flush_messages: 1, ..LogConfig::default() }).unwrap();
    assert!(append(&store, &log, produced(7, 0, 0, 1)).is_err() && log.is_poisoned());
}

#[test]
fn flush_ms_syncs_in_the_background() {
    let dir = scratch();
    let (done, synced) = std::sync::mpsc::channel();
    let call = FailAction::Call(Arc::new(move || done.send(()).unwrap()));
    let store = open_with(dir.path(), "sync.before", 1, call);
    let log = store.open_partition(partition(0), LogConfig { flush_ms: 5, ..LogConfig::default() }).unwrap();
    append(&store, &log, produced(7, 0, 0, 1)).unwrap();
    synced.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
}
