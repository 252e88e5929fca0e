//! Data directories of each layout as the first klamm with it wrote them, kept so that later ones read them.

use std::path::PathBuf;

use log_store::{LogConfig, PartitionLog};

use crate::compacting::{clean, keyed, records};
use crate::scratch::*;

fn fixture(layout: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(layout)
}

/// What the fixture's two partitions hold.
fn expected(number: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut next = 0;
    for batch in batches(number) {
        let batch = batch.into_sequenced(offset(next), epoch(1), None);
        next = batch.header().next_offset();
        bytes.extend_from_slice(&batch.to_bytes());
    }
    bytes
}

fn batches(number: u16) -> Vec<record_batch::CheckedBatch> {
    let mut batches: Vec<_> = (0..6).map(|batch_number| batch(&[NOW + batch_number, NOW + i64::from(number)], 300)).collect();
    batches.extend((0..3).map(|sequence| produced(7, 2, sequence, 1)));
    batches
}

fn config() -> LogConfig {
    small_segments(2_000)
}

fn write(directory: &std::path::Path) {
    let store = open(directory);
    for number in 0..2 {
        let log = store.open_partition(partition(number), config()).unwrap();
        for batch in batches(number) {
            append_in(&store, &log, batch, epoch(1)).unwrap();
        }
    }
    write_compacted(&store);
    store.kv_put_synced(b"cluster.id", b"fixture").unwrap();
    let raft = store.synced_log("raft");
    raft.append([(1, b"one"), (2, b"two")]).unwrap();
    raft.save_value("vote", b"me").unwrap();
    store.close().unwrap();
}

/// Partition 2 is compacted; its replaced files are still there.
fn write_compacted(store: &log_store::Store) {
    let log = store.open_partition(partition(2), small_segments(100)).unwrap();
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("b", "2"), ("a", "3"), ("c", "1")] {
        append(store, &log, keyed(&[(key, Some(value))])).unwrap();
    }
    clean(store, &log, 1_000, NOW);
}

fn check_compacted(log: &PartitionLog) {
    let found: Vec<_> = records(log).into_iter().map(|(offset, key, value)| (offset, key, value.unwrap())).collect();
    assert_eq!(found, [(3, "b".into(), "2".into()), (4, "a".into(), "3".into()), (5, "c".into(), "1".into())]);
    assert_eq!((log.log_end_offset(), log.first_dirty_offset().unwrap()), (offset(6), Some(offset(5))));
}

fn check(directory: &std::path::Path, partitions: u16) {
    let store = open(directory);
    assert_eq!(std::fs::read_to_string(directory.join("klamm.layout")).unwrap(), "klamm 2\n");
    assert_eq!(store.partitions().unwrap(), (0..partitions).map(partition).collect::<Vec<_>>());
    if partitions > 2 {
        check_compacted(&store.open_partition(partition(2), small_segments(100)).unwrap());
    }
    for number in 0..2 {
        let log = store.open_partition(partition(number), config()).unwrap();
        assert!(read_all(&log).unwrap() == expected(number), "partition {number} has other bytes");
        assert_eq!(log.end_offset_for_epoch(epoch(1)), Some((epoch(1), offset(15))));
        assert!(append_in(&store, &log, produced(7, 2, 2, 1), epoch(1)).unwrap().duplicate);
        assert_eq!(append_in(&store, &log, produced(7, 2, 3, 1), epoch(1)).unwrap().base_offset, offset(15));
    }
    assert_eq!(store.kv_get(b"cluster.id").unwrap().as_deref(), Some(b"fixture".as_slice()));
    let raft = store.synced_log("raft");
    assert_eq!(raft.read(..).unwrap(), [(1, b"one".to_vec()), (2, b"two".to_vec())]);
    assert_eq!(raft.load_value("vote").unwrap().as_deref(), Some(b"me".as_slice()));
}

#[test]
fn layouts_as_they_were_first_written_are_read_and_taken_over() {
    for (layout, partitions) in [("layout-1", 2), ("layout-2", 3)] {
        let dir = scratch();
        copy_directory(&fixture(layout), dir.path());
        check(dir.path(), partitions);
        // What was appended is there, too, and the directory is one of the new layout.
        assert_eq!(log(&open(dir.path()), 0).log_end_offset(), offset(16));
    }
}

#[test]
fn the_fixture_is_what_this_build_would_write() {
    let dir = scratch();
    // To make the fixture of a new layout, this variable names the directory that is to hold it.
    match std::env::var_os("LOG_STORE_TEST_WRITE_FIXTURE") {
        Some(directory) => write(directory.as_ref()),
        None => {
            write(dir.path());
            for number in 0..3 {
                let (written, kept) = (segment_files(dir.path(), number), segment_files(&fixture("layout-2"), number));
                for file in &written {
                    let same = kept.iter().find(|kept| kept.file_name() == file.file_name()).unwrap();
                    assert!(std::fs::read(file).unwrap() == std::fs::read(same).unwrap(), "{} has other bytes", file.display());
                }
                // What a compaction had replaced kept its name for a while when the fixture was written.
                assert_eq!(kept.len() - written.len(), if number == 2 { 5 } else { 0 });
            }
            check(dir.path(), 3);
        }
    }
}
