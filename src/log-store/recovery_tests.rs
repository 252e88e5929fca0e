//! Opens under another boot of the operating system, where only what was synced counts.

use std::sync::Arc;
use std::sync::mpsc::channel;

use model::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicIdPartition};
use record_batch::{AppendOrigin, BatchBuilder, CheckedBatch};

use crate::engine::Engine;
use crate::{AppendRequest, LogConfig, PartitionLog, Store, StoreOptions};

fn id() -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId(uuid::Uuid::from_u128(9)), partition: PartitionIndex::ZERO }
}

fn options(directory: &std::path::Path) -> StoreOptions {
    StoreOptions { index_interval_bytes: 200, index_interval_ms: 3_600_000, ..StoreOptions::new(directory) }
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 1_000, ..LogConfig::default() }
}

fn append(store: &Store, log: &PartitionLog, sequence: i32) -> bool {
    let producer = ProducerId::new_or_zero(1);
    let mut builder = BatchBuilder::new().with_producer(producer, ProducerEpoch::ZERO, Sequence::new(sequence));
    builder.append(1, None, Some(&[5; 40]), &[]);
    let (sender, answer) = channel();
    store.append(AppendRequest {
        log: log.clone(),
        batches: vec![CheckedBatch::from_trusted(builder.build()).unwrap()],
        leader_epoch: LeaderEpoch::ZERO,
        log_append_time: None,
        now: Timestamp(1),
        origin: AppendOrigin::Client,
        expected_end: None,
        transaction: crate::TransactionCheck::Unchecked,
        done: Box::new(move |result| sender.send(result).unwrap()),
    });
    answer.recv().unwrap().unwrap().duplicate
}

/// A closed store of 10 batches, all synced, and 10 more that are only with the operating system.
fn half_synced(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let store = Store::open(options(directory)).unwrap();
    let log = store.open_partition(id(), config()).unwrap();
    (0..10).for_each(|sequence| assert!(!append(&store, &log, sequence)));
    store.close().unwrap();
    drop((log, store));
    let store = Store::open(options(directory)).unwrap();
    let log = store.open_partition(id(), config()).unwrap();
    (10..20).for_each(|sequence| assert!(!append(&store, &log, sequence)));
    let mut files: Vec<_> = std::fs::read_dir(log.0.directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn open_after_a_power_cut(directory: &std::path::Path) -> PartitionLog {
    let mut engine = Engine::open(options(directory)).unwrap();
    engine.boot = [7; 16];
    PartitionLog::open(&Arc::new(engine), id(), config().into()).unwrap()
}

#[test]
fn bytes_that_reached_the_disk_count_though_no_sync_said_so() {
    let dir = tempfile::tempdir().unwrap();
    half_synced(dir.path());
    let log = open_after_a_power_cut(dir.path());
    assert_eq!(log.log_end_offset(), Offset::new_or_zero(20));
    assert_eq!(log.active_producers()[0].last_sequence, Sequence::new(19));
}

#[test]
fn unsynced_bytes_that_a_power_cut_altered_end_the_log_though_they_have_rows() {
    let dir = tempfile::tempdir().unwrap();
    let files = half_synced(dir.path());
    // Its blocks have rows, but neither a roll nor a clean stop has synced them.
    let victim = &files[files.len() - 1];
    let mut bytes = std::fs::read(victim).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0);
    std::fs::write(victim, &bytes).unwrap();
    let log = open_after_a_power_cut(dir.path());
    let end = log.log_end_offset().get();
    assert!((16..20).contains(&end), "{end}");
    // The producer is where the bytes are.
    assert_eq!(log.active_producers()[0].last_sequence.map(Sequence::get), Some(i32::try_from(end).unwrap() - 1));
    let read = log.read(Offset::ZERO, Offset::MAX, 1 << 20, true).unwrap();
    assert!(read.length_bytes > 0);
    // What is left opens again without another word, and goes on.
    drop((read, log));
    let store = Store::open(options(dir.path())).unwrap();
    let log = store.open_partition(id(), config()).unwrap();
    assert_eq!(log.log_end_offset().get(), end);
    assert!(append(&store, &log, i32::try_from(end).unwrap() - 1));
    assert!(!append(&store, &log, i32::try_from(end).unwrap()));
}
