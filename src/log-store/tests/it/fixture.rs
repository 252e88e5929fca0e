//! A data directory of layout 1 as the first klamm wrote it, kept so that later ones read it.

use std::path::PathBuf;

use log_store::LogConfig;

use crate::scratch::*;

fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/layout-1")
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
    store.kv_put_synced(b"cluster.id", b"fixture").unwrap();
    let raft = store.synced_log("raft");
    raft.append([(1, b"one"), (2, b"two")]).unwrap();
    raft.save_value("vote", b"me").unwrap();
    store.close().unwrap();
}

fn check(directory: &std::path::Path) {
    let store = open(directory);
    assert_eq!(store.partitions().unwrap(), [partition(0), partition(1)]);
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
fn layout_1_as_it_was_first_written_is_read() {
    let dir = scratch();
    copy_directory(&fixture(), dir.path());
    check(dir.path());
}

#[test]
fn the_fixture_is_what_this_build_would_write() {
    let dir = scratch();
    // To make the fixture of a new layout, this variable names the directory that is to hold it.
    match std::env::var_os("LOG_STORE_TEST_WRITE_FIXTURE") {
        Some(directory) => write(directory.as_ref()),
        None => {
            write(dir.path());
            for number in 0..2 {
                let bytes = |root: &std::path::Path| -> Vec<u8> {
                    segment_files(root, number).iter().flat_map(|file| std::fs::read(file).unwrap()).collect()
                };
                assert!(bytes(dir.path()) == bytes(&fixture()), "partition {number} has other bytes");
            }
            check(dir.path());
        }
    }
}
