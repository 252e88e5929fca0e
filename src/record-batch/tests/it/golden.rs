//! Batches that Apache Kafka 4.3.1's own classes wrote (`tests/fixtures/MakeBatches.java`).

use bytes::Bytes;
use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use record_batch::{
    AppendOrigin, BatchBuilder, BatchHeader, Codec, EndTxnMarker, HEADER_BYTES, ProduceRules, SequencedBatch, TimestampType, check_produced,
};

use crate::{Owned, walk};

const SMALL: [&[u8]; 5] = [
    include_bytes!("../fixtures/none.bin"),
    include_bytes!("../fixtures/gzip.bin"),
    include_bytes!("../fixtures/snappy.bin"),
    include_bytes!("../fixtures/lz4.bin"),
    include_bytes!("../fixtures/zstd.bin"),
];
const LARGE: [&[u8]; 4] = [
    include_bytes!("../fixtures/gzip-200.bin"),
    include_bytes!("../fixtures/snappy-200.bin"),
    include_bytes!("../fixtures/lz4-200.bin"),
    include_bytes!("../fixtures/zstd-200.bin"),
];
const COMMIT_MARKER: &[u8] = include_bytes!("../fixtures/commit-marker.bin");

fn expected(more: u8) -> Vec<Owned> {
    let headers = vec![(b"h".to_vec(), Some(vec![1])), (b"h".to_vec(), None), (vec![], Some(vec![]))];
    let record = |offset, timestamp, key: Option<&[u8]>, value: Option<&[u8]>| Owned {
        offset,
        timestamp,
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: vec![],
    };
    let mut records = vec![
        Owned { headers, ..record(0, 1000, Some(b"key"), Some(b"value")) },
        record(1, 1001, None, Some(&[0; 100])),
        record(2, 999, Some(b"key"), None),
        record(3, 1002, Some(b""), Some(b"")),
    ];
    for index in 0..more {
        let key = format!("key{index}");
        records.push(record(4 + i64::from(index), 1003 + i64::from(index), Some(key.as_bytes()), Some(&[index; 1000])));
    }
    records
}

fn rules() -> ProduceRules {
    ProduceRules {
        now: Timestamp(1000),
        max_message_bytes: 1 << 20,
        compacted: false,
        timestamp_type: TimestampType::CreateTime,
        before_max_ms: i64::MAX,
        after_max_ms: 3_600_000,
        compression: None,
        zstd_allowed: true,
        origin: AppendOrigin::Client,
        max_decompressed_bytes: 1 << 20,
    }
}

#[test]
fn batches_of_kafkas_producer_are_read_and_taken_as_they_are() {
    for (batch, more) in SMALL.map(|batch| (batch, 0)).into_iter().chain(LARGE.map(|batch| (batch, 200))) {
        let records = expected(more);
        assert_eq!(walk(batch, 1 << 20).unwrap(), records);
        let checked = check_produced(Bytes::from_static(batch), &rules()).unwrap();
        let producer = checked.producer().unwrap();
        assert_eq!((producer.producer_id.get(), producer.producer_epoch.get()), (7, 1));
        assert_eq!(producer.first_sequence.get(), i32::MAX - 1);
        assert_eq!(producer.last_sequence.get(), i32::from(more) + 1);
        let stored = checked.into_sequenced(Offset::new(40).unwrap(), LeaderEpoch::new(6).unwrap(), None);
        assert_eq!(stored.head()[16..], batch[16..HEADER_BYTES]);
        assert_eq!(SequencedBatch::from_replicated(stored.to_bytes()), Ok(stored));
    }
}

#[test]
fn the_builder_writes_the_very_bytes_that_kafka_writes() {
    let mut builder = BatchBuilder::new().with_transactional(true).with_producer(
        ProducerId::new(7).unwrap(),
        ProducerEpoch::new(1).unwrap(),
        Sequence::new(i32::MAX - 1),
    );
    crate::round_trip::append_all(&mut builder, &expected(0));
    assert_eq!(builder.build(), SMALL[0]);
}

#[test]
fn a_transaction_marker_is_kafkas_byte_for_byte() {
    let marker = EndTxnMarker { is_commit: true, coordinator_epoch: 5 };
    let batch = marker.batch(ProducerId::new(7).unwrap(), ProducerEpoch::new(1).unwrap(), Timestamp(1000));
    assert_eq!(batch, COMMIT_MARKER);
    let header = BatchHeader::parse(COMMIT_MARKER).unwrap();
    assert!(header.attributes.is_control() && header.attributes.is_transactional());
    assert_eq!(header.attributes.codec(), Ok(Codec::None));
    assert_eq!(header.last_sequence(), None);
}
