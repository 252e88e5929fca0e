//! Opening a partition: which bytes count, and the state that they imply.
//!
//! 1. An intent to truncate is finished.
//! 2. The newest index row that can be trusted says where the known bytes end: written under the same boot of the operating system, bytes are
//!    there whatever became of the process; otherwise only what lies before the recovery point counts.
//! 3. From there the bytes are scanned with their checksums. The first bad batch ends the log: the file is cut, rows beyond are dropped. But what
//!    lies before the recovery point was on the disk: if it is not there, the partition is damaged, is not opened, and nothing is cut.
//! 4. Producers and epochs follow from their rows and from the headers of the scanned batches.
//!
//! After a clean stop the rows reach the end of the file: nothing is scanned and nothing is written.
//!
//! In Kafka: `LogLoader`, `LogSegment.recover`.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{LeaderEpoch, Offset, TopicIdPartition};
use record_batch::{BatchHeader, EndTxnMarker};
use rocksdb::WriteBatch;

use crate::StorageError;
use crate::block::OpenBlock;
use crate::compaction::generations::Cleaned;
use crate::engine::Engine;
use crate::keys::{self, Family};
use crate::leader_epochs::LeaderEpochs;
use crate::missing;
use crate::partition_log::write_changes;
use crate::producer_search::find_producers;
use crate::producer_state::ProducerStates;
use crate::retention::removals::DELETED_SUFFIX;
use crate::segment::{self, Segment};
use crate::transactions::{Transactions, marker_of};
use crate::view::{Span, Unindexed, View};
use crate::walk::{Next, Walker};

/// A partition as it is found on the disk.
pub(crate) struct Recovered {
    pub(crate) view: View,
    pub(crate) producers: ProducerStates,
    pub(crate) transactions: Transactions,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) block: Option<OpenBlock>,
    pub(crate) log_start: Offset,
    /// Segments with bytes behind the recovery point, which the process that wrote them may have left to the page cache.
    pub(crate) unsynced: Vec<Arc<Segment>>,
    /// Files that wait for their removal.
    pub(crate) dropped: Vec<PathBuf>,
}

/// Where the known bytes end.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) offset: Offset,
    pub(crate) segment_base: Offset,
    pub(crate) position: u64,
    /// Whether there are rows of later bytes, which do not count.
    pub(crate) has_rows_beyond: bool,
}

/// Recovers a partition, or makes its row if there is none.
pub(crate) fn recover(engine: &Engine, id: TopicIdPartition, directory: &Path) -> Result<Recovered, StorageError> {
    let key = keys::partition::key(id);
    let row = engine.row("partition", &key, keys::partition::Row::decode)?;
    let mut batch = WriteBatch::default();
    let intent = engine.row("truncation", &keys::truncation::key(id), keys::truncation::Row::decode)?;
    let cleaned = Cleaned::load(engine, id)?;
    let log_start = row.map_or(Offset::ZERO, |row| row.log_start);
    let kept = log_start..intent.map_or(Offset::MAX, |intent| intent.log_end);
    let (mut segments, dropped) = list(id, directory, &cleaned, &kept)?;
    if let Some(intent) = intent {
        cut(engine, &mut segments, &intent, directory)?;
        engine.delete(&mut batch, Family::Default, &keys::truncation::key(id))?;
    }
    drop_below(&mut segments, log_start)?;

    let (mut producers, mut epochs) = load(engine, id)?;
    let aborted = keys::aborted_transaction::prefix(id);
    let has_aborted = engine.last_at_or_before(Family::Default, &aborted, &keys::aborted_transaction::key(id, Offset::MAX))?.is_some();
    let mut replayed = Transactions::recovered(&producers, has_aborted);
    let cut_at = intent.map(|intent| intent.log_end);
    let bound = cut_at.unwrap_or(Offset::MAX);
    let recovery_point = engine.row("recovery_point", &keys::recovery_point::key(id), keys::recovery_point::Row::decode)?;
    let durable_end = recovery_point.map_or(Offset::ZERO, |point| point.offset).min(bound);
    missing::check(engine, id, directory, &segments, log_start, durable_end)?;
    let known = known_end(engine, id, row, cut_at, durable_end, &segments)?;
    let (blocks, cleaned_rows) = (Vec::new(), &cleaned);
    let mut scan = Scan {
        engine,
        id,
        known,
        bound,
        durable_end,
        point: recovery_point,
        cleaned: cleaned_rows,
        producers: &mut producers,
        epochs: &mut epochs,
        blocks,
        transactions: &mut replayed,
    };
    let end = scan.run(&mut segments)?;
    if end.offset < durable_end && log_start < durable_end {
        return Err(StorageError::Shortened { partition: id, directory: directory.to_owned(), end: end.offset, durable_end });
    }
    let blocks = std::mem::take(&mut scan.blocks);

    // Rows beyond the known bytes are replaced by those of the scan.
    if known.has_rows_beyond {
        let stale = keys::index::key(id, known.offset);
        engine.delete_range(&mut batch, Family::Index, &stale, &keys::prefix_end(&keys::index::prefix(id)))?;
    }
    for block in &blocks {
        engine.put(&mut batch, Family::Index, &keys::index::key(id, block.row.base_offset), &block.encode())?;
    }
    let log_end = end.offset.max(log_start);
    let is_shortened = cleaned.clip(engine, &mut batch, id, log_start..log_end)?;
    epochs.cut(log_end);
    epochs.begin_at(log_start);
    let cut_producers = producers.cut(log_end);
    if !cut_producers.is_empty() {
        let found = find_producers(engine, id, &segments, &cut_producers)?;
        producers.take_over(&cut_producers, found, !cleaned.is_empty());
    }
    let mut transactions = Transactions::recovered(&producers, false).with_aborted_of(replayed);
    if known.has_rows_beyond {
        let stale = keys::aborted_transaction::key(id, log_end);
        engine.delete_range(&mut batch, Family::Default, &stale, &keys::prefix_end(&aborted))?;
    }
    write_changes(engine, &mut batch, id, (&mut producers, &mut transactions, &mut epochs))?;
    if row.is_none() || !batch.is_empty() {
        let row = keys::partition::Row { deleting: false, log_start, log_end, boot: engine.boot };
        engine.put(&mut batch, Family::Default, &key, &row.encode())?;
    }
    if intent.is_some() || is_shortened {
        engine.write_synced(batch)?;
    } else if !batch.is_empty() {
        engine.write(batch)?;
        if row.is_some() || !segments.is_empty() {
            engine.owe_sync();
        }
    }
    if row.is_none() {
        pass(engine, "create.after_row", directory)?;
    }
    let unsynced: Vec<_> = segments.iter().filter(|span| span.end_offset > durable_end).map(|span| Arc::clone(&span.segment)).collect();
    // Nor their names.
    unsynced.iter().for_each(|segment| segment.entry_synced.store(false, Ordering::Release));
    let assembled = assemble(engine, segments, epochs, log_start, log_end);
    Ok(Recovered { unsynced, dropped, producers, transactions, ..assembled })
}

/// What follows from the segments; the rest is the caller's.
fn assemble(engine: &Engine, segments: Vec<Span>, epochs: LeaderEpochs, log_start: Offset, log_end: Offset) -> Recovered {
    let mut sealed = segments;
    let mut active = sealed.pop();
    // The log may begin behind all its bytes; then the next append begins a segment.
    if let Some(last) = active.take_if(|last| last.end_offset < log_end) {
        sealed.push(last);
    }
    let unindexed = Unindexed {
        segment_base: active.as_ref().map_or(log_end, |active| active.segment.base_offset),
        offset: log_end,
        position: active.as_ref().map_or(0, |active| active.length),
    };
    let block = active.as_ref().map(|active| {
        let segment = &active.segment;
        OpenBlock::new(segment.base_offset, segment.generation, log_end, active.length)
    });
    let sealed = if sealed.is_empty() { Arc::clone(&engine.no_segments) } else { Arc::new(sealed) };
    Recovered {
        view: View { sealed, active, log_end, unindexed },
        producers: ProducerStates::default(),
        transactions: Transactions::default(),
        epochs,
        block,
        log_start,
        unsynced: Vec::new(),
        dropped: Vec::new(),
    }
}

pub(crate) fn pass(engine: &Engine, name: &'static str, path: &Path) -> Result<(), StorageError> {
    engine.failpoints().hit(name).map_err(|error| StorageError::io("pass failpoint at", path, error))
}

/// The segment files in order, with their lengths, and those that wait for their removal. An end offset is only known where another segment follows.
fn list(
    id: TopicIdPartition,
    directory: &Path,
    cleaned: &Cleaned,
    kept: &std::ops::Range<Offset>,
) -> Result<(Vec<Span>, Vec<PathBuf>), StorageError> {
    let fail = |error| StorageError::io("read", directory, error);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        Err(error) => return Err(fail(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(fail)?.file_name());
    }
    let (dropped, names): (Vec<_>, Vec<_>) = names.iter().filter_map(|name| name.to_str()).partition(|name| name.ends_with(DELETED_SUFFIX));
    let mut files = Vec::new();
    for (base, generation) in cleaned.settle(id, directory, &names, kept)? {
        let path = directory.join(segment::file_name(base, generation));
        files.push((base, generation, std::fs::metadata(&path).map_err(fail)?.len()));
    }
    files.sort_unstable();
    // Of two generations the newer one counts.
    files.reverse();
    files.dedup_by_key(|(base, ..)| *base);
    files.reverse();
    let bases: Vec<_> = files.iter().map(|(base, ..)| *base).collect();
    let ends = bases.into_iter().skip(1).chain([Offset::MAX]);
    let spans = files.into_iter().zip(ends).map(|((base, generation, length), end_offset)| Span {
        segment: Segment::existing(directory, base, generation),
        length,
        end_offset,
    });
    Ok((spans.collect(), dropped.iter().map(|name| directory.join(name)).collect()))
}

pub(crate) fn unlink(path: &Path) -> Result<(), StorageError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StorageError::io("remove segment", path, error)),
        _ => Ok(()),
    }
}

/// Removes segments that end at or before the log start, but never the last one.
fn drop_below(segments: &mut Vec<Span>, log_start: Offset) -> Result<(), StorageError> {
    let dead = segments.iter().take_while(|span| span.end_offset <= log_start).count();
    for span in segments.drain(..dead) {
        unlink(&span.segment.path)?;
    }
    Ok(())
}

/// Carries out an intent to truncate, as often as need be: the cut is on the disk when this returns.
pub(crate) fn cut(engine: &Engine, segments: &mut Vec<Span>, intent: &keys::truncation::Row, directory: &Path) -> Result<(), StorageError> {
    let mut has_changed = false;
    while let Some(span) = segments.pop_if(|span| span.segment.base_offset > intent.segment_base) {
        unlink(&span.segment.path)?;
        has_changed = true;
    }
    if let Some(last) = segments.last_mut().filter(|last| last.segment.base_offset == intent.segment_base) {
        last.end_offset = Offset::MAX;
        if last.length > intent.position {
            cut_file(engine, last, intent.position, directory)?;
        }
        for generation in 0..last.segment.generation {
            unlink(&directory.join(segment::file_name(intent.segment_base, generation)))?;
        }
        has_changed = true;
    }
    if has_changed {
        segment::sync_directory(directory).map_err(|error| StorageError::io("sync", directory, error))?;
    }
    pass(engine, "truncate.after_cut", directory)
}

/// Cuts a segment's file. One that has another link (a snapshot's) keeps its bytes: what is kept is copied to a new generation.
fn cut_file(engine: &Engine, span: &mut Span, length: u64, directory: &Path) -> Result<(), StorageError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |error| StorageError::io("truncate segment", &path, error)
    };
    let path = &span.segment.path;
    let file = span.segment.file(&engine.handles)?;
    if file.metadata().map_err(fail(path))?.nlink() == 1 {
        file.set_len(length).and_then(|()| file.sync_data()).map_err(fail(path))?;
    } else {
        let next = Segment::existing(directory, span.segment.base_offset, span.segment.generation.saturating_add(1));
        // IMPORTANT: under another name until it is whole, since of two generations the newer one counts.
        let draft = next.path.with_extension("draft");
        let copy = || {
            let mut kept = File::open(path)?.take(length);
            let mut target = File::create(&draft)?;
            io::copy(&mut kept, &mut target)?;
            target.sync_data()?;
            std::fs::rename(&draft, &next.path)
        };
        copy().map_err(fail(&draft))?;
        span.segment = next;
    }
    span.segment.cut_verified(length);
    span.length = length;
    Ok(())
}

/// Producers and epochs as their rows have them.
pub(crate) fn load(engine: &Engine, id: TopicIdPartition) -> Result<(ProducerStates, LeaderEpochs), StorageError> {
    let mut producers = ProducerStates::default();
    let prefix = keys::producer::prefix(id);
    engine.scan(Family::Default, &prefix, &keys::prefix_end(&prefix), |key, value| {
        let entry = keys::producer::producer_of(key).zip(keys::producer::decode(value));
        let (producer, entry) = entry.ok_or(StorageError::UnreadableRow { family: "producer" })?;
        producers.load(producer, entry);
        Ok(true)
    })?;
    let mut epochs = Vec::new();
    let prefix = keys::leader_epoch::prefix(id);
    engine.scan(Family::Default, &prefix, &keys::prefix_end(&prefix), |key, value| {
        let entry = keys::leader_epoch::decode(key, value);
        epochs.push(entry.ok_or(StorageError::UnreadableRow { family: "leader_epoch" })?);
        Ok(true)
    })?;
    Ok((producers, LeaderEpochs::from_rows(epochs)))
}

/// The end of the newest index row that can be trusted.
pub(crate) fn known_end(
    engine: &Engine,
    id: TopicIdPartition,
    row: Option<keys::partition::Row>,
    bound: Option<Offset>,
    durable_end: Offset,
    segments: &[Span],
) -> Result<Known, StorageError> {
    let first = segments.first().map_or(Offset::ZERO, |span| span.segment.base_offset);
    let mut known = Known { offset: first, segment_base: first, position: 0, has_rows_beyond: false };
    let is_same_boot = row.is_some_and(|row| engine.is_same_boot(row.boot));
    let mut limit = if is_same_boot { Offset::MAX } else { durable_end };
    limit = limit.min(bound.unwrap_or(Offset::MAX));
    let prefix = keys::index::prefix(id);
    // Without a limit the first row looked at is the last one there is; with one there may be rows behind it.
    known.has_rows_beyond = limit != Offset::MAX;
    let mut key = keys::index::key(id, limit);
    while let Some((row_key, value)) = engine.last_at_or_before(Family::Index, &prefix, &key)? {
        let row = keys::index::Row::decode(&row_key, &value).ok_or(StorageError::UnreadableRow { family: "index" })?;
        let is_there = |span: &&Span| {
            let segment = &span.segment;
            segment.base_offset == row.segment_base && segment.generation == row.generation && span.length >= row.end_position()
        };
        if row.end_offset <= limit && segments.iter().any(|span| is_there(&span)) {
            (known.offset, known.segment_base, known.position) = (row.end_offset, row.segment_base, row.end_position());
            return Ok(known);
        }
        known.has_rows_beyond = true;
        if row.end_offset <= limit && is_same_boot && bound.is_none() {
            // Bytes are gone that a process's death cannot take: the disk itself was cut off, so only what was synced counts.
            limit = limit.min(durable_end);
        }
        let Some(before) = row.base_offset.get().checked_sub(1).and_then(Offset::new) else { break };
        key = keys::index::key(id, limit.min(before));
    }
    Ok(known)
}

/// The scan of the bytes behind the known ones.
struct Scan<'a> {
    engine: &'a Engine,
    id: TopicIdPartition,
    known: Known,
    /// The log ends here at the latest.
    bound: Offset,
    /// What lies before it was on the disk: it is damaged if it is not there, and nothing is cut then.
    durable_end: Offset,
    point: Option<keys::recovery_point::Row>,
    cleaned: &'a Cleaned,
    producers: &'a mut ProducerStates,
    epochs: &'a mut LeaderEpochs,
    /// The scanned blocks.
    blocks: Vec<keys::index::Block>,
    /// What the rows know of, carried on batch by batch.
    transactions: &'a mut Transactions,
}

impl Scan<'_> {
    /// Scans, cuts at the first bad batch, and sets lengths and end offsets. Returns the log's end.
    fn run(&mut self, segments: &mut Vec<Span>) -> Result<Known, StorageError> {
        let mut end = self.known;
        let mut index = segments.iter().take_while(|span| span.segment.base_offset < self.known.segment_base).count();
        let mut position = self.known.position;
        while let Some(span) = segments.get_mut(index) {
            // A segment begins where the last one ended, which of a cleaned one its row says.
            if position == 0 && span.segment.base_offset != end.offset && index > 0 {
                self.may_end_at(end.offset, &span.segment, 0)?;
                self.remove_from(segments, index)?;
                break;
            }
            if position == 0 {
                end.offset = end.offset.max(span.segment.base_offset);
            }
            let is_whole = self.scan_segment(span, position, &mut end)?;
            if let Some(stands_until) = self.cleaned.end_of(&span.segment).filter(|_| is_whole) {
                end.offset = end.offset.max(stands_until.min(self.bound));
            }
            span.end_offset = end.offset;
            index += 1;
            position = 0;
            if !is_whole {
                self.remove_from(segments, index)?;
                break;
            }
        }
        Ok(end)
    }

    /// `Err` if the log would end before what was on the disk.
    fn may_end_at(&self, end: Offset, segment: &Segment, position: u64) -> Result<(), StorageError> {
        if end < self.durable_end { Err(crate::walk::corrupt(self.id, segment, position)) } else { Ok(()) }
    }

    fn remove_from(&self, segments: &mut Vec<Span>, index: usize) -> Result<(), StorageError> {
        segments.drain(index..).try_for_each(|span| unlink(&span.segment.path))
    }

    /// Scans a segment from a position on. `false` if it was cut.
    fn scan_segment(&mut self, span: &mut Span, position: u64, end: &mut Known) -> Result<bool, StorageError> {
        let segment = Arc::clone(&span.segment);
        let mut block = OpenBlock::new(segment.base_offset, segment.generation, end.offset, position);
        let mut walker = Walker::new(self.engine, &segment, position, span.length);
        let cleaned_until = self.cleaned.end_of(&segment);
        let is_whole = loop {
            let header = match walker.peek()? {
                Next::Batch(header) if header.base_offset >= end.offset.get() => header,
                Next::End => break true,
                Next::Batch(_) | Next::Bad => break false,
            };
            let Some(bytes) = walker.whole(&header)? else { break false };
            let (head, tail) = bytes.split_at_checked(record_batch::HEADER_BYTES).unwrap_or((bytes, &[]));
            block.add(&header, head, tail, self.engine.options.piece_bytes());
            let marker = if header.attributes.is_control() { marker_of(bytes) } else { None };
            // What was appended to it since, where a truncation had cut it, is as it was written.
            let is_cleaned = cleaned_until.is_some_and(|end| header.base_offset < end.get());
            self.note(&header, marker.as_ref(), is_cleaned);
            if block.length() >= self.engine.options.index_interval_bytes {
                self.blocks.push(block.close());
            }
            walker.skip(&header);
            end.offset = Offset::new_or_zero(header.next_offset());
        };
        if !block.is_empty() {
            self.blocks.push(block.close());
        }
        let good = walker.position();
        if !is_whole {
            // All bytes before the recovery point are there. Where a truncation cut a cleaned segment, its last batch may end before that.
            if self.point.is_some_and(|point| point.segment_base == segment.base_offset && good >= point.position) {
                end.offset = end.offset.max(self.durable_end);
            }
            self.may_end_at(end.offset, &segment, good)?;
            let file = OpenOptions::new().write(true).open(&segment.path);
            file.and_then(|file| file.set_len(good)).map_err(|error| StorageError::io("truncate segment", &segment.path, error))?;
        }
        segment.cut_verified(position);
        segment.mark_verified(position, good);
        span.length = good;
        (end.segment_base, end.position) = (segment.base_offset, good);
        Ok(is_whole)
    }

    fn note(&mut self, header: &BatchHeader, marker: Option<&EndTxnMarker>, is_cleaned: bool) {
        // Rows of all producers were there before a batch could be cleaned. What is left of it may be behind them.
        if !is_cleaned {
            let change = self.producers.record(header, marker, None, None);
            change.into_iter().for_each(|change| self.transactions.apply(change));
        }
        if let Some(epoch) = LeaderEpoch::new(header.partition_leader_epoch) {
            self.epochs.record(epoch, Offset::new_or_zero(header.base_offset));
        }
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
