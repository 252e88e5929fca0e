//! The write of a run of batches: one `pwritev` behind the last byte, then what readers, the index and the journal must know of it.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use model::{LeaderEpoch, Offset};
use record_batch::SequencedBatch;

use crate::StorageError;
use crate::append::Outcome;
use crate::append_request::{Appended, Done};
use crate::journal::format::{Entry, Place};
use crate::partition_log::{Inner, LogState};
use crate::producer_state::ProducerUndo;
use crate::tail::{COPIED_MAX_BYTES, TailBatch};
use crate::transactions::Change;

/// Linux takes this many pieces per write (`IOV_MAX`).
const PIECES_MAX: usize = 1_024;

/// Batches that go into one segment with one write.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) batches: Vec<SequencedBatch>,
    pub(crate) size_bytes: u64,
    pub(crate) accepted: Vec<(Done, Appended)>,
    pub(crate) undo: ProducerUndo,
    /// What the batches do to the partition's transactions, in order.
    pub(crate) changes: Vec<Change>,
    pub(crate) now_ms: i64,
    /// Whether a follower writes it: then few will read it soon, and no copies are kept in memory.
    pub(crate) is_replicated: bool,
}

impl Inner {
    /// Writes the batches behind the last byte. What was not written whole is taken back.
    pub(crate) fn write(&self, state: &mut LogState, run: &Run) -> Result<(), StorageError> {
        let Some(active) = self.view().active else { return Err(StorageError::Poisoned { partition: self.id }) };
        let path = &active.segment.path;
        let file = active.segment.file(&self.engine.handles)?;
        let result = write_batches(self, &file, &run.batches, active.length);
        let Err(error) = result else { return Ok(()) };
        let error = StorageError::io("write segment", path, error);
        // A part may be in the file. IMPORTANT: it goes before anything else is written behind it.
        if file.set_len(active.length).is_err() || !error.is_out_of_space() {
            state.poisoned = true;
        }
        Err(error)
    }

    /// Shows written batches to readers and takes note of them.
    pub(crate) fn publish(&self, state: &mut LogState, run: &Run) {
        let (batches, size_bytes) = (&run.batches, run.size_bytes);
        let Some(active) = self.view().active else { return };
        let interval = self.engine.options.index_interval_bytes;
        let mut position = active.length;
        let mut added = Vec::with_capacity(batches.len());
        let mut end = active.end_offset;
        let latest = self.epochs.read().latest();
        for batch in batches {
            let header = batch.header();
            if let Some(block) = state.block.as_mut() {
                block.add(header, batch.head(), batch.tail(), self.engine.options.piece_bytes());
                if block.length() >= interval {
                    state.closed.push(block.close());
                }
            }
            if state.first_timestamp.is_none() && position == 0 {
                state.first_timestamp = Some(header.max_timestamp);
            }
            let size = batch.size_bytes();
            end = Offset::new_or_zero(header.next_offset());
            added.push(TailBatch {
                base_offset: Offset::new_or_zero(header.base_offset),
                next_offset: end,
                segment: Arc::clone(&active.segment),
                position,
                size_bytes: size,
                bytes: (size <= COPIED_MAX_BYTES && !run.is_replicated).then(|| copy(batch)),
            });
            position += u64::try_from(size).unwrap_or(0);
        }
        self.note_epochs(batches, latest);
        if !run.changes.is_empty() {
            // IMPORTANT: before the batches can be seen, so that no high watermark passes what is not known to be open.
            let mut transactions = self.transactions.lock();
            run.changes.iter().for_each(|change| transactions.apply(*change));
        }
        active.segment.mark_verified(active.length, position);
        state.unsynced_bytes += size_bytes;
        self.engine.unsynced_bytes.fetch_add(size_bytes, Ordering::Relaxed);
        self.change_view(|view| {
            if let Some(active) = view.active.as_mut() {
                (active.length, active.end_offset) = (position, end);
            }
            view.log_end = end;
        });
        self.tail.extend(added, &self.engine.tails, self.engine.options.tail_bytes_per_partition);
    }

    /// Keeps what must reach the disk before the requests are answered, if they wait for that.
    pub(crate) fn note_written(&self, state: &mut LogState, batches: Vec<SequencedBatch>, outcome: &mut Outcome) {
        let Some(active) = self.view().active else { return };
        let length = batches.iter().map(|batch| u64::try_from(batch.size_bytes()).unwrap_or(0)).sum();
        if let Some(journal) = self.engine.journal.get() {
            let place = Place {
                id: self.id,
                // Under the state's lock, like a truncation's.
                stamp: journal.tick(),
                segment_base: active.segment.base_offset,
                generation: active.segment.generation,
                position: active.length.saturating_sub(length),
                end_offset: active.end_offset,
                length,
            };
            outcome.entries.push(Entry { place, batches });
        } else if state.config.flush_messages < i64::MAX {
            let unflushed = state.unflushed.get_or_insert_default();
            unflushed.messages =
                batches.iter().map(|batch| i64::from(batch.header().last_offset_delta) + 1).fold(unflushed.messages, i64::saturating_add);
            if unflushed.segments.last().is_none_or(|last| !Arc::ptr_eq(last, &active.segment)) {
                unflushed.segments.push(active.segment);
            }
        }
    }

    fn note_epochs(&self, batches: &[SequencedBatch], latest: Option<LeaderEpoch>) {
        let newest = batches.last().map(|batch| batch.header().partition_leader_epoch);
        let mut epochs = self.epochs.write();
        if newest == latest.map(LeaderEpoch::get) && !epochs.is_assigned_only() {
            return;
        }
        for batch in batches {
            let header = batch.header();
            if let Some(epoch) = LeaderEpoch::new(header.partition_leader_epoch) {
                epochs.record(epoch, Offset::new_or_zero(header.base_offset));
            }
        }
    }
}

/// A batch in one piece of its own, so that it does not hold the request that it came in.
fn copy(batch: &SequencedBatch) -> Bytes {
    let mut bytes = BytesMut::with_capacity(batch.size_bytes());
    bytes.extend_from_slice(batch.head());
    bytes.extend_from_slice(batch.tail());
    bytes.freeze()
}

fn write_batches(log: &Inner, file: &File, batches: &[SequencedBatch], position: u64) -> io::Result<()> {
    let failpoints = log.engine.failpoints();
    failpoints.hit("append.before_write")?;
    let mut pieces: Vec<IoSlice<'_>> = Vec::with_capacity(batches.len() * 2);
    for batch in batches {
        pieces.push(IoSlice::new(batch.head()));
        pieces.push(IoSlice::new(batch.tail()));
    }
    if failpoints.is_due("append.after_partial_write") {
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        std::os::unix::fs::FileExt::write_all_at(file, all.get(..all.len() / 2).unwrap_or_default(), position)?;
    }
    failpoints.hit("append.after_partial_write")?;
    write_all(file, &mut pieces, position)?;
    failpoints.hit("append.after_write")
}

pub(crate) fn write_all(file: &File, mut pieces: &mut [IoSlice<'_>], mut position: u64) -> io::Result<()> {
    while !pieces.is_empty() {
        let group = pieces.get(..PIECES_MAX.min(pieces.len())).unwrap_or_default();
        match rustix::io::pwritev(file, group, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += u64::try_from(written).unwrap_or(0);
                IoSlice::advance_slices(&mut pieces, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
