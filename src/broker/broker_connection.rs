//! Connections to other brokers, by the listener that brokers have for each other.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use model::BrokerId;
use parking_lot::Mutex;
use protocol::messages::{RequestHeader, ResponseHeader};
use protocol::{Decodable as _, Encodable as _, HeaderVersion as _, Request, StrBytes};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use wire::PeerClient;
use wire::clock::{SharedClock, timeout_at};

use crate::metadata_view::MetadataView;

/// What an answer may take in memory.
const ANSWER_MEMORY_BYTES_MAX: usize = 256 << 20;

/// A connection to another broker.
pub(crate) struct Connection {
    client: PeerClient,
    client_id: StrBytes,
    next_correlation_id: i32,
    clock: SharedClock,
    timeout: Duration,
}

impl Connection {
    pub(crate) async fn open(host: &str, port: u16, client_id: String, clock: SharedClock, timeout: Duration) -> io::Result<Self> {
        let deadline = clock.monotonic() + timeout;
        let client = timeout_at(&*clock, deadline, PeerClient::connect_to(host, port)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(Self { client, client_id: StrBytes::from_string(client_id), next_correlation_id: 0, clock, timeout })
    }

    /// Sends a request and waits for its answer. After an error the connection is of no use.
    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.next_correlation_id)
            .with_client_id(Some(self.client_id.clone()));
        let mut frame = BytesMut::new();
        let encoded = header.encode(&mut frame, R::header_version(version)).and_then(|()| request.encode(&mut frame, version));
        encoded.map_err(|error| invalid(&error))?;
        let deadline = self.clock.monotonic() + self.timeout;
        let exchanged = timeout_at(&*self.clock, deadline, self.client.exchange(&frame)).await;
        let mut answer = exchanged.map_err(|_| io::ErrorKind::TimedOut)??;
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version)).map_err(|error| invalid(&error))?;
        if header.correlation_id != self.next_correlation_id {
            return Err(invalid(&"the correlation id does not fit"));
        }
        protocol::decode_response::<R>(version, &answer, ANSWER_MEMORY_BYTES_MAX).map_err(|error| invalid(&error))
    }
}

pub(crate) fn invalid(reason: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_string())
}

/// Something that is asked of another broker. What comes together goes in one request. Who waits for an answer that does not come is told by the end
/// of its channel, when the errand is dropped.
pub(crate) trait Errand: Send + Sized + 'static {
    /// Asks, and answers all that wait.
    fn run(errands: Vec<Self>, connection: &mut Connection) -> impl Future<Output = io::Result<()>> + Send;
}

/// What links need of their broker.
#[derive(Clone)]
pub(crate) struct LinkParts {
    pub(crate) broker_id: BrokerId,
    /// The listener by which brokers reach each other.
    pub(crate) listener: String,
    pub(crate) metadata: MetadataView,
    pub(crate) clock: SharedClock,
    pub(crate) tasks: TaskTracker,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) timeout: Duration,
}

/// One connection and one task for each broker that has been asked.
pub(crate) struct Links<E> {
    parts: LinkParts,
    links: Mutex<HashMap<BrokerId, mpsc::UnboundedSender<E>>>,
}

impl<E: Errand> Links<E> {
    pub(crate) fn new(parts: LinkParts) -> Self {
        Self { parts, links: Mutex::default() }
    }

    pub(crate) fn send(&self, to: BrokerId, errand: E) {
        let mut links = self.links.lock();
        let link = links.entry(to).or_insert_with(|| {
            let (sender, errands) = mpsc::unbounded_channel();
            self.parts.tasks.spawn_on(serve(self.parts.clone(), to, errands), &self.parts.runtime);
            sender
        });
        let _stopped = link.send(errand);
    }

    /// Lets all links end.
    pub(crate) fn stop(&self) {
        self.links.lock().clear();
    }
}

async fn serve<E: Errand>(parts: LinkParts, to: BrokerId, mut errands: mpsc::UnboundedReceiver<E>) {
    let mut connection = None;
    let mut together = Vec::new();
    while errands.recv_many(&mut together, usize::MAX).await > 0 {
        if let Err(error) = attend(&parts, to, &mut connection, std::mem::take(&mut together)).await {
            tracing::debug!(broker = %to, %error, "another broker is not reached");
            connection = None;
        }
    }
}

async fn attend<E: Errand>(parts: &LinkParts, to: BrokerId, connection: &mut Option<Connection>, errands: Vec<E>) -> io::Result<()> {
    let connection = match connection {
        Some(connection) => connection,
        None => {
            let image = parts.metadata.image();
            let endpoint = image.broker(to).and_then(|broker| broker.endpoint(&parts.listener));
            let endpoint = endpoint.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "its address is not known"))?;
            let client_id = format!("broker-{}", parts.broker_id);
            connection.insert(Connection::open(&endpoint.host, endpoint.port, client_id, Arc::clone(&parts.clock), parts.timeout).await?)
        }
    };
    E::run(errands, connection).await
}
