//! openraft's log and vote on a synced log.
//!
//! With one voter the vote costs no write of its own. A vote is granted to nobody but this broker, so nothing outside can depend on one
//! that a crash takes away; and once an entry of a term is on disk, its leader id says that the vote for that term was granted. So a vote
//! is read back from the last entry. With several voters a vote is on the disk before it is answered; the last entry's may still be newer.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, EntryPayload, LogState, OptionalSend, RaftLogId, RaftLogReader};

use crate::disk::{Disk, DiskError};
use crate::format;
use crate::types::{Entry, LogId, StorageError, StorageIoError, Types, Vote};

pub(crate) const PURGED: &str = "purged";
const VOTE: &str = "vote";

/// The log of one quorum.
#[derive(Clone)]
pub(crate) struct LogStorage {
    disk: Arc<dyn Disk>,
    /// Whether others may depend on this broker's vote.
    has_peers: bool,
}

impl LogStorage {
    pub(crate) fn new(disk: Arc<dyn Disk>, has_peers: bool) -> Self {
        Self { disk, has_peers }
    }

    fn last_purged(&self) -> Result<Option<LogId>, DiskError> {
        Ok(self.disk.load_value(PURGED)?.map(|bytes| format::decode_log_id(&bytes)).transpose()?)
    }

    fn last_log_id(&self) -> Result<Option<LogId>, DiskError> {
        let purged = self.last_purged()?;
        let Some(index) = self.disk.last_index()? else { return Ok(purged) };
        let last = self.read(index, index.saturating_add(1))?.pop().map(|entry| entry.log_id);
        Ok(last.max(purged))
    }

    fn read(&self, from: u64, until: u64) -> Result<Vec<Entry>, DiskError> {
        self.disk.read(from, until)?.iter().map(|(_, bytes)| Ok(format::decode_entry(bytes)?)).collect()
    }

    fn vote(&self) -> Result<Option<Vote>, DiskError> {
        let saved = self.disk.load_value(VOTE)?.map(|bytes| format::decode_vote(&bytes)).transpose()?;
        // The first entry of a quorum has term 0, which nobody was elected in.
        let implied = self.last_log_id()?.filter(|last| last.leader_id.term > 0);
        let implied = implied.map(|last| Vote::new_committed(last.leader_id.term, last.leader_id.node_id));
        Ok(match (saved, implied) {
            (Some(saved), Some(implied)) if saved > implied => Some(saved),
            (saved, None) => saved,
            (_, implied) => implied,
        })
    }
}

fn reading(error: impl Into<DiskError>) -> StorageError {
    StorageIoError::read_logs(AnyError::error(error.into())).into()
}

fn writing_vote(error: impl Into<DiskError>) -> StorageError {
    StorageIoError::write_vote(AnyError::error(error.into())).into()
}

fn writing(error: impl Into<DiskError>) -> StorageError {
    StorageIoError::write_logs(AnyError::error(error.into())).into()
}

impl RaftLogReader<Types> for LogStorage {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let until = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(until) => *until,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, until).map_err(reading)
    }
}

impl RaftLogStorage<Types> for LogStorage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        Ok(LogState { last_purged_log_id: self.last_purged().map_err(reading)?, last_log_id: self.last_log_id().map_err(reading)? })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        if !self.has_peers {
            return Ok(());
        }
        let bytes = format::encode_vote(vote).map_err(writing_vote)?;
        self.disk.save_value(VOTE, &bytes).map_err(writing_vote)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.vote().map_err(reading)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded = Vec::new();
        for entry in entries {
            if let EntryPayload::Membership(membership) = &entry.payload
                && membership.voter_ids().count() > 1
                && !self.has_peers
            {
                return Err(writing("a quorum of several voters needs votes that are written to disk"));
            }
            encoded.push((entry.get_log_id().index, format::encode_entry(&entry).map_err(writing)?));
        }
        match self.disk.append(encoded) {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => {
                callback.log_io_completed(Err(std::io::Error::other(error.to_string())));
                Err(writing(error))
            }
        }
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.disk.truncate_from(log_id.index).map_err(writing)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        // IMPORTANT: the mark comes first. A crash between both leaves entries below the mark, which nobody reads and the next purge takes;
        // the other way round the log would begin in a gap.
        let bytes = format::encode_log_id(&log_id).map_err(writing)?;
        self.disk.save_value(PURGED, &bytes).map_err(writing)?;
        self.disk.purge_to(log_id.index).map_err(writing)
    }
}
