//! The log cleaner inside a broker, on a clock that the test moves.

use std::time::Duration;

use model::Timestamp;
use model::{PartitionIndex, TopicId, TopicIdPartition};
use protocol::StrBytes;
use protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{IncrementalAlterConfigsRequest, ProduceRequest};
use record_batch::BatchBuilder;
use wire::clock::{Clock, ManualClock};

use crate::support::*;

const BACKOFF: Duration = Duration::from_secs(3);

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

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_is_cleaned_after_the_backoff_and_without_one_nothing_ticks() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp(1_000_000));
    let backoff_ms = BACKOFF.as_millis().to_string();
    let broker = TestBroker::start_at(directory.path(), &[("log.cleaner.backoff.ms", &backoff_ms)], clock.shared()).await;
    let mut client = broker.client().await;
    client.create_topic("plain", 1, &[]).await;
    assert!(clock.next_deadline().is_none_or(|next| next > clock.monotonic() + BACKOFF), "{:?}", clock.next_deadline());

    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("file.delete.delay.ms", "7000"),
    ];
    let topic_id = client.create_topic("compacted", 1, &settings).await;
    clock.until_armed(clock.monotonic() + BACKOFF).await;
    for round in 0..16 {
        let response = client.call(7, &keyed("compacted", round)).await;
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    }
    let id = TopicIdPartition { topic_id: TopicId(topic_id), partition: PartitionIndex::ZERO };
    let partition = broker.running.broker.partitions.get(id).unwrap();
    let size_before = partition.size_bytes();
    let directory_of_log = directory.path().join("partitions").join(id.to_string());
    // What is still as it was appended: the last segment, once the replaced ones are gone.
    let first_generations = || {
        let names = std::fs::read_dir(&directory_of_log).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".0.log")).count()
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
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_static_str("cleanup.policy"))
        .with_config_operation(0)
        .with_value(Some(StrBytes::from_static_str("delete")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("compacted"))
        .with_configs(vec![config]);
    let response = client.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource])).await;
    assert_eq!(response.responses[0].error_code, 0);
    assert!(first_generations() > 4);
    clock.until_armed(clock.monotonic() + Duration::from_secs(7)).await;
    clock.advance(Duration::from_secs(8));
    while first_generations() > 1 {
        tokio::task::yield_now().await;
    }
    broker.stop().await;
}
