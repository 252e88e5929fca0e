//! The bytes of a journal file: groups one behind the other, each of which begins at a block of 4 KiB.
//!
//! ```text
//! group   magic "KJ02" (4)   crc32c of what follows (4)       number (8)   length of the entries (8)   entries
//! entry   topic id (16)   partition (4)   stamp (8)   segment's base offset (8)   its generation (4)   position in it (8)
//!         offset after the last record (8)   length of the bytes (8)   bytes: whole record batches, as they are in the segment
//! ```
//!
//! The group's checksum covers of a batch only the first 21 bytes, since the batch's own covers the rest. What lies between a group's end and the
//! next block is zero. (Under the magic "KJ01" of earlier versions the checksum covered everything, and the next group followed at once.)
//! A file is used again from its beginning, so behind the newest group may lie older ones: numbers only grow, and the first group that is torn,
//! or whose number does not grow, ends the file. All numbers are big-endian.

use std::io::IoSlice;

use model::{Offset, TopicIdPartition};
use record_batch::{BatchIter, BatchView, SequencedBatch};

use super::aligned::{BLOCK, BLOCK_BYTES};
use crate::keys::Fields;

const MAGIC: [u8; 4] = *b"KJ02";
/// The same without blocks.
const MAGIC_UNALIGNED: [u8; 4] = *b"KJ01";
pub(crate) const GROUP_HEADER_BYTES: usize = 24;
pub(crate) const ENTRY_HEADER_BYTES: usize = 64;
/// Where the part of a group begins that its checksum covers.
const CHECKSUMMED_FROM: usize = 8;
/// The bytes of a batch before the part that its own checksum covers.
const UNCOVERED_BYTES: usize = 21;

/// Whose bytes an entry holds and where they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) id: TopicIdPartition,
    /// The journal's clock when the bytes were appended; it says what came first within a partition.
    pub(crate) stamp: u64,
    pub(crate) segment_base: Offset,
    pub(crate) generation: u32,
    pub(crate) position: u64,
    /// The offset after the last record.
    pub(crate) end_offset: Offset,
    pub(crate) length: u64,
}

/// Batches that were written to a segment together, on their way to the journal.
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) batches: Vec<SequencedBatch>,
}

impl Entry {
    pub(crate) fn size_bytes(&self) -> u64 {
        self.place.length.saturating_add(u64::try_from(ENTRY_HEADER_BYTES).unwrap_or(0))
    }
}

impl Place {
    fn encode(&self) -> [u8; ENTRY_HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(ENTRY_HEADER_BYTES);
        bytes.extend_from_slice(self.id.topic_id.0.as_bytes());
        bytes.extend_from_slice(&self.id.partition.get().to_be_bytes());
        bytes.extend_from_slice(&self.stamp.to_be_bytes());
        bytes.extend_from_slice(&self.segment_base.get().to_be_bytes());
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&self.position.to_be_bytes());
        bytes.extend_from_slice(&self.end_offset.get().to_be_bytes());
        bytes.extend_from_slice(&self.length.to_be_bytes());
        bytes.try_into().unwrap_or([0; ENTRY_HEADER_BYTES])
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        Some(Self {
            id: fields.partition()?,
            stamp: fields.u64()?,
            segment_base: fields.offset()?,
            generation: fields.u32()?,
            position: fields.u64()?,
            end_offset: fields.offset()?,
            length: fields.u64()?,
        })
    }
}

/// The heads of a group and of its entries; the batches' own bytes are not copied.
pub(crate) struct GroupHeads {
    group: [u8; GROUP_HEADER_BYTES],
    entries: Vec<[u8; ENTRY_HEADER_BYTES]>,
}

impl GroupHeads {
    pub(crate) fn new(number: u64, entries: &[Entry]) -> Self {
        let heads: Vec<_> = entries.iter().map(|entry| entry.place.encode()).collect();
        let length: u64 = entries.iter().map(Entry::size_bytes).sum();
        let mut crc = crc32c::crc32c(&number.to_be_bytes());
        crc = crc32c::crc32c_append(crc, &length.to_be_bytes());
        for (head, entry) in heads.iter().zip(entries) {
            crc = crc32c::crc32c_append(crc, head);
            for batch in &entry.batches {
                crc = crc32c::crc32c_append(crc, batch.head().get(..UNCOVERED_BYTES).unwrap_or_default());
            }
        }
        let mut group = Vec::with_capacity(GROUP_HEADER_BYTES);
        group.extend_from_slice(&MAGIC);
        group.extend_from_slice(&crc.to_be_bytes());
        group.extend_from_slice(&number.to_be_bytes());
        group.extend_from_slice(&length.to_be_bytes());
        Self { group: group.try_into().unwrap_or([0; GROUP_HEADER_BYTES]), entries: heads }
    }

    /// The group in the pieces that a vectored write takes.
    pub(crate) fn pieces<'a>(&'a self, entries: &'a [Entry]) -> Vec<IoSlice<'a>> {
        let mut pieces = vec![IoSlice::new(&self.group)];
        for (head, entry) in self.entries.iter().zip(entries) {
            pieces.push(IoSlice::new(head));
            for batch in &entry.batches {
                pieces.push(IoSlice::new(batch.head()));
                pieces.push(IoSlice::new(batch.tail()));
            }
        }
        pieces
    }
}

/// The size of a group with these entries.
pub(crate) fn group_size_bytes(entries: &[Entry]) -> u64 {
    let header = u64::try_from(GROUP_HEADER_BYTES).unwrap_or(0);
    entries.iter().map(Entry::size_bytes).fold(header, u64::saturating_add)
}

/// The size at most, in whole blocks, of the group that so many entries make, of so many bytes together.
pub(crate) fn round_size_bytes_max(entries: usize, size_bytes: u64) -> u64 {
    let heads = entries.saturating_mul(ENTRY_HEADER_BYTES).saturating_add(GROUP_HEADER_BYTES);
    let size = size_bytes.saturating_add(u64::try_from(heads).unwrap_or(u64::MAX));
    size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

/// The number in a group's header; `None` if it is none.
pub(crate) fn number_of(header: &[u8]) -> Option<u64> {
    let mut fields = Fields::new(header);
    if !matches!(fields.array::<4>()?, MAGIC | MAGIC_UNALIGNED) {
        return None;
    }
    fields.u32()?;
    fields.u64()
}

/// A group that was read.
pub(crate) struct Group<'a> {
    pub(crate) number: u64,
    is_aligned: bool,
    pub(crate) entries: Vec<(Place, &'a [u8])>,
}

/// The groups of a file, in order, as far as they are whole.
pub(crate) fn groups(file: &[u8]) -> Vec<Group<'_>> {
    let mut found: Vec<Group<'_>> = Vec::new();
    let mut position = 0;
    while let Some((group, end)) = file.get(position..).and_then(read_group) {
        if found.last().is_some_and(|last| last.number >= group.number) {
            break;
        }
        position = if group.is_aligned { (position + end).next_multiple_of(BLOCK_BYTES) } else { position + end };
        found.push(group);
    }
    found
}

/// The group at the beginning, and where it ends.
fn read_group(bytes: &[u8]) -> Option<(Group<'_>, usize)> {
    let (header, rest) = bytes.split_at_checked(GROUP_HEADER_BYTES)?;
    let mut fields = Fields::new(header);
    let is_aligned = match fields.array::<4>()? {
        MAGIC => true,
        MAGIC_UNALIGNED => false,
        _ => return None,
    };
    let (crc, number, length) = (fields.u32()?, fields.u64()?, fields.u64()?);
    let body = rest.get(..usize::try_from(length).ok()?)?;
    let mut computed = crc32c::crc32c(header.get(CHECKSUMMED_FROM..)?);
    if !is_aligned {
        computed = crc32c::crc32c_append(computed, body);
    }
    let mut entries = Vec::new();
    let mut left = body;
    while !left.is_empty() {
        let (head, tail) = left.split_at_checked(ENTRY_HEADER_BYTES)?;
        let place = Place::decode(head)?;
        let (bytes, tail) = tail.split_at_checked(usize::try_from(place.length).ok()?)?;
        if is_aligned {
            computed = add_batches(crc32c::crc32c_append(computed, head), bytes)?;
        }
        entries.push((place, bytes));
        left = tail;
    }
    if computed != crc {
        return None;
    }
    Some((Group { number, is_aligned, entries }, GROUP_HEADER_BYTES + body.len()))
}

/// Adds what the group's checksum covers of an entry's batches; `None` unless they are whole.
fn add_batches(mut crc: u32, bytes: &[u8]) -> Option<u32> {
    let mut size = 0;
    for view in BatchIter::new(bytes) {
        let view = view.ok().filter(BatchView::crc_is_valid)?;
        crc = crc32c::crc32c_append(crc, view.bytes().get(..UNCOVERED_BYTES)?);
        size += view.bytes().len();
    }
    (size == bytes.len()).then_some(crc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{LeaderEpoch, PartitionIndex, TopicId};
    use record_batch::{BatchBuilder, CheckedBatch};

    fn entry(stamp: u64, value_bytes: usize) -> Entry {
        let mut builder = BatchBuilder::new();
        builder.append(5, None, Some(&vec![7; value_bytes]), &[]);
        let batch = CheckedBatch::from_trusted(builder.build()).unwrap().into_sequenced(Offset::ZERO, LeaderEpoch::ZERO, None);
        let id = TopicIdPartition { topic_id: TopicId(uuid::Uuid::from_u128(3)), partition: PartitionIndex::new_or_zero(2) };
        let length = u64::try_from(batch.size_bytes()).unwrap();
        let (segment_base, end_offset) = (Offset::new_or_zero(40), Offset::new_or_zero(41));
        let place = Place { id, stamp, segment_base, generation: 1, position: 77, end_offset, length };
        Entry { place, batches: vec![batch] }
    }

    fn bytes(number: u64, entries: &[Entry]) -> Vec<u8> {
        let heads = GroupHeads::new(number, entries);
        let mut all: Vec<u8> = heads.pieces(entries).iter().flat_map(|piece| piece.to_vec()).collect();
        assert_eq!(u64::try_from(all.len()).unwrap(), group_size_bytes(entries));
        all.resize(all.len().next_multiple_of(BLOCK_BYTES), 0);
        all
    }

    #[test]
    fn groups_read_as_they_were_written_whatever_the_batches_sizes() {
        let entries = [entry(8, 10), entry(9, 100_000)];
        let mut file = bytes(3, &entries);
        file.extend(bytes(5, &[entry(10, 1)]));
        file.extend([0; 100]);
        let found = groups(&file);
        assert_eq!(found.iter().map(|group| group.number).collect::<Vec<_>>(), [3, 5]);
        assert_eq!(found[0].entries.iter().map(|(place, _)| *place).collect::<Vec<_>>(), entries.map(|entry| entry.place));
        assert_eq!(found[0].entries[1].1, &entry(9, 100_000).batches[0].to_bytes()[..]);
    }

    #[test]
    fn a_torn_group_and_one_of_an_earlier_use_end_the_file() {
        let entries = [entry(8, 100)];
        let whole = bytes(3, &entries);
        for place in [0, 5, 10, 20, 30, 95, 120, usize::try_from(group_size_bytes(&entries)).unwrap() - 1] {
            let mut torn = bytes(2, &[entry(1, 1)]);
            let start = torn.len();
            torn.extend(&whole);
            torn[start + place] ^= 1;
            assert_eq!(groups(&torn).len(), 1, "{place}");
            assert_eq!(groups(&torn[..start + place]).len(), 1, "{place}");
        }
        let mut unaligned = bytes(2, &[entry(1, 1)]);
        unaligned.truncate(usize::try_from(group_size_bytes(&[entry(1, 1)])).unwrap());
        unaligned[..4].copy_from_slice(&MAGIC_UNALIGNED);
        let crc = crc32c::crc32c(&unaligned[CHECKSUMMED_FROM..]);
        unaligned[4..8].copy_from_slice(&crc.to_be_bytes());
        unaligned.extend(&whole);
        assert_eq!(groups(&unaligned).len(), 2, "files of before there were blocks");
        let mut reused = bytes(9, &[entry(8, 100)]);
        reused.extend(bytes(4, &[entry(2, 5)]));
        assert_eq!(groups(&reused).len(), 1);
    }
}
