//! The committer: the one thread per data directory that appends. It takes what has arrived, writes it partition by partition, answers, and
//! commits index rows for full blocks at once and for the rest within a second.
//!
//! It sleeps without a timer as long as no rows are owed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use model::TopicIdPartition;
use rocksdb::WriteBatch;

use crate::StorageError;
use crate::append::Queued;
use crate::engine::Engine;
use crate::keys::{self, Family};
use crate::partition_log::PartitionLog;
use crate::queue::{CommandQueue, Taken};
use crate::recovery::pass;
use crate::sync::{SyncCommand, SyncJob};

/// Requests that are appended together at most.
const GROUP_REQUESTS_MAX: usize = 1_024;
/// From this number of unsynced segments on, a clean stop asks for one sync of the whole file system.
const SYNC_ONE_BY_ONE_MAX: usize = 4;

/// What the committer is told.
pub(crate) enum Command {
    Append(Queued),
    /// Commit all index rows.
    Flush(SyncSender<Result<(), StorageError>>),
    /// Stop cleanly: rows, bytes and recovery points to the disk.
    Close(SyncSender<Result<(), StorageError>>),
}

impl Command {
    /// The bytes that it brings.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            Self::Append(request) => request.size_bytes(),
            Self::Flush(_) | Self::Close(_) => 0,
        }
    }
}

pub(crate) struct Committer {
    engine: Arc<Engine>,
    commands: Arc<CommandQueue>,
    syncs: Sender<SyncCommand>,
    /// Partitions with bytes that have no index row yet.
    dirty: HashMap<TopicIdPartition, PartitionLog>,
    /// When their rows are due.
    due: Option<Instant>,
    /// Partitions with bytes that no sync was asked for.
    unsynced: HashMap<TopicIdPartition, PartitionLog>,
    /// Partitions that may have batches in memory.
    tails: HashMap<TopicIdPartition, PartitionLog>,
}

impl Committer {
    pub(crate) fn new(engine: Arc<Engine>, commands: Arc<CommandQueue>, syncs: Sender<SyncCommand>) -> Self {
        Self { engine, commands, syncs, dirty: HashMap::new(), due: None, unsynced: HashMap::new(), tails: HashMap::new() }
    }

    /// Works until a clean stop or until nobody can send any more.
    pub(crate) fn run(mut self) {
        loop {
            match self.commands.take(self.due) {
                Taken::Commands(commands) => {
                    if self.round(commands) {
                        return;
                    }
                    if self.due.is_some_and(|due| due <= Instant::now()) {
                        self.commit_due();
                    }
                }
                Taken::Due => self.commit_due(),
                Taken::Ended => return,
            }
        }
    }

    /// Handles what has arrived. `true` after a clean stop.
    fn round(&mut self, commands: VecDeque<Command>) -> bool {
        let mut requests = Vec::new();
        for command in commands {
            match command {
                Command::Append(request) => {
                    requests.push(request);
                    if requests.len() >= GROUP_REQUESTS_MAX {
                        self.append(std::mem::take(&mut requests));
                    }
                }
                Command::Flush(answer) => {
                    self.append(std::mem::take(&mut requests));
                    let _ = answer.send(self.commit_all());
                }
                Command::Close(answer) => {
                    self.append(requests);
                    let _ = answer.send(self.close());
                    return true;
                }
            }
        }
        self.append(requests);
        false
    }

    fn append(&mut self, requests: Vec<Queued>) {
        if requests.is_empty() {
            return;
        }
        let mut full = Vec::new();
        for (log, group) in group(requests) {
            let outcome = log.append_group(group);
            for (done, result) in outcome.completions {
                done.call(result);
            }
            for job in outcome.sync_jobs {
                let _ = self.syncs.send(SyncCommand::Sync(job));
            }
            if outcome.appended {
                for set in [&mut self.unsynced, &mut self.dirty, &mut self.tails] {
                    set.insert(log.id(), log.clone());
                }
            }
            if outcome.has_closed_blocks {
                full.push(log);
            }
        }
        self.trim_tails();
        if !full.is_empty() {
            for log in &full {
                self.dirty.remove(&log.id());
            }
            let _ = commit(&self.engine, &full);
        }
        if self.dirty.is_empty() {
            self.due = None;
        } else if self.due.is_none() {
            self.due = Some(Instant::now() + Duration::from_millis(self.engine.options.index_interval_ms));
        }
        if self.engine.unsynced_bytes.load(Ordering::Relaxed) >= self.engine.options.unsynced_bytes_max {
            for job in self.sync_jobs() {
                let _ = self.syncs.send(SyncCommand::Sync(job));
            }
        }
    }

    /// Drops the tails of the partitions that rested longest while all together are too large.
    fn trim_tails(&mut self) {
        while self.engine.tails.is_exceeded() {
            let oldest = self.tails.values().min_by_key(|log| log.0.tail.last_append()).map(PartitionLog::id);
            match oldest.and_then(|id| self.tails.remove(&id)) {
                Some(log) => log.0.tail.clear(&self.engine.tails),
                None => break,
            }
        }
    }

    /// A failure is not lost: it stops the partitions, and their next append says so.
    fn commit_due(&mut self) {
        let _ = self.commit_all();
    }

    fn commit_all(&mut self) -> Result<(), StorageError> {
        self.due = None;
        let logs: Vec<_> = self.dirty.drain().map(|(_, log)| log).collect();
        if logs.is_empty() { Ok(()) } else { commit(&self.engine, &logs) }
    }

    /// One job per partition with unsynced bytes, up to its end.
    fn sync_jobs(&mut self) -> Vec<SyncJob> {
        let job = |log: PartitionLog| {
            let mut state = log.0.state();
            let active = log.0.view().active.filter(|_| state.unsynced_bytes > 0)?;
            Some(log.sync_job(&mut state, &active))
        };
        self.unsynced.drain().filter_map(|(_, log)| job(log)).collect()
    }

    fn close(&mut self) -> Result<(), StorageError> {
        self.commit_all()?;
        let (answer, done) = sync_channel(1);
        if self.syncs.send(SyncCommand::Barrier(answer)).is_ok() {
            let _ = done.recv();
        }
        let jobs = self.sync_jobs();
        if jobs.len() <= SYNC_ONE_BY_ONE_MAX {
            jobs.iter().try_for_each(SyncJob::sync_files)?;
        } else {
            let directory = &self.engine.partitions_directory;
            let synced = std::fs::File::open(directory).and_then(|file| Ok(rustix::fs::syncfs(&file)?));
            synced.map_err(|error| StorageError::io("sync the file system of", directory, error))?;
        }
        let _index = self.engine.index_lock.lock();
        let mut batch = WriteBatch::default();
        for job in jobs.iter().filter(|job| !job.log.0.is_deleted()) {
            let key = keys::recovery_point::key(job.log.id());
            self.engine.put(&mut batch, Family::Default, &key, &job.point.encode())?;
        }
        self.engine.write_synced(batch)
    }
}

impl Drop for Committer {
    /// Also when it panicked: nobody may wait for it.
    fn drop(&mut self) {
        self.commands.abandon();
    }
}

/// The requests by partition; partitions and their requests keep their order.
fn group(requests: Vec<Queued>) -> Vec<(PartitionLog, Vec<Queued>)> {
    let mut groups: Vec<(PartitionLog, Vec<Queued>)> = Vec::new();
    let mut places: HashMap<*const crate::partition_log::Inner, usize> = HashMap::new();
    for request in requests {
        let place = *places.entry(Arc::as_ptr(&request.log.0)).or_insert_with(|| {
            groups.push((request.log.clone(), Vec::new()));
            groups.len() - 1
        });
        if let Some((_, group)) = groups.get_mut(place) {
            group.push(request);
        }
    }
    groups
}

/// Writes the rows of the given partitions in one batch. A failure stops them: rows and bytes would drift apart.
pub(crate) fn commit(engine: &Engine, logs: &[PartitionLog]) -> Result<(), StorageError> {
    let index = engine.index_lock.lock();
    let mut published = Vec::with_capacity(logs.len());
    let result = (|| {
        pass(engine, "index_commit.before", &engine.partitions_directory)?;
        let mut batch = WriteBatch::default();
        for log in logs {
            if let Some(unindexed) = log.0.gather_rows(&mut batch)? {
                published.push((log, unindexed));
            }
        }
        engine.write(batch)?;
        pass(engine, "index_commit.after", &engine.partitions_directory)
    })();
    match &result {
        Ok(()) => {
            for (log, unindexed) in published {
                log.0.change_view(|view| view.unindexed = unindexed);
            }
        }
        Err(_) => {
            for log in logs {
                log.0.state().poisoned = true;
            }
        }
    }
    drop(index);
    result
}
