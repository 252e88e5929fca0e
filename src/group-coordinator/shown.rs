//! A record of `__consumer_offsets` as people read it: the JSON that Kafka's tools print of it, fields in the order of Kafka's schemas.
//!
//! In Kafka: `DumpLogSegments` (`--offsets-decoder`), `CoordinatorRecordJsonConverters`.

use ::coordinator::shown::{list, nullable, push, text, typed, versioned};
use protocol::primitives::Reader;

use crate::records::{CommittedOffset, GroupValue, Key, MemberValue, decode_group, decode_key, decode_offset};

/// The protocol type whose members' bytes are Kafka's own messages.
const CONSUMER: &str = "consumer";
const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Key and value of a record as JSON; the value is `None` if the record deletes. `None` for what this crate does not keep or cannot read.
#[must_use]
pub fn shown_record(key: &[u8], value: Option<&[u8]>) -> Option<(String, Option<String>)> {
    let kind = Reader::new(key).int16()?;
    let version = |value: &[u8]| Reader::new(value).int16();
    let (key, data) = match decode_key(key)? {
        Key::Offset { group_id, topic, partition } => {
            let key = format!(r#"{{"group":{},"topic":{},"partition":{partition}}}"#, text(group_id), text(topic));
            let show = |value: &[u8]| Some((version(value)?, offset(&decode_offset(value)?, version(value)?)));
            (key, value.map(show))
        }
        Key::Group { group_id } => {
            let show = |value: &[u8]| Some((version(value)?, group(&decode_group(value)?, version(value)?)));
            (format!(r#"{{"group":{}}}"#, text(group_id)), value.map(show))
        }
        Key::Other => return None,
    };
    let value = match data {
        None => None,
        Some(read) => read.map(|(version, data)| Some(versioned(version, &data)))?,
    };
    Some((typed(kind, &key), value))
}

fn offset(committed: &CommittedOffset, version: i16) -> String {
    let mut json = format!(r#"{{"offset":{}"#, committed.offset);
    if version >= 3 {
        push(&mut json, "leaderEpoch", &committed.leader_epoch.to_string());
    }
    push(&mut json, "metadata", &text(&committed.metadata));
    push(&mut json, "commitTimestamp", &committed.commit_timestamp_ms.to_string());
    if version == 1 {
        push(&mut json, "expireTimestamp", &committed.expire_timestamp_ms.unwrap_or(-1).to_string());
    }
    if !committed.topic_id.is_nil() {
        push(&mut json, "topicId", &format!("\"{}\"", base64(committed.topic_id.as_bytes(), URL_SAFE, "")));
    }
    json + "}"
}

fn group(group: &GroupValue<'_>, version: i16) -> String {
    let mut json = format!(r#"{{"protocolType":{}"#, text(group.protocol_type));
    push(&mut json, "generation", &group.generation_id.to_string());
    push(&mut json, "protocol", &nullable(group.protocol_name));
    push(&mut json, "leader", &nullable(group.leader));
    if version >= 2 {
        push(&mut json, "currentStateTimestamp", &group.state_timestamp_ms.to_string());
    }
    let is_consumer = group.protocol_type == CONSUMER;
    push(&mut json, "members", &list(group.members.iter().map(|one| member(one, version, is_consumer))));
    json + "}"
}

fn member(member: &MemberValue<'_>, version: i16, is_consumer: bool) -> String {
    let mut json = format!(r#"{{"memberId":{}"#, text(member.member_id));
    if version >= 3 {
        push(&mut json, "groupInstanceId", &nullable(member.group_instance_id));
    }
    push(&mut json, "clientId", &text(member.client_id));
    push(&mut json, "clientHost", &text(member.client_host));
    if version >= 1 {
        push(&mut json, "rebalanceTimeout", &member.rebalance_timeout_ms.to_string());
    }
    push(&mut json, "sessionTimeout", &member.session_timeout_ms.to_string());
    let own = |message: fn(Reader<'_>) -> Option<String>, bytes: &[u8]| {
        let read = if is_consumer { message(Reader::new(bytes)) } else { None };
        read.unwrap_or_else(|| raw(bytes))
    };
    push(&mut json, "subscription", &own(subscription, member.subscription));
    push(&mut json, "assignment", &own(assignment, member.assignment));
    json + "}"
}

/// `ConsumerProtocolSubscription`, versions 0 to 3; a later one is read as 3.
fn subscription(mut reader: Reader<'_>) -> Option<String> {
    let version = reader.int16()?;
    let count = reader.array_length(false, 2)?;
    let topics = (0..count).map(|_| reader.string(false).map(text)).collect::<Option<Vec<String>>>()?;
    let mut json = format!(r#"{{"topics":{}"#, list(topics.into_iter()));
    push(&mut json, "userData", &user_data(&mut reader)?);
    if version >= 1 {
        push(&mut json, "ownedPartitions", &partitions(&mut reader)?);
    }
    if version >= 2 {
        push(&mut json, "generationId", &reader.int32()?.to_string());
    }
    if version >= 3 {
        push(&mut json, "rackId", &nullable(reader.nullable_string(false)?));
    }
    Some(json + "}")
}

/// `ConsumerProtocolAssignment`, all versions.
fn assignment(mut reader: Reader<'_>) -> Option<String> {
    reader.int16()?;
    let mut json = format!(r#"{{"assignedPartitions":{}"#, partitions(&mut reader)?);
    push(&mut json, "userData", &user_data(&mut reader)?);
    Some(json + "}")
}

fn partitions(reader: &mut Reader<'_>) -> Option<String> {
    let mut topics = Vec::new();
    for _ in 0..reader.array_length(false, 6)? {
        let topic = text(reader.string(false)?);
        let count = reader.array_length(false, 4)?;
        let numbers = (0..count).map(|_| reader.int32().map(|number| number.to_string())).collect::<Option<Vec<String>>>()?;
        topics.push(format!(r#"{{"topic":{topic},"partitions":{}}}"#, list(numbers.into_iter())));
    }
    Some(list(topics.into_iter()))
}

fn user_data(reader: &mut Reader<'_>) -> Option<String> {
    let mut ahead = *reader;
    if ahead.int32()? == -1 {
        *reader = ahead;
        return Some("null".to_owned());
    }
    reader.bytes(false).map(raw)
}

fn raw(bytes: &[u8]) -> String {
    format!("\"{}\"", base64(bytes, STANDARD, "="))
}

fn base64(bytes: &[u8], alphabet: &[u8; 64], padding: &str) -> String {
    let mut written = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            match alphabet.get(bits >> (18 - 6 * place) & 0x3f) {
                Some(sign) if place <= chunk.len() => written.push(char::from(*sign)),
                _ => written.push_str(padding),
            }
        }
    }
    written
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use uuid::Uuid;

    use super::*;
    use crate::records::{group_record, group_tombstone, offset_record};

    #[test]
    fn commits_and_groups_are_shown_as_kafkas_tool_prints_them() {
        let committed = CommittedOffset {
            offset: 2,
            leader_epoch: -1,
            metadata: "a \"note\"\u{1}".into(),
            commit_timestamp_ms: 7,
            expire_timestamp_ms: None,
            topic_id: Uuid::from_u128(0x5457_f9ce_0f63_46f8_8e2a_5253_aa66_145c),
        };
        let record = offset_record("gé", "ort", 0, &committed);
        let (key, value) = shown_record(&record.key, record.value.as_deref()).unwrap();
        assert_eq!(key, r#"{"type":"1","data":{"group":"gé","topic":"ort","partition":0}}"#);
        let data = r#"{"offset":2,"leaderEpoch":-1,"metadata":"a \"note\"\u0001","commitTimestamp":7,"topicId":"VFf5zg9jRviOKlJTqmYUXA"}"#;
        assert_eq!(value.unwrap(), format!(r#"{{"version":"4","data":{data}}}"#));

        let subscription = b"\0\x03\0\0\0\x01\0\x03ort\0\0\0\x02ab\0\0\0\0\0\0\0\x05\xff\xff";
        let assignment = b"\0\0\0\0\0\x01\0\x03ort\0\0\0\x01\0\0\0\0\xff\xff\xff\xff";
        let member = MemberValue { member_id: "m", client_id: "c", client_host: "/h", subscription, assignment, ..MemberValue::default() };
        let value = GroupValue { protocol_type: "consumer", generation_id: 1, members: vec![member.clone()], ..GroupValue::default() };
        let record = group_record("g", &value);
        let (key, shown) = shown_record(&record.key, record.value.as_deref()).unwrap();
        assert_eq!(key, r#"{"type":"2","data":{"group":"g"}}"#);
        let shown = shown.unwrap();
        let messages = r#""subscription":{"topics":["ort"],"userData":"YWI=","ownedPartitions":[],"generationId":5,"rackId":null},"assignment":{"assignedPartitions":[{"topic":"ort","partitions":[0]}],"userData":null}}]}}"#;
        assert!(shown.ends_with(messages), "{shown}");
        // Of another protocol nothing is known.
        let record = group_record("g", &GroupValue { protocol_type: "connect", members: vec![member], ..GroupValue::default() });
        assert!(shown_record(&record.key, record.value.as_deref()).unwrap().1.unwrap().contains(r#""subscription":"AAMA"#));

        let record = group_tombstone("g");
        assert_eq!(shown_record(&record.key, None).unwrap().1, None);
        for length in 0..record.key.len() {
            assert_eq!(shown_record(&record.key[..length], None), None, "{length}");
        }
        assert_eq!(shown_record(b"\0\x03\0\0", Some(b"\0\0")), None, "a kind that is not kept");
    }
}
