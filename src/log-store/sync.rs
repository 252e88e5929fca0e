//! The sync thread: brings segments to the disk in the background and moves recovery points.
//!
//! Jobs of a partition come in the order of its log, so that a recovery point means that everything before it is there.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};

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

pub(crate) fn run(engine: &Engine, commands: &Receiver<SyncCommand>) {
    while let Ok(command) = commands.recv() {
        match command {
            SyncCommand::Sync(job) => {
                if !job.log.0.is_deleted() && job.run().is_err() {
                    // IMPORTANT: a failed sync is never tried again as if nothing had happened: the page may count as clean already. The next
                    // append says so to its caller.
                    job.log.0.state().poisoned = true;
                    fail_journal(engine);
                }
            }
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
}

/// What did not reach the disk must stay in the journal.
fn fail_journal(engine: &Engine) {
    if let Some(journal) = engine.journal.get() {
        journal.fail();
    }
}

impl SyncJob {
    fn run(&self) -> Result<(), StorageError> {
        self.sync_files()?;
        let log = &*self.log.0;
        let mut batch = WriteBatch::default();
        // A truncation or a deletion moves the recovery point itself, under the same lock.
        let _index = log.engine.index_lock.lock();
        if log.is_deleted() || log.cuts() != self.cuts {
            return Ok(());
        }
        log.engine.put(&mut batch, Family::Default, &keys::recovery_point::key(log.id), &self.point.encode())?;
        log.engine.write(batch)
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
