//! Blocks of producer ids (`ProducerIdControlManager`, KIP-730).

use model::{BrokerEpoch, BrokerId, ProducerId};
use thiserror::Error;

use super::Decision;
use crate::image::Image;
use crate::records::MetadataRecord;

/// How many ids a block has (`ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`).
pub const PRODUCER_ID_BLOCK_SIZE: i32 = 1000;

/// A block of ids that one broker gives out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerIdBlock {
    /// The first id.
    pub first: ProducerId,
    /// How many there are.
    pub count: i32,
}

/// Why no block is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ProducerIdsError {
    /// The broker asks with an epoch that is not its own (STALE_BROKER_EPOCH).
    #[error("the broker epoch is not that of its registration")]
    StaleBrokerEpoch,
    /// The broker is not registered (BROKER_ID_NOT_REGISTERED).
    #[error("the broker is not registered")]
    NotRegistered,
    /// All ids are given out.
    #[error("all producer ids are given out")]
    Exhausted,
}

/// Decides to give the next block of ids to a broker.
///
/// # Errors
/// If the broker is not who it says, or there are no more ids.
pub fn allocate_producer_ids(
    image: &Image,
    broker_id: BrokerId,
    broker_epoch: BrokerEpoch,
) -> Result<Decision<ProducerIdBlock>, ProducerIdsError> {
    let broker = image.broker(broker_id).ok_or(ProducerIdsError::NotRegistered)?;
    if broker.epoch != broker_epoch {
        return Err(ProducerIdsError::StaleBrokerEpoch);
    }
    let first = image.next_producer_id();
    let next = first.get().checked_add(i64::from(PRODUCER_ID_BLOCK_SIZE)).and_then(ProducerId::new).ok_or(ProducerIdsError::Exhausted)?;
    let record = MetadataRecord::ProducerIds { broker_id, broker_epoch, next_producer_id: next };
    Ok(Decision { records: vec![record], response: ProducerIdBlock { first, count: PRODUCER_ID_BLOCK_SIZE } })
}
