use std::sync::Arc;
use std::time::Duration;

use log_store::{AppendError, FailAction, ReadError};
use model::Offset;

use crate::scratch::*;

#[test]
fn a_deleted_partition_ends_its_log_and_its_successor_shows_no_old_bytes() {
    let dir = scratch();
    let store = open(dir.path());
    let old = log(&store, 0);
    for sequence in 0..5 {
        append_in(&store, &old, produced(7, 0, sequence, 1), epoch(5)).unwrap();
    }
    store.flush_index().unwrap();
    store.delete_partition(partition(0)).unwrap();
    assert!(matches!(old.read(offset(0), Offset::MAX, 100, true), Err(ReadError::Deleted)));
    assert!(matches!(append_in(&store, &old, batch(&[NOW], 1), epoch(5)), Err(AppendError::Deleted)));
    assert_eq!(store.partitions().unwrap(), []);
    assert!(segment_files(dir.path(), 0).is_empty());

    let new = log(&store, 0);
    assert_eq!((new.log_end_offset(), new.active_producers().len(), new.latest_epoch()), (offset(0), 0, None));
    append_in(&store, &new, batch(&[NOW], 50), epoch(0)).unwrap();
    store.flush_index().unwrap();
    assert_eq!(offsets(&read_all(&new).unwrap()), [(0, 1)]);
}

#[test]
fn a_partition_that_is_deleted_made_anew_and_deleted_again_goes_at_its_own_time() {
    let dir = scratch();
    let store = open(dir.path());
    let seconds = Duration::from_secs;
    for due in [60, 120] {
        append(&store, &log(&store, 0), batch(&[NOW], 10)).unwrap();
        store.delete_partition_later(partition(0), seconds(due)).unwrap();
    }
    store.remove_due(seconds(119)).unwrap();
    assert_eq!((segment_files(dir.path(), 0).len(), store.next_removal()), (1, Some(seconds(120))));
    store.remove_due(seconds(120)).unwrap();
    assert_eq!((segment_files(dir.path(), 0).len(), store.next_removal()), (0, None));
    // What is there anew when the time of the former has come stays.
    append(&store, &log(&store, 0), batch(&[NOW], 10)).unwrap();
    store.delete_partition_later(partition(0), seconds(180)).unwrap();
    append(&store, &log(&store, 0), batch(&[NOW], 10)).unwrap();
    store.remove_due(seconds(999)).unwrap();
    assert_eq!((segment_files(dir.path(), 0).len(), log(&store, 0).log_end_offset()), (1, offset(1)));
}

#[test]
fn a_partition_that_is_not_open_can_be_deleted() {
    let dir = scratch();
    let store = open(dir.path());
    let old = log(&store, 0);
    append(&store, &old, batch(&[NOW], 10)).unwrap();
    drop((old, store));
    let store = open(dir.path());
    store.delete_partition(partition(0)).unwrap();
    store.delete_partition(partition(0)).unwrap();
    assert_eq!(store.partitions().unwrap(), []);
}

#[test]
fn a_crash_inside_a_deletion_is_finished_at_the_next_open() {
    for failpoint in ["delete.after_mark", "delete.after_first_unlink", "delete.after_files"] {
        let dir = scratch();
        let found = scratch();
        let (from, to) = (dir.path().to_owned(), found.path().join("found"));
        let copy = FailAction::Call(Arc::new(move || copy_directory(&from, &to)));
        let store = open_with(dir.path(), failpoint, 1, copy);
        let keep = log(&store, 1);
        append(&store, &keep, batch(&[NOW], 10)).unwrap();
        let gone = store.open_partition(partition(0), small_segments(1_500)).unwrap();
        for _ in 0..5 {
            append(&store, &gone, batch(&[NOW], 1_000)).unwrap();
        }
        store.flush_index().unwrap();
        store.delete_partition(partition(0)).unwrap();

        let found = found.path().join("found");
        let store = open(&found);
        assert_eq!(store.partitions().unwrap(), [partition(1)], "{failpoint}");
        assert!(segment_files(&found, 0).is_empty());
        assert_eq!(log(&store, 0).log_end_offset(), offset(0));
        assert_eq!(log(&store, 1).log_end_offset(), offset(1));
    }
}

#[test]
fn a_directory_without_a_row_is_listed_adopted_and_deletable() {
    let dir = scratch();
    let store = open(dir.path());
    let from = log(&store, 0);
    for number in 0..10 {
        append(&store, &from, batch(&[NOW + number], 500)).unwrap();
    }
    let expected = read_all(&from).unwrap();
    // What a power cut may leave: the files are there, the row is not.
    for number in [5, 6] {
        let orphan = dir.path().join("partitions").join(partition(number).to_string());
        copy_directory(&dir.path().join("partitions").join(partition(0).to_string()), &orphan);
    }
    assert_eq!(store.partitions().unwrap(), [partition(0), partition(5), partition(6)]);
    assert_eq!(read_all(&log(&store, 5)).unwrap(), expected);
    store.delete_partition(partition(6)).unwrap();
    assert_eq!(store.partitions().unwrap(), [partition(0), partition(5)]);
}
