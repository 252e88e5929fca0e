//! Replays a coordinator's partition into its shard.

use std::ops::ControlFlow;
use std::sync::Arc;

use model::{Offset, ProducerId};
use record_batch::{BatchIter, DecompressLimits, EndTxnMarker};

use crate::partitions::{FetchBound, Partition, PartitionError, PartitionFetch};
use crate::read_pool::off_thread;

use super::coordinator::Coordinator;

/// How much of the log is held in memory at a time.
const CHUNK_BYTES: usize = 4 << 20;

/// Replays all records of `partition` into `coordinator`, once they are committed: what a new leader has beyond its high watermark may have been
/// acknowledged by an earlier one.
pub(super) async fn load<C: Coordinator>(coordinator: &mut C, partition: &Arc<Partition>) -> Result<(), PartitionError> {
    let mut offset = partition.offsets().log_start();
    let end = partition.offsets().log_end();
    partition.committed_up_to(end).await?;
    while offset < end {
        let fetch = PartitionFetch {
            offset,
            bytes_max: CHUNK_BYTES,
            at_least_one_batch: true,
            leader_only: true,
            bound: FetchBound::HighWatermark,
            current_leader_epoch: None,
            last_fetched_epoch: None,
        };
        let source = Arc::clone(partition);
        let read = off_thread(move || source.read(&fetch)?.into_bytes().map_err(|_| PartitionError::Storage));
        let bytes = read.await.unwrap_or(Err(PartitionError::Storage))?;
        let next = replay_batches(coordinator, &bytes, offset)?;
        if next <= offset {
            break;
        }
        offset = next;
        tokio::task::yield_now().await;
    }
    Ok(())
}

fn replay_batches<C: Coordinator>(coordinator: &mut C, bytes: &[u8], from: Offset) -> Result<Offset, PartitionError> {
    let mut next = from;
    for batch in BatchIter::new(bytes) {
        let batch = batch.map_err(|_| PartitionError::Corrupt)?;
        let header = batch.header();
        let transaction = ProducerId::new(header.producer_id).filter(|_| header.attributes.is_transactional());
        let is_control = header.attributes.is_control();
        if !is_control || transaction.is_some() {
            let mut replay = |record: record_batch::RecordView<'_>| {
                let (key, value) = (record.key.unwrap_or_default(), record.value);
                match transaction {
                    Some(producer_id) if is_control => {
                        if let Ok(Some(marker)) = EndTxnMarker::decode(key, value.unwrap_or_default()) {
                            coordinator.replay_end_of_transaction(producer_id, marker.is_commit);
                        }
                    }
                    Some(_) => coordinator.replay(transaction, key, value),
                    None if record.key.is_some() => coordinator.replay(None, key, value),
                    None => {}
                }
                ControlFlow::Continue(())
            };
            record_batch::walk_records(batch.bytes(), DecompressLimits::default(), &mut replay).map_err(|_| PartitionError::Corrupt)?;
        }
        next = Offset::new_or_zero(header.next_offset());
    }
    Ok(next)
}
