use bytes::Bytes;
use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use record_batch::{
    AppendOrigin, BatchBuilder, BatchError, BatchHeader, CheckedBatch, Codec, EndTxnMarker, HEADER_BYTES, InvalidReason, ProduceRefusal,
    ProduceRules, SequencedBatch, TimestampType, check_produced,
};

use crate::{batch_around, walk};

const NOW: i64 = 1_000_000;

fn rules() -> ProduceRules {
    ProduceRules {
        now: Timestamp(NOW),
        max_message_bytes: 10_000,
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

fn three(codec: Codec) -> Bytes {
    timed(codec, &[NOW - 1, NOW + 1, NOW])
}

fn timed(codec: Codec, timestamps: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new().with_codec(codec, None);
    for timestamp in timestamps {
        builder.append(*timestamp, Some(b"key"), Some(b"value"), &[(b"header", None)]);
    }
    builder.build()
}

/// The same batch with another header and the checksum that fits.
fn with(batch: &Bytes, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut header = BatchHeader::parse(batch).unwrap();
    let records = batch.slice(HEADER_BYTES..);
    change(&mut header);
    header.crc = header.checksum(&records);
    let mut head = [0; HEADER_BYTES];
    header.write(&mut head);
    [&head, &records[..]].concat().into()
}

fn reason(batch: Bytes, rules: &ProduceRules) -> InvalidReason {
    match check_produced(batch, rules) {
        Err(ProduceRefusal::InvalidRecord { reason, .. }) => reason,
        other => panic!("not INVALID_RECORD: {other:?}"),
    }
}

fn sequenced(checked: CheckedBatch) -> SequencedBatch {
    let batch = checked.into_sequenced(Offset::new(40).unwrap(), LeaderEpoch::new(6).unwrap(), None);
    assert_eq!(SequencedBatch::from_replicated(batch.to_bytes()).as_ref(), Ok(&batch), "the checksum fits");
    batch
}

#[test]
fn a_good_batch_is_stored_byte_for_byte_but_for_offset_and_epoch() {
    for codec in Codec::ALL {
        let batch = three(codec);
        let checked = check_produced(batch.clone(), &rules()).unwrap();
        assert_eq!((checked.record_count(), checked.offset_count()), (3, 3));
        assert_eq!((checked.max_timestamp(), checked.offset_delta_of_max_timestamp()), (Some(Timestamp(NOW + 1)), 1));
        assert_eq!(checked.producer(), None);
        let stored = sequenced(checked);
        assert_eq!(stored.size_bytes(), batch.len());
        assert_eq!(stored.tail(), &batch.slice(HEADER_BYTES..));
        assert_eq!(stored.tail().as_ptr(), batch[HEADER_BYTES..].as_ptr(), "the records are not copied");
        assert_eq!(stored.head()[17..], batch[17..HEADER_BYTES]);
        assert_eq!((stored.header().base_offset, stored.header().partition_leader_epoch), (40, 6));
    }
}

#[test]
fn there_must_be_exactly_one_batch_of_magic_2() {
    let batch = three(Codec::None);
    assert_eq!(reason(Bytes::new(), &rules()), InvalidReason::NoBatch);
    assert_eq!(reason(batch.slice(..batch.len() - 1), &rules()), InvalidReason::NoBatch);
    assert_eq!(reason([&batch[..], &batch].concat().into(), &rules()), InvalidReason::SeveralBatches);
    assert_eq!(reason(with(&batch, |header| header.magic = 1), &rules()), InvalidReason::OldMagic(1));
    assert_eq!(
        check_produced(with(&batch, |header| header.magic = 3), &rules()).unwrap_err(),
        ProduceRefusal::CorruptMessage(BatchError::WrongMagic(3))
    );
    // Kafka drops a cut batch behind the first one.
    let checked = check_produced([&batch[..], &batch[..60]].concat().into(), &rules()).unwrap();
    assert_eq!(checked.size_bytes(), batch.len());
}

#[test]
fn zstd_needs_produce_7_and_other_codecs_do_not() {
    for codec in Codec::ALL {
        let refusal = check_produced(three(codec), &ProduceRules { zstd_allowed: false, ..rules() }).err();
        let expected = (codec == Codec::Zstd).then_some(ProduceRefusal::UnsupportedCompressionType { codec_id: 4 });
        assert_eq!(refusal, expected);
    }
    let unknown = with(&three(Codec::None), |header| header.attributes.0 |= 7);
    assert_eq!(check_produced(unknown, &rules()).unwrap_err(), ProduceRefusal::UnsupportedCompressionType { codec_id: 7 });
}

#[test]
fn the_checks_of_the_header_come_in_kafkas_order() {
    let batch = three(Codec::None);
    let mut broken = batch.to_vec();
    broken[0..8].copy_from_slice(&5_i64.to_be_bytes());
    broken[100] ^= 1;
    let small = ProduceRules { max_message_bytes: batch.len() - 1, ..rules() };
    // All three are wrong: base offset, size, checksum.
    assert_eq!(reason(broken.clone().into(), &small), InvalidReason::BaseOffset(5));
    broken[0..8].fill(0);
    let too_large = ProduceRefusal::MessageTooLarge { size_bytes: batch.len(), max_bytes: batch.len() - 1 };
    assert_eq!(check_produced(broken.clone().into(), &small).unwrap_err(), too_large);
    let refusal = check_produced(broken.into(), &rules()).unwrap_err();
    assert!(matches!(refusal, ProduceRefusal::CorruptMessage(BatchError::WrongCrc { .. })), "{refusal:?}");
    assert!(check_produced(batch.clone(), &ProduceRules { max_message_bytes: batch.len(), ..rules() }).is_ok());
}

#[test]
fn counts_control_bit_and_producer_fields_are_checked() {
    let batch = three(Codec::None);
    let reason_with = |change: fn(&mut BatchHeader)| reason(with(&batch, change), &rules());
    assert_eq!(reason_with(|header| header.last_offset_delta = -1), InvalidReason::LastOffsetDelta(-1));
    assert_eq!(reason_with(|header| header.record_count = 0), InvalidReason::RecordCount(0));
    assert_eq!(reason_with(|header| header.record_count = 2), InvalidReason::CountMismatch { last_offset_delta: 2, record_count: 2 });
    assert_eq!(reason_with(|header| header.attributes.0 |= 0x20), InvalidReason::ControlBatch);
    assert_eq!(reason_with(|header| header.producer_id = 1), InvalidReason::Sequence { producer_id: 1, base_sequence: -1 });
    let no_epoch = |header: &mut BatchHeader| (header.producer_id, header.base_sequence) = (1, 0);
    assert_eq!(reason_with(no_epoch), InvalidReason::ProducerEpoch { producer_id: 1, producer_epoch: -1 });

    let mut builder = BatchBuilder::new().with_producer(ProducerId::MAX, ProducerEpoch::ZERO, Some(Sequence::MAX));
    builder.append(NOW, None, None, &[]);
    builder.append(NOW, None, None, &[]);
    let producer = check_produced(builder.build(), &rules()).unwrap().producer().unwrap();
    assert_eq!((producer.producer_id, producer.first_sequence, producer.last_sequence), (ProducerId::MAX, Sequence::MAX, Sequence::ZERO));
}

#[test]
fn records_without_a_key_are_refused_on_compacted_topics_only() {
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new().with_codec(codec, None);
        builder.append(NOW, Some(b""), None, &[]);
        builder.append(NOW, None, Some(b"value"), &[]);
        let batch = builder.build();
        assert!(check_produced(batch.clone(), &rules()).is_ok());
        let refusal = check_produced(batch, &ProduceRules { compacted: true, ..rules() }).unwrap_err();
        let expected = [(1, "Compacted topic cannot accept message without key".to_owned())];
        assert_eq!(refusal.record_errors(), expected);
        assert!(matches!(refusal, ProduceRefusal::InvalidRecord { reason: InvalidReason::Records(1), .. }));
    }
}

#[test]
fn timestamps_must_lie_within_the_topics_bounds() {
    let bounds = ProduceRules { before_max_ms: 10, after_max_ms: 5, ..rules() };
    assert!(check_produced(timed(Codec::None, &[NOW - 10, NOW + 5, -1]), &bounds).is_ok(), "bounds are inclusive, -1 is no timestamp");
    let refusal = check_produced(timed(Codec::Gzip, &[NOW - 11, NOW, NOW + 6]), &bounds).unwrap_err();
    let text = |timestamp, offset| {
        format!(
            "Timestamp {timestamp} of message with offset {offset} is out of range. The timestamp should be within [{}, {}]",
            NOW - 10,
            NOW + 5
        )
    };
    assert_eq!(refusal, ProduceRefusal::InvalidTimestamp { record_errors: vec![(0, text(NOW - 11, 0)), (2, text(NOW + 6, 2))] });
    // One wrong timestamp decides the code, whatever else is wrong.
    let mut builder = BatchBuilder::new();
    builder.append(NOW, None, None, &[]);
    builder.append(NOW + 6, Some(b"key"), None, &[]);
    let refusal = check_produced(builder.build(), &ProduceRules { compacted: true, ..bounds }).unwrap_err();
    assert!(matches!(&refusal, ProduceRefusal::InvalidTimestamp { record_errors } if record_errors.len() == 2), "{refusal:?}");
    let extreme = check_produced(timed(Codec::None, &[i64::MAX]), &ProduceRules { before_max_ms: 0, after_max_ms: i64::MAX, ..rules() });
    assert!(extreme.is_ok());
}

#[test]
fn a_wrong_max_timestamp_and_a_log_append_bit_are_corrected() {
    let batch = three(Codec::Lz4);
    let wrong = with(&batch, |header| header.max_timestamp = 7);
    let stored = sequenced(check_produced(wrong.clone(), &rules()).unwrap());
    assert_eq!(stored.header().max_timestamp, NOW + 1);
    assert_ne!(stored.header().crc, BatchHeader::parse(&wrong).unwrap().crc);

    // Under the bit all records have the header's max timestamp.
    let bit = with(&batch, |header| header.attributes.0 |= 0x08);
    let stored = sequenced(check_produced(bit.clone(), &rules()).unwrap());
    assert_eq!(stored.header().attributes.timestamp_type(), TimestampType::CreateTime);
    assert_eq!(stored.header().max_timestamp, NOW + 1);

    let append_time = ProduceRules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    let refusal = check_produced(bit, &append_time).unwrap_err();
    assert!(matches!(&refusal, ProduceRefusal::InvalidTimestamp { record_errors } if record_errors.len() == 3), "{refusal:?}");
    let unset = with(&batch, |header| (header.attributes.0, header.max_timestamp) = (header.attributes.0 | 0x08, -1));
    assert!(matches!(check_produced(unset, &rules()), Err(ProduceRefusal::InvalidTimestamp { .. })));
}

#[test]
fn log_append_time_is_set_in_the_header_alone() {
    let rules = ProduceRules { timestamp_type: TimestampType::LogAppendTime, after_max_ms: 0, ..rules() };
    let batch = three(Codec::Snappy);
    let checked = check_produced(batch.clone(), &rules).unwrap();
    assert_eq!((checked.max_timestamp(), checked.offset_delta_of_max_timestamp()), (Some(Timestamp(NOW)), 0));
    let stored = sequenced(checked.clone());
    assert_eq!(stored.tail(), &batch.slice(HEADER_BYTES..));
    assert_eq!(walk(&stored.to_bytes(), 1000).unwrap().iter().map(|record| record.timestamp).collect::<Vec<_>>(), [NOW; 3]);
    let later = checked.into_sequenced(Offset::ZERO, LeaderEpoch::ZERO, Some(Timestamp(NOW + 9)));
    assert_eq!(later.header().max_timestamp, NOW + 9);
    assert!(SequencedBatch::from_replicated(later.to_bytes()).is_ok());
}

#[test]
fn another_codec_means_a_rebuilt_batch_with_the_same_records() {
    for source in Codec::ALL {
        for target in Codec::ALL {
            let mut builder = BatchBuilder::new().with_codec(source, None).with_transactional(true).with_producer(
                ProducerId::new(3).unwrap(),
                ProducerEpoch::new(1).unwrap(),
                Sequence::new(8),
            );
            builder.append(NOW, Some(b"key"), Some(&[5; 3000]), &[(b"h", Some(b"1")), (b"h", None)]);
            builder.append(NOW + 2, None, None, &[]);
            let batch = builder.build();
            let rules = ProduceRules { compression: Some((target, Some(4))), ..rules() };
            let checked = check_produced(batch.clone(), &rules).unwrap();
            assert_eq!(checked.offset_delta_of_max_timestamp(), 1);
            let stored = sequenced(checked);
            assert_eq!(stored.header().attributes.codec(), Ok(target));
            assert!(stored.header().attributes.is_transactional());
            assert_eq!(stored.header().producer(), BatchHeader::parse(&batch).unwrap().producer());
            let mut expected = walk(&batch, 10_000).unwrap();
            expected.iter_mut().for_each(|record| record.offset += 40);
            assert_eq!(walk(&stored.to_bytes(), 10_000).unwrap(), expected, "{source:?} to {target:?}");
            if source == target {
                assert_eq!(stored.tail(), &batch.slice(HEADER_BYTES..));
            }
        }
    }
}

#[test]
fn a_rebuilt_batch_is_measured_again() {
    let mut builder = BatchBuilder::new().with_codec(Codec::Zstd, None);
    for _ in 0..100 {
        builder.append(NOW, None, Some(&[5; 1000]), &[]);
    }
    let rules = ProduceRules { compression: Some((Codec::None, None)), ..rules() };
    assert!(matches!(check_produced(builder.build(), &rules), Err(ProduceRefusal::MessageTooLarge { max_bytes: 10_000, .. })));
}

#[test]
fn records_that_do_not_fit_their_header_are_refused() {
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new().with_codec(codec, None);
        builder.append_at(0, NOW, None, None);
        builder.append_at(2, NOW, None, None);
        let gap = with(&builder.build(), |header| header.last_offset_delta = 1);
        let refusal = check_produced(gap, &rules()).unwrap_err();
        assert_eq!(refusal.record_errors(), [(1, "Offset delta 2 is not the record's place in its batch".to_owned())]);

        let fewer = with(&three(codec), |header| (header.last_offset_delta, header.record_count) = (1, 2));
        assert_eq!(reason(fewer, &rules()), InvalidReason::Unreadable(BatchError::RecordsRemain));
        let more = with(&three(codec), |header| (header.last_offset_delta, header.record_count) = (3, 4));
        assert!(matches!(reason(more, &rules()), InvalidReason::Unreadable(BatchError::Record { index: 3, .. })));
    }
    let garbage = batch_around(Codec::Zstd, 1, b"garbage", |_| ());
    assert!(matches!(reason(garbage, &rules()), InvalidReason::Unreadable(BatchError::Decompression { codec: Codec::Zstd, .. })));
    let bomb = ProduceRules { max_decompressed_bytes: 20, ..rules() };
    let too_large = BatchError::DecompressedTooLarge { max_bytes: 20 };
    assert_eq!(reason(three(Codec::Gzip), &bomb), InvalidReason::Unreadable(too_large));
}

#[test]
fn the_list_of_record_errors_has_an_end() {
    let batch = timed(Codec::Zstd, &[NOW + 100; 5000]);
    let refusal = check_produced(batch, &ProduceRules { after_max_ms: 1, ..rules() }).unwrap_err();
    assert_eq!(refusal.record_errors().len(), 1000);
}

#[test]
fn coordinators_may_write_markers_and_a_codec_leaves_those_alone() {
    let marker = EndTxnMarker { is_commit: false, coordinator_epoch: 3 };
    let batch = marker.batch(ProducerId::new(5).unwrap(), ProducerEpoch::new(1).unwrap(), Timestamp(NOW));
    assert_eq!(reason(batch.clone(), &rules()), InvalidReason::ControlBatch);
    let rules = ProduceRules { origin: AppendOrigin::Coordinator, compression: Some((Codec::Gzip, None)), ..rules() };
    let checked = check_produced(batch.clone(), &rules).unwrap();
    assert_eq!(checked.bytes(), &batch);
    assert_eq!(checked.producer(), None, "a marker has no sequence");
    let trusted = CheckedBatch::from_trusted(batch).unwrap();
    assert_eq!(sequenced(trusted), sequenced(checked));
    let record = &walk(
        &sequenced(CheckedBatch::from_trusted(marker.batch(ProducerId::ZERO, ProducerEpoch::ZERO, Timestamp(1))).unwrap()).to_bytes(),
        100,
    )
    .unwrap()[0];
    assert_eq!(EndTxnMarker::decode(record.key.as_ref().unwrap(), record.value.as_ref().unwrap()), Ok(Some(marker)));
}
