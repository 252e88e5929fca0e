//! What the tests share: a scratch directory, batches, appends that wait for their answer.

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use log_store::{
    AppendDone, AppendError, AppendRequest, Appended, FailAction, Failpoints, LogConfig, PartitionLog, ReadError, Retained, Retention,
    RetentionCheck, Store, StoreOptions, TransactionCheck,
};
use model::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicIdPartition};
use record_batch::{AppendOrigin, BatchBuilder, BatchIter, CheckedBatch};
use tempfile::TempDir;

pub(crate) const NOW: i64 = 1_700_000_000_000;

pub(crate) fn offset(value: i64) -> Offset {
    Offset::new_or_zero(value)
}

pub(crate) fn epoch(value: i32) -> LeaderEpoch {
    LeaderEpoch::new_or_zero(value)
}

pub(crate) fn partition(number: u16) -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId(uuid::Uuid::from_u128(0x1234)), partition: PartitionIndex::new_or_zero(i32::from(number)) }
}

pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir().expect("a scratch directory")
}

/// Small blocks, so that a few batches make several rows; rows are only committed by full blocks or on demand.
pub(crate) fn options(directory: &Path) -> StoreOptions {
    StoreOptions { index_interval_bytes: 1 << 10, index_interval_ms: 3_600_000, ..StoreOptions::new(directory) }
}

pub(crate) fn open(directory: &Path) -> Store {
    Store::open(options(directory)).expect("the store opens")
}

pub(crate) fn open_with(directory: &Path, failpoint: &str, hit: u64, action: FailAction) -> Store {
    let failpoints = Failpoints::arm([(failpoint, hit, action)]).expect("a known failpoint");
    Store::open(StoreOptions { failpoints, ..options(directory) }).expect("the store opens")
}

pub(crate) fn small_segments(segment_bytes: u64) -> LogConfig {
    LogConfig { segment_bytes, ..LogConfig::default() }
}

pub(crate) fn keeping_bytes(retention_bytes: u64) -> Retention {
    Retention { delete: true, retention_ms: None, retention_bytes: Some(retention_bytes) }
}

pub(crate) fn keeping_ms(retention_ms: i64) -> Retention {
    Retention { delete: true, retention_ms: Some(retention_ms), retention_bytes: None }
}

/// A check of one log at the monotonic time zero; what went.
pub(crate) fn retain(store: &Store, log: &PartitionLog, high_watermark: Offset, now: i64) -> Option<Retained> {
    let check = RetentionCheck { log: log.clone(), high_watermark };
    let mut results = store.retain(&[check], Timestamp(now), Duration::ZERO);
    results.pop().map(|(_, result)| result.expect("the check works"))
}

pub(crate) fn log(store: &Store, number: u16) -> PartitionLog {
    store.open_partition(partition(number), LogConfig::default()).expect("the partition opens")
}

/// A batch with one record per timestamp, each with a value of the given size.
pub(crate) fn batch(timestamps: &[i64], value_bytes: usize) -> CheckedBatch {
    let mut builder = BatchBuilder::new();
    for timestamp in timestamps {
        let fill = u8::try_from(timestamp.rem_euclid(251)).expect("below 251");
        builder.append(*timestamp, Some(b"key"), Some(&vec![fill; value_bytes]), &[]);
    }
    CheckedBatch::from_trusted(builder.build()).expect("a batch")
}

/// A batch of an idempotent producer.
pub(crate) fn produced(producer: i64, producer_epoch: i16, first_sequence: i32, count: i32) -> CheckedBatch {
    let mut builder = BatchBuilder::new().with_producer(
        ProducerId::new_or_zero(producer),
        ProducerEpoch::new_or_zero(producer_epoch),
        Sequence::new(first_sequence),
    );
    for number in 0..count {
        builder.append(NOW + i64::from(number), None, Some(&first_sequence.to_be_bytes()), &[]);
    }
    CheckedBatch::from_trusted(builder.build()).expect("a batch")
}

pub(crate) type Answer = Result<Appended, AppendError>;

/// A client's batches for the epoch 0, in no transaction.
pub(crate) fn request(log: &PartitionLog, batches: Vec<CheckedBatch>, done: AppendDone) -> AppendRequest {
    AppendRequest {
        log: log.clone(),
        batches,
        leader_epoch: epoch(0),
        log_append_time: None,
        now: Timestamp(NOW),
        origin: AppendOrigin::Client,
        expected_end: None,
        transaction: TransactionCheck::Unchecked,
        done,
    }
}

/// Sends several requests before it waits for any answer.
pub(crate) fn append_each(store: &Store, log: &PartitionLog, requests: Vec<(Vec<CheckedBatch>, LeaderEpoch)>) -> Vec<Answer> {
    let (sender, answers) = channel();
    let count = requests.len();
    for (number, (batches, leader_epoch)) in requests.into_iter().enumerate() {
        let sender = sender.clone();
        let done = Box::new(move |result| sender.send((number, result)).expect("the test waits"));
        store.append(AppendRequest { leader_epoch, ..request(log, batches, done) });
    }
    let mut all: Vec<_> = answers.iter().take(count).collect();
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, answer)| answer).collect()
}

/// Sends one batch as somebody who knows that of its transaction.
pub(crate) fn send(store: &Store, log: &PartitionLog, batch: CheckedBatch, transaction: TransactionCheck, origin: AppendOrigin) -> Answer {
    let (sender, answer) = channel();
    let done = Box::new(move |result| sender.send(result).unwrap());
    store.append(AppendRequest { origin, transaction, ..request(log, vec![batch], done) });
    answer.recv().unwrap()
}

pub(crate) fn append(store: &Store, log: &PartitionLog, batch: CheckedBatch) -> Answer {
    append_in(store, log, batch, epoch(0))
}

pub(crate) fn append_in(store: &Store, log: &PartitionLog, batch: CheckedBatch, leader_epoch: LeaderEpoch) -> Answer {
    append_each(store, log, vec![(vec![batch], leader_epoch)]).remove(0)
}

/// The whole log, read range by range.
pub(crate) fn read_all(log: &PartitionLog) -> Result<Vec<u8>, ReadError> {
    let mut from = log.log_start_offset();
    let mut all = Vec::new();
    while from < log.log_end_offset() {
        let bytes = read_bytes(log, from, Offset::MAX, 1 << 20)?;
        let mut batches = BatchIter::new(&bytes);
        let mut taken = 0;
        for view in batches.by_ref() {
            let view = view.expect("only whole batches before the cut");
            assert!(view.crc_is_valid());
            taken += view.bytes().len();
            from = offset(view.header().next_offset());
        }
        assert!(taken > 0, "no progress at {from}");
        all.extend_from_slice(&bytes[..taken]);
    }
    Ok(all)
}

pub(crate) fn read_bytes(log: &PartitionLog, from: Offset, end: Offset, max_bytes: usize) -> Result<bytes::Bytes, ReadError> {
    let range = log.read(from, end, max_bytes, true)?;
    let length = range.length_bytes;
    let bytes = range.into_bytes().expect("the files are readable");
    assert_eq!(bytes.len(), length);
    Ok(bytes)
}

/// The offsets at which the batches in `bytes` begin and the log goes on.
pub(crate) fn offsets(bytes: &[u8]) -> Vec<(i64, i64)> {
    BatchIter::new(bytes).map(|view| view.expect("a batch")).map(|view| (view.header().base_offset, view.header().next_offset())).collect()
}

pub(crate) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a readable directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            match std::fs::copy(entry.path(), target) {
                // RocksDB removes what an open has replaced whenever it comes to it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.expect("a copy")),
            }
        }
    }
}

/// The partition's segment files in order.
pub(crate) fn segment_files(directory: &Path, number: u16) -> Vec<std::path::PathBuf> {
    let directory = directory.join("partitions").join(partition(number).to_string());
    let mut files: Vec<_> = match std::fs::read_dir(directory) {
        Ok(entries) => entries
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect(),
        Err(_) => Vec::new(),
    };
    files.sort();
    files
}

/// The partition's files that wait for their removal.
pub(crate) fn deleted_files(directory: &Path, number: u16) -> Vec<std::path::PathBuf> {
    let directory = directory.join("partitions").join(partition(number).to_string());
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|name| name == "deleted")).collect()
}
