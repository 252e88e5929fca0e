//! The bare sink.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use model::{FileRange, Piece};
use wire::{CloseReason, ConnectionContext, Dispatch, Outcome, ResponseFrame};

use crate::codec::{BATCH_HEADER_BYTES, CHECKSUMMED_FROM, Reader, Writer, key};

/// A sink in one directory.
pub struct Sink {
    directory: PathBuf,
    address: SocketAddr,
    topics: Mutex<HashMap<String, Topic>>,
}

type Topic = Arc<Vec<Mutex<Partition>>>;

struct Partition {
    file: Arc<File>,
    length_bytes: u64,
    next_offset: i64,
    /// Base offset and position of each batch.
    batches: Vec<(i64, u64)>,
}

/// Why a request has no answer; the connection ends.
enum Fault {
    Short,
    Unknown,
    Storage(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Storage(error)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn short<T>(value: Option<T>) -> Result<T, Fault> {
    value.ok_or(Fault::Short)
}

impl Sink {
    /// A sink that keeps its files in the directory and tells clients this address.
    #[must_use]
    pub fn new(directory: PathBuf, address: SocketAddr) -> Self {
        Self { directory, address, topics: Mutex::default() }
    }

    fn topic(&self, name: &str, partitions: usize) -> io::Result<Topic> {
        let mut topics = lock(&self.topics);
        if let Some(topic) = topics.get(name) {
            return Ok(Arc::clone(topic));
        }
        let open = |index: usize| {
            let file = File::options().create(true).append(true).read(true).open(self.directory.join(format!("{name}-{index}.log")))?;
            Ok(Mutex::new(Partition { file: Arc::new(file), length_bytes: 0, next_offset: 0, batches: Vec::new() }))
        };
        let topic = Arc::new((0..partitions.max(1)).map(open).collect::<io::Result<Vec<_>>>()?);
        topics.insert(name.to_owned(), Arc::clone(&topic));
        Ok(topic)
    }

    fn answer(&self, frame: &[u8]) -> Result<ResponseFrame, Fault> {
        let mut reader = Reader::new(frame);
        let api_key = short(reader.i16())?;
        let version = short(reader.i16())?;
        let correlation_id = short(reader.i32())?;
        short(reader.string())?;
        let mut writer = Writer::default();
        writer.i32(correlation_id);
        match (api_key, version) {
            (key::PRODUCE, 7) => self.produce(reader, writer),
            (key::FETCH, 11) => self.fetch(reader, writer),
            (key::METADATA, 4) => self.metadata(reader, writer),
            (key::CREATE_TOPICS, 4) => self.create_topics(reader, writer),
            (key::API_VERSIONS, 0) => {
                writer.i16(0).count(5);
                for (api_key, version) in
                    [(key::PRODUCE, 7), (key::FETCH, 11), (key::METADATA, 4), (key::API_VERSIONS, 0), (key::CREATE_TOPICS, 4)]
                {
                    writer.i16(api_key).i16(version).i16(version);
                }
                Ok(Bytes::from(writer.0).into())
            }
            _ => Err(Fault::Unknown),
        }
    }

    fn create_topics(&self, mut reader: Reader<'_>, mut writer: Writer) -> Result<ResponseFrame, Fault> {
        let topics = short(reader.count())?;
        writer.i32(0).count(topics);
        for _ in 0..topics {
            let name = short(reader.string())?;
            let partitions = short(reader.count())?;
            self.topic(name, partitions)?;
            // Replication factor; assignments and configs are empty.
            short(reader.take(2 + 4 + 4))?;
            writer.string(name).i16(0).i16(-1);
        }
        Ok(Bytes::from(writer.0).into())
    }

    fn metadata(&self, mut reader: Reader<'_>, mut writer: Writer) -> Result<ResponseFrame, Fault> {
        let port = i32::from(self.address.port());
        writer.i32(0).count(1).i32(1).string(&self.address.ip().to_string()).i32(port).i16(-1).string("yardstick").i32(1);
        let names = short(reader.count())?;
        writer.count(names);
        for _ in 0..names {
            let name = short(reader.string())?;
            let topic = self.topic(name, 1)?;
            writer.i16(0).string(name).i8(0).count(topic.len());
            for index in 0..topic.len() {
                writer.i16(0).count(index).i32(1).count(1).i32(1).count(1).i32(1);
            }
        }
        Ok(Bytes::from(writer.0).into())
    }

    fn produce(&self, mut reader: Reader<'_>, mut writer: Writer) -> Result<ResponseFrame, Fault> {
        short(reader.string())?;
        short(reader.take(2 + 4))?;
        let topics = short(reader.count())?;
        writer.count(topics);
        for _ in 0..topics {
            let name = short(reader.string())?;
            let topic = self.topic(name, 1)?;
            let partitions = short(reader.count())?;
            writer.string(name).count(partitions);
            for _ in 0..partitions {
                let index = short(reader.i32())?;
                let batch = short(reader.bytes())?;
                let partition = short(usize::try_from(index).ok().and_then(|index| topic.get(index)))?;
                let (error, base_offset) = match append(&mut lock(partition), batch)? {
                    Some(base_offset) => (0, base_offset),
                    None => (2, -1),
                };
                writer.i32(index).i16(error).i64(base_offset).i64(-1).i64(0);
            }
        }
        writer.i32(0);
        Ok(Bytes::from(writer.0).into())
    }

    fn fetch(&self, mut reader: Reader<'_>, mut writer: Writer) -> Result<ResponseFrame, Fault> {
        short(reader.take(4 + 4 + 4))?;
        let mut budget = usize::try_from(short(reader.i32())?).unwrap_or(0);
        short(reader.take(1 + 4 + 4))?;
        let topics = short(reader.count())?;
        writer.i32(0).i16(0).i32(0).count(topics);
        let mut pieces = Vec::new();
        for _ in 0..topics {
            let name = short(reader.string())?;
            let topic = self.topic(name, 1)?;
            let partitions = short(reader.count())?;
            writer.string(name).count(partitions);
            for _ in 0..partitions {
                let index = short(reader.i32())?;
                short(reader.i32())?;
                let offset = short(reader.i64())?;
                short(reader.i64())?;
                let bytes_max = usize::try_from(short(reader.i32())?).unwrap_or(0).min(budget);
                let partition = lock(short(usize::try_from(index).ok().and_then(|index| topic.get(index)))?);
                let range = read(&partition, offset, bytes_max);
                let end = partition.next_offset;
                drop(partition);
                writer.i32(index).i16(0).i64(end).i64(end).i64(0).count(0).i32(-1);
                writer.count(range.as_ref().map_or(0, |range| range.length_bytes));
                if let Some(range) = range {
                    budget -= range.length_bytes.min(budget);
                    pieces.push(Piece::Memory(std::mem::take(&mut writer.0).into()));
                    pieces.push(Piece::File(range));
                }
            }
        }
        pieces.push(Piece::Memory(writer.0.into()));
        Ok(ResponseFrame { pieces })
    }
}

/// Appends the batch if its checksum is right, and says at which offset.
fn append(partition: &mut Partition, batch: &[u8]) -> Result<Option<i64>, Fault> {
    let mut header = Reader::new(short(batch.get(..BATCH_HEADER_BYTES))?);
    short(header.take(17))?;
    let checksum = short(header.i32())?.cast_unsigned();
    short(header.i16())?;
    let last_offset_delta = short(header.i32())?;
    if crc32c::crc32c(short(batch.get(CHECKSUMMED_FROM..))?) != checksum {
        return Ok(None);
    }
    let base_offset = partition.next_offset;
    let base = base_offset.to_be_bytes();
    let rest = short(batch.get(base.len()..))?;
    let mut file = &*partition.file;
    let written = file.write_vectored(&[IoSlice::new(&base), IoSlice::new(rest)])?;
    if written != batch.len() {
        return Err(io::Error::from(io::ErrorKind::WriteZero).into());
    }
    partition.batches.push((base_offset, partition.length_bytes));
    partition.length_bytes += batch.len() as u64;
    partition.next_offset += i64::from(last_offset_delta) + 1;
    Ok(Some(base_offset))
}

/// The range that begins with the batch of the offset.
fn read(partition: &Partition, offset: i64, bytes_max: usize) -> Option<FileRange> {
    if offset >= partition.next_offset {
        return None;
    }
    let after = partition.batches.partition_point(|(base, _)| *base <= offset);
    let (_, position) = *partition.batches.get(after.checked_sub(1)?)?;
    let length_bytes = usize::try_from(partition.length_bytes - position).unwrap_or(usize::MAX).min(bytes_max);
    (length_bytes > 0).then(|| FileRange { file: Arc::clone(&partition.file), position, length_bytes })
}

impl Dispatch for Sink {
    fn dispatch(&self, _connection: &Arc<ConnectionContext>, frame: Bytes) -> Outcome {
        match self.answer(&frame) {
            Ok(answer) => Outcome::Reply(answer),
            Err(Fault::Short) => Outcome::Close(CloseReason::Undecodable("too short".to_owned())),
            Err(Fault::Unknown) => Outcome::Close(CloseReason::Refused("an API or version that the sink does not know")),
            Err(Fault::Storage(error)) => Outcome::Close(CloseReason::Socket(error)),
        }
    }
}
