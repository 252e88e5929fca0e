use log_store::ReadError;
use model::{Offset, Piece, Timestamp};

use crate::scratch::*;

#[test]
fn small_ranges_at_the_end_come_from_memory_and_large_ones_from_the_file() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    for number in 0..20 {
        append(&store, &log, batch(&[NOW + number], 2_000)).unwrap();
    }
    let small = log.read(offset(17), Offset::MAX, 1 << 20, true).unwrap();
    assert!(small.pieces.iter().all(|piece| matches!(piece, Piece::Memory(_))));
    assert!(small.length_bytes < 16 << 10);
    let large = log.read(offset(2), Offset::MAX, 1 << 20, true).unwrap();
    assert!(matches!(large.pieces.as_slice(), [Piece::File(_)]) && large.length_bytes >= 16 << 10);
    assert_eq!(offsets(&large.into_bytes().unwrap()).first(), Some(&(2, 3)));
}

#[test]
fn a_read_begins_with_the_batch_that_contains_the_offset_and_stops_before_the_end() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(5_000)).unwrap();
    for number in 0..10 {
        append(&store, &log, batch(&[NOW + number; 3], 500)).unwrap();
    }
    store.flush_index().unwrap();
    let copy = scratch();
    copy_directory(dir.path(), copy.path());
    let cold = open(copy.path()).open_partition(partition(0), small_segments(5_000)).unwrap();
    assert!(log.is_warm(offset(27)) && !cold.is_warm(offset(27)));
    for log in [&log, &cold] {
        for from in 0..30 {
            let first = from / 3 * 3;
            let bytes = read_bytes(log, offset(from), offset(first + 6), 1 << 20).unwrap();
            assert_eq!(offsets(&bytes).first(), Some(&(first, first + 3)), "from {from}");
            assert!(offsets(&bytes).last().unwrap().1 <= first + 6);
            // An end inside the first batch leaves nothing.
            assert_eq!(log.read(offset(from), offset(first + 1), 1 << 20, true).unwrap().length_bytes, 0);
        }
    }
}

#[test]
fn a_read_that_may_not_wait_gives_what_the_other_gives_or_nothing() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(5_000)).unwrap();
    for number in 0..10 {
        append(&store, &log, batch(&[NOW + number; 3], 500)).unwrap();
    }
    store.flush_index().unwrap();
    let copy = scratch();
    copy_directory(dir.path(), copy.path());
    let cold_store = open(copy.path());
    let cold = cold_store.open_partition(partition(0), small_segments(5_000)).unwrap();
    // No byte of an earlier life is served before it was checked, though the page cache has it; here the first batch was.
    assert_eq!(
        cold.read(offset(0), Offset::MAX, 100, true).unwrap().into_bytes().unwrap(),
        read_bytes(&log, offset(0), offset(3), 1 << 20).unwrap()
    );
    assert!(cold.read_now(offset(0), Offset::MAX, 100, true).is_some());
    assert!((0..30).all(|from| cold.read_now(offset(from), Offset::MAX, 1 << 20, true).is_none()));
    assert_eq!((0..30).filter(|from| read_bytes(&cold, offset(*from), Offset::MAX, 1 << 20).unwrap().is_empty()).count(), 0);
    let mut given = 0;
    for log in [&log, &cold] {
        for (from, end, max_bytes) in
            (0..30).flat_map(|from| [(from, 30, 1 << 20), (from, 17, 1 << 20), (from, 30, 700), (from, 30, 3_000)])
        {
            let (from, end) = (offset(from), offset(end));
            let Some(now) = log.read_now(from, end, max_bytes, true) else { continue };
            let now = now.unwrap();
            given += usize::from(now.length_bytes > 0);
            let other = log.read(from, end, max_bytes, true).unwrap();
            assert_eq!(now.into_bytes().unwrap(), other.into_bytes().unwrap(), "{from} to {end}, {max_bytes} bytes");
        }
    }
    // All but those that end inside a segment.
    assert!(given > 160, "{given}");
}

#[test]
fn the_first_batch_is_whole_or_left_out_whatever_the_limit() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    for size in [2_000, 40_000] {
        append(&store, &log, batch(&[NOW], size)).unwrap();
    }
    for (from, at_least) in [(0, 2_000), (1, 40_000)] {
        let whole = log.read(offset(from), Offset::MAX, 100, true).unwrap();
        assert_eq!(offsets(&whole.into_bytes().unwrap()), [(from, from + 1)]);
        assert_eq!(log.read(offset(from), Offset::MAX, at_least, false).unwrap().length_bytes, 0);
    }
    assert!(log.read(offset(0), Offset::MAX, 2_500, true).unwrap().length_bytes <= 2_500);
}

#[test]
fn offsets_outside_the_log_are_told_apart_from_its_end() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    assert_eq!(log.read(offset(0), Offset::MAX, 100, true).unwrap().length_bytes, 0);
    append(&store, &log, batch(&[NOW; 4], 10)).unwrap();
    assert_eq!(log.read(offset(4), Offset::MAX, 100, true).unwrap().length_bytes, 0);
    let refusal = log.read(offset(5), Offset::MAX, 100, true).unwrap_err();
    assert!(matches!(refusal, ReadError::OutOfRange { log_end, .. } if log_end == offset(4)));
    log.advance_log_start(offset(2)).unwrap();
    assert!(matches!(log.read(offset(1), Offset::MAX, 100, true), Err(ReadError::OutOfRange { .. })));
    assert_eq!(offsets(&read_bytes(&log, offset(2), Offset::MAX, 100).unwrap()), [(0, 4)]);
}

#[test]
fn records_are_found_by_time() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(6_000)).unwrap();
    // Times go forth and back: batch k has k*10, k*10+5, and every fifth one a far one.
    for number in 0..20 {
        let far = if number % 5 == 4 { 1_000 + number } else { number * 10 + 5 };
        append(&store, &log, batch(&[number * 10, far], 400)).unwrap();
    }
    for flushed in [false, true] {
        if flushed {
            store.flush_index().unwrap();
        }
        let at = |time| log.first_at_or_after(Timestamp(time), Offset::MAX).unwrap().map(|found| (found.offset.get(), found.timestamp.0));
        assert_eq!(at(0), Some((0, 0)));
        assert_eq!(at(1), Some((1, 5)));
        assert_eq!(at(6), Some((2, 10)));
        // The far record of batch 4 comes first in the log.
        assert_eq!(at(100), Some((9, 1_004)));
        assert_eq!(at(1_005), Some((19, 1_009)));
        assert_eq!(at(1_020), None);
        assert_eq!(log.first_at_or_after(Timestamp(100), offset(9)).unwrap(), None);
        let newest = log.max_timestamp().unwrap().unwrap();
        assert_eq!((newest.offset, newest.timestamp, newest.leader_epoch), (offset(39), Timestamp(1_019), Some(epoch(0))));
    }
    log.advance_log_start(offset(11)).unwrap();
    let found = log.first_at_or_after(Timestamp(0), Offset::MAX).unwrap().unwrap();
    assert_eq!(found.offset, offset(11));
}

#[test]
fn an_empty_log_has_no_times() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    assert_eq!(log.first_at_or_after(Timestamp(0), Offset::MAX).unwrap(), None);
    assert_eq!(log.max_timestamp().unwrap(), None);
}

#[test]
fn altered_bytes_are_never_served() {
    let dir = scratch();
    let store = open(dir.path());
    let log_before = log(&store, 0);
    for number in 0..10 {
        append(&store, &log_before, batch(&[NOW + number], 900)).unwrap();
    }
    store.close().unwrap();
    drop((log_before, store));
    // A byte of the leader epoch in the second batch: the batch's own checksum does not cover it.
    let file = &segment_files(dir.path(), 0)[0];
    let mut bytes = std::fs::read(file).unwrap();
    let second = bytes.len() / 10;
    bytes[second + 15] ^= 1;
    std::fs::write(file, bytes).unwrap();

    let store = open(dir.path());
    let log = log(&store, 0);
    assert!(matches!(log.read(offset(1), Offset::MAX, 1 << 20, true), Err(ReadError::Corrupt { .. })));
    assert!(matches!(log.read(offset(0), Offset::MAX, 1 << 20, true), Err(ReadError::Corrupt { .. })));
    // Blocks beside it are good.
    assert_eq!(offsets(&read_bytes(&log, offset(8), Offset::MAX, 1 << 20).unwrap()).first(), Some(&(8, 9)));
}

#[test]
fn of_a_block_only_the_pieces_that_are_read_are_checked_and_no_other_is_served() {
    let dir = scratch();
    let store = open(dir.path());
    let log_before = log(&store, 0);
    // Five batches make a block, each a piece of it.
    for number in 0..20 {
        append(&store, &log_before, batch(&[NOW + number], 180)).unwrap();
    }
    store.close().unwrap();
    drop((log_before, store));
    let file = &segment_files(dir.path(), 0)[0];
    let good = std::fs::read(file).unwrap();
    let size = good.len() / 20;
    // Of the seventh batch: its base offset, its length, its leader epoch, its magic, its checksum, what that covers.
    for at in [7, 11, 15, 16, 20, 60, size - 1] {
        let mut bytes = good.clone();
        bytes[6 * size + at] ^= 1;
        std::fs::write(file, bytes).unwrap();
        let store = open(dir.path());
        let log = log(&store, 0);
        let read = |from: i64, count: usize| log.read(offset(from), Offset::MAX, count * size, true);
        let is_corrupt = |from: i64, count: usize| matches!(read(from, count), Err(ReadError::Corrupt { .. }));
        assert!(is_corrupt(6, 1), "byte {at}");
        for (from, count) in [(5, 1), (7, 1), (8, 2), (7, 4)] {
            let found = offsets(&read_bytes(&log, offset(from), Offset::MAX, count * size).unwrap());
            assert_eq!((found.first(), found.len()), (Some(&(from, from + 1)), count), "byte {at}");
        }
        assert!(is_corrupt(5, 2) && is_corrupt(0, 20) && is_corrupt(6, 1), "byte {at}");
        // A rest too small for a header is not given, and nothing is read for it.
        assert_eq!(log.read(offset(5), Offset::MAX, size + 60, true).unwrap().length_bytes, size);
        store.close().unwrap();
    }
}

#[test]
fn readers_follow_a_log_that_grows_rolls_and_is_indexed() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(20_000)).unwrap();
    const BATCHES: i64 = 3_000;
    std::thread::scope(|scope| {
        for max_bytes in [1_000, 30_000, 1 << 20] {
            let log = log.clone();
            scope.spawn(move || {
                let mut from = 0;
                while from < BATCHES {
                    let bytes = read_bytes(&log, offset(from), Offset::MAX, max_bytes).unwrap();
                    for view in record_batch::BatchIter::new(&bytes) {
                        let view = view.unwrap();
                        assert!(view.crc_is_valid() && view.header().base_offset == from);
                        from = view.header().next_offset();
                    }
                    std::thread::yield_now();
                }
            });
        }
        for number in 0..BATCHES / 10 {
            let group = (0..10).map(|small| (vec![batch(&[NOW + number], if small == 0 { 3_000 } else { 50 })], epoch(0))).collect();
            append_each(&store, &log, group).into_iter().for_each(|answer| assert!(answer.is_ok()));
        }
    });
    assert_eq!(log.log_end_offset(), offset(BATCHES));
}
