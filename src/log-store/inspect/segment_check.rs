//! Whether the batches of one segment follow each other as they must, and whether what the index says of them is true. Pure: what lies in the file
//! comes in piece by piece, what is wrong goes out with its position.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use model::{Offset, ProducerId};
use record_batch::{BatchError, BatchHeader, BatchView, HEADER_BYTES};

use super::batch_check::{self, Density};
use super::{Flaw, RowFlaw, Step};
use crate::block::{OpenBlock, UNCOVERED_BYTES};
use crate::keys::index::{Mark, Row};
use crate::leader_epochs::LeaderEpochs;
use crate::producer_state::{ProducerEntry, WrittenBatch};

/// What a segment is held against.
pub(super) struct Expected<'a> {
    /// The offset in its name.
    pub(super) base_offset: Offset,
    /// Where the next one begins.
    pub(super) end_offset: Offset,
    pub(super) density: Density,
    /// The index rows that count, in order.
    pub(super) rows: Vec<Indexed>,
    /// The epochs' rows, and the offsets for which they stand: from the log's start to where they may lag.
    pub(super) epochs: Option<(&'a LeaderEpochs, Range<Offset>)>,
}

/// The batches that the states of producers speak of, by their first offset.
#[derive(Default)]
pub(super) struct ProducedBatches(BTreeMap<i64, (ProducerId, i16, WrittenBatch)>);

impl ProducedBatches {
    pub(super) fn add(&mut self, producer_id: ProducerId, entry: &ProducerEntry) {
        for batch in entry.batches() {
            self.0.insert(batch.first_offset.get(), (producer_id, entry.epoch.get(), *batch));
        }
    }

    /// Takes note of a batch that was found.
    fn found(&mut self, header: &BatchHeader) {
        let is_it = |(producer, epoch, batch): &(ProducerId, i16, WrittenBatch)| {
            (producer.get(), *epoch) == (header.producer_id, header.producer_epoch)
                && batch.first_sequence.get() == header.base_sequence
                && batch.last_offset.get() == header.last_offset()
        };
        if self.0.get(&header.base_offset).is_some_and(is_it) {
            self.0.remove(&header.base_offset);
        }
    }

    /// Those within a range of offsets that were not found; they are not told again.
    pub(super) fn missing(&mut self, offsets: Range<Offset>) -> Vec<(ProducerId, Offset)> {
        let within: Vec<i64> = self.0.range(offsets.start.get()..offsets.end.get()).map(|(offset, _)| *offset).collect();
        let missing = within.iter().filter_map(|offset| self.0.remove(offset));
        missing.map(|(producer, _, batch)| (producer, batch.first_offset)).collect()
    }
}

/// An index row with its marks, by which a part of its block is found and checked; `None` if they cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Indexed {
    pub(super) row: Row,
    pub(super) marks: Option<Vec<Mark>>,
}

/// The marks of a block, held against its batches one by one.
struct MarkCheck {
    rest: VecDeque<Mark>,
    /// The piece that is being read, and the checksum of it so far.
    begun: Option<Mark>,
    heads_crc: u32,
    do_fit: bool,
}

impl MarkCheck {
    fn new(marks: Option<Vec<Mark>>) -> Self {
        let do_fit = marks.is_some();
        Self { rest: marks.unwrap_or_default().into(), begun: None, heads_crc: 0, do_fit }
    }

    /// Takes a batch at a position within the block.
    fn batch(&mut self, position: u64, base_offset: i64, head: &[u8]) {
        while self.rest.front().is_some_and(|mark| u64::from(mark.position) <= position)
            && let Some(mark) = self.rest.pop_front()
        {
            self.end_piece();
            self.do_fit &= u64::from(mark.position) == position && mark.base_offset.get() == base_offset;
            (self.begun, self.heads_crc) = (Some(mark), 0);
        }
        self.heads_crc = crc32c::crc32c_append(self.heads_crc, head.get(..UNCOVERED_BYTES).unwrap_or(head));
    }

    fn end_piece(&mut self) {
        self.do_fit &= self.begun.is_none_or(|mark| mark.heads_crc == self.heads_crc);
    }

    /// Whether all of them are true.
    fn end(mut self) -> bool {
        self.end_piece();
        self.do_fit && self.rest.is_empty()
    }
}

/// A block of an index row, as far as it has been read.
struct Block {
    row: Row,
    read: OpenBlock,
    marks: MarkCheck,
    /// Whether something was wrong in it already, so that its checksum says nothing new.
    is_flawed: bool,
}

/// The check of one segment.
pub(super) struct SegmentCheck<'a> {
    expected: Expected<'a>,
    rows: VecDeque<Indexed>,
    block: Option<Block>,
    /// The offset that comes next.
    next_offset: i64,
    epoch: Option<i32>,
    pub(super) batches: u64,
    pub(super) records: u64,
    /// What is wrong, with its position.
    pub(super) flaws: Vec<(u64, Flaw)>,
    /// Gaps that no index row vouches for: a follower has them from its leader, but they may be damage as well.
    pub(super) doubts: Vec<(u64, Flaw)>,
}

impl<'a> SegmentCheck<'a> {
    /// A check that begins at the file's first byte; `epoch` is that of the batch before.
    pub(super) fn new(mut expected: Expected<'a>, epoch: Option<i32>) -> Self {
        let rows = std::mem::take(&mut expected.rows).into();
        let next_offset = expected.base_offset.get();
        Self { expected, rows, block: None, next_offset, epoch, batches: 0, records: 0, flaws: Vec::new(), doubts: Vec::new() }
    }

    /// The offset behind the last good batch.
    pub(super) fn end_offset(&self) -> Offset {
        Offset::new_or_zero(self.next_offset)
    }

    /// The epoch of the last batch.
    pub(super) fn epoch(&self) -> Option<i32> {
        self.epoch
    }

    /// Takes the batch at a position.
    pub(super) fn batch(&mut self, position: u64, batch: &BatchView<'_>, produced: &mut ProducedBatches) {
        let header = *batch.header();
        let flaws_before = self.flaws.len();
        self.begin_block(position);
        match batch_check::check(batch, self.expected.density) {
            Ok(records) => {
                self.records += records;
                self.place(position, &header);
                produced.found(&header);
            }
            Err(flaw) => {
                let is_unknown = matches!(flaw, Flaw::WrongCrc { .. });
                self.flaws.push((position, flaw));
                if !is_unknown {
                    self.place(position, &header);
                }
            }
        }
        self.batches += 1;
        // Where the checksum is wrong the offsets may be, too: the next batch says where it goes on.
        self.next_offset = self.next_offset.max(header.next_offset());
        self.add_to_block(position, batch, self.flaws.len() > flaws_before);
    }

    /// Takes bytes that are no batch, and says where the walk goes on.
    pub(super) fn bad(&mut self, position: u64, error: BatchError, left_bytes: u64) -> Step {
        self.flaws.push((position, Flaw::NoBatch { error, left_bytes }));
        self.block = None;
        while let Some(Indexed { row, .. }) = self.rows.front() {
            if row.position > position {
                self.next_offset = row.base_offset.get();
                return Step::To(row.position);
            }
            self.rows.pop_front();
        }
        Step::Stop
    }

    /// Ends the check at the file's end.
    pub(super) fn end(&mut self, length_bytes: u64) {
        let open = self.block.take().filter(|block| !block.is_flawed).map(|block| block.row);
        for row in open.into_iter().chain(std::mem::take(&mut self.rows).into_iter().map(|indexed| indexed.row)) {
            let flaw = if row.end_position() > length_bytes { RowFlaw::BehindFile } else { RowFlaw::End };
            self.flaws.push((row.position, Flaw::Row { base_offset: row.base_offset, flaw }));
        }
    }

    /// Holds a batch's offsets and epoch against those before it.
    fn place(&mut self, position: u64, header: &BatchHeader) {
        let (base_offset, last_offset) = (header.base_offset, header.last_offset());
        let (begin, end) = (self.expected.base_offset, self.expected.end_offset);
        let missing = self.next_offset..base_offset;
        if base_offset < self.next_offset {
            let last_offset = self.next_offset - 1;
            self.flaws.push((position, Flaw::OffsetsFall { base_offset, last_offset }));
        } else if last_offset >= end.get() || base_offset < begin.get() {
            self.flaws.push((position, Flaw::OutsideSegment { base_offset, last_offset, begin, end }));
        } else if self.expected.density == Density::Dense && !missing.is_empty() {
            self.doubts.push((position, Flaw::OffsetsMissing { first: missing.start, last: missing.end - 1 }));
        }
        let epoch = header.partition_leader_epoch;
        if let Some(before) = self.epoch.filter(|before| epoch < *before) {
            self.flaws.push((position, Flaw::EpochFalls { base_offset, epoch, before }));
        } else if let Some((epochs, offsets)) = &self.expected.epochs
            && self.expected.density == Density::Dense
            && offsets.contains(&Offset::new_or_zero(base_offset))
        {
            let expected = epochs.epoch_of(Offset::new_or_zero(base_offset));
            if expected.map(model::LeaderEpoch::get) != Some(epoch) {
                self.flaws.push((position, Flaw::EpochDiffers { base_offset, epoch, expected }));
            }
        }
        self.epoch = Some(epoch);
    }

    /// Begins the block of the row at this position, if there is one.
    fn begin_block(&mut self, position: u64) {
        if self.block.is_some() {
            return;
        }
        while self.rows.front().is_some_and(|indexed| indexed.row.position <= position)
            && let Some(Indexed { row, marks }) = self.rows.pop_front()
        {
            if row.position == position {
                let read = OpenBlock::new(row.segment_base, row.generation, row.base_offset, position);
                self.block = Some(Block { row, read, marks: MarkCheck::new(marks), is_flawed: false });
                return;
            }
            self.flaws.push((row.position, Flaw::Row { base_offset: row.base_offset, flaw: RowFlaw::Begin }));
        }
    }

    fn add_to_block(&mut self, position: u64, batch: &BatchView<'_>, is_flawed: bool) {
        let Some(mut block) = self.block.take() else { return };
        let (head, tail) = batch.bytes().split_at_checked(HEADER_BYTES).unwrap_or((batch.bytes(), &[]));
        block.read.add(batch.header(), head, tail, u32::MAX);
        block.marks.batch(position.saturating_sub(block.row.position), batch.header().base_offset, head);
        block.is_flawed |= is_flawed;
        let size = u64::try_from(batch.bytes().len()).unwrap_or(u64::MAX);
        let (end, row_end) = (position.saturating_add(size), block.row.end_position());
        if end < row_end {
            self.block = Some(block);
            return;
        }
        let flaw = match block.is_flawed {
            true => None,
            false if end > row_end => Some(RowFlaw::End),
            false => difference(&block.row, &block.read.close().row).or_else(|| (!block.marks.end()).then_some(RowFlaw::Marks)),
        };
        // A block whose checksum is right is as it was written, its gaps too.
        let within: Vec<_> = self.doubts.extract_if(.., |(position, _)| *position >= block.row.position).collect();
        if block.is_flawed || flaw.is_some() {
            self.flaws.extend(within);
        }
        self.flaws.extend(flaw.map(|flaw| (block.row.position, Flaw::Row { base_offset: block.row.base_offset, flaw })));
    }
}

/// What a row says otherwise than the bytes do.
fn difference(row: &Row, read: &Row) -> Option<RowFlaw> {
    if row.crc != read.crc {
        Some(RowFlaw::Crc)
    } else if (row.base_offset, row.end_offset) != (read.base_offset, read.end_offset) {
        Some(RowFlaw::Offsets)
    } else if (row.max_timestamp, row.max_timestamp_offset) != (read.max_timestamp, read.max_timestamp_offset) {
        Some(RowFlaw::MaxTimestamp)
    } else {
        None
    }
}
