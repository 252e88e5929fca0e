//! Valid bodies of every request and response in every version, built from the shapes, for tests and fuzz targets.
//!
//! They are well formed, not meaningful: names are made up, and a handler may refuse them. Not part of a released binary.

mod decode;

pub use decode::{Decoded, decodable_versions, decode_any_request, decode_any_response};

use crate::shapes::{self, Field, Kind, Message, REQUESTS, Struct};

/// A record batch of magic 2 with one record (key `k`, value `v`, timestamp 1000), for every field that holds records.
#[rustfmt::skip]
pub const RECORD_BATCH: [u8; 70] = [
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x3a, 0x00, 0x00, 0x00, 0x00, 0x02, 0x71, 0x6a, 0x61,
    0x89, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0xe8, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x03, 0xe8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00,
    0x01, 0x10, 0x00, 0x00, 0x00, 0x02, 0x6b, 0x02, 0x76, 0x00,
];

/// Header (client id `test`) and body of a request.
#[must_use]
pub fn request_frame(api_key: i16, version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&api_key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&correlation_id.to_be_bytes());
    frame.extend_from_slice(&4_i16.to_be_bytes());
    frame.extend_from_slice(b"test");
    if crate::request_header_version(api_key, version) == Some(2) {
        // No tagged fields.
        frame.push(0);
    }
    frame.extend_from_slice(body);
    frame
}

/// Every (API key, version) of Kafka 4.3.1, in order.
#[must_use]
pub fn all_versions() -> Vec<(i16, i16)> {
    REQUESTS.iter().flat_map(|message| (message.versions.min..=message.versions.max).map(|version| (message.api_key, version))).collect()
}

/// A request body in which every array has two elements, every string some text, nothing is null, and each tagged field is there,
/// as is one unknown one at the end of the message. `None` if Kafka has no such version.
#[must_use]
pub fn rich_request(api_key: i16, version: i16) -> Option<Vec<u8>> {
    Builder::build(shapes::request(api_key)?, version, Form::Rich)
}

/// As [`rich_request`], for the response.
#[must_use]
pub fn rich_response(api_key: i16, version: i16) -> Option<Vec<u8>> {
    Builder::build(shapes::response(api_key)?, version, Form::Rich)
}

/// A request body in which everything is null, empty, zero or absent, as far as the version allows.
#[must_use]
pub fn minimal_request(api_key: i16, version: i16) -> Option<Vec<u8>> {
    Builder::build(shapes::request(api_key)?, version, Form::Minimal)
}

/// As [`minimal_request`], for the response.
#[must_use]
pub fn minimal_response(api_key: i16, version: i16) -> Option<Vec<u8>> {
    Builder::build(shapes::response(api_key)?, version, Form::Minimal)
}

/// A request body whose last array of structs is as long as fits into about `size_bytes`: what makes decoding take the most memory.
#[must_use]
pub fn long_request(api_key: i16, version: i16, size_bytes: usize) -> Option<Vec<u8>> {
    let shape = shapes::request(api_key)?;
    let once = Builder::build(shape, version, Form::Long(0))?.len();
    let twice = Builder::build(shape, version, Form::Long(1))?.len();
    let count = size_bytes / twice.saturating_sub(once).max(1);
    Builder::build(shape, version, Form::Long(count))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Rich,
    Minimal,
    /// Minimal, but every outermost array has so many elements.
    Long(usize),
}

struct Builder {
    bytes: Vec<u8>,
    version: i16,
    flexible: bool,
    form: Form,
    strings: u32,
    depth: u32,
    index: u8,
}

impl Builder {
    fn build(message: &'static Message, version: i16, form: Form) -> Option<Vec<u8>> {
        if !message.versions.contains(version) {
            return None;
        }
        let flexible = message.flexible.contains(version);
        let mut builder = Self { bytes: Vec::new(), version, flexible, form, strings: 0, depth: 0, index: 1 };
        builder.fields(&message.body, form == Form::Rich);
        Some(builder.bytes)
    }

    fn fields(&mut self, shape: &'static Struct, unknown_tag: bool) {
        let version = self.version;
        let present = |field: &&Field| field.versions.contains(version);
        let is_tagged = |field: &&Field| field.tag.versions.contains(version);
        for field in shape.fields.iter().filter(present).filter(|field| !is_tagged(field)) {
            self.value(field.kind, field.nullable.contains(version));
        }
        if !self.flexible {
            return;
        }
        let mut tagged: Vec<&Field> = shape.fields.iter().filter(present).filter(is_tagged).collect();
        tagged.sort_by_key(|field| field.tag.number);
        if self.form != Form::Rich {
            tagged.clear();
        }
        self.varint(tagged.len() + usize::from(unknown_tag));
        for field in tagged {
            self.varint(usize::try_from(field.tag.number).unwrap_or_default());
            let outer = std::mem::take(&mut self.bytes);
            self.value(field.kind, field.nullable.contains(version));
            let content = std::mem::replace(&mut self.bytes, outer);
            self.varint(content.len());
            self.bytes.extend(content);
        }
        if unknown_tag {
            self.bytes.extend([99, 3, b't', b'a', b'g']);
        }
    }

    fn value(&mut self, kind: Kind, nullable: bool) {
        let rich = self.form == Form::Rich;
        match kind {
            Kind::Array(element) => self.array(*element, nullable),
            Kind::Nested(nested) => {
                if nullable {
                    self.bytes.push(if rich { 1 } else { 0xff });
                }
                if rich || !nullable {
                    self.fields(nested, false);
                }
            }
            Kind::String => {
                self.strings += 1;
                let text = if rich { format!("name-{}", self.strings) } else { String::new() };
                self.opaque(text.as_bytes(), nullable, 2);
            }
            Kind::Bytes => self.opaque(if rich { b"bytes" } else { b"" }, nullable, 4),
            Kind::Records => self.opaque(if rich { &RECORD_BATCH } else { b"" }, nullable, 4),
            Kind::Bool => self.bytes.push(u8::from(rich)),
            fixed => {
                let width = fixed.fixed_bytes().unwrap_or_default();
                let last = if rich { self.index } else { 0 };
                self.bytes.extend(std::iter::repeat_n(0, width.saturating_sub(1)));
                self.bytes.push(last);
            }
        }
    }

    fn array(&mut self, element: Kind, nullable: bool) {
        let count = match self.form {
            Form::Rich => 2,
            Form::Long(count) if self.depth == 0 => count,
            Form::Long(_) => 0,
            Form::Minimal if nullable => return self.length(None, 4),
            Form::Minimal => 0,
        };
        self.length(Some(count), 4);
        let outer_index = self.index;
        self.depth += 1;
        for element_index in 0..count {
            // Never 0: a tagged field of the default value would not be written.
            self.index = if element_index == 0 { 1 } else { 2 };
            self.value(element, false);
        }
        self.depth -= 1;
        self.index = outer_index;
    }

    fn opaque(&mut self, content: &[u8], nullable: bool, width: usize) {
        if nullable && self.form != Form::Rich {
            return self.length(None, width);
        }
        self.length(Some(content.len()), width);
        self.bytes.extend_from_slice(content);
    }

    fn length(&mut self, length: Option<usize>, width: usize) {
        if self.flexible {
            return self.varint(length.map_or(0, |length| length + 1));
        }
        let length = length.map_or(-1, |length| i64::try_from(length).unwrap_or(i64::MAX));
        self.bytes.extend(length.to_be_bytes().into_iter().skip(8 - width));
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.bytes.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.bytes.push(value.to_le_bytes()[0]);
    }
}
