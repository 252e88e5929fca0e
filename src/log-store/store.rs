//! The store of one data directory: opens it, hands out partition logs, deletes partitions, stops cleanly.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{SyncSender, channel, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use model::{PartitionIndex, TopicId, TopicIdPartition};
use parking_lot::Mutex;
use rocksdb::WriteBatch;
use uuid::Uuid;

use crate::append_request::{AppendRequest, Queued};
use crate::commits::Commits;
use crate::committer::{Command, Committer, DiskThread};
use crate::engine::Engine;
use crate::journal::replay::Replayed;
use crate::journal::{self, Journal, writer};
use crate::keys::{self, Family};
use crate::partition_log::PartitionLog;
use crate::queue::CommandQueue;
use crate::recovery::pass;
use crate::replicate::ReplicateRequest;
use crate::retention::removals::{Budget, Removal};
use crate::space::Space;
use crate::sync::{SyncCommand, sync_file_system};
use crate::{Durability, LogConfig, OpenError, StorageError, StoreOptions, SyncedLog, sync};

/// A data directory. Cheap to clone; the directory is free again when the last clone, partition log and synced log are gone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

/// A partition's place in the map; the lock keeps two openers (or an opener and a deletion) apart without holding up others.
type Slot = Arc<Mutex<Option<PartitionLog>>>;

struct Inner {
    slots: Mutex<HashMap<TopicIdPartition, Slot>>,
    commands: Arc<CommandQueue>,
    /// Its thread holds it.
    commits: Weak<Commits>,
    threads: Vec<JoinHandle<()>>,
    engine: Arc<Engine>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("directory", &self.0.engine.options.directory).finish_non_exhaustive()
    }
}

impl Store {
    /// The bytes of the file system that holds the directory, and how many of them are usable.
    ///
    /// # Errors
    /// If the file system does not say.
    pub fn space_bytes(&self) -> Result<(u64, u64), StorageError> {
        let directory = &self.0.engine.options.directory;
        let space = Space::of(directory).map_err(|error| StorageError::io("ask for the space of", directory, error))?;
        Ok((space.total_bytes, space.usable_bytes))
    }

    /// Opens a data directory, making it if need be. Deletions that a crash interrupted are finished; partitions are recovered when they are
    /// opened.
    ///
    /// # Errors
    /// If the directory is in use, not klamm's, of a newer layout, or cannot be read. It is untouched then.
    pub fn open(options: StoreOptions) -> Result<Store, OpenError> {
        let directory = options.directory.clone();
        let engine = Arc::new(Engine::open(options)?);
        let unusable = |source| OpenError::Index { path: directory.clone(), source };
        let deleted = finish_deletions(&engine).map_err(unusable)?;
        let replayed = journal::replay::replay(&engine, &deleted).map_err(unusable)?;
        let (syncs, sync_commands) = channel();
        for command in begin_journal(&engine, replayed).map_err(unusable)? {
            let _ = syncs.send(command);
        }
        let commands = Arc::new(CommandQueue::default());
        let label = engine.options.thread_label.clone();
        let thread_failed = |source| OpenError::Unreadable { action: "start the store's threads for", path: directory.clone(), source };
        let sync_thread = std::thread::Builder::new().name(format!("sync-{label}")).spawn({
            let engine = Arc::clone(&engine);
            move || sync::run(&engine, &sync_commands)
        });
        let sync_thread = sync_thread.map_err(thread_failed)?;
        let (disk, disk_commands) = channel();
        let answered = Arc::new(AtomicU64::new(0));
        let disk_thread = std::thread::Builder::new().name(format!("journal-{label}")).spawn({
            let (engine, answered) = (Arc::clone(&engine), Arc::clone(&answered));
            move || writer::run(engine, &disk_commands, &answered)
        });
        let disk_thread = disk_thread.map_err(thread_failed)?;
        let committer = Committer::new(Arc::clone(&engine), Arc::clone(&commands), syncs, DiskThread::new(disk, answered));
        let commits = Arc::new(Commits::new(committer, Arc::clone(&commands)));
        let weak = Arc::downgrade(&commits);
        let thread = std::thread::Builder::new().name(format!("commit-{label}")).spawn(move || commits.run());
        let commit_thread = thread.map_err(thread_failed)?;
        engine.ballast.hold(&engine.options);
        let inner =
            Inner { slots: Mutex::default(), commands, commits: weak, threads: vec![commit_thread, sync_thread, disk_thread], engine };
        Ok(Store(Arc::new(inner)))
    }

    /// All partitions that exist on the disk, opened or not, in order. Among them may be directories that a power cut left without a row; who
    /// knows the topics deletes those that nobody asks for.
    ///
    /// # Errors
    /// If the directory or the index cannot be read.
    pub fn partitions(&self) -> Result<Vec<TopicIdPartition>, StorageError> {
        partitions(&self.0.engine)
    }

    /// Opens a partition: the one that is there, recovered if need be, or a new one. An open one is given again, with the configuration given
    /// now.
    ///
    /// # Errors
    /// If disk or index fail, or bytes that must be read are corrupt.
    pub fn open_partition(&self, id: TopicIdPartition, config: impl Into<Arc<LogConfig>>) -> Result<PartitionLog, StorageError> {
        let slot = self.slot(id);
        let mut open = slot.lock();
        if let Some(log) = open.as_ref() {
            log.update_config(config);
            return Ok(log.clone());
        }
        self.finish_deletion_of(id, &mut Budget::new(u64::MAX))?;
        self.0.engine.removals.forget(id);
        let log = PartitionLog::open(&self.0.engine, id, config.into())?;
        *open = Some(log.clone());
        Ok(log)
    }

    /// Deletes a partition, open or not, with all its bytes and rows. Its log answers `Deleted` from now on. A crash inside is finished at the
    /// next open.
    ///
    /// # Errors
    /// If disk or index fail.
    pub fn delete_partition(&self, id: TopicIdPartition) -> Result<(), StorageError> {
        self.mark_deleted(id)?;
        self.finish_deletion(id, &mut Budget::new(u64::MAX)).map(|_| ())
    }

    /// Deletes a partition; its bytes and rows stay until `due`, when [`Store::remove_due`] removes them (`file.delete.delay.ms`).
    ///
    /// # Errors
    /// If disk or index fail.
    pub fn delete_partition_later(&self, id: TopicIdPartition, due: Duration) -> Result<(), StorageError> {
        self.mark_deleted(id)?;
        self.0.engine.removals.push(due, Removal::Partition(id));
        Ok(())
    }

    fn mark_deleted(&self, id: TopicIdPartition) -> Result<(), StorageError> {
        let slot = self.slot(id);
        let mut open = slot.lock();
        let engine = &self.0.engine;
        let log = open.take();
        let _segments = log.as_ref().map(|log| log.0.segments_lock.lock());
        let _index = engine.index_lock.lock();
        if let Some(log) = &log {
            log.0.mark_deleted();
        }
        let row = engine.row("partition", &keys::partition::key(id), keys::partition::Row::decode)?;
        let row = row.unwrap_or(keys::partition::Row {
            deleting: true,
            log_start: model::Offset::ZERO,
            log_end: model::Offset::ZERO,
            boot: [0; 16],
        });
        let mut batch = WriteBatch::default();
        let row = keys::partition::Row { deleting: true, ..row };
        engine.put(&mut batch, Family::Default, &keys::partition::key(id), &row.encode())?;
        engine.write(batch)
    }

    /// Removes what is left of a deleted partition, as far as the budget goes, unless it was made anew. Whether nothing is left.
    pub(crate) fn finish_deletion(&self, id: TopicIdPartition, budget: &mut Budget) -> Result<bool, StorageError> {
        let slot = self.slot(id);
        let open = slot.lock();
        if open.is_none() {
            if !self.finish_deletion_of(id, budget)? {
                return Ok(false);
            }
            self.0.slots.lock().remove(&id);
        }
        Ok(true)
    }

    /// The same; the caller holds the partition's place.
    fn finish_deletion_of(&self, id: TopicIdPartition, budget: &mut Budget) -> Result<bool, StorageError> {
        let engine = &self.0.engine;
        match engine.row("partition", &keys::partition::key(id), keys::partition::Row::decode)? {
            Some(row) if row.deleting => delete_marked(engine, id, budget),
            _ => Ok(true),
        }
    }

    /// Hands batches to the committer. The request's `done` is called in any case.
    pub fn append(&self, request: AppendRequest) {
        let appends = self.appends();
        appends.enqueue(request);
        appends.wake_committer();
    }

    /// The way to the committer, for who appends and is not to keep the store.
    #[must_use]
    pub fn appends(&self) -> Appends {
        Appends { commands: Arc::clone(&self.0.commands), commits: Weak::clone(&self.0.commits) }
    }

    /// A value that the broker keeps about itself.
    ///
    /// # Errors
    /// If the index fails.
    pub fn kv_get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.0.engine.get(Family::Default, &keys::meta::key(key))
    }

    /// Keeps a value; it is on the disk when this returns.
    ///
    /// # Errors
    /// If the index fails.
    pub fn kv_put_synced(&self, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        self.0.engine.put(&mut batch, Family::Default, &keys::meta::key(key), value)?;
        self.0.engine.write_synced(batch)
    }

    /// A log whose changes are on the disk before they return. Names are independent of each other.
    #[must_use]
    pub fn synced_log(&self, name: &str) -> SyncedLog {
        SyncedLog::new(Arc::clone(&self.0.engine), name)
    }

    /// Commits the index rows that are owed, without waiting for their time.
    ///
    /// # Errors
    /// If the index fails, or the store is closed.
    pub fn flush_index(&self) -> Result<(), StorageError> {
        self.ask(Command::Flush)
    }

    /// Stops cleanly: all bytes, rows and recovery points are on the disk when this returns, so that the next open scans nothing. Later appends
    /// are answered `Closed`; reads go on.
    ///
    /// # Errors
    /// If disk or index fail, or the store is closed already.
    pub fn close(&self) -> Result<(), StorageError> {
        self.end_waits();
        self.ask(Command::Close)
    }

    /// From now on what has no space on the disk fails, which waited before: for who is about to close the store.
    pub fn end_waits(&self) {
        self.0.engine.end_waits();
    }

    fn ask(&self, command: impl FnOnce(SyncSender<Result<(), StorageError>>) -> Command) -> Result<(), StorageError> {
        let (answer, answered) = sync_channel(1);
        self.0.commands.push(command(answer));
        self.0.commands.wake();
        answered.recv().unwrap_or(Err(StorageError::Closed))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    fn slot(&self, id: TopicIdPartition) -> Slot {
        Arc::clone(self.0.slots.lock().entry(id).or_default())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.engine.end_waits();
        // Without senders the committer ends after what it has, and with it the sync thread.
        self.commands.close();
        let me = std::thread::current().id();
        // A `done` may hold the last handle. IMPORTANT: then this runs on one of the threads, or on one that does their work, which must not wait for the
        // others: they end only after it has.
        let is_guest = self.commits.upgrade().is_some_and(|commits| commits.is_guest());
        if !is_guest && self.threads.iter().all(|thread| thread.thread().id() != me) {
            for thread in self.threads.drain(..) {
                let _ = thread.join();
            }
        }
    }
}

/// The way of appends into a store. It does not keep the store: once that is gone, appends are answered `Closed`. IMPORTANT: what an append
/// calls at its end should hold nothing more of the store than this and logs, since as long as appends wait (for space, or for somebody to wake the
/// committer) it would keep the store from ending.
#[derive(Clone)]
pub struct Appends {
    commands: Arc<CommandQueue>,
    commits: Weak<Commits>,
}

impl fmt::Debug for Appends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appends").finish_non_exhaustive()
    }
}

impl Appends {
    /// Hands batches to the committer. The append may wait until [`Self::wake_committer`] is called, which must be soon. Its `done` is called in
    /// any case.
    pub fn enqueue(&self, request: AppendRequest) {
        // If the committer is gone, dropping the command answers `Closed`.
        self.commands.push(Command::Append(Queued::from(request)));
    }

    /// Hands batches of a leader's log to the committer, as [`Self::enqueue`] does with a leader's own.
    pub fn enqueue_replicated(&self, request: ReplicateRequest) {
        self.commands.push(Command::Append(Queued::from(request)));
    }

    /// Sees to it that all enqueued appends are under way. Cheap if they are.
    pub fn wake_committer(&self) {
        self.commands.wake();
    }

    /// The same, but if little was enqueued and the committer is at rest, it is appended on this thread before this returns, and the calls at their ends are made on
    /// it: for who would wait for the answer anyway, and holds no lock that those calls take.
    pub fn commit(&self) {
        match self.commits.upgrade() {
            Some(commits) => commits.commit_or_wake(),
            None => self.commands.wake(),
        }
    }
}

/// All partitions that have a row or a directory and are not being deleted, in order.
pub(crate) fn partitions(engine: &Engine) -> Result<Vec<TopicIdPartition>, StorageError> {
    let (deleting, live): (Vec<_>, Vec<_>) = rows(engine)?.into_iter().partition(|(_, row)| row.deleting);
    let deleting: HashSet<TopicIdPartition> = deleting.into_iter().map(|(id, _)| id).collect();
    let mut found: BTreeSet<TopicIdPartition> = live.into_iter().map(|(id, _)| id).collect();
    let directory = &engine.partitions_directory;
    let fail = |error| StorageError::io("read", directory, error);
    for entry in std::fs::read_dir(directory).map_err(fail)? {
        let id = entry.map_err(fail)?.file_name().to_str().and_then(parse_directory_name);
        found.extend(id.filter(|id| !deleting.contains(id)));
    }
    Ok(found.into_iter().collect())
}

fn rows(engine: &Engine) -> Result<Vec<(TopicIdPartition, keys::partition::Row)>, StorageError> {
    let mut rows = Vec::new();
    let first = [keys::partition::ORDINAL];
    engine.scan(Family::Default, &first, &keys::prefix_end(&first), |key, value| {
        let row = keys::partition::id_of(key).zip(keys::partition::Row::decode(value));
        rows.push(row.ok_or(StorageError::UnreadableRow { family: "partition" })?);
        Ok(true)
    })?;
    Ok(rows)
}

/// Finishes what a crash interrupted; whose deletions these were.
fn finish_deletions(engine: &Engine) -> Result<HashSet<TopicIdPartition>, StorageError> {
    let marked: HashSet<_> = rows(engine)?.into_iter().filter(|(_, row)| row.deleting).map(|(id, _)| id).collect();
    marked.iter().try_for_each(|id| delete_marked(engine, *id, &mut Budget::new(u64::MAX)).map(|_| ()))?;
    Ok(marked)
}

/// Begins the journal's next life, if there is to be one. What the earlier lives left is released in the background, by the given commands; without
/// a journal it is synced at once and removed.
fn begin_journal(engine: &Engine, replayed: Replayed) -> Result<Vec<SyncCommand>, StorageError> {
    if engine.options.durability == Durability::Os {
        if replayed.file_count > 0 {
            journal::replay::settle(engine, &replayed.segments)?;
            journal::remove(engine)?;
        }
        return Ok(Vec::new());
    }
    let life = engine.row("journal_life", &keys::journal::life_key(), keys::journal::decode)?.unwrap_or(0) + 1;
    let directory = journal::directory(engine);
    std::fs::create_dir_all(&directory).map_err(|error| StorageError::io("create", &directory, error))?;
    if replayed.file_count == 0 {
        // IMPORTANT: what an earlier life without a journal left unsynced is in no entry, and a replay writes only behind bytes that are there.
        pass(engine, "sync.before", &engine.partitions_directory)?;
        sync_file_system(&engine.partitions_directory)?;
    }
    // The names in the data directory: of the journal, the index, the partitions.
    let data = &engine.options.directory;
    crate::segment::sync_directory(data).map_err(|error| StorageError::io("sync", data, error))?;
    let mut batch = WriteBatch::default();
    engine.put(&mut batch, Family::Default, &keys::journal::life_key(), &keys::journal::encode(life))?;
    engine.write_synced(batch)?;
    let mut commands = vec![SyncCommand::Settle(replayed.segments)];
    let journal = engine.journal.get_or_init(|| Journal::new(life, replayed.file_count, replayed.next_index));
    for release in journal.adopt(&directory, &replayed.files)? {
        commands.push(SyncCommand::Release(release));
    }
    Ok(commands)
}

/// Removes a marked partition's files, then its rows, the mark last. Whether the budget was enough.
fn delete_marked(engine: &Engine, id: TopicIdPartition, budget: &mut Budget) -> Result<bool, StorageError> {
    let directory = engine.partition_directory(id);
    pass(engine, "delete.after_mark", &directory)?;
    if !remove_files(engine, &directory, budget)? {
        return Ok(false);
    }
    pass(engine, "delete.after_files", &directory)?;
    let mut batch = WriteBatch::default();
    engine.delete_prefix(&mut batch, Family::Index, &keys::index::prefix(id))?;
    let prefixes = [keys::producer::prefix, keys::leader_epoch::prefix, keys::cleaned_segment::prefix, keys::aborted_transaction::prefix];
    for prefix in prefixes {
        engine.delete_prefix(&mut batch, Family::Default, &prefix(id))?;
    }
    for key in [keys::recovery_point::key(id), keys::truncation::key(id), keys::cleaner_checkpoint::key(id), keys::partition::key(id)] {
        engine.delete(&mut batch, Family::Default, &key)?;
    }
    // Without a sync: if a power cut takes it, the directory comes back, and who knows the topics deletes it again.
    engine.fence(&mut batch, id)?;
    engine.write(batch).map(|()| true)
}

fn remove_files(engine: &Engine, directory: &Path, budget: &mut Budget) -> Result<bool, StorageError> {
    let fail = |error| StorageError::io("delete", directory, error);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(fail(error)),
    };
    for entry in entries {
        // Who has such a file on its way to a socket loses his connection; he would be told next that there is no such topic.
        if !budget.remove(&entry.map_err(fail)?.path(), true).map_err(fail)? {
            return Ok(false);
        }
        pass(engine, "delete.after_first_unlink", directory)?;
    }
    std::fs::remove_dir(directory).map_err(fail)?;
    Ok(true)
}

/// The partition whose directory has this name: topic id, dash, number.
pub(crate) fn parse_directory_name(name: &str) -> Option<TopicIdPartition> {
    let (topic_id, partition) = name.rsplit_once('-')?;
    let id =
        TopicIdPartition { topic_id: TopicId(Uuid::from_str(topic_id).ok()?), partition: PartitionIndex::new(partition.parse().ok()?)? };
    (id.to_string() == name).then_some(id)
}
