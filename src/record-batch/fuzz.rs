//! One entry for fuzzers.

use std::ops::ControlFlow;

use bytes::{BufMut, Bytes};
use model::{LeaderEpoch, Offset, Timestamp};

use crate::header::{CHECKSUMMED_FROM, LENGTH_PREFIX_BYTES, checksum};
use crate::{
    AppendOrigin, BatchIter, CheckedBatch, Codec, DecompressLimits, EndTxnMarker, HEADER_BYTES, ProduceRules, SequencedBatch,
    TimestampType, check_produced, walk_record_heads, walk_records,
};

const MAX_DECOMPRESSED_BYTES: usize = 1 << 20;

/// Calls everything that reads bytes from outside on arbitrary bytes, first as they are, then with length, magic, offsets and checksum put
/// right so that the records are reached. Panics if two of the readers disagree.
pub fn fuzz_batch(data: &[u8]) {
    read_everything(data);
    let mut repaired = data.to_vec();
    repaired.resize(data.len().max(HEADER_BYTES), 0);
    let length = i32::try_from(repaired.len() - LENGTH_PREFIX_BYTES).unwrap_or(i32::MAX);
    if let Some(mut head) = repaired.get_mut(..CHECKSUMMED_FROM - 4) {
        head.put_i64(0);
        head.put_i32(length);
        head.put_i32(-1);
        head.put_i8(2);
    }
    let crc = checksum(&repaired);
    if let Some(mut field) = repaired.get_mut(CHECKSUMMED_FROM - 4..CHECKSUMMED_FROM) {
        field.put_u32(crc);
    }
    read_everything(&repaired);
}

fn read_everything(data: &[u8]) {
    let mut batches = BatchIter::new(data);
    for view in batches.by_ref().flatten() {
        let _ = (view.crc_is_valid(), view.header().last_sequence(), view.header().producer(), view.header().next_offset());
    }
    let _ = batches.trailing_bytes();
    walk_both(data);
    let bytes = Bytes::copy_from_slice(data);
    let _ = CheckedBatch::from_trusted(bytes.clone());
    let _ = SequencedBatch::from_replicated(bytes.clone());
    for compression in [None, Some((Codec::None, None)), Some((Codec::Lz4, None)), Some((Codec::Snappy, None))] {
        for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
            let Ok(checked) = check_produced(bytes.clone(), &rules(compression, timestamp_type)) else { continue };
            let sequenced = checked.into_sequenced(Offset::new_or_zero(7), LeaderEpoch::new_or_zero(3), None);
            let again = SequencedBatch::from_replicated(sequenced.to_bytes());
            assert_eq!(again.as_ref(), Ok(&sequenced), "a batch that was taken must be one that a follower takes");
            walk_both(&sequenced.to_bytes());
        }
    }
    let (key, value) = data.split_at(data.len().min(4));
    let _ = EndTxnMarker::decode(key, value);
}

/// Both walks must see the same records.
fn walk_both(data: &[u8]) {
    let limits = DecompressLimits::new(MAX_DECOMPRESSED_BYTES);
    let mut heads = 0_u64;
    let by_head = walk_record_heads(data, limits, &mut |head| {
        heads = heads.wrapping_mul(31).wrapping_add(head.offset.cast_unsigned() ^ head.timestamp.cast_unsigned() ^ u64::from(head.has_key));
        ControlFlow::Continue(())
    });
    let mut records = 0_u64;
    let by_record = walk_records(data, limits, &mut |record| {
        let has_key = u64::from(record.key.is_some());
        records = records.wrapping_mul(31).wrapping_add(record.offset.cast_unsigned() ^ record.timestamp.cast_unsigned() ^ has_key);
        let _ = record.headers.iter().count();
        ControlFlow::Continue(())
    });
    assert_eq!(by_head.is_ok(), by_record.is_ok(), "both walks judge alike: {by_head:?}, {by_record:?}");
    assert!(by_head.is_err() || heads == records, "both walks see the same records");
}

fn rules(compression: Option<(Codec, Option<i32>)>, timestamp_type: TimestampType) -> ProduceRules {
    ProduceRules {
        now: Timestamp(1_000_000),
        max_message_bytes: MAX_DECOMPRESSED_BYTES,
        compacted: false,
        timestamp_type,
        before_max_ms: i64::MAX,
        after_max_ms: i64::MAX,
        compression,
        zstd_allowed: true,
        origin: AppendOrigin::Client,
        max_decompressed_bytes: MAX_DECOMPRESSED_BYTES,
    }
}
