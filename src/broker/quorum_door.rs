//! What klamm's brokers ask each other and no client asks: messages of the metadata quorum, observers' questions for theirs, and who is in the
//! cluster.
//!
//! The server hands every frame over that [`QuorumDoor::is_meant`] for it, from the controller listener or, where a broker has none, from the
//! listener that brokers use among themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use model::BrokerId;
use parking_lot::Mutex;
use quorum::MetadataQuorum;
use wire::clock::{SharedClock, timeout_at};

use crate::mailboxes::Visit;
use crate::quorum_frames::{POLL_KEY, Poll, Polled, QUORUM_MESSAGE_KEY, Resident, TO_CONTROLLER_KEY, WHO_KEY, Who, opened, opened_message};
use crate::voter_peers::VoterPeers;

/// How long an id stays offered to one newcomer. Its question with an id must have come by then.
const OFFERED_FOR: Duration = Duration::from_secs(10);
/// How long a question waits until its observer is admitted. It asks again.
const ADMIT_WITHIN: Duration = Duration::from_secs(2);

/// Answers what brokers ask each other. Cheap to clone.
#[derive(Clone)]
pub struct QuorumDoor {
    broker_id: BrokerId,
    quorum: Arc<dyn MetadataQuorum>,
    peers: VoterPeers,
    clock: SharedClock,
    /// Whether this broker needs nobody else to start.
    is_alone: bool,
    /// The ids that were offered to newcomers, and until when.
    offered: Arc<Mutex<BTreeMap<BrokerId, Duration>>>,
}

/// What a frame of klamm's own comes to.
pub enum Opened {
    /// The answer comes.
    Answer(quorum::BoxFuture<Result<Bytes, String>>),
    /// There is a request of Kafka's in it, for the active controller.
    Request(Bytes),
    /// It cannot be read.
    Malformed,
}

impl QuorumDoor {
    /// A door to this broker's quorum.
    #[must_use]
    pub(crate) fn new(broker_id: BrokerId, quorum: Arc<dyn MetadataQuorum>, peers: VoterPeers, clock: SharedClock, is_alone: bool) -> Self {
        Self { broker_id, quorum, peers, clock, is_alone, offered: Arc::default() }
    }

    /// Whether this broker starts as a cluster by itself. One that does not needs the others for it, and they need this one.
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Whether a frame is klamm's own.
    #[must_use]
    pub fn is_meant(frame: &[u8]) -> bool {
        frame.first_chunk().is_some_and(|key| (QUORUM_MESSAGE_KEY..=WHO_KEY).contains(&i16::from_be_bytes(*key)))
    }

    /// Opens a frame that is klamm's own.
    #[must_use]
    pub fn open(&self, frame: &Bytes) -> Opened {
        let Some((key, correlation_id, body)) = opened(frame) else { return Opened::Malformed };
        let this = self.clone();
        let answered = move |answer: &[u8]| {
            let mut frame = BytesMut::with_capacity(correlation_id.len() + answer.len());
            frame.put_slice(&correlation_id);
            frame.put_slice(answer);
            frame.freeze()
        };
        match key {
            TO_CONTROLLER_KEY => Opened::Request(body),
            QUORUM_MESSAGE_KEY => {
                let Some((theirs, message)) = opened_message(body) else { return Opened::Malformed };
                let mine = self.peers.cluster_id();
                if !theirs.is_empty() && !mine.is_empty() && theirs != mine {
                    // Its log is another one. A leader that wrote to this one would destroy it.
                    return Opened::Answer(Box::pin(async { Err("a message of another cluster's metadata quorum".to_owned()) }));
                }
                let answer = self.quorum.receive(message.to_vec());
                Opened::Answer(Box::pin(async move { answer.await.map(|answer| answered(&answer)).map_err(|error| error.to_string()) }))
            }
            POLL_KEY => match Poll::decode(body) {
                Some(poll) => Opened::Answer(Box::pin(async move { Ok(answered(&this.polled(poll).await.encode())) })),
                None => Opened::Malformed,
            },
            _ => Opened::Answer(Box::pin(async move { Ok(answered(&this.who(!body.is_empty()).encode())) })),
        }
    }

    async fn polled(&self, poll: Poll) -> Polled {
        let image = self.quorum.image();
        if image.cluster_id().is_some_and(|mine| !poll.cluster_id.is_empty() && poll.cluster_id != mine) {
            return Polled::OtherCluster;
        }
        let observer = poll.observer;
        if observer == self.broker_id || self.peers.address(observer).is_some() {
            return Polled::IdInUse;
        }
        let open = match self.peers.mailboxes().visit(poll, &*self.clock) {
            Visit::Open(open) => open,
            Visit::IdInUse => return Polled::IdInUse,
        };
        let is_known = self.quorum.observers().iter().any(|known| known.broker_id == observer);
        if self.quorum.leader() == Some(self.broker_id) && (open.is_new || !is_known) {
            let until = self.clock.monotonic() + ADMIT_WITHIN;
            if let Ok(Err(error)) = timeout_at(&*self.clock, until, self.quorum.admit_observer(observer)).await {
                tracing::debug!(%observer, %error, "an observer is not admitted yet");
            }
        }
        open.next(&*self.clock).await
    }

    fn who(&self, wants_id: bool) -> Who {
        let image = self.quorum.image();
        let brokers: Vec<_> = image.brokers().map(|broker| Resident { id: broker.id, is_alive: !broker.fenced }).collect();
        let voters = self.peers.addresses();
        let offered = wants_id.then(|| {
            let mut taken: BTreeSet<BrokerId> = voters.keys().copied().chain(brokers.iter().map(|broker| broker.id)).collect();
            taken.extend(self.quorum.observers().iter().map(|observer| observer.broker_id));
            offer(&taken, &mut self.offered.lock(), self.clock.monotonic())
        });
        Who { cluster_id: image.cluster_id().unwrap_or_default().to_owned(), voters, offered, brokers }
    }
}

/// The smallest id that nobody has or had, and that is not offered to another newcomer at present.
fn offer(taken: &BTreeSet<BrokerId>, offered: &mut BTreeMap<BrokerId, Duration>, now: Duration) -> BrokerId {
    offered.retain(|_, until| *until > now);
    let free = (1..i32::MAX).filter_map(BrokerId::new).find(|id| !taken.contains(id) && !offered.contains_key(id));
    let id = free.unwrap_or(BrokerId::new_or_zero(i32::MAX));
    offered.insert(id, now + OFFERED_FOR);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_newcomers_are_not_offered_the_same_id() {
        let taken = [1, 3].map(BrokerId::new_or_zero).into();
        let (mut offered, mut ids) = (BTreeMap::new(), Vec::new());
        for at in [Duration::ZERO, Duration::from_secs(1), OFFERED_FOR] {
            ids.push(offer(&taken, &mut offered, at).get());
        }
        assert_eq!(ids, [2, 4, 2], "the first has not come in time");
    }
}
