//! What the members of a classic consumer group tell each other through the coordinator, which does not look into it: who reads which topics
//! (`ConsumerProtocolSubscription`), and which partitions each one gets (`ConsumerProtocolAssignment`), by Kafka's range assignor. Pure.
//!
//! In Kafka: `ConsumerProtocol`, `RangeAssignor` (without racks, as no member tells one here).

use std::collections::BTreeMap;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::offsets::Place;

/// The assignor's name, by which members agree on it.
pub(crate) const RANGE: &str = "range";
/// The versions of both messages that are written; their beginnings are the same in all versions.
const VERSION: i16 = 0;

/// A member as the assignor sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) topics: Vec<String>,
}

/// A subscription to topics.
pub(crate) fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(VERSION);
    bytes.put_i32(length(topics.len()));
    topics.iter().for_each(|topic| put_string(&mut bytes, topic));
    // No data of the assignor's.
    bytes.put_i32(-1);
    bytes.freeze()
}

/// The topics of a subscription of any version; `None` if it is none.
pub(crate) fn subscribed_topics(mut bytes: Bytes) -> Option<Vec<String>> {
    bytes.try_get_i16().ok()?;
    (0..bytes.try_get_i32().ok()?).map(|_| string(&mut bytes)).collect()
}

/// An assignment of partitions.
pub(crate) fn assignment(places: &[Place]) -> Bytes {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in places {
        topics.entry(topic).or_default().push(*partition);
    }
    let mut bytes = BytesMut::new();
    bytes.put_i16(VERSION);
    bytes.put_i32(length(topics.len()));
    for (topic, partitions) in topics {
        put_string(&mut bytes, topic);
        bytes.put_i32(length(partitions.len()));
        partitions.into_iter().for_each(|partition| bytes.put_i32(partition));
    }
    bytes.put_i32(-1);
    bytes.freeze()
}

/// The partitions of an assignment of any version; `None` if it is none.
pub(crate) fn assigned(mut bytes: Bytes) -> Option<Vec<Place>> {
    let mut assigned = Vec::new();
    bytes.try_get_i16().ok()?;
    for _ in 0..bytes.try_get_i32().ok()? {
        let topic = string(&mut bytes)?;
        for _ in 0..bytes.try_get_i32().ok()? {
            assigned.push((topic.clone(), bytes.try_get_i32().ok()?));
        }
    }
    assigned.sort();
    Some(assigned)
}

/// Of each topic the members get ranges of partitions, as equal as can be, the first ones the larger. Members stand in the order of their instance
/// ids, then of their member ids.
pub(crate) fn range(members: &[Subscriber], partition_counts: &BTreeMap<String, usize>) -> BTreeMap<String, Vec<Place>> {
    let mut shares: BTreeMap<String, Vec<Place>> = members.iter().map(|member| (member.member_id.clone(), Vec::new())).collect();
    for (topic, count) in partition_counts {
        let mut readers: Vec<&Subscriber> = members.iter().filter(|member| member.topics.contains(topic)).collect();
        readers.sort_by_key(|member| (member.instance_id.is_none(), member.instance_id.clone(), member.member_id.clone()));
        let (Some(each), Some(larger)) = (count.checked_div(readers.len()), count.checked_rem(readers.len())) else { continue };
        let mut next = 0..*count;
        for (number, reader) in readers.into_iter().enumerate() {
            let size = each + usize::from(number < larger);
            let share = next.by_ref().take(size).filter_map(|partition| Some((topic.clone(), i32::try_from(partition).ok()?)));
            shares.entry(reader.member_id.clone()).or_default().extend(share);
        }
    }
    shares
}

fn length(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

fn put_string(bytes: &mut BytesMut, text: &str) {
    // Names of topics have 249 characters at most.
    bytes.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
    bytes.put_slice(text.as_bytes());
}

fn string(bytes: &mut Bytes) -> Option<String> {
    let length = usize::try_from(bytes.try_get_i16().ok()?).ok().filter(|length| *length <= bytes.len())?;
    String::from_utf8(bytes.split_to(length).to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(topic: &str, partition: i32) -> Place {
        (topic.to_owned(), partition)
    }

    fn member(id: &str, instance: Option<&str>, topics: &[&str]) -> Subscriber {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        Subscriber { member_id: id.to_owned(), instance_id: instance.map(str::to_owned), topics }
    }

    #[test]
    fn an_assignment_names_topics_and_partitions_and_a_cut_one_is_none() {
        let whole = b"\0\x03\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\x05\0\0\0\x01\xff\xff\xff\xff";
        assert_eq!(assigned(Bytes::from_static(whole)), Some(vec![place("t", 1), place("t", 5)]));
        for length in 0..whole.len() - 4 {
            assert_eq!(assigned(Bytes::copy_from_slice(&whole[..length])), None, "{length}");
        }
        assert_eq!(assigned(Bytes::from_static(b"\0\0\0\0\0\x01\x7f\xff")), None);
        let places = vec![place("a", 0), place("a", 7), place("b", 1)];
        assert_eq!(assigned(assignment(&places)), Some(places));
        assert_eq!(assigned(assignment(&[])), Some(vec![]));
    }

    #[test]
    fn a_subscription_reads_as_itself_and_later_versions_by_their_beginning() {
        assert_eq!(&subscription(&["t"])[..], b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff");
        assert_eq!(subscribed_topics(subscription(&["a", "bc"])), Some(vec!["a".to_owned(), "bc".to_owned()]));
        let later = b"\0\x03\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\0\0\0\0\x07\xff\xff";
        assert_eq!(subscribed_topics(Bytes::from_static(later)), Some(vec!["t".to_owned()]));
        assert_eq!(subscribed_topics(Bytes::from_static(b"\0\0\0\0\0\x02\0\x01t")), None);
    }

    #[test]
    fn ranges_are_as_equal_as_can_be_and_the_first_are_the_larger() {
        let counts = BTreeMap::from([("t".to_owned(), 5), ("u".to_owned(), 1)]);
        let members = [member("b", None, &["t"]), member("a", None, &["t", "u"]), member("c", Some("0"), &["t"])];
        let shares = range(&members, &counts);
        assert_eq!(shares["c"], [place("t", 0), place("t", 1)], "those with an instance id come first");
        assert_eq!(shares["a"], [place("t", 2), place("t", 3), place("u", 0)]);
        assert_eq!(shares["b"], [place("t", 4)]);
        let many: Vec<Subscriber> = ["a", "b", "c"].map(|id| member(id, None, &["u"])).to_vec();
        let shares = range(&many, &counts);
        assert_eq!(["a", "b", "c"].map(|id| shares[id].len()), [1, 0, 0], "nobody reads t, and u has one partition");
    }
}
