//! Family 5, `leader_epoch`: the first offset of each leader epoch that wrote to a partition (KIP-101). Owner: the partition's log. Written with
//! the index commit that covers the epoch's first batch; removed by truncation and with the partition; rebuilt from batch headers.
//!
//! Key: 5, topic id (16), partition (4), epoch (4). Value: first offset (8).

use model::{LeaderEpoch, Offset, TopicIdPartition};

use super::{Fields, partition_prefix};

pub(crate) const ORDINAL: u8 = 5;

pub(crate) fn prefix(id: TopicIdPartition) -> Vec<u8> {
    partition_prefix(ORDINAL, id)
}

pub(crate) fn key(id: TopicIdPartition, epoch: LeaderEpoch) -> Vec<u8> {
    let mut key = prefix(id);
    key.extend_from_slice(&epoch.get().to_be_bytes());
    key
}

pub(crate) fn encode(start: Offset) -> [u8; 8] {
    start.get().to_be_bytes()
}

pub(crate) fn decode(key: &[u8], value: &[u8]) -> Option<(LeaderEpoch, Offset)> {
    let mut fields = Fields::of_key(key, ORDINAL)?;
    fields.partition()?;
    Some((LeaderEpoch::new(fields.i32()?)?, Fields::new(value).offset()?))
}
