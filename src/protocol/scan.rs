//! The bounds scan: a walk over an undecoded body, without allocation, that refuses what would make decoding dangerous.
//!
//! kafka-protocol gives the counts on the wire to `Vec::with_capacity`, so a frame of 18 bytes can ask for 154 GB and abort the process.
//! After a successful scan every count and length is known to lie within the frame, and what decoding will allocate is known and permitted.

use bytes::Bytes;

use crate::shapes::{self, Field, Kind, Message, Struct};
use crate::{Decodable, Request};

/// KIP-482 lets a peer add tagged fields that we do not know. Nobody has needed more than a handful.
const UNKNOWN_TAGS_MAX: u32 = 64;
/// The first unknown tag of a struct makes a node of a B-tree.
const TAG_NODE_MEMORY_BYTES: usize = 512;
/// Further unknown tags fill it and split it.
const TAG_MEMORY_BYTES: usize = 160;
/// Kafka's name of every field that holds an error code.
const ERROR_CODE: &str = "ErrorCode";
/// Kafka's strings are at most this long, also where the encoding could say more.
const STRING_BYTES_MAX: usize = 0x7fff;

/// What a scan found out about a body that may be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanReport {
    /// An upper bound of what decoding allocates, the message itself included. Strings and byte fields count nothing but their handle when
    /// the body is decoded from [`Bytes`], as they are slices of the frame then.
    pub memory_bytes: usize,
    /// How many bytes follow the message; the decoder leaves them.
    pub rest_bytes: usize,
}

/// Why a body may not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {at}, in {field}")]
pub struct ScanError {
    /// What is wrong.
    pub fault: Fault,
    /// How many bytes of the body (or frame) were read before.
    pub at: usize,
    /// Kafka's name of the field that was read last.
    pub field: &'static str,
}

/// What can be wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No such API key.
    #[error("unknown API key {api_key}")]
    UnknownKey {
        /// The key asked for.
        api_key: i16,
    },
    /// No such version of the API.
    #[error("API key {api_key} has no version {version}")]
    UnknownVersion {
        /// The key asked for.
        api_key: i16,
        /// The version asked for.
        version: i16,
    },
    /// The frame ends inside a field.
    #[error("frame ends early")]
    Truncated,
    /// A length or count below zero that is not null.
    #[error("negative length {0}")]
    NegativeLength(i32),
    /// A length that reaches beyond the frame.
    #[error("length {0} beyond the frame")]
    LengthBeyondFrame(usize),
    /// More elements than the rest of the frame can hold.
    #[error("count {0} beyond the frame")]
    CountBeyondFrame(usize),
    /// A variable-length integer of more than 32 bits.
    #[error("overlong varint")]
    OverlongVarint,
    /// Null where this version has no null.
    #[error("null not allowed")]
    NullNotAllowed,
    /// A nullable struct that begins with neither -1 nor 1.
    #[error("bad presence byte {0}")]
    BadPresence(u8),
    /// A string over Kafka's limit.
    #[error("string of {0} bytes")]
    StringTooLong(usize),
    /// More unknown tagged fields than anybody sends.
    #[error("{0} tagged fields")]
    TooManyTags(u32),
    /// Tags must ascend, so each comes once.
    #[error("tag {0} out of order")]
    TagOutOfOrder(u32),
    /// A tagged field whose content is shorter than its size says.
    #[error("tagged field with {0} bytes left over")]
    TagSizeMismatch(usize),
    /// Decoding would allocate more than is permitted.
    #[error("decoding takes {needed} bytes of {permitted}")]
    MemoryBeyondPermit {
        /// What had been counted when the scan stopped.
        needed: usize,
        /// The permit.
        permitted: usize,
    },
    /// Bytes after the end of the message.
    #[error("{0} bytes after the message")]
    TrailingBytes(usize),
}

/// Why a request was not decoded: the scan or the decoder refused it. Either way the connection closes.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bounds scan refused it.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The decoder refused it: text that is not UTF-8, or a version that only the scan knows.
    #[error("not decodable: {0}")]
    Decoder(Box<dyn std::error::Error + Send + Sync>),
}

/// Scans a request's body (what follows the header) against its shape.
///
/// Bytes after the message are let pass, as Kafka does: librdkafka 2.16 leaves 3 behind a Metadata request of version 13 for all topics.
///
/// # Errors
/// If decoding it would panic, abort or allocate more than `permit_bytes`, or if it does not begin with a well-formed message.
pub fn scan_request(api_key: i16, version: i16, body: &[u8], permit_bytes: usize) -> Result<ScanReport, ScanError> {
    scan_message(shapes::request(api_key), (api_key, version), body, permit_bytes)
}

/// Scans a response's body (what follows the header), as [`scan_request`] does: a follower and a proxy decode what others send.
///
/// # Errors
/// As [`scan_request`], and if bytes follow the message.
pub fn scan_response(api_key: i16, version: i16, body: &[u8], permit_bytes: usize) -> Result<ScanReport, ScanError> {
    match scan_message(shapes::response(api_key), (api_key, version), body, permit_bytes)? {
        report @ ScanReport { rest_bytes: 0, .. } => Ok(report),
        ScanReport { rest_bytes: left, .. } => {
            Err(ScanError { fault: Fault::TrailingBytes(left), at: body.len().saturating_sub(left), field: "frame" })
        }
    }
}

/// Tells every error code in a response's body, zeros too, in the order of the wire (Kafka's `AbstractResponse.errorCounts`). It allocates nothing.
///
/// # Errors
/// If the body is not well-formed; the codes before the fault were told.
pub fn error_codes(api_key: i16, version: i16, body: &[u8], tell: &mut dyn FnMut(i16)) -> Result<(), ScanError> {
    let refuse = |fault| ScanError { fault, at: 0, field: "header" };
    let message = shapes::response(api_key).ok_or_else(|| refuse(Fault::UnknownKey { api_key }))?;
    let mut scan = Scan::new(body, version, message.flexible.contains(version), usize::MAX);
    scan.codes = Some(tell);
    scan.message(&message.body).map_err(|fault| scan.error(fault))
}

/// Scans a request's body and decodes it. Its strings and byte fields are slices of `body`, and keep it alive.
///
/// # Errors
/// If the scan or the decoder refuses it.
pub fn decode_request<R: Request>(version: i16, body: &Bytes, permit_bytes: usize) -> Result<R, DecodeError> {
    scan_request(R::KEY, version, body, permit_bytes)?;
    decode_scanned(version, body)
}

/// Scans a response's body and decodes it. Its strings and byte fields are slices of `body`, and keep it alive.
///
/// # Errors
/// If the scan or the decoder refuses it.
pub fn decode_response<R: Request>(version: i16, body: &Bytes, permit_bytes: usize) -> Result<R::Response, DecodeError> {
    scan_response(R::KEY, version, body, permit_bytes)?;
    decode_scanned(version, body)
}

fn decode_scanned<M: Decodable>(version: i16, body: &Bytes) -> Result<M, DecodeError> {
    M::decode(&mut body.clone(), version).map_err(|error| DecodeError::Decoder(error.into()))
}

fn scan_message(
    message: Option<&'static Message>,
    (api_key, version): (i16, i16),
    body: &[u8],
    permit_bytes: usize,
) -> Result<ScanReport, ScanError> {
    let refuse = |fault| ScanError { fault, at: 0, field: "header" };
    let message = message.ok_or_else(|| refuse(Fault::UnknownKey { api_key }))?;
    if !message.versions.contains(version) {
        return Err(refuse(Fault::UnknownVersion { api_key, version }));
    }
    let mut scan = Scan::new(body, version, message.flexible.contains(version), permit_bytes);
    let scanned = scan.message(&message.body);
    scanned.map(|()| ScanReport { memory_bytes: scan.memory_bytes, rest_bytes: scan.rest.len() }).map_err(|fault| scan.error(fault))
}

/// The state of a walk.
pub(crate) struct Scan<'a> {
    /// What is still to be read, up to the end of the frame or of the tagged field.
    rest: &'a [u8],
    /// Where the frame ends, for the position in errors.
    frame_end: usize,
    /// How many bytes the frame has after the present tagged fields.
    behind_bytes: usize,
    version: i16,
    flexible: bool,
    memory_bytes: usize,
    permit_bytes: usize,
    field: &'static str,
    /// Who is told each error code that is passed.
    codes: Option<&'a mut dyn FnMut(i16)>,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(bytes: &'a [u8], version: i16, flexible: bool, permit_bytes: usize) -> Self {
        let (rest, frame_end) = (bytes, bytes.len());
        Self { rest, frame_end, behind_bytes: 0, version, flexible, memory_bytes: 0, permit_bytes, field: "frame", codes: None }
    }

    /// How many bytes were read.
    pub(crate) fn at(&self) -> usize {
        self.frame_end.saturating_sub(self.behind_bytes).saturating_sub(self.rest.len())
    }

    pub(crate) fn error(&self, fault: Fault) -> ScanError {
        ScanError { fault, at: self.at(), field: self.field }
    }

    /// Names the field that is read next.
    pub(crate) fn name(&mut self, field: &'static str) {
        self.field = field;
    }

    fn message(&mut self, body: &'static Struct) -> Result<(), Fault> {
        self.charge(body.memory_bytes)?;
        self.fields(body)
    }

    fn fields(&mut self, shape: &'static Struct) -> Result<(), Fault> {
        let version = self.version;
        for field in shape.fields {
            if field.versions.contains(version) && !field.tag.versions.contains(version) {
                self.field = field.name;
                if self.codes.is_some() && field.name == ERROR_CODE && matches!(field.kind, Kind::Int16) {
                    self.code()?;
                } else {
                    self.value(field.kind, field.nullable.contains(version))?;
                }
            }
        }
        if self.flexible { self.tags(shape.fields) } else { Ok(()) }
    }

    /// Reads an error code and tells it.
    fn code(&mut self) -> Result<(), Fault> {
        let code = i16::from_be_bytes(self.take_array()?);
        if let Some(tell) = &mut self.codes {
            tell(code);
        }
        Ok(())
    }

    fn value(&mut self, kind: Kind, nullable: bool) -> Result<(), Fault> {
        match kind {
            Kind::String => {
                let length = if self.flexible { self.compact_length()? } else { self.short_length()? };
                match length {
                    Some(length) if length > STRING_BYTES_MAX => Err(Fault::StringTooLong(length)),
                    length => self.opaque(length, nullable),
                }
            }
            Kind::Bytes | Kind::Records => {
                let length = self.long_length()?;
                self.opaque(length, nullable)
            }
            Kind::Array(element) => self.array(*element, nullable),
            Kind::Nested(nested) if nullable => match self.take(1)?.first() {
                Some(1) => self.fields(nested),
                Some(0xff) => Ok(()),
                byte => Err(Fault::BadPresence(byte.copied().unwrap_or_default())),
            },
            Kind::Nested(nested) => self.fields(nested),
            fixed => self.take(fixed.fixed_bytes().unwrap_or(0)).map(drop),
        }
    }

    fn array(&mut self, element: Kind, nullable: bool) -> Result<(), Fault> {
        let Some(count) = self.long_length()? else {
            return if nullable { Ok(()) } else { Err(Fault::NullNotAllowed) };
        };
        let beyond = Fault::CountBeyondFrame(count);
        let wire_bytes = count.checked_mul(element.min_bytes(self.version, self.flexible)).ok_or(beyond)?;
        if wire_bytes > self.rest.len() {
            return Err(beyond);
        }
        self.charge(count.checked_mul(element.memory_bytes()).ok_or(beyond)?)?;
        if element.fixed_bytes().is_some() {
            return self.take(wire_bytes).map(drop);
        }
        // An element of no bytes at all has nothing to be read, however often.
        if wire_bytes == 0 {
            return Ok(());
        }
        for _ in 0..count {
            self.value(element, false)?;
        }
        Ok(())
    }

    fn opaque(&mut self, length: Option<usize>, nullable: bool) -> Result<(), Fault> {
        match length {
            Some(length) if length > self.rest.len() => Err(Fault::LengthBeyondFrame(length)),
            Some(length) => self.take(length).map(drop),
            None if nullable => Ok(()),
            None => Err(Fault::NullNotAllowed),
        }
    }

    /// Reads the tagged fields that end a struct of a flexible version; `known` are the fields of the struct.
    pub(crate) fn tags(&mut self, known: &'static [Field]) -> Result<(), Fault> {
        let count = self.varint()?;
        let mut unknown_count = 0;
        let mut tag_min = 0;
        for _ in 0..count {
            let tag = self.varint()?;
            if tag < tag_min {
                return Err(Fault::TagOutOfOrder(tag));
            }
            tag_min = tag.saturating_add(1);
            let size = usize::try_from(self.varint()?).map_err(|_| Fault::OverlongVarint)?;
            let Some((content, behind)) = self.rest.split_at_checked(size) else {
                return Err(Fault::LengthBeyondFrame(size));
            };
            let field = known.iter().find(|field| field.tag.number == tag && field.tag.versions.contains(self.version));
            if let Some(field) = field {
                self.field = field.name;
                self.tagged(field, content, behind.len())?;
            } else {
                unknown_count += 1;
                if unknown_count > UNKNOWN_TAGS_MAX {
                    return Err(Fault::TooManyTags(count));
                }
                self.charge(if unknown_count == 1 { TAG_NODE_MEMORY_BYTES } else { TAG_MEMORY_BYTES })?;
            }
            self.rest = behind;
        }
        Ok(())
    }

    /// Reads a tagged field, which has to fill its size: the decoder does not look at the size.
    fn tagged(&mut self, field: &'static Field, content: &'a [u8], behind_bytes: usize) -> Result<(), Fault> {
        self.rest = content;
        self.behind_bytes += behind_bytes;
        self.value(field.kind, field.nullable.contains(self.version))?;
        if !self.rest.is_empty() {
            return Err(Fault::TagSizeMismatch(self.rest.len()));
        }
        self.behind_bytes -= behind_bytes;
        Ok(())
    }

    /// The length of an array or of bytes, or null.
    fn long_length(&mut self) -> Result<Option<usize>, Fault> {
        if self.flexible {
            return self.compact_length();
        }
        length(i32::from_be_bytes(self.take_array()?))
    }

    /// The length of a string outside the compact encoding, or null.
    pub(crate) fn short_length(&mut self) -> Result<Option<usize>, Fault> {
        length(i32::from(i16::from_be_bytes(self.take_array()?)))
    }

    fn compact_length(&mut self) -> Result<Option<usize>, Fault> {
        match self.varint()?.checked_sub(1) {
            Some(length) => usize::try_from(length).map(Some).map_err(|_| Fault::OverlongVarint),
            None => Ok(None),
        }
    }

    fn varint(&mut self) -> Result<u32, Fault> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take_array()?;
            // Only four bits of the fifth byte have a place left, and no sixth byte may follow.
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Fault::OverlongVarint)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Fault> {
        self.memory_bytes = self.memory_bytes.saturating_add(bytes);
        if self.memory_bytes > self.permit_bytes {
            return Err(Fault::MemoryBeyondPermit { needed: self.memory_bytes, permitted: self.permit_bytes });
        }
        Ok(())
    }
}

fn length(value: i32) -> Result<Option<usize>, Fault> {
    match value {
        -1 => Ok(None),
        value => usize::try_from(value).map(Some).map_err(|_| Fault::NegativeLength(value)),
    }
}
