//! Free space: appends are refused while the disk has little, so that what is left serves RocksDB. Reads go on, and appends too as soon as there is
//! space again. If others take even that, RocksDB's writes wait.

use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::StorageError;
use crate::engine::Engine;

/// The file system is asked again after so many appended bytes...
const ASK_EVERY_BYTES: u64 = 1 << 20;
/// ...or after this time.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// With less than this the disk counts as full...
const NO_SPACE_BYTES: u64 = 1 << 20;
/// ...and with more, RocksDB must be over it within this time (it looks every five seconds).
const OVER_IT_WITHIN: Duration = Duration::from_secs(30);
/// So often a write is tried again that waits for space.
const TRY_EVERY: Duration = Duration::from_millis(100);
/// On a small disk the reserve is this part of it.
const SMALL_DISK_PART: u64 = 16;

/// How large a file system is, and how much of it may be used.
#[derive(Clone, Copy)]
pub(crate) struct Space {
    pub(crate) total_bytes: u64,
    pub(crate) usable_bytes: u64,
}

impl Space {
    /// Of the file system that holds the directory.
    pub(crate) fn of(directory: &Path) -> std::io::Result<Self> {
        let figures = rustix::fs::statvfs(directory)?;
        let bytes = |blocks: u64| blocks.saturating_mul(figures.f_frsize);
        Ok(Self { total_bytes: bytes(figures.f_blocks), usable_bytes: bytes(figures.f_bavail) })
    }

    /// What of a small disk may be kept back.
    pub(crate) fn small_part(self) -> u64 {
        self.total_bytes / SMALL_DISK_PART
    }
}

/// Waits for space, for writes to RocksDB that cannot be refused: who asked for them would be lost, or a partition stopped until the next start.
#[derive(Default)]
pub(crate) struct SpaceWaits {
    has_ended: Mutex<bool>,
    ended: Condvar,
}

/// The waiting of one write.
pub(crate) struct SpaceWait<'a> {
    waits: &'a SpaceWaits,
    directory: &'a Path,
    /// Since when there is space.
    has_space_since: Option<Instant>,
}

impl SpaceWaits {
    pub(crate) fn begin<'a>(&'a self, directory: &'a Path) -> SpaceWait<'a> {
        SpaceWait { waits: self, directory, has_space_since: None }
    }

    /// Nobody waits from now on.
    pub(crate) fn end(&self) {
        *self.has_ended.lock() = true;
        self.ended.notify_all();
    }
}

impl SpaceWait<'_> {
    /// Waits a little. Whether to try again: not once the waits have ended, nor when there has been space for long.
    pub(crate) fn wait(&mut self) -> bool {
        let has_space = Space::of(self.directory).is_ok_and(|space| space.usable_bytes >= NO_SPACE_BYTES);
        let since = has_space.then(|| self.has_space_since.unwrap_or_else(Instant::now));
        self.has_space_since = since;
        let mut has_ended = self.waits.has_ended.lock();
        if *has_ended || since.is_some_and(|since| since.elapsed() >= OVER_IT_WITHIN) {
            return false;
        }
        self.waits.ended.wait_for(&mut has_ended, TRY_EVERY);
        true
    }
}

/// What was last heard of the file system.
#[derive(Default)]
pub(crate) struct SpaceCheck {
    asked_at: Option<Instant>,
    bytes_since: u64,
    is_short: bool,
}

impl SpaceCheck {
    /// Whether appends are refused, as far as that is known.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Refuses an append of so many bytes if the disk has little space.
    pub(crate) fn check(&mut self, engine: &Engine, size_bytes: u64) -> Result<(), StorageError> {
        let now = Instant::now();
        self.bytes_since = self.bytes_since.saturating_add(size_bytes);
        let is_fresh = self.asked_at.is_some_and(|asked_at| now.duration_since(asked_at) < ASK_EVERY);
        if self.is_short || !is_fresh || self.bytes_since >= ASK_EVERY_BYTES {
            (self.asked_at, self.bytes_since) = (Some(now), 0);
            // A file system that does not say is not held against the append; its own error will be.
            let options = &engine.options;
            self.is_short = Space::of(&engine.partitions_directory).is_ok_and(|space| {
                let reserve = options.free_bytes_min.min(space.small_part());
                engine.ballast.hold_again(options, space, reserve);
                space.usable_bytes < reserve.saturating_add(size_bytes)
            });
        }
        if !self.is_short {
            return Ok(());
        }
        Err(StorageError::io("append to", &engine.options.directory, std::io::ErrorKind::StorageFull.into()))
    }
}
