//! The seam between sockets and those who know what frames hold.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use model::Piece;
use thiserror::Error;
use tokio::sync::watch;

use crate::ConnectionBounds;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What answers frames.
pub trait Dispatch: Send + Sync + 'static {
    /// Takes one frame (without its length prefix). This runs on a network thread, one frame of a connection after the other in their order, so
    /// it must not block; whatever fixes the order of effects (an append) belongs here. What has to wait goes into [`Outcome::Later`].
    fn dispatch(&self, connection: &Arc<ConnectionContext>, frame: Bytes) -> Outcome;

    /// A peer has connected.
    ///
    /// # Errors
    /// The connection is not to be served: it is kept open without an answer for so long, and then closed.
    fn connection_accepted(&self, address: IpAddr) -> Result<(), Duration> {
        let _ = address;
        Ok(())
    }

    /// How many connections there may be at once, if that may change while the server runs. Asked once.
    fn connection_bounds(&self) -> Option<watch::Receiver<Arc<ConnectionBounds>>> {
        None
    }

    /// A listener has accepted a connection: for how long it is to serve and accept none.
    fn accept_pause(&self, listener: &ListenerName) -> Duration {
        let _ = listener;
        Duration::ZERO
    }

    /// The connection has ended; nothing of it will be dispatched again.
    fn connection_closed(&self, connection: &Arc<ConnectionContext>) {
        let _ = connection;
    }
}

/// What becomes of a frame.
pub enum Outcome {
    /// The answer is here.
    Reply(ResponseFrame),
    /// The answer comes later.
    ///
    /// IMPORTANT: the future is polled only when all earlier requests of the connection are answered, and it is dropped at any of its awaits
    /// when the peer goes away or the listener stops. So work that must begin at once, or must not be cut short, belongs to `dispatch` or to a
    /// task of its own.
    Later {
        /// What to wait for. A `Later` as its result replaces it (an asynchronous first stage followed by a pipelined second one).
        reply: BoxFuture<'static, Outcome>,
        /// Whether the next frame waits until this one is answered, which is Kafka's rule; only what has fixed its order already (Produce after
        /// its append) may let the next one in.
        serial: bool,
    },
    /// The request has no answer (Produce with acks=0).
    NoReply,
    /// The connection must end, after the answers to earlier requests are written.
    Close(CloseReason),
}

impl Outcome {
    /// A serial answer that comes later.
    #[must_use]
    pub fn serial(reply: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self::Later { reply: Box::pin(reply), serial: true }
    }

    /// A pipelined answer that comes later.
    #[must_use]
    pub fn pipelined(reply: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self::Later { reply: Box::pin(reply), serial: false }
    }
}

impl From<ResponseFrame> for Outcome {
    fn from(frame: ResponseFrame) -> Self {
        Self::Reply(frame)
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(frame) => f.debug_tuple("Reply").field(frame).finish(),
            Self::Later { serial, .. } => f.debug_struct("Later").field("serial", serial).finish_non_exhaustive(),
            Self::NoReply => f.write_str("NoReply"),
            Self::Close(reason) => f.debug_tuple("Close").field(reason).finish(),
        }
    }
}

/// An answer, without the 4-byte length, which the connection puts before it.
#[derive(Clone, Debug, Default)]
pub struct ResponseFrame {
    /// The answer's bytes, in order.
    pub pieces: Vec<Piece>,
}

impl ResponseFrame {
    /// The length of the answer in bytes.
    #[must_use]
    pub fn length_bytes(&self) -> usize {
        self.pieces.iter().map(Piece::length_bytes).sum()
    }
}

impl From<Bytes> for ResponseFrame {
    fn from(bytes: Bytes) -> Self {
        Self { pieces: vec![Piece::Memory(bytes)] }
    }
}

/// Why a connection ended. Its text is for the log.
#[derive(Debug, Error)]
pub enum CloseReason {
    /// The peer closed its side.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// Nothing happened for `connections.max.idle.ms`.
    #[error("idle for too long")]
    Idle,
    /// The peer began a frame and did not go on.
    #[error("a frame was begun and not completed in time")]
    PartialFrame,
    /// The peer does not read its answers.
    #[error("the peer does not read its answers")]
    WriteStalled,
    /// The length prefix is negative or above `socket.request.max.bytes`.
    #[error("a frame of {0} bytes is not allowed")]
    FrameSize(i32),
    /// The answer does not fit the 4-byte length.
    #[error("an answer of {0} bytes cannot be framed")]
    AnswerSize(usize),
    /// The dispatcher could not read the frame.
    #[error("undecodable request: {0}")]
    Undecodable(String),
    /// The dispatcher refuses to go on, for a reason other than an undecodable frame.
    #[error("refused: {0}")]
    Refused(&'static str),
    /// A handler panicked.
    #[error("a handler panicked: {0}")]
    Panicked(String),
    /// A file that is being sent has become shorter than its range.
    #[error("a file ended within the range being sent")]
    FileTooShort,
    /// There are more connections than there may be, and this one was silent for longest.
    #[error("there are too many connections, and this one was silent for longest")]
    Excess,
    /// The listener is stopping.
    #[error("the listener is stopping")]
    ShuttingDown,
    /// The socket failed.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
}

/// The number of a connection, unique within its listener's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a listener (`PLAINTEXT`, `INTERNAL` ...). Cloning it costs a count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerName(Arc<str>);

impl ListenerName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ListenerName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a client says of itself (KIP-511).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSoftware {
    /// The client library's name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What handlers may know of the connection that a request came by.
#[derive(Debug)]
pub struct ConnectionContext {
    id: ConnectionId,
    peer: SocketAddr,
    local: SocketAddr,
    listener: ListenerName,
    client_software: RwLock<Option<Arc<ClientSoftware>>>,
    client_id: OnceLock<Box<str>>,
    /// Nanoseconds of the clock's monotonic time; 0 if it never was muted.
    muted_until: AtomicU64,
    /// Nanoseconds of the clock's monotonic time.
    last_active: AtomicU64,
}

impl ConnectionContext {
    /// A context; tests of handlers make their own.
    #[must_use]
    pub fn new(id: ConnectionId, peer: SocketAddr, local: SocketAddr, listener: ListenerName) -> Arc<Self> {
        let client_software = RwLock::new(None);
        let (client_id, muted_until, last_active) = (OnceLock::new(), AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { id, peer, local, listener, client_software, client_id, muted_until, last_active })
    }

    /// The connection's number.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The other side's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// This side's address.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The listener that accepted the connection: it decides which advertised addresses the client is told.
    #[must_use]
    pub fn listener(&self) -> &ListenerName {
        &self.listener
    }

    /// Takes no further request of this connection until the clock's monotonic time is there; an earlier moment than one that was set before
    /// changes nothing. Answers still leave.
    pub fn mute_until(&self, moment: Duration) {
        // Only the connection's own task and the handlers that it polls come here, so there is no order to keep.
        self.muted_until.fetch_max(u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Until when no further request is taken.
    #[must_use]
    pub fn muted_until(&self) -> Duration {
        Duration::from_nanos(self.muted_until.load(Ordering::Relaxed))
    }

    /// Bytes have come or gone, or the connection has begun.
    pub(crate) fn note_activity(&self, moment: Duration) {
        self.last_active.store(u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When bytes last came or went, by the clock's monotonic time.
    pub(crate) fn last_active(&self) -> Duration {
        Duration::from_nanos(self.last_active.load(Ordering::Relaxed))
    }

    /// What the client said of itself in ApiVersions, if it did.
    #[must_use]
    pub fn client_software(&self) -> Option<Arc<ClientSoftware>> {
        self.client_software.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The client id of the connection's first request, if it had one.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.get().map(AsRef::as_ref)
    }

    /// Remembers the client id of the connection's first request; later ones cost a look.
    pub fn note_client_id(&self, client_id: &str) {
        self.client_id.get_or_init(|| client_id.into());
    }

    /// Remembers what the client says of itself.
    pub fn set_client_software(&self, software: ClientSoftware) {
        *self.client_software.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(software));
    }
}
