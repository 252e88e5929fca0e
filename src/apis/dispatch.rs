//! From a frame to its API: header, version check, bounds scan, call.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use broker::Broker;
use bytes::Bytes;
use protocol::messages::ApiVersionsResponse;
use tokio::sync::watch;
use wire::{CloseReason, ConnectionBounds, ConnectionContext, Dispatch, ListenerName, Outcome, ResponseFrame};

use crate::api::{self, Context};
use crate::connection::api_versions;
use crate::measure::Measure;
use crate::table;

/// The largest memory that decoding one request may take, beside its own bytes (Produce's records stay in the frame). An answer names as many
/// things as its request and takes about as much again. Enough for some 300,000 topics in one request.
const DECODE_BYTES_MAX: usize = 32 << 20;

/// What decoding may take for each byte of a frame: an honest list of topic names takes up to this (see `RELIABILITY` 6.1's measurement).
const DECODE_FACTOR: usize = 48;

/// How long the active controller is looked for when a client's request needs it.
const FORWARD_WITHIN: Duration = Duration::from_secs(30);

/// Who speaks to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// Clients, and brokers that fetch.
    Clients,
    /// Brokers that need the active controller.
    Brokers,
}

/// The APIs of one broker.
pub struct Apis {
    broker: Arc<Broker>,
    audience: Audience,
}

impl Apis {
    /// The APIs on top of `broker`.
    #[must_use]
    pub fn new(broker: Arc<Broker>) -> Self {
        Self { broker, audience: Audience::Clients }
    }

    /// The APIs on the controller listener.
    #[must_use]
    pub fn for_brokers(broker: Arc<Broker>) -> Self {
        Self { broker, audience: Audience::Brokers }
    }

    /// What becomes of a request that only the active controller can answer, where this broker is not it; `None` if it is.
    fn elsewhere(&self, frame: &Bytes) -> Option<Outcome> {
        let own = self.broker.config.broker_id;
        let channel = self.broker.channel.as_ref().filter(|channel| !self.broker.controller.is_active() && !channel.is_sole_voter(own))?;
        let channel = channel.clone();
        if self.audience == Audience::Brokers {
            // Whoever asks looks for the new one.
            return Some(Outcome::Close(CloseReason::Refused("this broker is not the active controller")));
        }
        let (frame, deadline) = (frame.clone(), self.broker.clock.monotonic() + FORWARD_WITHIN);
        Some(Outcome::serial(async move {
            match channel.exchange(&frame, deadline).await {
                Ok(answer) => Outcome::Reply(ResponseFrame::from(answer)),
                Err(error) => {
                    tracing::warn!(%error, "a client's request cannot be forwarded to the active controller");
                    Outcome::Close(CloseReason::Refused("no active controller is reached"))
                }
            }
        }))
    }
}

impl Dispatch for Apis {
    fn connection_accepted(&self, address: IpAddr) -> Result<(), Duration> {
        self.broker.quotas.connect(address)
    }

    fn connection_bounds(&self) -> Option<watch::Receiver<Arc<ConnectionBounds>>> {
        Some(self.broker.live_limits.watch_bounds())
    }

    fn accept_pause(&self, listener: &ListenerName) -> Duration {
        self.broker.live_limits.accept_pause(listener)
    }

    fn connection_closed(&self, connection: &Arc<ConnectionContext>) {
        if self.audience == Audience::Brokers {
            self.broker.controller.connection_closed(connection);
        }
    }

    fn dispatch(&self, connection: &Arc<ConnectionContext>, frame: Bytes) -> Outcome {
        let head = match protocol::parse_request_header(&frame) {
            Ok(head) => head,
            Err(error) => return Outcome::Close(CloseReason::Undecodable(error.to_string())),
        };
        let (key, version) = (head.api_key, head.api_version);
        let known = match self.audience {
            Audience::Clients => table::find(key),
            Audience::Brokers => table::find_on_controller(key),
        };
        let Some((place, found)) = known.filter(|(_, found)| found.served().contains(version)) else {
            return refuse_version(key, version, head.correlation_id);
        };
        let body = frame.slice(head.body_offset..);
        let permit = body.len().saturating_mul(DECODE_FACTOR).clamp(64 << 10, DECODE_BYTES_MAX);
        if let Err(error) = protocol::scan_request(key, version, &body, permit) {
            return Outcome::Close(CloseReason::Undecodable(format!("{} v{version}: {error}", found.name())));
        }
        if found.is_for_controller()
            && let Some(elsewhere) = self.elsewhere(&frame)
        {
            return elsewhere;
        }
        let client_id = head.client_id(&frame).map(std::borrow::Cow::into_owned).unwrap_or_default();
        let cx = Context {
            broker: Arc::clone(&self.broker),
            connection: Arc::clone(connection),
            version,
            correlation_id: head.correlation_id,
            client_id,
            measure: Measure::begin(&self.broker, place, key, version),
            request_bytes: frame.len(),
        };
        connection.note_client_id(&cx.client_id);
        found.call(cx, body)
    }
}

/// An unknown key or version ends the connection, as in Kafka; only ApiVersions is told which versions there are, in version 0's form, so that the
/// client can ask again.
fn refuse_version(key: i16, version: i16, correlation_id: i32) -> Outcome {
    if key != api_versions::KEY {
        return Outcome::Close(CloseReason::Undecodable(format!("API key {key} version {version} is not served")));
    }
    let response: ApiVersionsResponse = api_versions::unsupported_version();
    api::encode(key, 0, correlation_id, &response)
}
