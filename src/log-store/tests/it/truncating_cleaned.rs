//! Compacted logs that are cut at their end.

use log_store::PartitionLog;

use crate::compacting::{ONE_BATCH, clean, five_segments, keyed, names, records};
use crate::scratch::*;

/// Truncates a cleaned log, appends, and looks at it before and after a reopen.
fn truncated(to: i64, left: &[i64]) {
    let dir = scratch();
    let store = open(dir.path());
    let log = five_segments(&store);
    clean(&store, &log, 1_000, NOW);
    log.truncate(offset(to)).unwrap();
    assert_eq!(log.log_end_offset(), offset(to));
    assert!(log.first_dirty_offset().unwrap() <= Some(offset(to)));
    // A file that is begun at the cut must not count as one of those that were replaced.
    for value in ["7", "8", "9"] {
        append(&store, &log, keyed(&[("z", Some(value))])).unwrap();
    }
    let expected: Vec<i64> = left.iter().copied().chain(to..to + 3).collect();
    let found = |log: &PartitionLog| records(log).iter().map(|record| record.0).collect::<Vec<_>>();
    assert_eq!(found(&log), expected, "to {to}");
    drop((log, store));
    for _ in 0..2 {
        let store = open(dir.path());
        let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
        assert_eq!((found(&log), log.log_end_offset()), (expected.clone(), offset(to + 3)), "to {to}");
    }
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(ONE_BATCH)).unwrap();
    append(&store, &log, keyed(&[("y", Some("1"))])).unwrap();
    clean(&store, &log, 1_000, NOW);
    assert_eq!(found(&log), [left, &[to + 2, to + 3]].concat());
}

#[test]
fn a_cleaned_log_is_truncated_inside_a_hole_and_anywhere_else() {
    truncated(6, &[3, 4, 5]);
    truncated(4, &[3]);
    truncated(3, &[]);
    truncated(2, &[]);
    truncated(0, &[]);
}

#[test]
fn a_crash_forgets_no_producer_that_wrote_behind_a_cut_of_a_cleaned_segment() {
    let (dir, found) = (scratch(), scratch());
    let store = open(dir.path());
    let log = five_segments(&store);
    clean(&store, &log, 1_000, NOW);
    log.truncate(offset(4)).unwrap();
    log.update_config(small_segments(10_000));
    let files = names(dir.path());
    append(&store, &log, produced(7, 0, 0, 2)).unwrap();
    assert_eq!(names(dir.path()), files, "it is in the cleaned segment");
    // No row tells of the batch yet.
    copy_directory(dir.path(), found.path());
    let store = open(found.path());
    let log = store.open_partition(partition(0), small_segments(10_000)).unwrap();
    let again = append(&store, &log, produced(7, 0, 0, 2)).unwrap();
    assert_eq!((again.base_offset, again.duplicate), (offset(4), true));
}
