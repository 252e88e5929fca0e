//! Family 4, `producer`: the last batches of each idempotent producer of a partition, by which a retry is known. Owner: the partition's log.
//! Written with each index commit if it changed; removed when the producer expires or the partition is deleted; rebuilt from batch headers
//! where the bytes are newer or were cut.
//!
//! Key: 4, topic id (16), partition (4), producer id (8). Value: epoch (2), time of the last append (8, -1 = unknown), number of batches (1,
//! at most 5), then per batch, oldest first: first sequence (4), last sequence (4), first offset (8), last offset (8), timestamp (8). Then, of who has
//! written in transactions: first offset of the open one (8, -1 = none), whether there was a marker (1), and of the last one: first offset of its
//! transaction (8, -1 = none), offset (8), coordinator epoch (4).

use model::{Offset, ProducerEpoch, ProducerId, Sequence, TopicIdPartition};

use super::{Fields, partition_prefix};
use crate::producer_state::{LastEnd, ProducerEntry, WrittenBatch};

pub(crate) const ORDINAL: u8 = 4;

pub(crate) fn prefix(id: TopicIdPartition) -> Vec<u8> {
    partition_prefix(ORDINAL, id)
}

pub(crate) fn key(id: TopicIdPartition, producer: ProducerId) -> Vec<u8> {
    let mut key = prefix(id);
    key.extend_from_slice(&producer.get().to_be_bytes());
    key
}

pub(crate) fn producer_of(key: &[u8]) -> Option<ProducerId> {
    let mut fields = Fields::of_key(key, ORDINAL)?;
    fields.partition()?;
    ProducerId::new(fields.i64()?)
}

pub(crate) fn encode(entry: &ProducerEntry) -> Vec<u8> {
    let batches = entry.batches();
    let mut value = Vec::with_capacity(11 + batches.len() * 32);
    value.extend_from_slice(&entry.epoch.get().to_be_bytes());
    value.extend_from_slice(&entry.last_append_ms.unwrap_or(-1).to_be_bytes());
    value.push(u8::try_from(batches.len()).unwrap_or(u8::MAX));
    for batch in batches {
        value.extend_from_slice(&batch.first_sequence.get().to_be_bytes());
        value.extend_from_slice(&batch.last_sequence.get().to_be_bytes());
        value.extend_from_slice(&batch.first_offset.get().to_be_bytes());
        value.extend_from_slice(&batch.last_offset.get().to_be_bytes());
        value.extend_from_slice(&batch.timestamp.to_be_bytes());
    }
    if entry.open_from.is_some() || entry.last_end.is_some() {
        value.extend_from_slice(&Offset::to_wire(entry.open_from).to_be_bytes());
        value.push(u8::from(entry.last_end.is_some()));
    }
    if let Some(last) = entry.last_end {
        value.extend_from_slice(&Offset::to_wire(last.first_offset).to_be_bytes());
        value.extend_from_slice(&last.marker.get().to_be_bytes());
        value.extend_from_slice(&last.coordinator_epoch.to_be_bytes());
    }
    value
}

pub(crate) fn decode(value: &[u8]) -> Option<ProducerEntry> {
    let mut fields = Fields::new(value);
    let epoch = ProducerEpoch::new(fields.i16()?)?;
    let last_append_ms = fields.i64().filter(|time| *time >= 0);
    let count = fields.u8()?;
    let mut entry = ProducerEntry::new(epoch, last_append_ms);
    for _ in 0..count {
        entry.push(WrittenBatch {
            first_sequence: Sequence::new(fields.i32()?)?,
            last_sequence: Sequence::new(fields.i32()?)?,
            first_offset: Offset::new(fields.i64()?)?,
            last_offset: Offset::new(fields.i64()?)?,
            timestamp: fields.i64()?,
        });
    }
    // Rows that were written before there were transactions end here.
    if !fields.is_empty() {
        entry.open_from = Offset::new(fields.i64()?);
        if fields.u8()? != 0 {
            let first_offset = Offset::new(fields.i64()?);
            entry.last_end = Some(LastEnd { first_offset, marker: fields.offset()?, coordinator_epoch: fields.i32()? });
        }
    }
    Some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producers_row_reads_as_itself() {
        let mut entry = ProducerEntry::new(ProducerEpoch::new_or_zero(3), None);
        for number in 0..5 {
            entry.push(WrittenBatch {
                first_sequence: Sequence::new_or_zero(number),
                last_sequence: Sequence::new_or_zero(number),
                first_offset: Offset::new_or_zero(i64::from(number)),
                last_offset: Offset::new_or_zero(i64::from(number)),
                timestamp: -1,
            });
        }
        assert_eq!(decode(&encode(&entry)), Some(entry.clone()));
        assert_eq!(decode(&encode(&entry)[..20]), None);
        entry.open_from = Some(Offset::new_or_zero(4));
        assert_eq!(decode(&encode(&entry)), Some(entry.clone()));
        entry.last_end = Some(LastEnd { first_offset: None, marker: Offset::new_or_zero(3), coordinator_epoch: 7 });
        assert_eq!(decode(&encode(&entry)), Some(entry.clone()));
        assert_eq!(decode(&encode(&entry)[..180]), None);
    }
}
