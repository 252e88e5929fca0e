//! Deaths of the process at every named moment, and what the next open finds.

use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;

use log_store::{FAILPOINTS, FailAction, Failpoints, Store, StoreOptions};
use model::Offset;

use crate::scratch::*;

/// Names the directory for the child that dies.
const CHILD_DIRECTORY: &str = "LOG_STORE_TEST_CHILD_DIRECTORY";
const CHILD_FAILPOINT: &str = "LOG_STORE_TEST_CHILD_FAILPOINT";

/// The offsets of the batches, checked against what was acknowledged: each exactly once, in order.
fn check_found(directory: &std::path::Path, acknowledged: &[(i32, i64)], context: &str) {
    assert_eq!(crate::inspecting::verified(directory).0.faults(), Vec::<String>::new(), "{context}: a check before the open");
    let store = open(directory);
    let log = store.open_partition(partition(0), small_segments(4_000)).unwrap();
    let bytes = read_all(&log).unwrap();
    let found: Vec<(i32, i64)> = record_batch::BatchIter::new(&bytes)
        .map(|view| *view.unwrap().header())
        .map(|header| (header.base_sequence, header.base_offset))
        .collect();
    for expected in acknowledged {
        assert!(found.contains(expected), "{context}: {expected:?} is lost; found {found:?}");
    }
    let sequences: Vec<_> = (0..found.len()).map(|sequence| i32::try_from(sequence).unwrap()).collect();
    assert_eq!(found.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), sequences, "{context}: not once and in order");
    // A retry of what is there is known; the stream goes on.
    let next = i32::try_from(found.len()).unwrap();
    if next > 0 {
        assert!(append(&store, &log, produced(7, 0, next - 1, 1)).unwrap().duplicate, "{context}");
    }
    assert_eq!(append(&store, &log, produced(7, 0, next, 1)).unwrap().base_offset, offset(i64::from(next)), "{context}");
    store.close().unwrap();
    assert_eq!(offsets(&read_all(&log).unwrap()).len(), found.len() + 1);
}

/// Appends one batch at a time, with an index commit now and then, and reports each acknowledged one.
fn work(store: &Store, mut acknowledged: impl FnMut(i32, i64)) {
    let log = store.open_partition(partition(0), small_segments(4_000)).unwrap();
    for sequence in 0..60 {
        let answer = append(store, &log, produced(7, 0, sequence, 1));
        match answer {
            Ok(appended) => acknowledged(sequence, appended.base_offset.get()),
            Err(error) => panic!("{error}"),
        }
        if sequence % 7 == 6 {
            store.flush_index().unwrap();
        }
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_death_at_any_moment() {
    let on_the_way = |name: &&&str| {
        let elsewhere = ["compaction.", "delete.", "truncate.", "retention.", "sync."];
        !elsewhere.iter().any(|other| name.starts_with(other))
    };
    for failpoint in FAILPOINTS.iter().filter(on_the_way) {
        for hit in [1, 3] {
            let dir = scratch();
            let found = scratch();
            let (from, to) = (dir.path().to_owned(), found.path().join("found"));
            let (copied, at) = channel();
            let copy = FailAction::Call(Arc::new(move || {
                copy_directory(&from, &to);
                copied.send(()).unwrap();
            }));
            let store = open_with(dir.path(), failpoint, hit, copy);
            let mut before = Vec::new();
            let mut has_died = false;
            work(&store, |sequence, offset| {
                has_died |= at.try_recv().is_ok();
                if !has_died {
                    before.push((sequence, offset));
                }
            });
            drop(store);
            if found.path().join("found").exists() {
                check_found(&found.path().join("found"), &before, &format!("{failpoint}={hit}"));
            }
        }
    }
}

#[test]
fn a_process_that_is_killed_loses_nothing_acknowledged() {
    for failpoint in
        ["append.after_partial_write=23", "append.after_write=41", "roll.after_create=2", "index_commit.after=3", "index_commit.before=5"]
    {
        let dir = scratch();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["crashing::the_child_that_is_killed", "--exact", "--nocapture"])
            .env(CHILD_DIRECTORY, dir.path())
            .env(CHILD_FAILPOINT, failpoint)
            .output()
            .unwrap();
        assert!(!child.status.success(), "{failpoint}: the child survived");
        let acknowledged: Vec<(i32, i64)> = String::from_utf8_lossy(&child.stdout)
            .lines()
            .filter_map(|line| line.strip_prefix("acknowledged "))
            .filter_map(|line| line.split_once(' '))
            .map(|(sequence, offset)| (sequence.parse().unwrap(), offset.parse().unwrap()))
            .collect();
        assert!(!acknowledged.is_empty(), "{failpoint}");
        check_found(dir.path(), &acknowledged, failpoint);
    }
}

#[test]
fn the_child_that_is_killed() {
    // Nothing to do unless the test above started it.
    let (Ok(directory), Ok(failpoint)) = (std::env::var(CHILD_DIRECTORY), std::env::var(CHILD_FAILPOINT)) else { return };
    let failpoints = Failpoints::parse(&failpoint).unwrap();
    let store = Store::open(StoreOptions { failpoints, ..options(directory.as_ref()) }).unwrap();
    println!();
    work(&store, |sequence, offset| println!("acknowledged {sequence} {offset}"));
}

#[test]
fn a_torn_end_is_cut_and_later_segments_go_with_it() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(3_000)).unwrap();
    for number in 0..4 {
        append(&store, &log, batch(&[NOW + number], 500)).unwrap();
    }
    // Nothing is indexed yet. Half a batch, then garbage, then a segment that cannot follow.
    let expected = read_all(&log).unwrap();
    drop((log, store));
    let file = &segment_files(dir.path(), 0)[0];
    let mut bytes = std::fs::read(file).unwrap();
    bytes.extend_from_slice(&expected[..300]);
    std::fs::write(file, bytes).unwrap();
    std::fs::write(file.with_file_name("00000000000000000009.0.log"), &expected).unwrap();

    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(3_000)).unwrap();
    assert_eq!(log.log_end_offset(), offset(4));
    assert_eq!(read_all(&log).unwrap(), expected);
    assert_eq!(segment_files(dir.path(), 0).len(), 1);
    append(&store, &log, batch(&[NOW], 500)).unwrap();
    assert_eq!(read_bytes(&log, offset(4), Offset::MAX, 1 << 20).map(|bytes| offsets(&bytes)).unwrap(), [(4, 5)]);
}

#[test]
fn a_flipped_bit_in_unindexed_bytes_ends_the_log_there() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    for number in 0..4 {
        append(&store, &log, batch(&[NOW + number], 150)).unwrap();
    }
    drop((log, store));
    let file = &segment_files(dir.path(), 0)[0];
    let mut bytes = std::fs::read(file).unwrap();
    let third = bytes.len() / 2;
    bytes[third + 100] ^= 1;
    std::fs::write(file, bytes).unwrap();
    let store = open(dir.path());
    assert_eq!(crate::scratch::log(&store, 0).log_end_offset(), offset(2));
}

#[test]
fn bytes_that_a_disk_lost_behind_the_rows_are_noticed_by_the_files_length() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    for number in 0..8 {
        append(&store, &log, produced(7, 0, number, 1)).unwrap();
        append(&store, &log, batch(&[NOW], 600)).unwrap();
    }
    store.flush_index().unwrap();
    drop((log, store));
    let file = &segment_files(dir.path(), 0)[0];
    let length = std::fs::metadata(file).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length / 2).unwrap();
    let store = open(dir.path());
    let log = crate::scratch::log(&store, 0);
    let end = log.log_end_offset().get();
    assert!((1..=8).contains(&end), "{end}");
    assert_eq!(offsets(&read_all(&log).unwrap()).len(), usize::try_from(end).unwrap());
    // The producer's state is that of the bytes that are left.
    let next = i32::try_from((end + 1) / 2).unwrap();
    assert!(append(&store, &log, produced(7, 0, next - 1, 1)).unwrap().duplicate);
    assert!(!append(&store, &log, produced(7, 0, next, 1)).unwrap().duplicate);
}
