//! Requests to the active controller: this broker's own, and those of clients that only the controller can answer.
//!
//! In Kafka: `NodeToControllerChannelManager`, `ForwardingManager` (KIP-590). Ours forwards a client's request as it came, behind a head of
//! klamm's own, so that the controller tells it from a client's on a listener that serves both.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use model::{BrokerEpoch, BrokerId, ProducerId, TopicId};
use protocol::Request;
use protocol::messages::create_topics_response::CreatableTopicResult;
use protocol::messages::{AllocateProducerIdsRequest, CreateTopicsRequest};
use quorum::MetadataQuorum;
use tokio::sync::watch;
use wire::PeerClient;
use wire::clock::{SharedClock, timeout_at};

use crate::config::HostPort;
use crate::controller::{ControlError, Probe};
use crate::controller_line::ControllerLine;
use crate::quorum_frames::{TO_CONTROLLER_KEY, framed};
use crate::voter_peers::VoterPeers;

/// The most that decoding an answer of the controller may take.
const ANSWER_MEMORY_BYTES_MAX: usize = 64 << 20;
/// Between two attempts when nobody leads or the leader does not answer.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a connection to a broker that may be dead is waited for.
const PROBE_WITHIN: Duration = Duration::from_millis(500);
const CREATE_TOPICS_VERSION: i16 = 7;
/// How long a new topic is waited for in this broker's own metadata.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);
/// A controller that says nothing for so long is asked again, or its successor is.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Who carries a frame to a voter, and its answer back.
pub(crate) trait Carrier: Send {
    fn carry(&mut self, to: BrokerId, frame: &[u8]) -> impl Future<Output = io::Result<Bytes>> + Send;
}

/// On any connection.
impl Carrier for VoterPeers {
    fn carry(&mut self, to: BrokerId, frame: &[u8]) -> impl Future<Output = io::Result<Bytes>> + Send {
        self.exchange(to, frame)
    }
}

/// The way to whoever is the active controller. Cheap to clone.
#[derive(Clone)]
pub struct ControllerChannel {
    quorum: Arc<dyn MetadataQuorum>,
    peers: VoterPeers,
    clock: SharedClock,
    correlation_id: Arc<AtomicI32>,
}

impl ControllerChannel {
    /// A channel by the quorum's word on who leads.
    #[must_use]
    pub fn new(quorum: Arc<dyn MetadataQuorum>, peers: VoterPeers, clock: SharedClock) -> Self {
        Self { quorum, peers, clock, correlation_id: Arc::default() }
    }

    /// Sends a frame to the active controller, whoever it comes to be, until it is answered or the time is over.
    ///
    /// A controller that loses its office closes the connection without an answer, so a change may have been made once before it is asked for
    /// again, as with any retry.
    ///
    /// # Errors
    /// If no controller answered by the deadline.
    pub async fn exchange(&self, frame: &[u8], deadline: Duration) -> io::Result<Bytes> {
        self.exchange_by(&mut self.peers.clone(), frame, deadline).await
    }

    /// The same on connections of the carrier's. Whoever does not answer is given up as soon as another one leads.
    pub(crate) async fn exchange_by(&self, carrier: &mut impl Carrier, frame: &[u8], deadline: Duration) -> io::Result<Bytes> {
        let mut last = io::Error::new(io::ErrorKind::TimedOut, "the metadata quorum has no leader");
        let wrapped = framed(TO_CONTROLLER_KEY, frame);
        let mut leadership = self.quorum.leadership();
        loop {
            leadership.borrow_and_update();
            if let Some(leader) = self.quorum.leader() {
                let until = deadline.min(self.clock.monotonic() + ANSWER_WITHIN);
                tokio::select! {
                    answered = timeout_at(&*self.clock, until, carrier.carry(leader, &wrapped)) => match answered {
                        Ok(Ok(answer)) => return Ok(answer),
                        Ok(Err(error)) => last = error,
                        Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("controller {leader} does not answer")),
                    },
                    () = self.led_by_another(&mut leadership, leader) => continue,
                }
            }
            let now = self.clock.monotonic();
            if now >= deadline {
                return Err(last);
            }
            self.clock.sleep_until(deadline.min(now + PAUSE)).await;
        }
    }

    /// Ends when another broker leads.
    async fn led_by_another(&self, leadership: &mut watch::Receiver<Option<BrokerId>>, leader: BrokerId) {
        while self.quorum.leader().is_none_or(|now| now == leader) {
            if leadership.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Sends a request of this broker's own.
    ///
    /// # Errors
    /// If no controller answered by the deadline, or its answer cannot be read.
    pub async fn send<R: Request>(&self, version: i16, request: &R, deadline: Duration) -> io::Result<R::Response> {
        self.send_by(&mut self.peers.clone(), version, request, deadline).await
    }

    /// The same on connections of the carrier's.
    pub(crate) async fn send_by<R: Request>(
        &self,
        carrier: &mut impl Carrier,
        version: i16,
        request: &R,
        deadline: Duration,
    ) -> io::Result<R::Response> {
        let correlation_id = self.correlation_id.fetch_add(1, Ordering::Relaxed);
        let frame = protocol::encode_request("broker", correlation_id, version, request).map_err(io::Error::other)?;
        let mut answer = self.exchange_by(carrier, &frame, deadline).await?;
        let head = protocol::response_header_version(R::KEY, version).unwrap_or(0);
        answer.try_get_i32().map_err(io::Error::other)?;
        if head > 0 {
            // A flexible header has a list of tagged fields, which is empty.
            answer.try_get_u8().map_err(io::Error::other)?;
        }
        protocol::decode_response::<R>(version, &answer, ANSWER_MEMORY_BYTES_MAX).map_err(io::Error::other)
    }

    /// A connection of its own for what this broker tells of itself.
    #[must_use]
    pub(crate) fn line(&self) -> ControllerLine {
        ControllerLine::new(self.clone(), self.peers.clone())
    }

    /// Whether this broker has nobody to ask but itself: it is the only voter.
    #[must_use]
    pub fn is_sole_voter(&self, broker_id: BrokerId) -> bool {
        self.quorum.voters().iter().map(|voter| voter.broker_id).eq([broker_id])
    }

    /// The voters of the metadata quorum, and where they take what is meant for them.
    #[must_use]
    pub fn voter_addresses(&self) -> BTreeMap<BrokerId, HostPort> {
        self.peers.addresses()
    }

    /// Who leads the metadata quorum, if that is known.
    #[must_use]
    pub fn leader(&self) -> Option<BrokerId> {
        self.quorum.leader()
    }
}

impl Probe for ControllerChannel {
    fn is_refused(&self, id: BrokerId) -> quorum::BoxFuture<bool> {
        let (peers, clock) = (self.peers.clone(), Arc::clone(&self.clock));
        // An observer has no controller listener; where clients reach it, its process is too.
        let image = self.quorum.image();
        let endpoint = image.broker(id).and_then(|broker| broker.listeners.first()).map(|endpoint| (endpoint.host.clone(), endpoint.port));
        Box::pin(async move {
            let connecting = async {
                match (peers.address(id), endpoint) {
                    (None, Some((host, port))) => PeerClient::connect_to(&host, port).await.map(drop),
                    _ => peers.probe(id).await,
                }
            };
            let until = clock.monotonic() + PROBE_WITHIN;
            matches!(timeout_at(&*clock, until, connecting).await, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
        })
    }
}

/// What this broker asks of the active controller when that is another one.
pub(crate) struct Elsewhere {
    channel: ControllerChannel,
    quorum: Arc<dyn MetadataQuorum>,
}

impl Elsewhere {
    pub(crate) fn new(channel: ControllerChannel, quorum: Arc<dyn MetadataQuorum>) -> Self {
        Self { channel, quorum }
    }

    async fn send<R: Request>(&self, version: i16, request: &R) -> Result<R::Response, ControlError> {
        let deadline = self.channel.clock.monotonic() + ANSWER_WITHIN;
        self.channel.send(version, request, deadline).await.map_err(|error| {
            tracing::warn!(%error, "the active controller is not reached");
            ControlError::NotController
        })
    }

    /// CreateTopics; ends when this broker knows the topics, so that whoever asked finds them.
    pub(crate) async fn create_topics(&self, request: &CreateTopicsRequest) -> Result<Vec<CreatableTopicResult>, ControlError> {
        let response = self.send(CREATE_TOPICS_VERSION, request).await?;
        let created = response.topics.iter().filter(|topic| topic.error_code == 0).map(|topic| TopicId(topic.topic_id));
        let created: Vec<TopicId> = created.filter(|_| !request.validate_only).collect();
        let mut published = self.quorum.published();
        let deadline = self.channel.clock.monotonic() + SHOWN_WITHIN;
        while created.iter().any(|id| self.quorum.image().topic_by_id(*id).is_none()) {
            match timeout_at(&*self.channel.clock, deadline, published.changed()).await {
                Ok(Ok(())) => {}
                // The client asks again.
                Ok(Err(_)) | Err(_) => break,
            }
        }
        Ok(response.topics)
    }

    /// A block of producer ids for this run of a broker.
    pub(crate) async fn allocate_producer_ids(&self, broker_id: BrokerId, epoch: BrokerEpoch) -> Result<(ProducerId, i64), ControlError> {
        let request = AllocateProducerIdsRequest::default().with_broker_id(broker_id.get().into()).with_broker_epoch(epoch.get());
        let response = self.send(0, &request).await?;
        match ProducerId::new(response.producer_id_start.0) {
            Some(first) if response.error_code == 0 => Ok((first, i64::from(response.producer_id_len))),
            _ => {
                tracing::warn!("the controller gives no producer ids: {}", protocol::error_name(response.error_code));
                Err(ControlError::Refused)
            }
        }
    }
}
