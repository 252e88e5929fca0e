//! A record of `__transaction_state` as people read it: the JSON that Kafka's tools print of it, fields in the order of Kafka's schema.
//!
//! It is read from the bytes and not through this crate's state, so that a log of Kafka's shows what Kafka wrote, in its order.
//!
//! In Kafka: `DumpLogSegments` (`--transaction-log-decoder`), `TransactionLogValueJsonConverter`.

use ::coordinator::shown::{list, push, text, typed, versioned};
use protocol::primitives::Reader;

use crate::records::{CLIENT_TRANSACTION_VERSION_TAG, KEY_TYPE, Key, NEXT_PRODUCER_ID_TAG, PREVIOUS_PRODUCER_ID_TAG, decode_key};

/// Two-phase commit's (KIP-939), which klamm does not write.
const NEXT_PRODUCER_EPOCH_TAG: usize = 3;

/// Key and value of a record as JSON; the value is `None` if the record deletes. `None` for what this crate does not keep or cannot read.
#[must_use]
pub fn shown_record(key: &[u8], value: Option<&[u8]>) -> Option<(String, Option<String>)> {
    let Key::TransactionalId(id) = decode_key(key)? else { return None };
    let key = typed(KEY_TYPE, &format!(r#"{{"transactionalId":{}}}"#, text(id)));
    let value = match value {
        Some(value) => Some(shown_value(value)?),
        None => None,
    };
    Some((key, value))
}

/// What a value has in tagged fields, each left out at its default.
#[derive(Default)]
struct Tagged {
    previous_producer_id: Option<i64>,
    next_producer_id: Option<i64>,
    next_producer_epoch: Option<i16>,
    client_version: Option<i16>,
}

fn shown_value(value: &[u8]) -> Option<String> {
    let mut reader = Reader::new(value);
    let version = reader.int16()?;
    if !(0..=1).contains(&version) {
        return None;
    }
    let flexible = version >= 1;
    let (producer_id, producer_epoch) = (reader.int64()?, reader.int16()?);
    let (timeout_ms, status) = (reader.int32()?, reader.int8()?);
    let partitions = partitions(&mut reader, flexible)?;
    let (last_update_ms, start_ms) = (reader.int64()?, reader.int64()?);
    let mut tagged = Tagged::default();
    if flexible {
        reader.tagged_fields(|tag, mut field| {
            match usize::try_from(tag).ok()? {
                PREVIOUS_PRODUCER_ID_TAG => tagged.previous_producer_id = Some(field.int64()?).filter(|id| *id != -1),
                NEXT_PRODUCER_ID_TAG => tagged.next_producer_id = Some(field.int64()?).filter(|id| *id != -1),
                CLIENT_TRANSACTION_VERSION_TAG => tagged.client_version = Some(field.int16()?).filter(|version| *version != 0),
                NEXT_PRODUCER_EPOCH_TAG => tagged.next_producer_epoch = Some(field.int16()?).filter(|epoch| *epoch != -1),
                _ => {}
            }
            Some(())
        })?;
    }
    let mut json = format!(r#"{{"producerId":{producer_id}"#);
    let mut field = |name: &str, value: Option<String>| value.into_iter().for_each(|value| push(&mut json, name, &value));
    field("previousProducerId", tagged.previous_producer_id.map(|id| id.to_string()));
    field("nextProducerId", tagged.next_producer_id.map(|id| id.to_string()));
    field("producerEpoch", Some(producer_epoch.to_string()));
    field("nextProducerEpoch", tagged.next_producer_epoch.map(|epoch| epoch.to_string()));
    field("transactionTimeoutMs", Some(timeout_ms.to_string()));
    field("transactionStatus", Some(status.to_string()));
    field("transactionPartitions", Some(partitions));
    field("transactionLastUpdateTimestampMs", Some(last_update_ms.to_string()));
    field("transactionStartTimestampMs", Some(start_ms.to_string()));
    field("clientTransactionVersion", tagged.client_version.map(|version| version.to_string()));
    Some(versioned(version, &(json + "}")))
}

fn partitions(reader: &mut Reader<'_>, flexible: bool) -> Option<String> {
    let Some(count) = reader.nullable_array_length(flexible, 2)? else { return Some("null".to_owned()) };
    let mut topics = Vec::new();
    for _ in 0..count {
        let topic = text(reader.string(flexible)?);
        let count = reader.nullable_array_length(flexible, 4)??;
        let numbers = (0..count).map(|_| reader.int32().map(|number| number.to_string())).collect::<Option<Vec<String>>>()?;
        if flexible {
            reader.tagged_fields(|_, _| Some(()))?;
        }
        topics.push(format!(r#"{{"topic":{topic},"partitionIds":{}}}"#, list(numbers.into_iter())));
    }
    Some(list(topics.into_iter()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::collections::BTreeSet;

    use model::{PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicName, TopicPartition};

    use super::*;
    use crate::records::{record, tombstone};
    use crate::transaction::{State, Transaction};
    use crate::version::TransactionVersion;

    fn transaction(state: State, partitions: &[i32]) -> Transaction {
        let partition = |index: &i32| TopicPartition { topic: TopicName::from("t"), partition: PartitionIndex::new_or_zero(*index) };
        Transaction {
            state,
            partitions: partitions.iter().map(partition).collect::<BTreeSet<_>>(),
            producer_epoch: ProducerEpoch::new_or_zero(3),
            start: Some(Timestamp(5)),
            client_version: TransactionVersion::V2,
            ..Transaction::created(ProducerId::new_or_zero(7), 60_000, Timestamp(6))
        }
    }

    fn shown(transaction: &Transaction, version: TransactionVersion) -> String {
        let record = record("an \"id\"", transaction, version);
        let (key, value) = shown_record(&record.key, record.value.as_deref()).unwrap();
        assert_eq!(key, r#"{"type":"0","data":{"transactionalId":"an \"id\""}}"#);
        value.unwrap()
    }

    #[test]
    fn transactional_ids_are_shown_as_kafkas_tool_prints_them() {
        let ongoing = transaction(State::Ongoing, &[0, 2]);
        let times = r#""transactionLastUpdateTimestampMs":6,"transactionStartTimestampMs":5"#;
        let partitions =
            r#""transactionTimeoutMs":60000,"transactionStatus":1,"transactionPartitions":[{"topic":"t","partitionIds":[0,2]}]"#;
        let old = format!(r#"{{"version":"0","data":{{"producerId":7,"producerEpoch":3,{partitions},{times}}}}}"#);
        assert_eq!(shown(&ongoing, TransactionVersion::V0), old);
        let new = format!(
            r#"{{"version":"1","data":{{"producerId":7,"previousProducerId":7,"producerEpoch":3,{partitions},{times},"clientTransactionVersion":2}}}}"#
        );
        assert_eq!(shown(&ongoing, TransactionVersion::V2), new);
        assert!(shown(&transaction(State::Empty, &[]), TransactionVersion::V2).contains(r#""transactionPartitions":null"#));
        assert!(shown(&transaction(State::CompleteCommit, &[]), TransactionVersion::V2).contains(r#""transactionPartitions":[]"#));
        let changing = Transaction { next_producer_id: ProducerId::new(9), ..ongoing };
        assert!(shown(&changing, TransactionVersion::V2).contains(r#""previousProducerId":7,"nextProducerId":9,"producerEpoch""#));
    }

    #[test]
    fn a_deletion_has_no_value_and_what_is_cut_is_not_shown() {
        assert_eq!(shown_record(&tombstone("x").key, None).unwrap().1, None);
        let record = record("x", &transaction(State::Ongoing, &[1]), TransactionVersion::V2);
        let value = record.value.unwrap();
        (0..value.len()).for_each(|length| assert_eq!(shown_record(&record.key, Some(&value[..length])), None, "{length}"));
        (0..record.key.len()).for_each(|length| assert_eq!(shown_record(&record.key[..length], None), None, "{length}"));
    }
}
