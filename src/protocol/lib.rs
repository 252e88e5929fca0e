//! Kafka's wire messages, and what must be known about a frame before one of them may be decoded.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub use kafka_protocol::error::ResponseError as ErrorCode;
pub use kafka_protocol::messages;
pub use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
pub use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes, VersionRange};
