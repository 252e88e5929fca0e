//! Appends and what they answer.

use bytes::Bytes;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::produce_response::PartitionProduceResponse;
use protocol::messages::{InitProducerIdRequest, ProduceRequest};
use record_batch::BatchBuilder;

use crate::support::{TestBroker, TestClient, batch, topic_name};

pub(crate) async fn produce(client: &mut TestClient, topic: &str, partition: i32, records: Bytes) -> PartitionProduceResponse {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5000).with_topic_data(vec![topic]);
    client.call(9, &request).await.responses.remove(0).partition_responses.remove(0)
}

fn idempotent(producer_id: i64, epoch: i16, sequence: i32, value: &str) -> Bytes {
    let id = model::ProducerId::new(producer_id).unwrap();
    let epoch = model::ProducerEpoch::new(epoch).unwrap();
    let mut builder = BatchBuilder::new().with_producer(id, epoch, model::Sequence::new(sequence));
    builder.append(1_000, None, Some(value.as_bytes()), &[]);
    builder.build()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_dense_and_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    assert_eq!(produce(&mut client, "t", 0, batch(1, &["a", "b"])).await.base_offset, 0);
    assert_eq!(produce(&mut client, "t", 0, batch(1, &["c"])).await.base_offset, 2);
    broker.stop().await;
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    assert_eq!(produce(&mut client, "t", 0, batch(1, &["d"])).await.base_offset, 3);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_idempotent_batch_is_answered_with_its_first_offset_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    let id = client.call(4, &InitProducerIdRequest::default().with_transactional_id(None)).await.producer_id.0;
    assert_eq!(produce(&mut client, "t", 0, idempotent(id, 0, 0, "a")).await.base_offset, 0);
    assert_eq!(produce(&mut client, "t", 0, idempotent(id, 0, 1, "b")).await.base_offset, 1);
    assert_eq!(produce(&mut client, "t", 0, idempotent(id, 0, 0, "a")).await.base_offset, 0);
    assert_eq!(produce(&mut client, "t", 0, idempotent(id, 0, 5, "f")).await.error_code, 45);
    broker.stop().await;
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    assert_eq!(produce(&mut client, "t", 0, idempotent(id, 0, 1, "b")).await.base_offset, 1);
    assert_eq!(produce(&mut client, "t", 0, idempotent(id, 0, 2, "c")).await.base_offset, 2);
    let next = client.call(4, &InitProducerIdRequest::default().with_transactional_id(None)).await.producer_id.0;
    assert!(next > id);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_batches_are_refused_with_kafkas_codes() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    client.create_topic("compacted", 1, &[("cleanup.policy", "compact")]).await;
    let mut damaged = batch(1, &["a"]).to_vec();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert_eq!(produce(&mut client, "t", 0, damaged.into()).await.error_code, 2);
    assert_eq!(produce(&mut client, "t", 0, Bytes::new()).await.error_code, 87);
    assert_eq!(produce(&mut client, "t", 9, batch(1, &["a"])).await.error_code, 3);
    assert_eq!(produce(&mut client, "none", 0, batch(1, &["a"])).await.error_code, 3);
    assert_eq!(produce(&mut client, "compacted", 0, batch(1, &["a"])).await.error_code, 87);
    let big = "x".repeat(1_048_600);
    assert_eq!(produce(&mut client, "t", 0, batch(1, &[&big])).await.error_code, 10);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_append_time_is_told_and_stored() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let answer = produce(&mut client, "t", 0, batch(1, &["a"])).await;
    assert_eq!(answer.error_code, 0);
    assert!(answer.log_append_time_ms > 1_700_000_000_000);
    broker.stop().await;
}
