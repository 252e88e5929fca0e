use std::ops::ControlFlow;

use model::{ProducerEpoch, ProducerId, Sequence};
use proptest::prelude::*;
use record_batch::{
    BatchBuilder, BatchHeader, BatchIter, Codec, DecompressLimits, HEADER_BYTES, TimestampType, walk_record_heads, walk_records,
};

use crate::{Owned, walk};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 0..100_000_usize).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

fn records() -> impl Strategy<Value = Vec<Owned>> {
    let headers = proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..4), proptest::option::of(bytes())), 0..4);
    let record = (any::<i64>(), proptest::option::of(bytes()), proptest::option::of(bytes()), headers);
    proptest::collection::vec(record, 1..12).prop_map(|records| {
        let numbered = records.into_iter().zip(0..);
        numbered.map(|((timestamp, key, value, headers), offset)| Owned { offset, timestamp, key, value, headers }).collect()
    })
}

pub(crate) fn append_all(builder: &mut BatchBuilder, records: &[Owned]) {
    for record in records {
        let headers: Vec<_> = record.headers.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
        builder.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_built_is_walked_with_every_codec(records in records()) {
        for codec in Codec::ALL {
            let mut builder = BatchBuilder::new().with_codec(codec, None);
            append_all(&mut builder, &records);
            let batch = builder.build();
            let header = BatchHeader::parse(&batch).unwrap();
            prop_assert_eq!(header.size_bytes(), batch.len());
            prop_assert_eq!(header.attributes.codec(), Ok(codec));
            prop_assert_eq!(header.max_timestamp, records.iter().map(|record| record.timestamp).max().unwrap().max(-1));
            prop_assert_eq!(walk(&batch, 100 << 20).unwrap(), records.clone());
        }
    }

    #[test]
    fn several_batches_and_a_cut_one_are_told_apart(sizes in proptest::collection::vec(0..200_usize, 0..5), cut in 0..HEADER_BYTES) {
        let batches: Vec<_> = sizes.iter().map(|size| {
            let mut builder = BatchBuilder::new();
            builder.append(1, None, Some(&vec![0; *size]), &[]);
            builder.build()
        }).collect();
        let whole = batches.concat();
        let tail = BatchBuilder::new().build().slice(..cut);
        let all = [whole.as_slice(), &tail].concat();
        let mut iter = BatchIter::new(&all);
        let seen: Vec<_> = iter.by_ref().map(|view| view.unwrap().bytes().len()).collect();
        prop_assert_eq!(seen, batches.iter().map(|batch| batch.len()).collect::<Vec<_>>());
        prop_assert_eq!(iter.trailing_bytes(), &tail);
    }
}

#[test]
fn the_header_holds_what_the_builder_was_told() {
    let producer = (ProducerId::new(9).unwrap(), ProducerEpoch::new(2).unwrap(), Sequence::new(i32::MAX));
    let mut builder = BatchBuilder::new()
        .with_producer(producer.0, producer.1, producer.2)
        .with_transactional(true)
        .with_base_offset(100)
        .with_leader_epoch(4)
        .with_log_append_time(77);
    append_all(&mut builder, &[Owned::default(), Owned { timestamp: 5, ..Owned::default() }]);
    let batch = builder.build();
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!((header.base_offset, header.last_offset(), header.next_offset()), (100, 101, 102));
    assert_eq!((header.partition_leader_epoch, header.max_timestamp, header.record_count), (4, 77, 2));
    assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert!(header.attributes.is_transactional() && !header.attributes.is_control());
    assert_eq!(header.last_sequence(), Some(0));
    let records = walk(&batch, 1000).unwrap();
    assert_eq!(records.iter().map(|record| (record.offset, record.timestamp)).collect::<Vec<_>>(), [(100, 77), (101, 77)]);
    assert!(BatchIter::new(&batch).next().unwrap().unwrap().crc_is_valid());
}

#[test]
fn a_compacted_batch_keeps_offsets_and_sequences_even_without_records() {
    for codec in Codec::ALL {
        let producer = (ProducerId::new(9).unwrap(), ProducerEpoch::new(2).unwrap(), Sequence::new(50));
        let mut builder =
            BatchBuilder::new().with_producer(producer.0, producer.1, producer.2).with_base_offset(10).with_codec(codec, None);
        for timestamp in [30, 10, 20] {
            builder.append(timestamp, Some(b"k"), Some(b"v"), &[(b"h", None), (b"h", Some(b""))]);
        }
        let full = builder.build();
        let header = BatchHeader::parse(&full).unwrap();

        let mut kept = BatchBuilder::in_place_of(&header);
        walk_records(&full, DecompressLimits::default(), &mut |record| {
            if record.offset == 11 {
                kept.append_view(&record);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        let kept = kept.build();
        let kept_header = BatchHeader::parse(&kept).unwrap();
        assert_eq!((kept_header.base_offset, kept_header.last_offset()), (10, 12));
        assert_eq!(kept_header.producer(), header.producer());
        assert_eq!(kept_header.attributes.codec(), Ok(codec));
        let records = walk(&kept, 1000).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].offset, records[0].timestamp), (11, 10));
        assert_eq!(records[0].headers, [(b"h".to_vec(), None), (b"h".to_vec(), Some(vec![]))]);

        let empty = BatchBuilder::in_place_of(&header).build();
        assert_eq!(empty.len(), HEADER_BYTES);
        let empty_header = BatchHeader::parse(&empty).unwrap();
        assert_eq!((empty_header.last_offset(), empty_header.last_sequence(), empty_header.max_timestamp), (12, Some(52), 30));
        assert_eq!(walk(&empty, 1000).unwrap(), []);
    }
}

#[test]
fn a_delete_horizon_takes_the_base_timestamps_place() {
    let mut builder = BatchBuilder::new().with_delete_horizon(Some(1000));
    append_all(&mut builder, &[Owned { timestamp: 5, ..Owned::default() }]);
    let batch = builder.build();
    let header = BatchHeader::parse(&batch).unwrap();
    assert!(header.attributes.has_delete_horizon());
    assert_eq!((header.base_timestamp, header.max_timestamp), (1000, 5));
    assert_eq!(walk(&batch, 1000).unwrap()[0].timestamp, 5);
}

#[test]
fn a_walk_ends_where_it_is_told_to() {
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new().with_codec(codec, None);
        append_all(&mut builder, &vec![Owned::default(); 10]);
        let batch = builder.build();
        let mut seen = 0;
        walk_record_heads(&batch, DecompressLimits::default(), &mut |_| {
            seen += 1;
            if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        assert_eq!(seen, 3);
    }
}

#[test]
fn levels_outside_of_a_codecs_range_count_as_the_nearest() {
    for codec in Codec::ALL {
        for level in [i32::MIN, -1, 0, 1, 22, i32::MAX] {
            let mut builder = BatchBuilder::new().with_codec(codec, Some(level));
            append_all(&mut builder, &[Owned { value: Some(vec![1; 1000]), ..Owned::default() }]);
            assert_eq!(walk(&builder.build(), 10_000).unwrap().len(), 1);
        }
    }
}
