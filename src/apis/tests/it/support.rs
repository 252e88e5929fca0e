//! A broker on a loopback port, and a client that speaks typed requests.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use apis::Apis;
use broker::config::{BrokerConfig, Mode, Origin, RawConfig};
use broker::entropy::SystemEntropy;
use broker::{BrokerParts, Failpoints, RunningBroker};
use bytes::{Bytes, BytesMut};
use protocol::fixtures::request_frame;
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use protocol::messages::{CreateTopicsRequest, TopicName};
use protocol::{Request, StrBytes};
use record_batch::BatchBuilder;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::clock::{SharedClock, SystemClock};
use wire::{ConnectionLimits, ListenOptions, ListenerName, MemoryBudget, PeerClient, Server};

pub(crate) struct TestBroker {
    pub(crate) address: SocketAddr,
    pub(crate) running: RunningBroker,
    pub(crate) apis: Arc<Apis>,
    server: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl TestBroker {
    /// A broker on `directory`, with these settings beside the developer defaults.
    pub(crate) async fn start(directory: &Path, settings: &[(&str, &str)]) -> Self {
        Self::start_at(directory, settings, SystemClock::shared()).await
    }

    /// The same with another clock.
    pub(crate) async fn start_at(directory: &Path, settings: &[(&str, &str)], clock: SharedClock) -> Self {
        let listener = wire::bind("127.0.0.1:0".parse().unwrap(), ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut raw = RawConfig::default();
        let listeners = format!("PLAINTEXT://127.0.0.1:{}", address.port());
        let origin = Origin::Flag { flag: "test" };
        raw.set("listeners", &listeners, origin.clone());
        raw.set("log.dirs", directory.to_str().unwrap(), origin.clone());
        for (key, value) in settings {
            raw.set(*key, *value, origin.clone());
        }
        let config = BrokerConfig::from_map(&raw, Mode::Developer).unwrap();
        let parts = BrokerParts {
            clock: Arc::clone(&clock),
            entropy: Arc::new(SystemEntropy),
            bound_ports: HashMap::from([("PLAINTEXT".to_owned(), address.port())]),
            failpoints: Failpoints::default(),
            metrics: apis::new_metrics(),
            life: Arc::default(),
            quorum_started: None,
        };
        let running = broker::start(config, parts).await.unwrap();
        let apis = Arc::new(Apis::new(Arc::clone(&running.broker)));
        let shutdown = CancellationToken::new();
        let server = Server::new(Arc::clone(&apis), ConnectionLimits::default(), clock, MemoryBudget::new(256 << 20), shutdown.clone());
        let server = tokio::spawn(async move { server.serve(listener, ListenerName::from("PLAINTEXT")).await });
        Self { address, running, apis, server, shutdown }
    }

    pub(crate) async fn client(&self) -> TestClient {
        TestClient { peer: PeerClient::connect(self.address).await.unwrap(), next: 0 }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.server.await.unwrap();
        self.running.stop().await;
    }
}

pub(crate) struct TestClient {
    pub(crate) peer: PeerClient,
    next: i32,
}

impl TestClient {
    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap();
        self.next += 1;
        let answer = self.peer.exchange(&request_frame(R::KEY, version, self.next, &body)).await.unwrap();
        let header = if protocol::response_header_version(R::KEY, version) == Some(1) { 5 } else { 4 };
        assert_eq!(answer[..4], self.next.to_be_bytes());
        protocol::decode_response::<R>(version, &answer.slice(header..), 64 << 20).unwrap()
    }

    pub(crate) async fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> uuid::Uuid {
        let configs = configs.iter().map(|(key, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string((*key).to_owned()))
                .with_value(Some(StrBytes::from_string((*value).to_owned())))
        });
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000);
        let response = self.call(7, &request).await;
        assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
        response.topics[0].topic_id
    }
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A batch with one record per value.
pub(crate) fn batch(timestamp: i64, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.append(timestamp, None, Some(value.as_bytes()), &[]);
    }
    builder.build()
}
