//! What old segments and deleted partitions become: dropped at each check, unlinked after `file.delete.delay.ms`.

use std::time::Duration;

use log_store::{RetentionCheck, StorageError};
use model::TopicIdPartition;

use super::Partitions;
use super::partition::Partition;

impl Partitions {
    /// Drops the segments that the topics' configurations do not allow to keep (`LogManager.cleanupLogs`). It waits for the disk, so it must not run
    /// on a network worker.
    pub fn retain(&self) {
        self.retain_those(|_| true);
    }

    /// The same for some of them.
    pub(crate) fn retain_those(&self, is_meant: impl Fn(TopicIdPartition) -> bool) {
        let checks: Vec<_> = self
            .all()
            .into_iter()
            .filter(|partition| is_meant(partition.id()))
            .map(|partition| RetentionCheck { log: partition.log.clone(), high_watermark: partition.offsets().high_watermark() })
            .collect();
        for (log, result) in self.store.retain(&checks, self.clock.now(), self.clock.monotonic()) {
            let Some(partition) = self.get(log.id()) else { continue };
            match result {
                Ok(retained) => {
                    let (segments, bytes, log_start) = (retained.drops.len(), retained.size_bytes, partition.take_log_start());
                    partition.traffic().dropped(u64::try_from(segments).unwrap_or(u64::MAX), bytes);
                    self.removal_added.notify_one();
                    tracing::info!(partition = %partition.id(), segments, bytes, %log_start, "dropped old segments");
                }
                Err(error) => tracing::error!(partition = %partition.id(), %error, "old segments cannot be dropped"),
            }
        }
    }

    /// Unlinks what has waited long enough. It waits for the disk.
    pub fn remove_due(&self) {
        if let Err(error) = self.store.remove_due(self.clock.monotonic()) {
            tracing::error!(%error, "dropped files cannot be removed; it is tried again in a minute");
        }
    }

    /// When [`Partitions::remove_due`] has something to do next, by the monotonic clock.
    #[must_use]
    pub fn next_removal(&self) -> Option<Duration> {
        self.store.next_removal()
    }

    /// How long to rest before the next [`Partitions::remove_due`] while there is more to do, for so long already.
    pub(crate) fn removal_pause(&self, behind_for: Duration) -> Duration {
        self.store.removal_pause(behind_for)
    }

    /// Takes note that a cleaning may have replaced files.
    pub(crate) fn note_removals(&self) {
        self.removal_added.notify_one();
    }

    /// Completes when something was left to be removed, perhaps before it is asked for.
    pub async fn removal_added(&self) {
        self.removal_added.notified().await;
    }

    /// Deletes a partition of a deleted topic; its files stay for the topic's `file.delete.delay.ms`.
    pub(super) fn delete_later(&self, partition: &Partition) -> Result<(), StorageError> {
        let due = self.clock.monotonic().saturating_add(partition.file_delete_delay());
        self.store.delete_partition_later(partition.id(), due)?;
        self.removal_added.notify_one();
        Ok(())
    }
}
