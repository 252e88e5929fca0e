//! Reads, long polls and sessions.

use broker::partitions::RequiredAcks;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::{DeleteTopicsRequest, FetchRequest, FetchResponse};
use record_batch::AppendOrigin;

use crate::produce::produce;
use crate::support::{TestBroker, TestClient, batch, topic_name};

fn request(topic: &str, offset: i64, wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition::default().with_partition(0).with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![partition]);
    FetchRequest::default().with_max_wait_ms(wait_ms).with_min_bytes(1).with_max_bytes(1 << 20).with_topics(vec![topic])
}

/// The error code of a fetch from an offset.
pub(crate) async fn error(client: &mut TestClient, topic: &str, offset: i64) -> i16 {
    client.call(12, &request(topic, offset, 0)).await.responses[0].partitions[0].error_code
}

fn records(response: &FetchResponse) -> usize {
    response.responses.first().map_or(0, |topic| topic.partitions[0].records.as_ref().map_or(0, bytes::Bytes::len))
}

async fn started(directory: &tempfile::TempDir) -> (TestBroker, TestClient) {
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    (broker, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_produced_is_fetched_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let (broker, mut client) = started(&directory).await;
    let sent = batch(1, &["a", "b", "c"]);
    produce(&mut client, "t", 0, sent.clone()).await;
    let response = client.call(12, &request("t", 1, 0)).await;
    let got = response.responses[0].partitions[0].records.clone().unwrap();
    // Base offset and leader epoch are the broker's; all from the magic byte on is the client's.
    assert_eq!(got[16..], sent[16..]);
    assert_eq!(response.responses[0].partitions[0].high_watermark, 3);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_fetch_is_answered_by_the_next_append() {
    let directory = tempfile::tempdir().unwrap();
    let (broker, mut client) = started(&directory).await;
    let mut reader = broker.client().await;
    let waiting = tokio::spawn(async move { reader.call(12, &request("t", 0, 60_000)).await });
    until_parked(&broker).await;
    produce(&mut client, "t", 0, batch(1, &["a"])).await;
    assert!(records(&waiting.await.unwrap()) > 0);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_caller_went_away_unanswered_is_made_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    let topic_id = model::TopicId(client.create_topic("t", 1, &[]).await);
    let id = model::TopicIdPartition { topic_id, partition: model::PartitionIndex::new_or_zero(0) };
    let partition = broker.running.broker.partitions.get(id).unwrap();
    let checked = record_batch::CheckedBatch::from_trusted(batch(1, &["a"])).unwrap();
    // The committer sleeps, and nothing but the ticket wakes it.
    drop(partition.append(vec![checked], RequiredAcks::Leader, AppendOrigin::Client, model::Timestamp(1)));
    assert!(records(&client.call(12, &request("t", 0, 60_000)).await) > 0);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_the_topic_ends_a_waiting_fetch_with_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let (broker, mut client) = started(&directory).await;
    let mut reader = broker.client().await;
    let waiting = tokio::spawn(async move { reader.call(12, &request("t", 0, 60_000)).await });
    until_parked(&broker).await;
    client.call(1, &DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")])).await;
    let code = waiting.await.unwrap().responses[0].partitions[0].error_code;
    assert!(code == 3 || code == 6, "{code}");
    broker.stop().await;
}

async fn until_parked(broker: &TestBroker) {
    while broker.running.broker.partitions.all().iter().all(|partition| partition.watchers.is_empty()) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_outside_the_log_is_out_of_range_and_at_its_end_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    let (broker, mut client) = started(&directory).await;
    produce(&mut client, "t", 0, batch(1, &["a"])).await;
    assert_eq!(client.call(12, &request("t", 2, 0)).await.responses[0].partitions[0].error_code, 1);
    let at_end = client.call(12, &request("t", 1, 0)).await;
    assert_eq!((at_end.responses[0].partitions[0].error_code, records(&at_end)), (0, 0));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_batch_is_returned_whole_whatever_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let (broker, mut client) = started(&directory).await;
    let big = "x".repeat(100_000);
    produce(&mut client, "t", 0, batch(1, &[&big])).await;
    let mut small = request("t", 0, 0).with_max_bytes(10);
    small.topics[0].partitions[0].partition_max_bytes = 10;
    assert!(records(&client.call(12, &small).await) > 100_000);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incremental_fetch_tells_only_news() {
    let directory = tempfile::tempdir().unwrap();
    let (broker, mut client) = started(&directory).await;
    produce(&mut client, "t", 0, batch(1, &["a"])).await;
    let full = client.call(12, &request("t", 1, 0).with_session_id(0).with_session_epoch(0)).await;
    assert_ne!(full.session_id, 0);
    let next = FetchRequest::default().with_min_bytes(1).with_max_bytes(1 << 20).with_session_id(full.session_id);
    let nothing = client.call(12, &next.clone().with_session_epoch(1)).await;
    assert_eq!((nothing.error_code, nothing.responses.len()), (0, 0));
    produce(&mut client, "t", 0, batch(1, &["b"])).await;
    let news = client.call(12, &next.clone().with_session_epoch(2)).await;
    assert!(records(&news) > 0);
    assert_eq!(client.call(12, &next.with_session_epoch(9)).await.error_code, 71);
    broker.stop().await;
}
