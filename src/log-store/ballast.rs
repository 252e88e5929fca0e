//! The file `klamm.reserve`: blocks that are held while there is plenty, and given back at an open that finds the disk full, since RocksDB cannot open
//! without a few new files. Nothing is ever written to it or read from it.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FallocateFlags;

use crate::StoreOptions;
use crate::space::Space;

const FILE: &str = "klamm.reserve";
/// Less is not worth a file.
const HELD_BYTES_MIN: u64 = 64 << 10;

/// The file, whether it is there or not.
pub(crate) struct Ballast {
    path: PathBuf,
    /// Whether there is nothing left to do: all of it is held, or the file system cannot hold blocks for later.
    is_settled: AtomicBool,
    /// What the open gave back, if it found the disk full.
    released_bytes: Option<u64>,
}

impl Ballast {
    /// Gives the blocks back if the disk has less space than they are worth. Before anything in the directory is opened.
    pub(crate) fn release_if_short(options: &StoreOptions) -> Self {
        let is_short = Space::of(&options.directory).is_ok_and(|space| space.usable_bytes < wanted_bytes(options, space));
        let mut ballast = Self::left_alone(options);
        *ballast.is_settled.get_mut() = false;
        if is_short {
            // If this fails, so does what needs the space, and says so.
            ballast.released_bytes = Some(release(&ballast.path).unwrap_or(0));
        }
        ballast
    }

    /// For who only looks.
    pub(crate) fn left_alone(options: &StoreOptions) -> Self {
        Self { path: options.directory.join(FILE), is_settled: AtomicBool::new(true), released_bytes: None }
    }

    /// Whether the open found the disk full.
    pub(crate) fn was_short(&self) -> bool {
        self.released_bytes.is_some()
    }

    /// Once an open is through: takes the blocks, or on a full disk most of what it gave back, since it may be opened again before there is space. They
    /// are not written, so it costs a change of the file system's lists.
    pub(crate) fn hold(&self, options: &StoreOptions) {
        let Ok(space) = Space::of(&options.directory) else { return };
        match self.released_bytes {
            None => self.hold_up_to(wanted_bytes(options, space).min(most_of(space.usable_bytes)), options, space),
            Some(released) => {
                // Not as the file system's figures say: what root may use beyond them is not in them.
                let mut bytes = most_of(released);
                while bytes >= HELD_BYTES_MIN && held_bytes(&self.path) == 0 {
                    self.hold_up_to(bytes, options, space);
                    bytes = most_of(bytes);
                }
            }
        }
    }

    /// When there is space: takes what is missing if that leaves the reserve twice, so that it makes nothing short.
    pub(crate) fn hold_again(&self, options: &StoreOptions, space: Space, reserve_bytes: u64) {
        let wanted = wanted_bytes(options, space);
        if !self.is_settled.load(Ordering::Relaxed) && space.usable_bytes > reserve_bytes.saturating_mul(2).saturating_add(wanted) {
            self.hold_up_to(wanted, options, space);
        }
    }

    fn hold_up_to(&self, bytes: u64, options: &StoreOptions, space: Space) {
        let held = held_bytes(&self.path);
        // If others were faster, there is another time.
        let is_taken = held >= bytes || take(&self.path, held, bytes - held).is_ok();
        self.is_settled.store(is_taken && bytes >= wanted_bytes(options, space), Ordering::Relaxed);
    }
}

fn release(path: &Path) -> std::io::Result<u64> {
    let file = OpenOptions::new().write(true).open(path)?;
    let held = file.metadata()?.len();
    file.set_len(0)?;
    // Many file systems give blocks out again only after the change that freed them is on the disk.
    file.sync_all()?;
    Ok(held)
}

fn most_of(bytes: u64) -> u64 {
    bytes / 4 * 3
}

fn wanted_bytes(options: &StoreOptions, space: Space) -> u64 {
    options.ballast_bytes.min(space.small_part())
}

/// What the file holds. IMPORTANT: by its length, and so [`take`] makes it as long as what it holds.
fn held_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Adds blocks to the file. Where a file system cannot do that there is no ballast, and this says that it was taken.
fn take(path: &Path, held_bytes: u64, missing_bytes: u64) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), held_bytes, missing_bytes) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => Ok(()),
        Err(error) => {
            // Some may have been taken beyond the length.
            file.set_len(held_bytes)?;
            Err(error.into())
        }
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(directory: &Path) -> StoreOptions {
        StoreOptions { ballast_bytes: 1 << 20, ..StoreOptions::new(directory) }
    }

    #[test]
    fn blocks_are_held_once_and_not_given_back_while_there_is_space() {
        let directory = tempfile::tempdir().unwrap();
        let (options, path) = (options(directory.path()), directory.path().join(FILE));
        for _ in 0..2 {
            let ballast = Ballast::release_if_short(&options);
            ballast.hold(&options);
            assert!(!ballast.was_short() && ballast.is_settled.into_inner());
            assert_eq!(held_bytes(&path), 1 << 20);
        }
    }

    #[test]
    fn what_a_full_disk_got_back_is_held_again_in_part_and_in_full_once_there_is_space() {
        let directory = tempfile::tempdir().unwrap();
        let (options, path) = (options(directory.path()), directory.path().join(FILE));
        Ballast::release_if_short(&options).hold(&options);
        let mut ballast = Ballast::release_if_short(&options);
        ballast.released_bytes = Some(release(&path).unwrap());
        assert_eq!((ballast.released_bytes, held_bytes(&path)), (Some(1 << 20), 0));
        ballast.hold(&options);
        assert_eq!(held_bytes(&path), (1 << 20) / 4 * 3);
        let space = Space::of(directory.path()).unwrap();
        ballast.hold_again(&options, Space { usable_bytes: 3 << 20, ..space }, 1 << 20);
        assert_eq!(held_bytes(&path), (1 << 20) / 4 * 3, "that would make the reserve short");
        ballast.hold_again(&options, Space { usable_bytes: 4 << 20, ..space }, 1 << 20);
        assert_eq!(held_bytes(&path), 1 << 20);
        assert!(ballast.is_settled.into_inner());
    }
}
