//! The cleaner: chooses the dirtiest logs, finds each key's newest offset in its dirty part, and writes its segments anew without the rest.
//!
//! It has no thread and no clock of its own: who calls it does, and slows it down through [`Pace`].

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use model::{Offset, Timestamp, TopicIdPartition};
use record_batch::{BatchError, BatchView, DecompressLimits};
use thiserror::Error;

use super::filter::{Aborted, ActiveProducers, Filter, FilterRules, Kept, LastRecord, SeenTransactions};
use super::map::{Full, MapLimits, OffsetMap, load_permille};
use super::plan::{self, CompactionRules, LogFacts, Plan, SegmentFacts};
use crate::StorageError;
use crate::keys;
use crate::partition_log::{Inner, PartitionLog};
use crate::space::SpaceCheck;
use crate::view::{Span, View};
use crate::walk::{Next, Walker, corrupt};

/// Told of each piece of I/O, in bytes, after it was done; it may wait, and says whether to go on.
pub type Pace<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

/// Says when a file that is replaced now may be removed, by a monotonic clock.
pub type Due<'a> = dyn Fn() -> Duration + 'a;

/// A log that may be cleaned.
#[derive(Clone, Debug)]
pub struct LogToClean {
    /// The log.
    pub log: PartitionLog,
    /// What its topic's configuration says.
    pub rules: CompactionRules,
    /// Nothing from here on is touched: the last stable offset.
    pub last_stable_offset: Offset,
}

/// The log that is to be cleaned next.
pub struct Chosen {
    log: PartitionLog,
    rules: CompactionRules,
    plan: Plan,
    sealed: Vec<Span>,
    cuts: u64,
}

/// What a look at all logs found.
#[derive(Default)]
pub struct Choice {
    /// The dirtiest logs that are due, the dirtiest first.
    pub chosen: Vec<Chosen>,
    /// How dirty the dirtiest log is, due or not.
    pub dirtiest_ratio: f64,
    /// For how long a record has waited beyond its log's maximal lag; of all logs the most.
    pub overdue_ms: i64,
    /// Logs that could not be looked at.
    pub failed: Vec<(TopicIdPartition, CleanError)>,
}

/// What a cleaning did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cleaning {
    /// Where the dirty part began.
    pub first_dirty_offset: Offset,
    /// Where it begins now.
    pub next_dirty_offset: Offset,
    /// Bytes of the segments before.
    pub bytes_before: u64,
    /// Bytes of the segments after.
    pub bytes_after: u64,
    /// What the map of keys took.
    pub map_bytes: u64,
    /// Which part of the memory that the map may take was in use, from 0 to 1.
    pub map_utilization: f64,
}

/// Why a log was not cleaned, or not to its end. Its records are all there.
#[derive(Debug, Error)]
pub enum CleanError {
    /// Who called it said so.
    #[error("the cleaning was stopped")]
    Stopped,
    /// The partition was truncated or deleted meanwhile.
    #[error("the partition was changed meanwhile")]
    Changed,
    /// The records of a batch cannot be read, though its checksum is right.
    #[error("partition {partition}: the batch at offset {base_offset} cannot be read: {source}")]
    Records {
        /// The partition.
        partition: TopicIdPartition,
        /// The batch.
        base_offset: i64,
        /// Why.
        source: BatchError,
    },
    /// Disk or index failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl CleanError {
    /// Whether it would be the same the next time, so that the log is best left alone.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Stopped | Self::Changed => false,
            Self::Records { .. } => true,
            Self::Storage(error) => !error.is_out_of_space(),
        }
    }
}

/// Cleans logs, one at a time.
#[derive(Debug)]
pub struct Cleaner {
    limits: MapLimits,
}

impl Cleaner {
    /// A cleaner whose map of keys may take so much memory, filled up to a part of it. The memory is taken while a log is cleaned, and no more of it
    /// than the log needs.
    #[must_use]
    pub fn new(memory_bytes: usize, load_factor: f64) -> Self {
        let seed = || RandomState::new().build_hasher().finish();
        Self { limits: MapLimits { memory_bytes, load_permille: load_permille(load_factor), seeds: [seed(), seed()] } }
    }

    /// Cleans the chosen log as far as the map of keys reaches; the rest is still dirty afterwards. `due` says, at any moment, when a file that is
    /// replaced then may go, by the clock of [`crate::Store::remove_due`], which removes it.
    ///
    /// # Errors
    /// Whatever stops it; what was swapped until then stays swapped.
    pub fn clean(&self, chosen: &Chosen, now: Timestamp, due: &Due<'_>, pace: &mut Pace<'_>) -> Result<Cleaning, CleanError> {
        let log = &chosen.log.0;
        self.run(chosen, now, due, pace).map_err(|error| match error {
            // What was cut away or removed cannot be read.
            CleanError::Storage(_) if log.is_deleted() || log.cuts() != chosen.cuts => CleanError::Changed,
            // Nor what retention has dropped.
            CleanError::Storage(error) if error.is_missing_file() && log.has_dropped(&chosen.sealed) => CleanError::Changed,
            error => error,
        })
    }

    fn run(&self, chosen: &Chosen, now: Timestamp, due: &Due<'_>, pace: &mut Pace<'_>) -> Result<Cleaning, CleanError> {
        let mut round = Round { chosen, log: &chosen.log.0, due, pace };
        let first = chosen.sealed.first().map_or(Offset::ZERO, |span| span.segment.base_offset);
        let aborted = Aborted::of(&round.log.aborted_between(first, chosen.plan.first_uncleanable)?);
        let map = round.newest_offsets(&self.limits, &aborted)?;
        let sources: Vec<&Span> = chosen.sealed.iter().take_while(|span| span.segment.base_offset < map.end()).collect();
        let facts: Vec<_> = sources.iter().map(|span| size_facts(span)).collect();
        let groups = plan::groups(&facts, chosen.rules.segment_bytes, chosen.plan.first_uncleanable);
        let rules = FilterRules {
            now_ms: now.millis(),
            delete_retention_ms: chosen.rules.delete_retention_ms,
            first_uncleanable: chosen.plan.first_uncleanable,
        };
        let mut cleaning = Cleaning {
            first_dirty_offset: chosen.plan.first_dirty,
            next_dirty_offset: map.end(),
            map_bytes: u64::try_from(map.memory_bytes()).unwrap_or(u64::MAX),
            map_utilization: map.utilization(&self.limits),
            ..Cleaning::default()
        };
        let mut transactions = SeenTransactions::default();
        let last = groups.len().saturating_sub(1);
        for (number, group) in groups.into_iter().enumerate() {
            let spans: Vec<Span> = sources.get(group).unwrap_or_default().iter().map(|span| (*span).clone()).collect();
            let producers = round.log.last_records(now);
            let (stays, dropped_markers, seen) = (Vec::new(), Vec::new(), &mut transactions);
            let filter = Filter { map: &map, producers: &producers, rules, aborted: &aborted, transactions: seen, dropped_markers, stays };
            let checkpoint = (number == last).then(|| map.end());
            let (before, after) = round.group(&spans, filter, checkpoint)?;
            cleaning.bytes_before += before;
            cleaning.bytes_after += after;
        }
        Ok(cleaning)
    }
}

/// Looks at all logs and chooses the dirtiest that are due, so many of them at most.
#[must_use]
pub fn choose_logs(logs: Vec<LogToClean>, now: Timestamp, count_max: usize) -> Choice {
    let mut choice = Choice::default();
    let (mut candidates, mut plans) = (Vec::new(), Vec::new());
    for candidate in logs {
        match candidate.look(now) {
            Ok(Some(chosen)) => {
                choice.dirtiest_ratio = choice.dirtiest_ratio.max(chosen.plan.cleanable_ratio());
                choice.overdue_ms = choice.overdue_ms.max(chosen.plan.overdue_ms);
                plans.push((chosen.plan, chosen.rules));
                candidates.push(Some(chosen));
            }
            Ok(None) => {}
            Err(error) => choice.failed.push((candidate.log.id(), error.into())),
        }
    }
    let due = plan::dirtiest(&plans).into_iter().take(count_max);
    choice.chosen = due.filter_map(|at| candidates.get_mut(at).and_then(Option::take)).collect();
    choice
}

impl Chosen {
    /// Which partition it is.
    #[must_use]
    pub fn id(&self) -> TopicIdPartition {
        self.log.id()
    }
}

/// Lets every other thread go first from now on, where the system can do that for one thread. For a thread that cleans.
pub fn give_way_to_other_threads() {
    #[cfg(target_os = "linux")]
    {
        // Without the right to it, it stays as it is.
        let _refused = rustix::process::setpriority_process(None, 19);
    }
}

impl PartitionLog {
    /// The first offset that no cleaning has looked at, if there was a cleaning.
    ///
    /// # Errors
    /// If the index fails.
    pub fn first_dirty_offset(&self) -> Result<Option<Offset>, StorageError> {
        let log = &*self.0;
        log.engine.row("cleaner_checkpoint", &keys::cleaner_checkpoint::key(log.id), keys::cleaner_checkpoint::decode)
    }
}

impl LogToClean {
    /// The bytes of the segments that a cleaning would begin with, for a log that is not cleaned any more.
    ///
    /// # Errors
    /// If the index or a segment cannot be read.
    pub fn cleanable_bytes(&self, now: Timestamp) -> Result<u64, StorageError> {
        Ok(self.look(now)?.map_or(0, |chosen| chosen.plan.cleanable_bytes))
    }

    /// What can be cleaned of it; `None` if it has no bytes.
    fn look(&self, now: Timestamp) -> Result<Option<Chosen>, StorageError> {
        let log = &*self.log.0;
        // Before the view: a truncation after this is noticed.
        let cuts = log.cuts();
        log.with_current_segments(|view| self.look_at(view, cuts, now))
    }

    fn look_at(&self, view: &View, cuts: u64, now: Timestamp) -> Result<Option<Chosen>, StorageError> {
        let log = &*self.log.0;
        let Some(active) = view.active.as_ref().filter(|_| !log.is_deleted()) else { return Ok(None) };
        let mut facts = LogFacts {
            log_start: log.log_start(),
            log_end: view.log_end,
            checkpoint: self.log.first_dirty_offset()?,
            bound: self.last_stable_offset.min(view.unindexed.offset),
            active_base: active.segment.base_offset,
            sealed: Vec::with_capacity(view.sealed.len()),
        };
        let clean_until = facts.checkpoint.unwrap_or(Offset::ZERO);
        for span in view.sealed.iter() {
            let mut segment = size_facts(span);
            if span.end_offset > clean_until {
                log.add_times(span, &self.rules, &mut segment)?;
            }
            facts.sealed.push(segment);
        }
        let plan = plan::plan(&facts, &self.rules, now.millis());
        let sealed = view.sealed.to_vec();
        Ok(Some(Chosen { log: self.log.clone(), rules: self.rules, plan, sealed, cuts }))
    }
}

fn size_facts(span: &Span) -> SegmentFacts {
    SegmentFacts { base_offset: span.segment.base_offset, size_bytes: span.length, largest_timestamp: -1, first_timestamp: None }
}

impl Inner {
    /// Finds out what the rules want to know of a segment's times.
    fn add_times(&self, span: &Span, rules: &CompactionRules, facts: &mut SegmentFacts) -> Result<(), StorageError> {
        if rules.min_compaction_lag_ms > 0 {
            let rows = self.rows_of(span, span.segment.base_offset, span.length)?;
            let largest = rows.iter().map(|row| row.max_timestamp).max().unwrap_or(-1);
            facts.largest_timestamp = if largest >= 0 { largest } else { self.modified_ms(span)? };
        }
        if rules.max_compaction_lag_ms < i64::MAX
            && let Next::Batch(header) = Walker::new(&self.engine, &span.segment, 0, span.length).peek()?
        {
            facts.first_timestamp = Some(header.max_timestamp);
        }
        Ok(())
    }

    /// Whether retention has dropped some of these segments; a swap keeps where the first one begins.
    fn has_dropped(&self, sealed: &[Span]) -> bool {
        let began = sealed.first().map(|span| span.segment.base_offset);
        self.view().spans().next().map(|span| span.segment.base_offset) != began
    }

    pub(crate) fn modified_ms(&self, span: &Span) -> Result<i64, StorageError> {
        let since = self.modified(span)?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn modified(&self, span: &Span) -> Result<SystemTime, StorageError> {
        let file = span.segment.file(&self.engine.handles)?;
        let modified = file.metadata().and_then(|metadata| metadata.modified());
        modified.map_err(|error| StorageError::io("ask for the age of", &span.segment.path, error))
    }

    /// What the producers that are still known have last written here.
    fn last_records(&self, now: Timestamp) -> ActiveProducers {
        let state = self.state();
        let expiration_ms = state.config.producer_id_expiration_ms;
        let last = |(producer, last_offset, epoch): (i64, Option<i64>, i16)| (producer, LastRecord { last_offset, producer_epoch: epoch });
        state.producers.last_records(now.millis(), expiration_ms).map(last).collect::<HashMap<_, _>>()
    }
}

/// One cleaning of one log.
struct Round<'a, 'p> {
    chosen: &'a Chosen,
    log: &'a Inner,
    due: &'a Due<'a>,
    pace: &'a mut Pace<'p>,
}

impl Round<'_, '_> {
    /// The newest offset of each key from the first dirty offset on, as far as there is room.
    fn newest_offsets(&mut self, limits: &MapLimits, aborted: &Aborted) -> Result<OffsetMap, CleanError> {
        let Plan { first_dirty, first_uncleanable, .. } = self.chosen.plan;
        let records_max = u64::try_from(first_uncleanable - first_dirty).unwrap_or(0);
        let mut map = OffsetMap::new(limits, first_dirty, records_max);
        let dirty = self.chosen.sealed.iter().filter(|span| span.end_offset > first_dirty && span.segment.base_offset < first_uncleanable);
        for span in dirty {
            let mut is_full = false;
            self.batches(span, first_dirty, &mut |batch, _| {
                let header = batch.header();
                if !header.attributes.is_control() && !aborted.has(header) {
                    batch.walk_records(DecompressLimits::default(), &mut |record| {
                        let offset = Offset::new_or_zero(record.offset);
                        match record.key.filter(|_| offset >= first_dirty).map(|key| map.put(key, offset)) {
                            Some(Err(Full)) => {
                                is_full = true;
                                ControlFlow::Break(())
                            }
                            _ => ControlFlow::Continue(()),
                        }
                    })?;
                }
                if is_full {
                    return Ok(ControlFlow::Break(()));
                }
                map.advance_end(Offset::new_or_zero(header.next_offset()));
                Ok(ControlFlow::Continue(()))
            })?;
            if is_full {
                break;
            }
            // There may be nothing at the segment's end.
            map.advance_end(span.end_offset);
        }
        Ok(map)
    }

    /// Shows a segment's batches that end behind `from`, each with a right checksum, as long as they are wanted.
    fn batches(&mut self, span: &Span, from: Offset, each: &mut BatchFn<'_>) -> Result<(), CleanError> {
        let log = self.log;
        log.verify(span, span.segment.base_offset, 0, span.length)?;
        let mut walker = Walker::new(&log.engine, &span.segment, 0, span.length);
        loop {
            let header = match walker.peek()? {
                Next::Batch(header) => header,
                Next::End => return Ok(()),
                Next::Bad => return Err(corrupt(log.id, &span.segment, walker.position()).into()),
            };
            if header.next_offset() <= from.get() {
                walker.skip(&header);
                continue;
            }
            let position = walker.position();
            let Some(bytes) = walker.whole(&header)? else { return Err(corrupt(log.id, &span.segment, position).into()) };
            let read = BatchView::parse(bytes).map_err(BatchFault::from).and_then(|batch| each(&batch, bytes));
            let wanted = read.map_err(|fault| match fault {
                BatchFault::Records(source) => CleanError::Records { partition: log.id, base_offset: header.base_offset, source },
                BatchFault::Storage(error) => CleanError::Storage(error),
            })?;
            walker.skip(&header);
            self.pace(header.size_bytes())?;
            if wanted.is_break() {
                return Ok(());
            }
        }
    }

    fn pace(&mut self, bytes: usize) -> Result<(), CleanError> {
        if self.log.is_deleted() || self.log.cuts() != self.chosen.cuts {
            return Err(CleanError::Changed);
        }
        match (self.pace)(u64::try_from(bytes).unwrap_or(u64::MAX)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(CleanError::Stopped),
        }
    }

    /// Writes some neighbours anew as one segment and swaps it in. Returns their bytes before and after.
    fn group(&mut self, sources: &[Span], mut filter: Filter<'_>, checkpoint: Option<Offset>) -> Result<(u64, u64), CleanError> {
        let log = self.log;
        let before: u64 = sources.iter().map(|span| span.length).sum();
        SpaceCheck::default().check(&log.engine, before)?;
        let mut draft = log.create_draft(sources)?;
        for span in sources {
            self.batches(span, Offset::ZERO, &mut |batch, bytes| {
                match filter.batch(batch)? {
                    Kept::Nothing => {}
                    Kept::AsItIs => draft.push(batch.header(), bytes)?,
                    Kept::Rewritten(bytes) => draft.push(BatchView::parse(&bytes)?.header(), &bytes)?,
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        let newest = sources.last().ok_or(CleanError::Changed)?;
        draft.dropped_markers = filter.dropped_markers;
        draft.finish(&log.engine, log.modified(newest)?)?;
        let after = draft.length;
        self.pace(usize::try_from(after).unwrap_or(usize::MAX))?;
        log.swap(sources, draft, checkpoint, self.chosen.cuts, (self.due)())?;
        Ok((before, after))
    }
}

type BatchFn<'a> = dyn FnMut(&BatchView<'_>, &[u8]) -> Result<ControlFlow<()>, BatchFault> + 'a;

/// What can go wrong with one batch.
enum BatchFault {
    Records(BatchError),
    Storage(StorageError),
}

impl From<BatchError> for BatchFault {
    fn from(error: BatchError) -> Self {
        Self::Records(error)
    }
}

impl From<StorageError> for BatchFault {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}
