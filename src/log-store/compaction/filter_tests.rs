use model::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence, Timestamp};
use record_batch::{Codec, TimestampType};

use super::super::map::MapLimits;
use super::*;

const NOW: i64 = 10_000;
const RETENTION: i64 = 500;

/// A record: offset delta, key, value.
type Record<'a> = (i32, Option<&'a str>, Option<&'a str>);

fn batch(base_offset: i64, records: &[Record<'_>], builder: BatchBuilder) -> Bytes {
    let mut builder = builder.with_base_offset(base_offset).with_leader_epoch(4);
    for (delta, key, value) in records {
        builder.append_at(*delta, 1_000 + i64::from(*delta), key.map(str::as_bytes), value.map(str::as_bytes));
    }
    builder.build()
}

fn plain(base_offset: i64, records: &[Record<'_>]) -> Bytes {
    batch(base_offset, records, BatchBuilder::new())
}

/// The newest offsets of these keys, of a log that was looked at up to `end`.
fn newest(keys: &[(&str, i64)], end: i64) -> OffsetMap {
    let limits = MapLimits { memory_bytes: 1 << 16, load_permille: 900, seeds: [1, 2] };
    let mut map = OffsetMap::new(&limits, Offset::ZERO, 100);
    for (key, offset) in keys {
        map.put(key.as_bytes(), Offset::new_or_zero(*offset)).unwrap();
    }
    map.advance_end(Offset::new_or_zero(end));
    map
}

struct Setting {
    map: OffsetMap,
    producers: ActiveProducers,
    aborted: Aborted,
    first_uncleanable: i64,
    now_ms: i64,
    transactions: SeenTransactions,
}

impl Setting {
    fn new(keys: &[(&str, i64)]) -> Self {
        let (producers, transactions) = (ActiveProducers::new(), SeenTransactions::default());
        let aborted = Aborted::default();
        Self { map: newest(keys, 1_000), producers, aborted, first_uncleanable: 2_000, now_ms: NOW, transactions }
    }

    fn decide(&mut self, bytes: &Bytes) -> Kept {
        let rules = FilterRules {
            now_ms: self.now_ms,
            delete_retention_ms: RETENTION,
            first_uncleanable: Offset::new_or_zero(self.first_uncleanable),
        };
        let (map, producers, transactions) = (&self.map, &self.producers, &mut self.transactions);
        let (aborted, dropped_markers, stays) = (&self.aborted, Vec::new(), Vec::new());
        let mut filter = Filter { map, producers, rules, aborted, transactions, dropped_markers, stays };
        filter.batch(&BatchView::parse(bytes).unwrap()).unwrap()
    }

    fn rewritten(&mut self, bytes: &Bytes) -> Bytes {
        match self.decide(bytes) {
            Kept::Rewritten(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }
}

fn header(bytes: &Bytes) -> BatchHeader {
    let view = BatchView::parse(bytes).unwrap();
    assert!(view.crc_is_valid());
    *view.header()
}

/// Offset, time, key and value of each record.
fn records(bytes: &Bytes) -> Vec<(i64, i64, String, Option<String>)> {
    let mut records = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    BatchView::parse(bytes)
        .unwrap()
        .walk_records(DecompressLimits::default(), &mut |record| {
            records.push((record.offset, record.timestamp, text(record.key.unwrap_or_default()), record.value.map(text)));
            ControlFlow::Continue(())
        })
        .unwrap();
    records
}

#[test]
fn a_batch_of_newest_records_is_kept_byte_for_byte() {
    let bytes = plain(5, &[(0, Some("a"), Some("1")), (1, Some("b"), Some("2"))]);
    assert_eq!(Setting::new(&[("a", 5), ("b", 6), ("c", 9)]).decide(&bytes), Kept::AsItIs);
    // A key that the dirty part does not have is the newest of its kind.
    assert_eq!(Setting::new(&[]).decide(&bytes), Kept::AsItIs);
}

#[test]
fn older_records_and_those_without_a_key_go_and_offsets_sequence_codec_and_times_stay() {
    let producer = (ProducerId::new_or_zero(7), ProducerEpoch::new_or_zero(3), Sequence::new(40));
    for codec in Codec::ALL {
        let builder = BatchBuilder::new().with_producer(producer.0, producer.1, producer.2).with_codec(codec, None);
        let all = [(0, Some("a"), Some("1")), (1, None, Some("x")), (2, Some("b"), Some("2")), (3, Some("c"), Some("3"))];
        let bytes = batch(100, &all, builder);
        let left = Setting::new(&[("a", 700), ("b", 102), ("c", 103), ("c", 800)]).rewritten(&bytes);
        assert_eq!(records(&left), [(102, 1_002, "b".to_owned(), Some("2".to_owned()))]);
        let (before, after) = (header(&bytes), header(&left));
        let kept = |header: BatchHeader| {
            (header.base_offset, header.last_offset_delta, header.partition_leader_epoch, header.attributes, header.producer())
        };
        assert_eq!(kept(after), kept(before), "{codec:?}");
        assert_eq!((after.record_count, after.max_timestamp), (1, 1_002));
    }
}

#[test]
fn a_batch_without_anything_new_goes() {
    let bytes = plain(5, &[(0, Some("a"), Some("1")), (1, None, Some("2"))]);
    assert_eq!(Setting::new(&[("a", 6)]).decide(&bytes), Kept::Nothing);
}

#[test]
fn what_lies_behind_the_maps_end_stays_whatever_the_map_says() {
    let mut setting = Setting::new(&[("a", 6)]);
    setting.map = newest(&[("a", 7)], 8);
    let bytes = plain(6, &[(0, Some("a"), Some("1")), (1, Some("a"), Some("2")), (2, Some("a"), Some("3")), (3, None, Some("4"))]);
    assert_eq!(records(&setting.rewritten(&bytes)).iter().map(|record| record.0).collect::<Vec<_>>(), [7, 8, 9]);
}

#[test]
fn a_tombstone_is_given_a_time_and_goes_when_it_has_come() {
    let bytes = plain(5, &[(0, Some("a"), None), (1, Some("b"), Some("2"))]);
    let keys = [("a", 5), ("b", 6)];
    let dated = Setting::new(&keys).rewritten(&bytes);
    let after = header(&dated);
    assert!(after.attributes.has_delete_horizon());
    assert_eq!((after.base_timestamp, after.max_timestamp), (NOW + RETENTION, 1_001));
    assert_eq!(records(&dated), records(&bytes));
    // Later it is as it is, until the time has come.
    let mut setting = Setting::new(&keys);
    setting.now_ms = NOW + RETENTION - 1;
    assert_eq!(setting.decide(&dated), Kept::AsItIs);
    setting.now_ms = NOW + RETENTION;
    let left = setting.rewritten(&dated);
    assert_eq!(records(&left), [(6, 1_001, "b".to_owned(), Some("2".to_owned()))]);
    // The horizon is the batch's and stays.
    assert_eq!(header(&left).base_timestamp, NOW + RETENTION);
    // A tombstone whose key has a newer record goes at once.
    assert_eq!(records(&Setting::new(&[("a", 50), ("b", 6)]).rewritten(&bytes)).len(), 1);
    assert!(!header(&Setting::new(&[("a", 50), ("b", 6)]).rewritten(&bytes)).attributes.has_delete_horizon());
}

#[test]
fn the_last_batch_of_a_known_producer_stays_as_a_header() {
    let builder = BatchBuilder::new().with_producer(ProducerId::new_or_zero(7), ProducerEpoch::new_or_zero(3), Sequence::new(40));
    let bytes = batch(100, &[(0, Some("a"), None), (1, Some("a"), Some("1"))], builder.with_codec(Codec::Zstd, None));
    let mut setting = Setting::new(&[("a", 700)]);
    assert_eq!(setting.decide(&bytes), Kept::Nothing);
    setting.producers.insert(7, LastRecord { last_offset: Some(100), producer_epoch: 3 });
    assert_eq!(setting.decide(&bytes), Kept::Nothing);
    setting.producers.insert(7, LastRecord { last_offset: Some(101), producer_epoch: 3 });
    let left = setting.rewritten(&bytes);
    let (before, after) = (header(&bytes), header(&left));
    assert_eq!(after.producer(), before.producer());
    assert_eq!((after.base_offset, after.last_offset(), after.record_count, left.len()), (100, 101, 0, 61));
    assert_eq!((after.base_timestamp, after.max_timestamp), (-1, before.max_timestamp));
    assert_eq!((after.attributes.codec(), after.attributes.has_delete_horizon()), (Ok(Codec::None), false));
    // And again.
    assert_eq!(setting.decide(&left), Kept::Rewritten(left.clone()));
    setting.producers.clear();
    assert_eq!(setting.decide(&left), Kept::Nothing);
}

#[test]
fn the_last_batch_of_what_is_cleaned_stays_as_a_header() {
    let bytes = plain(5, &[(0, Some("a"), Some("1")), (4, Some("a"), Some("1"))]);
    let mut setting = Setting::new(&[("a", 700)]);
    setting.first_uncleanable = 10;
    assert_eq!((header(&setting.rewritten(&bytes)).next_offset(), header(&setting.rewritten(&bytes)).record_count), (10, 0));
}

#[test]
fn log_append_time_is_kept_beside_a_horizon() {
    let builder = BatchBuilder::new().with_log_append_time(7_777);
    let bytes = batch(5, &[(0, Some("a"), None), (1, Some("b"), Some("1"))], builder);
    let dated = Setting::new(&[("a", 5), ("b", 60)]).rewritten(&bytes);
    assert_eq!(header(&dated).attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!((header(&dated).base_timestamp, header(&dated).max_timestamp), (NOW + RETENTION, 7_777));
    assert_eq!(records(&dated), [(5, 7_777, "a".to_owned(), None)]);
}

#[test]
fn a_marker_outlives_the_records_of_its_transaction_by_the_retention() {
    let producer = ProducerId::new_or_zero(9);
    let data = BatchBuilder::new().with_producer(producer, ProducerEpoch::ZERO, Sequence::new(0)).with_transactional(true);
    let data = batch(20, &[(0, Some("a"), Some("1"))], data);
    let marker = EndTxnMarker { is_commit: true, coordinator_epoch: 1 }.batch(producer, ProducerEpoch::ZERO, Timestamp(5));
    let marker = record_batch::CheckedBatch::from_trusted(marker).unwrap();
    let marker = marker.into_sequenced(Offset::new_or_zero(21), LeaderEpoch::ZERO, None).to_bytes();

    // The transaction's record is still there.
    let mut setting = Setting::new(&[("a", 20)]);
    assert_eq!(setting.decide(&data), Kept::AsItIs);
    assert_eq!(setting.decide(&marker), Kept::AsItIs);
    // Now it goes, and the marker still counts as the end of what was met.
    let mut setting = Setting::new(&[("a", 50)]);
    assert_eq!(setting.decide(&data), Kept::Nothing);
    assert_eq!(setting.decide(&marker), Kept::AsItIs);
    // The next time nothing of it is met.
    let mut setting = Setting::new(&[("a", 50)]);
    let dated = setting.rewritten(&marker);
    assert_eq!((header(&dated).base_timestamp, header(&dated).record_count), (NOW + RETENTION, 1));
    assert_eq!(setting.decide(&dated), Kept::AsItIs);
    setting.now_ms = NOW + RETENTION;
    assert_eq!(setting.decide(&dated), Kept::Nothing);
    // Unless it is the last thing that a known producer wrote.
    setting.producers.insert(9, LastRecord { last_offset: None, producer_epoch: 0 });
    assert_eq!(header(&setting.rewritten(&dated)).record_count, 0);
}
