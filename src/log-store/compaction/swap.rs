//! The swap: a finished file takes the place of the segments that it stands for. One synced write is the moment at which it counts.
//!
//! Readers go on through it. Who has an older file open reads on, since its bytes are as true as before; who has only the older list of segments
//! does not find the file any more and begins again with the newer list ([`crate::PartitionLog::read`]).

use std::sync::Arc;
use std::time::Duration;

use model::Offset;
use rocksdb::WriteBatch;

use super::draft::Draft;
use super::generations::draft_path;
use super::run::CleanError;
use crate::StorageError;
use crate::keys::{self, Family};
use crate::partition_log::Inner;
use crate::recovery::pass;
use crate::segment::Segment;
use crate::view::Span;

impl Inner {
    /// Makes the file for what stands for `sources`.
    pub(super) fn create_draft(&self, sources: &[Span]) -> Result<Draft, CleanError> {
        let Some(first) = sources.first() else { return Err(CleanError::Changed) };
        let (base_offset, generation) = (first.segment.base_offset, first.segment.generation.saturating_add(1));
        let segment = Segment::existing(&self.directory(), base_offset, generation);
        // A deletion empties the directory under this lock.
        let _segments = self.segments_lock.lock();
        if self.is_deleted() {
            return Err(CleanError::Changed);
        }
        Ok(Draft::create(&self.engine, draft_path(&segment.path), base_offset, generation)?)
    }

    /// Puts a finished file into the place of `sources`, and with it the cleaner's checkpoint, if this was the last swap of the cleaning. The files of
    /// the sources are removed when they are due.
    ///
    /// IMPORTANT: the index lock, for which all partitions' appends wait, is not taken: what is written here, nobody else writes without the
    /// segments' lock. Rows of the sources were all committed before, since the cleaning ends where those begin that were not.
    pub(super) fn swap(
        &self,
        sources: &[Span],
        mut draft: Draft,
        checkpoint: Option<Offset>,
        cuts: u64,
        due: Duration,
    ) -> Result<(), CleanError> {
        let engine = &self.engine;
        let (Some(first), Some(last)) = (sources.first(), sources.last()) else { return Err(CleanError::Changed) };
        let (base, end) = (first.segment.base_offset, last.end_offset);
        let _segments = self.segments_lock.lock();
        if self.is_deleted() || self.cuts() != cuts || self.place_of(sources).is_none() {
            return Err(CleanError::Changed);
        }
        let mut batch = WriteBatch::default();
        engine.delete_range(&mut batch, Family::Index, &keys::index::key(self.id, base), &keys::index::key(self.id, end))?;
        for block in &draft.blocks {
            engine.put(&mut batch, Family::Index, &keys::index::key(self.id, block.row.base_offset), &block.encode())?;
        }
        let cleaned = keys::cleaned_segment::key;
        engine.delete_range(&mut batch, Family::Default, &cleaned(self.id, base), &cleaned(self.id, end))?;
        let row = keys::cleaned_segment::Row { base_offset: base, generation: draft.generation, end_offset: end };
        engine.put(&mut batch, Family::Default, &cleaned(self.id, base), &row.encode())?;
        // Nothing of their transactions is left.
        for marker in &draft.dropped_markers {
            engine.delete(&mut batch, Family::Default, &keys::aborted_transaction::key(self.id, *marker))?;
        }
        // All groups before this one are on the disk, so that what lies before its end is. Another writer of the row may put it back to where it was,
        // which only means that more is looked at after a power cut.
        let point = keys::recovery_point::key(self.id);
        let known = engine.row("recovery_point", &point, keys::recovery_point::Row::decode)?;
        if known.is_none_or(|known| known.offset < end) {
            let row = keys::recovery_point::Row { offset: end, segment_base: base, position: draft.length };
            engine.put(&mut batch, Family::Default, &point, &row.encode())?;
        }
        if let Some(checkpoint) = checkpoint {
            let key = keys::cleaner_checkpoint::key(self.id);
            engine.put(&mut batch, Family::Default, &key, &keys::cleaner_checkpoint::encode(checkpoint))?;
        }
        pass(engine, "compaction.before_swap", &self.directory())?;
        draft.keep();
        // Synced, but for a test that proves that it would be noticed.
        if engine.failpoints().skips("compaction.before_swap") { engine.write(batch) } else { engine.write_synced(batch) }?;
        let named = self.name(&draft);
        if named.is_err() {
            // The rows say already what the next open will find; until then readers keep the older files, and nothing may be appended.
            self.state().poisoned = true;
        }
        let segment = named?;
        segment.mark_verified(0, draft.length);
        let swapped = Span { segment, length: draft.length, end_offset: end };
        self.change_view(|view| {
            let at = view.sealed.partition_point(|span| span.segment.base_offset < base);
            Arc::make_mut(&mut view.sealed).splice(at..at + sources.len(), [swapped]);
        });
        self.tail.drop_before(end, &engine.tails);
        pass(engine, "compaction.before_retire", &self.directory())?;
        // The rows say already that they count no more, and beside the draft's name nothing depends on theirs.
        let retired = sources.iter().map(|span| self.retire(&span.segment, due)).fold(Ok(()), Result::and);
        Ok(retired?)
    }

    fn name(&self, draft: &Draft) -> Result<Arc<Segment>, StorageError> {
        pass(&self.engine, "compaction.after_swap", &self.directory())?;
        let segment = Segment::existing(&self.directory(), draft.base_offset, draft.generation);
        let named = std::fs::rename(&draft.path, &segment.path);
        named.map_err(|error| StorageError::io("name cleaned segment", &segment.path, error))?;
        pass(&self.engine, "compaction.after_rename", &self.directory())?;
        Ok(segment)
    }

    /// Where the sources are in the list, if all of them are still there. Only the end of the list may have grown meanwhile.
    fn place_of(&self, sources: &[Span]) -> Option<usize> {
        let (view, base) = (self.view(), sources.first()?.segment.base_offset);
        let at = view.sealed.partition_point(|span| span.segment.base_offset < base);
        let there = view.sealed.get(at..at + sources.len())?;
        there.iter().zip(sources).all(|(there, source)| Arc::ptr_eq(&there.segment, &source.segment)).then_some(at)
    }
}
