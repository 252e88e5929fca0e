//! Whether one batch is what its header says. Pure.

use std::ops::ControlFlow;

use record_batch::{BatchView, DecompressLimits, EndTxnMarker, RecordView, TimestampType};

use super::Flaw;

/// What a batch's records may have once decompressed.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// How strict a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Density {
    /// As it was appended. Offsets are left out only where a follower's leader had compacted them away.
    Dense,
    /// Compaction may have taken records, or it is not known.
    Sparse,
}

/// The first thing that is wrong with a batch, its checksum first; and the number of records that were read.
pub(super) fn check(batch: &BatchView<'_>, density: Density) -> Result<u64, Flaw> {
    let header = *batch.header();
    let base_offset = header.base_offset;
    if !batch.crc_is_valid() {
        return Err(Flaw::WrongCrc { base_offset, stored: header.crc, computed: header.checksum(batch.records()) });
    }
    let offsets = i64::from(header.last_offset_delta).saturating_add(1);
    let count = i64::from(header.record_count);
    if count > offsets {
        return Err(Flaw::RecordCount { base_offset, count: header.record_count, offsets });
    }
    let (mut last, mut largest, mut read, mut found) = (-1, i64::MIN, 0, None);
    let is_control = header.attributes.is_control();
    let mut each = |record: RecordView<'_>| {
        let delta = i64::from(record.offset_delta);
        if delta <= last || delta >= offsets {
            found = Some(Flaw::RecordOffset { base_offset, offset: record.offset });
            return ControlFlow::Break(());
        }
        if is_control && let Err(error) = EndTxnMarker::decode(record.key.unwrap_or_default(), record.value.unwrap_or_default()) {
            found = Some(Flaw::Records { base_offset, error });
            return ControlFlow::Break(());
        }
        last = delta;
        largest = largest.max(record.timestamp);
        read += 1;
        ControlFlow::Continue(())
    };
    let walked = batch.walk_records(DecompressLimits::new(BATCH_BYTES_MAX), &mut each);
    if let Some(flaw) = found {
        return Err(flaw);
    }
    walked.map_err(|error| Flaw::Records { base_offset, error })?;
    let is_by_records = header.attributes.timestamp_type() == TimestampType::CreateTime && read > 0;
    // What compaction left of a batch, here or on the leader that it came from, may name a time that none of its records has any more.
    let is_whole = density == Density::Dense && count == offsets;
    if is_whole && is_by_records && largest != header.max_timestamp {
        return Err(Flaw::MaxTimestamp { base_offset, stored: header.max_timestamp, largest });
    }
    Ok(read)
}
