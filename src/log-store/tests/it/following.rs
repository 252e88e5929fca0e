//! A follower's log: the leader's, byte for byte, through rolls, kills, truncations and resets.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use log_store::{AppendError, Durability, FailAction, Failpoints, PartitionLog, ReplicateRequest, Store, StoreOptions};
use model::{LeaderEpoch, Offset, Timestamp};
use record_batch::{BatchBuilder, SequencedBatch};

use crate::scratch::*;

fn open_as(directory: &Path, durability: Durability, failpoints: Failpoints) -> Store {
    Store::open(StoreOptions { durability, failpoints, ..options(directory) }).unwrap()
}

/// Appends a piece of the leader's log.
fn replicate(store: &Store, log: &PartitionLog, piece: &Bytes, leader_epoch: LeaderEpoch) -> Answer {
    let (sender, answer) = channel();
    store.appends().enqueue_replicated(ReplicateRequest {
        log: log.clone(),
        batches: SequencedBatch::all_replicated(piece).unwrap(),
        leader_epoch,
        now: Timestamp(NOW),
        done: Box::new(move |result| sender.send(result).unwrap()),
    });
    store.appends().wake_committer();
    answer.recv().unwrap()
}

/// Fetches from the leader until the follower has all.
fn catch_up(leader: &PartitionLog, store: &Store, follower: &PartitionLog, bytes_max: usize) {
    let leader_epoch = leader.latest_epoch().unwrap_or_default();
    while follower.log_end_offset() < leader.log_end_offset() {
        let piece = read_bytes(leader, follower.log_end_offset(), Offset::MAX, bytes_max).unwrap();
        replicate(store, follower, &piece, leader_epoch).unwrap();
    }
}

/// What a follower does when its leader says that their logs part, until they do not (KIP-279).
fn reconcile(leader: &PartitionLog, follower: &PartitionLog) -> usize {
    for round in 0.. {
        let Some(last_epoch) = follower.latest_epoch() else { return round };
        let Some((epoch, end)) = leader.end_offset_for_epoch(last_epoch) else { return round };
        if epoch == last_epoch && end >= follower.log_end_offset() {
            return round;
        }
        let (_, own_end) = follower.end_offset_for_epoch(epoch).unwrap();
        follower.truncate(end.min(own_end)).unwrap();
    }
    0
}

/// Where each of the first epochs ends.
type EpochEnds = Vec<Option<(LeaderEpoch, Offset)>>;

/// All bytes, the producers, and where epochs end.
fn state_of(log: &PartitionLog) -> (Vec<u8>, Vec<String>, EpochEnds) {
    let mut producers: Vec<_> = log.active_producers().iter().map(|producer| format!("{producer:?}")).collect();
    producers.sort();
    // The last epoch's end is the log's.
    let ends = (0..12).map(|number| log.end_offset_for_epoch(epoch(number))).collect();
    (read_all(log).unwrap(), producers, ends)
}

/// Batches of two producers and of none, over four epochs.
fn lead(store: &Store, log: &PartitionLog, count: i32) {
    for number in 0..count {
        let leader_epoch = epoch(number * 4 / count);
        append_in(store, log, produced(7, 0, number * 2, 2), leader_epoch).unwrap();
        append_in(store, log, produced(8, 3, number, 1), leader_epoch).unwrap();
        append_in(store, log, batch(&[NOW + i64::from(number), NOW], 300), leader_epoch).unwrap();
    }
}

#[test]
fn a_followers_log_is_its_leaders_byte_for_byte_also_after_a_kill_and_with_other_segments() {
    for durability in [Durability::Os, Durability::Group] {
        let (leader_dir, follower_dir) = (scratch(), scratch());
        let leader_store = open(leader_dir.path());
        let leader = leader_store.open_partition(partition(0), small_segments(9_000)).unwrap();
        lead(&leader_store, &leader, 20);
        let store = open_as(follower_dir.path(), durability, Failpoints::default());
        let follower = store.open_partition(partition(0), small_segments(2_500)).unwrap();
        // Pieces of several epochs and of several segments.
        catch_up(&leader, &store, &follower, 6_000);
        assert_eq!(follower.acknowledged_end_offset(), leader.log_end_offset());
        assert!(segment_files(follower_dir.path(), 0).len() > 5);
        assert_eq!(state_of(&follower), state_of(&leader));
        assert_eq!(follower.first_at_or_after(Timestamp(NOW + 5), Offset::MAX).unwrap(), {
            leader.first_at_or_after(Timestamp(NOW + 5), Offset::MAX).unwrap()
        });
        drop((follower, store));
        let store = open_as(follower_dir.path(), durability, Failpoints::default());
        let follower = store.open_partition(partition(0), small_segments(2_500)).unwrap();
        assert_eq!(state_of(&follower), state_of(&leader));
        // It can lead: it knows the producers.
        assert!(append_in(&store, &follower, produced(8, 3, 19, 1), epoch(9)).unwrap().duplicate);
    }
}

#[test]
fn a_follower_that_dies_at_any_moment_goes_on_where_its_log_ends() {
    let leader_dir = scratch();
    let leader_store = open(leader_dir.path());
    let leader = leader_store.open_partition(partition(0), small_segments(9_000)).unwrap();
    lead(&leader_store, &leader, 12);
    let expected = state_of(&leader);
    let points = ["append.before_write", "append.after_partial_write", "append.after_write", "roll.after_create", "index_commit.after"];
    for (durability, failpoint) in points
        .iter()
        .map(|point| (Durability::Os, *point))
        .chain(["journal.before_write", "journal.after_sync", "append.after_write"].map(|point| (Durability::Group, point)))
    {
        let (dir, found) = (scratch(), scratch());
        let (from, to) = (dir.path().to_owned(), found.path().join("found"));
        let copy = FailAction::Call(Arc::new(move || copy_directory(&from, &to)));
        let store = open_as(dir.path(), durability, Failpoints::arm([(failpoint, 3, copy)]).unwrap());
        let follower = store.open_partition(partition(0), small_segments(2_500)).unwrap();
        catch_up(&leader, &store, &follower, 4_000);
        let faults = crate::inspecting::verified(&found.path().join("found")).0.faults();
        assert_eq!(faults, Vec::<String>::new(), "{failpoint}: a check before the open");
        let store = open_as(&found.path().join("found"), durability, Failpoints::default());
        let follower = store.open_partition(partition(0), small_segments(2_500)).unwrap();
        let kept = read_all(&follower).unwrap();
        assert!(kept.len() < expected.0.len() && expected.0.starts_with(&kept), "{failpoint}");
        assert_eq!(reconcile(&leader, &follower), 0, "{failpoint}");
        catch_up(&leader, &store, &follower, 4_000);
        assert!(state_of(&follower) == expected, "{failpoint}");
    }
}

#[test]
fn after_two_failovers_without_acknowledgements_the_logs_are_equal_again() {
    // Epoch 0 is common; each replica then led an epoch of its own that the others never got, and one led without writing.
    let (dir_a, dir_b) = (scratch(), scratch());
    let (store_a, store_b) = (open(dir_a.path()), open(dir_b.path()));
    let (a, b) = (log(&store_a, 0), log(&store_b, 0));
    for number in 0..10 {
        append_in(&store_a, &a, produced(7, 0, number, 1), epoch(0)).unwrap();
    }
    catch_up(&a, &store_b, &b, 1 << 20);
    append_in(&store_a, &a, produced(7, 0, 10, 1), epoch(1)).unwrap();
    append_in(&store_b, &b, produced(7, 0, 10, 2), epoch(2)).unwrap();
    append_in(&store_a, &a, produced(7, 0, 11, 1), epoch(3)).unwrap();
    append_in(&store_a, &a, produced(9, 0, 0, 1), epoch(3)).unwrap();
    a.assign_epoch(epoch(4));
    // A resigns; B leads under epoch 5.
    a.follow_epoch(epoch(5));
    b.assign_epoch(epoch(5));
    let refusal = append_in(&store_a, &a, produced(7, 0, 12, 1), epoch(4)).unwrap_err();
    assert!(matches!(refusal, AppendError::StaleLeaderEpoch { .. }), "{refusal}");
    assert_eq!(a.latest_epoch(), Some(epoch(3)), "the epoch without a batch is forgotten");
    append_in(&store_b, &b, produced(7, 0, 12, 1), epoch(5)).unwrap();
    assert_eq!(reconcile(&b, &a), 2);
    assert_eq!(a.log_end_offset(), offset(10));
    catch_up(&b, &store_a, &a, 1 << 20);
    assert_eq!(state_of(&a), state_of(&b));
    assert_eq!(a.active_producers().len(), 1, "the producer whose only batch was cut is gone");
}

#[test]
fn what_cannot_follow_is_refused_and_what_came_before_it_stays() {
    let at = |base: i64, leader_epoch: i32| {
        let mut builder = BatchBuilder::new().with_base_offset(base).with_leader_epoch(leader_epoch);
        builder.append(NOW, None, Some(b"value"), &[]);
        builder.build()
    };
    let piece = |batches: &[Bytes]| Bytes::from(batches.concat());
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    // Compaction leaves gaps; a segment begins in one.
    replicate(&store, &log, &piece(&[at(5, 1), at(20, 2)]), epoch(3)).unwrap();
    assert_eq!((log.log_end_offset(), offsets(&read_all(&log).unwrap())), (offset(21), vec![(5, 6), (20, 21)]));
    let refusal = replicate(&store, &log, &at(20, 2), epoch(3)).unwrap_err();
    assert!(matches!(refusal, AppendError::BelowLogEnd { .. }), "{refusal}");
    let refusal = replicate(&store, &log, &piece(&[at(21, 3), at(22, 2)]), epoch(3)).unwrap_err();
    assert!(matches!(refusal, AppendError::UnorderedEpoch { received: 2, .. }), "{refusal}");
    assert_eq!(log.log_end_offset(), offset(22));
    let refusal = replicate(&store, &log, &at(30, 5), epoch(4)).unwrap_err();
    assert!(matches!(refusal, AppendError::UnorderedEpoch { received: 5, .. }), "{refusal}");
    log.follow_epoch(epoch(6));
    let refusal = replicate(&store, &log, &at(30, 5), epoch(5)).unwrap_err();
    assert!(matches!(refusal, AppendError::StaleLeaderEpoch { .. }), "{refusal}");
    replicate(&store, &log, &at(30, 5), epoch(6)).unwrap();
    assert_eq!(log.end_offset_for_epoch(epoch(4)), Some((epoch(3), offset(30))));
    assert_eq!(offsets(&read_bytes(&log, offset(7), Offset::MAX, 1).unwrap()), [(20, 21)], "a read in a gap goes on behind it");
}

#[test]
fn a_gap_at_a_rolls_border_survives_a_kill() {
    let dir = scratch();
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(1_000)).unwrap();
    for base in [0, 10, 40, 50, 90] {
        let mut builder = BatchBuilder::new().with_base_offset(base).with_leader_epoch(0);
        builder.append(NOW, None, Some(&[1; 700]), &[]);
        replicate(&store, &log, &builder.build(), epoch(0)).unwrap();
    }
    let expected = read_all(&log).unwrap();
    assert_eq!(segment_files(dir.path(), 0).len(), 5);
    store.flush_index().unwrap();
    drop((log, store));
    assert_eq!(crate::inspecting::verified(dir.path()).0.faults(), Vec::<String>::new(), "a check before the open");
    let store = open(dir.path());
    let log = store.open_partition(partition(0), small_segments(1_000)).unwrap();
    assert_eq!((log.log_end_offset(), read_all(&log).unwrap()), (offset(91), expected));
}

#[test]
fn a_reset_log_begins_and_ends_where_it_is_told_in_both_directions_and_after_a_crash() {
    for durability in [Durability::Os, Durability::Group] {
        for to in [0, 7, 12, 100] {
            for failpoint in ["truncate.after_intent", "truncate.after_cut"] {
                let (dir, found) = (scratch(), scratch());
                let (from, copied) = (dir.path().to_owned(), found.path().join("found"));
                let copy = FailAction::Call(Arc::new(move || copy_directory(&from, &copied)));
                let store = open_as(dir.path(), durability, Failpoints::arm([(failpoint, 1, copy)]).unwrap());
                let log = store.open_partition(partition(0), small_segments(2_500)).unwrap();
                // It begins at 10, in its second segment.
                log.reset(offset(0)).unwrap();
                for number in 0..20 {
                    append_in(&store, &log, produced(7, 0, number, 1), epoch(number / 5)).unwrap();
                    append_in(&store, &log, batch(&[NOW], 900), epoch(number / 5)).unwrap();
                }
                drop((log, store));
                let from = found.path().join("found");
                if from.exists() {
                    std::fs::remove_dir_all(&from).unwrap();
                }
                let copied = from.clone();
                let source = dir.path().to_owned();
                let copy = FailAction::Call(Arc::new(move || copy_directory(&source, &copied)));
                let store = open_as(dir.path(), durability, Failpoints::arm([(failpoint, 1, copy)]).unwrap());
                let log = store.open_partition(partition(0), small_segments(2_500)).unwrap();
                log.advance_log_start(offset(10)).unwrap();
                retain(&store, &log, offset(40), NOW);
                log.reset(offset(to)).unwrap();
                let check = |store: &Store, log: &PartitionLog, context: &str| {
                    let context = format!("{durability:?} to {to} at {failpoint}, {context}");
                    assert_eq!((log.log_start_offset(), log.log_end_offset()), (offset(to), offset(to)), "{context}");
                    assert_eq!((log.latest_epoch(), log.active_producers().len()), (None, 0), "{context}");
                    let mut builder = BatchBuilder::new().with_base_offset(to + 3).with_leader_epoch(2);
                    builder.append(NOW, None, Some(b"value"), &[]);
                    replicate(store, log, &builder.build(), epoch(2)).unwrap();
                    assert_eq!(offsets(&read_all(log).unwrap()), [(to + 3, to + 4)], "{context}");
                };
                check(&store, &log, "in place");
                drop((log, store));
                let reopened = |directory: &Path| {
                    let store = open_as(directory, durability, Failpoints::default());
                    let log = store.open_partition(partition(0), small_segments(2_500)).unwrap();
                    (store, log)
                };
                let (_store, log) = reopened(dir.path());
                assert_eq!(offsets(&read_all(&log).unwrap()), [(to + 3, to + 4)], "{durability:?} to {to}, reopened");
                let faults = crate::inspecting::verified(&from).0.faults();
                assert_eq!(faults, Vec::<String>::new(), "{durability:?} to {to} at {failpoint}: a check before the open");
                let (store, log) = reopened(&from);
                check(&store, &log, "after the crash");
            }
        }
    }
}

#[test]
fn what_waits_for_the_disk_is_told_of_and_can_be_read_before_it_is_acknowledged() {
    let dir = scratch();
    let (go, gate) = channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let hold = FailAction::Call(Arc::new(move || gate.lock().unwrap().recv().unwrap()));
    let store = open_as(dir.path(), Durability::Group, Failpoints::arm([("journal.before_sync", 1, hold)]).unwrap());
    let log = log(&store, 0);
    let (written, told) = channel();
    log.on_written(Some(Arc::new(move || written.send(()).unwrap())));
    let appending = {
        let (store, log) = (store.clone(), log.clone());
        std::thread::spawn(move || append(&store, &log, batch(&[NOW; 3], 10)))
    };
    told.recv().unwrap();
    assert_eq!((log.log_end_offset(), log.acknowledged_end_offset()), (offset(3), offset(0)));
    assert_eq!(offsets(&read_bytes(&log, offset(0), Offset::MAX, 1 << 20).unwrap()), [(0, 3)]);
    go.send(()).unwrap();
    appending.join().unwrap().unwrap();
    assert_eq!(log.acknowledged_end_offset(), offset(3));
}
