//! Batches from the outside: built, walked, checked, attacked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod golden;
mod hostile;
mod produce;
mod round_trip;

use std::ops::ControlFlow;

use bytes::Bytes;
use record_batch::{BatchError, BatchHeader, Codec, DecompressLimits, HEADER_BYTES, walk_record_heads, walk_records};

/// A record with its own bytes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Owned {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// All records of a batch by both walks, which must agree.
pub(crate) fn walk(batch: &[u8], max_bytes: usize) -> Result<Vec<Owned>, BatchError> {
    let limits = DecompressLimits::new(max_bytes);
    let mut records = Vec::new();
    let walked = walk_records(batch, limits, &mut |record| {
        records.push(Owned {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec))).collect(),
        });
        assert_eq!(record.headers.iter().count(), usize::try_from(record.headers.count()).unwrap());
        ControlFlow::Continue(())
    });
    let mut heads = Vec::new();
    let walked_heads = walk_record_heads(batch, limits, &mut |head| {
        heads.push((head.offset, head.timestamp, head.has_key));
        ControlFlow::Continue(())
    });
    assert_eq!(walked.is_ok(), walked_heads.is_ok(), "{walked:?} but {walked_heads:?}");
    walked?;
    assert_eq!(heads, records.iter().map(|record| (record.offset, record.timestamp, record.key.is_some())).collect::<Vec<_>>());
    Ok(records)
}

/// A batch around given record bytes, with a header that fits unless `change` makes it another.
pub(crate) fn batch_around(codec: Codec, count: i32, records: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let template = record_batch::BatchBuilder::new().build();
    let mut header = BatchHeader::parse(&template).unwrap();
    header.batch_length = (HEADER_BYTES - 12 + records.len()) as i32;
    header.attributes = header.attributes.with_codec(codec);
    header.record_count = count;
    header.last_offset_delta = count - 1;
    change(&mut header);
    header.crc = header.checksum(records);
    let mut head = [0; HEADER_BYTES];
    header.write(&mut head);
    [&head, records].concat().into()
}
