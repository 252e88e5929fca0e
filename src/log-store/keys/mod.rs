//! The key families: one file each says who owns it, how its rows live and what their bytes are.
//!
//! Every key begins with its family's ordinal. IMPORTANT: ordinals are persisted; one is never changed nor used again. All numbers are
//! big-endian, so that keys sort as their numbers do. The column families are `default` (small rows, overwritten), `index` (many rows, dropped
//! in ranges) and `synced` (the metadata quorum's log).

pub(crate) mod aborted_transaction;
pub(crate) mod cleaned_segment;
pub(crate) mod cleaner_checkpoint;
pub(crate) mod index;
pub(crate) mod journal;
pub(crate) mod leader_epoch;
pub(crate) mod meta;
pub(crate) mod partition;
pub(crate) mod producer;
pub(crate) mod recovery_point;
pub(crate) mod synced_log;
pub(crate) mod truncation;

use model::{Offset, PartitionIndex, TopicId, TopicIdPartition};
use uuid::Uuid;

/// A column family of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Small rows that are overwritten.
    Default,
    /// Index rows of partitions.
    Index,
    /// Rows of the synced logs.
    Synced,
}

impl Family {
    /// All layouts so far have these. IMPORTANT: with another one comes another layout version, whose first open makes it in a directory of an older one:
    /// otherwise it counts as lost there.
    pub(crate) const ALL: [Family; 3] = [Family::Default, Family::Index, Family::Synced];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Family::Default => "default",
            Family::Index => "index",
            Family::Synced => "synced",
        }
    }
}

/// The bytes that a partition's keys of one family begin with: ordinal, topic id (16 bytes), partition (4 bytes).
pub(crate) const PARTITION_PREFIX_BYTES: usize = 21;

pub(crate) fn partition_prefix(ordinal: u8, id: TopicIdPartition) -> Vec<u8> {
    let mut key = Vec::with_capacity(PARTITION_PREFIX_BYTES + 8);
    key.push(ordinal);
    key.extend_from_slice(id.topic_id.0.as_bytes());
    key.extend_from_slice(&id.partition.get().to_be_bytes());
    key
}

/// The smallest key that is larger than all keys with the given prefix. Ordinals are far below 255, so there is one.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end
}

/// The family of a row that cannot be read. Rows whose bytes are their owner's own are not looked into.
pub(crate) fn unreadable(key: &[u8], value: &[u8]) -> Option<&'static str> {
    let (name, is_readable) = match *key.first()? {
        partition::ORDINAL => ("partition", partition::id_of(key).is_some() && partition::Row::decode(value).is_some()),
        recovery_point::ORDINAL => ("recovery_point", recovery_point::Row::decode(value).is_some()),
        producer::ORDINAL => ("producer", producer::producer_of(key).is_some() && producer::decode(value).is_some()),
        leader_epoch::ORDINAL => ("leader_epoch", leader_epoch::decode(key, value).is_some()),
        index::ORDINAL => ("index", index::Row::decode(key, value).is_some()),
        truncation::ORDINAL => ("truncation", truncation::Row::decode(value).is_some()),
        aborted_transaction::ORDINAL => ("aborted_transaction", aborted_transaction::decode(key, value).is_some()),
        cleaned_segment::ORDINAL => ("cleaned_segment", cleaned_segment::Row::decode(key, value).is_some()),
        _ => return None,
    };
    (!is_readable).then_some(name)
}

/// Reads a row's fields in order. A row that is too short gives `None`.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// A reader behind the family's ordinal.
    pub(crate) fn of_key(key: &'a [u8], ordinal: u8) -> Option<Self> {
        let mut fields = Self(key);
        (fields.u8()? == ordinal).then_some(fields)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn offset(&mut self) -> Option<Offset> {
        self.i64().and_then(Offset::new)
    }

    pub(crate) fn partition(&mut self) -> Option<TopicIdPartition> {
        let topic_id = TopicId(Uuid::from_bytes(self.array()?));
        Some(TopicIdPartition { topic_id, partition: PartitionIndex::new(self.i32()?)? })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_and_column_families_never_change() {
        let ordinals = [
            meta::ORDINAL,
            partition::ORDINAL,
            recovery_point::ORDINAL,
            producer::ORDINAL,
            leader_epoch::ORDINAL,
            index::ORDINAL,
            synced_log::ENTRY_ORDINAL,
            synced_log::VALUE_ORDINAL,
            truncation::ORDINAL,
            journal::FENCE_ORDINAL,
            journal::LIFE_ORDINAL,
            cleaned_segment::ORDINAL,
            cleaner_checkpoint::ORDINAL,
            aborted_transaction::ORDINAL,
        ];
        assert_eq!(ordinals, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
        assert_eq!(Family::ALL.map(Family::name), ["default", "index", "synced"]);
    }

    #[test]
    fn the_end_of_a_prefix_lies_behind_all_its_keys() {
        assert_eq!(prefix_end(&[1, 2]), [1, 3]);
        assert_eq!(prefix_end(&[1, 255]), [2]);
    }

    #[test]
    fn a_partitions_prefix_reads_as_itself() {
        let id = TopicIdPartition { topic_id: TopicId(Uuid::from_u128(7)), partition: PartitionIndex::new_or_zero(3) };
        let key = partition_prefix(2, id);
        assert_eq!(key.len(), PARTITION_PREFIX_BYTES);
        assert_eq!(Fields::of_key(&key, 2).unwrap().partition(), Some(id));
    }
}
