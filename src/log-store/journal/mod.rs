//! The journal of `klamm.durability=group`: what is acknowledged is on the disk, though its segments are not.
//!
//! The committer writes a round's batches to their segments (no sync), and hands the same batches, of all partitions together, to the journal's
//! thread, which writes them behind each other into one file, syncs that file once, and then answers the requests (`writer`). What came while it
//! waited for the disk is the next group. After a power cut the entries are written again to where they belong (`replay`).
//!
//! A file is full after [`crate::StoreOptions::journal_file_bytes`]. Then the committer asks for a sync of every segment with unsynced bytes, and
//! behind these jobs for the file's release: its header is erased, and only then may it be used again. While such syncs are under way the next full
//! files wait for the jobs after them, so that a disk that is behind gets fewer and larger syncs. There are as many files as the syncs need to keep
//! up, at most [`crate::StoreOptions::journal_files_max`]; then the committer waits.
//!
//! Invariants:
//! - No request is answered before a sync of the journal that began after its entry was written.
//! - An entry is in a file that is not released until its segment and the directories that name it were synced.
//! - A replay may run twice, and over entries that are not needed any more: an entry writes the bytes that belong there, or nothing. What takes
//!   bytes of a partition back says so before it does ([`Engine::fence`]).
//! - A write or a sync that failed is final: the journal takes nothing more, the store answers errors until it is opened again.

mod aligned;
#[cfg(test)]
mod cost_tests;
pub(crate) mod format;
pub(crate) mod replay;
pub(crate) mod writer;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use model::TopicIdPartition;
use parking_lot::{Condvar, Mutex};
use rocksdb::WriteBatch;
use rustix::fs::FallocateFlags;

use crate::StorageError;
use crate::engine::Engine;
use crate::keys::{self, Family, prefix_end};
use crate::recovery::pass;
use crate::segment;

use aligned::{AlignedBuffer, BLOCK};

/// A file grows by this much.
const GROWTH_BYTES: u64 = 4 << 20;
/// Where blocks cannot be asked for, a file grows by zeros in pieces of this size.
const ZEROS_BYTES: usize = 256 << 10;

/// How many bits of a stamp count within a life of the journal.
const STAMP_BITS: u32 = 40;

/// The folder of the journal's files.
pub(crate) fn directory(engine: &Engine) -> PathBuf {
    engine.options.directory.join("journal")
}

fn file_name(index: usize) -> String {
    format!("{index}.journal")
}

/// One file. It is written past the page cache where the file system can: each byte is written once and read after a crash only.
pub(crate) struct JournalFile {
    pub(crate) path: PathBuf,
    file: File,
    /// Takes the place of `file` once that refused a direct write.
    buffered: OnceLock<File>,
    /// Bytes up to here are allocated. Only the committer moves it.
    length: AtomicU64,
}

impl JournalFile {
    fn open(path: PathBuf) -> Result<Self, StorageError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = match open_direct(&options, &path) {
            // Not every file system has direct I/O.
            Err(error) if error.kind() == ErrorKind::InvalidInput => options.open(&path),
            other => other,
        };
        let file = file.map_err(|error| StorageError::io("open journal", &path, error))?;
        let length = file.metadata().map_err(|error| StorageError::io("open journal", &path, error))?.len();
        Ok(Self { path, file, buffered: OnceLock::new(), length: AtomicU64::new(length) })
    }

    fn writable(&self) -> &File {
        self.buffered.get().unwrap_or(&self.file)
    }

    /// Writes whole blocks from memory that begins at a block.
    pub(crate) fn write(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        match self.writable().write_all_at(bytes, position) {
            // A device of larger blocks, or the rest of a write that was cut short.
            Err(error) if error.kind() == ErrorKind::InvalidInput && self.buffered.get().is_none() => {
                let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
                self.buffered.get_or_init(|| file).write_all_at(bytes, position)
            }
            other => other,
        }
    }

    /// Brings what was written to the disk, with the file's length and blocks.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.writable().sync_data()
    }

    /// Gives it its blocks up to `end` and some more, so that a full disk is met before a byte of a segment is written, and most syncs have no
    /// new length to write.
    fn grow(&self, end: u64) -> Result<(), StorageError> {
        let length = self.length.load(Ordering::Relaxed);
        if end <= length {
            return Ok(());
        }
        let grown = end.next_multiple_of(GROWTH_BYTES);
        let allocated = match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), length, grown - length) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => self.fill(length, grown),
            other => other.map_err(io::Error::from),
        };
        allocated.map_err(|error| StorageError::io("grow journal", &self.path, error))?;
        self.length.store(grown, Ordering::Relaxed);
        Ok(())
    }

    /// Writes zeros.
    fn fill(&self, from: u64, end: u64) -> io::Result<()> {
        let zeros = AlignedBuffer::zeros(ZEROS_BYTES);
        let mut position = from / BLOCK * BLOCK;
        while position < end {
            let count = usize::try_from(end - position).unwrap_or(usize::MAX).min(ZEROS_BYTES);
            self.write(zeros.filled().get(..count).unwrap_or_default(), position)?;
            position += u64::try_from(count).unwrap_or(0);
        }
        Ok(())
    }

    /// Makes its entries void.
    fn erase(&self) -> Result<(), StorageError> {
        let erased = self.write(AlignedBuffer::zeros(format::GROUP_HEADER_BYTES).filled(), 0).and_then(|()| self.sync());
        erased.map_err(|error| StorageError::io("release journal", &self.path, error))
    }
}

#[cfg(target_os = "linux")]
fn open_direct(options: &OpenOptions, path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    options.clone().custom_flags(i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap_or(0)).open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(options: &OpenOptions, path: &Path) -> io::Result<File> {
    options.open(path)
}

#[derive(Default)]
struct FilesState {
    free: Vec<Arc<JournalFile>>,
    count: usize,
    next_index: usize,
    /// Files that wait for the syncs of what their entries belong to.
    releasing: usize,
}

/// The files, and the clock that orders entries. It belongs to the engine, since truncations ask it too.
pub(crate) struct Journal {
    state: Mutex<FilesState>,
    freed: Condvar,
    clock: AtomicU64,
    /// A write or a sync failed: nothing more is acknowledged, nothing more released.
    failed: AtomicBool,
}

impl Journal {
    /// A journal for one life of the store, beside the files of earlier lives that are not released yet.
    pub(crate) fn new(life: u64, files_before: usize, next_index: usize) -> Self {
        Self {
            state: Mutex::new(FilesState { free: Vec::new(), count: files_before, next_index, releasing: 0 }),
            freed: Condvar::new(),
            clock: AtomicU64::new(life << STAMP_BITS),
            failed: AtomicBool::new(false),
        }
    }

    /// The files of earlier lives: those with entries, to be released, are told; the others are free.
    pub(crate) fn adopt(&self, directory: &Path, with_entries: &[PathBuf]) -> Result<Vec<Release>, StorageError> {
        let mut releases = Vec::new();
        self.note_releasing(with_entries.len());
        for path in with_entries {
            releases.push(Release { file: Arc::new(JournalFile::open(path.clone())?), stamp_end: self.tick() });
        }
        for (_, path) in list(directory)? {
            if !with_entries.contains(&path) {
                self.state.lock().free.push(Arc::new(JournalFile::open(path)?));
            }
        }
        Ok(releases)
    }

    /// The next stamp or number. Taken under a partition's lock, it says what came first there.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Nothing is acknowledged or released from now on.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        let _state = self.state.lock();
        self.freed.notify_all();
    }

    /// Whether files that are left should be given back now: none is on its way, so that the syncs have nothing to do, or none is to be had
    /// otherwise. While the disk is behind, one sync of a segment serves several files.
    pub(crate) fn wants_release(&self, engine: &Engine) -> bool {
        let state = self.state.lock();
        state.releasing == 0 || (state.free.is_empty() && state.count >= engine.options.journal_files_max.max(1))
    }

    /// So many files are on their way.
    pub(crate) fn note_releasing(&self, count: usize) {
        self.state.lock().releasing += count;
    }

    /// A file that may be written from its beginning: a free one, a new one, or after waiting the next that is released.
    fn take_file(&self, engine: &Engine) -> Result<Arc<JournalFile>, StorageError> {
        let directory = directory(engine);
        let mut state = self.state.lock();
        loop {
            if let Some(file) = state.free.pop() {
                return Ok(file);
            }
            if state.count < engine.options.journal_files_max.max(1) {
                break;
            }
            if self.has_failed() {
                return Err(StorageError::Stopped);
            }
            self.freed.wait(&mut state);
        }
        let file = Arc::new(JournalFile::open(directory.join(file_name(state.next_index)))?);
        segment::sync_directory(&directory).map_err(|error| StorageError::io("sync", &directory, error))?;
        state.next_index += 1;
        state.count += 1;
        Ok(file)
    }

    /// Takes a file back whose entries are not needed any more: everything they hold is on the disk.
    pub(crate) fn release(&self, engine: &Engine, release: Release) -> Result<(), StorageError> {
        if self.has_failed() {
            return Ok(());
        }
        pass(engine, "journal.before_release", &release.file.path)?;
        release.file.erase()?;
        drop_fences(engine, release.stamp_end)?;
        let mut state = self.state.lock();
        state.free.push(release.file);
        state.releasing = state.releasing.saturating_sub(1);
        self.freed.notify_all();
        Ok(())
    }

    /// After a clean stop nothing in the files is needed.
    pub(crate) fn erase_all(&self, engine: &Engine) -> Result<(), StorageError> {
        for (_, path) in list(&directory(engine))? {
            JournalFile::open(path)?.erase()?;
        }
        drop_fences(engine, u64::MAX)
    }
}

/// A file to be given back, once all that was asked for before is synced.
pub(crate) struct Release {
    pub(crate) file: Arc<JournalFile>,
    /// Entries in this file and in those before it have smaller stamps.
    pub(crate) stamp_end: u64,
}

/// Where the committer's next group goes.
#[derive(Default)]
pub(crate) struct Cursor {
    file: Option<Arc<JournalFile>>,
    position: u64,
}

impl Cursor {
    /// Whether a group of this size needs another file.
    pub(crate) fn must_change(&self, engine: &Engine, size_bytes: u64) -> bool {
        self.file.is_none() || (self.position > 0 && self.position.saturating_add(size_bytes) > engine.options.journal_file_bytes)
    }

    /// Leaves the file; it is to be released after the syncs of all that was appended so far.
    pub(crate) fn leave(&mut self, journal: &Journal) -> Option<Release> {
        self.position = 0;
        self.file.take().map(|file| Release { file, stamp_end: journal.tick() })
    }

    /// Sees to it that a group of this size has a place, with its blocks.
    pub(crate) fn reserve(&mut self, engine: &Engine, journal: &Journal, size_bytes: u64) -> Result<(), StorageError> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(journal.take_file(engine)?),
        };
        file.grow(self.position.saturating_add(size_bytes))
    }

    /// The place of a group for whose size at least was reserved.
    pub(crate) fn take(&mut self, size_bytes: u64) -> Option<(Arc<JournalFile>, u64)> {
        let file = self.file.as_ref().map(Arc::clone)?;
        let position = self.position;
        self.position = position.saturating_add(size_bytes.next_multiple_of(BLOCK));
        Some((file, position))
    }
}

/// Removes the files of a journal that is not needed any more.
pub(crate) fn remove(engine: &Engine) -> Result<(), StorageError> {
    let directory = directory(engine);
    // IMPORTANT: synced, since entries that come back after a power cut would meet a log that has no fences.
    let removed = std::fs::remove_dir_all(&directory).and_then(|()| segment::sync_directory(&engine.options.directory));
    removed.map_err(|error| StorageError::io("remove", &directory, error))?;
    drop_fences(engine, u64::MAX)
}

/// The files with their numbers, in no order.
fn list(directory: &Path) -> Result<Vec<(usize, PathBuf)>, StorageError> {
    let fail = |error| StorageError::io("read", directory, error);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        let index = entry.file_name().to_str().and_then(|name| name.strip_suffix(".journal")?.parse().ok());
        if let Some(index) = index {
            files.push((index, entry.path()));
        }
    }
    Ok(files)
}

fn drop_fences(engine: &Engine, stamp_end: u64) -> Result<(), StorageError> {
    let first = [keys::journal::FENCE_ORDINAL];
    let mut batch = WriteBatch::default();
    engine.scan(Family::Default, &first, &prefix_end(&first), |key, value| {
        if keys::journal::decode(value).is_none_or(|stamp| stamp < stamp_end) {
            engine.delete(&mut batch, Family::Default, key)?;
        }
        Ok(true)
    })?;
    if batch.is_empty() { Ok(()) } else { engine.write(batch) }
}

impl Engine {
    /// Makes all entries void that the journal has of a partition, as of this moment; without a journal it does nothing.
    ///
    /// Whoever takes bytes back that an entry could bring back calls it, under the partition's state lock (so that it is clear which appends came
    /// before), and puts its row into the batch that announces the act. What the caller must see to:
    /// - The batch is written by [`Engine::write_synced`] *before* the first byte goes.
    /// - All bytes of the partition that still count are on the disk before, with their directory entries, since their entries are void
    ///   as well.
    ///
    /// It is not needed where offsets tell: an entry that ends at or before the partition's log start or its recovery point, as their rows say, is
    /// skipped. So retention needs only its synced log start before it unlinks; compaction moves the recovery point behind what it swaps, in the
    /// synced write that swaps it. A newer generation of a segment makes the entries of an older one void, too, and the file that an entry of a
    /// replaced segment brings back is removed when the partition is opened.
    pub(crate) fn fence(&self, batch: &mut WriteBatch, id: TopicIdPartition) -> Result<(), StorageError> {
        match self.journal.get() {
            Some(journal) => self.put(batch, Family::Default, &keys::journal::fence_key(id), &keys::journal::encode(journal.tick())),
            None => Ok(()),
        }
    }
}
