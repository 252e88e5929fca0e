//! The committer: it takes what has arrived, writes it partition by partition, answers, and commits index rows for full blocks at once and for the
//! rest within a second. One thread per data directory works with it, and whoever appends little while that sleeps ([`crate::commits`]).
//!
//! The thread sleeps without a timer as long as no rows are owed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use model::TopicIdPartition;
use rocksdb::WriteBatch;

use crate::append_request::Queued;
use crate::engine::Engine;
use crate::journal::format::round_size_bytes_max;
use crate::journal::writer::{Answers, DiskCommand, Round, Writer};
use crate::journal::{Cursor, Journal, Release};
use crate::keys::{self, Family};
use crate::partition_log::PartitionLog;
use crate::queue::CommandQueue;
use crate::recovery::pass;
use crate::space::SpaceCheck;
use crate::sync::{SyncCommand, SyncJob, sync_file_system};
use crate::{AppendError, Durability, StorageError};

/// Requests that are appended together at most.
const GROUP_REQUESTS_MAX: usize = 1_024;
/// A round of one request up to this size may be brought to the disk by the committer.
const ALONE_BYTES_MAX: u64 = 128 << 10;
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

/// The way to the thread that answers what waits for the disk.
pub(crate) struct DiskThread {
    commands: Sender<DiskCommand>,
    given: u64,
    /// How many of the given rounds are answered.
    answered: Arc<AtomicU64>,
}

impl DiskThread {
    pub(crate) fn new(commands: Sender<DiskCommand>, answered: Arc<AtomicU64>) -> Self {
        Self { commands, given: 0, answered }
    }

    fn answer(&mut self, round: Round) {
        self.given = self.given.wrapping_add(1);
        // If the thread is gone, dropping the round answers it.
        let _ = self.commands.send(DiskCommand::Answer(round));
    }

    /// Whether all that it was given is on the disk and answered.
    fn is_idle(&self) -> bool {
        self.answered.load(Ordering::Acquire) == self.given
    }
}

pub(crate) struct Committer {
    engine: Arc<Engine>,
    commands: Arc<CommandQueue>,
    syncs: Sender<SyncCommand>,
    /// To the thread that answers what waits for the disk.
    disk: DiskThread,
    /// For what is answered here.
    writer: Writer,
    cursor: Cursor,
    /// Full files of the journal that wait for a sync of what their entries belong to.
    left: Vec<Release>,
    space: SpaceCheck,
    /// Partitions with a sync that is due at a time (`flush.ms`).
    flushes: HashMap<TopicIdPartition, (PartitionLog, Instant)>,
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
    pub(crate) fn new(engine: Arc<Engine>, commands: Arc<CommandQueue>, syncs: Sender<SyncCommand>, disk: DiskThread) -> Self {
        let (dirty, unsynced, tails, flushes) = (HashMap::new(), HashMap::new(), HashMap::new(), HashMap::new());
        Self {
            writer: Writer::new(Arc::clone(&engine)),
            engine,
            commands,
            syncs,
            disk,
            cursor: Cursor::default(),
            left: Vec::new(),
            space: SpaceCheck::default(),
            flushes,
            dirty,
            due: None,
            unsynced,
            tails,
        }
    }

    /// When there is something to do that nobody asks for.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let next_flush = self.flushes.values().map(|(_, due)| *due).min();
        self.due.into_iter().chain(next_flush).min()
    }

    /// How many appends of this size together are not likely to wait for the disk now, but for the one sync that a single one may need, and leave little
    /// to be done.
    pub(crate) fn at_ease_with(&self, size_bytes: usize, count_max: usize) -> usize {
        if self.engine.owes_sync() || self.space.is_short() || !self.flushes.is_empty() {
            return 0;
        }
        match self.engine.options.durability {
            Durability::Os => count_max,
            // Several share the disk's time with what comes meanwhile, on the journal's thread.
            Durability::Group if self.disk.is_idle() => {
                let size_bytes = round_size_bytes_max(1, u64::try_from(size_bytes).unwrap_or(u64::MAX));
                usize::from(!self.cursor.must_change(&self.engine, size_bytes))
            }
            Durability::Group => 0,
        }
    }

    /// Appends on a thread that is not the committer's. What can wait for that is left to it, and soon due.
    pub(crate) fn append_here(&mut self, commands: VecDeque<Command>) {
        let requests = commands.into_iter().filter_map(|command| match command {
            Command::Append(request) => Some(request),
            Command::Flush(_) | Command::Close(_) => None,
        });
        let full = self.append_requests(requests.collect());
        if !full.is_empty() {
            self.due = Some(Instant::now());
        }
    }

    /// Commits rows and begins syncs whose time has come.
    pub(crate) fn work_off_due(&mut self) {
        if self.due.is_none() && self.flushes.is_empty() {
            return;
        }
        let now = Instant::now();
        if self.due.is_some_and(|due| due <= now) {
            self.commit_due();
        }
        let due: Vec<_> = self.flushes.extract_if(|_, (_, due)| *due <= now).map(|(_, (log, _))| log).collect();
        for log in due {
            self.unsynced.remove(&log.id());
            if let Some(job) = sync_job(log) {
                let _ = self.syncs.send(SyncCommand::Sync(job));
            }
        }
    }

    /// Handles what has arrived. `true` after a clean stop.
    pub(crate) fn round(&mut self, commands: VecDeque<Command>) -> bool {
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
        let full = self.append_requests(requests);
        if !full.is_empty() {
            for log in &full {
                self.dirty.remove(&log.id());
            }
            let _ = commit(&self.engine, &full);
            if self.dirty.is_empty() {
                self.due = None;
            }
        }
    }

    /// Appends; which partitions have full blocks that wait for their rows.
    fn append_requests(&mut self, requests: Vec<Queued>) -> Vec<PartitionLog> {
        let mut full = Vec::new();
        if requests.is_empty() {
            return full;
        }
        // Before a byte is written: what cannot go into the journal must not be in a segment.
        if let Err(error) = self.reserve(&requests) {
            for request in requests {
                request.refuse(AppendError::Storage(error.clone()));
            }
            return full;
        }
        let mut round = Round::default();
        for (log, group) in group(requests) {
            let outcome = log.append_group(group);
            if outcome.waits_for_disk {
                if outcome.appended {
                    log.tell_written();
                }
                round.entries.extend(outcome.entries);
                let (log_end, flush, completions) = (outcome.log_end, outcome.flush, outcome.completions);
                round.answers.push(Answers { log: log.clone(), log_end, flush, completions });
            } else {
                for (done, result) in outcome.completions {
                    done.call(result);
                }
            }
            for job in outcome.sync_jobs {
                let _ = self.syncs.send(SyncCommand::Sync(job));
            }
            if outcome.appended {
                for set in [&mut self.unsynced, &mut self.dirty, &mut self.tails] {
                    set.insert(log.id(), log.clone());
                }
                self.note_flush_time(&log, outcome.flush_ms);
            }
            if outcome.has_closed_blocks {
                full.push(log);
            }
        }
        if !round.answers.is_empty() {
            self.hand_over(round);
        }
        self.trim_tails();
        if !self.dirty.is_empty() && self.due.is_none() {
            self.due = Some(Instant::now() + Duration::from_millis(self.engine.options.index_interval_ms));
        }
        if self.engine.unsynced_bytes.load(Ordering::Relaxed) >= self.engine.options.unsynced_bytes_max {
            for job in self.sync_jobs() {
                let _ = self.syncs.send(SyncCommand::Sync(job));
            }
        }
        full
    }

    /// Sees to it that there is space for the requests, on the disk and in the journal.
    fn reserve(&mut self, requests: &[Queued]) -> Result<(), StorageError> {
        let sizes = requests.iter().map(|request| u64::try_from(request.size_bytes()).unwrap_or(u64::MAX));
        let size = sizes.fold(0, u64::saturating_add);
        let engine = Arc::clone(&self.engine);
        self.space.check(&engine, size)?;
        engine.pay_sync()?;
        let Some(journal) = engine.journal.get() else { return Ok(()) };
        if journal.has_failed() {
            return Err(StorageError::Stopped);
        }
        let size = round_size_bytes_max(requests.iter().map(Queued::segments_max).sum(), size);
        if self.cursor.must_change(&engine, size)
            && let Some(release) = self.cursor.leave(journal)
        {
            self.left.push(release);
        }
        if !self.left.is_empty() && journal.wants_release(&engine) {
            self.release_left(journal);
        }
        self.cursor.reserve(&engine, journal, size)
    }

    /// Gives the journal's full files back, behind the syncs of all that their entries belong to.
    fn release_left(&mut self, journal: &Journal) {
        // Left out by a test that proves that it would be noticed.
        if !self.engine.failpoints().skips("release.before_syncs") {
            for job in self.sync_jobs() {
                let _ = self.syncs.send(SyncCommand::Sync(job));
            }
        }
        journal.note_releasing(self.left.len());
        for release in self.left.drain(..) {
            // IMPORTANT: behind the jobs, and behind those of all segments that were sealed meanwhile.
            let _ = self.syncs.send(SyncCommand::Release(release));
        }
    }

    /// Gives a round its place in the journal and brings it to the disk, or gives it to the thread that does.
    fn hand_over(&mut self, mut round: Round) {
        let engine = Arc::clone(&self.engine);
        if let Some(journal) = engine.journal.get().filter(|_| !round.entries.is_empty()) {
            match self.cursor.take(round.size_bytes()) {
                Some((file, position)) => round.place = Some((file, position, journal.tick())),
                None => journal.fail(),
            }
        }
        if self.is_alone(&round) {
            self.writer.answer(round);
        } else {
            self.disk.answer(round);
        }
    }

    /// Whether nothing is there that could share the disk's time with the round: neither rounds before it nor appends behind it. What comes while
    /// the committer waits for the disk is the next round.
    fn is_alone(&self, round: &Round) -> bool {
        let is_one = matches!(round.answers.as_slice(), [answers] if answers.completions.len() == 1);
        let is_small = round.place.is_some() && round.size_bytes() <= ALONE_BYTES_MAX;
        is_one && is_small && self.disk.is_idle() && self.commands.is_empty()
    }

    /// With `flush.ms` a sync is due so long after the first append that none was asked for.
    fn note_flush_time(&mut self, log: &PartitionLog, flush_ms: Option<u64>) {
        if let Some(flush_ms) = flush_ms {
            let due = Instant::now() + Duration::from_millis(flush_ms);
            self.flushes.entry(log.id()).or_insert_with(|| (log.clone(), due));
        }
    }

    /// Drops the tails of the partitions that rested longest once all together are too large, and some more, since each time it looks at all of them:
    /// with thousands of partitions that must not be at each append.
    fn trim_tails(&mut self) {
        let budget = &self.engine.tails;
        if !budget.is_exceeded() {
            return;
        }
        let mut by_rest: Vec<_> = self.tails.values().map(|log| (log.0.tail.last_append(), log.id())).collect();
        by_rest.sort_unstable();
        for (_, id) in by_rest {
            if budget.has_slack() {
                break;
            }
            if let Some(log) = self.tails.remove(&id) {
                log.0.tail.clear(budget);
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
        self.flushes.clear();
        self.unsynced.drain().filter_map(|(_, log)| sync_job(log)).collect()
    }

    fn close(&mut self) -> Result<(), StorageError> {
        let (answer, done) = sync_channel(1);
        if self.disk.commands.send(DiskCommand::Barrier(answer)).is_ok() {
            let _ = done.recv();
        }
        self.commit_all()?;
        let (answer, done) = sync_channel(1);
        if self.syncs.send(SyncCommand::Barrier(answer)).is_ok() {
            let _ = done.recv();
        }
        let jobs = self.sync_jobs();
        if jobs.len() <= SYNC_ONE_BY_ONE_MAX {
            jobs.iter().try_for_each(SyncJob::sync_files)?;
        } else {
            sync_file_system(&self.engine.partitions_directory)?;
        }
        let _index = self.engine.index_lock.lock();
        let mut batch = WriteBatch::default();
        for job in jobs.iter().filter(|job| job.may_move_point()) {
            let key = keys::recovery_point::key(job.log.id());
            self.engine.put(&mut batch, Family::Default, &key, &job.point.encode())?;
        }
        self.engine.write_synced(batch)?;
        match self.engine.journal.get() {
            Some(journal) if journal.has_failed() => Err(StorageError::Stopped),
            Some(journal) => journal.erase_all(&self.engine),
            None => Ok(()),
        }
    }
}

/// The job that syncs what no sync was asked for.
fn sync_job(log: PartitionLog) -> Option<SyncJob> {
    let mut state = log.0.state();
    let active = log.0.view().active.filter(|_| state.unsynced_bytes > 0)?;
    Some(log.sync_job(&mut state, &active))
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
