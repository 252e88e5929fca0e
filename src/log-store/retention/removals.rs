//! What is to be unlinked later: dropped segments and deleted partitions, after `file.delete.delay.ms`.
//!
//! The list is only in memory. What it names is known to be dead by its row or by its name, so that the next open removes it after a crash.
//!
//! In Kafka: `LocalLog.deleteSegmentFiles`, `LogManager.deleteLogs`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use model::TopicIdPartition;
use parking_lot::Mutex;

use crate::StorageError;
use crate::recovery::pass;
use crate::store::Store;

/// The end of the name of a file that waits to be removed.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";
/// What cannot be removed is tried again after this time.
const RETRY: Duration = Duration::from_secs(60);

/// Something that is dead already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// A segment's file.
    File(PathBuf),
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
        let mut queue = self.0.lock();
        queue.count += 1;
        let key = (due, queue.count);
        queue.waiting.insert(key, removal);
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

impl Store {
    /// Unlinks what is due at `monotonic`, one file after the other. It waits for the disk.
    ///
    /// # Errors
    /// The first failure; the others are done all the same, and what failed is tried again after a minute.
    pub fn remove_due(&self, monotonic: Duration) -> Result<(), StorageError> {
        let engine = self.engine();
        let mut first_error = None;
        while let Some(removal) = engine.removals.take_due(monotonic) {
            let removed = match &removal {
                Removal::File(path) => match std::fs::remove_file(path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => Err(StorageError::io("remove segment", path, error)),
                    _ => pass(engine, "retention.after_unlink", path),
                },
                Removal::Partition(id) => self.finish_deletion(*id),
            };
            if let Err(error) = removed {
                engine.removals.push(monotonic.saturating_add(RETRY), removal);
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
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
        let file = |name: &str| Removal::File(PathBuf::from(name));
        let seconds = Duration::from_secs;
        removals.push(seconds(9), file("late"));
        removals.push(seconds(5), file("first"));
        removals.push(seconds(5), file("second"));
        assert_eq!(removals.next_due(), Some(seconds(5)));
        assert_eq!(removals.take_due(seconds(4)), None);
        let taken: Vec<_> = std::iter::from_fn(|| removals.take_due(seconds(8))).collect();
        assert_eq!(taken, [file("first"), file("second")]);
        assert_eq!(removals.next_due(), Some(seconds(9)));
    }
}
