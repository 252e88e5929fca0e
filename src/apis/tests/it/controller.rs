//! What brokers ask of the active controller, on its own listener's APIs.

use std::collections::BTreeMap;
use std::sync::Arc;

use apis::Apis;
use bytes::{Bytes, BytesMut};
use model::Piece;
use protocol::fixtures::{self, request_frame};
use protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use protocol::messages::broker_registration_request::{Feature, Listener};
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::{
    AllocateProducerIdsRequest, AlterPartitionRequest, ApiVersionsRequest, BrokerHeartbeatRequest, BrokerId, BrokerRegistrationRequest,
    BrokerRegistrationResponse, CreateTopicsRequest,
};
use protocol::{ErrorCode, Request, StrBytes};
use wire::{ConnectionContext, ConnectionId, Dispatch, ListenerName, Outcome};

use crate::support::{TestBroker, topic_name};

/// The controller listener of a broker, without a socket.
struct ControllerListener {
    apis: Apis,
    connection: Arc<ConnectionContext>,
}

impl ControllerListener {
    fn of(broker: &TestBroker) -> Self {
        let address = "127.0.0.1:1".parse().unwrap();
        let connection = ConnectionContext::new(ConnectionId(7), address, address, ListenerName::from("CONTROLLER"));
        Self { apis: Apis::for_brokers(Arc::clone(&broker.running.broker)), connection }
    }

    async fn answer(&self, frame: Vec<u8>) -> Outcome {
        let mut outcome = self.apis.dispatch(&self.connection, Bytes::from(frame));
        while let Outcome::Later { reply, .. } = outcome {
            outcome = reply.await;
        }
        outcome
    }

    async fn call<R: Request>(&self, version: i16, request: &R) -> R::Response {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap();
        let Outcome::Reply(frame) = self.answer(request_frame(R::KEY, version, 1, &body)).await else { panic!("no answer") };
        let [Piece::Memory(answer)] = frame.pieces.as_slice() else { panic!("an answer in memory") };
        let header = if protocol::response_header_version(R::KEY, version) == Some(1) { 5 } else { 4 };
        protocol::decode_response::<R>(version, &answer.slice(header..), 1 << 20).unwrap()
    }
}

fn registration(broker: &TestBroker, incarnation: u128) -> BrokerRegistrationRequest {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let listener = Listener::default().with_name(text("PLAINTEXT")).with_host(text("other")).with_port(9092);
    let feature = |name| Feature::default().with_name(text(name)).with_min_supported_version(0).with_max_supported_version(40);
    BrokerRegistrationRequest::default()
        .with_broker_id(BrokerId(2))
        .with_cluster_id(text(broker.running.broker.metadata.image().cluster_id().unwrap()))
        .with_incarnation_id(uuid::Uuid::from_u128(incarnation))
        .with_listeners(vec![listener])
        .with_features(vec![feature("metadata.version"), feature("transaction.version")])
}

fn code(error: ErrorCode) -> i16 {
    error.code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_controller_api_answers_every_version_that_it_serves() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let controller = ControllerListener::of(&broker);
    for row in apis::table::controller_support() {
        for version in row.version_min..=row.version_max {
            for body in [fixtures::minimal_request(row.key, version), fixtures::rich_request(row.key, version)] {
                let body = body.unwrap_or_else(|| panic!("no fixture for {} v{version}", row.name));
                let outcome = controller.answer(request_frame(row.key, version, 7, &body)).await;
                assert!(matches!(outcome, Outcome::Reply(_)), "{} v{version}: {outcome:?}", row.name);
                // Clients are not told of it, and are turned away.
                let outcome = broker.apis.dispatch(&controller.connection, Bytes::from(request_frame(row.key, version, 7, &body)));
                assert!(matches!(outcome, Outcome::Close(_)));
            }
        }
    }
    let told = controller.call(4, &ApiVersionsRequest::default()).await;
    let keys: Vec<i16> = told.api_keys.iter().map(|row| row.api_key).collect();
    assert!(keys.is_sorted() && [18, 19, 56, 62, 63, 64, 67].iter().all(|key| keys.contains(key)) && !keys.contains(&0));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_registers_beats_and_alters_its_partitions() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let controller = ControllerListener::of(&broker);
    let image = || broker.running.broker.metadata.image();
    let own = broker.running.broker.config.broker_id;
    let wrong = registration(&broker, 1).with_cluster_id(StrBytes::from_static_str("another"));
    assert_eq!(controller.call(4, &wrong).await.error_code, code(ErrorCode::InconsistentClusterId));
    let none = registration(&broker, 1).with_features(Vec::new());
    assert_eq!(controller.call(4, &none).await.error_code, code(ErrorCode::UnsupportedVersion));
    let BrokerRegistrationResponse { error_code, broker_epoch, .. } = controller.call(4, &registration(&broker, 1)).await;
    let known: BTreeMap<i32, bool> = image().brokers().map(|broker| (broker.id.get(), broker.fenced)).collect();
    assert_eq!((error_code, known), (0, BTreeMap::from([(own.get(), false), (2, true)])));

    let beat = BrokerHeartbeatRequest::default().with_broker_id(BrokerId(2)).with_broker_epoch(broker_epoch);
    let reply = controller.call(1, &beat.clone().with_current_metadata_offset(broker_epoch - 1)).await;
    assert_eq!((reply.error_code, reply.is_caught_up, reply.is_fenced), (0, false, true));
    let reply = controller.call(1, &beat.clone().with_current_metadata_offset(broker_epoch)).await;
    assert_eq!((reply.error_code, reply.is_caught_up, reply.is_fenced), (0, true, false));
    let stale = beat.clone().with_broker_epoch(broker_epoch - 1);
    assert_eq!(controller.call(1, &stale).await.error_code, code(ErrorCode::StaleBrokerEpoch));
    assert_eq!(controller.call(4, &registration(&broker, 2)).await.error_code, code(ErrorCode::DuplicateBrokerRegistration));

    let topic = CreatableTopic::default().with_name(topic_name("t")).with_num_partitions(1).with_replication_factor(2);
    let created = broker.client().await.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)).await;
    assert_eq!(created.topics[0].error_code, 0);
    let topic_id = created.topics[0].topic_id;
    let partition = || image().topic_by_name("t").unwrap().partitions.front().cloned().unwrap();
    let (leader, before) = (partition().leader.unwrap(), partition());
    let leader_epoch = image().broker(leader).unwrap().epoch.get();
    let alone = vec![BrokerState::default().with_broker_id(BrokerId(leader.get())).with_broker_epoch(leader_epoch)];
    let asked = PartitionData::default()
        .with_partition_index(0)
        .with_leader_epoch(before.leader_epoch.get())
        .with_partition_epoch(before.partition_epoch)
        .with_new_isr_with_epochs(alone);
    let request = AlterPartitionRequest::default()
        .with_broker_id(BrokerId(leader.get()))
        .with_broker_epoch(leader_epoch)
        .with_topics(vec![TopicData::default().with_topic_id(topic_id).with_partitions(vec![asked])]);
    let response = controller.call(3, &request).await;
    let row = &response.topics[0].partitions[0];
    assert_eq!((row.error_code, row.partition_epoch, row.isr.as_slice()), (0, before.partition_epoch + 1, &[BrokerId(leader.get())][..]));
    assert_eq!(partition().isr, [leader]);
    let again = controller.call(3, &request).await;
    assert_eq!(again.topics[0].partitions[0].error_code, code(ErrorCode::InvalidUpdateVersion));

    let ids = AllocateProducerIdsRequest::default().with_broker_id(BrokerId(2)).with_broker_epoch(broker_epoch);
    let (first, second) = (controller.call(0, &ids).await, controller.call(0, &ids).await);
    assert_eq!((first.error_code, second.producer_id_start.0 - first.producer_id_start.0), (0, 1000));
    let stale = ids.with_broker_epoch(broker_epoch - 1);
    assert_eq!(controller.call(0, &stale).await.error_code, code(ErrorCode::StaleBrokerEpoch));
    broker.stop().await;
}
