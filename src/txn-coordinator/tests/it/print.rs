//! Effects as lines of text.

use bytes::Buf;
use protocol::ErrorCode;
use txn_coordinator::{CoordinatorRecord, Markers, TimerEffect, TimerKey, TxnReply};

const STATES: [&str; 6] = ["Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"];

fn code(code: i16) -> String {
    if code == 0 { "ok".to_owned() } else { format!("{:?}", ErrorCode::try_from_code(code).unwrap()) }
}

fn varint(bytes: &mut &[u8]) -> usize {
    let byte = bytes.get_u8();
    assert!(byte < 0x80, "a script has short fields only");
    byte.into()
}

/// Decodes by itself, so that the crate's decoder does not vouch for its encoder.
pub(crate) fn record(record: &CoordinatorRecord) -> String {
    let mut key = &record.key[..];
    assert_eq!(key.get_i16(), 0);
    let length = key.get_i16() as usize;
    let id = std::str::from_utf8(&key[..length]).unwrap().to_owned();
    let Some(value) = &record.value else { return format!("tombstone {id}") };
    let mut value = &value[..];
    let flexible = value.get_i16() == 1;
    let (producer_id, epoch, timeout) = (value.get_i64(), value.get_i16(), value.get_i32());
    let state = STATES[value.get_i8() as usize];
    let mut partitions = Vec::new();
    let topics = if flexible { varint(&mut value) as i32 - 1 } else { value.get_i32() };
    for _ in 0..topics {
        let length = if flexible { varint(&mut value) - 1 } else { value.get_i16() as usize };
        let topic = std::str::from_utf8(&value[..length]).unwrap().to_owned();
        value.advance(length);
        let count = if flexible { varint(&mut value) as i32 - 1 } else { value.get_i32() };
        partitions.extend((0..count).map(|_| format!("{topic}-{}", value.get_i32())));
        if flexible {
            assert_eq!(varint(&mut value), 0);
        }
    }
    let (updated, started) = (value.get_i64(), value.get_i64());
    let mut tags = String::new();
    if flexible {
        for _ in 0..varint(&mut value) {
            let (tag, length) = (varint(&mut value), varint(&mut value));
            tags += &match (tag, length) {
                (0, 8) => format!(" previous={}", value.get_i64()),
                (1, 8) => format!(" next={}", value.get_i64()),
                (2, 2) => format!(" client=v{}", value.get_i16()),
                _ => panic!("unknown tag {tag} of {length} bytes"),
            };
        }
    }
    assert!(value.is_empty());
    let partitions = partitions.join(" ");
    format!("record {id} {producer_id}/{epoch} {state} [{partitions}] timeout={timeout} updated={updated} started={started}{tags}")
}

pub(crate) fn markers(markers: &Markers) -> String {
    let partitions: Vec<String> = markers.partitions.iter().map(|one| format!("{}-{}", one.topic, one.partition)).collect();
    format!(
        "markers {} {:?} {}/{} coordinator={} v{} [{}]",
        markers.transactional_id,
        markers.result,
        markers.producer_id,
        markers.producer_epoch,
        markers.coordinator_epoch,
        markers.transaction_version.feature_level(),
        partitions.join(" ")
    )
}

pub(crate) fn reply(reply: &TxnReply) -> Vec<String> {
    let producer = |id: i64, epoch: i16| if id == -1 && epoch == -1 { String::new() } else { format!(" {id}/{epoch}") };
    match reply {
        TxnReply::InitProducerId(reply) => {
            vec![format!("init {}{}", code(reply.error_code), producer(reply.producer_id.0, reply.producer_epoch))]
        }
        TxnReply::EndTxn(reply) => vec![format!("end {}{}", code(reply.error_code), producer(reply.producer_id.0, reply.producer_epoch))],
        TxnReply::AddOffsetsToTxn(reply) => vec![format!("add-offsets {}", code(reply.error_code))],
        TxnReply::AddPartitionsToTxn(result) => {
            let partitions = result.topic_results.iter().flat_map(|topic| {
                let partition = |one: &protocol::messages::add_partitions_to_txn_response::AddPartitionsToTxnPartitionResult| {
                    format!(" {}-{}={}", topic.name.as_str(), one.partition_index, code(one.partition_error_code))
                };
                topic.results_by_partition.iter().map(partition).collect::<Vec<_>>()
            });
            vec![format!("add {}:{}", result.transactional_id.as_str(), partitions.collect::<String>())]
        }
        TxnReply::DescribeTransactions(reply) => {
            let described = reply.transaction_states.iter().map(|one| {
                let topics = one.topics.iter().map(|topic| format!(" {}{:?}", topic.topic.as_str(), topic.partitions)).collect::<String>();
                format!(
                    "describe {} {} {}{} timeout={} start={}{topics}",
                    one.transactional_id.as_str(),
                    code(one.error_code),
                    one.transaction_state,
                    producer(one.producer_id.0, one.producer_epoch),
                    one.transaction_timeout_ms,
                    one.transaction_start_time_ms
                )
            });
            described.collect()
        }
        TxnReply::ListTransactions(reply) => {
            let mut lines = vec![format!("list {} unknown={:?}", code(reply.error_code), reply.unknown_state_filters)];
            lines.extend(
                reply
                    .transaction_states
                    .iter()
                    .map(|one| format!("    {} {} {}", one.transactional_id.as_str(), one.producer_id.0, one.transaction_state)),
            );
            lines
        }
    }
}

pub(crate) fn timer_key(key: &TimerKey) -> String {
    match key {
        TimerKey::Timeout { transactional_id } => format!("timeout of {transactional_id}"),
        TimerKey::Retry { transactional_id } => format!("retry of {transactional_id}"),
    }
}

pub(crate) fn timer(timer: &TimerEffect) -> String {
    match timer {
        TimerEffect::Arm { key, at } => format!("arm {} at {}", timer_key(key), at.millis()),
        TimerEffect::Cancel { key } => format!("cancel {}", timer_key(key)),
    }
}
