use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use log_store::{Durability, LogConfig, OpenError, Store, StoreOptions};

use crate::scratch::*;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_foreign_directory_is_refused_and_untouched() {
    let dir = scratch();
    std::fs::write(dir.path().join("letter.txt"), "mine").unwrap();
    let refusal = Store::open(options(dir.path())).unwrap_err();
    assert!(matches!(refusal, OpenError::Foreign { .. }));
    assert!(refusal.to_string().contains("was not made by klamm"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_newer_layout_is_refused_and_untouched() {
    let dir = scratch();
    drop(open(dir.path()));
    let layout = dir.path().join("klamm.layout");
    assert_eq!(std::fs::read_to_string(&layout).unwrap(), "klamm 2\n");
    std::fs::write(&layout, "klamm 3\n").unwrap();
    let before = std::fs::read_dir(dir.path().join("index")).unwrap().count();
    let refusal = Store::open(options(dir.path())).unwrap_err();
    assert!(matches!(refusal, OpenError::Newer { found: 3, known: 2, .. }), "{refusal}");
    assert_eq!(std::fs::read_dir(dir.path().join("index")).unwrap().count(), before);
    std::fs::write(&layout, "something else").unwrap();
    assert!(matches!(Store::open(options(dir.path())).unwrap_err(), OpenError::Foreign { .. }));
}

#[test]
fn a_second_open_is_refused_until_the_first_one_ends() {
    let dir = scratch();
    let store = open(dir.path());
    let log = log(&store, 0);
    assert!(matches!(Store::open(options(dir.path())).unwrap_err(), OpenError::AlreadyInUse { .. }));
    drop(store);
    // A partition's handle keeps the directory.
    assert!(matches!(Store::open(options(dir.path())).unwrap_err(), OpenError::AlreadyInUse { .. }));
    drop(log);
    open(dir.path());
}

#[test]
fn a_directory_becomes_free_also_when_the_last_handle_goes_with_an_answer() {
    for durability in [Durability::Os, Durability::Group] {
        let dir = scratch();
        let store = Store::open(StoreOptions { durability, ..options(dir.path()) }).unwrap();
        let log = log(&store, 0);
        let (others_go, others_gone) = channel::<()>();
        let last = store.clone();
        let done = move |answer: Answer| {
            let _gone = others_gone.recv();
            answer.unwrap();
            drop(last);
        };
        store.appends().enqueue(request(&log, vec![batch(&[NOW], 10)], Box::new(done)));
        drop(log);
        store.appends().wake_committer();
        drop(store);
        drop(others_go);
        until_free(dir.path());
    }
}

#[test]
fn a_directory_becomes_free_although_nobody_woke_the_committer_for_an_append() {
    let dir = scratch();
    let store = open(dir.path());
    let (log, appends, (sender, answer)) = (log(&store, 0), store.appends(), channel());
    let kept = appends.clone();
    let done = move |answer: Answer| {
        drop(kept);
        sender.send(answer.map(|appended| appended.base_offset)).unwrap();
    };
    store.appends().enqueue(request(&log, vec![batch(&[NOW], 10)], Box::new(done)));
    drop(store);
    assert_eq!(answer.recv().unwrap().unwrap(), offset(0));
    drop(log);
    until_free(dir.path());
    appends.wake_committer();
}

/// Waits until no thread of a store has the directory open.
fn until_free(directory: &Path) {
    let patience = Instant::now() + PATIENCE;
    while log_store::is_in_use(directory) {
        assert!(Instant::now() < patience, "the directory stays in use");
        std::thread::yield_now();
    }
}

#[test]
fn the_root_of_a_fresh_file_system_counts_as_empty() {
    let dir = scratch();
    std::fs::create_dir(dir.path().join("lost+found")).unwrap();
    open(dir.path());
    // Death between the layout file's creation and its first byte.
    let other = scratch();
    std::fs::write(other.path().join("klamm.layout"), "").unwrap();
    open(other.path());
}

#[test]
fn a_clean_stop_leaves_everything_and_scans_nothing() {
    let dir = scratch();
    let store = open(dir.path());
    let logs: Vec<_> = (0..8).map(|number| store.open_partition(partition(number), small_segments(3_000)).unwrap()).collect();
    for (number, log) in (0..).zip(&logs) {
        for sequence in 0..10 {
            append_in(&store, log, produced(number, 0, sequence, 1), epoch(1)).unwrap();
            append_in(&store, log, batch(&[NOW], 700), epoch(1)).unwrap();
        }
    }
    let before: Vec<_> = logs.iter().map(|log| read_all(log).unwrap()).collect();
    store.close().unwrap();
    drop((logs, store));

    let modified = |number| {
        segment_files(dir.path(), number).iter().map(|file| std::fs::metadata(file).unwrap().modified().unwrap()).collect::<Vec<_>>()
    };
    let times: Vec<_> = (0..8).map(modified).collect();
    let store = open(dir.path());
    assert_eq!(store.partitions().unwrap().len(), 8);
    for (number, before) in (0_u16..).zip(before) {
        let log = store.open_partition(partition(number), small_segments(3_000)).unwrap();
        assert_eq!(log.log_end_offset(), offset(20));
        assert_eq!(read_all(&log).unwrap(), before);
        assert!(append_in(&store, &log, produced(i64::from(number), 0, 9, 1), epoch(1)).unwrap().duplicate);
        assert_eq!(log.end_offset_for_epoch(epoch(1)), Some((epoch(1), offset(20))));
        assert_eq!(log.active_producers().len(), 1);
    }
    assert_eq!((0..8).map(modified).collect::<Vec<_>>(), times);
}

#[test]
fn a_thousand_partitions_open_again() {
    let dir = scratch();
    let store = open(dir.path());
    let logs: Vec<_> = (0..1_000).map(|number| log(&store, number)).collect();
    for log in logs.iter().step_by(10) {
        append(&store, log, batch(&[NOW], 10)).unwrap();
    }
    drop((logs, store));
    let store = Store::open(StoreOptions { open_segments_max: 16, ..options(dir.path()) }).unwrap();
    assert_eq!(store.partitions().unwrap().len(), 1_000);
    let logs: Vec<_> = (0..1_000).map(|number| log(&store, number)).collect();
    let ends: i64 = logs.iter().map(|log| log.log_end_offset().get()).sum();
    assert_eq!(ends, 100);
    for log in logs.iter().step_by(10) {
        assert_eq!(offsets(&read_all(log).unwrap()), [(0, 1)]);
    }
}

#[test]
fn opening_an_open_partition_gives_the_same_log() {
    let dir = scratch();
    let store = open(dir.path());
    let first = log(&store, 0);
    append(&store, &first, batch(&[NOW], 10)).unwrap();
    let second = store.open_partition(partition(0), LogConfig::default()).unwrap();
    assert_eq!(second.log_end_offset(), offset(1));
    append(&store, &second, batch(&[NOW], 10)).unwrap();
    assert_eq!(first.log_end_offset(), offset(2));
}

#[test]
fn values_of_the_broker_are_kept() {
    let dir = scratch();
    let store = open(dir.path());
    assert_eq!(store.kv_get(b"cluster.id").unwrap(), None);
    store.kv_put_synced(b"cluster.id", b"abc").unwrap();
    drop(store);
    assert_eq!(open(dir.path()).kv_get(b"cluster.id").unwrap().as_deref(), Some(b"abc".as_slice()));
}

/// No layout so far lacks one; if one is gone, rows are.
#[test]
fn a_lost_part_of_the_index_is_named_and_not_made_anew() {
    let dir = scratch();
    let store = open(dir.path());
    store.synced_log("quorum").append([(1, b"entry")]).unwrap();
    store.close().unwrap();
    drop(store);
    let index = dir.path().join("index");
    let mut database = rocksdb::DB::open_cf(&rocksdb::Options::default(), &index, ["default", "index", "synced"]).unwrap();
    database.drop_cf("synced").unwrap();
    drop(database);
    for _ in 0..2 {
        let refusal = Store::open(options(dir.path())).unwrap_err();
        assert!(matches!(refusal, OpenError::FamilyLost { family: "synced", .. }), "{refusal}");
    }
}
