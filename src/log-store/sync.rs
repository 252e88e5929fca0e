//! The sync thread: brings segments to the disk in the background, many at once with helpers that live as long as there is something, and moves
//! recovery points.
//!
//! Jobs of a partition come in the order of its log, so that a recovery point means that everything before it is there.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};

use model::TopicIdPartition;
use parking_lot::Mutex;
use rocksdb::WriteBatch;

use crate::StorageError;
use crate::engine::Engine;
use crate::journal::{Release, replay};
use crate::keys::{self, Family};
use crate::partition_log::{Inner, PartitionLog};
use crate::recovery::pass;
use crate::segment::{Segment, sync_directory};

/// A segment to be brought to the disk, and the recovery point that holds afterwards.
pub(crate) struct SyncJob {
    pub(crate) log: PartitionLog,
    pub(crate) segment: Arc<Segment>,
    /// Earlier segments that a process before this one may have left unsynced.
    pub(crate) recovered: Vec<Arc<Segment>>,
    pub(crate) point: keys::recovery_point::Row,
    /// The log's count of truncations when the job was made.
    pub(crate) cuts: u64,
}

/// What the sync thread is told.
pub(crate) enum SyncCommand {
    Sync(SyncJob),
    /// Segments that the journal of an earlier life has entries of.
    Settle(BTreeSet<PathBuf>),
    /// A file of the journal whose entries are on the disk when all earlier jobs are done.
    Release(Release),
    /// Answers when all earlier jobs are done.
    Barrier(SyncSender<()>),
}

/// So many segments are synced at once: a file system brings the lengths and blocks of all of them to the disk in one go.
const SYNCS_AT_ONCE: usize = 8;

pub(crate) fn run(engine: &Engine, commands: &Receiver<SyncCommand>) {
    while let Ok(first) = commands.recv() {
        let mut jobs = Vec::new();
        for command in std::iter::once(first).chain(commands.try_iter()) {
            if let SyncCommand::Sync(job) = command {
                jobs.push(job);
                continue;
            }
            sync_together(engine, std::mem::take(&mut jobs));
            match command {
                SyncCommand::Sync(_) => {}
                SyncCommand::Settle(segments) => {
                    if replay::settle(engine, &segments).is_err() {
                        fail_journal(engine);
                    }
                }
                SyncCommand::Release(release) => {
                    if let Some(journal) = engine.journal.get()
                        && journal.release(engine, release).is_err()
                    {
                        journal.fail();
                    }
                }
                SyncCommand::Barrier(answer) => {
                    let _ = answer.send(());
                }
            }
        }
        sync_together(engine, jobs);
    }
}

/// Does jobs side by side, those of one partition one after the other, and then moves the recovery points.
fn sync_together(engine: &Engine, jobs: Vec<SyncJob>) {
    let mut lanes: HashMap<TopicIdPartition, Vec<SyncJob>> = HashMap::new();
    for job in jobs {
        lanes.entry(job.log.id()).or_default().push(job);
    }
    let helpers = lanes.len().min(SYNCS_AT_ONCE).saturating_sub(1);
    let (lanes, done) = (Mutex::new(lanes.into_values()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let Some(lane) = lanes.lock().next() else { return };
            let last = sync_lane(engine, lane);
            done.lock().extend(last);
        }
    };
    std::thread::scope(|scope| {
        for number in 0..helpers {
            let name = format!("sync-{}-{number}", engine.options.thread_label);
            // With fewer it only takes longer.
            let _ = std::thread::Builder::new().name(name).spawn_scoped(scope, work);
        }
        work();
    });
    let done = done.into_inner();
    if !done.is_empty() && move_points(engine, &done).is_err() {
        for job in &done {
            job.log.0.state().poisoned = true;
        }
        fail_journal(engine);
    }
}

/// Syncs a partition's segments in their order. The job whose recovery point holds then.
fn sync_lane(engine: &Engine, jobs: Vec<SyncJob>) -> Option<SyncJob> {
    let mut last = None;
    for job in jobs {
        if job.log.0.is_deleted() {
            continue;
        }
        if job.sync_files().is_err() {
            // IMPORTANT: a failed sync is never tried again as if nothing had happened: the page may count as clean already. The next append
            // says so to its caller.
            job.log.0.state().poisoned = true;
            fail_journal(engine);
            break;
        }
        last = Some(job);
    }
    last
}

fn move_points(engine: &Engine, jobs: &[SyncJob]) -> Result<(), StorageError> {
    let mut batch = WriteBatch::default();
    // A truncation or a deletion moves the recovery point itself, under the same lock.
    let _index = engine.index_lock.lock();
    for job in jobs.iter().filter(|job| job.may_move_point() && job.log.0.cuts() == job.cuts) {
        let key = keys::recovery_point::key(job.log.id());
        let known = engine.row("recovery_point", &key, keys::recovery_point::Row::decode)?;
        // Compaction may have moved it further.
        if known.is_none_or(|known| known.offset < job.point.offset) {
            engine.put(&mut batch, Family::Default, &key, &job.point.encode())?;
        }
    }
    if batch.is_empty() { Ok(()) } else { engine.write(batch) }
}

/// What did not reach the disk must stay in the journal.
fn fail_journal(engine: &Engine) {
    if let Some(journal) = engine.journal.get() {
        journal.fail();
    }
}

impl SyncJob {
    /// Whether the recovery point may move. IMPORTANT: not in a partition that a failure stopped, since an earlier sync may be what failed.
    pub(crate) fn may_move_point(&self) -> bool {
        !self.log.0.is_deleted() && !self.log.0.state().poisoned
    }

    /// The bytes and the directory entries.
    pub(crate) fn sync_files(&self) -> Result<(), StorageError> {
        self.recovered.iter().chain([&self.segment]).try_for_each(|segment| sync_segment(&self.log.0, segment))
    }
}

/// Brings all that the file system of this directory has to the disk.
pub(crate) fn sync_file_system(directory: &Path) -> Result<(), StorageError> {
    let synced = File::open(directory).and_then(|file| Ok(rustix::fs::syncfs(&file)?));
    synced.map_err(|error| StorageError::io("sync the file system of", directory, error))
}

/// Brings a segment's bytes to the disk, and the first time the directory entries that lead to it.
pub(crate) fn sync_segment(log: &Inner, segment: &Arc<Segment>) -> Result<(), StorageError> {
    let (engine, path) = (&log.engine, &segment.path);
    pass(engine, "sync.before", path)?;
    let file = match segment.file(&engine.handles) {
        // Retention or a deletion came first.
        Err(StorageError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    file.sync_data().map_err(|error| StorageError::io("sync segment", path, error))?;
    // Left out by a test that proves that it would be noticed.
    if !engine.failpoints().skips("sync.before_directory") && !segment.entry_synced.load(Ordering::Acquire) {
        for directory in [&log.directory(), &engine.partitions_directory] {
            match sync_directory(directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StorageError::io("sync", directory, error));
                }
                _ => {}
            }
        }
        segment.entry_synced.store(true, Ordering::Release);
    }
    Ok(())
}
