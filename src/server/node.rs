//! A broker with its sockets: a value that is started and stopped; many live in one process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use apis::Apis;
use broker::config::{BrokerConfig, HostPort, QuorumConfig};
use broker::entropy::{Entropy, SystemEntropy};
use broker::{Broker, BrokerParts, QuorumStarted, RunningBroker};
use log_store::Failpoints;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::clock::{SharedClock, SystemClock};
use wire::{ConnectionLimits, Life, ListenerName, MemoryBudget, Server};

use crate::Problem;
use crate::controller_door::{ClientDoor, ControllerDoor, EarlyDoor};
use crate::http::{HttpServer, Served, Told};
use crate::join::Note;
use crate::listener::{BoundListener, bind_all};

/// What requests in flight may hold if the configuration does not say and nothing better is known.
const REQUEST_BYTES_MAX: usize = 256 << 20;

/// What requests of other brokers in flight may hold.
const CONTROLLER_BYTES_MAX: usize = 64 << 20;

/// What a node is given beside its configuration.
pub struct NodeParts {
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Where the store is told to fail, for tests.
    pub failpoints: Failpoints,
    /// What requests in flight may hold if `queued.max.request.bytes` is not given.
    pub request_bytes_max: usize,
    /// The order under which the broker's threads are.
    pub life: Arc<Life>,
    /// Where operators are told of it, if that is not on a listener of its own.
    pub(crate) told: Option<Told>,
    /// What a broker that joined a cluster remembers of that; written once its directory is open.
    pub(crate) membership: Option<Note>,
}

impl Default for NodeParts {
    fn default() -> Self {
        Self {
            clock: SystemClock::shared(),
            entropy: Arc::new(SystemEntropy),
            failpoints: Failpoints::default(),
            request_bytes_max: REQUEST_BYTES_MAX,
            life: Arc::default(),
            told: None,
            membership: None,
        }
    }
}

/// An open listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The listener's name.
    pub listener: String,
    /// Where it is bound.
    pub bound: SocketAddr,
    /// What clients are told.
    pub advertised: HostPort,
}

/// A broker that answers requests.
pub struct Node {
    addresses: Vec<Address>,
    running: RunningBroker,
    accepting: Vec<JoinHandle<()>>,
    shutdown: CancellationToken,
    http: Option<HttpServer>,
    told: Option<Told>,
    controller: Option<ControllerListener>,
}

/// The controller listener of one of several brokers.
struct ControllerListener {
    accepting: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl ControllerListener {
    /// What a broker takes where brokers fetch, while it starts.
    fn early(socket: TcpListener, name: ListenerName, door: &Arc<ControllerDoor>, clock: &SharedClock) -> Self {
        let (door, shutdown) = (Arc::new(EarlyDoor(Arc::clone(door))), CancellationToken::new());
        let budget = MemoryBudget::new(CONTROLLER_BYTES_MAX);
        let server = Server::new(door, ConnectionLimits::default(), Arc::clone(clock), budget, shutdown.clone());
        let accepting = tokio::spawn(async move { server.serve(socket, name).await });
        Self { accepting, shutdown }
    }

    async fn start(config: &BrokerConfig, door: &Arc<ControllerDoor>, clock: &SharedClock) -> Result<Option<Self>, Problem> {
        let Some(QuorumConfig::Voter { listener, .. }) = &config.quorum else { return Ok(None) };
        let bound = bind_all(std::slice::from_ref(listener), config.listen_backlog).await?.pop();
        let Some(BoundListener { name, socket, .. }) = bound else { return Ok(None) };
        let (door, shutdown) = (Arc::clone(door), CancellationToken::new());
        let budget = MemoryBudget::new(CONTROLLER_BYTES_MAX);
        let server = Server::new(door, ConnectionLimits::default(), Arc::clone(clock), budget, shutdown.clone());
        let accepting = tokio::spawn(async move { server.serve(socket, ListenerName::from(name.as_str())).await });
        Ok(Some(Self { accepting, shutdown }))
    }

    async fn stop(self) {
        self.shutdown.cancel();
        if let Err(error) = self.accepting.await {
            tracing::error!(%error, "the controller listener ended with a panic");
        }
    }
}

impl Node {
    /// Binds the listeners, starts the broker, begins to accept. When this returns, requests are answered.
    ///
    /// # Errors
    /// One sentence; the data directory is untouched if a listener cannot be bound.
    pub async fn start(config: BrokerConfig, parts: NodeParts) -> Result<Self, Problem> {
        let NodeParts { clock, entropy, failpoints, request_bytes_max, life, told, membership } = parts;
        let limits = config.connection_limits.clone();
        let budget = MemoryBudget::new(config.request_memory_bytes_max.unwrap_or(request_bytes_max));
        let started = clock.now();
        let http = match &config.http_listen {
            Some(listen) if told.is_none() => Some(HttpServer::start(listen, Arc::clone(&clock)).await?),
            _ => None,
        };
        let told = told.or_else(|| http.as_ref().map(|http| http.told().clone()));
        let bound = bind_all(&config.listeners, config.listen_backlog).await?;
        let bound_ports: HashMap<String, u16> = bound.iter().map(|one| (one.name.clone(), one.address.port())).collect();
        let door = Arc::<ControllerDoor>::default();
        let controller = ControllerListener::start(&config, &door, &clock).await?;
        let inter_broker = ListenerName::from(config.inter_broker_listener.as_str());
        let early_socket =
            bound.iter().find(|one| one.name == config.inter_broker_listener).map(BoundListener::clone_socket).transpose()?;
        let (early_started, mut early) = tokio::sync::oneshot::channel();
        let quorum_started = {
            let port = bound_ports.get(inter_broker.as_str()).copied();
            let (door, clock, name) = (Arc::clone(&door), Arc::clone(&clock), inter_broker.clone());
            let open: QuorumStarted = Box::new(move |quorum| {
                let is_alone = quorum.is_alone();
                door.open_to_quorum(quorum);
                if let Some(socket) = early_socket.filter(|_| !is_alone) {
                    // Whoever starts the broker waits for it.
                    let _is_awaited = early_started.send(ControllerListener::early(socket, name, &door, &clock));
                }
                if let Some(Err(error)) = membership.map(|note| note.write(port)) {
                    tracing::error!(%error, "that this broker joined a cluster is not written down; start it with --join again");
                }
            });
            Some(open)
        };
        let metrics = apis::new_metrics();
        let parts = BrokerParts { clock: Arc::clone(&clock), entropy, bound_ports, failpoints, metrics, life, quorum_started };
        let started_broker = async {
            let starting = broker::prepare(config, parts).await?;
            door.open_to_brokers(Apis::for_brokers(Arc::clone(starting.broker())));
            starting.join().await
        };
        let started_broker = started_broker.await;
        if let Ok(early) = early.try_recv() {
            early.stop().await;
        }
        let running = started_broker?;
        let shutdown = CancellationToken::new();
        let dispatch = Arc::new(ClientDoor::new(Apis::new(Arc::clone(&running.broker)), (inter_broker, door)));
        let server = Arc::new(Server::new(dispatch, limits, clock, budget.clone(), shutdown.clone()));
        let (mut addresses, mut accepting) = (Vec::new(), Vec::new());
        for BoundListener { name, socket, address, advertised } in bound {
            let server = Arc::clone(&server);
            let listener_name = ListenerName::from(name.as_str());
            accepting.push(tokio::spawn(async move { server.serve(socket, listener_name).await }));
            addresses.push(Address { listener: name, bound: address, advertised });
        }
        if let Some(told) = &told {
            let (broker, addresses) = (Arc::clone(&running.broker), addresses.clone());
            told.serving(Served { broker, server, budget, addresses, started });
        }
        Ok(Self { addresses, running, accepting, shutdown, http, told, controller })
    }

    /// The open listeners.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where operators find metrics, health and the page, if that was asked for.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpServer::address)
    }

    /// The broker behind them.
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.running.broker
    }

    /// From now on what has no space on the disk fails, which waited before: for who ends the broker's threads.
    pub(crate) fn end_waits(&self) {
        self.running.end_waits();
    }

    /// Hands over what the broker leads, ends the connections, then the broker; the data is left so that the next start scans nothing.
    pub async fn stop(self) {
        if let Some(told) = &self.told {
            told.stopping();
        }
        self.running.hand_over().await;
        self.shutdown.cancel();
        for accepting in self.accepting {
            if let Err(error) = accepting.await {
                tracing::error!(%error, "a listener ended with a panic");
            }
        }
        self.running.stop().await;
        if let Some(controller) = self.controller {
            controller.stop().await;
        }
        if let Some(http) = self.http {
            http.stop().await;
        }
    }
}
