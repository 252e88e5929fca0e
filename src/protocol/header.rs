//! The headers of requests and responses.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{BufMut, BytesMut};

use crate::messages::RequestHeader;
use crate::scan::{Fault, Scan, ScanError};
use crate::{Encodable as _, Request, StrBytes, shapes};

/// The one API whose every version a broker answers, in whatever form the client can read (KIP-511).
pub const API_VERSIONS_KEY: i16 = 18;

/// What a request's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Which API.
    pub api_key: i16,
    /// Which version of it.
    pub api_version: i16,
    /// What the response must carry.
    pub correlation_id: i32,
    /// Where in the frame the client's id is, if it has one.
    pub client_id: Option<Range<usize>>,
    /// 1, or 2 with tagged fields.
    pub header_version: i16,
    /// Where in the frame the body begins.
    pub body_offset: usize,
}

impl RequestHead {
    /// The client's id, from the frame that this header was parsed from. What is not UTF-8 in it is replaced, as Java does.
    #[must_use]
    pub fn client_id<'f>(&self, frame: &'f [u8]) -> Option<Cow<'f, str>> {
        self.client_id.clone().and_then(|range| frame.get(range)).map(String::from_utf8_lossy)
    }
}

/// The version of the header before a request: 2 for flexible versions, else 1. `None` for an unknown API key.
///
/// Versions beyond ours are answered too: an ApiVersions request of any version has to be understood as far as its correlation id.
#[must_use]
pub fn request_header_version(api_key: i16, version: i16) -> Option<i16> {
    shapes::request(api_key).map(|message| if message.flexible.contains(version) { 2 } else { 1 })
}

/// The version of the header before a response: 1 for flexible versions, else 0; always 0 for ApiVersions, as its client does not know yet
/// what the broker speaks (KIP-511). `None` for an unknown API key.
#[must_use]
pub fn response_header_version(api_key: i16, version: i16) -> Option<i16> {
    let flexible = |message: &shapes::Message| api_key != API_VERSIONS_KEY && message.flexible.contains(version);
    shapes::response(api_key).map(|message| i16::from(flexible(message)))
}

/// Writes the header of a response. Its tagged fields are none.
pub fn put_response_header(buffer: &mut BytesMut, api_key: i16, version: i16, correlation_id: i32) {
    buffer.put_i32(correlation_id);
    if response_header_version(api_key, version) == Some(1) {
        buffer.put_u8(0);
    }
}

/// Writes a request and its header as one frame, without the length before it.
///
/// # Errors
/// A sentence, if the request has a field that its version lacks.
pub fn encode_request<R: Request>(client_id: &'static str, correlation_id: i32, version: i16, request: &R) -> Result<BytesMut, String> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str(client_id)));
    let mut frame = BytesMut::new();
    let header = header.encode(&mut frame, R::header_version(version));
    header.and_then(|()| request.encode(&mut frame, version)).map_err(|error| error.to_string())?;
    Ok(frame)
}

/// Reads the header of a request from a frame (without the length before it).
///
/// # Errors
/// If the frame is too short, the API key or version is unknown, or the header is malformed. The connection closes then. An ApiVersions
/// request is the exception: of an unknown version, only its key, version and correlation id are looked at.
pub fn parse_request_header(frame: &[u8]) -> Result<RequestHead, ScanError> {
    let mut scan = Scan::new(frame, 2, true, usize::MAX);
    let head = parse(frame, &mut scan);
    head.map_err(|fault| scan.error(fault))
}

fn parse(frame: &[u8], scan: &mut Scan<'_>) -> Result<RequestHead, Fault> {
    scan.name("RequestApiKey");
    let api_key = i16::from_be_bytes(scan.take_array()?);
    scan.name("RequestApiVersion");
    let api_version = i16::from_be_bytes(scan.take_array()?);
    scan.name("CorrelationId");
    let correlation_id = i32::from_be_bytes(scan.take_array()?);
    let message = shapes::request(api_key).ok_or(Fault::UnknownKey { api_key })?;
    let header_version = if message.flexible.contains(api_version) { 2 } else { 1 };
    let mut head = RequestHead { api_key, api_version, correlation_id, client_id: None, header_version, body_offset: frame.len() };
    if !message.versions.contains(api_version) {
        return if api_key == API_VERSIONS_KEY { Ok(head) } else { Err(Fault::UnknownVersion { api_key, version: api_version }) };
    }
    scan.name("ClientId");
    // The client id keeps its old encoding in the flexible header too.
    if let Some(length) = scan.short_length()? {
        let start = scan.at();
        scan.take(length).map_err(|_| Fault::LengthBeyondFrame(length))?;
        head.client_id = Some(start..scan.at());
    }
    if header_version == 2 {
        scan.name("header");
        scan.tags(&[])?;
    }
    head.body_offset = scan.at();
    Ok(head)
}
