//! Free space: appends are refused while the disk has little, so that what is left serves RocksDB, whose writes must not fail. Reads go on, and
//! appends too as soon as there is space again.

use std::time::{Duration, Instant};

use crate::StorageError;
use crate::engine::Engine;

/// The file system is asked again after so many appended bytes...
const ASK_EVERY_BYTES: u64 = 1 << 20;
/// ...or after this time.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// On a small disk the reserve is this part of it.
const SMALL_DISK_PART: u64 = 16;

/// What was last heard of the file system.
#[derive(Default)]
pub(crate) struct SpaceCheck {
    asked_at: Option<Instant>,
    bytes_since: u64,
    is_short: bool,
}

impl SpaceCheck {
    /// Refuses an append of so many bytes if the disk has little space.
    pub(crate) fn check(&mut self, engine: &Engine, size_bytes: u64) -> Result<(), StorageError> {
        let now = Instant::now();
        self.bytes_since = self.bytes_since.saturating_add(size_bytes);
        let is_fresh = self.asked_at.is_some_and(|asked_at| now.duration_since(asked_at) < ASK_EVERY);
        if self.is_short || !is_fresh || self.bytes_since >= ASK_EVERY_BYTES {
            (self.asked_at, self.bytes_since) = (Some(now), 0);
            // A file system that does not say is not held against the append; its own error will be.
            self.is_short = rustix::fs::statvfs(&engine.partitions_directory).is_ok_and(|figures| {
                let reserve = engine.options.free_bytes_min.min(figures.f_blocks.saturating_mul(figures.f_frsize) / SMALL_DISK_PART);
                figures.f_bavail.saturating_mul(figures.f_frsize) < reserve.saturating_add(size_bytes)
            });
        }
        if !self.is_short {
            return Ok(());
        }
        Err(StorageError::io("append to", &engine.options.directory, std::io::ErrorKind::StorageFull.into()))
    }
}
