//! rdkafka: librdkafka with the API of Rust.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication, TopicResult};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::{Builder, Runtime};

use crate::player::{PATIENCE, Played, Record, Table, bootstrap, check, control, equal, names, now_ms, records, texts, until};
use crate::scenarios::{Answer, At, From, Library, Refusal, created, exactly, gone, known, refused};

pub struct Rdkafka {
    pub runtime: Runtime,
    pub admin: AdminClient<DefaultClientContext>,
}

pub fn config(more: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap()).set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "300");
    for (key, value) in more {
        config.set(*key, *value);
    }
    config
}

pub fn refusal(error: KafkaError) -> Refusal {
    Refusal(match error {
        KafkaError::AdminOp(code) => format!("{code:?}"),
        other => format!("{:?} {other}", other.rdkafka_error_code()),
    })
}

/// The one result of an admin call for one thing.
fn only(results: KafkaResult<Vec<TopicResult>>) -> Answer {
    for result in results.map_err(refusal)? {
        result.map_err(|(name, code)| Refusal(format!("{name}: {code:?}")))?;
    }
    Ok(())
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE))
}

pub fn reader(more: &[(&str, &str)]) -> Answer<BaseConsumer> {
    let settings = [&[("group.id", "reader"), ("enable.auto.commit", "false"), ("auto.offset.reset", "error")], more].concat();
    config(&settings).create().map_err(refusal)
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |all| all.iter().map(|h| (h.key.to_owned(), h.value.map(Vec::from))).collect());
    Record {
        key: message.key().map(Vec::from),
        value: message.payload().map(Vec::from),
        headers,
        timestamp: message.timestamp().to_millis(),
        partition: Some(message.partition()),
        offset: message.offset(),
    }
}

/// One poll. That a connection has ended is told as an error, which librdkafka means as news: it connects anew by itself.
pub fn next(consumer: &BaseConsumer, wait: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
    consumer.poll(wait).filter(|polled| !matches!(polled, Err(KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure))))
}

/// What the consumer gets until there are count records or the time is over.
fn poll(consumer: &BaseConsumer, count: usize, patience: Duration) -> Answer<Vec<Record>> {
    let (mut got, deadline) = (Vec::new(), Instant::now() + patience);
    while got.len() < count && Instant::now() < deadline {
        if let Some(message) = next(consumer, Duration::from_millis(100).min(patience)) {
            got.push(record(&message.map_err(refusal)?));
        }
    }
    Ok(got)
}

impl Rdkafka {
    pub fn new() -> Played<Rdkafka> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Rdkafka { runtime, admin: config(&[]).create()? })
    }

    /// Sends the records in order; the first refusal is the answer, else their partitions and offsets.
    pub fn send(&self, topic: &str, records: &[Record], more: &[(&str, &str)]) -> Answer<Vec<(i32, i64)>> {
        let producer: FutureProducer = config(&[&[("linger.ms", "5")], more].concat()).create().map_err(refusal)?;
        let mut waiting = Vec::new();
        for record in records {
            waiting.push(producer.send_result(theirs(topic, record)).map_err(|(error, _)| refusal(error))?);
        }
        let mut positions = Vec::new();
        for delivery in waiting {
            let delivered = self.runtime.block_on(delivery).map_err(|_| Refusal("the producer is gone".into()))?;
            let delivery = delivered.map_err(|(error, _)| refusal(error))?;
            positions.push((delivery.partition, delivery.offset));
        }
        producer.flush(PATIENCE).map_err(refusal)?;
        Ok(positions)
    }

    pub fn made(&self, name: &'static str, partitions: i32, settings: &[(&str, &str)]) -> Played<&'static str> {
        self.create_with(name, partitions, 1, settings)?;
        known(self, name)?;
        Ok(name)
    }

    fn create_with(&self, name: &str, partitions: i32, replicas: i32, settings: &[(&str, &str)]) -> Answer {
        let topic =
            settings.iter().fold(NewTopic::new(name, partitions, TopicReplication::Fixed(replicas)), |topic, (k, v)| topic.set(k, v));
        only(self.runtime.block_on(self.admin.create_topics([&topic], &options())))
    }

    fn grow(&self, name: &str, count: usize) -> Answer {
        only(self.runtime.block_on(self.admin.create_partitions([&NewPartitions::new(name, count)], &options())))
    }

    fn count(&self, name: &str) -> Answer<usize> {
        let metadata = self.admin.inner().fetch_metadata(Some(name), PATIENCE).map_err(refusal)?;
        Ok(metadata.topics().first().map_or(0, |topic| topic.partitions().len()))
    }

    fn setting(&self, topic: &str, name: &str) -> Answer<Option<(String, bool)>> {
        let described =
            self.runtime.block_on(self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options())).map_err(refusal)?;
        let resource = described.into_iter().next().transpose().map_err(|code| Refusal(format!("{code:?}")))?;
        let entry = resource.as_ref().and_then(|resource| resource.get(name));
        Ok(entry.map(|entry| (entry.value.clone().unwrap_or_default(), entry.is_default)))
    }
}

fn theirs<'a>(topic: &'a str, record: &'a Record) -> FutureRecord<'a, [u8], [u8]> {
    let mut out = FutureRecord::to(topic);
    (out.key, out.payload) = (record.key.as_deref(), record.value.as_deref());
    (out.partition, out.timestamp) = (record.partition, record.timestamp);
    if !record.headers.is_empty() {
        let insert =
            |headers: OwnedHeaders, (key, value): &(String, Option<Vec<u8>>)| headers.insert(Header { key, value: value.as_ref() });
        out.headers = Some(record.headers.iter().fold(OwnedHeaders::new(), insert));
    }
    out
}

impl Library for Rdkafka {
    fn create(&self, name: &str, partitions: i32) -> Answer {
        self.create_with(name, partitions, 1, &[])
    }

    fn delete(&self, name: &str) -> Answer {
        only(self.runtime.block_on(self.admin.delete_topics(&[name], &options())))
    }

    fn topics(&self) -> Answer<Vec<String>> {
        let metadata = self.admin.inner().fetch_metadata(None, PATIENCE).map_err(refusal)?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }

    fn produce(&self, topic: &str, records: &[Record], codec: &str) -> Answer<Vec<(i32, i64)>> {
        self.send(topic, records, &[("compression.type", codec), ("message.max.bytes", "3000000"), ("linger.ms", "50")])
    }

    fn read(&self, topic: &str, partition: i32, from: From, count: usize) -> Answer<Vec<Record>> {
        let offset = match from {
            From::Offset(offset) => Offset::Offset(offset),
            From::Earliest => Offset::Beginning,
        };
        let (consumer, mut wanted) = (reader(&[])?, TopicPartitionList::new());
        wanted.add_partition_offset(topic, partition, offset).map_err(refusal)?;
        consumer.assign(&wanted).map_err(refusal)?;
        poll(&consumer, count, PATIENCE)
    }

    fn after(&self, topic: &str, partition: i32, offset: i64) -> Answer<usize> {
        let (consumer, mut wanted) = (reader(&[])?, TopicPartitionList::new());
        wanted.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(refusal)?;
        consumer.assign(&wanted).map_err(refusal)?;
        Ok(poll(&consumer, 1, Duration::from_millis(300))?.len())
    }

    fn offset_at(&self, topic: &str, at: At) -> Answer<Option<i64>> {
        let consumer = reader(&[])?;
        let At::Timestamp(time) = at else {
            let (low, high) = consumer.fetch_watermarks(topic, 0, PATIENCE).map_err(refusal)?;
            return Ok(Some(if matches!(at, At::Earliest) { low } else { high }));
        };
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_offset(topic, 0, Offset::Offset(time)).map_err(refusal)?;
        let found = consumer.offsets_for_times(wanted, PATIENCE).map_err(refusal)?;
        Ok(found.elements().first().and_then(|element| match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }))
    }
}

/// What rskafka cannot express; what needs a group is in groups.rs.
pub fn table() -> Table<Rdkafka> {
    vec![
        ("describe-cluster", describe_cluster),
        ("create-describe-delete-topic", create_describe_delete),
        ("create-partitions", create_partitions),
        ("unknown-topic", unknown_topic),
        ("acks", acks),
        ("keys-and-partitions", keys_and_partitions),
        ("headers", headers),
        ("log-append-time", log_append_time),
        ("idempotent-across-kill", idempotent_across_kill),
        ("readme-example", readme_example),
    ]
}

async fn shown_in_the_readme(bootstrap: &str) -> Result<(), KafkaError> {
    // README: begin
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let record = FutureRecord::to("orders").key("1").payload("one");
    producer.send(record, Duration::from_secs(30)).await.map_err(|(error, _)| error)?;
    // README: end
    Ok(())
}

fn readme_example(client: &Rdkafka) -> Played {
    client.runtime.block_on(shown_in_the_readme(&bootstrap()))?;
    let records = exactly(client, "orders", From::Offset(0), 1)?;
    let got = records.first().map(|record| (record.key.clone(), record.value.clone()));
    equal(got, Some((Some(b"1".to_vec()), Some(b"one".to_vec()))), "record")
}

/// The crate does not tell which broker is the controller.
fn describe_cluster(client: &Rdkafka) -> Played {
    let metadata = client.admin.inner().fetch_metadata(None, PATIENCE)?;
    equal(metadata.brokers().iter().map(|b| format!("{}:{}", b.host(), b.port())).collect(), vec![bootstrap()], "addresses")?;
    let ids = [client.admin.inner().fetch_cluster_id(PATIENCE), Rdkafka::new()?.admin.inner().fetch_cluster_id(PATIENCE)];
    check(ids.iter().all(Option::is_some), || "no cluster id".into())?;
    equal(&ids[0], &ids[1], "cluster id")
}

fn create_describe_delete(client: &Rdkafka) -> Played {
    let name = client.made("topic-life", 3, &[("retention.ms", "123456789")])?;
    refused(client.create_with(name, 3, 1, &[]), &["TopicAlreadyExists"], "a second create")?;
    refused(client.create_with("bad/name", 1, 1, &[]), &["InvalidTopic"], "a bad name")?;
    refused(client.create_with("no-partitions", 0, 1, &[]), &["InvalidPartitions"], "0 partitions")?;
    refused(client.create_with("two", 1, 2, &[]), &["InvalidReplicationFactor"], "2 replicas on one broker")?;
    until(PATIENCE, || "three partitions".into(), || Ok(client.count(name)? == 3))?;
    equal(client.setting(name, "retention.ms")?, Some(("123456789".into(), false)), "retention.ms")?;
    equal(client.setting(name, "cleanup.policy")?, Some(("delete".into(), true)), "cleanup.policy")?;
    client.delete(name)?;
    gone(client, name)?;
    refused(client.delete(name), &["UnknownTopicOrPartition"], "a second delete")
}

fn create_partitions(client: &Rdkafka) -> Played {
    let name = client.made("growing", 2, &[])?;
    client.grow(name, 4)?;
    refused(client.grow(name, 3), &["InvalidPartitions"], "shrinking")?;
    until(PATIENCE, || "four partitions".into(), || Ok(client.count(name)? == 4))?;
    equal(client.send(name, &[Record { partition: Some(3), ..Record::of("x") }], &[])?, vec![(3, 0)], "position")?;
    equal(texts(&client.read(name, 3, From::Offset(0), 1)?), vec!["x".into()], "values")
}

fn unknown_topic(client: &Rdkafka) -> Played {
    refused(client.offset_at("never-created", At::Latest), &["UnknownTopicOrPartition", "UnknownPartition"], "offsets of it")?;
    refused(client.delete("never-created"), &["UnknownTopicOrPartition"], "its deletion")?;
    check(!client.topics()?.iter().any(|topic| topic == "never-created"), || "it was created by asking".into())
}

fn acks(client: &Rdkafka) -> Played {
    let (name, mut sent) = (created(client, "acks")?, Vec::new());
    // 0 comes last: what a new partition refuses for a moment would be lost without a word.
    for acks in ["all", "1", "0"] {
        client.send(name, &records(&names(20, acks), 1), &[("acks", acks)])?;
        sent.extend(names(20, acks));
        equal(texts(&exactly(client, name, From::Offset(0), sent.len())?), sent.clone(), "values")?;
    }
    Ok(())
}

fn keys_and_partitions(client: &Rdkafka) -> Played {
    let name = client.made("keyed", 6, &[])?;
    let keyed = |key: usize| Record { key: Some(format!("k{key}").into()), partition: None, ..Record::of(format!("v{key}")) };
    let sent: Vec<Record> = (0..80).map(|i| keyed(i % 40)).collect();
    let positions = client.send(name, &sent, &[("partitioner", "murmur2_random")])?;
    let (first, second) = positions.split_at(40);
    for (key, (a, b)) in first.iter().zip(second).enumerate() {
        equal(a.0, b.0, &format!("partition of key k{key}"))?;
    }
    let mut got = Vec::new();
    for partition in 0..6 {
        let count = positions.iter().filter(|(p, _)| *p == partition).count();
        check(count > 0, || format!("no key went to partition {partition}"))?;
        got.extend(client.read(name, partition, From::Offset(0), count)?);
    }
    let sorted = |records: &[Record]| {
        let mut pairs: Vec<_> = records.iter().map(|record| (record.key.clone(), record.value.clone())).collect();
        pairs.sort();
        pairs
    };
    equal(sorted(&got), sorted(&sent), "records")?;
    equal(client.send(name, &[Record { partition: Some(4), ..keyed(0) }], &[])?.first().map(|(p, _)| *p), Some(4), "explicit partition")
}

fn headers(client: &Rdkafka) -> Played {
    let pair = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(Vec::from));
    let sent = vec![pair("a", Some(b"1")), pair("b", Some(b"")), pair("a", Some(b"2")), pair("c", None), pair("ü", Some(b"\x00\xff"))];
    let name = created(client, "headed")?;
    client.send(name, &[Record { headers: sent.clone(), ..Record::of("x") }, Record::of("y")], &[])?;
    let got = exactly(client, name, From::Offset(0), 2)?;
    equal(got.into_iter().map(|record| record.headers).collect(), vec![sent, vec![]], "headers")
}

fn log_append_time(client: &Rdkafka) -> Played {
    let (name, before) = (client.made("stamped", 1, &[("message.timestamp.type", "LogAppendTime")])?, now_ms());
    client.send(name, &[Record { timestamp: Some(before - 500_000), ..Record::of("x") }], &[])?;
    let stamp = exactly(client, name, From::Offset(0), 1)?.first().and_then(|record| record.timestamp).unwrap_or_default();
    check((before - 1000..=now_ms() + 1000).contains(&stamp), || format!("timestamp {stamp} is not the broker's"))
}

fn idempotent_across_kill(client: &Rdkafka) -> Played {
    let name = created(client, "once")?;
    let settings = [("enable.idempotence", "true"), ("linger.ms", "2"), ("message.timeout.ms", "60000")];
    let producer: FutureProducer = config(&settings).create()?;
    let (mut waiting, mut restart) = (Vec::new(), None);
    while waiting.len() < 1500 || !restart.as_ref().is_some_and(thread::JoinHandle::is_finished) {
        let value = waiting.len().to_string();
        let record: FutureRecord<'_, [u8], str> = FutureRecord::to(name).payload(&value);
        waiting.push(producer.send_result(record).map_err(|(error, _)| refusal(error))?);
        if waiting.len() == 500 {
            restart = Some(thread::spawn(|| control("/kill9-and-restart").map_err(|error| error.to_string())));
        }
        if waiting.len() % 5 == 0 {
            thread::sleep(Duration::from_millis(2));
        }
    }
    restart.map_or(Ok(Ok(())), thread::JoinHandle::join).map_err(|_| "the restart")??;
    let count = waiting.len();
    for delivery in waiting {
        client.runtime.block_on(delivery)?.map_err(|(error, _)| refusal(error))?;
    }
    let got = texts(&exactly(client, name, From::Offset(0), count)?);
    check(got == names(count, ""), || format!("not each value once and in order: {count} sent, {} read", got.len()))
}
