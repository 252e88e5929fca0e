//! Kafka's record formats in `__consumer_offsets`: offset commits (key types 0 and 1) and classic groups (key type 2).
//!
//! A key begins with its type, a value with its version. All versions are read. Written are those that Kafka 4.3 writes: offset commits as version
//! 4 (version 1 when the client set its own retention), groups as version 3. Key types 3 and up (consumer, share, streams groups) are not ours.
//!
//! In Kafka: `OffsetCommitKey`, `OffsetCommitValue`, `GroupMetadataKey`, `GroupMetadataValue`, `GroupCoordinatorRecordHelpers`.

use bytes::Bytes;
use protocol::primitives::{Reader, Writer};
use uuid::Uuid;

use coordinator::CoordinatorRecord;

const OFFSET_KEY_TYPE: i16 = 1;
const GROUP_KEY_TYPE: i16 = 2;
const OFFSET_VALUE_VERSION: i16 = 4;
const OFFSET_VALUE_VERSION_WITH_EXPIRY: i16 = 1;
const GROUP_VALUE_VERSION: i16 = 3;
const TOPIC_ID_TAG: u32 = 0;

/// What a record is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key<'a> {
    /// An offset that a group committed.
    Offset { group_id: &'a str, topic: &'a str, partition: i32 },
    /// A classic group.
    Group { group_id: &'a str },
    /// Something that this crate does not keep.
    Other,
}

/// A committed offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CommittedOffset {
    pub(crate) offset: i64,
    /// -1 when the client did not say.
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: Box<str>,
    pub(crate) commit_timestamp_ms: i64,
    /// Set by clients that ask for their own retention (OffsetCommit before version 5).
    pub(crate) expire_timestamp_ms: Option<i64>,
    /// Nil when the client named the topic only.
    pub(crate) topic_id: Uuid,
}

/// A classic group as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct GroupValue<'a> {
    pub(crate) protocol_type: &'a str,
    pub(crate) generation_id: i32,
    pub(crate) protocol_name: Option<&'a str>,
    pub(crate) leader: Option<&'a str>,
    /// -1 when unknown.
    pub(crate) state_timestamp_ms: i64,
    pub(crate) members: Vec<MemberValue<'a>>,
}

/// A member as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct MemberValue<'a> {
    pub(crate) member_id: &'a str,
    pub(crate) group_instance_id: Option<&'a str>,
    pub(crate) client_id: &'a str,
    pub(crate) client_host: &'a str,
    /// -1 when unknown.
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    pub(crate) subscription: &'a [u8],
    pub(crate) assignment: &'a [u8],
}

pub(crate) fn decode_key(key: &[u8]) -> Option<Key<'_>> {
    let mut reader = Reader::new(key);
    match reader.int16()? {
        0 | OFFSET_KEY_TYPE => {
            Some(Key::Offset { group_id: reader.string(false)?, topic: reader.string(false)?, partition: reader.int32()? })
        }
        GROUP_KEY_TYPE => Some(Key::Group { group_id: reader.string(false)? }),
        _ => Some(Key::Other),
    }
}

pub(crate) fn decode_offset(value: &[u8]) -> Option<CommittedOffset> {
    let mut reader = Reader::new(value);
    let version = reader.int16()?;
    if !(0..=4).contains(&version) {
        return None;
    }
    let flexible = version >= 4;
    let offset = reader.int64()?;
    let leader_epoch = if version >= 3 { reader.int32()? } else { -1 };
    let metadata = reader.string(flexible)?.into();
    let commit_timestamp_ms = reader.int64()?;
    let expire_timestamp_ms = if version == 1 { Some(reader.int64()?).filter(|at| *at != -1) } else { None };
    let mut topic_id = Uuid::nil();
    if flexible {
        reader.tagged_fields(|tag, mut field| {
            if tag == TOPIC_ID_TAG {
                topic_id = field.uuid()?;
            }
            Some(())
        })?;
    }
    Some(CommittedOffset { offset, leader_epoch, metadata, commit_timestamp_ms, expire_timestamp_ms, topic_id })
}

pub(crate) fn decode_group(value: &[u8]) -> Option<GroupValue<'_>> {
    let mut reader = Reader::new(value);
    let version = reader.int16()?;
    if !(0..=4).contains(&version) {
        return None;
    }
    let flexible = version >= 4;
    let mut group = GroupValue {
        protocol_type: reader.string(flexible)?,
        generation_id: reader.int32()?,
        protocol_name: reader.nullable_string(flexible)?,
        leader: reader.nullable_string(flexible)?,
        state_timestamp_ms: if version >= 2 { reader.int64()? } else { -1 },
        members: Vec::new(),
    };
    // Three texts, two byte fields and a number: no member takes fewer bytes than its three compact texts.
    for _ in 0..reader.array_length(flexible, 9)? {
        group.members.push(decode_member(&mut reader, version)?);
    }
    if flexible {
        reader.tagged_fields(|_, _| Some(()))?;
    }
    Some(group)
}

fn decode_member<'a>(reader: &mut Reader<'a>, version: i16) -> Option<MemberValue<'a>> {
    let flexible = version >= 4;
    let member = MemberValue {
        member_id: reader.string(flexible)?,
        group_instance_id: if version >= 3 { reader.nullable_string(flexible)? } else { None },
        client_id: reader.string(flexible)?,
        client_host: reader.string(flexible)?,
        rebalance_timeout_ms: if version >= 1 { reader.int32()? } else { -1 },
        session_timeout_ms: reader.int32()?,
        subscription: reader.bytes(flexible)?,
        assignment: reader.bytes(flexible)?,
    };
    if flexible {
        reader.tagged_fields(|_, _| Some(()))?;
    }
    Some(member)
}

fn offset_key(group_id: &str, topic: &str, partition: i32) -> Bytes {
    let mut key = Writer::default();
    key.int16(OFFSET_KEY_TYPE).string(false, group_id).string(false, topic).int32(partition);
    key.finish()
}

fn group_key(group_id: &str) -> Bytes {
    let mut key = Writer::default();
    key.int16(GROUP_KEY_TYPE).string(false, group_id);
    key.finish()
}

/// The record of a commit.
pub(crate) fn offset_record(group_id: &str, topic: &str, partition: i32, committed: &CommittedOffset) -> CoordinatorRecord {
    let mut value = Writer::default();
    if let Some(expire_timestamp_ms) = committed.expire_timestamp_ms {
        value.int16(OFFSET_VALUE_VERSION_WITH_EXPIRY).int64(committed.offset).string(false, &committed.metadata);
        value.int64(committed.commit_timestamp_ms).int64(expire_timestamp_ms);
    } else {
        value.int16(OFFSET_VALUE_VERSION).int64(committed.offset).int32(committed.leader_epoch);
        value.string(true, &committed.metadata).int64(committed.commit_timestamp_ms);
        if committed.topic_id.is_nil() {
            value.unsigned_varint(0);
        } else {
            value.unsigned_varint(1).unsigned_varint(0).unsigned_varint(16).raw(committed.topic_id.as_bytes());
        }
    }
    CoordinatorRecord { key: offset_key(group_id, topic, partition), value: Some(value.finish()) }
}

/// The tombstone of a commit.
pub(crate) fn offset_tombstone(group_id: &str, topic: &str, partition: i32) -> CoordinatorRecord {
    CoordinatorRecord { key: offset_key(group_id, topic, partition), value: None }
}

/// The record of a group.
pub(crate) fn group_record(group_id: &str, group: &GroupValue<'_>) -> CoordinatorRecord {
    let mut value = Writer::default();
    value.int16(GROUP_VALUE_VERSION).string(false, group.protocol_type).int32(group.generation_id);
    value.nullable_string(group.protocol_name).nullable_string(group.leader).int64(group.state_timestamp_ms);
    value.array_length(group.members.len());
    for member in &group.members {
        value
            .string(false, member.member_id)
            .nullable_string(member.group_instance_id)
            .string(false, member.client_id)
            .string(false, member.client_host);
        value.int32(member.rebalance_timeout_ms).int32(member.session_timeout_ms);
        value.byte_array(member.subscription).byte_array(member.assignment);
    }
    CoordinatorRecord { key: group_key(group_id), value: Some(value.finish()) }
}

/// The tombstone of a group.
pub(crate) fn group_tombstone(group_id: &str) -> CoordinatorRecord {
    CoordinatorRecord { key: group_key(group_id), value: None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn committed(leader_epoch: i32, expire_timestamp_ms: Option<i64>, topic_id: Uuid) -> CommittedOffset {
        let metadata = if topic_id.is_nil() { "hé" } else { "" };
        CommittedOffset { offset: 42, leader_epoch, metadata: metadata.into(), commit_timestamp_ms: 1000, expire_timestamp_ms, topic_id }
    }

    // Bytes that Apache Kafka 4.3.1 writes (its generated classes, `MessageUtil.toVersionPrefixedByteBuffer`).
    const OFFSET_KEY: &str = "000100016700017400000007";
    const OFFSETS: [&str; 6] = [
        "0000000000000000002a000368c3a900000000000003e8",
        "0001000000000000002a000368c3a900000000000003e800000000000007d0",
        "0002000000000000002a000368c3a900000000000003e8",
        "0003000000000000002a00000003000368c3a900000000000003e8",
        "0004000000000000002a000000030468c3a900000000000003e800",
        "0004000000000000002a000000030100000000000003e801001000000000000000010000000000000002",
    ];
    const GROUP_KEY: &str = "0002000167";
    const EMPTY_GROUP: &str = "0003000000000000ffffffff00000000000003e800000000";
    const GROUPS: [&str; 5] = [
        "00000008636f6e73756d657200000005000572616e676500016d0000000100016d00016300022f680000000a0000000201020000000103",
        "00010008636f6e73756d657200000005000572616e676500016d0000000100016d00016300022f68000000140000000a0000000201020000000103",
        "00020008636f6e73756d657200000005000572616e676500016d00000000000003e80000000100016d00016300022f68000000140000000a0000000201020000000103",
        "00030008636f6e73756d657200000005000572616e676500016d00000000000003e80000000100016d00016900016300022f68000000140000000a0000000201020000000103",
        "000409636f6e73756d6572000000050672616e6765026d00000000000003e802026d02690263032f68000000140000000a03010202030000",
    ];

    fn group(version: usize) -> GroupValue<'static> {
        GroupValue {
            protocol_type: "consumer",
            generation_id: 5,
            protocol_name: Some("range"),
            leader: Some("m"),
            state_timestamp_ms: if version >= 2 { 1000 } else { -1 },
            members: vec![MemberValue {
                member_id: "m",
                group_instance_id: if version >= 3 { Some("i") } else { None },
                client_id: "c",
                client_host: "/h",
                rebalance_timeout_ms: if version >= 1 { 20 } else { -1 },
                session_timeout_ms: 10,
                subscription: &[1, 2],
                assignment: &[3],
            }],
        }
    }

    #[test]
    fn keys_are_those_of_kafka() {
        assert_eq!(offset_tombstone("g", "t", 7).key, bytes(OFFSET_KEY));
        assert_eq!(group_tombstone("g").key, bytes(GROUP_KEY));
        assert_eq!(decode_key(&bytes(OFFSET_KEY)), Some(Key::Offset { group_id: "g", topic: "t", partition: 7 }));
        assert_eq!(decode_key(&bytes("000000016700017400000007")), Some(Key::Offset { group_id: "g", topic: "t", partition: 7 }));
        assert_eq!(decode_key(&bytes(GROUP_KEY)), Some(Key::Group { group_id: "g" }));
        assert_eq!(decode_key(&[0, 3, 0, 1, b'g']), Some(Key::Other));
    }

    #[test]
    fn offset_values_of_all_versions_are_read() {
        let id = Uuid::from_u64_pair(1, 2);
        let expected = [
            committed(-1, None, Uuid::nil()),
            committed(-1, Some(2000), Uuid::nil()),
            committed(-1, None, Uuid::nil()),
            committed(3, None, Uuid::nil()),
            committed(3, None, Uuid::nil()),
            committed(3, None, id),
        ];
        for (hex, expected) in OFFSETS.iter().zip(expected) {
            assert_eq!(decode_offset(&bytes(hex)), Some(expected), "{hex}");
        }
    }

    #[test]
    fn offset_values_are_written_as_kafka_4_3_writes_them() {
        let written = |committed: &CommittedOffset| offset_record("g", "t", 7, committed).value.unwrap();
        assert_eq!(written(&committed(3, None, Uuid::nil())), bytes(OFFSETS[4]));
        assert_eq!(written(&committed(3, None, Uuid::from_u64_pair(1, 2))), bytes(OFFSETS[5]));
        assert_eq!(written(&committed(-1, Some(2000), Uuid::nil())), bytes(OFFSETS[1]));
    }

    #[test]
    fn group_values_of_all_versions_are_read() {
        for (version, hex) in GROUPS.iter().enumerate() {
            assert_eq!(decode_group(&bytes(hex)), Some(group(version)), "{hex}");
        }
    }

    #[test]
    fn group_values_are_written_as_kafka_4_3_writes_them() {
        assert_eq!(group_record("g", &group(3)).value.unwrap(), bytes(GROUPS[3]));
        let empty = GroupValue { state_timestamp_ms: 1000, ..GroupValue::default() };
        assert_eq!(group_record("g", &empty).value.unwrap(), bytes(EMPTY_GROUP));
        assert_eq!(decode_group(&bytes(EMPTY_GROUP)), Some(empty));
    }

    #[test]
    fn cut_records_are_refused() {
        for hex in OFFSETS {
            let whole = bytes(hex);
            (0..whole.len()).for_each(|length| assert_eq!(decode_offset(&whole[..length]), None, "{hex} {length}"));
        }
        for hex in GROUPS {
            let whole = bytes(hex);
            (0..whole.len()).for_each(|length| assert_eq!(decode_group(&whole[..length]), None, "{hex} {length}"));
        }
        assert_eq!(decode_key(&[0]), None);
        assert_eq!(decode_key(&[0, 1, 0, 9, b'g']), None);
    }

    #[test]
    fn records_with_any_byte_overwritten_do_no_harm() {
        for hex in OFFSETS.iter().chain(&GROUPS) {
            let whole = bytes(hex);
            for at in 0..whole.len() {
                for byte in [0, 0x7f, 0x80, 0xff] {
                    let mut garbage = whole.clone();
                    garbage[at] = byte;
                    let _either = (decode_key(&garbage), decode_offset(&garbage), decode_group(&garbage));
                }
            }
        }
    }

    #[test]
    fn a_text_that_is_too_long_for_a_record_is_cut_at_a_character() {
        let record = group_tombstone(&"é".repeat(20_000));
        let Some(Key::Group { group_id }) = decode_key(&record.key) else { panic!("not a group") };
        assert_eq!(group_id.len(), 32_766);
    }
}
