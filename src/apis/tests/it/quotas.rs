//! Quotas as a client meets them, on a clock that stands still.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use model::Timestamp;
use protocol::fixtures::request_frame;
use protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use protocol::messages::create_partitions_request::CreatePartitionsTopic;
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{
    AlterClientQuotasRequest, ApiVersionsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    FetchRequest, FetchResponse, ProduceRequest,
};
use protocol::{Encodable, ErrorCode, StrBytes};
use wire::clock::ManualClock;

use crate::support::{TestBroker, TestClient, batch, topic_name};

const TEN: Duration = Duration::from_secs(10);

/// Sets a quota; what it concerns is a kind and a name, or none for the default.
pub(crate) async fn set_quota(client: &mut TestClient, entity: &[(&str, Option<&str>)], key: &str, value: f64) {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let parts = entity.iter().map(|(kind, name)| EntityData::default().with_entity_type(text(kind)).with_entity_name(name.map(text)));
    let op = OpData::default().with_key(text(key)).with_value(value);
    let entry = EntryData::default().with_entity(parts.collect()).with_ops(vec![op]);
    let response = client.call(1, &AlterClientQuotasRequest::default().with_entries(vec![entry])).await;
    assert_eq!(response.entries[0].error_code, 0, "{:?}", response.entries[0].error_message);
}

struct World {
    clock: ManualClock,
    broker: TestBroker,
    client: TestClient,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(Timestamp(1_000_000));
        let broker = TestBroker::start_at(directory.path(), &[], clock.shared()).await;
        let client = broker.client().await;
        Self { clock, broker, client, _directory: directory }
    }

    /// The connection answers nothing before the clock has moved so far, and then it does.
    async fn assert_muted_for(&mut self, wait: Duration) {
        let mut body = BytesMut::new();
        ApiVersionsRequest::default().encode(&mut body, 0).unwrap();
        self.client.peer.send(&request_frame(18, 0, 99, &body)).await.unwrap();
        let before = self.clock.shared().monotonic();
        self.clock.until_armed(before + wait).await;
        let mut other = self.broker.client().await;
        other.call(0, &ApiVersionsRequest::default()).await;
        self.clock.advance(wait - Duration::from_millis(1));
        let question = ApiVersionsRequest::default();
        tokio::select! {
            biased;
            _ = self.client.peer.receive() => panic!("answered while muted"),
            _ = other.call(0, &question) => {}
        }
        self.clock.advance(Duration::from_millis(1));
        self.client.peer.receive().await.unwrap();
    }
}

fn produce(value: &str, acks: i16) -> ProduceRequest {
    let data = PartitionProduceData::default().with_records(Some(batch(1_000_000, &[value])));
    let topic = TopicProduceData::default().with_name(topic_name("t")).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![topic])
}

fn frame_bytes(request: &ProduceRequest) -> usize {
    let mut body = BytesMut::new();
    request.encode(&mut body, 9).unwrap();
    request_frame(0, 9, 1, &body).len()
}

#[tokio::test]
async fn a_producer_beyond_its_rate_is_told_the_wait_and_muted_for_it() {
    let mut world = World::new().await;
    world.client.create_topic("t", 1, &[]).await;
    set_quota(&mut world.client, &[("user", Some("ANONYMOUS"))], "producer_byte_rate", 100.0).await;
    let small = world.client.call(9, &produce("v", 1)).await;
    assert_eq!((small.throttle_time_ms, small.responses[0].partition_responses[0].error_code), (0, 0));
    let large = produce(&"v".repeat(2000), 1);
    let used = frame_bytes(&produce("v", 1)) + frame_bytes(&large);
    let answer = world.client.call(9, &large).await;
    // The records are taken all the same.
    assert_eq!((answer.responses[0].partition_responses[0].error_code, answer.responses[0].partition_responses[0].base_offset), (0, 1));
    let wait = u64::try_from(used).unwrap() * 10 - 10_000;
    assert_eq!(u64::try_from(answer.throttle_time_ms).unwrap(), wait);
    world.assert_muted_for(Duration::from_millis(wait)).await;
    world.broker.stop().await;
}

async fn fetch(client: &mut TestClient, session_id: i32, epoch: i32) -> FetchResponse {
    let partition = FetchPartition::default().with_fetch_offset(0).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic_name("t")).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_bytes(1 << 20)
        .with_session_id(session_id)
        .with_session_epoch(epoch)
        .with_topics(vec![topic]);
    client.call(11, &request).await
}

fn record_bytes(response: &FetchResponse) -> usize {
    response.responses.iter().flat_map(|topic| &topic.partitions).map(|row| row.records.as_ref().map_or(0, Bytes::len)).sum()
}

#[tokio::test]
async fn a_consumer_beyond_its_rate_gets_an_empty_answer_that_does_not_count() {
    let mut world = World::new().await;
    world.client.create_topic("t", 1, &[]).await;
    for _ in 0..3 {
        world.client.call(9, &produce(&"v".repeat(900), 1)).await;
    }
    set_quota(&mut world.client, &[("client-id", None)], "consumer_byte_rate", 1.0).await;
    set_quota(&mut world.client, &[("user", None)], "consumer_byte_rate", 110.0).await;
    // At most what the window holds is read at once: one batch.
    let first = fetch(&mut world.client, 0, 0).await;
    assert!((900..1100).contains(&record_bytes(&first)), "{}", record_bytes(&first));
    assert_eq!(first.throttle_time_ms, 0);
    let throttled = fetch(&mut world.client, first.session_id, 1).await;
    assert!(throttled.throttle_time_ms > 5000, "{}", throttled.throttle_time_ms);
    assert_eq!((record_bytes(&throttled), throttled.error_code, throttled.session_id), (0, 0, first.session_id));
    world.assert_muted_for(Duration::from_millis(u64::try_from(throttled.throttle_time_ms).unwrap())).await;
    // What was not sent was not used: the wait brings the window to where one batch more fits.
    world.clock.advance(TEN);
    let next = fetch(&mut world.client, first.session_id, 2).await;
    assert_eq!((next.throttle_time_ms, record_bytes(&next)), (0, record_bytes(&first)));
    world.broker.stop().await;
}

#[tokio::test]
async fn a_full_fetch_that_must_wait_begins_no_session() {
    let mut world = World::new().await;
    world.client.create_topic("t", 1, &[]).await;
    world.client.call(9, &produce(&"v".repeat(900), 1)).await;
    set_quota(&mut world.client, &[("user", None)], "consumer_byte_rate", 1.0).await;
    let throttled = fetch(&mut world.client, 0, 0).await;
    assert_eq!((throttled.session_id, throttled.error_code, record_bytes(&throttled)), (0, 0, 0));
    assert!(throttled.throttle_time_ms > 0);
    world.broker.stop().await;
}

fn creation(name: &str, partitions: i32) -> CreateTopicsRequest {
    let topic = CreatableTopic::default().with_name(topic_name(name)).with_num_partitions(partitions).with_replication_factor(1);
    CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)
}

#[tokio::test]
async fn partitions_beyond_the_rate_are_refused_to_new_clients_and_waited_for_by_old_ones() {
    let mut world = World::new().await;
    let exceeded = ErrorCode::ThrottlingQuotaExceeded.code();
    set_quota(&mut world.client, &[("user", None)], "controller_mutation_rate", 1.0).await;
    // Eleven permits are there, and the last one buys any number.
    let created = world.client.call(7, &creation("a", 13)).await;
    assert_eq!((created.topics[0].error_code, created.throttle_time_ms), (0, 0));
    let refused = world.client.call(7, &creation("b", 1)).await;
    assert_eq!((refused.topics[0].error_code, refused.throttle_time_ms), (exceeded, 2000));
    assert_eq!(refused.topics[0].error_message.as_ref().map(StrBytes::as_str), Some("The throttling quota has been exceeded."));
    world.assert_muted_for(Duration::from_secs(2)).await;

    let bought = world.client.call(7, &creation("b", 3)).await;
    assert_eq!((bought.topics[0].error_code, bought.throttle_time_ms), (0, 0));
    let more = CreatePartitionsTopic::default().with_name(topic_name("b")).with_count(4).with_assignments(None);
    let more = CreatePartitionsRequest::default().with_topics(vec![more]).with_timeout_ms(1000);
    let refused = world.client.call(3, &more).await;
    assert_eq!((refused.results[0].error_code, refused.throttle_time_ms), (exceeded, 3000));
    world.clock.advance(Duration::from_secs(1));
    let mut other = world.broker.client().await;
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("a")]).with_timeout_ms(1000);
    let refused = other.call(5, &delete).await;
    assert_eq!((refused.responses[0].error_code, refused.throttle_time_ms), (exceeded, 2000));

    let mut old = world.broker.client().await;
    let waits = old.call(5, &creation("c", 1)).await;
    assert_eq!((waits.topics[0].error_code, waits.throttle_time_ms), (0, 3000));
    world.broker.stop().await;
}

#[tokio::test]
async fn an_address_that_connects_too_often_is_not_served() {
    let mut world = World::new().await;
    set_quota(&mut world.client, &[("ip", Some("127.0.0.1"))], "connection_creation_rate", 1.0).await;
    for _ in 0..10 {
        world.broker.client().await.call(0, &ApiVersionsRequest::default()).await;
    }
    let mut refused = world.broker.client().await;
    world.clock.until_armed(Duration::from_secs(1)).await;
    world.clock.advance(Duration::from_secs(1));
    assert!(refused.peer.receive().await.is_err());
    world.clock.advance(TEN);
    world.broker.client().await.call(0, &ApiVersionsRequest::default()).await;
    world.broker.stop().await;
}

#[tokio::test]
async fn quotas_hold_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp(1_000_000));
    let broker = TestBroker::start_at(directory.path(), &[], clock.shared()).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    set_quota(&mut client, &[("user", None)], "producer_byte_rate", 1.0).await;
    drop(client);
    broker.stop().await;
    let broker = TestBroker::start_at(directory.path(), &[], clock.shared()).await;
    assert!(broker.client().await.call(9, &produce(&"v".repeat(100), 1)).await.throttle_time_ms > 0);
    broker.stop().await;
}
