//! An observer of the metadata quorum: it finds the voters, and asks each of them for what the quorum has for it.
//!
//! It asks all of them, so that whichever leads can reach it at once. Its way out is all it needs: nobody calls it.
//!
//! In Kafka: the Fetch of a `KafkaRaftClient` that is no voter, and `controller.quorum.bootstrap.servers` (KIP-853).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use model::BrokerId;
use quorum::MetadataQuorum;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::PeerClient;
use wire::clock::{Clock, SharedClock, timeout_at};

use crate::config::HostPort;
use crate::quorum_frames::{Poll, Polled, WHO_KEY, Who, framed};
use crate::voter_peers::VoterPeers;

/// How long a broker that is asked may take to tell who is in the cluster.
const WHO_WITHIN: Duration = Duration::from_secs(2);
/// A voter that says nothing for so long is asked on a new connection.
const SILENCE_MAX: Duration = Duration::from_secs(6);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// Who votes is asked anew so often.
const VOTERS_EVERY: Duration = Duration::from_secs(10);

/// What an observer is.
pub(crate) struct Observing {
    pub(crate) broker_id: BrokerId,
    pub(crate) incarnation: u128,
    /// The cluster that it was in before, or is told to be in; empty if it was in none. A voter of another cluster is not to write to its log.
    pub(crate) cluster_id: String,
    /// Where to ask who votes.
    pub(crate) seeds: Vec<HostPort>,
    pub(crate) quorum: Arc<dyn MetadataQuorum>,
    pub(crate) peers: VoterPeers,
    pub(crate) clock: SharedClock,
}

/// Asks a broker who is in its cluster, and for an id for a newcomer if one is wanted.
///
/// # Errors
/// If it is not reached, or is no klamm.
pub async fn ask_who(address: &HostPort, wants_id: bool, clock: &dyn Clock) -> io::Result<Who> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
    let asked = async {
        let mut client = PeerClient::connect_to(&address.host, address.port).await?;
        client.exchange(&framed(WHO_KEY, if wants_id { &[1] } else { &[] })).await
    };
    let answer = timeout_at(clock, clock.monotonic() + WHO_WITHIN, asked).await.map_err(late)??;
    let body = (answer.len() >= 4).then(|| answer.slice(4..));
    body.and_then(Who::decode).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is no klamm"))
}

impl Observing {
    /// Observes until the broker stops.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let this = Arc::new(self);
        let mut asking = JoinSet::new();
        let mut asked: BTreeMap<BrokerId, tokio::task::AbortHandle> = BTreeMap::new();
        let mut leadership = this.quorum.leadership();
        // Whoever stops drops this future, and the set with all its tasks.
        let _stopped = stopping
            .run_until_cancelled(async {
                loop {
                    leadership.borrow_and_update();
                    this.find_voters().await;
                    let voters = this.peers.addresses();
                    asked.retain(|id, task| {
                        let stays = voters.contains_key(id) && !task.is_finished();
                        if !stays {
                            task.abort();
                        }
                        stays
                    });
                    for voter in voters.keys() {
                        asked.entry(*voter).or_insert_with(|| asking.spawn(Arc::clone(&this).ask_for_messages(*voter)));
                    }
                    while asking.try_join_next().is_some() {}
                    let pause = if voters.is_empty() || this.quorum.leader().is_none() { PAUSE } else { VOTERS_EVERY };
                    // A change of the leader may be one of the voters too.
                    let _changed_or_due = timeout_at(&*this.clock, this.clock.monotonic() + pause, leadership.changed()).await;
                }
            })
            .await;
    }

    /// Asks the seeds, and then the voters known so far, who votes.
    async fn find_voters(&self) {
        let known = self.peers.addresses();
        for address in self.seeds.iter().chain(known.values()) {
            match ask_who(address, false, &*self.clock).await {
                Ok(who) if !who.voters.is_empty() => return self.peers.learn(who.voters),
                Ok(_) => {}
                Err(error) => tracing::debug!(%address, %error, "a broker does not tell who votes"),
            }
        }
    }

    /// Asks one voter for messages, on one connection after the other.
    async fn ask_for_messages(self: Arc<Self>, voter: BrokerId) {
        let mut told = None;
        loop {
            let trouble = self.fetch_messages(voter).await;
            if told != Some(trouble.kind()) && matches!(trouble.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::PermissionDenied) {
                tracing::warn!(%voter, "this broker does not get the cluster's metadata, and tries again: {trouble}");
                told = Some(trouble.kind());
            } else if told != Some(trouble.kind()) {
                tracing::info!(%voter, error = %trouble, "a voter of the metadata quorum gives this observer nothing at present");
                told = Some(trouble.kind());
            }
            self.clock.sleep_until(self.clock.monotonic() + PAUSE).await;
        }
    }

    /// Asks until something goes wrong.
    async fn fetch_messages(&self, voter: BrokerId) -> io::Error {
        let Some(address) = self.peers.address(voter) else { return io::ErrorKind::NotFound.into() };
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
        let connecting = PeerClient::connect_to(&address.host, address.port);
        let connected = timeout_at(&*self.clock, self.clock.monotonic() + WHO_WITHIN, connecting).await.map_err(late);
        let mut client = match connected.and_then(|client| client) {
            Ok(client) => client,
            Err(error) => return error,
        };
        let (mut answer, mut is_first) = (None, true);
        loop {
            let cluster_id = self.quorum.image().cluster_id().unwrap_or(&self.cluster_id).to_owned();
            let poll = Poll { observer: self.broker_id, incarnation: self.incarnation, cluster_id, is_first, answer };
            let exchanged = timeout_at(&*self.clock, self.clock.monotonic() + SILENCE_MAX, client.exchange(&poll.encode())).await;
            let polled = match exchanged.map_err(late).and_then(|polled| polled) {
                Ok(mut frame) => frame.try_get_i32().ok().and_then(|_| Polled::decode(frame)),
                Err(error) => return error,
            };
            is_first = false;
            answer = match polled {
                Some(Polled::Message(number, message)) => match self.quorum.receive(message.to_vec()).await {
                    Ok(answer) => Some((number, Bytes::from(answer))),
                    Err(error) => return io::Error::new(io::ErrorKind::Interrupted, error),
                },
                Some(Polled::Nothing) => None,
                Some(Polled::IdInUse) => {
                    let text = format!("another process is in the cluster as broker {}", self.broker_id);
                    return io::Error::new(io::ErrorKind::AlreadyExists, text);
                }
                Some(Polled::OtherCluster) => return io::Error::new(io::ErrorKind::PermissionDenied, "it is of another cluster"),
                None => return io::ErrorKind::InvalidData.into(),
            };
        }
    }
}
