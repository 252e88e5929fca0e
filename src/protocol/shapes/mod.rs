//! The shapes of messages: what follows what on the wire, in which versions. The tables are generated, this file says how to read them.

#[rustfmt::skip]
mod requests;
#[rustfmt::skip]
mod responses;

pub(crate) use requests::REQUESTS;
pub(crate) use responses::RESPONSES;

/// An inclusive range of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    /// The first version of the range.
    pub(crate) min: i16,
    /// The last version of the range; below `min` when the range is empty.
    pub(crate) max: i16,
}

impl Versions {
    /// Whether the version is in the range.
    pub(crate) const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

/// Every version.
pub(crate) const ALWAYS: Versions = since(0);
/// No version.
pub(crate) const NEVER: Versions = within(0, -1);
/// The tag of a field that has none.
pub(crate) const UNTAGGED: Tag = Tag { number: 0, versions: NEVER };

/// The versions from one on.
pub(crate) const fn since(min: i16) -> Versions {
    within(min, i16::MAX)
}

/// The versions from one to another, both included.
pub(crate) const fn within(min: i16, max: i16) -> Versions {
    Versions { min, max }
}

/// A tag that counts in some versions.
pub(crate) const fn tagged(number: u32, versions: Versions) -> Tag {
    Tag { number, versions }
}

/// KIP-482: the number of an optional field, and the versions in which it is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag {
    /// The number on the wire.
    pub(crate) number: u32,
    /// The versions in which the field is tagged.
    pub(crate) versions: Versions,
}

/// One request or response in all its versions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    /// The API key.
    pub(crate) api_key: i16,
    /// The versions that Kafka has.
    pub(crate) versions: Versions,
    /// The versions in compact encoding with tagged fields.
    pub(crate) flexible: Versions,
    /// What is in it.
    pub(crate) body: Struct,
}

/// A sequence of fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Struct {
    /// What one decoded struct takes in memory, without what its arrays point at.
    pub(crate) memory_bytes: usize,
    /// The fields in wire order.
    pub(crate) fields: &'static [Field],
}

/// One field of a struct.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// Kafka's name of it, for errors.
    pub(crate) name: &'static str,
    /// The versions that have it.
    pub(crate) versions: Versions,
    /// The versions in which it may be null.
    pub(crate) nullable: Versions,
    /// Its tag.
    pub(crate) tag: Tag,
    /// Its type.
    pub(crate) kind: Kind,
}

/// The type of a field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A byte, 0 or 1.
    Bool,
    /// One byte.
    Int8,
    /// Two bytes.
    Int16,
    /// Two bytes without sign.
    Uint16,
    /// Four bytes.
    Int32,
    /// Eight bytes.
    Int64,
    /// Eight bytes, IEEE 754.
    Float64,
    /// Sixteen bytes.
    Uuid,
    /// Text of at most 32767 bytes.
    String,
    /// Opaque bytes.
    Bytes,
    /// Record batches, opaque here.
    Records,
    /// A counted sequence.
    Array(&'static Kind),
    /// A struct inside.
    Nested(&'static Struct),
}

impl Kind {
    /// The size on the wire, if it is the same for every value.
    pub(crate) const fn fixed_bytes(self) -> Option<usize> {
        match self {
            Kind::Bool | Kind::Int8 => Some(1),
            Kind::Int16 | Kind::Uint16 => Some(2),
            Kind::Int32 => Some(4),
            Kind::Int64 | Kind::Float64 => Some(8),
            Kind::Uuid => Some(16),
            Kind::String | Kind::Bytes | Kind::Records | Kind::Array(_) | Kind::Nested(_) => None,
        }
    }

    /// What one decoded value takes as an element of a `Vec`. Strings and bytes are slices of the frame.
    pub(crate) fn memory_bytes(self) -> usize {
        match self {
            Kind::Nested(nested) => nested.memory_bytes,
            Kind::String | Kind::Bytes | Kind::Records | Kind::Array(_) => 32,
            Kind::Bool | Kind::Int8 | Kind::Int16 | Kind::Uint16 | Kind::Int32 | Kind::Int64 | Kind::Float64 | Kind::Uuid => {
                self.fixed_bytes().unwrap_or(16)
            }
        }
    }

    /// The size of the shortest value that is not null.
    pub(crate) fn min_bytes(self, version: i16, flexible: bool) -> usize {
        match self {
            Kind::String => {
                if flexible {
                    1
                } else {
                    2
                }
            }
            Kind::Bytes | Kind::Records | Kind::Array(_) => {
                if flexible {
                    1
                } else {
                    4
                }
            }
            Kind::Nested(nested) => nested.min_bytes(version, flexible),
            _ => self.fixed_bytes().unwrap_or(1),
        }
    }
}

impl Struct {
    /// The size of the shortest value.
    fn min_bytes(&self, version: i16, flexible: bool) -> usize {
        let here = |field: &&Field| field.versions.contains(version) && !field.tag.versions.contains(version);
        let size = |field: &Field| match field.kind {
            Kind::Nested(_) if field.nullable.contains(version) => 1,
            kind => kind.min_bytes(version, flexible),
        };
        self.fields.iter().filter(here).map(size).sum::<usize>() + usize::from(flexible)
    }
}

/// The shape of a request.
pub(crate) fn request(api_key: i16) -> Option<&'static Message> {
    find(REQUESTS, api_key)
}

/// The shape of a response.
pub(crate) fn response(api_key: i16) -> Option<&'static Message> {
    find(RESPONSES, api_key)
}

fn find(messages: &'static [Message], api_key: i16) -> Option<&'static Message> {
    messages.binary_search_by_key(&api_key, |message| message.api_key).ok().and_then(|index| messages.get(index))
}
