use std::sync::Arc;

use log_store::FailAction;
use model::Offset;

use crate::compacting::{clean, five_segments};
use crate::scratch::*;

#[test]
fn a_truncated_log_goes_on_at_the_cut_with_the_state_of_what_is_left() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(3_000)).unwrap();
    for number in 0..10 {
        append_in(&store, &log, produced(7, 0, number * 2, 2), epoch(number / 3)).unwrap();
        append_in(&store, &log, batch(&[NOW], 600), epoch(number / 3)).unwrap();
    }
    let all = read_all(&log).unwrap();
    // 13 lies inside the batch 12..14.
    log.truncate(offset(13)).unwrap();
    assert_eq!(log.log_end_offset(), offset(12));
    let left = read_all(&log).unwrap();
    assert_eq!(left, all[..left.len()]);
    assert_eq!(offsets(&left).last(), Some(&(11, 12)));
    assert_eq!(log.end_offset_for_epoch(epoch(2)), None);
    assert_eq!(log.end_offset_for_epoch(epoch(1)), Some((epoch(1), offset(12))));
    // The producer is at sequence 8 again.
    assert!(append_in(&store, &log, produced(7, 0, 6, 2), epoch(1)).unwrap().duplicate);
    assert_eq!(append_in(&store, &log, produced(7, 0, 8, 2), epoch(3)).unwrap().base_offset, offset(12));
    store.close().unwrap();
    let expected = read_all(&log).unwrap();
    drop((log, store));
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(3_000)).unwrap();
    assert_eq!(read_all(&log).unwrap(), expected);
    assert_eq!(log.end_offset_for_epoch(epoch(1)), Some((epoch(1), offset(12))));
}

#[test]
fn a_crash_inside_a_truncation_is_finished_at_the_next_open() {
    for failpoint in ["truncate.after_intent", "truncate.after_cut"] {
        let dir = scratch();
        let found = scratch();
        let (from, to) = (dir.path().to_owned(), found.path().join("found"));
        let copy = FailAction::Call(Arc::new(move || copy_directory(&from, &to)));
        let store = open_with(dir.path(), failpoint, 1, copy);
        let log = store.open_partition(partition(0), small_segments(2_500)).unwrap();
        for number in 0..10 {
            append(&store, &log, batch(&[NOW + number], 900)).unwrap();
        }
        store.flush_index().unwrap();
        log.truncate(offset(3)).unwrap();
        let expected = read_all(&log).unwrap();

        let store = open(&found.path().join("found"));
        let log = store.open_partition(partition(0), small_segments(2_500)).unwrap();
        assert_eq!(log.log_end_offset(), offset(3), "{failpoint}");
        assert_eq!(read_all(&log).unwrap(), expected);
        append(&store, &log, batch(&[NOW], 900)).unwrap();
        assert_eq!(log.log_end_offset(), offset(4));
    }
}

#[test]
fn truncating_to_the_end_or_to_nothing_works() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    log.truncate(offset(0)).unwrap();
    append(&store, &log, batch(&[NOW; 3], 10)).unwrap();
    log.truncate(offset(3)).unwrap();
    assert_eq!(log.log_end_offset(), offset(3));
    log.truncate(offset(0)).unwrap();
    assert_eq!((log.log_end_offset(), log.size_bytes()), (offset(0), 0));
    assert_eq!(append(&store, &log, batch(&[NOW; 3], 10)).unwrap().base_offset, offset(0));
}

#[test]
fn the_log_start_drops_whole_segments_and_survives_a_kill() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(2_500)).unwrap();
    for number in 0..10 {
        append(&store, &log, batch(&[NOW + number], 1_000)).unwrap();
    }
    assert_eq!(segment_files(dir.path(), 0).len(), 5);
    log.advance_log_start(offset(5)).unwrap();
    log.advance_log_start(offset(2)).unwrap();
    assert_eq!((log.log_start_offset(), segment_files(dir.path(), 0).len()), (offset(5), 5));
    retain(&store, &log, offset(10), NOW);
    assert_eq!((log.log_start_offset(), segment_files(dir.path(), 0).len()), (offset(5), 3));
    drop((log, store));
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(2_500)).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (offset(5), offset(10)));
    assert_eq!(offsets(&read_bytes(&log, offset(5), Offset::MAX, 100).unwrap()), [(5, 6)]);
    // The whole log.
    log.advance_log_start(offset(50)).unwrap();
    retain(&store, &log, offset(10), NOW);
    assert_eq!(segment_files(dir.path(), 0).len(), 1);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (offset(10), offset(10)));
    assert_eq!(append(&store, &log, batch(&[NOW], 1_000)).unwrap().base_offset, offset(10));
}

#[test]
fn a_truncation_leaves_the_bytes_of_a_hard_link_alone() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    for number in 0..10 {
        append(&store, &log, batch(&[NOW + number], 900)).unwrap();
    }
    store.flush_index().unwrap();
    let before = read_all(&log).unwrap();
    let snapshot = dir.path().join("partitions/snapshot");
    std::fs::hard_link(&segment_files(dir.path(), 0)[0], &snapshot).unwrap();
    log.truncate(offset(4)).unwrap();
    append(&store, &log, batch(&[NOW], 10)).unwrap();
    assert!(std::fs::read(&snapshot).unwrap() == before);
    let expected = read_all(&log).unwrap();
    assert_eq!(offsets(&expected), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]);
    assert_eq!(segment_files(dir.path(), 0).len(), 1);
    drop((log, store));
    let store = open(dir.path());
    assert_eq!(read_all(&crate::scratch::log(&store, 0)).unwrap(), expected);
}

#[test]
fn a_torn_batch_behind_a_cut_in_a_hole_is_cut_off_and_no_damage() {
    let dir = scratch();
    let store = open(dir.path());
    let log = five_segments(&store);
    clean(&store, &log, 1_000, NOW);
    // So that no sync is owed for the rolled segments, which would find the last batch whole before it is torn.
    drop(log);
    store.close().unwrap();
    drop(store);
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(100)).unwrap();
    // The first record that is left of the segment is at 3.
    log.truncate(offset(2)).unwrap();
    append(&store, &log, batch(&[NOW], 10)).unwrap();
    drop((log, store));
    let file = segment_files(dir.path(), 0).pop().unwrap();
    let length = file.metadata().unwrap().len();
    std::fs::File::options().write(true).open(file).unwrap().set_len(length - 1).unwrap();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(100)).unwrap();
    assert_eq!((log.log_end_offset(), log.size_bytes()), (offset(2), 0));
    assert_eq!(append(&store, &log, batch(&[NOW], 10)).unwrap().base_offset, offset(2));
}
