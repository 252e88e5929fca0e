//! Families 10 and 11, of the journal of `klamm.durability=group`.
//!
//! Family 10, `journal_fence`: up to which stamp a partition's entries in the journal are void. Owner: whoever takes bytes of a partition back (a
//! truncation, a deletion), in the same write. Removed when the journal has let go of all entries up to that stamp.
//!
//! Key: 10, topic id (16), partition (4). Value: stamp (8).
//!
//! Family 11, `journal_life`: how often the journal was opened; the upper bits of its stamps. Owner: the journal. Written with a sync at each open.
//!
//! Key: 11. Value: count (8).

use model::TopicIdPartition;

use super::{Fields, partition_prefix};

pub(crate) const FENCE_ORDINAL: u8 = 10;
pub(crate) const LIFE_ORDINAL: u8 = 11;

pub(crate) fn fence_key(id: TopicIdPartition) -> Vec<u8> {
    partition_prefix(FENCE_ORDINAL, id)
}

pub(crate) fn life_key() -> [u8; 1] {
    [LIFE_ORDINAL]
}

pub(crate) fn encode(value: u64) -> [u8; 8] {
    value.to_be_bytes()
}

pub(crate) fn decode(value: &[u8]) -> Option<u64> {
    Fields::new(value).u64()
}
