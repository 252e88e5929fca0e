//! Who votes in the metadata quorum, and where. An observer asks each voter for what the quorum has for it.
//!
//! Who votes stands in the metadata log, where a voter is reached in its broker's registration, so that both are on the disk of every broker. A
//! newcomer has neither and asks its seeds. An observer asks all voters, so that whichever leads can reach it at once. Its way out is all it needs: nobody calls it.
//!
//! In Kafka: the Fetch of a `KafkaRaftClient` that is no voter, and `controller.quorum.bootstrap.servers` (KIP-853).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use metadata::Image;
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

/// What this broker knows when it begins.
pub(crate) struct Observing {
    pub(crate) broker_id: BrokerId,
    pub(crate) incarnation: u128,
    /// The cluster that it was in before, or is told to be in; empty if it was in none. A voter of another cluster is not to write to its log.
    pub(crate) cluster_id: String,
    /// Where to ask who votes.
    pub(crate) seeds: Vec<HostPort>,
    /// How voters are found.
    pub(crate) whereabouts: Whereabouts,
    /// The image on the disk, until the quorum shows a newer one.
    pub(crate) on_disk: Image,
    pub(crate) quorum: Arc<dyn MetadataQuorum>,
    pub(crate) peers: VoterPeers,
    pub(crate) clock: SharedClock,
}

/// What is known of where voters are, beside the metadata.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whereabouts {
    /// The voters that the configuration names.
    pub(crate) configured: BTreeMap<BrokerId, HostPort>,
    /// This broker itself.
    pub(crate) own: Option<(BrokerId, HostPort)>,
    /// The listener that brokers use among themselves.
    pub(crate) listener: String,
}

impl Whereabouts {
    /// Where these voters take what is meant for them: where the configuration says, or where they are registered; without those of which nobody
    /// knows.
    pub(crate) fn of(&self, voters: &BTreeSet<BrokerId>, image: &Image) -> BTreeMap<BrokerId, HostPort> {
        let find = |id: BrokerId| {
            let own = || self.own.clone().filter(|(own, _)| *own == id).map(|(_, address)| address);
            let registered = || {
                let endpoint = image.broker(id)?.endpoint(&self.listener)?;
                Some(HostPort { host: endpoint.host.clone(), port: endpoint.port })
            };
            self.configured.get(&id).cloned().or_else(own).or_else(registered)
        };
        voters.iter().filter_map(|id| Some((*id, find(*id)?))).collect()
    }
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
    /// Follows who votes until the broker stops. While this broker does not vote itself, it asks those who do for messages.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let this = Arc::new(self);
        let mut asking = JoinSet::new();
        let mut asked: BTreeMap<BrokerId, tokio::task::AbortHandle> = BTreeMap::new();
        let (mut leadership, mut voting, mut published) = (this.quorum.leadership(), this.quorum.voting(), this.quorum.published());
        // Whoever stops drops this future, and the set with all its tasks.
        let _stopped = stopping
            .run_until_cancelled(async {
                loop {
                    leadership.borrow_and_update();
                    published.borrow_and_update();
                    let voters = voting.borrow_and_update().clone();
                    // Before the log has begun the configuration says who is to vote, and where.
                    let is_to_vote = voters.is_empty() && this.whereabouts.configured.contains_key(&this.broker_id);
                    let votes = is_to_vote || voters.contains(&this.broker_id);
                    let is_known = is_to_vote || this.look_up(&voters);
                    if !votes || !is_known {
                        this.find_voters(&voters).await;
                    }
                    let mut reached = if votes { BTreeMap::new() } else { this.peers.addresses() };
                    reached.remove(&this.broker_id);
                    asked.retain(|id, task| {
                        let stays = reached.contains_key(id) && !task.is_finished();
                        if !stays {
                            task.abort();
                        }
                        stays
                    });
                    for voter in reached.keys() {
                        asked.entry(*voter).or_insert_with(|| asking.spawn(Arc::clone(&this).ask_for_messages(*voter)));
                    }
                    while asking.try_join_next().is_some() {}
                    let is_lost = reached.is_empty() || this.quorum.leader().is_none();
                    let pause = async {
                        match (votes && is_known, is_lost) {
                            (true, _) => std::future::pending().await,
                            (false, true) => this.clock.sleep_until(this.clock.monotonic() + PAUSE).await,
                            (false, false) => this.clock.sleep_until(this.clock.monotonic() + VOTERS_EVERY).await,
                        }
                    };
                    tokio::select! {
                        () = pause => {}
                        // A change of the leader may be one of the voters too.
                        Ok(()) = leadership.changed(), if !votes => {}
                        Ok(()) = voting.changed() => {}
                        // A voter may be registered elsewhere now.
                        Ok(()) = published.changed(), if votes => {}
                        else => return,
                    }
                }
            })
            .await;
    }

    /// Finds the voters in the metadata; whether all are found.
    fn look_up(&self, voters: &BTreeSet<BrokerId>) -> bool {
        let newest = self.quorum.image();
        let image = if newest.index() > self.on_disk.index() { &*newest } else { &self.on_disk };
        if let Some(cluster_id) = image.cluster_id() {
            self.peers.is_of(cluster_id);
        }
        let found = self.whereabouts.of(voters, image);
        let is_known = !voters.is_empty() && found.len() == voters.len();
        if is_known {
            self.peers.learn(found);
        }
        is_known
    }

    /// Asks the seeds, and then the voters known so far, who votes.
    async fn find_voters(&self, voters: &BTreeSet<BrokerId>) {
        let mut known = self.peers.addresses();
        // It cannot tell itself: while it starts, it may not have heard yet that it votes.
        known.remove(&self.broker_id);
        for address in self.seeds.iter().chain(known.values()) {
            match ask_who(address, false, &*self.clock).await {
                Ok(who) if !who.voters.is_empty() => {
                    // What the metadata says is newer than what another broker had in its file.
                    let mut found = who.voters;
                    if voters.contains(&self.broker_id) {
                        found.retain(|id, _| voters.contains(id));
                        found.extend(self.whereabouts.of(voters, &self.on_disk));
                    }
                    return self.peers.learn(found);
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%address, %error, "a broker does not tell who votes"),
            }
        }
    }

    /// Asks one voter for messages, on one connection after the other.
    async fn ask_for_messages(self: Arc<Self>, voter: BrokerId) {
        let (mut last, mut told) = (None, None);
        loop {
            let trouble = self.fetch_messages(voter).await;
            let kind = trouble.kind();
            // A voter that has just heard that this broker votes, or votes no more, before or after it did, refuses it once.
            let is_refused = matches!(kind, io::ErrorKind::AlreadyExists | io::ErrorKind::PermissionDenied);
            if told != Some(kind) && is_refused && last == Some(kind) {
                tracing::warn!(%voter, "this broker does not get the cluster's metadata, and tries again: {trouble}");
                told = Some(kind);
            } else if told != Some(kind) && !is_refused {
                tracing::info!(%voter, error = %trouble, "a voter of the metadata quorum gives this observer nothing at present");
                told = Some(kind);
            }
            last = Some(kind);
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
