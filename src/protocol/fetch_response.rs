//! A writer for the Fetch response that leaves record bytes where they are.
//!
//! kafka-protocol's encoder copies every record byte into one buffer. This one writes what stands between the records, as slices of one
//! buffer, and says where which records go, so that they can be sent from a file or from the tail of a log.
//!
//! The bytes are those of kafka-protocol's encoder in every version; a test compares them. Fields that a version lacks are left out.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// The first version of Kafka 4 (and the first that carries record batches of magic 2).
const VERSION_MIN: i16 = 4;
/// The last version of kafka-protocol and of Kafka 4.3.
const VERSION_MAX: i16 = 18;

/// A Fetch response without its records. Field names are the schema's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FetchResponseHead {
    /// For how long the client should be quiet.
    pub throttle_time_ms: i32,
    /// The error of the whole request, from version 7 on.
    pub error_code: i16,
    /// The fetch session, from version 7 on; 0 for none.
    pub session_id: i32,
    /// The topics.
    pub topics: Vec<FetchTopic>,
    /// Where the current leaders named in the partitions are, from version 16 on (KIP-951).
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// A topic of the response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FetchTopic {
    /// Its name, written up to version 12.
    pub name: StrBytes,
    /// Its id, written from version 13 on.
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<FetchPartition>,
}

/// A partition of the response.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchPartition {
    /// Its index.
    pub partition_index: i32,
    /// 0, or why it gives nothing.
    pub error_code: i16,
    /// Its high watermark, -1 if not known.
    pub high_watermark: i64,
    /// Its last stable offset, -1 if not known.
    pub last_stable_offset: i64,
    /// Its log start offset, from version 5 on; -1 if not known.
    pub log_start_offset: i64,
    /// Where the fetcher's log diverges, from version 12 on.
    pub diverging_epoch: Option<DivergingEpoch>,
    /// Who leads now if not this broker, from version 12 on.
    pub current_leader: Option<CurrentLeader>,
    /// The aborted transactions in the records: `None` (null) for read_uncommitted.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// From where to read instead, from version 11 on; -1 for here.
    pub preferred_read_replica: i32,
    /// How long the records are. 0 is written as empty, not as null, which librdkafka would refuse.
    pub records_bytes: usize,
}

impl Default for FetchPartition {
    fn default() -> Self {
        Self {
            partition_index: 0,
            error_code: 0,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: None,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records_bytes: 0,
        }
    }
}

/// The end of the largest epoch that the leader and the fetcher have in common (KIP-595).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DivergingEpoch {
    /// The epoch.
    pub epoch: i32,
    /// Where it ends.
    pub end_offset: i64,
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentLeader {
    /// The broker, -1 if there is none.
    pub leader_id: i32,
    /// Its epoch.
    pub leader_epoch: i32,
}

/// A transaction whose records are to be skipped from an offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose it was.
    pub producer_id: i64,
    /// Where it began.
    pub first_offset: i64,
}

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// The broker.
    pub node_id: i32,
    /// Its advertised host.
    pub host: StrBytes,
    /// Its advertised port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<StrBytes>,
}

/// A piece of the response, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// What the writer wrote.
    Bytes(Bytes),
    /// The records of a partition: its place among all partitions of the response, counted over topics from 0. Partitions without records
    /// have a place too, but no segment.
    Records(usize),
}

/// Why a response cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchResponseError {
    /// The version is not one of this writer's.
    #[error("Fetch has no version {0} here")]
    UnknownVersion(i16),
    /// A length or count does not fit the protocol's 31 bits (15 for a string).
    #[error("a length of {0} does not fit")]
    TooLong(usize),
}

/// Writes a response, after `prefix`: what the caller wants in front of it in the first segment, such as the response header.
///
/// # Errors
/// If the version is unknown or a length does not fit.
pub fn write_fetch_response(prefix: BytesMut, version: i16, response: &FetchResponseHead) -> Result<Vec<Segment>, FetchResponseError> {
    if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
        return Err(FetchResponseError::UnknownVersion(version));
    }
    let partitions_count: usize = response.topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut buffer = prefix;
    buffer.reserve(128 + response.topics.len() * 64 + partitions_count * 96);
    let mut writer = Writer { buffer, version, flexible: version >= 12, splits: Vec::new() };
    writer.response(response)?;
    Ok(writer.into_segments())
}

struct Writer {
    buffer: BytesMut,
    version: i16,
    flexible: bool,
    /// Where in the buffer the records of which partition belong.
    splits: Vec<(usize, usize)>,
}

impl Writer {
    fn response(&mut self, response: &FetchResponseHead) -> Result<(), FetchResponseError> {
        self.buffer.put_i32(response.throttle_time_ms);
        if self.version >= 7 {
            self.buffer.put_i16(response.error_code);
            self.buffer.put_i32(response.session_id);
        }
        self.length(Some(response.topics.len()))?;
        let mut place = 0;
        for topic in &response.topics {
            if self.version >= 13 {
                self.buffer.put_slice(topic.topic_id.as_bytes());
            } else {
                self.string(Some(&topic.name))?;
            }
            self.length(Some(topic.partitions.len()))?;
            for partition in &topic.partitions {
                self.partition(partition, place)?;
                place += 1;
            }
            self.no_tags();
        }
        if self.version >= 16 && !response.node_endpoints.is_empty() {
            return self.node_endpoints(&response.node_endpoints);
        }
        self.no_tags();
        Ok(())
    }

    fn partition(&mut self, partition: &FetchPartition, place: usize) -> Result<(), FetchResponseError> {
        self.buffer.put_i32(partition.partition_index);
        self.buffer.put_i16(partition.error_code);
        self.buffer.put_i64(partition.high_watermark);
        self.buffer.put_i64(partition.last_stable_offset);
        if self.version >= 5 {
            self.buffer.put_i64(partition.log_start_offset);
        }
        let aborted = partition.aborted_transactions.as_deref();
        self.length(aborted.map(<[_]>::len))?;
        for transaction in aborted.unwrap_or_default() {
            self.buffer.put_i64(transaction.producer_id);
            self.buffer.put_i64(transaction.first_offset);
            self.no_tags();
        }
        if self.version >= 11 {
            self.buffer.put_i32(partition.preferred_read_replica);
        }
        self.length(Some(partition.records_bytes))?;
        if partition.records_bytes > 0 {
            self.splits.push((self.buffer.len(), place));
        }
        if self.flexible {
            self.partition_tags(partition);
        }
        Ok(())
    }

    /// A struct of default values is not written: that is how kafka-protocol and Kafka tell that there is none.
    fn partition_tags(&mut self, partition: &FetchPartition) {
        let diverging = partition.diverging_epoch.filter(|diverging| (diverging.epoch, diverging.end_offset) != (-1, -1));
        let leader = partition.current_leader.filter(|leader| (leader.leader_id, leader.leader_epoch) != (-1, -1));
        self.buffer.put_u8(u8::from(diverging.is_some()) + u8::from(leader.is_some()));
        if let Some(diverging) = diverging {
            self.buffer.put_slice(&[0, 13]);
            self.buffer.put_i32(diverging.epoch);
            self.buffer.put_i64(diverging.end_offset);
            self.no_tags();
        }
        if let Some(leader) = leader {
            self.buffer.put_slice(&[1, 9]);
            self.buffer.put_i32(leader.leader_id);
            self.buffer.put_i32(leader.leader_epoch);
            self.no_tags();
        }
    }

    /// Writes the one tagged field of the response. Its size comes before it, so it is written aside.
    fn node_endpoints(&mut self, endpoints: &[NodeEndpoint]) -> Result<(), FetchResponseError> {
        let mut aside = Writer { buffer: BytesMut::new(), version: self.version, flexible: true, splits: Vec::new() };
        aside.length(Some(endpoints.len()))?;
        for endpoint in endpoints {
            aside.buffer.put_i32(endpoint.node_id);
            aside.string(Some(&endpoint.host))?;
            aside.buffer.put_i32(endpoint.port);
            aside.string(endpoint.rack.as_ref())?;
            aside.no_tags();
        }
        self.buffer.put_slice(&[1, 0]);
        self.varint(fit(aside.buffer.len(), i32::MAX.unsigned_abs())?);
        self.buffer.put_slice(&aside.buffer);
        Ok(())
    }

    fn string(&mut self, text: Option<&StrBytes>) -> Result<(), FetchResponseError> {
        let length = text.map(|text| fit(text.len(), 0x7fff)).transpose()?;
        match (self.flexible, length) {
            (true, length) => self.varint(length.map_or(0, |length| length + 1)),
            (false, Some(length)) => self.buffer.put_slice(&length.to_be_bytes()[2..]),
            (false, None) => self.buffer.put_i16(-1),
        }
        self.buffer.put_slice(text.map_or(&[], |text| text.as_bytes()));
        Ok(())
    }

    /// The length of an array or of records; `None` is null.
    fn length(&mut self, length: Option<usize>) -> Result<(), FetchResponseError> {
        let length = length.map(|length| fit(length, i32::MAX.unsigned_abs())).transpose()?;
        match (self.flexible, length) {
            (true, length) => self.varint(length.map_or(0, |length| length + 1)),
            (false, Some(length)) => self.buffer.put_u32(length),
            (false, None) => self.buffer.put_i32(-1),
        }
        Ok(())
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_slice(&[value.to_le_bytes()[0] | 0x80]);
            value >>= 7;
        }
        self.buffer.put_slice(&[value.to_le_bytes()[0]]);
    }

    fn no_tags(&mut self) {
        if self.flexible {
            self.buffer.put_u8(0);
        }
    }

    fn into_segments(mut self) -> Vec<Segment> {
        let mut segments = Vec::with_capacity(self.splits.len() * 2 + 1);
        let mut written = 0;
        for (at, place) in self.splits {
            segments.push(Segment::Bytes(self.buffer.split_to(at - written).freeze()));
            segments.push(Segment::Records(place));
            written = at;
        }
        if !self.buffer.is_empty() {
            segments.push(Segment::Bytes(self.buffer.freeze()));
        }
        segments
    }
}

fn fit(length: usize, max: u32) -> Result<u32, FetchResponseError> {
    u32::try_from(length).ok().filter(|length| *length <= max).ok_or(FetchResponseError::TooLong(length))
}
