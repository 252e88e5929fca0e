//! Appends on the thread of who asks for them ([`log_store::Appends::commit`]).

use std::sync::mpsc::channel;
use std::thread::{self, ThreadId};

use log_store::{AppendError, AppendRequest, Durability, LogConfig, PartitionLog, Store, StoreOptions};
use model::Offset;
use record_batch::CheckedBatch;

use crate::scratch::*;

type Seen = (Result<Offset, AppendError>, ThreadId);

/// A request whose answer comes with the thread that gives it.
fn seen(log: &PartitionLog, batch: CheckedBatch, done: impl FnOnce(Seen) + Send + 'static) -> AppendRequest {
    let answer = move |result: Answer| done((result.map(|appended| appended.base_offset), thread::current().id()));
    request(log, vec![batch], Box::new(answer))
}

fn first(store: &Store) -> PartitionLog {
    log(store, 0)
}

/// Appends a batch and waits for its answer.
fn commit(store: &Store, log: &PartitionLog, batch: CheckedBatch) -> Seen {
    let (sender, answer) = channel();
    let appends = store.appends();
    appends.enqueue(seen(log, batch, move |seen| sender.send(seen).expect("the test waits")));
    appends.commit();
    answer.recv().expect("it is answered")
}

fn answered_here(store: &Store, log: &PartitionLog, value_bytes: usize) -> bool {
    commit(store, log, batch(&[NOW], value_bytes)).1 == thread::current().id()
}

#[test]
fn what_is_small_is_appended_here_and_the_rest_of_the_work_is_the_committers() {
    let dir = scratch();
    let store = open(dir.path());
    let log = first(&store);
    let mut count = 0;
    // Not each: the committer's thread may be at work, or the disk have been slow a moment ago.
    let mut until_here = |value_bytes| {
        count += 1;
        while !answered_here(&store, &log, value_bytes) {
            count += 1;
        }
    };
    until_here(100);
    // More than a block in all, so that rows are due at once.
    (0..20).for_each(|_| until_here(8 << 10));
    assert!((0..20).all(|_| !answered_here(&store, &log, 32 << 10)));
    count += 20;
    assert_eq!(log.log_end_offset(), offset(count));
    store.flush_index().unwrap();
    assert_eq!(offsets(&read_all(&log).unwrap()).len(), usize::try_from(count).unwrap());
    drop((log, store));
    // As after a crash.
    let store = open(dir.path());
    assert_eq!(first(&store).log_end_offset(), offset(count));
}

#[test]
fn what_waits_for_the_disk_is_appended_here_if_it_is_alone() {
    let dir = scratch();
    let store = Store::open(StoreOptions { durability: Durability::Group, ..options(dir.path()) }).unwrap();
    let log = store.open_partition(partition(0), LogConfig::default()).unwrap();
    let mut count = 1;
    // Not the first, for which the journal gets its file, nor soon after a slow disk.
    while !answered_here(&store, &log, 100) {
        count += 1;
    }
    for _ in 0..20 {
        let (sender, answers) = channel();
        let appends = store.appends();
        for _ in 0..2 {
            let sender = sender.clone();
            appends.enqueue(seen(&log, batch(&[NOW], 100), move |seen| sender.send(seen).expect("the test waits")));
        }
        appends.commit();
        assert!(answers.iter().take(2).all(|(offset, by)| offset.is_ok() && by != thread::current().id()));
        count += 2;
    }
    assert_eq!(log.log_end_offset(), offset(count));
}

#[test]
fn many_that_append_here_and_there_get_dense_offsets_and_each_keeps_its_order() {
    const THREADS: i64 = 4;
    const EACH: i64 = 300;
    let dir = scratch();
    let store = open(dir.path());
    let log = first(&store);
    let mut all: Vec<i64> = thread::scope(|scope| {
        let write = |number: i64| {
            let (store, log) = (&store, &log);
            move || {
                let (sender, answers) = channel();
                for turn in 0..EACH {
                    let sender = sender.clone();
                    let appends = store.appends();
                    appends.enqueue(seen(log, batch(&[NOW], 50), move |seen| sender.send(seen).expect("the test waits")));
                    // Every third waits for others.
                    if (turn + number) % 3 == 0 { appends.wake_committer() } else { appends.commit() }
                }
                let offsets: Vec<_> =
                    answers.iter().take(usize::try_from(EACH).expect("few")).map(|(offset, _)| offset.unwrap().get()).collect();
                assert!(offsets.is_sorted(), "{offsets:?}");
                offsets
            }
        };
        let writers: Vec<_> = (0..THREADS).map(|number| scope.spawn(write(number))).collect();
        writers.into_iter().flat_map(|writer| writer.join().expect("it does not fail")).collect()
    });
    all.sort_unstable();
    assert_eq!(all, (0..THREADS * EACH).collect::<Vec<_>>());
}

#[test]
fn a_directory_becomes_free_also_when_the_last_handle_goes_with_an_answer_here() {
    for _ in 0..20 {
        let dir = scratch();
        let store = open(dir.path());
        let log = first(&store);
        let (appends, last) = (store.appends(), store.clone());
        let (sender, answer) = channel();
        appends.enqueue(seen(&log, batch(&[NOW], 10), move |(offset, _)| {
            drop(last);
            sender.send(offset).expect("the test waits");
        }));
        drop((log, store));
        appends.commit();
        assert_eq!(answer.recv().expect("it is answered").unwrap(), offset(0));
        while log_store::is_in_use(dir.path()) {
            thread::yield_now();
        }
        assert_eq!(first(&open(dir.path())).log_end_offset(), offset(1));
    }
}

#[test]
fn after_a_close_nothing_is_appended_here() {
    let dir = scratch();
    let store = open(dir.path());
    let log = first(&store);
    assert_eq!(commit(&store, &log, batch(&[NOW], 10)).0.unwrap(), offset(0));
    store.close().unwrap();
    assert!(matches!(commit(&store, &log, batch(&[NOW], 10)).0, Err(AppendError::Closed)));
}
