//! Family 14, `aborted_transaction`: the transactions of a partition that were aborted, for readers of committed data. Owner: the partition's log.
//! Written with the row of the producer after the marker; removed when the log begins behind it, is cut before it, or the partition is deleted.
//!
//! Key: 14, topic id (16), partition (4), the marker's offset (8). Value: producer id (8), first offset (8), last stable offset (8).

use model::{Offset, ProducerId, TopicIdPartition};

use super::{Fields, partition_prefix};
use crate::transactions::AbortedTransaction;

pub(crate) const ORDINAL: u8 = 14;

pub(crate) fn prefix(id: TopicIdPartition) -> Vec<u8> {
    partition_prefix(ORDINAL, id)
}

pub(crate) fn key(id: TopicIdPartition, marker: Offset) -> Vec<u8> {
    let mut key = prefix(id);
    key.extend_from_slice(&marker.get().to_be_bytes());
    key
}

pub(crate) fn encode(aborted: &AbortedTransaction) -> Vec<u8> {
    let fields = [aborted.producer_id.get(), aborted.first_offset.get(), aborted.last_stable_offset.get()];
    fields.into_iter().flat_map(i64::to_be_bytes).collect()
}

pub(crate) fn decode(key: &[u8], value: &[u8]) -> Option<AbortedTransaction> {
    let mut fields = Fields::of_key(key, ORDINAL)?;
    fields.partition()?;
    let last_offset = fields.offset()?;
    let mut fields = Fields::new(value);
    Some(AbortedTransaction {
        producer_id: ProducerId::new(fields.i64()?)?,
        first_offset: fields.offset()?,
        last_offset,
        last_stable_offset: fields.offset()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{PartitionIndex, TopicId};

    #[test]
    fn an_aborted_transactions_row_reads_as_itself() {
        let id = TopicIdPartition { topic_id: TopicId(uuid::Uuid::from_u128(7)), partition: PartitionIndex::new_or_zero(3) };
        let [first_offset, last_offset, last_stable_offset] = [5, 9, 10].map(Offset::new_or_zero);
        let aborted = AbortedTransaction { producer_id: ProducerId::new(4).unwrap(), first_offset, last_offset, last_stable_offset };
        assert_eq!(decode(&key(id, last_offset), &encode(&aborted)), Some(aborted));
        assert_eq!(decode(&key(id, last_offset), &encode(&aborted)[..20]), None);
    }
}
