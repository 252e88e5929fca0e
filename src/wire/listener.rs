//! Listening sockets and the accept loop with its limits.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::SharedClock;
use crate::connection::{Connection, Shared};
use crate::{
    CloseReason, ConnectionBounds, ConnectionContext, ConnectionCounters, ConnectionId, ConnectionLimits, Dispatch, ListenerName,
    MemoryBudget,
};

/// How long the accept loop rests when the process is out of descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The most connections that are kept waiting before they are closed; more are closed at once.
const HELD_MAX: usize = 1000;

/// How to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// `socket.listen.backlog.size`.
    pub backlog: i32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: 1024 }
    }
}

/// Binds a listening socket. `[::]` takes IPv4 connections too, as Java's does. Needs a tokio runtime.
///
/// # Errors
/// What the system says (the address is in use, is not ours, ...).
pub fn bind(address: SocketAddr, options: ListenOptions) -> io::Result<TcpListener> {
    let socket = bound(address)?;
    socket.listen(options.backlog)?;
    TcpListener::from_std(socket.into())
}

/// A port that nobody else gets, though nobody need listen on it: who connects is refused meanwhile, as by a machine whose process has died.
#[derive(Debug)]
pub struct ReservedPort {
    socket: Socket,
}

impl ReservedPort {
    /// The address with its port.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }
}

/// Reserves a port, or any free one for port 0, until the value is dropped. [`bind`] takes it as often as one likes.
///
/// # Errors
/// What the system says (the address is in use, is not ours, ...).
pub fn reserve(address: SocketAddr) -> io::Result<ReservedPort> {
    Ok(ReservedPort { socket: bound(address)? })
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restart must not wait for the connections of the process before it.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// How many connections there are: in all, by address, by listener.
#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
    by_listener: HashMap<ListenerName, usize>,
    open: BTreeMap<ConnectionId, Open>,
}

/// An open connection.
#[derive(Debug)]
struct Open {
    context: Arc<ConnectionContext>,
    /// Ends it.
    end: CancellationToken,
}

/// The connections, and who waits for one to end.
#[derive(Debug, Default)]
struct Places {
    counts: Mutex<Counts>,
    freed: Notify,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, listener: &ListenerName, bounds: &ConnectionBounds) -> bool {
        let counts = self.lock();
        bounds.has_room(listener, counts.by_listener.get(listener).copied().unwrap_or(0), counts.total)
    }

    /// Ends as many connections as there are too many, of the listeners that are not protected: those that have been silent for longest.
    fn end_excess(&self, bounds: &ConnectionBounds) {
        let counts = self.lock();
        let ending = counts.open.values().filter(|open| open.end.is_cancelled()).count();
        let excess = counts.total.saturating_sub(ending).saturating_sub(bounds.connections_max);
        if excess == 0 {
            return;
        }
        let may_end = |open: &&Open| !open.end.is_cancelled() && bounds.protected.as_ref() != Some(open.context.listener());
        let mut candidates: Vec<&Open> = counts.open.values().filter(may_end).collect();
        candidates.sort_by_key(|open| open.context.last_active());
        candidates.into_iter().take(excess).for_each(|open| open.end.cancel());
    }
}

/// One counted connection; dropping it gives the place back.
struct Place {
    places: Arc<Places>,
    ip: IpAddr,
    listener: ListenerName,
    /// Set once the connection has a context.
    id: Option<ConnectionId>,
}

impl Place {
    /// A place for an address that has not as many as it may.
    fn take(places: &Arc<Places>, ip: IpAddr, listener: &ListenerName, bounds: &ConnectionBounds) -> Option<Self> {
        let mut counts = places.lock();
        let of_ip = counts.by_ip.get(&ip).copied().unwrap_or(0);
        if of_ip >= bounds.connections_max_of(ip) {
            return None;
        }
        counts.total += 1;
        counts.by_ip.insert(ip, of_ip + 1);
        *counts.by_listener.entry(listener.clone()).or_default() += 1;
        drop(counts);
        Some(Self { places: Arc::clone(places), ip, listener: listener.clone(), id: None })
    }

    /// Lists the connection among the open ones.
    fn list(&mut self, context: &Arc<ConnectionContext>, end: &CancellationToken) {
        self.id = Some(context.id());
        self.places.lock().open.insert(context.id(), Open { context: Arc::clone(context), end: end.clone() });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.lock();
        counts.total -= 1;
        if let Some(id) = &self.id {
            counts.open.remove(id);
        }
        match counts.by_ip.get_mut(&self.ip) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.by_ip.remove(&self.ip);
            }
        }
        if let Some(count) = counts.by_listener.get_mut(&self.listener) {
            *count -= 1;
        }
        drop(counts);
        self.places.freed.notify_waiters();
    }
}

/// Serves listening sockets: one of these per broker, so that the limits count over all its listeners.
pub struct Server<D: ?Sized> {
    shared: Arc<Shared<D>>,
    /// How many connections there may be, where that may change.
    bounds: Option<watch::Receiver<Arc<ConnectionBounds>>>,
    places: Arc<Places>,
    counters: Arc<ConnectionCounters>,
    /// Connections that came too fast and are kept until they may be closed.
    held: Arc<Semaphore>,
    next_id: AtomicU64,
    shutdown: CancellationToken,
}

impl<D: Dispatch + ?Sized> Server<D> {
    /// A server. When the token is cancelled all its listeners stop and all its connections end.
    #[must_use]
    pub fn new(dispatch: Arc<D>, limits: ConnectionLimits, clock: SharedClock, budget: MemoryBudget, shutdown: CancellationToken) -> Self {
        let bounds = dispatch.connection_bounds();
        let shared = Arc::new(Shared { dispatch, limits, clock, budget });
        let held = Arc::new(Semaphore::new(HELD_MAX));
        Self { shared, bounds, places: Arc::default(), counters: Arc::default(), held, next_id: AtomicU64::new(0), shutdown }
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.places.lock().total
    }

    /// The open connections, the oldest first.
    #[must_use]
    pub fn open(&self) -> Vec<Arc<ConnectionContext>> {
        self.places.lock().open.values().map(|open| Arc::clone(&open.context)).collect()
    }

    /// What was counted of connections so far.
    #[must_use]
    pub fn counters(&self) -> &ConnectionCounters {
        &self.counters
    }

    /// Accepts connections until the shutdown, then waits until those that it accepted have ended.
    pub async fn serve(&self, listener: TcpListener, name: ListenerName) {
        let tasks = TaskTracker::new();
        tokio::select! {
            () = self.accept_all(&listener, &name, &tasks) => {}
            () = self.keep_bounds() => {}
        }
        drop(listener);
        tasks.close();
        tasks.wait().await;
    }

    /// Ends connections where the bounds are lowered; never ends itself.
    async fn keep_bounds(&self) {
        if let Some(mut bounds) = self.bounds.clone() {
            while bounds.changed().await.is_ok() {
                self.places.end_excess(&self.bounds());
            }
        }
        std::future::pending().await
    }

    async fn accept_all(&self, listener: &TcpListener, name: &ListenerName, tasks: &TaskTracker) {
        while let Some(accepted) = self.shutdown.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, peer)) => {
                    let pause = self.shared.dispatch.accept_pause(name);
                    if !pause.is_zero() {
                        let end = self.shared.clock.sleep_until(self.shared.clock.monotonic().saturating_add(pause));
                        let _passed_or_stopping = self.shutdown.run_until_cancelled(end).await;
                    }
                    if self.shutdown.run_until_cancelled(self.room(name)).await.is_none() {
                        break;
                    }
                    if let Err(error) = self.admit(tasks, stream, peer, name) {
                        tracing::debug!(listener = %name, %peer, %error, "a connection failed at once");
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(listener = %name, %error, "accepting rests");
                    let rest = self.shared.clock.sleep_until(self.shared.clock.monotonic() + ACCEPT_REST);
                    let _ = self.shutdown.run_until_cancelled(rest).await;
                }
            }
        }
    }

    fn bounds(&self) -> Arc<ConnectionBounds> {
        self.bounds.as_ref().map_or_else(|| Arc::clone(&self.shared.limits.bounds), |bounds| Arc::clone(&bounds.borrow()))
    }

    /// Waits until a listener may take one more connection: until one has ended, or the bounds have changed, for which it looks from time to time.
    async fn room(&self, name: &ListenerName) {
        let mut is_told = false;
        loop {
            let freed = self.places.freed.notified();
            let mut freed = std::pin::pin!(freed);
            // What ends between the look and the wait counts.
            freed.as_mut().enable();
            if self.places.has_room(name, &self.bounds()) {
                return;
            }
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!(listener = %name, "has as many connections as it may have; further ones wait");
            }
            tokio::select! {
                () = freed => {}
                () = self.shared.clock.sleep_until(self.shared.clock.monotonic() + ACCEPT_REST) => {}
            }
        }
    }

    fn admit(&self, tasks: &TaskTracker, stream: TcpStream, peer: SocketAddr, name: &ListenerName) -> io::Result<()> {
        let limits = &self.shared.limits;
        let ip = peer.ip().to_canonical();
        if let Err(wait) = self.shared.dispatch.connection_accepted(ip) {
            self.hold(tasks, stream, wait);
            return Ok(());
        }
        let Some(mut place) = Place::take(&self.places, ip, name, &self.bounds()) else {
            self.counters.refused();
            tracing::debug!(listener = %name, %peer, "refused: too many connections from its address");
            return Ok(());
        };
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_keepalive(true)?;
        if let Some(bytes) = limits.send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = limits.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let id = ConnectionId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let context = ConnectionContext::new(id, peer, stream.local_addr()?, name.clone());
        let end = self.shutdown.child_token();
        self.counters.accepted();
        let counters = Arc::clone(&self.counters);
        let connection = Connection::new(stream, Arc::clone(&context), Arc::clone(&self.shared), end.clone());
        place.list(&context, &end);
        // One of the brokers among themselves comes in although it is too many.
        self.places.end_excess(&self.bounds());
        let (shared, shutdown) = (Arc::clone(&self.shared), self.shutdown.clone());
        tasks.spawn(async move {
            let reason = match connection.await {
                CloseReason::ShuttingDown if !shutdown.is_cancelled() => CloseReason::Excess,
                reason => reason,
            };
            counters.closed(&reason);
            match &reason {
                CloseReason::Panicked(text) => {
                    tracing::error!(connection = %id, %peer, panic = %text, "a handler panicked; its connection ends")
                }
                reason => tracing::debug!(connection = %id, %peer, %reason, "connection closed"),
            }
            shared.dispatch.connection_closed(&context);
            drop(place);
        });
        Ok(())
    }
}

impl<D: Dispatch + ?Sized> Server<D> {
    /// Keeps a connection that came too fast, so that its client does not come again at once, and then closes it (`ConnectionThrottledException`).
    fn hold(&self, tasks: &TaskTracker, stream: TcpStream, wait: Duration) {
        let Ok(place) = Arc::clone(&self.held).try_acquire_owned() else { return };
        let end = self.shared.clock.sleep_until(self.shared.clock.monotonic().saturating_add(wait));
        let shutdown = self.shutdown.clone();
        tasks.spawn(async move {
            let _passed_or_stopping = shutdown.run_until_cancelled(end).await;
            drop((stream, place));
        });
    }
}

/// Errors of accept(2) that concern the one connection only; the next may be taken at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted)
}
