//! What an API is: its key, its versions, and a function from request to answer.

use std::future::Future;
use std::sync::Arc;

use broker::Broker;
use broker::coordinators::Caller;
use broker::quotas::Client;
use bytes::{Bytes, BytesMut};
use protocol::{Decodable, Encodable};
use wire::{CloseReason, ConnectionContext, Outcome, ResponseFrame};

use crate::measure::Measure;
use crate::throttle::{self, Throttled};

/// The user of a connection that proves nothing (`KafkaPrincipal.ANONYMOUS`).
const ANONYMOUS: &str = "ANONYMOUS";

/// An inclusive range of request versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    /// The lowest.
    pub(crate) min: i16,
    /// The highest.
    pub(crate) max: i16,
}

impl Versions {
    /// From `min` to `max`, both included.
    #[must_use]
    pub(crate) const fn new(min: i16, max: i16) -> Self {
        Self { min, max }
    }

    /// Whether a version lies within.
    #[must_use]
    pub(crate) const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

/// All that a handler knows beside the request: the broker, the connection, the request's header.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) broker: Arc<Broker>,
    pub(crate) connection: Arc<ConnectionContext>,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: String,
    pub(crate) measure: Measure,
    /// The whole request, its header too.
    pub(crate) request_bytes: usize,
}

impl Context {
    /// Who asks, as the group coordinator wants to know it.
    pub(crate) fn caller(&self) -> Caller {
        Caller { client_id: self.client_id.clone(), client_host: format!("/{}", self.connection.peer().ip()), api_version: self.version }
    }

    /// Who asks, as quotas want to know it.
    pub(crate) fn client(&self) -> Client<'_> {
        Client { user: ANONYMOUS, client_id: &self.client_id }
    }

    /// The advertised addresses of this broker for the listener that the client came by.
    pub(crate) fn listener(&self) -> &str {
        self.connection.listener().as_str()
    }
}

/// An API whose answer the connection waits for, as in Kafka.
pub(crate) trait Api: Send + Sync + 'static {
    /// Its key on the wire.
    const KEY: i16;
    /// Kafka's name of it.
    const NAME: &'static str;
    /// The versions that are served.
    const VERSIONS: Versions;
    /// Whether only the active controller can answer it; another broker forwards it.
    const FOR_CONTROLLER: bool = false;
    /// Whether brokers send it, whom no quota of clients concerns.
    const FROM_BROKERS: bool = false;
    /// The decoded request.
    type Request: Decodable + Send + 'static;
    /// The answer.
    type Response: Encodable + Throttled + Send + 'static;

    /// Answers a request.
    fn handle(cx: Context, request: Self::Request) -> impl Future<Output = Self::Response> + Send;
}

/// An API without its types: what the table holds.
pub(crate) trait ErasedApi: Send + Sync {
    fn key(&self) -> i16;
    fn name(&self) -> &'static str;
    fn served(&self) -> Versions;
    /// The range that ApiVersions tells; wider than the served one only for Produce.
    fn advertised(&self) -> Versions {
        self.served()
    }
    /// Whether only the active controller can answer it.
    fn is_for_controller(&self) -> bool {
        false
    }
    /// Decodes `body` and answers it.
    fn call(&self, cx: Context, body: Bytes) -> Outcome;
}

/// Erases an [`Api`].
pub(crate) struct Serial<A>(pub(crate) std::marker::PhantomData<A>);

impl<A: Api> Serial<A> {
    pub(crate) const NEW: Self = Self(std::marker::PhantomData);
}

impl<A: Api> ErasedApi for Serial<A> {
    fn key(&self) -> i16 {
        A::KEY
    }

    fn name(&self) -> &'static str {
        A::NAME
    }

    fn served(&self) -> Versions {
        A::VERSIONS
    }

    fn is_for_controller(&self) -> bool {
        A::FOR_CONTROLLER
    }

    fn call(&self, cx: Context, body: Bytes) -> Outcome {
        let request = match decode::<A::Request>(body, cx.version) {
            Ok(request) => request,
            Err(reason) => return Outcome::Close(reason),
        };
        Outcome::serial(async move {
            let (version, correlation_id, measure) = (cx.version, cx.correlation_id, cx.measure.clone());
            let response = throttle::handle::<A>(cx, request).await;
            measure.end(encode(A::KEY, version, correlation_id, &response))
        })
    }
}

/// Decodes a body that the bounds scan has passed.
pub(crate) fn decode<R: Decodable>(mut body: Bytes, version: i16) -> Result<R, CloseReason> {
    R::decode(&mut body, version).map_err(|error| CloseReason::Undecodable(error.to_string()))
}

/// Encodes header and answer into one frame.
pub(crate) fn encode<R: Encodable>(key: i16, version: i16, correlation_id: i32, response: &R) -> Outcome {
    let mut buffer = BytesMut::new();
    match encode_into(&mut buffer, (key, version, correlation_id), response) {
        Ok(()) => Outcome::Reply(ResponseFrame::from(buffer.freeze())),
        Err(error) => {
            tracing::error!(api_key = key, version, %error, "an answer has a field that its version lacks");
            Outcome::Close(CloseReason::Refused("an answer could not be encoded"))
        }
    }
}

/// Writes header and answer behind what `buffer` holds.
pub(crate) fn encode_into<R: Encodable>(buffer: &mut BytesMut, head: (i16, i16, i32), response: &R) -> Result<(), String> {
    let (key, version, correlation_id) = head;
    let size = response.compute_size(version).map_err(|error| error.to_string())?;
    buffer.reserve(size + 8);
    protocol::put_response_header(buffer, key, version, correlation_id);
    response.encode(buffer, version).map_err(|error| error.to_string())
}
