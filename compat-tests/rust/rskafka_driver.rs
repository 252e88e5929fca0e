//! rskafka: a client of single partitions, in Rust alone.

use std::collections::BTreeMap;
use std::time::Duration;

use rskafka::BackoffConfig;
use rskafka::chrono::DateTime;
use rskafka::client::error::Error;
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record as TheirRecord;
use tokio::runtime::{Builder, Runtime};

use crate::player::{Played, Record, bootstrap, now_ms};
use crate::scenarios::{Answer, At, From, Library, Refusal};

const LARGEST_FETCH_BYTES: i32 = 3_000_000;

pub struct Rskafka {
    runtime: Runtime,
    client: Client,
}

fn refusal(error: Error) -> Refusal {
    Refusal(match error {
        Error::ServerError { protocol_error, error_message, .. } => format!("{protocol_error:?} {error_message:?}"),
        other => other.to_string(),
    })
}

impl Rskafka {
    pub fn new() -> Played<Rskafka> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let hasty =
            BackoffConfig { init_backoff: Duration::from_millis(50), max_backoff: Duration::from_millis(300), ..BackoffConfig::default() };
        let client =
            runtime.block_on(ClientBuilder::new(bootstrap().split(',').map(str::to_owned).collect()).backoff_config(hasty).build())?;
        Ok(Rskafka { runtime, client })
    }

    /// Asking for it creates the topic where that is allowed: the library knows no other way to ask. It waits until there is a leader.
    fn partition(&self, topic: &str, partition: i32) -> Answer<PartitionClient> {
        self.runtime.block_on(self.client.partition_client(topic, partition, UnknownTopicHandling::Retry)).map_err(refusal)
    }

    /// What one fetch brings.
    fn fetch(&self, client: &PartitionClient, offset: i64, wait: Duration) -> Answer<Vec<Record>> {
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let (records, _) = self.runtime.block_on(client.fetch_records(offset, 1..LARGEST_FETCH_BYTES, wait_ms)).map_err(refusal)?;
        Ok(records
            .into_iter()
            .map(|found| Record {
                key: found.record.key,
                value: found.record.value,
                headers: found.record.headers.into_iter().map(|(name, value)| (name, Some(value))).collect(),
                timestamp: Some(found.record.timestamp.timestamp_millis()),
                partition: Some(client.partition()),
                offset: found.offset,
            })
            .collect())
    }
}

impl Library for Rskafka {
    fn create(&self, name: &str, partitions: i32) -> Answer {
        let controller = self.client.controller_client().map_err(refusal)?;
        self.runtime.block_on(controller.create_topic(name, partitions, 1, 10_000)).map_err(refusal)
    }

    fn delete(&self, name: &str) -> Answer {
        let controller = self.client.controller_client().map_err(refusal)?;
        self.runtime.block_on(controller.delete_topic(name, 10_000)).map_err(refusal)
    }

    fn topics(&self) -> Answer<Vec<String>> {
        let topics = self.runtime.block_on(self.client.list_topics()).map_err(refusal)?;
        Ok(topics.into_iter().map(|topic| topic.name).collect())
    }

    /// All in one batch.
    fn produce(&self, topic: &str, records: &[Record], codec: &str) -> Answer<Vec<(i32, i64)>> {
        let compression = match codec {
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            _ => Compression::NoCompression,
        };
        let theirs = records.iter().map(|record| TheirRecord {
            key: record.key.clone(),
            value: record.value.clone(),
            headers: BTreeMap::new(),
            timestamp: DateTime::from_timestamp_millis(record.timestamp.unwrap_or_else(now_ms)).unwrap_or_default(),
        });
        let client = self.partition(topic, 0)?;
        let offsets = self.runtime.block_on(client.produce(theirs.collect(), compression)).map_err(refusal)?;
        Ok(offsets.into_iter().map(|offset| (0, offset)).collect())
    }

    fn read(&self, topic: &str, partition: i32, from: From, count: usize) -> Answer<Vec<Record>> {
        let client = self.partition(topic, partition)?;
        let mut next = match from {
            From::Offset(offset) => offset,
            From::Earliest => self.runtime.block_on(client.get_offset(OffsetAt::Earliest)).map_err(refusal)?,
        };
        let mut got = Vec::new();
        while got.len() < count {
            let more = self.fetch(&client, next, Duration::from_secs(5))?;
            let Some(last) = more.last() else { return Err(Refusal(format!("only {} of {count} records", got.len()))) };
            next = last.offset + 1;
            got.extend(more);
        }
        Ok(got)
    }

    fn after(&self, topic: &str, partition: i32, offset: i64) -> Answer<usize> {
        let client = self.partition(topic, partition)?;
        Ok(self.fetch(&client, offset, Duration::from_millis(200))?.len())
    }

    fn offset_at(&self, topic: &str, at: At) -> Answer<Option<i64>> {
        let at = match at {
            At::Earliest => OffsetAt::Earliest,
            At::Latest => OffsetAt::Latest,
            At::Timestamp(time) => OffsetAt::Timestamp(DateTime::from_timestamp_millis(time).unwrap_or_default()),
        };
        let client = self.partition(topic, 0)?;
        let offset = self.runtime.block_on(client.get_offset(at)).map_err(refusal)?;
        Ok((offset >= 0).then_some(offset))
    }
}
