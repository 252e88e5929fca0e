//! The listener for operators: metrics, health, and a page for a person.
//!
//! | path | what |
//! |---|---|
//! | `/` | a status page, in one piece, that needs nothing from elsewhere |
//! | `/metrics` | Prometheus' text format |
//! | `/healthz` | 200 while the process lives |
//! | `/readyz` | 200 while clients are served, else 503 with one sentence |
//!
//! | `/brokers` | with `klamm --brokers N`: its brokers, and `POST` orders to them ([`control`]) |
//!
//! It is off unless `klamm.http.listen` (or `--http`) says where. Whoever reaches the address may read it. A GET changes nothing; what a POST
//! changes, and from where, [`control`] says.
//! It answers one request per connection, a bounded number of them at once, each within [`ANSWER_MAX`].
//!
//! It is open before the broker opens its data, so that a broker that starts slowly can be told from one that is dead.

pub(crate) mod control;
mod gather;
mod page;
mod process_figures;
mod readiness;
pub mod rows;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use broker::Broker;
use broker::config::HostPort;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use model::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::clock::{SharedClock, timeout_at};
use wire::{MemoryBudget, Server};

use crate::Problem;
use crate::controller_door::ClientDoor;
use crate::listener::bind_one;
use crate::node::Address;
use crate::several::Brokers;

/// Connections at once; who comes later waits in the system's queue.
const CONNECTIONS_MAX: usize = 32;
/// What a connection may take from its first byte to its last.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The longest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long accepting rests when the process is out of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);
const BACKLOG: i32 = 64;

const TEXT: &str = "text/plain; charset=utf-8";
/// The page's style and its few lines of script are in it; nothing else is loaded.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'";

/// A broker that serves, as far as it is told about.
pub(crate) struct Served {
    pub(crate) broker: Arc<Broker>,
    pub(crate) server: Arc<Server<ClientDoor>>,
    pub(crate) budget: MemoryBudget,
    pub(crate) addresses: Vec<Address>,
    /// When the node was started.
    pub(crate) started: Timestamp,
}

/// Where the node is in its life.
#[derive(Clone, Default)]
enum Phase {
    #[default]
    Starting,
    Serving(Arc<Served>),
    Stopping,
    /// Stands still, for an operator.
    Paused,
    /// Ended, for an operator.
    Killed,
}

/// What operators are told of one broker. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<RwLock<TellsOf>>);

#[derive(Default)]
struct TellsOf {
    phase: Phase,
    is_paused: bool,
}

impl Told {
    /// The broker serves. IMPORTANT: one that was killed in the middle of its start is not kept, since it holds its data directory.
    pub(crate) fn serving(&self, served: Served) {
        let mut told = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(told.phase, Phase::Starting) {
            told.phase = Phase::Serving(Arc::new(served));
        }
    }

    /// The broker begins to stop; it is not looked at any more.
    pub(crate) fn stopping(&self) {
        self.enter(Phase::Stopping);
    }

    /// The broker starts anew.
    pub(crate) fn starting(&self) {
        self.enter(Phase::Starting);
    }

    /// The broker is dead; it is not looked at any more.
    pub(crate) fn killed(&self) {
        self.enter(Phase::Killed);
        self.paused(false);
    }

    /// The broker stands still, or does not any more.
    pub(crate) fn paused(&self, is_paused: bool) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).is_paused = is_paused;
    }

    fn enter(&self, phase: Phase) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).phase = phase;
    }

    fn phase(&self) -> Phase {
        let told = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if told.is_paused { Phase::Paused } else { told.phase.clone() }
    }
}

/// What a listener for operators answers from.
#[derive(Clone)]
struct Desk {
    /// Of the broker whose page it is.
    told: Told,
    /// The brokers that can be ordered about, where there are several in this process.
    brokers: Option<Arc<Brokers>>,
    address: SocketAddr,
}

/// An open listener for operators.
pub(crate) struct HttpServer {
    address: SocketAddr,
    told: Told,
    shutdown: CancellationToken,
    accepting: JoinHandle<()>,
}

impl HttpServer {
    /// Binds the address and answers from now on that the broker is starting.
    ///
    /// # Errors
    /// One sentence that names the address.
    pub(crate) async fn start(listen: &HostPort, clock: SharedClock) -> Result<Self, Problem> {
        let (socket, address) = Self::bind(listen).await?;
        Ok(Self::begin((socket, address), Told::default(), None, clock))
    }

    /// Binds the address.
    ///
    /// # Errors
    /// One sentence that names it.
    pub(crate) async fn bind(listen: &HostPort) -> Result<(TcpListener, SocketAddr), Problem> {
        let socket = bind_one(listen, wire::ListenOptions { backlog: BACKLOG }).await?;
        let address = socket.local_addr().map_err(|source| Problem::Listen { address: listen.to_string(), source })?;
        Ok((socket, address))
    }

    /// Answers on a bound address.
    pub(crate) fn begin(
        (socket, address): (TcpListener, SocketAddr),
        told: Told,
        brokers: Option<Arc<Brokers>>,
        clock: SharedClock,
    ) -> Self {
        let shutdown = CancellationToken::new();
        let desk = Desk { told: told.clone(), brokers, address };
        let accepting = tokio::spawn(accept(socket, desk, clock, shutdown.clone()));
        Self { address, told, shutdown, accepting }
    }

    /// Where it is bound.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it tells of its broker.
    pub(crate) fn told(&self) -> &Told {
        &self.told
    }

    /// Ends all.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        if let Err(error) = self.accepting.await {
            tracing::error!(%error, "the listener for operators ended with a panic");
        }
    }
}

async fn accept(listener: TcpListener, desk: Desk, clock: SharedClock, shutdown: CancellationToken) {
    let (tasks, places) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    let next = || async {
        let place = Arc::clone(&places).acquire_owned().await.ok();
        (place, listener.accept().await)
    };
    while let Some((place, accepted)) = shutdown.run_until_cancelled(next()).await {
        match accepted {
            Ok((stream, _peer)) => {
                let serving = serve(stream, place, desk.clone(), Arc::clone(&clock));
                let shutdown = shutdown.clone();
                tasks.spawn(async move { shutdown.run_until_cancelled(serving).await });
            }
            Err(error) => {
                tracing::debug!(%error, "accepting for operators rests");
                let _ = shutdown.run_until_cancelled(clock.sleep_until(clock.monotonic() + ACCEPT_REST)).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn serve(stream: TcpStream, _place: Option<OwnedSemaphorePermit>, desk: Desk, clock: SharedClock) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let desk = desk.clone();
        async move {
            let (head, _body_is_not_read) = request.into_parts();
            Ok::<_, Infallible>(match (&desk.brokers, control::order_of(head.uri.path())) {
                (Some(brokers), Some(path)) => control::answer(&head, path, desk.address, brokers).await,
                _ => answer(&head.method, head.uri.path(), desk.told.phase()).await,
            })
        }
    });
    let connection = http1::Builder::new().keep_alive(false).max_buf_size(HEAD_BYTES_MAX).serve_connection(TokioIo::new(stream), service);
    match timeout_at(&*clock, clock.monotonic() + ANSWER_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for operators failed"),
        Err(elapsed) => tracing::debug!(error = %elapsed, "a connection for operators took too long"),
    }
}

async fn answer(method: &Method, path: &str, phase: Phase) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refusal = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Only GET is answered here.\n");
        refusal.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match path {
        // A process that has other brokers lives, but this one is as good as dead to its clients.
        "/healthz" if matches!(phase, Phase::Paused | Phase::Killed) => unavailable(readiness::why_not(&phase)),
        "/healthz" => reply(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => match readiness::check(&phase) {
            Ok(()) => reply(StatusCode::OK, TEXT, "ready\n"),
            Err(sentence) => unavailable(&sentence),
        },
        "/metrics" | "/" => {
            let Phase::Serving(served) = phase else { return unavailable(readiness::why_not(&phase)) };
            let (text, content_type) = if path == "/" {
                (gather::page(served).await, "text/html; charset=utf-8")
            } else {
                (gather::metrics(served).await, broker::metrics::CONTENT_TYPE)
            };
            match text {
                Some(text) => reply(StatusCode::OK, content_type, text),
                None => reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "The broker could not be looked at; its log says why.\n"),
            }
        }
        _ => reply(StatusCode::NOT_FOUND, TEXT, "There are /, /metrics, /healthz and /readyz.\n"),
    }
}

fn unavailable(sentence: &str) -> Response<Full<Bytes>> {
    reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{sentence}\n"))
}

fn reply(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers: [(HeaderName, &'static str); 4] =
        [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff"), (CONTENT_SECURITY_POLICY, POLICY)];
    for (name, value) in headers {
        response.headers_mut().insert(name, hyper::header::HeaderValue::from_static(value));
    }
    response
}
