//! Producer ids, handed out from blocks that the controller grants (KIP-730, Kafka's `RPCProducerIdManager`).
//!
//! A block is recorded in the metadata log before its first id is used, so that no id is given twice, also after a crash; a crash wastes the rest.

use model::ProducerId;
use tokio::sync::Mutex;

use crate::controller::{ControlError, Controller};

/// The broker's current block.
pub struct ProducerIds {
    controller: Controller,
    block: Mutex<Block>,
}

#[derive(Default)]
struct Block {
    next: i64,
    end: i64,
}

impl ProducerIds {
    /// An empty block: the first request asks the controller.
    #[must_use]
    pub fn new(controller: Controller) -> Self {
        Self { controller, block: Mutex::new(Block::default()) }
    }

    /// A producer id that was never given before.
    ///
    /// # Errors
    /// When the controller cannot record a new block.
    pub async fn next(&self) -> Result<ProducerId, ControlError> {
        let mut block = self.block.lock().await;
        if block.next >= block.end {
            let (start, length) = self.controller.allocate_producer_ids().await?;
            *block = Block { next: start.get(), end: start.get().saturating_add(length) };
        }
        let id = block.next;
        block.next += 1;
        Ok(ProducerId::new_or_zero(id))
    }
}
