//! The topics of a consumer's subscription, as the consumer protocol carries them in a member's metadata.

use protocol::primitives::Reader;

use std::collections::BTreeSet;

/// The protocol type of the Java consumer and of all that follow it. Other types (`connect`, ...) have metadata of their own, which nobody parses.
pub(crate) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Adds the topics of one subscription to `topics`. Only the part that all versions begin with is read (`ConsumerProtocol`, version 0).
/// `None` when it is not a subscription.
pub(crate) fn add_topics(metadata: &[u8], topics: &mut BTreeSet<Box<str>>) -> Option<()> {
    let mut reader = Reader::new(metadata);
    if reader.int16()? < 0 {
        return None;
    }
    for _ in 0..reader.array_length(false, 2)? {
        topics.insert(reader.string(false)?.into());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_topics_of_any_version_are_read_from_its_common_head() {
        let mut metadata = vec![0, 3, 0, 0, 0, 2];
        for topic in ["b", "a"] {
            metadata.extend_from_slice(&[0, 1]);
            metadata.extend_from_slice(topic.as_bytes());
        }
        metadata.extend_from_slice(&[9; 40]);
        let mut topics = BTreeSet::new();
        add_topics(&metadata, &mut topics).unwrap();
        assert_eq!(topics.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["a", "b"]);
    }

    #[test]
    fn garbage_is_no_subscription() {
        for garbage in [&[][..], &[0], &[0, 0], &[0xff, 0xff, 0, 0, 0, 0], &[0, 0, 0x7f, 0xff, 0xff, 0xff], &[0, 0, 0xff, 0xff, 0xff, 0xff]]
        {
            assert_eq!(add_topics(garbage, &mut BTreeSet::new()), None);
        }
    }
}
