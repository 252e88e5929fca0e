//! A server whose handler is a closure.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use model::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::clock::{Clock, ManualClock};
use wire::{
    ConnectionBounds, ConnectionContext, ConnectionLimits, Dispatch, ListenOptions, ListenerName, MemoryBudget, Outcome, PeerClient,
    Server, bind,
};

type Handler = Box<dyn Fn(&Log, Bytes) -> Outcome + Send + Sync>;

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, event: impl Into<String>) {
        self.0.lock().unwrap().push(event.into());
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

pub(crate) struct Handle {
    handler: Handler,
    log: Log,
    clock: ManualClock,
    waits: Waits,
    bounds: watch::Receiver<Arc<ConnectionBounds>>,
    closed: UnboundedSender<()>,
}

/// For how long each next connection is refused.
type Waits = Arc<Mutex<VecDeque<Duration>>>;

impl Dispatch for Handle {
    /// A frame `mute 5` mutes its connection for five seconds.
    fn dispatch(&self, connection: &Arc<ConnectionContext>, frame: Bytes) -> Outcome {
        if let Some(seconds) = text(&frame).strip_prefix("mute ") {
            connection.mute_until(self.clock.monotonic() + Duration::from_secs(seconds.parse().unwrap()));
        }
        (self.handler)(&self.log, frame)
    }

    fn connection_accepted(&self, _address: IpAddr) -> Result<(), Duration> {
        self.waits.lock().unwrap().pop_front().map_or(Ok(()), Err)
    }

    fn connection_bounds(&self) -> Option<watch::Receiver<Arc<ConnectionBounds>>> {
        Some(self.bounds.clone())
    }

    fn connection_closed(&self, _connection: &Arc<ConnectionContext>) {
        let _ = self.closed.send(());
    }
}

pub(crate) struct Harness {
    pub(crate) clock: ManualClock,
    pub(crate) log: Log,
    pub(crate) budget: MemoryBudget,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
    pub(crate) server: Arc<Server<Handle>>,
    pub(crate) waits: Waits,
    pub(crate) bounds: watch::Sender<Arc<ConnectionBounds>>,
    address: SocketAddr,
    closed: UnboundedReceiver<()>,
}

impl Harness {
    pub(crate) fn start(limits: ConnectionLimits, handler: impl Fn(&Log, Bytes) -> Outcome + Send + Sync + 'static) -> Self {
        Self::with_budget(limits, 1 << 30, handler)
    }

    pub(crate) fn with_budget(
        limits: ConnectionLimits,
        budget_bytes: usize,
        handler: impl Fn(&Log, Bytes) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        let clock = ManualClock::new(Timestamp(0));
        let (log, budget, shutdown) = (Log::default(), MemoryBudget::new(budget_bytes), CancellationToken::new());
        let (sender, closed) = unbounded_channel();
        let (waits, bounds) = (Waits::default(), watch::Sender::new(Arc::clone(&limits.bounds)));
        let (handler, log_of_handle) = (Box::new(handler), log.clone());
        let (of_handle, waits_of_handle) = (bounds.subscribe(), Arc::clone(&waits));
        let handle =
            Handle { handler, log: log_of_handle, clock: clock.clone(), waits: waits_of_handle, bounds: of_handle, closed: sender };
        let dispatch = Arc::new(handle);
        let listener = bind("127.0.0.1:0".parse().unwrap(), ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Server::new(dispatch, limits, clock.shared(), budget.clone(), shutdown.clone()));
        let serves = Arc::clone(&server);
        let serving = tokio::spawn(async move { serves.serve(listener, ListenerName::from("PLAINTEXT")).await });
        Self { clock, log, budget, shutdown, serving, server, waits, bounds, address, closed }
    }

    pub(crate) async fn client(&self) -> PeerClient {
        PeerClient::connect(self.address).await.unwrap()
    }

    /// Waits until one more connection has ended.
    pub(crate) async fn closed(&mut self) {
        self.closed.recv().await.unwrap();
    }
}

pub(crate) fn reply(bytes: impl Into<Bytes>) -> Outcome {
    Outcome::Reply(bytes.into().into())
}

pub(crate) fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether the server has closed the connection without another byte.
pub(crate) async fn is_cut(client: &mut PeerClient) -> bool {
    client.receive().await.is_err()
}
