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
    loop {
        // Looked at first: what is asked on a connection that the peer has closed (idle for too long, or restarted) has no answer.
        let number = tokio::select! {
            biased;
            () = ended(connection.as_ref()) => {
                connection = None;
                continue;
            }
            number = errands.recv_many(&mut together, usize::MAX) => number,
        };
        if number == 0 {
            return;
        }
        if let Err(error) = attend(&parts, to, &mut connection, std::mem::take(&mut together)).await {
            tracing::debug!(broker = %to, %error, "another broker is not reached");
            connection = None;
        }
    }
}

/// Waits until the connection can serve no more; for ever if there is none.
async fn ended(connection: Option<&Connection>) {
    match connection {
        Some(connection) => connection.client.ended().await,
        None => std::future::pending().await,
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

#[cfg(test)]
mod tests {
    use metadata::{Endpoint, Image, MetadataRecord};
    use protocol::messages::ApiVersionsRequest;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;
    use uuid::Uuid;
    use wire::clock::SystemClock;

    use super::*;

    struct Ask(oneshot::Sender<()>);

    impl Errand for Ask {
        async fn run(errands: Vec<Self>, connection: &mut Connection) -> io::Result<()> {
            connection.call(0, &ApiVersionsRequest::default()).await?;
            for errand in errands {
                let _gone = errand.0.send(());
            }
            Ok(())
        }
    }

    /// Takes one connection and answers one request on it.
    async fn accept_and_answer(listener: &TcpListener) -> TcpStream {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; usize::try_from(stream.read_u32().await.unwrap()).unwrap()];
        stream.read_exact(&mut request).await.unwrap();
        // The length; the correlation id, which follows key and version in the request; no error; no API.
        let answer = [&10_u32.to_be_bytes()[..], &request[4..8], &[0; 6]].concat();
        stream.write_all(&answer).await.unwrap();
        stream
    }

    #[tokio::test]
    async fn a_link_whose_peer_has_closed_it_meanwhile_connects_anew_and_no_errand_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = BrokerId::new(2).unwrap();
        let endpoint = Endpoint {
            listener: "PLAINTEXT".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
            security_protocol: 0,
        };
        let registration = MetadataRecord::RegisterBroker {
            broker_id: peer,
            incarnation_id: Uuid::nil(),
            listeners: vec![endpoint],
            rack: None,
            features: std::collections::BTreeMap::new(),
            fenced: false,
        };
        let clock = SystemClock::shared();
        let links = Links::new(LinkParts {
            broker_id: BrokerId::new(1).unwrap(),
            listener: "PLAINTEXT".to_owned(),
            metadata: MetadataView::new(Arc::new(Image::default().apply(1, &[registration]).0)),
            clock: Arc::clone(&clock),
            tasks: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
            timeout: Duration::from_secs(20),
        });
        let played = async {
            for _ in 0..3 {
                let (reply, answer) = oneshot::channel();
                links.send(peer, Ask(reply));
                let mut stream = accept_and_answer(&listener).await;
                answer.await.unwrap();
                // The peer closes its half; the link has noticed as soon as it closes the other one.
                stream.shutdown().await.unwrap();
                assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            }
        };
        timeout_at(&*clock, clock.monotonic() + Duration::from_secs(20), played)
            .await
            .expect("an errand or a closed connection is left lying");
    }
}
