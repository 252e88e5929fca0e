//! Look-ups of offsets: by name, by time, by leader epoch.

use log_store::TimedOffset;
use model::{LeaderEpoch, Offset, Timestamp};

use super::partition::{Partition, PartitionError};
use super::read::FetchBound;

/// What ListOffsets may ask for; the wire's negative timestamps by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The end, as far as the reader may see (-1).
    Latest,
    /// The log's start (-2, and -4 since nothing lies in a remote tier).
    Earliest,
    /// The record with the largest timestamp (-3).
    MaxTimestamp,
    /// The first record at or after a time.
    Time(Timestamp),
}

/// An answer: an offset, with the time and epoch that belong to it where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset.
    pub offset: Offset,
    /// The record's time, for look-ups by time.
    pub timestamp: Option<Timestamp>,
    /// The epoch of the batch.
    pub leader_epoch: Option<LeaderEpoch>,
}

impl Partition {
    /// Finds an offset; `None` if no record fits.
    ///
    /// # Errors
    /// When the disk refuses, or a new leader cannot tell yet where the end is.
    pub fn find_offset(&self, query: OffsetQuery, bound: FetchBound) -> Result<Option<FoundOffset>, PartitionError> {
        let offsets = self.offsets();
        let end = match bound {
            FetchBound::LogEnd => self.log.log_end_offset(),
            FetchBound::HighWatermark => offsets.high_watermark(),
            FetchBound::LastStable => offsets.last_stable(),
        };
        let is_vague = bound != FetchBound::LogEnd && !self.has_current_high_watermark();
        let timed =
            |found: TimedOffset| FoundOffset { offset: found.offset, timestamp: Some(found.timestamp), leader_epoch: found.leader_epoch };
        let found = match query {
            OffsetQuery::Latest if is_vague => return Err(PartitionError::OffsetNotAvailable),
            OffsetQuery::Latest => {
                let leader_epoch = Some(self.leader_epoch());
                return Ok(Some(FoundOffset { offset: end, timestamp: None, leader_epoch }));
            }
            OffsetQuery::Earliest => {
                let leader_epoch = self.log.epoch_of(offsets.log_start());
                return Ok(Some(FoundOffset { offset: offsets.log_start(), timestamp: None, leader_epoch }));
            }
            OffsetQuery::MaxTimestamp => self.log.max_timestamp(),
            OffsetQuery::Time(timestamp) => self.log.first_at_or_after(timestamp, end),
        };
        match found {
            Ok(found) => match found.filter(|found| found.offset < end) {
                None if is_vague => Err(PartitionError::OffsetNotAvailable),
                found => Ok(found.map(timed)),
            },
            Err(error) => {
                tracing::error!(partition = %self.id(), %error, "an offset look-up failed");
                Err(PartitionError::Storage)
            }
        }
    }

    /// The largest epoch up to the asked one, and where its records end (KIP-101, KIP-279).
    #[must_use]
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.log.end_offset_for_epoch(epoch)
    }
}
