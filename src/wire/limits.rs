//! What one listener allows its peers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::ListenerName;

/// Another per-address limit for one address (`max.connections.per.ip.overrides`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpOverride {
    /// The address.
    pub address: IpAddr,
    /// How many connections it may have at once.
    pub connections_max: usize,
}

/// How many connections one listener may have at once (`listener.name.NAME.max.connections`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerBound {
    /// The listener.
    pub listener: ListenerName,
    /// How many it may have.
    pub connections_max: usize,
}

/// How many connections there may be at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionBounds {
    /// In all, and through one listener that has no bound of its own (`max.connections`).
    pub connections_max: usize,
    /// Through some listeners.
    pub listeners: Vec<ListenerBound>,
    /// A listener that takes connections even if there are as many as there may be in all: that of the brokers among themselves, where clients have
    /// another.
    pub protected: Option<ListenerName>,
    /// From one address (`max.connections.per.ip`).
    pub connections_per_ip_max: usize,
    /// From some addresses (`max.connections.per.ip.overrides`).
    pub ip_overrides: Vec<IpOverride>,
}

impl Default for ConnectionBounds {
    fn default() -> Self {
        Self {
            connections_max: usize::MAX,
            listeners: Vec::new(),
            protected: None,
            connections_per_ip_max: usize::MAX,
            ip_overrides: Vec::new(),
        }
    }
}

impl ConnectionBounds {
    /// How many connections the address may have at once.
    #[must_use]
    pub fn connections_max_of(&self, address: IpAddr) -> usize {
        self.ip_overrides.iter().find(|entry| entry.address == address).map_or(self.connections_per_ip_max, |entry| entry.connections_max)
    }

    /// Whether a listener may take one more connection, with so many through it and so many in all (`ConnectionQuotas.connectionSlotAvailable`).
    #[must_use]
    pub fn has_room(&self, listener: &ListenerName, through_listener: usize, in_all: usize) -> bool {
        let own = self.listeners.iter().find(|bound| bound.listener == *listener);
        through_listener < own.map_or(self.connections_max, |bound| bound.connections_max)
            && (self.protected.as_ref() == Some(listener) || in_all < self.connections_max)
    }
}

/// The limits of a listener's connections. The defaults are Kafka's where Kafka has the limit.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// How many there may be at once, if [`crate::Dispatch::connection_bounds`] says nothing else.
    pub bounds: Arc<ConnectionBounds>,
    /// The largest frame (`socket.request.max.bytes`).
    pub frame_bytes_max: usize,
    /// How long a connection may be idle (`connections.max.idle.ms`); `None` is for ever.
    pub idle_max: Option<Duration>,
    /// In each span of this length a begun frame must come to its end or by [`Self::progress_bytes_min`] further.
    pub partial_frame_timeout: Duration,
    /// In each span of this length the peer must take all that is to be written or at least [`Self::progress_bytes_min`] of it.
    pub write_timeout: Duration,
    /// What counts as progress for the two timeouts.
    pub progress_bytes_min: usize,
    /// Requests of one connection that are dispatched and not yet written at once.
    pub in_flight_max: usize,
    /// Bytes of answers of one connection that wait for the peer before further requests of it wait too.
    pub unwritten_bytes_max: usize,
    /// How long a stopping listener waits for pipelined answers.
    pub shutdown_grace: Duration,
    /// `socket.send.buffer.bytes`; `None` leaves it to the system.
    pub send_buffer_bytes: Option<usize>,
    /// `socket.receive.buffer.bytes`; `None` leaves it to the system.
    pub receive_buffer_bytes: Option<usize>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            bounds: Arc::default(),
            frame_bytes_max: 100 << 20,
            idle_max: Some(Duration::from_secs(600)),
            partial_frame_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(120),
            progress_bytes_min: 64 << 10,
            in_flight_max: 16,
            unwritten_bytes_max: 1 << 20,
            shutdown_grace: Duration::from_secs(2),
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
        }
    }
}
