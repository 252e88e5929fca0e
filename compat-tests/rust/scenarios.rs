//! The scenarios on topics and records, for each library that can express them.

use crate::player::{LARGEST_VALUE_BYTES, PATIENCE, Played, Record, Table, check, equal, names, now_ms, records, texts, until};

/// Where a reader starts.
#[derive(Clone, Copy, Debug)]
pub enum From {
    Offset(i64),
    /// Costs half a second with librdkafka, which asks for the offset before it knows the leader, and then waits that long.
    Earliest,
}

#[derive(Clone, Copy, Debug)]
pub enum At {
    Earliest,
    Latest,
    Timestamp(i64),
}

/// A library's refusal: Kafka's name for the error, in the library's own spelling, and its text.
#[derive(Debug)]
pub struct Refusal(pub String);

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

pub type Answer<T = ()> = Result<T, Refusal>;

/// What the scenarios on records need of a library.
pub trait Library {
    fn create(&self, name: &str, partitions: i32) -> Answer;
    fn delete(&self, name: &str) -> Answer;
    fn topics(&self) -> Answer<Vec<String>>;
    fn produce(&self, topic: &str, records: &[Record], codec: &str) -> Answer<Vec<(i32, i64)>>;
    /// Exactly count records, of partition 0 or, from the earliest offset, of the given one.
    fn read(&self, topic: &str, partition: i32, from: From, count: usize) -> Answer<Vec<Record>>;
    /// How many records there are from the offset on, within a moment.
    fn after(&self, topic: &str, partition: i32, offset: i64) -> Answer<usize>;
    /// None where no record is at or after the time.
    fn offset_at(&self, topic: &str, at: At) -> Answer<Option<i64>>;
}

/// The scenarios that both libraries can express.
pub fn table<L: Library>() -> Table<L> {
    vec![
        ("auto-create", auto_create),
        ("recreate-topic", recreate_topic),
        ("codecs", codecs),
        ("null-key-and-value", null_key_and_value),
        ("record-near-limit", record_near_limit),
        ("record-over-limit", record_over_limit),
        ("read-from-start", read_from_start),
        ("read-from-offset", read_from_offset),
        ("read-from-timestamp", read_from_timestamp),
        ("list-offsets", list_offsets),
    ]
}

/// The answer must be a refusal that names one of these errors (each library has its own spelling).
pub fn refused<T: std::fmt::Debug>(answer: Answer<T>, errors: &[&str], what: &str) -> Played {
    match answer {
        Ok(value) => Err(format!("{what} was not refused: {value:.100?}").into()),
        Err(Refusal(text)) => check(errors.iter().any(|error| text.contains(error)), || format!("{what}: expected {errors:?}, got {text}")),
    }
}

pub fn created<L: Library>(library: &L, name: &'static str) -> Played<&'static str> {
    library.create(name, 1)?;
    known(library, name)?;
    Ok(name)
}

/// Apache Kafka's controller answers before its broker knows the topic.
pub fn known<L: Library>(library: &L, name: &str) -> Played {
    until(PATIENCE, || format!("{name} is known to the broker"), || Ok(library.topics()?.iter().any(|topic| topic == name)))
}

pub fn gone<L: Library>(library: &L, name: &str) -> Played {
    until(PATIENCE, || format!("{name} is gone"), || Ok(!library.topics()?.iter().any(|topic| topic == name)))
}

/// Reads all of partition 0 and looks that no further record follows.
pub fn exactly<L: Library>(library: &L, topic: &str, from: From, count: usize) -> Played<Vec<Record>> {
    let got = library.read(topic, 0, from, count)?;
    equal(got.len(), count, "records")?;
    let next = got.last().map_or(0, |last| last.offset + 1);
    equal(library.after(topic, 0, next)?, 0, "records too many")?;
    Ok(got)
}

fn auto_create<L: Library>(library: &L) -> Played {
    let name = "made-by-producing";
    equal(library.produce(name, &[Record { partition: None, ..Record::of("x") }], "none")?, vec![(0, 0)], "position")?;
    equal(texts(&exactly(library, name, From::Offset(0), 1)?), vec!["x".into()], "values")
}

fn recreate_topic<L: Library>(library: &L) -> Played {
    let name = created(library, "again")?;
    library.produce(name, &records(&names(5, "old"), 1), "none")?;
    library.delete(name)?;
    gone(library, name)?;
    created(library, name)?;
    equal(library.produce(name, &[Record::of("new")], "none")?, vec![(0, 0)], "position")?;
    equal(texts(&exactly(library, name, From::Offset(0), 1)?), vec!["new".to_owned()], "values")
}

fn codecs<L: Library>(library: &L) -> Played {
    for (codec, topic) in
        [("none", "codec-none"), ("gzip", "codec-gzip"), ("snappy", "codec-snappy"), ("lz4", "codec-lz4"), ("zstd", "codec-zstd")]
    {
        let (name, values) = (created(library, topic)?, names(200, &"compressible ".repeat(20)));
        library.produce(name, &records(&values, 1), codec)?;
        equal(texts(&exactly(library, name, From::Offset(0), 200)?), values, codec)?;
    }
    Ok(())
}

fn null_key_and_value<L: Library>(library: &L) -> Played {
    let name = created(library, "nulls")?;
    let some = |text: &str| Some(text.as_bytes().to_vec());
    let pairs = vec![(None, some("v")), (some(""), some("v")), (some("k"), None), (some("k"), some("")), (None, None)];
    let sent: Vec<Record> = pairs.iter().map(|(key, value)| Record { key: key.clone(), value: value.clone(), ..Record::of("") }).collect();
    library.produce(name, &sent, "none")?;
    let got = exactly(library, name, From::Offset(0), 5)?;
    equal(got.into_iter().map(|record| (record.key, record.value)).collect(), pairs, "records")
}

fn record_near_limit<L: Library>(library: &L) -> Played {
    let (name, value) = (created(library, "near")?, vec![7; LARGEST_VALUE_BYTES]);
    equal(library.produce(name, &[Record::of(value.clone())], "none")?, vec![(0, 0)], "position")?;
    let got = exactly(library, name, From::Offset(0), 1)?;
    check(got.iter().all(|record| record.value.as_ref() == Some(&value)), || "the value differs".into())
}

fn record_over_limit<L: Library>(library: &L) -> Played {
    let name = created(library, "over")?;
    let large = Record::of(vec![7; LARGEST_VALUE_BYTES + 1]);
    refused(library.produce(name, &[large], "none"), &["MessageSizeTooLarge", "MessageTooLarge"], "one byte more")?;
    equal(library.produce(name, &[Record::of("small")], "none")?, vec![(0, 0)], "position of the next record")
}

fn read_from_start<L: Library>(library: &L) -> Played {
    let (name, values) = (created(library, "start")?, names(100, "v"));
    library.produce(name, &records(&values, 1), "none")?;
    let got = exactly(library, name, From::Earliest, 100)?;
    equal(texts(&got), values, "values")?;
    equal(got.iter().map(|record| record.offset).collect(), (0..100).collect::<Vec<_>>(), "offsets")
}

fn read_from_offset<L: Library>(library: &L) -> Played {
    let (name, values) = (created(library, "middle")?, names(100, "v"));
    library.produce(name, &records(&values, 1), "none")?;
    equal(texts(&exactly(library, name, From::Offset(37), 63)?), values.into_iter().skip(37).collect(), "from offset 37")?;
    equal(library.after(name, 0, 100)?, 0, "records from the end")?;
    refused(library.read(name, 0, From::Offset(500), 1), &["OffsetOutOfRange", "AutoOffsetReset"], "an offset beyond the end")
}

/// A topic whose record i has the time base + i seconds.
fn timed<L: Library>(library: &L, name: &'static str) -> Played<i64> {
    let base = now_ms() - 3_600_000;
    created(library, name)?;
    let mut sent = records(&names(50, "v"), 1);
    for (record, time) in sent.iter_mut().zip((base..).step_by(1000)) {
        record.timestamp = Some(time);
    }
    library.produce(name, &sent, "none")?;
    Ok(base)
}

fn read_from_timestamp<L: Library>(library: &L) -> Played {
    let base = timed(library, "timed")?;
    for (after, first) in [(20_000, 20), (20_001, 21), (-5, 0)] {
        equal(library.offset_at("timed", At::Timestamp(base + after))?, Some(first), &format!("offset for base + {after} ms"))?;
    }
    let got = exactly(library, "timed", From::Offset(21), 29)?;
    equal(texts(&got), names(50, "v").into_iter().skip(21).collect(), "values")?;
    equal(got.first().and_then(|record| record.timestamp), Some(base + 21_000), "timestamp")
}

fn list_offsets<L: Library>(library: &L) -> Played {
    let base = timed(library, "offsets")?;
    for (at, offset) in
        [(At::Earliest, Some(0)), (At::Latest, Some(50)), (At::Timestamp(base + 30_000), Some(30)), (At::Timestamp(base + 100_000), None)]
    {
        equal(library.offset_at("offsets", at)?, offset, &format!("{at:?} with base {base}"))?;
    }
    Ok(())
}
