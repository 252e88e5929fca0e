//! Family 2, `partition`: one row per partition, the proof that it exists. Owner: the partition's log. Written at creation, with each index
//! commit (then it holds the log end that the index knows), when the log start moves, and as the mark of a deletion; removed as the last step
//! of a deletion.
//!
//! Key: 2, topic id (16), partition (4). Value: state (1: 0 = live, 1 = being deleted), log start (8), log end (8), id of the operating
//! system's boot under which it was written (16).

use model::{Offset, TopicIdPartition};

use super::{Fields, partition_prefix};

pub(crate) const ORDINAL: u8 = 2;
const LIVE: u8 = 0;
const DELETING: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) deleting: bool,
    pub(crate) log_start: Offset,
    /// The end of the newest index row.
    pub(crate) log_end: Offset,
    /// Bytes written under the same boot are still in the page cache, whatever became of the process.
    pub(crate) boot: [u8; 16],
}

pub(crate) fn key(id: TopicIdPartition) -> Vec<u8> {
    partition_prefix(ORDINAL, id)
}

pub(crate) fn id_of(key: &[u8]) -> Option<TopicIdPartition> {
    let mut fields = Fields::of_key(key, ORDINAL)?;
    let id = fields.partition()?;
    fields.is_empty().then_some(id)
}

impl Row {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(33);
        value.push(if self.deleting { DELETING } else { LIVE });
        value.extend_from_slice(&self.log_start.get().to_be_bytes());
        value.extend_from_slice(&self.log_end.get().to_be_bytes());
        value.extend_from_slice(&self.boot);
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(value);
        let deleting = match fields.u8()? {
            LIVE => false,
            DELETING => true,
            _ => return None,
        };
        Some(Self { deleting, log_start: fields.offset()?, log_end: fields.offset()?, boot: fields.array()? })
    }
}
