//! The transactions of one partition: which are open, and which were aborted.
//!
//! An open transaction begins at its producer's first transactional batch and ends at its marker. Readers of committed data stop before the first
//! record of a transaction that is open, or that is ended by a marker which is not replicated yet; what was aborted they are told by
//! [`AbortedTransaction`] rows.
//!
//! In Kafka: `ProducerStateManager` (`ongoingTxns`, `unreplicatedTxns`), `TransactionIndex`, `UnifiedLog.collectAbortedTransactions`.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use model::{Offset, ProducerEpoch, ProducerId, TopicIdPartition};
use record_batch::{BatchView, DecompressLimits, EndTxnMarker};
use rocksdb::WriteBatch;

use crate::StorageError;
use crate::engine::Engine;
use crate::keys::{self, Family};
use crate::partition_log::{Inner, PartitionLog};
use crate::producer_state::ProducerStates;

/// A transaction whose records do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Who wrote it.
    pub producer_id: ProducerId,
    /// Its first record.
    pub first_offset: Offset,
    /// Its marker.
    pub last_offset: Offset,
    /// Up to where readers of committed data could see when it ended: no transaction whose marker comes later touches what lies before.
    pub last_stable_offset: Offset,
}

/// What a batch does to the transactions of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A producer's transaction begins.
    Begun { producer_id: ProducerId, producer_epoch: ProducerEpoch, first_offset: Offset },
    /// It ends.
    Ended { producer_id: ProducerId, first_offset: Offset, marker: Offset, is_commit: bool },
}

/// The marker that a control batch carries, if it is one.
pub(crate) fn marker_of(batch: &[u8]) -> Option<EndTxnMarker> {
    let view = BatchView::parse(batch).ok()?;
    let mut marker = None;
    let walked = view.walk_records(DecompressLimits::default(), &mut |record| {
        marker = EndTxnMarker::decode(record.key.unwrap_or_default(), record.value.unwrap_or_default()).ok().flatten();
        ControlFlow::Break(())
    });
    walked.ok().and(marker)
}

/// What readers must know of a partition's transactions. What must survive is in the producers' rows and those of the aborted ones. Most partitions
/// never see any, so it takes no more room than a pointer until there is one.
#[derive(Debug, Default)]
pub(crate) struct Transactions(Option<Box<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// By first offset.
    open: BTreeMap<Offset, ProducerId>,
    /// The epochs of their producers.
    open_epochs: HashMap<ProducerId, ProducerEpoch>,
    /// The markers of those that have ended, by first offset, until they are replicated.
    unreplicated: BTreeMap<Offset, Offset>,
    /// Aborted ones whose rows are not in the index for certain, by marker. The first `gathered` of them went into the last write.
    pending: Vec<AbortedTransaction>,
    gathered: usize,
    /// Whether there may be any, in memory or as rows.
    has_aborted: bool,
}

impl Transactions {
    /// As producers' rows and a scan of what has none tell them.
    pub(crate) fn recovered(producers: &ProducerStates, has_aborted: bool) -> Self {
        let mut transactions = Self::default();
        if has_aborted {
            transactions.known().has_aborted = true;
        }
        for (producer_id, entry) in producers.entries() {
            if let Some(first_offset) = entry.open_from {
                let known = transactions.known();
                known.open.insert(first_offset, producer_id);
                known.open_epochs.insert(producer_id, entry.epoch);
            }
            if let Some((first_offset, marker)) = entry.last_end.and_then(|end| Some((end.first_offset?, end.marker))) {
                transactions.known().unreplicated.insert(first_offset, marker);
            }
        }
        transactions
    }

    fn known(&mut self) -> &mut Known {
        self.0.get_or_insert_default()
    }

    fn has_aborted(&self) -> bool {
        self.0.as_ref().is_some_and(|known| known.has_aborted)
    }

    /// With the aborted transactions that a scan found.
    pub(crate) fn with_aborted_of(mut self, scanned: Self) -> Self {
        if let Some(scanned) = scanned.0 {
            let known = self.known();
            known.has_aborted |= scanned.has_aborted;
            known.pending = scanned.pending;
        }
        self
    }

    pub(crate) fn apply(&mut self, change: Change) {
        let known = self.known();
        match change {
            Change::Begun { producer_id, producer_epoch, first_offset } => {
                known.open.insert(first_offset, producer_id);
                known.open_epochs.insert(producer_id, producer_epoch);
            }
            Change::Ended { producer_id, first_offset, marker, is_commit } => {
                known.open.remove(&first_offset);
                known.open_epochs.remove(&producer_id);
                known.unreplicated.insert(first_offset, marker);
                if !is_commit {
                    known.has_aborted = true;
                    let last_stable_offset = known.open.keys().next().copied().unwrap_or(marker + 1);
                    known.pending.push(AbortedTransaction { producer_id, first_offset, last_offset: marker, last_stable_offset });
                }
            }
        }
    }

    /// Whether the producer has a transaction open, of that epoch.
    pub(crate) fn is_open(&self, producer_id: ProducerId, producer_epoch: ProducerEpoch) -> bool {
        self.0.as_ref().is_some_and(|known| known.open_epochs.get(&producer_id) == Some(&producer_epoch))
    }

    /// The first record that may yet count or not, given what is replicated.
    pub(crate) fn first_unstable(&mut self, high_watermark: Offset) -> Option<Offset> {
        let known = self.0.as_mut()?;
        known.unreplicated.retain(|_, marker| *marker >= high_watermark);
        let (open, unreplicated) = (known.open.keys().next(), known.unreplicated.keys().next());
        open.into_iter().chain(unreplicated).min().copied()
    }

    /// Adds the rows that are missing.
    pub(crate) fn write(&mut self, engine: &Engine, batch: &mut WriteBatch, id: TopicIdPartition) -> Result<(), StorageError> {
        // What the last write took is there, or the store has stopped.
        let Some(known) = &mut self.0 else { return Ok(()) };
        known.pending.drain(..known.gathered.min(known.pending.len()));
        for aborted in &known.pending {
            let key = keys::aborted_transaction::key(id, aborted.last_offset);
            engine.put(batch, Family::Default, &key, &keys::aborted_transaction::encode(aborted))?;
        }
        known.gathered = known.pending.len();
        Ok(())
    }
}

impl PartitionLog {
    /// The first record of a transaction that is open, or whose marker does not lie before the high watermark.
    #[must_use]
    pub fn first_unstable_offset(&self, high_watermark: Offset) -> Option<Offset> {
        self.0.transactions.lock().first_unstable(high_watermark)
    }

    /// Whether a look for aborted transactions may find any. If not, it takes no I/O.
    #[must_use]
    pub fn may_have_aborted(&self) -> bool {
        self.0.transactions.lock().has_aborted()
    }

    /// The aborted transactions that have records in the first `length_bytes` bytes of batches from `from` on, but not at or behind `end`, and
    /// perhaps some that begin a little later; in the order of their markers. It may wait for the disk.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn aborted_transactions(&self, from: Offset, end: Offset, length_bytes: usize) -> Result<Vec<AbortedTransaction>, StorageError> {
        let log = &*self.0;
        if !self.may_have_aborted() || length_bytes == 0 {
            return Ok(Vec::new());
        }
        let end = log.end_of(from, end, length_bytes)?;
        let mut found = BTreeMap::new();
        // First what is in memory: from there rows go to the index and not back.
        let pending = log.transactions.lock().0.as_ref().map(|known| known.pending.clone()).unwrap_or_default();
        let prefix = keys::aborted_transaction::prefix(log.id);
        let mut is_complete = false;
        log.engine.scan(Family::Default, &keys::aborted_transaction::key(log.id, from), &keys::prefix_end(&prefix), |key, value| {
            let row = keys::aborted_transaction::decode(key, value);
            let row = row.ok_or(StorageError::UnreadableRow { family: "aborted_transaction" })?;
            found.insert(row.last_offset, row);
            is_complete = row.last_stable_offset >= end;
            Ok(!is_complete)
        })?;
        if !is_complete {
            found.extend(pending.into_iter().filter(|aborted| aborted.last_offset >= from).map(|aborted| (aborted.last_offset, aborted)));
        }
        Ok(found.into_values().filter(|aborted| aborted.first_offset < end).collect())
    }
}

impl Inner {
    /// The aborted transactions with markers there. All of them must have their rows.
    pub(crate) fn aborted_between(&self, from: Offset, end: Offset) -> Result<Vec<AbortedTransaction>, StorageError> {
        let mut found = Vec::new();
        if !self.transactions.lock().has_aborted() {
            return Ok(found);
        }
        let key = keys::aborted_transaction::key;
        self.engine.scan(Family::Default, &key(self.id, from), &key(self.id, end.max(from)), |key, value| {
            let row = keys::aborted_transaction::decode(key, value);
            found.push(row.ok_or(StorageError::UnreadableRow { family: "aborted_transaction" })?);
            Ok(true)
        })?;
        Ok(found)
    }

    /// An offset up to which the bytes from `from` on reach at the most; by the index, so that it may lie behind them by a block or two.
    fn end_of(&self, from: Offset, end: Offset, length_bytes: usize) -> Result<Offset, StorageError> {
        let prefix = keys::index::prefix(self.id);
        let Some((first, _)) = self.engine.last_at_or_before(Family::Index, &prefix, &keys::index::key(self.id, from))? else {
            return Ok(end);
        };
        let (mut left, mut is_first, mut found) = (length_bytes, true, end);
        self.engine.scan(Family::Index, &first, &keys::prefix_end(&prefix), |key, value| {
            let row = keys::index::Row::decode(key, value).ok_or(StorageError::UnreadableRow { family: "index" })?;
            if !is_first {
                left = left.saturating_sub(usize::try_from(row.length).unwrap_or(usize::MAX));
            }
            is_first = false;
            if left == 0 {
                found = row.end_offset.min(end);
            }
            Ok(left > 0)
        })?;
        Ok(found)
    }
}
