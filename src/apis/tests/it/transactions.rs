//! Transactions over the wire: what counts, who is refused, and what a restart leaves.

use bytes::Bytes;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::update_features_request::FeatureUpdateKey;
use protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use protocol::messages::{
    AddPartitionsToTxnRequest, BrokerId, DescribeTransactionsRequest, EndTxnRequest, EndTxnResponse, FetchRequest, FindCoordinatorRequest,
    InitProducerIdRequest, InitProducerIdResponse, ListTransactionsRequest, ProduceRequest, ProducerId, TransactionalId,
    UpdateFeaturesRequest, WriteTxnMarkersRequest,
};
use protocol::{ErrorCode, StrBytes};
use record_batch::{BatchBuilder, BatchIter};

use crate::support::{TestBroker, TestClient, topic_name};

const ID: &str = "transfer";

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn id() -> TransactionalId {
    TransactionalId(text(ID))
}

async fn init(client: &mut TestClient) -> InitProducerIdResponse {
    let find = FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![text(ID)]);
    assert_eq!(client.call(4, &find).await.coordinators[0].error_code, 0);
    loop {
        let request = InitProducerIdRequest::default().with_transactional_id(Some(id())).with_transaction_timeout_ms(60_000);
        let response = client.call(5, &request).await;
        if response.error_code != ErrorCode::ConcurrentTransactions.code() {
            assert_eq!(response.error_code, 0);
            return response;
        }
    }
}

/// Waits until the markers of the last transaction are written, which its end does not wait for: its state, "Complete..." of either kind.
async fn concluded(client: &mut TestClient) -> String {
    loop {
        let described = client.call(0, &DescribeTransactionsRequest::default().with_transactional_ids(vec![id()])).await;
        let state = described.transaction_states[0].transaction_state.to_string();
        if state.starts_with("Complete") {
            return state;
        }
        assert!(state.is_empty() || state.starts_with("Prepare"), "{state}");
        tokio::task::yield_now().await;
    }
}

fn batch(producer: i64, epoch: i16, sequence: i32, value: &str) -> Bytes {
    let (producer, epoch) = (model::ProducerId::new(producer).unwrap(), model::ProducerEpoch::new(epoch).unwrap());
    let mut builder = BatchBuilder::new().with_producer(producer, epoch, model::Sequence::new(sequence)).with_transactional(true);
    builder.append(1_000, None, Some(value.as_bytes()), &[]);
    builder.build()
}

/// Sends one batch in that version, and gives the code that it is answered with.
async fn produce(client: &mut TestClient, version: i16, partition: i32, records: Bytes) -> i16 {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(topic_name("t")).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_transactional_id(Some(id())).with_acks(-1).with_timeout_ms(5_000);
    let mut response = client.call(version, &request.with_topic_data(vec![topic])).await;
    response.responses.remove(0).partition_responses.remove(0).error_code
}

async fn end(client: &mut TestClient, version: i16, producer: i64, epoch: i16, is_commit: bool) -> EndTxnResponse {
    let request = EndTxnRequest::default().with_transactional_id(id()).with_producer_id(ProducerId(producer));
    client.call(version, &request.with_producer_epoch(epoch).with_committed(is_commit)).await
}

/// The values that a consumer of committed records is given, once the log is stable up to its end.
async fn committed(client: &mut TestClient, partition: i32) -> Vec<String> {
    loop {
        let asked = FetchPartition::default().with_partition(partition).with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default().with_topic(topic_name("t")).with_partitions(vec![asked]);
        let request = FetchRequest::default().with_replica_id(BrokerId(-1)).with_max_bytes(1 << 20).with_isolation_level(1);
        let answer = client.call(12, &request.with_topics(vec![topic])).await.responses.remove(0).partitions.remove(0);
        if answer.last_stable_offset != answer.high_watermark {
            tokio::task::yield_now().await;
            continue;
        }
        let mut values = Vec::new();
        for batch in BatchIter::new(&answer.records.unwrap_or_default()) {
            let batch = batch.unwrap();
            let header = batch.header();
            let aborted = answer.aborted_transactions.iter().flatten();
            let is_aborted =
                aborted.into_iter().any(|row| row.producer_id.0 == header.producer_id && row.first_offset <= header.base_offset);
            if header.attributes.is_control() || is_aborted {
                continue;
            }
            record_batch::walk_records(batch.bytes(), record_batch::DecompressLimits::default(), &mut |record| {
                values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        }
        return values;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_counts_on_all_partitions_and_what_is_aborted_on_none_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 2, &[]).await;
    let first = init(&mut client).await;
    let (producer, epoch) = (first.producer_id.0, first.producer_epoch);
    for partition in 0..2 {
        assert_eq!(produce(&mut client, 12, partition, batch(producer, epoch, 0, "kept")).await, 0);
    }
    let next = end(&mut client, 5, producer, epoch, true).await;
    assert_eq!((next.error_code, next.producer_id.0, next.producer_epoch), (0, producer, epoch + 1));
    assert_eq!(produce(&mut client, 12, 1, batch(producer, next.producer_epoch, 0, "dropped")).await, 0);
    let last = end(&mut client, 5, producer, next.producer_epoch, false).await;
    assert_eq!(last.error_code, 0);
    // Late, of the transaction that is over; until its markers are written it is open here, as in Kafka.
    assert_eq!(concluded(&mut client).await, "CompleteAbort");
    let late = produce(&mut client, 12, 1, batch(producer, next.producer_epoch, 1, "late")).await;
    assert_eq!(late, ErrorCode::InvalidProducerEpoch.code());
    for _ in 0..2 {
        assert_eq!(committed(&mut client, 0).await, ["kept"]);
        assert_eq!(committed(&mut client, 1).await, ["kept"]);
    }
    broker.stop().await;
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    assert_eq!(committed(&mut client, 1).await, ["kept"]);
    assert_eq!(concluded(&mut client).await, "CompleteAbort");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_outlives_a_restart_and_a_newer_producer_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    let old = init(&mut client).await;
    let (producer, epoch) = (old.producer_id.0, old.producer_epoch);
    assert_eq!(produce(&mut client, 12, 0, batch(producer, epoch, 0, "open")).await, 0);
    broker.stop().await;
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    let listed = client.call(2, &ListTransactionsRequest::default().with_transactional_id_pattern(Some(text("trans.*")))).await;
    assert_eq!(listed.transaction_states[0].transaction_state.as_str(), "Ongoing");
    let new = init(&mut client).await;
    assert!(new.producer_epoch > epoch);
    assert_eq!(produce(&mut client, 12, 0, batch(producer, epoch, 1, "zombie")).await, ErrorCode::InvalidProducerEpoch.code());
    assert_eq!(end(&mut client, 5, producer, epoch, true).await.error_code, ErrorCode::ProducerFenced.code());
    assert_eq!(committed(&mut client, 0).await, Vec::<String>::new());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_older_versions_add_partitions_themselves_and_are_refused_where_they_did_not() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 2, &[]).await;
    let begun = init(&mut client).await;
    let (producer, epoch) = (begun.producer_id.0, begun.producer_epoch);
    let topic = protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic::default();
    let topic = topic.with_name(topic_name("t")).with_partitions(vec![0]);
    let add = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id())
        .with_v3_and_below_producer_id(ProducerId(producer))
        .with_v3_and_below_producer_epoch(epoch)
        .with_v3_and_below_topics(vec![topic]);
    let added = client.call(3, &add).await;
    assert_eq!(added.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code, 0);
    assert_eq!(produce(&mut client, 9, 0, batch(producer, epoch, 0, "added")).await, 0);
    assert_eq!(produce(&mut client, 9, 1, batch(producer, epoch, 0, "stray")).await, ErrorCode::InvalidTxnState.code());
    assert_eq!(produce(&mut client, 11, 1, batch(producer, epoch, 0, "stray")).await, ErrorCode::TransactionAbortable.code());
    assert_eq!(end(&mut client, 3, producer, epoch, true).await.error_code, 0);
    assert_eq!(committed(&mut client, 0).await, ["added"]);
    assert_eq!(committed(&mut client, 1).await, Vec::<String>::new());
    // The epoch is the same, but the transaction is over; until it is concluded, its coordinator has the client ask again.
    assert_eq!(concluded(&mut client).await, "CompleteCommit");
    assert_eq!(produce(&mut client, 9, 0, batch(producer, epoch, 1, "late")).await, ErrorCode::InvalidTxnState.code());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_ends_a_transaction_that_hangs_and_markers_of_old_coordinators_are_fenced() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [("transaction.partition.verification.enable", "false")];
    let broker = TestBroker::start(directory.path(), &settings).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    // Nobody verifies, so that this hangs.
    assert_eq!(produce(&mut client, 9, 0, batch(77, 0, 0, "hanging")).await, 0);
    let mut codes = Vec::new();
    for (coordinator_epoch, topic) in [(5, "t"), (4, "t"), (5, "none")] {
        let topic = WritableTxnMarkerTopic::default().with_name(topic_name(topic)).with_partition_indexes(vec![0]);
        let marker = WritableTxnMarker::default().with_producer_id(ProducerId(77)).with_coordinator_epoch(coordinator_epoch);
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker.with_topics(vec![topic])]);
        let response = client.call(1, &request).await;
        codes.push(response.markers[0].topics[0].partitions[0].error_code);
    }
    assert_eq!(codes, [0, ErrorCode::TransactionCoordinatorFenced.code(), ErrorCode::UnknownTopicOrPartition.code()]);
    assert_eq!(committed(&mut client, 0).await, Vec::<String>::new());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_version_of_transactions_goes_down_only_where_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    let mut codes = Vec::new();
    for (feature, level, upgrade_type) in [
        ("transaction.version", 1, 1),
        ("transaction.version", 3, 1),
        ("none", 1, 1),
        ("transaction.version", 1, 2),
        ("metadata.version", 7, 3),
    ] {
        let update = FeatureUpdateKey::default().with_feature(text(feature)).with_max_version_level(level).with_upgrade_type(upgrade_type);
        codes.push(client.call(2, &UpdateFeaturesRequest::default().with_feature_updates(vec![update])).await.error_code);
    }
    let refused = ErrorCode::InvalidUpdateVersion.code();
    assert_eq!(codes, [refused, refused, refused, 0, refused]);
    assert_eq!(broker.running.broker.metadata.image().feature_level("transaction.version"), 1);
    broker.stop().await;
}
