//! Kafka's record format in `__transaction_state`: one record per transactional id, whole in each.
//!
//! A key begins with its type, a value with its version. Both versions of values are read; written is version 0 while `transaction.version` is 0,
//! else version 1.
//!
//! In Kafka: `TransactionLog`, `TransactionLogKey`, `TransactionLogValue`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use model::{PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicName, TopicPartition};
use protocol::primitives::{Reader, Writer};

use crate::transaction::{State, Transaction};
use crate::version::TransactionVersion;
use coordinator::CoordinatorRecord;

pub(crate) const KEY_TYPE: i16 = 0;
pub(crate) const PREVIOUS_PRODUCER_ID_TAG: usize = 0;
pub(crate) const NEXT_PRODUCER_ID_TAG: usize = 1;
pub(crate) const CLIENT_TRANSACTION_VERSION_TAG: usize = 2;

/// What a record is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key<'a> {
    /// A transactional id.
    TransactionalId(&'a str),
    /// Something that this crate does not keep.
    Other,
}

pub(crate) fn decode_key(key: &[u8]) -> Option<Key<'_>> {
    let mut reader = Reader::new(key);
    if reader.int16()? == KEY_TYPE { Some(Key::TransactionalId(reader.string(false)?)) } else { Some(Key::Other) }
}

const fn state_id(state: State) -> i8 {
    match state {
        State::Empty => 0,
        State::Ongoing => 1,
        State::PrepareCommit => 2,
        State::PrepareAbort => 3,
        State::CompleteCommit => 4,
        State::CompleteAbort => 5,
    }
}

/// The state that a value says, without what no record has ([`Transaction::last_producer_epoch`]).
pub(crate) fn decode_value(value: &[u8]) -> Option<Transaction> {
    let mut reader = Reader::new(value);
    let version = reader.int16()?;
    if !(0..=1).contains(&version) {
        return None;
    }
    let flexible = version >= 1;
    let producer_id = ProducerId::new(reader.int64()?)?;
    let producer_epoch = ProducerEpoch::new(reader.int16()?)?;
    let timeout_ms = reader.int32()?;
    let id = reader.int8()?;
    let state = State::ALL.into_iter().find(|state| state_id(*state) == id)?;
    let mut partitions = BTreeSet::new();
    // A text and a number, each of them one byte at least when compact.
    for _ in 0..reader.nullable_array_length(flexible, 2)?.unwrap_or(0) {
        let topic = TopicName::from(reader.string(flexible)?);
        for _ in 0..reader.nullable_array_length(flexible, 4)?? {
            partitions.insert(TopicPartition { topic: topic.clone(), partition: PartitionIndex::new(reader.int32()?)? });
        }
        if flexible {
            reader.tagged_fields(|_, _| Some(()))?;
        }
    }
    let last_update = Timestamp(reader.int64()?);
    let start_ms = reader.int64()?;
    let (mut previous_producer_id, mut next_producer_id, mut client_version) = (None, None, TransactionVersion::V0);
    if flexible {
        reader.tagged_fields(|tag, mut field| {
            match usize::try_from(tag).ok()? {
                PREVIOUS_PRODUCER_ID_TAG => previous_producer_id = ProducerId::new(field.int64()?),
                NEXT_PRODUCER_ID_TAG => next_producer_id = ProducerId::new(field.int64()?),
                CLIENT_TRANSACTION_VERSION_TAG => client_version = TransactionVersion::from_feature_level(field.int16()?)?,
                _ => {}
            }
            Some(())
        })?;
    }
    Some(Transaction {
        producer_id,
        previous_producer_id,
        next_producer_id,
        producer_epoch,
        last_producer_epoch: None,
        timeout_ms,
        state,
        partitions,
        last_update,
        start: (start_ms != -1).then_some(Timestamp(start_ms)),
        client_version,
    })
}

fn key(transactional_id: &str) -> Bytes {
    let mut key = Writer::default();
    key.int16(KEY_TYPE).string(false, transactional_id);
    key.finish()
}

/// The record of a transactional id, under the cluster's `transaction.version`.
pub(crate) fn record(transactional_id: &str, transaction: &Transaction, version: TransactionVersion) -> CoordinatorRecord {
    let version = version.log_value_version();
    let flexible = version >= 1;
    let mut value = Writer::default();
    value.int16(version).int64(transaction.producer_id.get()).int16(transaction.producer_epoch.get());
    value.int32(transaction.timeout_ms).int8(state_id(transaction.state));
    put_partitions(&mut value, flexible, transaction);
    value.int64(transaction.last_update.millis()).int64(transaction.start.map_or(-1, Timestamp::millis));
    if flexible {
        put_tagged_fields(&mut value, transaction);
    }
    CoordinatorRecord { key: key(transactional_id), value: Some(value.finish()) }
}

fn put_partitions(value: &mut Writer, flexible: bool, transaction: &Transaction) {
    if transaction.state == State::Empty {
        value.nullable_array_length(flexible, None);
        return;
    }
    let mut topics: BTreeMap<&TopicName, Vec<PartitionIndex>> = BTreeMap::new();
    for partition in &transaction.partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    value.nullable_array_length(flexible, Some(topics.len()));
    for (topic, partitions) in topics {
        value.string(flexible, topic.as_str()).nullable_array_length(flexible, Some(partitions.len()));
        for partition in partitions {
            value.int32(partition.get());
        }
        if flexible {
            value.unsigned_varint(0);
        }
    }
}

fn put_tagged_fields(value: &mut Writer, transaction: &Transaction) {
    let version = Some(transaction.client_version.feature_level()).filter(|level| *level != 0);
    let ids = [(PREVIOUS_PRODUCER_ID_TAG, transaction.previous_producer_id), (NEXT_PRODUCER_ID_TAG, transaction.next_producer_id)];
    let count = ids.iter().filter(|(_, id)| id.is_some()).count() + usize::from(version.is_some());
    value.unsigned_varint(count);
    for (tag, id) in ids {
        if let Some(id) = id {
            value.unsigned_varint(tag).unsigned_varint(8).int64(id.get());
        }
    }
    if let Some(level) = version {
        value.unsigned_varint(CLIENT_TRANSACTION_VERSION_TAG).unsigned_varint(2).int16(level);
    }
}

/// The tombstone of a transactional id.
pub(crate) fn tombstone(transactional_id: &str) -> CoordinatorRecord {
    CoordinatorRecord { key: key(transactional_id), value: None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    // Bytes that Apache Kafka 4.3.1 writes (`TransactionLog.keyToBytes`, `TransactionLog.valueToBytes`), at transaction.version 0, 1 and 2; the
    // partitions, which it writes in the order of a hash table, in theirs.
    const KEY: &str = "00000003746964";
    const ONGOING: [&str; 3] = [
        "0000000000000000000700030000ea60010000000100017400000002000000000000000200000000000007d000000000000003e8",
        "0001000000000000000700030000ea60010202740300000000000000020000000000000007d000000000000003e8020008000000000000000702020001",
        "0001000000000000000700030000ea60010202740300000000000000020000000000000007d000000000000003e8020008000000000000000702020002",
    ];
    const EMPTY: [&str; 2] = [
        "0000000000000000000700000000ea6000ffffffff00000000000007d0ffffffffffffffff",
        "0001000000000000000700000000ea60000000000000000007d0ffffffffffffffff00",
    ];
    const PREPARE: &str = "000100000000000000077fff0000ea60020202740300000000000000020000000000000007d000000000000003e803000800000000000000070108000000000000000902020002";
    const COMPLETE: [&str; 2] = [
        "0000000000000000000900000000ea60040000000000000000000007d000000000000003e8",
        "0001000000000000000900000000ea60040100000000000007d000000000000003e8020008000000000000000702020002",
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn transaction(state: State, client_version: TransactionVersion) -> Transaction {
        let partition = |index| TopicPartition { topic: TopicName::from("t"), partition: PartitionIndex::new_or_zero(index) };
        Transaction {
            producer_id: ProducerId::new_or_zero(7),
            previous_producer_id: Some(ProducerId::new_or_zero(7)),
            next_producer_id: None,
            producer_epoch: ProducerEpoch::new_or_zero(3),
            last_producer_epoch: Some(ProducerEpoch::new_or_zero(2)),
            timeout_ms: 60_000,
            state,
            partitions: if state == State::Empty { BTreeSet::new() } else { [partition(0), partition(2)].into() },
            last_update: Timestamp(2_000),
            start: (state != State::Empty).then_some(Timestamp(1_000)),
            client_version,
        }
    }

    fn check(transaction: &Transaction, version: TransactionVersion, hex: &str) {
        assert_eq!(record("tid", transaction, version).value.unwrap(), bytes(hex), "{transaction:?}");
        let mut stored = Transaction { last_producer_epoch: None, ..transaction.clone() };
        if version == TransactionVersion::V0 {
            stored = Transaction { previous_producer_id: None, next_producer_id: None, client_version: TransactionVersion::V0, ..stored };
        }
        assert_eq!(decode_value(&bytes(hex)), Some(stored));
    }

    #[test]
    fn keys_are_those_of_kafka() {
        assert_eq!(tombstone("tid").key, bytes(KEY));
        assert_eq!(decode_key(&bytes(KEY)), Some(Key::TransactionalId("tid")));
        assert_eq!(decode_key(&[0, 1, 0, 1, b'g']), Some(Key::Other));
        assert_eq!(decode_key(&[0, 0, 0, 9, b'g']), None);
        assert_eq!(decode_key(&[0]), None);
    }

    #[test]
    fn values_are_written_and_read_as_kafka_4_3_does() {
        use TransactionVersion::{V0, V1, V2};
        for (version, hex) in [V0, V1, V2].into_iter().zip(ONGOING) {
            check(&transaction(State::Ongoing, version), version, hex);
        }
        let empty = Transaction { previous_producer_id: None, producer_epoch: ProducerEpoch::ZERO, ..transaction(State::Empty, V0) };
        check(&empty, V0, EMPTY[0]);
        check(&empty, V2, EMPTY[1]);
        let prepare = Transaction {
            producer_epoch: ProducerEpoch::MAX,
            next_producer_id: ProducerId::new(9),
            ..transaction(State::PrepareCommit, V2)
        };
        check(&prepare, V2, PREPARE);
        let complete = Transaction {
            producer_id: ProducerId::new_or_zero(9),
            producer_epoch: ProducerEpoch::ZERO,
            partitions: BTreeSet::new(),
            ..transaction(State::CompleteCommit, V2)
        };
        check(&complete, V0, COMPLETE[0]);
        check(&complete, V2, COMPLETE[1]);
    }

    #[test]
    fn cut_values_are_refused() {
        for hex in ONGOING.iter().chain(&EMPTY).chain(&COMPLETE).chain([&PREPARE]) {
            let whole = bytes(hex);
            (0..whole.len()).for_each(|length| assert_eq!(decode_value(&whole[..length]), None, "{hex} {length}"));
        }
    }

    #[test]
    fn values_with_any_byte_overwritten_do_no_harm() {
        for hex in ONGOING.iter().chain(&EMPTY).chain(&COMPLETE).chain([&PREPARE]) {
            let whole = bytes(hex);
            for at in 0..whole.len() {
                for byte in [0, 0x7f, 0x80, 0xff] {
                    let mut garbage = whole.clone();
                    garbage[at] = byte;
                    let _either = (decode_key(&garbage), decode_value(&garbage));
                }
            }
        }
    }

    #[test]
    fn states_that_kafka_never_writes_are_refused() {
        let mut value = bytes(EMPTY[0]);
        for id in [6, 7, 8] {
            value[16] = id;
            assert_eq!(decode_value(&value), None);
        }
    }
}
