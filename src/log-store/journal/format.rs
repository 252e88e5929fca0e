//! The bytes of a journal file: groups one behind the other, each of which was written at once.
//!
//! ```text
//! group   magic "KJ01" (4)   crc32c of all that follows (4)   number (8)   length of the entries (8)   entries
//! entry   topic id (16)   partition (4)   stamp (8)   segment's base offset (8)   its generation (4)   position in it (8)
//!         offset after the last record (8)   length of the bytes (8)   bytes: whole record batches, as they are in the segment
//! ```
//!
//! A file is used again from its beginning, so behind the newest group may lie older ones: numbers only grow, and the first group that is torn,
//! or whose number does not grow, ends the file. All numbers are big-endian.

use std::io::IoSlice;

use model::{Offset, TopicIdPartition};
use record_batch::SequencedBatch;

use crate::keys::Fields;

const MAGIC: [u8; 4] = *b"KJ01";
pub(crate) const GROUP_HEADER_BYTES: usize = 24;
pub(crate) const ENTRY_HEADER_BYTES: usize = 64;
/// Where the part of a group begins that its checksum covers.
const CHECKSUMMED_FROM: usize = 8;
/// The bytes of a batch before the part that its own checksum covers.
const UNCOVERED_BYTES: usize = 21;
/// Above this size a batch's own checksum is joined by arithmetic instead of reading the bytes once more.
const COMBINE_MIN_BYTES: usize = 16 << 10;

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
                crc = add_batch(crc, batch);
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

fn add_batch(crc: u32, batch: &SequencedBatch) -> u32 {
    let size = batch.size_bytes();
    match batch.head().get(..UNCOVERED_BYTES) {
        Some(uncovered) if size >= COMBINE_MIN_BYTES => {
            crc32c::crc32c_combine(crc32c::crc32c_append(crc, uncovered), batch.header().crc, size - UNCOVERED_BYTES)
        }
        _ => crc32c::crc32c_append(crc32c::crc32c_append(crc, batch.head()), batch.tail()),
    }
}

/// The size of a group with these entries.
pub(crate) fn group_size_bytes(entries: &[Entry]) -> u64 {
    let header = u64::try_from(GROUP_HEADER_BYTES).unwrap_or(0);
    entries.iter().map(Entry::size_bytes).fold(header, u64::saturating_add)
}

/// The size at most of the group that so many entries make, of so many bytes together.
pub(crate) fn round_size_bytes_max(entries: usize, size_bytes: u64) -> u64 {
    let heads = entries.saturating_mul(ENTRY_HEADER_BYTES).saturating_add(GROUP_HEADER_BYTES);
    size_bytes.saturating_add(u64::try_from(heads).unwrap_or(u64::MAX))
}

/// The number in a group's header; `None` if it is none.
pub(crate) fn number_of(header: &[u8]) -> Option<u64> {
    let mut fields = Fields::new(header);
    if fields.array::<4>()? != MAGIC {
        return None;
    }
    fields.u32()?;
    fields.u64()
}

/// A group that was read.
pub(crate) struct Group<'a> {
    pub(crate) number: u64,
    pub(crate) entries: Vec<(Place, &'a [u8])>,
}

/// The groups of a file, in order, as far as they are whole.
pub(crate) fn groups(mut bytes: &[u8]) -> Vec<Group<'_>> {
    let mut found: Vec<Group<'_>> = Vec::new();
    while let Some((group, rest)) = read_group(bytes) {
        if found.last().is_some_and(|last| last.number >= group.number) {
            break;
        }
        found.push(group);
        bytes = rest;
    }
    found
}

fn read_group(bytes: &[u8]) -> Option<(Group<'_>, &[u8])> {
    let (header, rest) = bytes.split_at_checked(GROUP_HEADER_BYTES)?;
    let mut fields = Fields::new(header);
    if fields.array::<4>()? != MAGIC {
        return None;
    }
    let (crc, number, length) = (fields.u32()?, fields.u64()?, fields.u64()?);
    let (body, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let computed = crc32c::crc32c_append(crc32c::crc32c(header.get(CHECKSUMMED_FROM..)?), body);
    if computed != crc {
        return None;
    }
    let mut entries = Vec::new();
    let mut left = body;
    while !left.is_empty() {
        let (head, tail) = left.split_at_checked(ENTRY_HEADER_BYTES)?;
        let place = Place::decode(head)?;
        let (bytes, tail) = tail.split_at_checked(usize::try_from(place.length).ok()?)?;
        entries.push((place, bytes));
        left = tail;
    }
    Some((Group { number, entries }, rest))
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
        let all: Vec<u8> = heads.pieces(entries).iter().flat_map(|piece| piece.to_vec()).collect();
        assert_eq!(u64::try_from(all.len()).unwrap(), group_size_bytes(entries));
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
        let whole = bytes(3, &[entry(8, 100)]);
        for place in [0, 5, 10, 20, 30, whole.len() - 1] {
            let mut torn = bytes(2, &[entry(1, 1)]);
            let start = torn.len();
            torn.extend(&whole);
            torn[start + place] ^= 1;
            assert_eq!(groups(&torn).len(), 1, "{place}");
            assert_eq!(groups(&torn[..start + place]).len(), 1, "{place}");
        }
        let mut reused = bytes(9, &[entry(8, 100)]);
        reused.extend(bytes(4, &[entry(2, 5)]));
        assert_eq!(groups(&reused).len(), 1);
    }
}
