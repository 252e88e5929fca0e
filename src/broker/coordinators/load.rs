//! Replays a coordinator's partition into its shard.

use std::io::Read;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use group_coordinator::GroupShard;
use model::{Offset, Piece};
use record_batch::{BatchIter, DecompressLimits};

use crate::partitions::{FetchBound, Partition, PartitionError, PartitionFetch};

/// How much of the log is held in memory at a time.
const CHUNK_BYTES: usize = 4 << 20;

/// Replays all committed records of `partition` into `shard`.
pub(super) async fn load(shard: &mut GroupShard, partition: &Partition) -> Result<(), PartitionError> {
    let mut offset = partition.offsets().log_start();
    let end = partition.offsets().high_watermark();
    while offset < end {
        let fetch = PartitionFetch {
            offset,
            bytes_max: CHUNK_BYTES,
            at_least_one_batch: true,
            bound: FetchBound::HighWatermark,
            current_leader_epoch: None,
            last_fetched_epoch: None,
        };
        let read = partition.read(&fetch)?;
        let bytes = gather(&read.pieces, read.length_bytes).map_err(|_| PartitionError::Storage)?;
        let next = replay_batches(shard, &bytes, offset)?;
        if next <= offset {
            break;
        }
        offset = next;
        tokio::task::yield_now().await;
    }
    Ok(())
}

fn gather(pieces: &[Piece], length_bytes: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length_bytes);
    for piece in pieces {
        match piece {
            Piece::Memory(memory) => bytes.extend_from_slice(memory),
            Piece::File(range) => {
                FileSlice { range, done: 0 }.read_to_end(&mut bytes)?;
            }
        }
    }
    Ok(bytes)
}

struct FileSlice<'a> {
    range: &'a model::FileRange,
    done: usize,
}

impl Read for FileSlice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.range.length_bytes.saturating_sub(self.done).min(buffer.len());
        let Some(target) = buffer.get_mut(..left) else { return Ok(0) };
        let read = self.range.file.read_at(target, self.range.position.saturating_add(self.done as u64))?;
        self.done += read;
        Ok(read)
    }
}

fn replay_batches(shard: &mut GroupShard, bytes: &[u8], from: Offset) -> Result<Offset, PartitionError> {
    let mut next = from;
    for batch in BatchIter::new(bytes) {
        let batch = batch.map_err(|_| PartitionError::Corrupt)?;
        let header = batch.header();
        if !header.attributes.is_control() {
            let mut replay = |record: record_batch::RecordView<'_>| {
                if let Some(key) = record.key {
                    shard.replay(key, record.value);
                }
                ControlFlow::Continue(())
            };
            record_batch::walk_records(batch.bytes(), DecompressLimits::default(), &mut replay).map_err(|_| PartitionError::Corrupt)?;
        }
        next = Offset::new_or_zero(header.next_offset());
    }
    Ok(next)
}
