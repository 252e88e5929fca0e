//! The listener for operators: metrics, health, and a page for a person.
//!
//! | path | what |
//! |---|---|
//! | `/` | a status page, in one piece, that needs nothing from elsewhere |
//! | `/metrics` | Prometheus' text format |
//! | `/healthz` | 200 while the process lives |
//! | `/readyz` | 200 while clients are served, else 503 with one sentence |
//!
//! It is off unless `klamm.http.listen` (or `--http`) says where. It only tells, it changes nothing, and whoever reaches the address may read it.
//! It answers one request per connection, a bounded number of them at once, each within [`ANSWER_MAX`].
//!
//! It is open before the broker opens its data, so that a broker that starts slowly can be told from one that is dead.

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

/// Connections at once; who comes later waits in the system's queue.
const CONNECTIONS_MAX: usize = 32;
/// What a connection may take from its first byte to its last.
const ANSWER_MAX: Duration = Duration::from_secs(30);
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
#[derive(Clone)]
enum Phase {
    Starting,
    Serving(Arc<Served>),
    Stopping,
}

/// An open listener for operators.
pub(crate) struct HttpServer {
    address: SocketAddr,
    phase: Arc<RwLock<Phase>>,
    shutdown: CancellationToken,
    accepting: JoinHandle<()>,
}

impl HttpServer {
    /// Binds the address and answers from now on that the broker is starting.
    ///
    /// # Errors
    /// One sentence that names the address.
    pub(crate) async fn start(listen: &HostPort, clock: SharedClock) -> Result<Self, Problem> {
        let socket = bind_one(listen, wire::ListenOptions { backlog: BACKLOG }).await?;
        let address = socket.local_addr().map_err(|source| Problem::Listen { address: listen.to_string(), source })?;
        let phase = Arc::new(RwLock::new(Phase::Starting));
        let shutdown = CancellationToken::new();
        let accepting = tokio::spawn(accept(socket, Arc::clone(&phase), clock, shutdown.clone()));
        Ok(Self { address, phase, shutdown, accepting })
    }

    /// Where it is bound.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The broker serves.
    pub(crate) fn serving(&self, served: Served) {
        self.enter(Phase::Serving(Arc::new(served)));
    }

    /// The broker begins to stop; it is not looked at any more.
    pub(crate) fn stopping(&self) {
        self.enter(Phase::Stopping);
    }

    /// Ends all.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        if let Err(error) = self.accepting.await {
            tracing::error!(%error, "the listener for operators ended with a panic");
        }
    }

    fn enter(&self, phase: Phase) {
        *self.phase.write().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}

async fn accept(listener: TcpListener, phase: Arc<RwLock<Phase>>, clock: SharedClock, shutdown: CancellationToken) {
    let (tasks, places) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    let next = || async {
        let place = Arc::clone(&places).acquire_owned().await.ok();
        (place, listener.accept().await)
    };
    while let Some((place, accepted)) = shutdown.run_until_cancelled(next()).await {
        match accepted {
            Ok((stream, _peer)) => {
                let serving = serve(stream, place, Arc::clone(&phase), Arc::clone(&clock));
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

async fn serve(stream: TcpStream, _place: Option<OwnedSemaphorePermit>, phase: Arc<RwLock<Phase>>, clock: SharedClock) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let phase = phase.read().unwrap_or_else(PoisonError::into_inner).clone();
        async move { Ok::<_, Infallible>(answer(request.method(), request.uri().path(), phase).await) }
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
