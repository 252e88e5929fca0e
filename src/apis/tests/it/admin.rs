//! Administration: what changes while the broker runs, and what of it survives a restart.

use protocol::fixtures::request_frame;
use protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::elect_leaders_request::TopicPartitions;
use protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::{
    AlterClientQuotasRequest, DeleteRecordsRequest, DescribeClientQuotasRequest, DescribeConfigsRequest, DescribeLogDirsRequest,
    ElectLeadersRequest, IncrementalAlterConfigsRequest, ListOffsetsRequest,
};
use protocol::{ErrorCode, StrBytes};

use crate::produce::produce;
use crate::support::{TestBroker, TestClient, batch, topic_name};

pub(crate) async fn delete_records(client: &mut TestClient, topic: &str, offset: i64) -> (i16, i64) {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let response = client.call(2, &DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)).await;
    let row = &response.topics[0].partitions[0];
    (row.error_code, row.low_watermark)
}

pub(crate) async fn earliest(client: &mut TestClient, topic: &str) -> i64 {
    let partition = ListOffsetsPartition::default().with_timestamp(-2);
    let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    client.call(7, &ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic])).await.topics[0].partitions[0]
        .offset
}

/// Sets a topic's key and returns the error code.
pub(crate) async fn alter(client: &mut TestClient, topic: &str, key: &'static str, value: &'static str) -> i16 {
    let config = AlterableConfig::default().with_name(StrBytes::from_static_str(key)).with_value(Some(StrBytes::from_static_str(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_string(topic.to_owned()))
        .with_configs(vec![config]);
    client.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource])).await.responses[0].error_code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_records_are_gone_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    client.create_topic("compacted", 1, &[("cleanup.policy", "compact")]).await;
    produce(&mut client, "t", 0, batch(1, &["a", "b", "c", "d"])).await;
    assert_eq!(delete_records(&mut client, "t", 2).await, (0, 2));
    assert_eq!(delete_records(&mut client, "t", 1).await, (0, 2));
    assert_eq!(delete_records(&mut client, "t", 5).await, (ErrorCode::OffsetOutOfRange.code(), -1));
    assert_eq!(delete_records(&mut client, "none", 0).await, (ErrorCode::UnknownTopicOrPartition.code(), -1));
    assert_eq!(delete_records(&mut client, "compacted", 0).await, (ErrorCode::PolicyViolation.code(), -1));
    assert_eq!(earliest(&mut client, "t").await, 2);
    broker.stop().await;
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    assert_eq!(earliest(&mut client, "t").await, 2);
    assert_eq!(delete_records(&mut client, "t", -1).await, (0, 4));
    assert_eq!(produce(&mut client, "t", 0, batch(1, &["e"])).await.base_offset, 4);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_message_size_counts_at_once_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    let large = "x".repeat(2_000);
    assert_eq!(produce(&mut client, "t", 0, batch(1, &[&large])).await.error_code, 0);
    assert_eq!(alter(&mut client, "t", "max.message.bytes", "1000").await, 0);
    assert_eq!(alter(&mut client, "t", "max.message.bytes", "-7").await, ErrorCode::InvalidConfig.code());
    assert_eq!(alter(&mut client, "t", "no.such.key", "1").await, ErrorCode::InvalidConfig.code());
    assert_eq!(produce(&mut client, "t", 0, batch(1, &[&large])).await.error_code, ErrorCode::MessageTooLarge.code());
    broker.stop().await;
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    assert_eq!(produce(&mut client, "t", 0, batch(1, &[&large])).await.error_code, ErrorCode::MessageTooLarge.code());
    let resource = DescribeConfigsResource::default().with_resource_type(2).with_resource_name(StrBytes::from_static_str("t"));
    let response = client.call(4, &DescribeConfigsRequest::default().with_resources(vec![resource])).await;
    let entry = response.results[0].configs.iter().find(|entry| entry.name.as_str() == "max.message.bytes").unwrap();
    assert_eq!((entry.value.as_ref().map(|value| value.as_str()), entry.config_source), (Some("1000"), 1));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_quotas_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    let user =
        EntityData::default().with_entity_type(StrBytes::from_static_str("user")).with_entity_name(Some(StrBytes::from_static_str("a")));
    let op = OpData::default().with_key(StrBytes::from_static_str("producer_byte_rate")).with_value(1024.0);
    let request = AlterClientQuotasRequest::default().with_entries(vec![EntryData::default().with_entity(vec![user]).with_ops(vec![op])]);
    assert_eq!(client.call(1, &request).await.entries[0].error_code, 0);
    broker.stop().await;
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    let entries = client.call(1, &DescribeClientQuotasRequest::default()).await.entries.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].values[0].key.as_str(), "producer_byte_rate");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_directory_and_its_partitions_are_described_and_no_election_is_needed() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 2, &[]).await;
    produce(&mut client, "t", 1, batch(1, &["a"])).await;
    let response = client.call(4, &DescribeLogDirsRequest::default().with_topics(None)).await;
    let result = &response.results[0];
    assert_eq!(result.log_dir.as_str(), directory.path().to_str().unwrap());
    assert!(result.total_bytes >= result.usable_bytes && result.usable_bytes > 0);
    let sizes: Vec<_> = result.topics[0].partitions.iter().map(|row| (row.partition_index, row.partition_size > 0)).collect();
    assert_eq!(sizes, [(0, false), (1, true)]);

    let response = client.call(2, &ElectLeadersRequest::default().with_topic_partitions(None)).await;
    assert!(response.replica_election_results.iter().all(|topic| topic.partition_result.is_empty()));
    let asked = TopicPartitions::default().with_topic(topic_name("t")).with_partitions(vec![0, 7]);
    let response = client.call(2, &ElectLeadersRequest::default().with_topic_partitions(Some(vec![asked]))).await;
    let codes: Vec<_> = response.replica_election_results[0].partition_result.iter().map(|row| row.error_code).collect();
    assert_eq!(codes, [ErrorCode::ElectionNotNeeded.code(), ErrorCode::UnknownTopicOrPartition.code()]);
    broker.stop().await;
}

/// Sets or removes a key of all brokers and returns the error code.
pub(crate) async fn alter_brokers(client: &mut TestClient, key: &'static str, value: Option<&'static str>) -> i16 {
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_static_str(key))
        .with_config_operation(i8::from(value.is_none()))
        .with_value(value.map(StrBytes::from_static_str));
    let resource = AlterConfigsResource::default().with_resource_type(4).with_configs(vec![config]);
    client.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource])).await.responses[0].error_code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_connections_changes_while_the_broker_runs() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    assert_eq!(alter_brokers(&mut client, "max.connections", Some("0")).await, ErrorCode::InvalidRequest.code());
    assert_eq!(alter_brokers(&mut client, "max.connections", Some("1")).await, 0);
    let mut waits = broker.client().await;
    waits.peer.send(&request_frame(18, 0, 1, &[])).await.unwrap();
    assert_eq!(alter_brokers(&mut client, "max.connections", None).await, 0);
    assert!(waits.peer.receive().await.is_ok(), "who waited is taken when there may be more");
    assert_eq!(alter_brokers(&mut client, "max.connections.per.ip.overrides", Some("localhost:1")).await, 0);
    // The name is looked up while the broker goes on.
    loop {
        let mut refused = broker.client().await;
        if refused.peer.exchange(&request_frame(18, 0, 1, &[])).await.is_err() {
            break;
        }
    }
    broker.stop().await;
}
