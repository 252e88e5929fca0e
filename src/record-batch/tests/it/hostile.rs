use std::io::Write;

use bytes::Bytes;
use proptest::prelude::*;
use record_batch::{BatchBuilder, BatchError, BatchIter, Codec, HEADER_BYTES, RecordFault, SequencedBatch, fuzz_batch};

use crate::{batch_around, walk};

fn sample(codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new().with_codec(codec, None);
    for index in 0..20_u8 {
        builder.append(i64::from(index), Some(&[index; 3]), Some(&[index; 30]), &[(b"name", Some(b"value")), (b"", None)]);
    }
    builder.build()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz_batch(&data);
    }

    #[test]
    fn random_records_with_a_small_count_never_panic(data in proptest::collection::vec(any::<u8>(), 0..400), codec in 0..5_usize, count in 0..5) {
        fuzz_batch(&batch_around(Codec::ALL[codec], count, &data, |_| ()));
    }

    #[test]
    fn a_good_batch_with_changed_bytes_never_panics(codec in 0..5_usize, changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut data = sample(Codec::ALL[codec]).to_vec();
        for (index, byte) in changes {
            let at = index.index(data.len());
            data[at] = byte;
        }
        fuzz_batch(&data);
    }
}

#[test]
fn a_batch_cut_at_any_length_is_refused_or_a_tail() {
    for codec in Codec::ALL {
        let batch = sample(codec);
        for length in 0..batch.len() {
            let cut = &batch[..length];
            assert!(matches!(walk(cut, 10_000), Err(BatchError::Truncated { .. })), "{codec:?} at {length}");
            let mut iter = BatchIter::new(cut);
            assert!(iter.next().is_none(), "{codec:?} at {length}");
            assert_eq!(iter.trailing_bytes(), cut);
            fuzz_batch(cut);
        }
    }
}

#[test]
fn records_cut_at_any_length_are_refused_although_the_header_fits() {
    for codec in Codec::ALL {
        let batch = sample(codec);
        let records = &batch[HEADER_BYTES..];
        for length in 0..records.len() {
            let cut = batch_around(codec, 20, &records[..length], |_| ());
            assert!(walk(&cut, 10_000).is_err(), "{codec:?} at {length}");
        }
    }
}

#[test]
fn a_count_that_is_not_the_records_is_refused() {
    for codec in Codec::ALL {
        let batch = sample(codec);
        let records = &batch[HEADER_BYTES..];
        let walk_as = |count| walk(&batch_around(codec, count, records, |_| ()), 10_000);
        assert_eq!(walk_as(20).unwrap().len(), 20);
        assert_eq!(walk_as(19), Err(BatchError::RecordsRemain), "{codec:?}");
        assert_eq!(walk_as(21), Err(BatchError::Record { index: 20, fault: RecordFault::EndOfData }), "{codec:?}");
        assert_eq!(walk_as(i32::MAX), Err(BatchError::Record { index: 20, fault: RecordFault::EndOfData }), "{codec:?}");
        assert_eq!(walk_as(-1), Err(BatchError::NegativeCount(-1)), "{codec:?}");
    }
}

#[test]
fn each_varint_of_a_record_overwritten_by_the_largest_one_is_refused() {
    let largest = [0xfe, 0xff, 0xff, 0xff, 0x0f];
    for codec in Codec::ALL {
        let plain = sample(Codec::None);
        for at in 0..100 {
            let mut records = plain[HEADER_BYTES..].to_vec();
            records[at..at + 5].copy_from_slice(&largest);
            let batch = batch_around(codec, 20, &compress(codec, &records), |_| ());
            // Inside of a key, a value or the deltas the bytes may be anything.
            if let Ok(records) = walk(&batch, 10_000) {
                assert_eq!(records.len(), 20);
            }
        }
    }
}

fn compress(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    match codec {
        Codec::None => bytes.to_vec(),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Codec::Snappy => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
        Codec::Lz4 => {
            let frame = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max4MB);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Codec::Zstd => zstd::encode_all(bytes, 3).unwrap(),
    }
}

#[test]
fn a_bomb_of_each_codec_stops_at_the_cap() {
    // One record of 4 MiB of zeroes, whose size is honest.
    let body = vec![0_u8; 4 << 20];
    let mut builder = BatchBuilder::new();
    builder.append(0, None, Some(&body), &[]);
    let plain = builder.build();
    for codec in Codec::ALL.into_iter().skip(1) {
        let bomb = batch_around(codec, 1, &compress(codec, &plain[HEADER_BYTES..]), |_| ());
        assert!(bomb.len() < plain.len() / 20, "{codec:?}: {}", bomb.len());
        assert_eq!(walk(&bomb, 1 << 18), Err(BatchError::DecompressedTooLarge { max_bytes: 1 << 18 }), "{codec:?}");
        assert_eq!(walk(&bomb, 5 << 20).unwrap()[0].value.as_ref().map(Vec::len), Some(body.len()), "{codec:?}");
    }
}

#[test]
fn members_and_frames_after_one_another_are_read_as_one_where_kafka_does() {
    let plain = sample(Codec::None);
    let (first, second) = plain[HEADER_BYTES..].split_at(333);
    for codec in [Codec::Gzip, Codec::Zstd] {
        let records = [compress(codec, first), compress(codec, second)].concat();
        assert_eq!(walk(&batch_around(codec, 20, &records, |_| ()), 10_000).unwrap().len(), 20, "{codec:?}");
    }
}

#[test]
fn lz4_frames_that_no_java_consumer_reads_are_refused() {
    let batch = sample(Codec::Lz4);
    let records = &batch[HEADER_BYTES..];
    let walk_with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut records = records.to_vec();
        change(&mut records);
        walk(&batch_around(Codec::Lz4, 20, &records, |_| ()), 10_000)
    };
    assert!(walk_with(&|_| ()).is_ok());
    // The descriptor's checksum, the magic, blocks that depend on each other.
    assert!(walk_with(&|records| records[6] ^= 1).is_err());
    assert!(walk_with(&|records| records[0] ^= 1).is_err());
    assert!(
        walk_with(&|records| {
            records[4] &= !0x20;
            let [_, _, checksum, _] = twox_hash::XxHash32::oneshot(0, &records[4..6]).to_be_bytes();
            records[6] = checksum;
        })
        .is_err()
    );
    // The end mark is missing.
    assert!(walk_with(&|records| records.truncate(records.len() - 4)).is_err());
    // What follows the frame is not looked at.
    assert!(walk_with(&|records| records.push(1)).is_ok());
}

#[test]
fn a_follower_refuses_a_wrong_checksum_trailing_bytes_and_negative_offsets() {
    let batch = sample(Codec::None);
    assert!(SequencedBatch::from_replicated(batch.clone()).is_ok());
    let mut wrong = batch.to_vec();
    wrong[100] ^= 1;
    assert!(matches!(SequencedBatch::from_replicated(wrong.into()), Err(BatchError::WrongCrc { .. })));
    assert_eq!(SequencedBatch::from_replicated([&batch[..], &[0]].concat().into()), Err(BatchError::TrailingBytes(1)));
    let negative = BatchBuilder::new().with_base_offset(-5).build();
    assert!(matches!(SequencedBatch::from_replicated(negative), Err(BatchError::OffsetRange { .. })));
}

#[test]
fn a_follower_takes_a_piece_of_a_log_batch_by_batch_with_its_gaps_and_nothing_that_goes_back() {
    let at = |base_offset: i64| {
        let mut builder = BatchBuilder::new().with_base_offset(base_offset);
        builder.append(1, None, Some(b"value"), &[]);
        builder.append(2, None, Some(b"value"), &[]);
        builder.build()
    };
    let piece = |bases: &[i64]| Bytes::from(bases.iter().map(|base| at(*base)).collect::<Vec<_>>().concat());
    let bases = |piece: &Bytes| {
        SequencedBatch::all_replicated(piece).map(|all| all.iter().map(|batch| batch.header().base_offset).collect::<Vec<_>>())
    };
    assert_eq!(bases(&piece(&[3, 5, 20])), Ok(vec![3, 5, 20]));
    assert_eq!(bases(&Bytes::new()), Ok(vec![]));
    let whole = piece(&[3, 5]);
    assert_eq!(bases(&whole.slice(..whole.len() - 1)), Ok(vec![3]), "a cut end is left out");
    assert_eq!(bases(&piece(&[3, 4])), Err(BatchError::OffsetGoesBack { base_offset: 4, expected: 5 }));
    let mut wrong = whole.to_vec();
    *wrong.last_mut().unwrap() ^= 1;
    assert!(matches!(bases(&wrong.into()), Err(BatchError::WrongCrc { .. })));
}
