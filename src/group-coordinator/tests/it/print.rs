//! Effects as text. Records are read by a decoder of their own, so that a mistake in the crate's cannot hide itself.

use bytes::{Buf, Bytes};
use group_coordinator::{CoordinatorRecord, GroupReply, TimerEffect, TimerKey};
use protocol::ErrorCode;

/// Member ids end in a counter's uuid; scripts write `c-#1`.
pub(crate) fn shorten(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("00000000-0000-0000-0000-") {
        let (before, from) = rest.split_at(at);
        let (uuid, after) = from.split_at(36);
        let number = u128::from_str_radix(&uuid[24..], 16).unwrap();
        out.push_str(before);
        out.push_str(&format!("#{number}"));
        rest = after;
    }
    out + rest
}

/// The inverse of [`shorten`] for one id.
pub(crate) fn lengthen(id: &str) -> String {
    match id.split_once('#') {
        Some((name, number)) => format!("{name}{}", uuid::Uuid::from_u128(number.parse().unwrap())),
        None => id.to_owned(),
    }
}

pub(crate) fn error(code: i16) -> String {
    ErrorCode::try_from_code(code).map_or_else(|| "ok".to_owned(), |error| format!("{error:?}"))
}

fn text(bytes: &[u8]) -> String {
    if bytes.len() > 100 {
        return format!("({} bytes)", bytes.len());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(|c| !c.is_control()) => format!("'{text}'"),
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn string(buffer: &mut Bytes) -> Option<String> {
    let length = buffer.get_i16();
    (length >= 0).then(|| String::from_utf8(buffer.split_to(length as usize).to_vec()).unwrap())
}

fn byte_field(buffer: &mut Bytes) -> Bytes {
    let length = buffer.get_i32();
    buffer.split_to(length as usize)
}

pub(crate) fn record(record: &CoordinatorRecord) -> String {
    let mut key = record.key.clone();
    let kind = key.get_i16();
    let group = string(&mut key).unwrap();
    if kind == 1 {
        let topic = string(&mut key).unwrap();
        let name = format!("record offset {group} {topic}-{}", key.get_i32());
        return match record.value.clone() {
            None => format!("{name} tombstone"),
            Some(value) => format!("{name} {}", offset_value(value)),
        };
    }
    assert_eq!(kind, 2);
    let Some(mut value) = record.value.clone() else { return format!("record group {group} tombstone") };
    assert_eq!(value.get_i16(), 3);
    let kind = string(&mut value).unwrap();
    let generation = value.get_i32();
    let protocol = string(&mut value).unwrap_or("null".into());
    let leader = string(&mut value).unwrap_or("null".into());
    let at = value.get_i64();
    let mut line = format!("record group {group} type='{kind}' gen={generation} protocol={protocol} leader={leader} at={at}");
    for _ in 0..value.get_i32() {
        let id = string(&mut value).unwrap();
        let instance = string(&mut value).map_or_else(String::new, |id| format!(" instance={id}"));
        let (client, host) = (string(&mut value).unwrap(), string(&mut value).unwrap());
        let (rebalance, session) = (value.get_i32(), value.get_i32());
        let (_subscription, assignment) = (byte_field(&mut value), byte_field(&mut value));
        line += &format!("\n    {id}{instance} client={client}{host} timeouts={session}/{rebalance} assignment={}", text(&assignment));
    }
    assert!(value.is_empty());
    line
}

fn offset_value(mut value: Bytes) -> String {
    let version = value.get_i16();
    let offset = value.get_i64();
    if version == 1 {
        let metadata = string(&mut value).unwrap();
        return format!("{offset} '{metadata}' at={} expires={}", value.get_i64(), value.get_i64());
    }
    assert_eq!(version, 4);
    let epoch = value.get_i32();
    let mut length = 0;
    for shift in (0..).step_by(7) {
        let byte = value.get_u8();
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    let metadata = value.split_to(length - 1);
    format!("{offset} epoch={epoch} {} at={}", text(&metadata), value.get_i64())
}

pub(crate) fn timer(timer: &TimerEffect) -> String {
    match timer {
        TimerEffect::Arm { key, at } => format!("arm {} at {}", timer_key(key), at.millis()),
        TimerEffect::Cancel { key } => format!("cancel {}", timer_key(key)),
    }
}

pub(crate) fn timer_key(key: &TimerKey) -> String {
    match key {
        TimerKey::Member { group_id, member_id } => format!("session {group_id} {member_id}"),
        TimerKey::Join { group_id } => format!("join phase {group_id}"),
        TimerKey::Sync { group_id } => format!("sync phase {group_id}"),
    }
}

fn name<T: std::fmt::Display>(value: Option<T>) -> String {
    let text = value.map_or("null".to_owned(), |value| value.to_string());
    if text.len() > 100 { format!("({} bytes)", text.len()) } else { text }
}

pub(crate) fn reply(reply: &GroupReply) -> Vec<String> {
    match reply {
        GroupReply::Join(reply) if reply.error_code != 0 => vec![format!("join {} member='{}'", error(reply.error_code), reply.member_id)],
        GroupReply::Join(reply) => {
            let member = |member: &protocol::messages::join_group_response::JoinGroupResponseMember| match &member.group_instance_id {
                Some(instance) => format!("{}({instance})", member.member_id),
                None => member.member_id.to_string(),
            };
            let members: Vec<String> = reply.members.iter().map(member).collect();
            let (kind, protocol) = (name(reply.protocol_type.as_ref()), name(reply.protocol_name.as_ref()));
            let skip = if reply.skip_assignment { " skip-assignment" } else { "" };
            let (id, leader, generation) = (&reply.member_id, &reply.leader, reply.generation_id);
            vec![format!("join ok member={id} gen={generation} {kind}/{protocol} leader={leader} members=[{}]{skip}", members.join(" "))]
        }
        GroupReply::Sync(reply) if reply.error_code != 0 => vec![format!("sync {}", error(reply.error_code))],
        GroupReply::Sync(reply) => {
            let (kind, protocol) = (name(reply.protocol_type.as_ref()), name(reply.protocol_name.as_ref()));
            vec![format!("sync ok {kind}/{protocol} assignment={}", text(&reply.assignment))]
        }
        GroupReply::Heartbeat(reply) => vec![format!("heartbeat {}", error(reply.error_code))],
        GroupReply::Leave(reply) => {
            let head = format!("leave {}", error(reply.error_code));
            let line = |member: &protocol::messages::leave_group_response::MemberResponse| {
                format!("  '{}' instance={} {}", member.member_id, name(member.group_instance_id.as_ref()), error(member.error_code))
            };
            std::iter::once(head).chain(reply.members.iter().map(line)).collect()
        }
        _ => offsets_and_admin(reply),
    }
}

fn offsets_and_admin(reply: &GroupReply) -> Vec<String> {
    let mut lines = Vec::new();
    match reply {
        GroupReply::OffsetCommit(reply) => {
            for topic in &reply.topics {
                for partition in &topic.partitions {
                    lines.push(format!("commit {}-{} {}", topic.name.as_str(), partition.partition_index, error(partition.error_code)));
                }
            }
        }
        GroupReply::TxnOffsetCommit(reply) => {
            for topic in &reply.topics {
                for partition in &topic.partitions {
                    lines.push(format!("txn-commit {}-{} {}", topic.name.as_str(), partition.partition_index, error(partition.error_code)));
                }
            }
        }
        GroupReply::OffsetFetch(reply) => {
            let unstable = |code: i16| if code == 0 { String::new() } else { format!(" {}", error(code)) };
            for topic in &reply.topics {
                for one in &topic.partitions {
                    let (metadata, unstable) = (name(one.metadata.as_ref()), unstable(one.error_code));
                    let place = format!("{}-{}", topic.name.as_str(), one.partition_index);
                    lines.push(format!(
                        "fetch {place} {} epoch={} '{metadata}'{unstable}",
                        one.committed_offset, one.committed_leader_epoch
                    ));
                }
            }
            for group in &reply.groups {
                lines.push(format!("fetch {} {}", group.group_id.as_str(), error(group.error_code)));
                for topic in &group.topics {
                    for one in &topic.partitions {
                        let (metadata, unstable) = (name(one.metadata.as_ref()), unstable(one.error_code));
                        let place = format!("{}-{}", topic.name.as_str(), one.partition_index);
                        lines.push(format!(
                            "  {place} {} epoch={} '{metadata}'{unstable}",
                            one.committed_offset, one.committed_leader_epoch
                        ));
                    }
                }
            }
        }
        GroupReply::OffsetDelete(reply) => {
            lines.push(format!("delete-offsets {}", error(reply.error_code)));
            for topic in &reply.topics {
                for partition in &topic.partitions {
                    lines.push(format!("  {}-{} {}", topic.name.as_str(), partition.partition_index, error(partition.error_code)));
                }
            }
        }
        GroupReply::ListGroups(reply) => {
            lines.push(format!("list {}", error(reply.error_code)));
            for group in &reply.groups {
                let (id, state) = (group.group_id.as_str(), &group.group_state);
                lines.push(format!("  {id} type='{}' state='{state}' kind='{}'", group.protocol_type, group.group_type));
            }
        }
        GroupReply::DescribeGroups(reply) => {
            for group in &reply.groups {
                let head = format!("describe {} {} {}", group.group_id.as_str(), error(group.error_code), group.group_state);
                lines.push(format!("{head} {}/{} {}", group.protocol_type, group.protocol_data, name(group.error_message.as_ref())));
                for member in &group.members {
                    let (id, instance) = (&member.member_id, name(member.group_instance_id.as_ref()));
                    let (metadata, assignment) = (text(&member.member_metadata), text(&member.member_assignment));
                    let client = format!("{}{}", member.client_id, member.client_host);
                    lines.push(format!("  {id} instance={instance} client={client} metadata={metadata} assignment={assignment}"));
                }
            }
        }
        GroupReply::DeleteGroups(reply) => {
            lines.extend(reply.results.iter().map(|result| format!("delete {} {}", result.group_id.as_str(), error(result.error_code))));
        }
        GroupReply::Join(_) | GroupReply::Sync(_) | GroupReply::Heartbeat(_) | GroupReply::Leave(_) => {}
    }
    lines
}
