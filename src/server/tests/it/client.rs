//! A client on a plain socket: raw frames, and typed requests.

use std::fmt::Debug;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use protocol::fixtures::request_frame;
use protocol::messages::TopicName;
use protocol::{Request, StrBytes};
use socket2::SockRef;
use wire::clock::{Clock as _, SystemClock};

/// How long an honest request may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A small generator of numbers (splitmix64): a seed says all that follows.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `bound`, exclusive.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap();
        usize::try_from(self.next() % bound).unwrap()
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// The number in an environment variable, or another one.
pub(crate) fn number_of(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// The time that records get which must not be too old to be kept.
pub(crate) fn now_ms() -> i64 {
    SystemClock::new().now().millis()
}

/// The frame behind its length.
pub(crate) fn with_length(frame: &[u8]) -> Vec<u8> {
    let mut bytes = i32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(frame);
    bytes
}

pub(crate) struct Client {
    stream: TcpStream,
    next: i32,
    /// Once it is set, answers are not heard any more.
    deaf: Arc<AtomicBool>,
}

impl Client {
    /// Connects. Closing resets the connection, so that thousands of them leave no port waiting.
    pub(crate) fn connect(address: &str, patience: Duration) -> Self {
        Self::try_connect(address, patience).unwrap()
    }

    /// As [`Self::connect`], to a broker that may be gone.
    pub(crate) fn try_connect(address: &str, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        Ok(Self { stream, next: 0, deaf: Arc::default() })
    }

    /// Loses its connection when `deaf` is set: an answer that comes later is as one that never came.
    pub(crate) fn until(self, deaf: &Arc<AtomicBool>) -> Self {
        Self { deaf: Arc::clone(deaf), ..self }
    }

    pub(crate) fn honest(address: &str) -> Self {
        Self::connect(address, PATIENCE)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn receive(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut answer)?;
        if self.deaf.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(answer.into())
    }

    /// Receives until the answer with this correlation id is there.
    pub(crate) fn receive_until(&mut self, correlation_id: i32) -> io::Result<()> {
        while !self.receive()?.starts_with(&correlation_id.to_be_bytes()) {}
        Ok(())
    }

    /// Sends a request without waiting for its answer, whose correlation id it returns.
    pub(crate) fn post<R: Request>(&mut self, version: i16, request: &R) -> io::Result<i32> {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap_or_else(|error| panic!("version {version} of API {}: {error}", R::KEY));
        self.next += 1;
        self.send(&with_length(&request_frame(R::KEY, version, self.next, &body)))?;
        Ok(self.next)
    }

    /// Receives the answer to a posted request; answers come in the order of the requests.
    pub(crate) fn answer<R: Request>(&mut self, version: i16, correlation_id: i32) -> io::Result<R::Response> {
        let answer = self.receive()?;
        let header = if protocol::response_header_version(R::KEY, version) == Some(1) { 5 } else { 4 };
        assert_eq!(answer[..4], correlation_id.to_be_bytes());
        let response = protocol::decode_response::<R>(version, &answer.slice(header..), 64 << 20);
        Ok(response.unwrap_or_else(|error| panic!("version {version} of API {}: {error}", R::KEY)))
    }

    /// Sends a request to a broker that may end at any time, and receives its answer.
    pub(crate) fn try_call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        let correlation_id = self.post(version, request)?;
        self.answer::<R>(version, correlation_id)
    }

    /// Sends a request and checks of the answer what holds for every one: it decodes, and no code in it is UNKNOWN_SERVER_ERROR.
    pub(crate) fn call<R: Request + Debug>(&mut self, version: i16, request: &R) -> R::Response
    where
        R::Response: Debug,
    {
        let response = self.try_call(version, request).unwrap_or_else(|error| panic!("version {version} of {request:?}: {error}"));
        assert!(!format!("{response:?}").contains("error_code: -1"), "version {version} of {request:?}: {response:?}");
        response
    }
}
