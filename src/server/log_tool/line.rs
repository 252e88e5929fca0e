//! A batch and a record as a line of text, in the words of Kafka's DumpLogSegments, and as JSON. Pure.

use broker::coordinators::{shown_offsets_record, shown_transaction_record};
use log_store::inspect::{BatchView, EndTxnMarker, RecordView, TimestampType};
use serde_json::{Map, Value, json};

/// Where a batch lies.
pub(super) struct Where<'a> {
    /// The topic's name, if it is known.
    pub(super) topic: Option<&'a str>,
    /// The partition, if the directory says it.
    pub(super) partition: Option<i32>,
    pub(super) file: &'a str,
    pub(super) position: u64,
}

/// What is shown of a record's key and value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    /// Nothing.
    Left,
    /// The bytes, as text.
    Plain,
    /// What they mean in `__consumer_offsets`.
    Offsets,
    /// What they mean in `__transaction_state`.
    Transactions,
}

/// Key and value as JSON; `None` for a record that can be none of the topic's. A value of `None` deletes.
type Decoded = Option<(String, Option<String>)>;

impl Data {
    /// What the record means in a coordinator's topic, if that is asked for.
    fn decoded(self, record: &RecordView<'_>) -> Option<Decoded> {
        let key = record.key.unwrap_or_default();
        match self {
            Self::Left | Self::Plain => None,
            Self::Offsets => Some(shown_offsets_record(key, record.value)),
            Self::Transactions => Some(shown_transaction_record(key, record.value)),
        }
    }
}

/// What stands for the key of a record that is none of the topic's, or of one that klamm does not write.
const UNKNOWN_RECORD: &str = "unknown, skipping";
/// What Kafka's tool prints for the value of a record that deletes.
const DELETE: &str = "<DELETE>";

fn timestamp_name(kind: TimestampType) -> &'static str {
    match kind {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

fn codec_name(batch: &BatchView<'_>) -> &'static str {
    batch.header().attributes.codec().map_or("unknown", |codec| codec.name())
}

/// A batch as DumpLogSegments prints it.
pub(super) fn batch_text(batch: &BatchView<'_>, position: u64) -> String {
    let header = batch.header();
    let attributes = header.attributes;
    let horizon = if attributes.has_delete_horizon() { format!("[{}]", header.base_timestamp) } else { ".empty".to_owned() };
    format!(
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} producerEpoch: {} partitionLeaderEpoch: {} \
         isTransactional: {} isControl: {} deleteHorizonMs: OptionalLong{horizon} position: {position} {}: {} size: {} magic: {} \
         compresscodec: {} crc: {} isvalid: {}",
        header.base_offset,
        header.last_offset(),
        header.record_count,
        header.base_sequence,
        header.last_sequence().unwrap_or(-1),
        header.producer_id,
        header.producer_epoch,
        header.partition_leader_epoch,
        attributes.is_transactional(),
        attributes.is_control(),
        timestamp_name(attributes.timestamp_type()),
        header.max_timestamp,
        header.size_bytes(),
        header.magic,
        codec_name(batch),
        header.crc,
        batch.crc_is_valid(),
    )
}

/// A record as DumpLogSegments prints it, with key and payload or without.
pub(super) fn record_text(batch: &BatchView<'_>, record: &RecordView<'_>, data: Data) -> String {
    let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    let attributes = batch.header().attributes;
    let keys: Vec<_> = record.headers.iter().map(|header| String::from_utf8_lossy(header.key)).collect();
    let mut line = format!(
        "| offset: {} {}: {} keySize: {} valueSize: {} sequence: {} headerKeys: [{}]",
        record.offset,
        timestamp_name(attributes.timestamp_type()),
        record.timestamp,
        length(record.key),
        length(record.value),
        sequence(batch, record).unwrap_or(-1),
        keys.join(","),
    );
    if attributes.is_control() {
        line.push_str(&match marker(record) {
            Some(marker) => format!(" endTxnMarker: {} coordinatorEpoch: {}", marker_name(&marker), marker.coordinator_epoch),
            None => " controlType: UNKNOWN".to_owned(),
        });
    } else if let Some(decoded) = data.decoded(record) {
        line.push_str(&match decoded {
            Some((key, value)) => format!(" key: {key} payload: {}", value.as_deref().unwrap_or(DELETE)),
            None => format!(" key: {UNKNOWN_RECORD}"),
        });
    } else if data == Data::Plain {
        for (name, bytes) in [("key", record.key), ("payload", record.value)] {
            if let Some(bytes) = bytes {
                line.push_str(&format!(" {name}: {}", String::from_utf8_lossy(bytes)));
            }
        }
    }
    line
}

/// The sequence of one record, which wraps from 2^31-1 to 0.
fn sequence(batch: &BatchView<'_>, record: &RecordView<'_>) -> Option<i32> {
    let base = Some(batch.header().base_sequence).filter(|base| *base >= 0)?;
    i32::try_from((i64::from(base) + i64::from(record.offset_delta)) & i64::from(i32::MAX)).ok()
}

fn marker(record: &RecordView<'_>) -> Option<EndTxnMarker> {
    EndTxnMarker::decode(record.key.unwrap_or_default(), record.value.unwrap_or_default()).ok().flatten()
}

fn marker_name(marker: &EndTxnMarker) -> &'static str {
    if marker.is_commit { "COMMIT" } else { "ABORT" }
}

fn absent(number: i64) -> Value {
    if number < 0 { Value::Null } else { json!(number) }
}

fn place(object: &mut Map<String, Value>, place: &Where<'_>) {
    if let Some(topic) = place.topic {
        object.insert("topic".to_owned(), json!(topic));
    }
    if let Some(partition) = place.partition {
        object.insert("partition".to_owned(), json!(partition));
    }
}

/// A batch as JSON; what it does not have is null.
pub(super) fn batch_json(batch: &BatchView<'_>, at: &Where<'_>) -> Value {
    let header = batch.header();
    let attributes = header.attributes;
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("batch"));
    place(&mut object, at);
    let horizon = attributes.has_delete_horizon().then_some(header.base_timestamp);
    let timestamp_type = match attributes.timestamp_type() {
        TimestampType::CreateTime => "create",
        TimestampType::LogAppendTime => "logappend",
    };
    let fields = json!({
        "file": at.file,
        "position": at.position,
        "size": header.size_bytes(),
        "base_offset": header.base_offset,
        "last_offset": header.last_offset(),
        "count": header.record_count,
        "codec": codec_name(batch),
        "tstype": timestamp_type,
        "base_ts": header.base_timestamp,
        "max_ts": header.max_timestamp,
        "leader_epoch": absent(i64::from(header.partition_leader_epoch)),
        "producer_id": absent(header.producer_id),
        "producer_epoch": absent(i64::from(header.producer_epoch)),
        "base_sequence": absent(i64::from(header.base_sequence)),
        "last_sequence": header.last_sequence(),
        "transactional": attributes.is_transactional(),
        "control": attributes.is_control(),
        "delete_horizon_ms": horizon,
        "magic": header.magic,
        "crc": header.crc,
        "crc_ok": batch.crc_is_valid(),
    });
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    Value::Object(object)
}

/// A record as JSON, with the names that `klamm consume --json` has.
pub(super) fn record_json(batch: &BatchView<'_>, record: &RecordView<'_>, at: &Where<'_>, data: Data) -> Value {
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("record"));
    place(&mut object, at);
    object.insert("offset".to_owned(), json!(record.offset));
    object.insert("ts".to_owned(), json!(record.timestamp));
    object.insert("sequence".to_owned(), json!(sequence(batch, record)));
    if batch.header().attributes.is_control() {
        let marker = marker(record);
        object.insert("marker".to_owned(), json!(marker.as_ref().map(|marker| marker_name(marker).to_lowercase())));
        object.insert("coordinator_epoch".to_owned(), json!(marker.map(|marker| marker.coordinator_epoch)));
    } else if let Some(decoded) = data.decoded(record) {
        let parsed = |json: &str| serde_json::from_str::<Value>(json).unwrap_or(Value::Null);
        let (key, value) =
            decoded.map_or((Value::Null, Value::Null), |(key, value)| (parsed(&key), value.map_or(Value::Null, |value| parsed(&value))));
        object.insert("key".to_owned(), key);
        object.insert("payload".to_owned(), value);
    } else if data == Data::Plain {
        client_tools::record_json::insert_data(&mut object, record);
    }
    Value::Object(object)
}
