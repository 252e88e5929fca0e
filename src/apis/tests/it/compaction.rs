//! The log cleaner inside a broker, on a clock that the test moves.

use std::time::Duration;

use model::Timestamp;
use model::{PartitionIndex, TopicId, TopicIdPartition};
use protocol::messages::ProduceRequest;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use record_batch::BatchBuilder;
use wire::clock::{Clock, ManualClock};

use crate::admin::{alter, alter_brokers};
use crate::support::*;

const BACKOFF: Duration = Duration::from_secs(3);

const COMPACTED: [(&str, &str); 4] =
    [("cleanup.policy", "compact"), ("segment.bytes", "1048576"), ("min.cleanable.dirty.ratio", "0.01"), ("file.delete.delay.ms", "7000")];

/// Each of ten keys with a value of 30 KiB, which is more than a quarter of the least segment.
fn keyed(topic: &str, round: u8) -> ProduceRequest {
    let mut builder = BatchBuilder::new();
    for key in 0..10_u8 {
        builder.append(1_000_000, Some(&[key]), Some(&vec![round; 30 << 10]), &[]);
    }
    let data = PartitionProduceData::default().with_records(Some(builder.build()));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic])
}

async fn fill(client: &mut TestClient, topic: &str) {
    for round in 0..16 {
        let response = client.call(7, &keyed(topic, round)).await;
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_is_cleaned_after_the_backoff_and_without_one_nothing_ticks() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp(1_000_000));
    let backoff_ms = BACKOFF.as_millis().to_string();
    let broker = TestBroker::start_at(directory.path(), &[("log.cleaner.backoff.ms", &backoff_ms)], clock.shared()).await;
    let mut client = broker.client().await;
    client.create_topic("plain", 1, &[]).await;
    assert!(clock.next_deadline().is_none_or(|next| next > clock.monotonic() + BACKOFF), "{:?}", clock.next_deadline());

    let topic_id = client.create_topic("compacted", 1, &COMPACTED).await;
    clock.until_armed(clock.monotonic() + BACKOFF).await;
    fill(&mut client, "compacted").await;
    let id = TopicIdPartition { topic_id: TopicId(topic_id), partition: PartitionIndex::ZERO };
    let partition = broker.running.broker.partitions.get(id).unwrap();
    let size_before = partition.size_bytes();
    let directory_of_log = directory.path().join("partitions").join(id.to_string());
    // What is still as it was appended: the last segment, once the replaced ones are gone.
    let first_generations = || {
        let names = std::fs::read_dir(&directory_of_log).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".0.log")).count()
    };
    assert!(first_generations() > 4);
    // Where the newest rows are not committed yet the cleaner looks once more.
    while partition.size_bytes() > size_before / 2 {
        clock.until_armed(clock.monotonic() + BACKOFF).await;
        clock.advance(BACKOFF);
        tokio::task::yield_now().await;
    }
    assert_eq!(partition.offsets().log_end().get(), 160);

    // Replaced files go after file.delete.delay.ms, though there is no compacted topic any more.
    assert_eq!(alter(&mut client, "compacted", "cleanup.policy", "delete").await, 0);
    assert!(first_generations() > 4);
    clock.until_armed(clock.monotonic() + Duration::from_secs(7)).await;
    clock.advance(Duration::from_secs(8));
    while first_generations() > 1 {
        tokio::task::yield_now().await;
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_logs_are_cleaned_side_by_side_as_there_are_threads_and_settings_change_under_way() {
    const BUDGET: u64 = 4 << 20;
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp(1_000_000));
    let settings = [
        ("log.cleaner.backoff.ms", "3000"),
        ("log.cleaner.dedupe.buffer.size", &BUDGET.to_string()),
        // So slow that no cleaning ends.
        ("log.cleaner.io.max.bytes.per.second", "1"),
    ];
    let broker = TestBroker::start_at(directory.path(), &settings, clock.shared()).await;
    let mut client = broker.client().await;
    for topic in ["left", "right"] {
        client.create_topic(topic, 1, &COMPACTED).await;
        fill(&mut client, topic).await;
    }
    let metrics = &broker.running.broker.metrics;
    while metrics.cleaner.state().running.is_empty() {
        clock.until_armed(clock.monotonic() + BACKOFF).await;
        clock.advance(BACKOFF);
        tokio::task::yield_now().await;
    }
    for _ in 0..5 {
        clock.advance(BACKOFF);
        assert_eq!(metrics.cleaner.state().running.len(), 1, "one thread");
    }
    // Each with a connection of its own, since the clock lets those time out that rest.
    assert_eq!(alter_brokers(&mut broker.client().await, "log.cleaner.threads", Some("2")).await, 0);
    while metrics.cleaner.state().running.len() < 2 {
        clock.advance(BACKOFF);
        tokio::task::yield_now().await;
    }
    assert_eq!(alter_brokers(&mut broker.client().await, "log.cleaner.io.max.bytes.per.second", Some("1e12")).await, 0);
    while metrics.cleaner.state().threads.iter().any(|last| last.cleaning.bytes_before == 0) {
        clock.advance(BACKOFF);
        tokio::task::yield_now().await;
    }
    let state = metrics.cleaner.state();
    assert_eq!(state.threads.len(), 2);
    assert!(state.threads.iter().map(|last| last.cleaning.map_bytes).sum::<u64>() <= BUDGET, "{state:?}");
    assert!(state.threads.iter().all(|last| last.cleaning.bytes_after < last.cleaning.bytes_before / 2), "{state:?}");
    broker.stop().await;
}

/// A broker whose checks of retention come too late to be what is seen.
async fn without_checks(directory: &std::path::Path, clock: &ManualClock, more: &[(&str, &str)]) -> TestBroker {
    let mut settings = vec![("log.cleaner.backoff.ms", "3000"), ("log.initial.task.delay.ms", "36000000")];
    settings.extend(more);
    TestBroker::start_at(directory, &settings, clock.shared()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_look_of_the_cleaner_drops_what_a_topic_with_compact_and_delete_does_not_keep() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp(1_000_000));
    let broker = without_checks(directory.path(), &clock, &[]).await;
    let mut client = broker.client().await;
    // Never dirty enough to be cleaned.
    let settings = [
        ("cleanup.policy", "compact,delete"),
        ("segment.bytes", "1048576"),
        ("min.cleanable.dirty.ratio", "1.0"),
        ("retention.bytes", "2000000"),
    ];
    let topic_id = client.create_topic("both", 1, &settings).await;
    fill(&mut client, "both").await;
    let id = TopicIdPartition { topic_id: TopicId(topic_id), partition: PartitionIndex::ZERO };
    let partition = broker.running.broker.partitions.get(id).unwrap();
    while partition.size_bytes() > 3 << 20 {
        clock.until_armed(clock.monotonic() + BACKOFF).await;
        clock.advance(BACKOFF);
        tokio::task::yield_now().await;
    }
    assert!(partition.size_bytes() >= 2_000_000);
    assert!(partition.offsets().log_start().get() > 0);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cleaning_of_a_topic_that_is_not_compacted_any_more_stops() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp(1_000_000));
    // So slow that no cleaning ends.
    let broker = without_checks(directory.path(), &clock, &[("log.cleaner.io.max.bytes.per.second", "1")]).await;
    let mut client = broker.client().await;
    client.create_topic("changed", 1, &COMPACTED).await;
    fill(&mut client, "changed").await;
    let metrics = &broker.running.broker.metrics;
    while metrics.cleaner.state().running.is_empty() {
        clock.advance(BACKOFF);
        tokio::task::yield_now().await;
    }
    assert_eq!(alter(&mut broker.client().await, "changed", "cleanup.policy", "delete").await, 0);
    while !metrics.cleaner.state().running.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(metrics.cleaner.state().uncleanable.len(), 0);
    broker.stop().await;
}
