//! What is to be unlinked later: segments that retention dropped or a compaction replaced, and deleted partitions, after `file.delete.delay.ms`. All
//! of it is in one list.
//!
//! A file gets a name of its own before it comes on the list, `<name>.<number>.deleted`, which no other file ever has: whatever is made anew under
//! the former name (by a log that was cut or reset, or a partition that came back) is not what the list names. Cannot it be renamed, it is unlinked at
//! once. Before a log gives such a name again, its directory is synced ([`Inner::settle_names`]), or a power cut could bring the former file back.
//! A deleted partition is on the list by its id, and goes only while its row says that it is being deleted.
//!
//! A file system gives blocks back in the same transactions that synced appends wait for, so little is given back at once: a round ends after
//! [`crate::StoreOptions::removed_bytes_max`], and a larger file loses its end round by round before it goes. While a range of it is on its way to
//! a socket, or a hard link names it, it is unlinked whole. Where appends wait for the disk the rounds are further apart ([`Store::removal_pause`]), as
//! long as there is space and not too much to remove.
//!
//! The list is only in memory. What it names is known to be dead by its row or by its name, so that the next open removes it after a crash.
//!
//! In Kafka: `LocalLog.deleteSegmentFiles`, `LogManager.deleteLogs`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::TopicIdPartition;
use parking_lot::Mutex;

use crate::partition_log::Inner;
use crate::recovery::{pass, unlink};
use crate::segment::{Segment, sync_directory};
use crate::space::Space;
use crate::store::Store;
use crate::{Durability, StorageError};

/// The end of the name of a file that waits to be removed.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";
/// What cannot be removed is tried again after this time.
const RETRY: Duration = Duration::from_secs(60);
/// Between two rounds,
const PAUSE: Duration = Duration::from_millis(100);
/// and where appends wait for the disk: a round holds some of them up, and so it is fewer than one in a hundred.
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// But not for longer than this, two gibibytes: then space is wanted back.
const LONG_PAUSES_FOR: Duration = Duration::from_secs(30);
/// Nor with less than this part of the disk free.
const AMPLE_PART: u64 = 10;

/// Something that is dead already.
#[derive(Debug)]
pub(crate) enum Removal {
    /// A segment's file, by a name that no other file ever has.
    File {
        path: PathBuf,
        /// Whether somebody still reads it.
        lent: Weak<File>,
    },
    /// A partition whose row is marked.
    Partition(TopicIdPartition),
}

#[derive(Default)]
struct Queue {
    /// By time, and by the order in which they came.
    waiting: BTreeMap<(Duration, u64), Removal>,
    count: u64,
}

/// All that waits in a store.
#[derive(Default)]
pub(crate) struct Removals(Mutex<Queue>);

impl Removals {
    pub(crate) fn push(&self, due: Duration, removal: Removal) {
        let key = (due, self.next_count());
        self.0.lock().waiting.insert(key, removal);
    }

    fn next_count(&self) -> u64 {
        let mut queue = self.0.lock();
        queue.count += 1;
        queue.count
    }

    /// Takes a segment's file, which counts no more, out of the way of what may come by its name, and leaves it to be removed. Who reads it holds its
    /// own handle.
    fn retire(&self, segment: &Segment, due: Duration) -> Result<(), StorageError> {
        let lent = segment.retire();
        let count = self.next_count();
        let mut name = segment.path.clone().into_os_string();
        name.push(format!(".{count}{DELETED_SUFFIX}"));
        let path = PathBuf::from(name);
        match std::fs::rename(&segment.path, &path) {
            Ok(()) => {
                self.0.lock().waiting.insert((due, count), Removal::File { path, lent });
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            // A longer name takes room, which a full disk may not have.
            Err(_) => unlink(&segment.path),
        }
    }

    /// Forgets a deleted partition that is made anew: nothing is left of it.
    pub(crate) fn forget(&self, id: TopicIdPartition) {
        self.0.lock().waiting.retain(|_, removal| !matches!(removal, Removal::Partition(deleted) if *deleted == id));
    }

    fn take_due(&self, monotonic: Duration) -> Option<Removal> {
        let mut queue = self.0.lock();
        let first = queue.waiting.first_entry().filter(|first| first.key().0 <= monotonic)?;
        Some(first.remove())
    }

    fn next_due(&self) -> Option<Duration> {
        self.0.lock().waiting.keys().next().map(|(due, _)| *due)
    }
}

/// What a round may still give back.
pub(crate) struct Budget {
    full: u64,
    left: u64,
}

impl Budget {
    pub(crate) fn new(size_bytes: u64) -> Self {
        Self { full: size_bytes.max(1), left: size_bytes.max(1) }
    }

    /// Removes a file that nobody needs, or a part of it if it is too large. Whether it is gone.
    pub(crate) fn remove(&mut self, path: &Path, may_cut: bool) -> io::Result<bool> {
        let removed = self.remove_or_cut(path, may_cut);
        match removed {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            other => other,
        }
    }

    fn remove_or_cut(&mut self, path: &Path, may_cut: bool) -> io::Result<bool> {
        let found = std::fs::symlink_metadata(path)?;
        let length = found.len();
        let is_first = self.left == self.full;
        if length > self.left && !is_first {
            return Ok(false);
        }
        // Under another name the bytes are somebody's: a copy made by hard links.
        if length > self.left && may_cut && found.nlink() == 1 {
            std::fs::OpenOptions::new().write(true).open(path)?.set_len(length - self.left)?;
            self.left = 0;
            return Ok(false);
        }
        std::fs::remove_file(path)?;
        self.left = self.left.saturating_sub(length);
        Ok(true)
    }
}

fn pause(durability: Durability, behind_for: Duration, space: impl FnOnce() -> Option<Space>) -> Duration {
    let is_ample = |space: Space| space.usable_bytes >= space.total_bytes / AMPLE_PART;
    let has_time = durability == Durability::Group && behind_for < LONG_PAUSES_FOR;
    if has_time && space().is_some_and(is_ample) { LONG_PAUSE } else { PAUSE }
}

impl Inner {
    /// Retires a segment that is out of readers' sight. The caller holds the segments' lock.
    pub(crate) fn retire(&self, segment: &Segment, due: Duration) -> Result<(), StorageError> {
        self.names_owed.store(true, Ordering::Release);
        self.engine.removals.retire(segment, due)
    }

    /// Sees to it that no file comes back by a name that is about to be given again. The caller holds the segments' lock, and stops the partition if
    /// it fails.
    pub(crate) fn settle_names(&self) -> Result<(), StorageError> {
        if !self.names_owed.load(Ordering::Acquire) {
            return Ok(());
        }
        let directory = self.directory();
        match sync_directory(&directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(StorageError::io("sync", &directory, error)),
            _ => self.names_owed.store(false, Ordering::Release),
        }
        Ok(())
    }
}

impl Store {
    /// Unlinks what is due at `monotonic`, one file after the other, up to a size: what is left is due still ([`Store::next_removal`]), and should
    /// get its turn after a pause. It waits for the disk.
    ///
    /// # Errors
    /// The first failure; the others are done all the same, and what failed is tried again after a minute.
    pub fn remove_due(&self, monotonic: Duration) -> Result<(), StorageError> {
        let engine = self.engine();
        let mut budget = Budget::new(engine.options.removed_bytes_max);
        let mut first_error = None;
        while let Some(removal) = engine.removals.take_due(monotonic) {
            let removed = match &removal {
                Removal::File { path, lent } => {
                    let removed =
                        budget.remove(path, lent.strong_count() == 0).map_err(|error| StorageError::io("remove segment", path, error));
                    removed.and_then(|is_gone| pass(engine, "retention.after_unlink", path).map(|()| is_gone))
                }
                Removal::Partition(id) => self.finish_deletion(*id, &mut budget),
            };
            match removed {
                Ok(true) => {}
                Ok(false) => {
                    engine.removals.push(monotonic, removal);
                    break;
                }
                Err(error) => {
                    engine.removals.push(monotonic.saturating_add(RETRY), removal);
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// How long to rest before the next call of [`Store::remove_due`] where the last one left something that is due, as those before it did
    /// for so long.
    #[must_use]
    pub fn removal_pause(&self, behind_for: Duration) -> Duration {
        let options = &self.engine().options;
        pause(options.durability, behind_for, || Space::of(&options.directory).ok())
    }

    /// When [`Store::remove_due`] has something to do next.
    #[must_use]
    pub fn next_removal(&self) -> Option<Duration> {
        self.engine().removals.next_due()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_in_the_order_of_its_time() {
        let removals = Removals::default();
        let file = |name: &str| Removal::File { path: PathBuf::from(name), lent: Weak::new() };
        let seconds = Duration::from_secs;
        removals.push(seconds(9), file("late"));
        removals.push(seconds(5), file("first"));
        removals.push(seconds(5), file("second"));
        assert_eq!(removals.next_due(), Some(seconds(5)));
        assert!(removals.take_due(seconds(4)).is_none());
        let taken = std::iter::from_fn(|| removals.take_due(seconds(8))).map(|removal| match removal {
            Removal::File { path, .. } => path,
            Removal::Partition(id) => PathBuf::from(id.to_string()),
        });
        assert_eq!(taken.collect::<Vec<_>>(), [PathBuf::from("first"), PathBuf::from("second")]);
        assert_eq!(removals.next_due(), Some(seconds(9)));
    }

    #[test]
    fn rounds_are_far_apart_where_appends_wait_for_the_disk_but_not_for_ever_nor_for_want_of_space() {
        let space = |usable_bytes| Some(Space { total_bytes: 1_000, usable_bytes });
        let seconds = Duration::from_secs;
        assert_eq!(pause(Durability::Os, seconds(0), || space(900)), PAUSE);
        assert_eq!(pause(Durability::Group, seconds(0), || space(900)), LONG_PAUSE);
        assert_eq!(pause(Durability::Group, seconds(29), || space(100)), LONG_PAUSE);
        assert_eq!(pause(Durability::Group, seconds(30), || space(900)), PAUSE);
        assert_eq!(pause(Durability::Group, seconds(0), || space(99)), PAUSE);
        assert_eq!(pause(Durability::Group, seconds(0), || None), PAUSE);
    }

    #[test]
    fn a_round_gives_back_no_more_than_it_may_and_a_large_file_goes_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, length: usize| {
            let path = dir.path().join(name);
            std::fs::write(&path, vec![1; length]).unwrap();
            path
        };
        let (small, large) = (file("small", 40), file("large", 250));
        let length = |path: &Path| std::fs::metadata(path).map(|found| found.len()).ok();
        let mut budget = Budget::new(100);
        assert!(budget.remove(&small, true).unwrap() && length(&small).is_none());
        assert!(!budget.remove(&large, true).unwrap());
        assert_eq!(length(&large), Some(250), "the next round begins with it");
        assert!(!Budget::new(100).remove(&large, true).unwrap());
        assert!(!Budget::new(100).remove(&large, true).unwrap());
        assert_eq!(length(&large), Some(50));
        assert!(Budget::new(100).remove(&large, true).unwrap() && length(&large).is_none());
        let copied = file("copied", 250);
        let copy = dir.path().join("copy");
        std::fs::hard_link(&copied, &copy).unwrap();
        assert!(Budget::new(100).remove(&copied, true).unwrap() && length(&copied).is_none());
        assert_eq!(length(&copy), Some(250));
        let read = file("read", 250);
        assert!(Budget::new(100).remove(&read, false).unwrap() && length(&read).is_none());
        assert!(Budget::new(100).remove(&read, true).unwrap(), "gone already");
    }
}
