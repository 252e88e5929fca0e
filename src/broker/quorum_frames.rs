//! The frames that only klamm's brokers send each other: pure forms, nothing is sent here.
//!
//! Each has the shape of a Kafka request so far as a key, a version and a correlation id go; the keys are none of Kafka's.
//!
//! An observer of the metadata quorum is called by nobody, since nobody need be able to reach it: it asks each voter for the next message
//! ([`Poll`]) and brings the answer along when it asks again.

use std::collections::BTreeMap;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use model::BrokerId;

use crate::config::HostPort;

/// A message from voter to voter.
pub(crate) const QUORUM_MESSAGE_KEY: i16 = 20_001;
/// An observer asks for the next message.
pub(crate) const POLL_KEY: i16 = 20_002;
/// A request to the active controller, on whatever listener.
pub(crate) const TO_CONTROLLER_KEY: i16 = 20_003;
/// Who is in the cluster?
pub(crate) const WHO_KEY: i16 = 20_004;
/// Key, version and correlation id.
pub(crate) const HEAD_BYTES: usize = 8;

/// A body with this key before it.
pub(crate) fn framed(key: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD_BYTES + body.len());
    frame.extend_from_slice(&key.to_be_bytes());
    frame.extend_from_slice(&[0; HEAD_BYTES - 2]);
    frame.extend_from_slice(body);
    frame
}

/// Key, correlation id and body of a frame that is klamm's own; `None` if it is one of Kafka's.
pub(crate) fn opened(frame: &Bytes) -> Option<(i16, [u8; 4], Bytes)> {
    let (key, correlation_id) = (frame.get(..2)?.try_into().ok()?, frame.get(4..HEAD_BYTES)?.try_into().ok()?);
    let key = i16::from_be_bytes(key);
    (QUORUM_MESSAGE_KEY..=WHO_KEY).contains(&key).then(|| (key, correlation_id, frame.slice(HEAD_BYTES..)))
}

/// A message from voter to voter, and of which cluster it is; empty before that is known.
pub(crate) fn framed_message(cluster_id: &str, message: &[u8]) -> Vec<u8> {
    let mut body = BytesMut::new();
    put_text(&mut body, cluster_id);
    body.put_slice(message);
    framed(QUORUM_MESSAGE_KEY, &body)
}

/// The same as it is received, without its head.
pub(crate) fn opened_message(mut body: Bytes) -> Option<(String, Bytes)> {
    Some((get_text(&mut body)?, body))
}

/// An observer's question for the next message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Poll {
    /// Who asks.
    pub(crate) observer: BrokerId,
    /// Which run of it.
    pub(crate) incarnation: u128,
    /// The cluster that it is in; empty before it knows.
    pub(crate) cluster_id: String,
    /// Whether this is the first question on its connection: what was under way to it is lost.
    pub(crate) is_first: bool,
    /// The number of the message that it answers, and its answer.
    pub(crate) answer: Option<(u64, Bytes)>,
}

impl Poll {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = BytesMut::new();
        body.put_i32(self.observer.get());
        body.put_u128(self.incarnation);
        put_text(&mut body, &self.cluster_id);
        body.put_u8(u8::from(self.is_first));
        // Messages are numbered from 1.
        body.put_u64(self.answer.as_ref().map_or(0, |(number, _)| *number));
        body.put_slice(self.answer.as_ref().map_or(&[], |(_, answer)| answer));
        framed(POLL_KEY, &body)
    }

    pub(crate) fn decode(mut body: Bytes) -> Option<Self> {
        let observer = BrokerId::new(body.try_get_i32().ok()?)?;
        let incarnation = body.try_get_u128().ok()?;
        let cluster_id = get_text(&mut body)?;
        let is_first = body.try_get_u8().ok()? != 0;
        let number = body.try_get_u64().ok()?;
        Some(Self { observer, incarnation, cluster_id, is_first, answer: (number > 0).then_some((number, body)) })
    }
}

/// What an observer that asked is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    /// A message and its number.
    Message(u64, Bytes),
    /// There is none now.
    Nothing,
    /// Another process has the observer's id.
    IdInUse,
    /// The voter is of another cluster.
    OtherCluster,
}

impl Polled {
    pub(crate) fn encode(&self) -> BytesMut {
        let mut body = BytesMut::new();
        match self {
            Self::Nothing => body.put_u8(0),
            Self::Message(number, message) => {
                body.put_u8(1);
                body.put_u64(*number);
                body.put_slice(message);
            }
            Self::IdInUse => body.put_u8(2),
            Self::OtherCluster => body.put_u8(3),
        }
        body
    }

    pub(crate) fn decode(mut body: Bytes) -> Option<Self> {
        match body.try_get_u8().ok()? {
            0 => Some(Self::Nothing),
            1 => Some(Self::Message(body.try_get_u64().ok()?, body)),
            2 => Some(Self::IdInUse),
            3 => Some(Self::OtherCluster),
            _ => None,
        }
    }
}

/// A registered broker, as a newcomer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Its id.
    pub id: BrokerId,
    /// Whether it takes part at present.
    pub is_alive: bool,
}

/// Who is in a cluster, as one of its brokers knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The cluster.
    pub cluster_id: String,
    /// Who votes, and where.
    pub voters: BTreeMap<BrokerId, HostPort>,
    /// An id that nobody has and that is offered to nobody else for a while; `None` unless that was asked for.
    pub offered: Option<BrokerId>,
    /// Who is registered.
    pub brokers: Vec<Resident>,
}

impl Who {
    pub(crate) fn encode(&self) -> BytesMut {
        let mut body = BytesMut::new();
        put_text(&mut body, &self.cluster_id);
        body.put_u32(u32::try_from(self.voters.len()).unwrap_or(0));
        for (id, address) in &self.voters {
            body.put_i32(id.get());
            put_text(&mut body, &address.host);
            body.put_u16(address.port);
        }
        body.put_i32(self.offered.map_or(-1, BrokerId::get));
        for broker in &self.brokers {
            body.put_i32(broker.id.get());
            body.put_u8(u8::from(broker.is_alive));
        }
        body
    }

    pub(crate) fn decode(mut body: Bytes) -> Option<Self> {
        let cluster_id = get_text(&mut body)?;
        let mut voters = BTreeMap::new();
        for _ in 0..body.try_get_u32().ok()? {
            let id = BrokerId::new(body.try_get_i32().ok()?)?;
            let host = get_text(&mut body)?;
            voters.insert(id, HostPort { host, port: body.try_get_u16().ok()? });
        }
        let offered = BrokerId::new(body.try_get_i32().ok()?);
        let mut brokers = Vec::new();
        while body.has_remaining() {
            let id = BrokerId::new(body.try_get_i32().ok()?)?;
            brokers.push(Resident { id, is_alive: body.try_get_u8().ok()? != 0 });
        }
        Some(Self { cluster_id, voters, offered, brokers })
    }
}

fn put_text(body: &mut BytesMut, text: &str) {
    // A name that is too long for its count is none.
    let length = u16::try_from(text.len()).unwrap_or(0);
    body.put_u16(length);
    body.put_slice(text.as_bytes().get(..usize::from(length)).unwrap_or_default());
}

fn get_text(body: &mut Bytes) -> Option<String> {
    let length = usize::from(body.try_get_u16().ok()?);
    let text = (body.remaining() >= length).then(|| body.split_to(length))?;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: i32) -> BrokerId {
        BrokerId::new(id).unwrap()
    }

    #[test]
    fn klamms_own_frames_are_told_from_kafkas() {
        let frame = Bytes::from(framed(QUORUM_MESSAGE_KEY, b"hello"));
        assert_eq!(opened(&frame), Some((QUORUM_MESSAGE_KEY, [0; 4], Bytes::from_static(b"hello"))));
        assert_eq!(opened(&Bytes::from_static(&[0, 18, 0, 0, 0, 0, 0, 1, 9])), None);
        assert_eq!(opened(&frame.slice(..7)), None);
        let (_, _, body) = opened(&Bytes::from(framed_message("abc", b"hello"))).unwrap();
        assert_eq!(opened_message(body), Some(("abc".to_owned(), Bytes::from_static(b"hello"))));
    }

    #[test]
    fn each_form_is_read_as_it_was_written_and_no_part_of_it_for_the_whole() {
        let answers = [None, Some((7, Bytes::from_static(b"yes")))];
        for answer in answers {
            let poll = Poll { observer: id(4), incarnation: 9 << 90, cluster_id: "c".to_owned(), is_first: answer.is_none(), answer };
            let frame = Bytes::from(poll.encode());
            let (key, _, body) = opened(&frame).unwrap();
            assert_eq!((key, Poll::decode(body.clone())), (POLL_KEY, Some(poll)));
            assert!((0..32).all(|length| Poll::decode(body.slice(..length)).is_none()));
        }
        for polled in [Polled::Nothing, Polled::Message(3, Bytes::from_static(b"m")), Polled::IdInUse, Polled::OtherCluster] {
            assert_eq!(Polled::decode(polled.encode().freeze()), Some(polled));
        }
        let voters = BTreeMap::from([(id(1), HostPort { host: "::1".to_owned(), port: 9093 })]);
        let brokers = vec![Resident { id: id(1), is_alive: true }, Resident { id: id(2), is_alive: false }];
        let who = Who { cluster_id: "abc".to_owned(), voters, offered: Some(id(3)), brokers };
        let body = who.encode().freeze();
        assert_eq!(Who::decode(body.clone()), Some(who));
        assert_eq!(Who::decode(body.slice(..body.len() - 1)), None);
    }
}
