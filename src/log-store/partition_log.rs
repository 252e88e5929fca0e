//! A partition's log: the handle that the broker holds, and the state behind it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use model::{LeaderEpoch, Offset, TopicIdPartition};
use parking_lot::{Mutex, MutexGuard, RwLock};
use rocksdb::WriteBatch;

use crate::block::OpenBlock;
use crate::engine::Engine;
use crate::keys::{self, Family};
use crate::leader_epochs::LeaderEpochs;
use crate::producer_state::{ProducerSnapshot, ProducerStates};
use crate::recovery::{self, Recovered};
use crate::segment::Segment;
use crate::tail::Tail;
use crate::transactions::Transactions;
use crate::verification::Verifications;
use crate::view::{Unindexed, View};
use crate::{LogConfig, StorageError};

/// One partition's log. Cheap to clone; a clone keeps the database open.
#[derive(Clone)]
pub struct PartitionLog(pub(crate) Arc<Inner>);

impl fmt::Debug for PartitionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionLog").field("id", &self.0.id).field("log_end_offset", &self.log_end_offset()).finish_non_exhaustive()
    }
}

/// Told of bytes that are written.
type WrittenHook = Arc<dyn Fn() + Send + Sync>;

pub(crate) struct Inner {
    pub(crate) id: TopicIdPartition,
    pub(crate) engine: Arc<Engine>,
    log_start: AtomicI64,
    log_end: AtomicI64,
    /// The end of what may be acknowledged.
    acknowledged_end: AtomicI64,
    deleted: AtomicBool,
    /// Whether files lost their names and the directory does not say so on the disk for certain.
    pub(crate) names_owed: AtomicBool,
    /// Counts truncations, by which a sync that was asked for before one is known.
    cuts: AtomicU64,
    /// Held for the look-up only, never across I/O.
    view: RwLock<View>,
    pub(crate) epochs: RwLock<LeaderEpochs>,
    pub(crate) tail: Tail,
    /// Held for the look-up only.
    pub(crate) transactions: Mutex<Transactions>,
    /// Held for the look-up only.
    pub(crate) verifications: Mutex<Verifications>,
    /// Held where segments go or come elsewhere than at the end: by a compaction's swap, a truncation, a move of the log's start, a deletion. Taken
    /// before the index lock.
    pub(crate) segments_lock: Mutex<()>,
    /// Told when something is written that is not acknowledged yet.
    written: Mutex<Option<WrittenHook>>,
    /// The committer's, and for short moments that of a truncation, a deletion or a change of configuration. Readers never take it.
    state: Mutex<LogState>,
}

/// What only a writer knows.
pub(crate) struct LogState {
    /// One value for all logs that are configured alike.
    pub(crate) config: Arc<LogConfig>,
    pub(crate) producers: ProducerStates,
    /// The block at the end of the active segment; none without a segment.
    pub(crate) block: Option<Box<OpenBlock>>,
    /// Full blocks whose rows wait for the next index commit.
    pub(crate) closed: Vec<keys::index::Block>,
    /// The largest timestamp of the active segment's first batch; `segment.ms` counts from it.
    pub(crate) first_timestamp: Option<i64>,
    /// When the active segment was made, if that was in this life.
    pub(crate) created_ms: Option<i64>,
    /// Appended bytes that no sync was asked for.
    pub(crate) unsynced_bytes: u64,
    /// Segments of an earlier process that go to the disk with the next sync, since the recovery point will lie behind them.
    pub(crate) recovered: Vec<Arc<Segment>>,
    /// What `flush.messages` counts, once it was set: from then on all answers go by the journal's thread, to keep their order.
    pub(crate) unflushed: Option<Box<Unflushed>>,
    /// Appends under an older leader epoch are refused.
    pub(crate) fence: LeaderEpoch,
    pub(crate) poisoned: bool,
}

/// What is written and was not flushed as `flush.messages` wants it; only kept while that is set.
#[derive(Default)]
pub(crate) struct Unflushed {
    /// Records since the last flush.
    pub(crate) messages: i64,
    /// The segments that they are in.
    pub(crate) segments: Vec<Arc<Segment>>,
}

impl PartitionLog {
    /// Opens a partition that exists or makes one.
    pub(crate) fn open(engine: &Arc<Engine>, id: TopicIdPartition, config: Arc<LogConfig>) -> Result<Self, StorageError> {
        let directory = engine.partition_directory(id);
        let recovered = recovery::recover(engine, id, &directory)?;
        let Recovered { view, producers, transactions, epochs, block, log_start, unsynced, dropped } = recovered;
        // Only now: of a log from which something is missing they may be all that there is. Nobody who waited for their time is left.
        dropped.iter().try_for_each(|path| recovery::unlink(path))?;
        Ok(Self(Arc::new(Inner {
            id,
            engine: Arc::clone(engine),
            log_start: AtomicI64::new(log_start.get()),
            log_end: AtomicI64::new(view.log_end.get()),
            acknowledged_end: AtomicI64::new(view.log_end.get()),
            deleted: AtomicBool::new(false),
            // Its opening removes what no longer counts.
            names_owed: AtomicBool::new(true),
            cuts: AtomicU64::new(0),
            view: RwLock::new(view),
            epochs: RwLock::new(epochs),
            tail: Tail::default(),
            transactions: Mutex::new(transactions),
            verifications: Mutex::default(),
            segments_lock: Mutex::default(),
            written: Mutex::default(),
            state: Mutex::new(LogState {
                config,
                producers,
                block: block.map(Box::new),
                closed: Vec::new(),
                first_timestamp: None,
                created_ms: None,
                unsynced_bytes: 0,
                recovered: unsynced,
                unflushed: None,
                fence: LeaderEpoch::ZERO,
                poisoned: false,
            }),
        })))
    }

    /// Which partition this is.
    #[must_use]
    pub fn id(&self) -> TopicIdPartition {
        self.0.id
    }

    /// The first offset that can be read.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.0.log_start()
    }

    /// The next offset to be written.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.0.log_end()
    }

    /// The end of what may be acknowledged: with `klamm.durability=group` what is on the disk, otherwise the log's end.
    #[must_use]
    pub fn acknowledged_end_offset(&self) -> Offset {
        let acknowledged = Offset::new_or_zero(self.0.acknowledged_end.load(Ordering::Acquire));
        acknowledged.min(self.log_end_offset())
    }

    /// The size of the segment files together.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.0.view.read().size_bytes()
    }

    /// How many segments it has.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.0.view.read().spans().count()
    }

    /// The largest epoch that is not above the asked one, and the offset where it ends; the newest epoch ends at the log's end. An epoch before
    /// the first known one ends where that begins (Kafka's `LeaderEpochFileCache.endOffsetFor`); above all known ones there is none.
    #[must_use]
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let epochs = self.0.epochs.read();
        epochs.end_offset_for(epoch, self.log_end_offset())
    }

    /// The newest leader epoch, with a batch or without.
    #[must_use]
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.0.epochs.read().latest()
    }

    /// The leader epoch of the batch at an offset; of the log's end, the newest epoch.
    #[must_use]
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.0.epochs.read().epoch_of(offset)
    }

    /// Begins a leader's epoch at the log's end. Appends of an older epoch are refused from now on. It is not persisted before its first batch
    /// is: the batch carries it.
    pub fn assign_epoch(&self, epoch: LeaderEpoch) {
        // The state's lock keeps an append from moving the end in between.
        let _state = self.0.state.lock();
        self.0.epochs.write().assign(epoch, self.log_end_offset());
    }

    /// Ends the terms before this one: their appends are refused from now on, and an epoch that began here without a batch is forgotten, since no
    /// other replica has it. For who follows.
    pub fn follow_epoch(&self, epoch: LeaderEpoch) {
        let mut state = self.0.state.lock();
        state.fence = state.fence.max(epoch);
        self.0.epochs.write().forget_assigned();
    }

    /// Has `hook` called, on the committer's thread, whenever something was written that must yet reach the disk before it is acknowledged: others may
    /// read it already, so that their disks work at the same time. `None` ends that. It must be short.
    pub fn on_written(&self, hook: Option<Arc<dyn Fn() + Send + Sync>>) {
        *self.0.written.lock() = hook;
    }

    pub(crate) fn tell_written(&self) {
        let hook = self.0.written.lock().clone();
        if let Some(hook) = hook {
            hook();
        }
    }

    /// Takes a changed configuration; it holds from the next append on.
    pub fn update_config(&self, config: impl Into<Arc<LogConfig>>) {
        self.0.state.lock().config = config.into();
    }

    /// The idempotent producers that are known here, in no order.
    #[must_use]
    pub fn active_producers(&self) -> Vec<ProducerSnapshot> {
        self.0.state.lock().producers.snapshots()
    }

    /// Whether an earlier failure stopped writes.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.0.state.lock().poisoned
    }
}

impl Inner {
    /// Where its segments are. Not kept: with many partitions the paths would be a good part of what each of them takes.
    pub(crate) fn directory(&self) -> PathBuf {
        self.engine.partition_directory(self.id)
    }

    pub(crate) fn log_start(&self) -> Offset {
        Offset::new_or_zero(self.log_start.load(Ordering::Acquire))
    }

    pub(crate) fn log_end(&self) -> Offset {
        Offset::new_or_zero(self.log_end.load(Ordering::Acquire))
    }

    pub(crate) fn set_log_start(&self, to: Offset) {
        self.log_start.store(to.get(), Ordering::Release);
    }

    pub(crate) fn advance_acknowledged_end(&self, to: Offset) {
        self.acknowledged_end.fetch_max(to.get(), Ordering::AcqRel);
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock()
    }

    pub(crate) fn view(&self) -> View {
        self.view.read().clone()
    }

    /// Whether no complete segment came or went since the view was taken.
    pub(crate) fn has_same_segments(&self, view: &View) -> bool {
        Arc::ptr_eq(&self.view.read().sealed, &view.sealed)
    }

    /// Looks again if it failed because a compaction replaced files meanwhile, or retention dropped some.
    pub(crate) fn with_current_segments<T>(&self, look: impl Fn(&View) -> Result<T, StorageError>) -> Result<T, StorageError> {
        loop {
            let view = self.view();
            let found = look(&view);
            if found.is_ok() || self.has_same_segments(&view) {
                return found;
            }
        }
    }

    /// Changes what readers see; the log end that is read without the lock follows.
    pub(crate) fn change_view<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        let mut view = self.view.write();
        let result = change(&mut view);
        self.log_end.store(view.log_end.get(), Ordering::Release);
        result
    }

    /// Puts what a recovery found in the place of what was there.
    pub(crate) fn install(&self, state: &mut LogState, recovered: Recovered) {
        let Recovered { view, producers, transactions, epochs, block, log_start, unsynced, dropped: _ } = recovered;
        self.cuts.fetch_add(1, Ordering::AcqRel);
        self.tail.clear(&self.engine.tails);
        state.producers = producers;
        *self.transactions.lock() = transactions;
        state.block = block.map(Box::new);
        state.closed.clear();
        state.recovered = unsynced;
        state.first_timestamp = None;
        state.created_ms = None;
        *self.epochs.write() = epochs;
        self.set_log_start(log_start);
        self.acknowledged_end.store(view.log_end.get(), Ordering::Release);
        self.change_view(|old| *old = view);
    }

    /// Ends the log for readers and writers. The caller holds the segments' lock and the index lock.
    pub(crate) fn mark_deleted(&self) {
        let mut state = self.state.lock();
        self.deleted.store(true, Ordering::Release);
        let unsynced = std::mem::take(&mut state.unsynced_bytes);
        self.engine.unsynced_bytes.fetch_sub(unsynced, Ordering::Relaxed);
        state.closed.clear();
        state.block = None;
        self.tail.clear(&self.engine.tails);
        self.change_view(|view| {
            view.sealed = Arc::default();
            view.active = None;
        });
    }

    /// Adds the rows of everything appended since the last commit and returns where the unindexed bytes begin afterwards. The caller holds the
    /// index lock.
    pub(crate) fn gather_rows(&self, batch: &mut WriteBatch) -> Result<Option<Unindexed>, StorageError> {
        let mut state = self.state.lock();
        if self.is_deleted() {
            return Ok(None);
        }
        let state = &mut *state;
        if let Some(block) = state.block.as_mut().filter(|block| !block.is_empty()) {
            state.closed.push(block.close());
        }
        let engine = &self.engine;
        for block in state.closed.drain(..) {
            engine.put(batch, Family::Index, &keys::index::key(self.id, block.row.base_offset), &block.encode())?;
        }
        let changed = (&mut state.producers, &mut *self.transactions.lock(), &mut *self.epochs.write());
        write_changes(engine, batch, self.id, changed)?;
        let view = self.view();
        let row = keys::partition::Row { deleting: false, log_start: self.log_start(), log_end: view.log_end, boot: engine.boot };
        engine.put(batch, Family::Default, &keys::partition::key(self.id), &row.encode())?;
        Ok(view.active.map(|active| Unindexed { segment_base: active.segment.base_offset, offset: view.log_end, position: active.length }))
    }
}

/// Adds the changed rows of producers, aborted transactions and epochs.
pub(crate) fn write_changes(
    engine: &Engine,
    batch: &mut WriteBatch,
    id: TopicIdPartition,
    (producers, transactions, epochs): (&mut ProducerStates, &mut Transactions, &mut LeaderEpochs),
) -> Result<(), StorageError> {
    for (producer, entry) in producers.take_dirty() {
        let key = keys::producer::key(id, producer);
        match entry {
            Some(entry) => engine.put(batch, Family::Default, &key, &keys::producer::encode(entry))?,
            None => engine.delete(batch, Family::Default, &key)?,
        }
    }
    // With the producers' rows, by which a replay would pass the markers over.
    transactions.write(engine, batch, id)?;
    let (written, dropped) = epochs.take_dirty();
    for epoch in dropped {
        engine.delete(batch, Family::Default, &keys::leader_epoch::key(id, epoch))?;
    }
    for (epoch, start) in written {
        engine.put(batch, Family::Default, &keys::leader_epoch::key(id, epoch), &keys::leader_epoch::encode(start))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_partitions_log_takes_half_a_kilobyte() {
        // With the counts of its `Arc`; the next larger size of the allocator is 640.
        let taken = size_of::<Inner>() + 2 * size_of::<usize>();
        assert!(taken <= 512, "{taken}, of which for writers {}, epochs {}", size_of::<LogState>(), size_of::<LeaderEpochs>());
    }
}
