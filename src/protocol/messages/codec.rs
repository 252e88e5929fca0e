//! Writing and reading the values that messages consist of, in the classic and in the compact encoding (KIP-482).
//!
//! What is read here has passed the bounds scan, so counts and lengths lie within the frame. It holds without the scan, too, that nothing panics and
//! that no more elements are reserved than there are bytes.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use bytes::{BufMut, Bytes};
use kafka_protocol::messages::{BrokerId, GroupId, ProducerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::protocol::buf::ByteBuf;
use uuid::Uuid;

use crate::shapes::Versions;

/// What may stand in a field.
pub(crate) trait Value: Sized {
    fn write<S: Sink>(&self, out: &mut Writer<'_, S>) -> Result<()>;
    fn read<B: ByteBuf>(from: &mut Reader<'_, B>) -> Result<Self>;
}

/// A whole request or response.
pub(crate) trait Body: Value {
    /// The versions that Kafka has.
    const RANGE: Versions;
    /// Those in the compact encoding.
    const FLEXIBLE: Versions;
}

/// Where bytes go.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

struct Buffer<'a, B>(&'a mut B);

impl<B: BufMut> Sink for Buffer<'_, B> {
    fn put(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }
}

/// Keeps of the bytes only how many they are.
struct Counter(usize);

impl Sink for Counter {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Writes a message.
pub(crate) fn encode<M: Body, B: BufMut>(message: &M, buffer: &mut B, version: i16) -> Result<()> {
    message.write(&mut Writer { sink: &mut Buffer(buffer), version, flexible: flexible::<M>(version)? })
}

/// How many bytes [`encode`] writes.
pub(crate) fn size<M: Body>(message: &M, version: i16) -> Result<usize> {
    let mut counter = Counter(0);
    message.write(&mut Writer { sink: &mut counter, version, flexible: flexible::<M>(version)? })?;
    Ok(counter.0)
}

/// Reads a message and leaves what follows it.
pub(crate) fn decode<M: Body, B: ByteBuf>(buffer: &mut B, version: i16) -> Result<M> {
    M::read(&mut Reader { buffer, version, flexible: flexible::<M>(version)? })
}

fn flexible<M: Body>(version: i16) -> Result<bool> {
    if M::RANGE.contains(version) { Ok(M::FLEXIBLE.contains(version)) } else { bail!("there is no version {version}") }
}

/// Writes values in one version.
pub(crate) struct Writer<'a, S> {
    sink: &'a mut S,
    version: i16,
    flexible: bool,
}

impl<S: Sink> Writer<'_, S> {
    /// Writes a field where the version has it, and leaves it out elsewhere (`ignorable` in the schema).
    pub(crate) fn dropped<V: Value>(&mut self, _name: &str, versions: Versions, value: &V, _default: &V) -> Result<()> {
        if versions.contains(self.version) { value.write(self) } else { Ok(()) }
    }

    /// Writes a field where the version has it; elsewhere it must say nothing.
    pub(crate) fn refused<V: Value + PartialEq>(&mut self, name: &str, versions: Versions, value: &V, default: &V) -> Result<()> {
        if versions.contains(self.version) {
            value.write(self)
        } else if value == default {
            Ok(())
        } else {
            bail!("version {} has no field {name}", self.version)
        }
    }

    /// Writes the tagged fields that end a struct in the compact encoding.
    pub(crate) fn tags(&mut self, tags: &BTreeMap<i32, Bytes>) -> Result<()> {
        if !self.flexible {
            return Ok(());
        }
        self.varint(u32::try_from(tags.len())?);
        for (tag, content) in tags {
            self.varint(u32::try_from(*tag)?);
            self.varint(u32::try_from(content.len())?);
            self.sink.put(content);
        }
        Ok(())
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.sink.put(&[value.to_le_bytes()[0] | 0x80]);
            value >>= 7;
        }
        self.sink.put(&[value.to_le_bytes()[0]]);
    }

    /// The length of a string (`short` says that the classic encoding has two bytes for it) or the count of an array; `None` is null.
    fn length(&mut self, length: Option<usize>, short: bool) -> Result<()> {
        match (self.flexible, short) {
            (true, _) => self.varint(length.map_or(Ok(0), |length| u32::try_from(length + 1))?),
            (false, true) => self.sink.put(&length.map_or(Ok(-1), i16::try_from)?.to_be_bytes()),
            (false, false) => self.sink.put(&length.map_or(Ok(-1), i32::try_from)?.to_be_bytes()),
        }
        Ok(())
    }

    fn string(&mut self, text: Option<&StrBytes>) -> Result<()> {
        self.length(text.map(|text| text.len()), true)?;
        self.sink.put(text.map_or(&[], |text| text.as_bytes()));
        Ok(())
    }

    fn array<V: Value>(&mut self, elements: Option<&[V]>) -> Result<()> {
        self.length(elements.map(<[V]>::len), false)?;
        elements.unwrap_or_default().iter().try_for_each(|element| element.write(self))
    }
}

/// Reads values in one version.
pub(crate) struct Reader<'a, B> {
    buffer: &'a mut B,
    version: i16,
    flexible: bool,
}

impl<B: ByteBuf> Reader<'_, B> {
    /// Reads a field where the version has it.
    pub(crate) fn field<V: Value>(&mut self, versions: Versions, default: V) -> Result<V> {
        if versions.contains(self.version) { V::read(self) } else { Ok(default) }
    }

    /// Reads the tagged fields that end a struct in the compact encoding.
    pub(crate) fn tags(&mut self) -> Result<BTreeMap<i32, Bytes>> {
        let mut tags = BTreeMap::new();
        if self.flexible {
            for _ in 0..self.varint()? {
                let tag = i32::try_from(self.varint()?)?;
                let length = usize::try_from(self.varint()?)?;
                tags.insert(tag, self.buffer.try_get_bytes(length)?);
            }
        }
        Ok(tags)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        if self.buffer.remaining() < N {
            bail!("the frame ends early");
        }
        self.buffer.copy_to_slice(&mut bytes);
        Ok(bytes)
    }

    fn varint(&mut self) -> Result<u32> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let [byte] = self.fixed()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(u32::try_from(value)?);
            }
        }
        bail!("overlong varint")
    }

    fn length(&mut self, short: bool) -> Result<Option<usize>> {
        let length = match (self.flexible, short) {
            (true, _) => i64::from(self.varint()?) - 1,
            (false, true) => i64::from(i16::from_be_bytes(self.fixed()?)),
            (false, false) => i64::from(i32::from_be_bytes(self.fixed()?)),
        };
        if length == -1 { Ok(None) } else { Ok(Some(usize::try_from(length)?)) }
    }

    fn string(&mut self) -> Result<Option<StrBytes>> {
        let Some(length) = self.length(true)? else { return Ok(None) };
        Ok(Some(StrBytes::from_utf8(self.buffer.try_get_bytes(length)?)?))
    }

    fn array<V: Value>(&mut self) -> Result<Option<Vec<V>>> {
        let Some(count) = self.length(false)? else { return Ok(None) };
        // Every element takes a byte at least.
        if count > self.buffer.remaining() {
            bail!("{count} elements in {} bytes", self.buffer.remaining());
        }
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(V::read(self)?);
        }
        Ok(Some(elements))
    }
}

fn not_null<T>(value: Option<T>) -> Result<T> {
    value.ok_or_else(|| anyhow!("null where there is no null"))
}

macro_rules! integers {
    ($($integer:ident)*) => {
        $(impl Value for $integer {
            fn write<S: Sink>(&self, out: &mut Writer<'_, S>) -> Result<()> {
                out.sink.put(&self.to_be_bytes());
                Ok(())
            }

            fn read<B: ByteBuf>(from: &mut Reader<'_, B>) -> Result<Self> {
                Ok(Self::from_be_bytes(from.fixed()?))
            }
        })*
    };
}

integers! { i8 i16 u16 i32 i64 }

macro_rules! named {
    ($($name:ident)*) => {
        $(impl Value for $name {
            fn write<S: Sink>(&self, out: &mut Writer<'_, S>) -> Result<()> {
                self.0.write(out)
            }

            fn read<B: ByteBuf>(from: &mut Reader<'_, B>) -> Result<Self> {
                Value::read(from).map(Self)
            }
        })*
    };
}

named! { BrokerId GroupId ProducerId TopicName }

impl Value for bool {
    fn write<S: Sink>(&self, out: &mut Writer<'_, S>) -> Result<()> {
        out.sink.put(&[u8::from(*self)]);
        Ok(())
    }

    fn read<B: ByteBuf>(from: &mut Reader<'_, B>) -> Result<Self> {
        Ok(from.fixed::<1>()? != [0])
    }
}

impl Value for Uuid {
    fn write<S: Sink>(&self, out: &mut Writer<'_, S>) -> Result<()> {
        out.sink.put(self.as_bytes());
        Ok(())
    }

    fn read<B: ByteBuf>(from: &mut Reader<'_, B>) -> Result<Self> {
        Ok(Self::from_bytes(from.fixed()?))
    }
}

impl Value for StrBytes {
    fn write<S: Sink>(&self, out: &mut Writer<'_, S>) -> Result<()> {
        out.string(Some(self))
    }

    fn read<B: ByteBuf>(from: &mut Reader<'_, B>) -> Result<Self> {
        not_null(from.string()?)
    }
}

impl Value for Option<StrBytes> {
    fn write<S: Sink>(&self, out: &mut Writer<'_, S>) -> Result<()> {
        out.string(self.as_ref())
    }

    fn read<B: ByteBuf>(from: &mut Reader<'_, B>) -> Result<Self> {
        from.string()
    }
}

impl<V: Value> Value for Vec<V> {
    fn write<S: Sink>(&self, out: &mut Writer<'_, S>) -> Result<()> {
        out.array(Some(self))
    }

    fn read<B: ByteBuf>(from: &mut Reader<'_, B>) -> Result<Self> {
        not_null(from.array()?)
    }
}

impl<V: Value> Value for Option<Vec<V>> {
    fn write<S: Sink>(&self, out: &mut Writer<'_, S>) -> Result<()> {
        out.array(self.as_deref())
    }

    fn read<B: ByteBuf>(from: &mut Reader<'_, B>) -> Result<Self> {
        from.array()
    }
}
