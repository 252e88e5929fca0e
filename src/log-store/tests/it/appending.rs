use log_store::{AppendError, AppendRequest, FailAction, LogConfig, StorageError, Store, StoreOptions};
use model::{Offset, Sequence, Timestamp};
use record_batch::{AppendOrigin, BatchIter, TimestampType};

use crate::scratch::*;

#[test]
fn what_is_appended_is_read_byte_for_byte_with_its_offsets() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    let mut expected = Vec::new();
    for number in 0..20 {
        let batch = batch(&[NOW + number, NOW + number + 1], 300 * usize::try_from(number).unwrap());
        expected.extend_from_slice(&batch.clone().into_sequenced(offset(number * 2), epoch(3), None).to_bytes());
        let appended = append_in(&store, &log, batch, epoch(3)).unwrap();
        assert_eq!((appended.base_offset, appended.log_end_offset), (offset(number * 2), offset(number * 2 + 2)));
    }
    assert_eq!(read_all(&log).unwrap(), expected);
    assert_eq!(log.size_bytes(), u64::try_from(expected.len()).unwrap());
}

#[test]
fn a_group_of_requests_gets_offsets_in_its_order() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    let requests = (0..600).map(|number| (vec![batch(&[NOW + number], 10), batch(&[NOW], 5)], epoch(0))).collect();
    let answers = append_each(&store, &log, requests);
    let bases: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().base_offset.get()).collect();
    assert_eq!(bases, (0..600).map(|number| number * 2).collect::<Vec<_>>());
    assert_eq!(offsets(&read_all(&log).unwrap()).len(), 1_200);
}

#[test]
fn a_retry_gets_the_offset_of_the_first_copy_within_five_batches() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    for number in 0..6 {
        let appended = append(&store, &log, produced(7, 0, number * 2, 2)).unwrap();
        assert!(!appended.duplicate);
    }
    for number in 1..6 {
        let again = append(&store, &log, produced(7, 0, number * 2, 2)).unwrap();
        assert!(again.duplicate);
        assert_eq!((again.base_offset, again.log_end_offset), (offset(i64::from(number) * 2), offset(i64::from(number) * 2 + 2)));
    }
    // The sixth back is forgotten.
    let refusal = append(&store, &log, produced(7, 0, 0, 2)).unwrap_err();
    assert!(matches!(refusal, AppendError::OutOfOrderSequence { .. }), "{refusal}");
    assert_eq!(log.log_end_offset(), offset(12));
}

#[test]
fn a_retry_in_the_same_group_is_a_duplicate_too() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    let requests = vec![(vec![produced(7, 0, 0, 1)], epoch(0)), (vec![produced(7, 0, 0, 1)], epoch(0))];
    let answers = append_each(&store, &log, requests);
    let [first, second] = answers.as_slice() else { panic!("two answers") };
    assert_eq!((first.as_ref().unwrap().duplicate, second.as_ref().unwrap().duplicate), (false, true));
    assert_eq!(log.log_end_offset(), offset(1));
}

#[test]
fn a_gap_in_the_sequence_is_refused_and_an_unknown_producer_may_begin_anywhere() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    append(&store, &log, produced(7, 0, 100, 3)).unwrap();
    match append(&store, &log, produced(7, 0, 104, 1)).unwrap_err() {
        AppendError::OutOfOrderSequence { expected, received, .. } => {
            assert_eq!((expected, received), (Sequence::new_or_zero(103), Sequence::new_or_zero(104)));
        }
        other => panic!("{other}"),
    }
    append(&store, &log, produced(7, 0, 103, 1)).unwrap();
}

#[test]
fn a_new_producer_epoch_begins_at_zero_and_fences_the_old_one() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    append(&store, &log, produced(7, 1, 0, 2)).unwrap();
    assert!(matches!(append(&store, &log, produced(7, 2, 2, 1)).unwrap_err(), AppendError::OutOfOrderSequence { .. }));
    append(&store, &log, produced(7, 2, 0, 1)).unwrap();
    assert!(matches!(append(&store, &log, produced(7, 1, 2, 1)).unwrap_err(), AppendError::InvalidProducerEpoch { .. }));
}

#[test]
fn after_the_largest_sequence_comes_zero() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    append(&store, &log, produced(7, 0, i32::MAX - 1, 2)).unwrap();
    append(&store, &log, produced(7, 0, 0, 2)).unwrap();
    assert!(append(&store, &log, produced(7, 0, i32::MAX - 1, 2)).unwrap().duplicate);
}

#[test]
fn an_older_leader_epoch_is_refused() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    append_in(&store, &log, batch(&[NOW], 1), epoch(2)).unwrap();
    log.assign_epoch(epoch(4));
    let refusal = append_in(&store, &log, batch(&[NOW], 1), epoch(3)).unwrap_err();
    assert!(matches!(refusal, AppendError::StaleLeaderEpoch { .. }), "{refusal}");
    append_in(&store, &log, batch(&[NOW], 1), epoch(4)).unwrap();
    assert_eq!(log.end_offset_for_epoch(epoch(3)), Some((epoch(2), offset(1))));
    assert_eq!(log.end_offset_for_epoch(epoch(4)), Some((epoch(4), offset(2))));
}

#[test]
fn segments_roll_by_size_and_by_time() {
    let dir = scratch();
    let store = open(dir.path());
    let config = LogConfig { segment_ms: 1_000, ..small_segments(4_000) };
    let log = store.open_partition(partition(0), config).unwrap();
    for _ in 0..8 {
        append(&store, &log, batch(&[NOW], 1_800)).unwrap();
    }
    assert_eq!(segment_files(dir.path(), 0).len(), 4);
    append(&store, &log, batch(&[NOW + 1_500], 10)).unwrap();
    assert_eq!(segment_files(dir.path(), 0).len(), 5);
    // A batch that is larger than a segment gets one of its own.
    append(&store, &log, batch(&[NOW + 1_500], 9_000)).unwrap();
    append(&store, &log, batch(&[NOW + 1_500], 10)).unwrap();
    assert_eq!(segment_files(dir.path(), 0).len(), 7);
    assert_eq!(offsets(&read_all(&log).unwrap()).len(), 11);
}

#[test]
fn log_append_time_reaches_the_header_and_the_answer() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    let (sender, answers) = std::sync::mpsc::channel();
    let request = request(&log, vec![batch(&[5], 1)], Box::new(move |result| sender.send(result).unwrap()));
    store.append(AppendRequest { log_append_time: Some(Timestamp(NOW)), expected_end: Some(Offset::ZERO), ..request });
    assert_eq!(answers.recv().unwrap().unwrap().log_append_time, Some(Timestamp(NOW)));
    let bytes = read_all(&log).unwrap();
    let view = BatchIter::new(&bytes).next().unwrap().unwrap();
    assert_eq!((view.header().max_timestamp, view.header().attributes.timestamp_type()), (NOW, TimestampType::LogAppendTime));
}

#[test]
fn an_append_that_expects_another_end_is_refused() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    let (sender, answers) = std::sync::mpsc::channel();
    let request = request(&log, vec![batch(&[5], 1)], Box::new(move |result| sender.send(result).unwrap()));
    store.append(AppendRequest { origin: AppendOrigin::Coordinator, expected_end: Some(offset(4)), ..request });
    assert!(matches!(answers.recv().unwrap().unwrap_err(), AppendError::UnexpectedEnd { .. }));
}

#[test]
fn a_full_disk_refuses_the_append_and_lets_the_next_one_through() {
    let dir = scratch();
    let store = open_with(dir.path(), "append.after_partial_write", 2, FailAction::NoSpace);
    let log = log(&store, 0);
    append(&store, &log, produced(7, 0, 0, 2)).unwrap();
    let refusal = append(&store, &log, produced(7, 0, 2, 2)).unwrap_err();
    assert!(matches!(&refusal, AppendError::Storage(error) if error.is_out_of_space()), "{refusal}");
    // The half that was written is gone, and so is the producer's state of it.
    assert_eq!(std::fs::metadata(&segment_files(dir.path(), 0)[0]).unwrap().len(), log.size_bytes());
    let appended = append(&store, &log, produced(7, 0, 2, 2)).unwrap();
    assert_eq!((appended.base_offset, appended.duplicate), (offset(2), false));
}

#[test]
fn a_failed_write_stops_the_partition_but_neither_reads_nor_other_partitions() {
    let dir = scratch();
    let store = open_with(dir.path(), "append.before_write", 2, FailAction::Fail);
    let (broken, other) = (log(&store, 0), log(&store, 1));
    append(&store, &broken, batch(&[NOW], 10)).unwrap();
    assert!(matches!(append(&store, &broken, batch(&[NOW], 10)).unwrap_err(), AppendError::Storage(StorageError::Io { .. })));
    let refusal = append(&store, &broken, batch(&[NOW], 10)).unwrap_err();
    assert!(matches!(refusal, AppendError::Storage(StorageError::Poisoned { .. })), "{refusal}");
    assert!(broken.is_poisoned());
    assert_eq!(offsets(&read_all(&broken).unwrap()), [(0, 1)]);
    append(&store, &other, batch(&[NOW], 10)).unwrap();
}

#[test]
fn after_close_appends_are_answered_and_reads_go_on() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    append(&store, &log, batch(&[NOW], 10)).unwrap();
    store.close().unwrap();
    assert!(matches!(append(&store, &log, batch(&[NOW], 10)).unwrap_err(), AppendError::Closed));
    assert_eq!(offsets(&read_all(&log).unwrap()), [(0, 1)]);
}

#[test]
fn memory_for_recent_batches_is_bounded_over_all_partitions() {
    let dir = scratch();
    let options = StoreOptions { tail_bytes_total: 20_000, tail_bytes_per_partition: 8_000, ..options(dir.path()) };
    let store = Store::open(options).unwrap();
    let logs: Vec<_> = (0..8).map(|number| log(&store, number)).collect();
    for _ in 0..6 {
        for log in &logs {
            append(&store, log, batch(&[NOW], 1_000)).unwrap();
        }
    }
    let warm: usize = logs.iter().map(|log| (0..6).filter(|from| log.is_warm(offset(*from))).count()).sum();
    assert!((5..=18).contains(&warm), "{warm} batches of 1 KB are in memory");
    for log in &logs {
        assert_eq!(offsets(&read_all(log).unwrap()).len(), 6);
    }
}
