//! What is known of idempotent producers when the log loses batches: at its end, at its start, and in between by a compaction.

use log_store::{AppendError, LogConfig};
use model::{ProducerEpoch, ProducerId, Sequence};
use record_batch::{BatchBuilder, CheckedBatch};

use crate::compacting::{clean, keyed};
use crate::scratch::*;

/// A batch of producer 7 with one key.
fn of_seven(sequence: i32, key: &str) -> CheckedBatch {
    let mut builder = BatchBuilder::new().with_producer(ProducerId::new_or_zero(7), ProducerEpoch::new_or_zero(0), Sequence::new(sequence));
    builder.append(NOW, Some(key.as_bytes()), Some(b"value"), &[]);
    CheckedBatch::from_trusted(builder.build()).unwrap()
}

#[test]
fn a_producer_whose_batches_retention_dropped_is_known_after_a_truncation() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(100)).unwrap();
    for sequence in 0..6 {
        append(&store, &log, produced(7, 0, sequence, 1)).unwrap();
        append(&store, &log, produced(8, 0, sequence, 1)).unwrap();
    }
    // Seven's first four and eight's first five are dropped, then all others are cut.
    append(&store, &log, batch(&[NOW], 10)).unwrap();
    log.update_config(LogConfig { retention: keeping_bytes(3 * 80), ..small_segments(100) });
    retain(&store, &log, log.log_end_offset(), NOW);
    assert_eq!(log.log_start_offset(), offset(9));
    log.truncate(offset(10)).unwrap();
    assert!(append(&store, &log, produced(7, 0, 4, 1)).unwrap().duplicate);
    assert!(append(&store, &log, produced(8, 0, 4, 1)).unwrap().duplicate);
    for producer in [7, 8] {
        let refused = append(&store, &log, produced(producer, 0, 6, 1));
        assert!(matches!(refused, Err(AppendError::OutOfOrderSequence { .. })), "{refused:?}");
        assert!(!append(&store, &log, produced(producer, 0, 5, 1)).unwrap().duplicate);
    }
}

#[test]
fn a_producer_goes_on_where_it_was_after_a_crash_took_what_made_a_compaction_drop_its_earlier_batch() {
    // Its row holds five batches: with one or two lost some of them are left, with five none, and what the log still has of it is older.
    for lost in [1, 2, 5] {
        let (dir, found) = (scratch(), scratch());
        let store = open(dir.path());
        let log = store.open_partition(partition(0), small_segments(100)).unwrap();
        append(&store, &log, of_seven(0, "stays")).unwrap();
        append(&store, &log, of_seven(1, "goes")).unwrap();
        append(&store, &log, keyed(&[("goes", Some("newer"))])).unwrap();
        append(&store, &log, keyed(&[("begins", Some("a segment"))])).unwrap();
        log.update_config(small_segments(10_000));
        for sequence in 0..lost {
            append(&store, &log, of_seven(2 + sequence, "lost")).unwrap();
        }
        log.update_config(small_segments(100));
        clean(&store, &log, 1_000, NOW);
        drop((log, store));
        let found = found.path().join("found");
        copy_directory(dir.path(), &found);
        let last = segment_files(&found, 0).pop().unwrap();
        std::fs::File::options().write(true).open(last).unwrap().set_len(0).unwrap();
        let store = open(&found);
        let log = store.open_partition(partition(0), small_segments(10_000)).unwrap();
        for sequence in 0..lost {
            let again = append(&store, &log, of_seven(2 + sequence, "lost")).unwrap();
            assert!(!again.duplicate, "{lost}");
        }
    }
}

#[test]
fn a_producer_is_known_after_a_death_though_its_batches_were_deleted_before_their_rows_were_written() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(100)).unwrap();
    for sequence in 0..4 {
        append(&store, &log, produced(7, 0, sequence, 1)).unwrap();
    }
    append(&store, &log, batch(&[NOW], 10)).unwrap();
    log.advance_log_start(offset(4)).unwrap();
    drop((log, store));
    let store = open(dir.path());
    let log = store.open_partition(partition(0), LogConfig::default()).unwrap();
    assert_eq!(segment_files(dir.path(), 0).len(), 1);
    assert!(append(&store, &log, produced(7, 0, 3, 1)).unwrap().duplicate);
    assert!(!append(&store, &log, produced(7, 0, 4, 1)).unwrap().duplicate);
}
