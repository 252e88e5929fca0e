//! The check of a directory: which files there are, what the index says of them, and whether both are what recovery and reads rely on.
//!
//! A start would find most of this only when it needs it: it scans behind the known bytes, and a read checks the block that it reads. Here all is
//! read. What a start repairs by itself is told as no fault.

use std::path::Path;
use std::sync::Arc;

use model::{Offset, TopicIdPartition};

use super::batch_check::Density;
use super::place::{names_in, partitions_in, segments_in};
use super::segment_check::{Expected, Indexed, ProducedBatches, SegmentCheck};
use super::segment_file::length_of;
use super::{Finding, Flaw, Piece, SegmentFile, Step, StoppedStore};
use crate::compaction::generations::{Cleaned, Standing};
use crate::engine::Engine;
use crate::keys::{self, Family};
use crate::leader_epochs::LeaderEpochs;
use crate::recovery::{self, Known};
use crate::retention::removals::DELETED_SUFFIX;
use crate::segment::Segment;
use crate::view::Span;
use crate::{StorageError, journal};

/// Who is told what a check finds, and how far it is.
pub trait Watcher {
    /// Something was found.
    fn found(&mut self, finding: Finding);

    /// So many more bytes were read.
    fn read(&mut self, bytes: u64);

    /// Whether the rest is not wanted.
    fn is_over(&self) -> bool {
        false
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Partitions with files or rows.
    pub partitions: u64,
    /// Segment files.
    pub segments: u64,
    /// Batches.
    pub batches: u64,
    /// Records in batches that can be read.
    pub records: u64,
    /// Bytes of segment files.
    pub bytes: u64,
}

impl std::ops::AddAssign for Checked {
    fn add_assign(&mut self, other: Self) {
        self.partitions += other.partitions;
        self.segments += other.segments;
        self.batches += other.batches;
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

/// Checks one file by itself.
pub fn verify_segment(file: &SegmentFile, watcher: &mut dyn Watcher) -> Checked {
    let mut check = Verify::new(watcher);
    let density = if file.generation == Some(0) { Density::Dense } else { Density::Sparse };
    let expected = Expected { base_offset: file.base_offset, end_offset: Offset::MAX, density, rows: Vec::new(), epochs: None };
    let read = check.segment(file, None, SegmentCheck::new(expected, None), &mut ProducedBatches::default(), &|_| Scanned::Known);
    if let Err(error) = read {
        check.storage(None, &file.path, error);
    }
    check.checked
}

/// Checks a partition's files without an index: also while a broker has them open.
pub fn verify_files(id: TopicIdPartition, directory: &Path, watcher: &mut dyn Watcher) -> Checked {
    let mut check = Verify::new(watcher);
    check.files(id, directory);
    check.checked
}

/// Checks a directory that no broker has open, or only the given partitions of it.
pub fn verify_stopped(store: &StoppedStore, only: Option<&[TopicIdPartition]>, watcher: &mut dyn Watcher) -> Checked {
    let mut check = Verify::new(watcher);
    let index = store.directory.join("index");
    let engine = match &store.index {
        Ok(engine) => Some(engine),
        Err(error) => {
            check.tell(true, None, &index, None, Flaw::Unopened(Arc::clone(error)));
            None
        }
    };
    if let Some(engine) = engine {
        if only.is_none() {
            check.rows(engine, &index);
        }
        check.journal(engine);
    }
    let all = match only {
        Some(only) => Ok(only.to_vec()),
        None => engine.map_or_else(|| partitions_in(&store.directory), |engine| all_partitions(engine)),
    };
    for id in all.unwrap_or_else(|error| {
        check.storage(None, &store.directory, error);
        Vec::new()
    }) {
        if check.watcher.is_over() {
            break;
        }
        let directory = store.directory.join("partitions").join(id.to_string());
        match engine.map(|engine| check.partition(engine, id, &directory)) {
            Some(Ok(())) => {}
            Some(Err(error)) => check.storage(Some(id), &directory, error),
            None => check.files(id, &directory),
        }
    }
    check.checked
}

/// Also those that are being deleted.
fn all_partitions(engine: &Engine) -> Result<Vec<TopicIdPartition>, StorageError> {
    let mut found = partitions_in(&engine.options.directory)?;
    let first = [keys::partition::ORDINAL];
    engine.scan(Family::Default, &first, &keys::prefix_end(&first), |key, _| {
        found.extend(keys::partition::id_of(key));
        Ok(true)
    })?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// What a start does with bytes at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scanned {
    /// It takes them as they are, by the index or because there is none that says otherwise.
    Known,
    /// It reads them and ends the log where they are bad.
    MayEnd,
    /// The same, but only a cut batch is no fault: no power was cut, or it is not known.
    MayBeCut,
}

/// A partition, as its rows and the names of its files say it is.
struct Facts {
    id: TopicIdPartition,
    cleaned: Cleaned,
    epochs: LeaderEpochs,
    log_start: Offset,
    durable_end: Offset,
    known: Known,
    /// What becomes of bad bytes behind the known ones: a process's death leaves a cut batch and nothing else, a power cut leaves anything.
    behind_known: Scanned,
    files: Vec<SegmentFile>,
}

struct Verify<'a> {
    watcher: &'a mut dyn Watcher,
    checked: Checked,
    /// Whether the journal has what the segments may lack.
    has_journal: bool,
}

impl<'a> Verify<'a> {
    fn new(watcher: &'a mut dyn Watcher) -> Self {
        Self { watcher, checked: Checked::default(), has_journal: false }
    }
    fn tell(&mut self, is_fault: bool, partition: Option<TopicIdPartition>, path: &Path, position: Option<u64>, flaw: Flaw) {
        self.watcher.found(Finding { is_fault, partition, path: path.to_owned(), position, flaw });
    }

    fn storage(&mut self, partition: Option<TopicIdPartition>, path: &Path, error: StorageError) {
        self.tell(true, partition, path, None, Flaw::Storage(error));
    }

    /// Reads all rows of the database, each of which RocksDB checks, and decodes those of partitions.
    fn rows(&mut self, engine: &Engine, index: &Path) {
        for family in Family::ALL {
            let mut unreadable = None;
            let mut each = |key: &[u8], value: &[u8]| {
                unreadable = unreadable.or(keys::unreadable(key, value));
                Ok(true)
            };
            if let Err(error) = engine.scan(family, &[0], &[u8::MAX], &mut each) {
                self.storage(None, index, error);
            }
            if let Some(family) = unreadable {
                self.storage(None, index, StorageError::UnreadableRow { family });
            }
        }
    }

    fn journal(&mut self, engine: &Engine) {
        let directory = journal::directory(engine);
        match journal::replay::pending_groups(engine) {
            Ok(0) => {}
            Ok(groups) => {
                self.has_journal = true;
                self.tell(false, None, &directory, None, Flaw::PendingJournal { groups });
            }
            Err(error) => self.storage(None, &directory, error),
        }
    }

    /// A partition without an index.
    fn files(&mut self, id: TopicIdPartition, directory: &Path) {
        let mut files = match segments_in(directory) {
            Ok(files) => files,
            Err(error) => return self.storage(Some(id), directory, error),
        };
        // Of two generations the newer one counts.
        files.reverse();
        files.dedup_by_key(|file| file.base_offset);
        files.reverse();
        self.checked.partitions += 1;
        let is_compacted = files.iter().any(|file| file.generation != Some(0));
        let density = if is_compacted { Density::Sparse } else { Density::Dense };
        let (mut end, mut epoch, mut before): (Option<Offset>, _, _) = (None, None, None);
        for (number, file) in files.iter().enumerate() {
            let next = files.get(number + 1);
            if let Some(end) = end
                && end > file.base_offset
                && before != Some(0)
            {
                // A compaction has put the one before into its place.
                self.tell(false, Some(id), &file.path, None, Flaw::Leftover);
                continue;
            }
            self.follow(id, file, end.filter(|_| !is_compacted), Scanned::Known);
            let end_offset = if is_compacted { Offset::MAX } else { next.map_or(Offset::MAX, |next| next.base_offset) };
            let expected = Expected { base_offset: file.base_offset, end_offset, density, rows: Vec::new(), epochs: None };
            let check = SegmentCheck::new(expected, epoch);
            let scanned = |_| if next.is_none() { Scanned::MayBeCut } else { Scanned::Known };
            match self.segment(file, Some(id), check, &mut ProducedBatches::default(), &scanned) {
                Ok(outcome) => (end, epoch, before) = (Some(outcome.end), outcome.epoch, file.generation),
                Err(error) => return self.storage(Some(id), &file.path, error),
            }
        }
    }

    /// A partition with all that the index says of it.
    fn partition(&mut self, engine: &Engine, id: TopicIdPartition, directory: &Path) -> Result<(), StorageError> {
        let Some(row) = engine.row("partition", &keys::partition::key(id), keys::partition::Row::decode)? else {
            self.tell(false, Some(id), directory, None, Flaw::NoRow);
            self.files(id, directory);
            return Ok(());
        };
        if row.deleting {
            self.tell(false, Some(id), directory, None, Flaw::Deleting);
            return Ok(());
        }
        self.checked.partitions += 1;
        let intent = engine.row("truncation", &keys::truncation::key(id), keys::truncation::Row::decode)?;
        let cleaned = Cleaned::load(engine, id)?;
        let mut files = self.standing_files(id, directory, &cleaned, row.log_start)?;
        if let Some(intent) = intent {
            self.tell(false, Some(id), directory, None, Flaw::PendingTruncation { end: intent.log_end });
            files.retain(|file| file.base_offset <= intent.segment_base);
            if let Some(last) = files.last_mut().filter(|last| last.base_offset == intent.segment_base) {
                last.length_bytes = last.length_bytes.min(intent.position);
            }
        }
        let (producers, epochs) = recovery::load(engine, id)?;
        let bound = intent.map(|intent| intent.log_end);
        let recovery_point = engine.row("recovery_point", &keys::recovery_point::key(id), keys::recovery_point::Row::decode)?;
        let durable_end = recovery_point.map_or(Offset::ZERO, |point| point.offset).min(bound.unwrap_or(Offset::MAX));
        let known = recovery::known_end(engine, id, Some(row), bound, durable_end, &spans(directory, &files))?;
        // What the journal has is not lost.
        let is_same_boot = engine.is_same_boot(row.boot) && !self.has_journal;
        if is_same_boot && bound.is_none() && known.has_rows_beyond {
            self.tell(true, Some(id), directory, None, Flaw::BehindIndex { end: known.offset });
        }
        let behind_known = if is_same_boot { Scanned::MayBeCut } else { Scanned::MayEnd };
        let facts = Facts { id, cleaned, epochs, log_start: row.log_start, durable_end, known, behind_known, files };
        let must_be_there = if is_same_boot { Offset::MAX } else { durable_end }.min(bound.unwrap_or(Offset::MAX));
        self.missing_files(engine, &facts, directory, must_be_there)?;
        let mut produced = ProducedBatches::default();
        for (producer_id, entry) in producers.entries() {
            produced.add(producer_id, entry);
        }
        self.segments(engine, &facts, produced, directory)
    }

    /// The files that count, as a start sees them; what else there is is told.
    fn standing_files(
        &mut self,
        id: TopicIdPartition,
        directory: &Path,
        cleaned: &Cleaned,
        log_start: Offset,
    ) -> Result<Vec<SegmentFile>, StorageError> {
        let mut files = Vec::new();
        for name in names_in(directory)? {
            let path = directory.join(&name);
            match cleaned.standing(&name) {
                Standing::Counts(base_offset, generation) | Standing::Unnamed(base_offset, generation) => {
                    let length_bytes = length_of(&path)?;
                    files.push(SegmentFile { path, base_offset, generation: Some(generation), length_bytes });
                }
                Standing::Draft | Standing::Replaced => self.tell(false, Some(id), &path, None, Flaw::Leftover),
                Standing::NoSegment if name.ends_with(DELETED_SUFFIX) => self.tell(false, Some(id), &path, None, Flaw::Leftover),
                Standing::NoSegment => self.tell(false, Some(id), &path, None, Flaw::Foreign),
            }
        }
        files.sort_by_key(|file| (file.base_offset, file.generation));
        let followers: Vec<Option<Offset>> = files.iter().skip(1).map(|file| Some(file.base_offset)).chain([None]).collect();
        let mut kept = Vec::new();
        for (file, next) in files.into_iter().zip(followers) {
            // An older generation, or one that ends before the log begins.
            if next.is_some_and(|next| next == file.base_offset || next <= log_start) {
                self.tell(false, Some(id), &file.path, None, Flaw::Leftover);
            } else {
                kept.push(file);
            }
        }
        Ok(kept)
    }

    /// Rows of files that are not there.
    fn missing_files(&mut self, engine: &Engine, facts: &Facts, directory: &Path, must_be_there: Offset) -> Result<(), StorageError> {
        let prefix = keys::index::prefix(facts.id);
        let mut missing: Vec<(Offset, u32, Offset, Offset)> = Vec::new();
        engine.scan(Family::Index, &prefix, &keys::prefix_end(&prefix), |key, value| {
            let row = keys::index::Row::decode(key, value).ok_or(StorageError::UnreadableRow { family: "index" })?;
            let is_there = facts.files.iter().any(|file| file.base_offset == row.segment_base && file.generation == Some(row.generation));
            if !is_there && row.end_offset > facts.log_start && row.end_offset <= must_be_there {
                match missing.last_mut().filter(|last| (last.0, last.1) == (row.segment_base, row.generation)) {
                    Some(last) => last.3 = row.end_offset,
                    None => missing.push((row.segment_base, row.generation, row.base_offset, row.end_offset)),
                }
            }
            Ok(true)
        })?;
        for (base_offset, generation, first, end) in missing {
            let path = directory.join(crate::segment::file_name(base_offset, generation));
            self.tell(true, Some(facts.id), &path, None, Flaw::MissingSegment { first, last: end.get() - 1 });
        }
        Ok(())
    }

    /// All segments in turn, and what must be true of all of them together.
    fn segments(&mut self, engine: &Engine, facts: &Facts, mut produced: ProducedBatches, directory: &Path) -> Result<(), StorageError> {
        let (mut end, mut epoch, mut is_good) = (None, None, true);
        for (number, file) in facts.files.iter().enumerate() {
            let next = facts.files.get(number + 1).map(|next| next.base_offset);
            let base_offset = file.base_offset;
            let known_to = match base_offset.cmp(&facts.known.segment_base) {
                std::cmp::Ordering::Less => u64::MAX,
                std::cmp::Ordering::Equal => facts.known.position,
                std::cmp::Ordering::Greater => 0,
            };
            let scanned = |position| if position < known_to { Scanned::Known } else { facts.behind_known };
            let density = if file.generation == Some(0) { Density::Dense } else { Density::Sparse };
            // Before the log's start nothing is missed.
            if !self.follow(facts.id, file, end.map(|end: Offset| end.max(facts.log_start)), scanned(0)) {
                break;
            }
            let rows = rows_of(engine, facts, file)?;
            let end_offset = next.unwrap_or(Offset::MAX);
            let expected =
                Expected { base_offset, end_offset, density, rows, epochs: Some((&facts.epochs, facts.log_start..facts.known.offset)) };
            let outcome = self.segment(file, Some(facts.id), SegmentCheck::new(expected, epoch), &mut produced, &scanned)?;
            let segment = Segment::existing(directory, base_offset, file.generation.unwrap_or(0));
            let stands_to = facts.cleaned.end_of(&segment).unwrap_or(outcome.end);
            // Producers' rows speak of batches that compaction may have taken.
            let seen = base_offset.max(facts.log_start)..outcome.end.min(facts.known.offset);
            if density == Density::Dense && outcome.is_good && !seen.is_empty() {
                for (producer_id, offset) in produced.missing(seen) {
                    self.tell(true, Some(facts.id), &file.path, None, Flaw::Producer { producer_id, offset });
                }
            }
            is_good &= outcome.is_good;
            (end, epoch) = (Some(outcome.end.max(stands_to)), outcome.epoch);
            if outcome.is_cut {
                break;
            }
        }
        let end = end.unwrap_or(facts.log_start).max(facts.log_start);
        if is_good && end < facts.durable_end {
            self.tell(true, Some(facts.id), directory, None, Flaw::Shortened { end, durable_end: facts.durable_end });
        }
        Ok(())
    }

    /// Whether a segment begins where the log before it has ended. `false` if a start would remove it and what follows.
    fn follow(&mut self, id: TopicIdPartition, file: &SegmentFile, end: Option<Offset>, scanned: Scanned) -> bool {
        let base_offset = file.base_offset;
        let Some(end) = end.filter(|end| *end < base_offset) else { return true };
        if scanned != Scanned::Known {
            self.tell(false, Some(id), &file.path, Some(0), Flaw::Leftover);
            return false;
        }
        let flaw = Flaw::OffsetsMissing { first: end.get(), last: base_offset.get() - 1 };
        self.tell(true, Some(id), &file.path, Some(0), flaw);
        true
    }

    /// One segment. Where a start would end the log, that is told as no fault, and the segment ends there.
    fn segment(
        &mut self,
        file: &SegmentFile,
        id: Option<TopicIdPartition>,
        mut check: SegmentCheck<'_>,
        produced: &mut ProducedBatches,
        scanned: &dyn Fn(u64) -> Scanned,
    ) -> Result<Outcome, StorageError> {
        self.checked.segments += 1;
        let mut cut_at = None;
        let mut end = check.end_offset();
        let mut read_to = 0;
        file.walk(0, &mut |piece| {
            let flaws_before = check.flaws.len();
            let (position, step) = match piece {
                Piece::Batch { position, batch } => {
                    check.batch(position, &batch, produced);
                    (position, Step::Next)
                }
                Piece::Bad { position, error, left_bytes } => (position, check.bad(position, error, left_bytes)),
            };
            self.watcher.read(position.saturating_sub(read_to));
            read_to = position.max(read_to);
            let mut fresh = check.flaws.get(flaws_before..).unwrap_or_default().iter().map(|(_, flaw)| flaw);
            let ends = match scanned(position) {
                Scanned::Known => false,
                Scanned::MayEnd => fresh.any(Flaw::ends_a_scan),
                Scanned::MayBeCut => fresh.any(Flaw::is_cut_batch),
            };
            if ends {
                check.flaws.truncate(flaws_before);
                cut_at = Some(position);
                return Step::Stop;
            }
            end = check.end_offset();
            if self.watcher.is_over() { Step::Stop } else { step }
        })?;
        self.watcher.read(file.length_bytes.saturating_sub(read_to));
        if cut_at.is_none() && !self.watcher.is_over() {
            check.end(file.length_bytes);
        }
        self.checked.batches += check.batches;
        self.checked.records += check.records;
        self.checked.bytes += file.length_bytes;
        let outcome = Outcome { end, epoch: check.epoch(), is_good: check.flaws.is_empty(), is_cut: cut_at.is_some() };
        for (position, flaw) in check.flaws {
            self.tell(true, id, &file.path, Some(position), flaw);
        }
        for (position, flaw) in check.doubts {
            self.tell(false, id, &file.path, Some(position), flaw);
        }
        if let Some(position) = cut_at {
            let left_bytes = file.length_bytes.saturating_sub(position);
            self.tell(false, id, &file.path, Some(position), Flaw::TornEnd { left_bytes });
        }
        Ok(outcome)
    }
}

/// What a segment's check says to the next one.
struct Outcome {
    /// The offset behind its last good batch.
    end: Offset,
    epoch: Option<i32>,
    is_good: bool,
    is_cut: bool,
}

/// The files as recovery knows them.
fn spans(directory: &Path, files: &[SegmentFile]) -> Vec<Span> {
    let span = |file: &SegmentFile| Span {
        segment: Segment::existing(directory, file.base_offset, file.generation.unwrap_or(0)),
        length: file.length_bytes,
        end_offset: Offset::MAX,
    };
    files.iter().map(span).collect()
}

/// The rows of one segment that count.
fn rows_of(engine: &Engine, facts: &Facts, file: &SegmentFile) -> Result<Vec<Indexed>, StorageError> {
    let (from, end) = (keys::index::key(facts.id, file.base_offset), keys::index::key(facts.id, facts.known.offset));
    let mut rows = Vec::new();
    engine.scan(Family::Index, &from, &end, |key, value| {
        let row = keys::index::Row::decode(key, value).ok_or(StorageError::UnreadableRow { family: "index" })?;
        let is_of_file = row.segment_base == file.base_offset && Some(row.generation) == file.generation;
        if is_of_file && row.end_offset <= facts.known.offset {
            rows.push(Indexed { row, marks: keys::index::Block::decode(key, value).map(|block| block.marks) });
        }
        Ok(is_of_file)
    })?;
    Ok(rows)
}
