//! Kafka's wire messages, and what must be known about a frame before one of them may be decoded.
//!
//! Requests and responses are kafka-protocol's structs, re-exported, but for those whose newest versions it lacks ([`messages`]). Around them stand: the bounds scan, which makes decoding safe; headers;
//! and a writer for the Fetch response that leaves record bytes where they are.
//!
//! What it is *not*: it has no sockets and no length prefix (that is `wire`), it does not say which versions this broker serves (that is
//! `apis`), and record batches are opaque to it (that is `record-batch`).
//!
//! Invariants:
//! - Nothing here panics or allocates by a number on the wire, whatever the bytes.
//! - What passed the scan can be decoded: kafka-protocol neither aborts nor panics on it, and allocates at most what the scan reported.
//! - The shapes and our own messages are those of one release of Kafka and are generated: `scripts/generate-shapes --check` says whether they are stale.
//!
//! In Kafka this is `org.apache.kafka.common.protocol` and `common.requests.RequestHeader`; the schemas are the clients jar's
//! `common/message`. KIP-482 has the flexible versions, KIP-511 the exceptions of ApiVersions.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod fetch_response;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
mod header;
pub mod messages;
pub mod primitives;
mod scan;
mod shapes;

pub use header::{
    API_VERSIONS_KEY, RequestHead, encode_request, parse_request_header, put_response_header, request_header_version,
    response_header_version,
};
pub use kafka_protocol::error::ResponseError as ErrorCode;
pub use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
pub use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes, VersionRange};
pub use scan::{DecodeError, Fault, ScanError, ScanReport, decode_request, decode_response, error_codes, scan_request, scan_response};

/// The code on the wire: 0 for no error.
#[must_use]
pub fn to_i16(error: Option<ErrorCode>) -> i16 {
    error.map_or(0, |error| error.code())
}

/// Kafka's name of a code on the wire, for logs and metrics: `NONE`, `NOT_LEADER_OR_FOLLOWER`, or the number of an unknown one.
#[must_use]
pub fn error_name(code: i16) -> String {
    if code == 0 {
        return "NONE".to_owned();
    }
    match ErrorCode::try_from_code(code) {
        None | Some(ErrorCode::Unknown(_)) => code.to_string(),
        Some(error) => screaming_snake_case(&format!("{error:?}")),
    }
}

fn screaming_snake_case(camel_case: &str) -> String {
    let mut name = String::with_capacity(camel_case.len() + 8);
    for letter in camel_case.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}
