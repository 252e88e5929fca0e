//! Reads for consumers and followers.

use bytes::Bytes;
use log_store::{AbortedTransaction, ReadError, ReadRange};
use model::{LeaderEpoch, LogOffsets, Offset, Piece};

use replication::{EpochCheck, check_epoch};

use super::partition::{Partition, PartitionError};
use crate::purgatory::FetchWaiter;

/// Up to where a reader may see, chosen once per request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchBound {
    /// A follower: all that is written.
    LogEnd,
    /// A consumer that reads uncommitted: all that is replicated.
    HighWatermark,
    /// A consumer that reads committed: all that no open transaction may change.
    LastStable,
}

impl FetchBound {
    fn of(self, offsets: &LogOffsets, log_end: Offset) -> Offset {
        match self {
            FetchBound::LogEnd => log_end,
            FetchBound::HighWatermark => offsets.high_watermark(),
            FetchBound::LastStable => offsets.last_stable(),
        }
    }
}

/// What to read from one partition.
#[derive(Debug, Clone, Copy)]
pub struct PartitionFetch {
    /// The first offset wanted.
    pub offset: Offset,
    /// How many bytes at the most.
    pub bytes_max: usize,
    /// Whether the first batch is returned whole though it is larger than `bytes_max`.
    pub at_least_one_batch: bool,
    /// Up to where.
    pub bound: FetchBound,
    /// Whether only the leader may answer.
    pub leader_only: bool,
    /// The epoch under which the reader thinks the partition is led.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the last batch that the reader has (KIP-595's divergence check).
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

/// What was read.
#[derive(Debug, Clone)]
pub struct PartitionRead {
    /// The offsets at the moment of the read.
    pub offsets: LogOffsets,
    /// The batches, as stored.
    pub pieces: Vec<Piece>,
    /// The sum of the pieces' lengths.
    pub length_bytes: usize,
    /// The aborted transactions among them, for a reader of committed data. Some may lie a little behind.
    pub aborted: Vec<AbortedTransaction>,
    /// Where the reader's log departs from this one; then nothing was read.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Whether a leader before this one may have shown a larger high watermark.
    pub is_behind_predecessor: bool,
}

impl PartitionRead {
    /// Reads the pieces into memory.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn into_bytes(self) -> std::io::Result<Bytes> {
        ReadRange { pieces: self.pieces, length_bytes: self.length_bytes }.into_bytes()
    }
}

impl Partition {
    /// Waits until the high watermark has reached `end`.
    ///
    /// # Errors
    /// If this broker does not lead the partition, or stops leading it.
    pub async fn committed_up_to(&self, end: Offset) -> Result<(), PartitionError> {
        let waiter = FetchWaiter::new();
        let key = self.watchers.register(&waiter);
        let reached = loop {
            if let Err(refusal) = self.check_leader(None) {
                break Err(refusal);
            }
            if self.offsets().high_watermark() >= end {
                break Ok(());
            }
            waiter.woken().await;
        };
        self.watchers.remove(key);
        reached
    }

    /// Whether [`Self::read`] from this offset finds all in memory, so that a network worker may call it.
    #[must_use]
    pub fn is_warm(&self, from: Offset) -> bool {
        self.log.is_warm(from)
    }

    /// Reads whole batches from the one that contains `fetch.offset` on.
    ///
    /// # Errors
    /// The refusal that the client must see.
    pub fn read(&self, fetch: &PartitionFetch) -> Result<PartitionRead, PartitionError> {
        let read = |end| {
            let range = self.log.read(fetch.offset, end, fetch.bytes_max, fetch.at_least_one_batch)?;
            let aborted = match fetch.bound {
                FetchBound::LastStable => self.log.aborted_transactions(fetch.offset, end, range.length_bytes)?,
                FetchBound::LogEnd | FetchBound::HighWatermark => Vec::new(),
            };
            Ok((range, aborted))
        };
        let found = self.read_by(fetch, |end| Some(read(end)))?;
        // It gave no `None`.
        found.ok_or(PartitionError::Storage)
    }

    /// The same on a thread that must not wait for the disk; `None` if it would have to.
    #[must_use]
    pub fn read_now(&self, fetch: &PartitionFetch) -> Option<Result<PartitionRead, PartitionError>> {
        if fetch.bound == FetchBound::LastStable && self.log.may_have_aborted() {
            return None;
        }
        let read = |end| {
            let range = self.log.read_now(fetch.offset, end, fetch.bytes_max, fetch.at_least_one_batch)?;
            Some(range.map(|range| (range, Vec::new())))
        };
        self.read_by(fetch, read).transpose()
    }

    /// Checks epoch and role, and gives the offsets of the same moment with whether they may fall short of what a predecessor showed.
    fn offsets_for(&self, fetch: &PartitionFetch) -> Result<(LogOffsets, bool), PartitionError> {
        let state = self.state.lock();
        match check_epoch(state.leader_epoch, fetch.current_leader_epoch) {
            EpochCheck::Fenced => Err(PartitionError::FencedLeaderEpoch),
            EpochCheck::Unknown => Err(PartitionError::UnknownLeaderEpoch),
            EpochCheck::Current if state.is_closed || (fetch.leader_only && !state.leads) => Err(PartitionError::NotLeader),
            EpochCheck::Current => {
                let is_behind = state.replication.as_ref().is_some_and(|leader| !leader.has_current_high_watermark());
                Ok((state.offsets, is_behind))
            }
        }
    }

    /// What may be read goes to `read` as the offset up to which; its `None` is given back.
    fn read_by(
        &self,
        fetch: &PartitionFetch,
        read: impl FnOnce(Offset) -> Option<Result<(ReadRange, Vec<AbortedTransaction>), ReadError>>,
    ) -> Result<Option<PartitionRead>, PartitionError> {
        let (offsets, is_behind_predecessor) = self.offsets_for(fetch)?;
        // Followers may have what is still on its way to this broker's disk.
        let log_end = self.log.log_end_offset().max(offsets.log_end());
        let (pieces, aborted) = (Vec::new(), Vec::new());
        let empty = PartitionRead { offsets, pieces, length_bytes: 0, aborted, diverging: None, is_behind_predecessor };
        let out_of_range = || PartitionError::OffsetOutOfRange { log_start: offsets.log_start(), log_end };
        if let Some(epoch) = fetch.last_fetched_epoch {
            // A reader that claims an epoch which this log has not reached has read elsewhere.
            let (end_epoch, end) = self.log.end_offset_for_epoch(epoch).ok_or_else(out_of_range)?;
            if end_epoch < epoch || end < fetch.offset {
                return Ok(Some(PartitionRead { diverging: Some((end_epoch, end)), ..empty }));
            }
        }
        if fetch.offset < offsets.log_start() || fetch.offset > log_end {
            return Err(out_of_range());
        }
        let end = fetch.bound.of(&offsets, log_end);
        if fetch.offset >= end || (fetch.bytes_max == 0 && !fetch.at_least_one_batch) {
            return Ok(Some(empty));
        }
        let Some(found) = read(end) else { return Ok(None) };
        match found {
            Ok((range, aborted)) => Ok(Some(PartitionRead { pieces: range.pieces, length_bytes: range.length_bytes, aborted, ..empty })),
            Err(ReadError::OutOfRange { .. }) => Err(out_of_range()),
            Err(ReadError::Corrupt { .. }) => {
                tracing::error!(partition = %self.id(), offset = %fetch.offset, "damaged bytes are not served");
                Err(PartitionError::Corrupt)
            }
            Err(error) => {
                tracing::error!(partition = %self.id(), offset = %fetch.offset, %error, "a read failed");
                Err(PartitionError::Storage)
            }
        }
    }
}
