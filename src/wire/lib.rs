//! Sockets: frames in, answers out, in order, under limits.
//!
//! A listener accepts connections; each connection is one task that cuts the byte stream into frames, hands every frame to a
//! [`Dispatch`], and writes the answers in the order of the requests, memory by vectored writes and file ranges by sendfile.
//!
//! What it is *not*: it knows nothing of what a frame holds (no API keys, no versions, no correlation ids), and it has no tasks per request.
//!
//! Invariants:
//! - Answers leave in the order in which their requests came.
//! - A length prefix never allocates: a frame's buffer grows with the bytes that really arrive, after the frame's size was granted by the
//!   [`MemoryBudget`].
//! - A connection holds at most [`ConnectionLimits::in_flight_max`] unanswered or unwritten requests; the rest waits in the peer's socket.
//! - A peer that stops in the middle of a frame, or that never reads, is cut off by a deadline. An idle connection costs no wake-up but that of its
//!   idle deadline.
//! - A listener that has as many connections as it may takes no further one until one has ended: whoever connects meanwhile waits. An address that has
//!   as many as it may is refused at once.
//! - A muted connection ([`ConnectionContext::mute_until`]) takes no request until its time; what is answered still leaves.
//! - A panic in a handler ends its connection, never the process.
//! - Time comes from a [`clock::Clock`]; `clock.rs` is the one file that may use tokio's.
//!
//! In Kafka this is `SocketServer` (acceptors, processors, `ConnectionQuotas`) and `org.apache.kafka.common.network` (`Selector`,
//! `NetworkReceive`, `MemoryPool`).
//!
//! The path: `listener` accepts -> `connection` drives the task -> `intake` cuts frames -> [`Dispatch`] -> `outlet` writes by `send`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod budget;
pub mod clock;
mod connection;
mod counters;
mod dispatch;
mod intake;
mod life;
mod limits;
mod listener;
mod outlet;
mod peer_client;
mod send;
mod watchdog;

pub use budget::{BudgetPermit, MemoryBudget};
pub use counters::ConnectionCounters;
pub use dispatch::{
    BoxFuture, ClientSoftware, CloseReason, ConnectionContext, ConnectionId, Dispatch, ListenerName, Outcome, ResponseFrame,
};
pub use life::Life;
pub use limits::{ConnectionBounds, ConnectionLimits, IpOverride, ListenerBound};
pub use listener::{ListenOptions, ReservedPort, Server, bind, reserve};
pub use peer_client::PeerClient;
