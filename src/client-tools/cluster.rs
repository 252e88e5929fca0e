//! The cluster as a client sees it: who is there, who leads what, who coordinates whom.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::{BrokerId, FindCoordinatorRequest, MetadataRequest, MetadataResponse, TopicName};
use protocol::{ErrorCode, StrBytes};
use wire::clock::{Clock as _, SystemClock};

use crate::ToolProblem;
use crate::args::Common;
use crate::connection::{ConnectFault, Connection, Feature, Spoken};

/// How long to wait before a passing error is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How often it is looked whether what takes its time is done.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Stands for the broker that was asked first, whose id is not known before its metadata.
const BOOTSTRAP: i32 = i32::MIN;

/// A text of the protocol.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic's name in the protocol.
pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Whether Kafka calls the error passing.
pub(crate) fn is_retriable(code: i16) -> bool {
    ErrorCode::try_from_code(code).is_some_and(|error| error.is_retriable())
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broker {
    /// Its id.
    pub(crate) id: i32,
    /// `HOST:PORT` for clients of the listener that was asked.
    pub(crate) address: String,
    /// Its rack.
    pub(crate) rack: Option<String>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Its number.
    pub(crate) index: i32,
    /// Who leads it, if anybody does.
    pub(crate) leader: Option<i32>,
    /// All replicas, the preferred leader first.
    pub(crate) replicas: Vec<i32>,
    /// Those in sync.
    pub(crate) in_sync_replicas: Vec<i32>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is Kafka's own.
    pub(crate) is_internal: bool,
    /// By number.
    pub(crate) partitions: Vec<Partition>,
}

/// What Metadata tells beside the topics.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterView {
    /// The cluster's id.
    pub(crate) id: Option<String>,
    /// Whom admin requests go to.
    pub(crate) controller: Option<i32>,
    /// By id.
    pub(crate) brokers: BTreeMap<i32, Broker>,
}

/// Connections and what is known.
pub(crate) struct Cluster {
    pub(crate) clock: SystemClock,
    timeout: Duration,
    bootstrap: String,
    connections: BTreeMap<i32, Connection>,
    pub(crate) view: ClusterView,
}

impl Cluster {
    /// Connects to the first bootstrap broker that answers.
    pub(crate) async fn connect(common: &Common) -> Result<Self, ToolProblem> {
        let clock = SystemClock::new();
        let timeout = Duration::from_millis(common.timeout_ms);
        let mut last = ToolProblem::Unreachable { address: common.bootstrap.clone(), reason: "it is no address".to_owned() };
        for address in common.bootstrap.split(',').map(str::to_owned) {
            match Connection::open(&clock, &address, timeout).await {
                Ok(connection) => {
                    let connections = BTreeMap::from([(BOOTSTRAP, connection)]);
                    return Ok(Self { clock, timeout, bootstrap: address, connections, view: ClusterView::default() });
                }
                Err(ConnectFault::Connect(reason)) => last = ToolProblem::Unreachable { address, reason },
                Err(ConnectFault::Speak(problem)) => last = *problem,
            }
        }
        Err(last)
    }

    /// The features that the broker finalized.
    pub(crate) fn features(&self) -> &[Feature] {
        self.connections.get(&BOOTSTRAP).map(|connection| connection.features.as_slice()).unwrap_or_default()
    }

    /// When an operation that begins now has to give up.
    pub(crate) fn deadline(&self) -> Duration {
        self.clock.monotonic() + self.timeout
    }

    /// The time-out as Kafka's requests carry it.
    pub(crate) fn timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Waits a moment, unless the deadline has passed.
    pub(crate) async fn pause(&self, deadline: Duration) -> bool {
        let now = self.clock.monotonic();
        if now >= deadline {
            return false;
        }
        self.clock.sleep_until(now + RETRY_PAUSE).await;
        true
    }

    /// Asks a broker by id.
    pub(crate) async fn ask<R: Spoken>(&mut self, broker_id: i32, request: &R) -> Result<R::Response, ToolProblem> {
        let key = self.open(broker_id).await?;
        self.exchange(key, request, self.timeout).await
    }

    /// Asks a broker by id for what may take its time.
    pub(crate) async fn ask_within<R: Spoken>(
        &mut self,
        broker_id: i32,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, ToolProblem> {
        let key = self.open(broker_id).await?;
        self.exchange(key, request, timeout).await
    }

    /// Closes all connections: after a request whose answer nobody waited for, they are of no use. The next request connects again.
    pub(crate) fn disconnect(&mut self) {
        self.connections.clear();
    }

    /// Asks the broker that was connected to first; if that is gone, another that is known.
    pub(crate) async fn ask_any<R: Spoken>(&mut self, request: &R) -> Result<R::Response, ToolProblem> {
        if !self.connections.contains_key(&BOOTSTRAP) {
            self.connect_again().await?;
        }
        self.exchange(BOOTSTRAP, request, self.timeout).await
    }

    /// Connects to the bootstrap broker, or to the first of the known ones that answers.
    async fn connect_again(&mut self) -> Result<(), ToolProblem> {
        let mut first = None;
        let known = self.view.brokers.values().map(|broker| broker.address.clone()).filter(|address| *address != self.bootstrap);
        let addresses: Vec<String> = std::iter::once(self.bootstrap.clone()).chain(known).collect();
        for address in addresses {
            match Connection::open(&self.clock, &address, self.timeout).await {
                Ok(connection) => {
                    self.connections.insert(BOOTSTRAP, connection);
                    self.bootstrap = address;
                    return Ok(());
                }
                Err(ConnectFault::Connect(reason)) => first = first.or(Some(ToolProblem::Unreachable { address, reason })),
                Err(ConnectFault::Speak(problem)) => first = first.or(Some(*problem)),
            }
        }
        Err(first.unwrap_or_else(|| ToolProblem::Unreachable { address: self.bootstrap.clone(), reason: "it is no address".to_owned() }))
    }

    /// Asks the broker that Metadata names as the controller, for what only that one did before KRaft.
    pub(crate) async fn ask_controller<R: Spoken>(&mut self, request: &R) -> Result<R::Response, ToolProblem> {
        self.metadata(Some(&[]), false).await?;
        match self.view.controller {
            Some(controller) => self.ask(controller, request).await,
            None => self.ask_any(request).await,
        }
    }

    /// Whether a broker serves a request at all.
    pub(crate) async fn serves<R: Spoken>(&mut self, broker_id: i32) -> Result<bool, ToolProblem> {
        let key = self.open(broker_id).await?;
        Ok(self.connections.get(&key).is_some_and(|connection| connection.version::<R>().is_some()))
    }

    async fn exchange<R: Spoken>(&mut self, key: i32, request: &R, timeout: Duration) -> Result<R::Response, ToolProblem> {
        let Some(connection) = self.connections.get_mut(&key) else {
            return Err(ToolProblem::Lost { address: self.bootstrap.clone(), api: R::NAME, reason: "not connected".to_owned() });
        };
        let outcome = connection.call_within(&self.clock, request, timeout).await;
        if matches!(outcome, Err(ToolProblem::Lost { .. } | ToolProblem::NotKafka { .. })) {
            self.connections.remove(&key);
        }
        outcome
    }

    /// Connects to a broker if that was not done yet, and gives its connection's key.
    async fn open(&mut self, broker_id: i32) -> Result<i32, ToolProblem> {
        let Some(broker) = self.view.brokers.get(&broker_id) else { return Ok(BOOTSTRAP) };
        // The first connection serves that broker too, if it is the same address.
        if broker.address == self.bootstrap && self.connections.contains_key(&BOOTSTRAP) {
            return Ok(BOOTSTRAP);
        }
        if !self.connections.contains_key(&broker_id) {
            let address = broker.address.clone();
            let connection = Connection::open(&self.clock, &address, self.timeout).await.map_err(|fault| match fault {
                ConnectFault::Connect(reason) => ToolProblem::Advertised { broker_id, address, reason },
                ConnectFault::Speak(problem) => *problem,
            })?;
            self.connections.insert(broker_id, connection);
        }
        Ok(broker_id)
    }

    /// Asks for topics (`None`: all) and who is there. A topic that is not there is left out, of others' passing errors it is asked again.
    pub(crate) async fn metadata(&mut self, names: Option<&[String]>, create: bool) -> Result<Vec<Topic>, ToolProblem> {
        let deadline = self.deadline();
        let asked = |name: &String| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(names.map(|names| names.iter().map(asked).collect()))
            .with_allow_auto_topic_creation(create);
        loop {
            let answer = self.ask_any(&request).await?;
            self.view = view_of(&answer);
            let passing = answer.topics.iter().find(|topic| topic.error_code != 0 && (create || !is_unknown(topic.error_code)));
            match passing {
                None => return Ok(topics_of(&answer)),
                Some(topic) if is_retriable(topic.error_code) && self.pause(deadline).await => {}
                Some(topic) if is_unknown(topic.error_code) => return Ok(topics_of(&answer)),
                Some(topic) => {
                    let name = topic.name.as_ref().map_or("", |name| name.as_str());
                    return Err(ToolProblem::refused(format!("topic '{name}'"), topic.error_code, None));
                }
            }
        }
    }

    /// One topic.
    pub(crate) async fn topic(&mut self, name: &str, create: bool) -> Result<Topic, ToolProblem> {
        let topics = self.metadata(Some(&[name.to_owned()]), create).await?;
        topics.into_iter().find(|topic| topic.name == name).ok_or_else(|| ToolProblem::NoTopic(name.to_owned()))
    }

    /// The broker that coordinates a group.
    pub(crate) async fn coordinator(&mut self, group: &str) -> Result<i32, ToolProblem> {
        let deadline = self.deadline();
        self.metadata(Some(&[]), false).await?;
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
        loop {
            let answer = self.ask_any(&request).await?;
            match answer.coordinators.first() {
                Some(found) if found.error_code == 0 => return Ok(found.node_id.0),
                Some(found) if is_retriable(found.error_code) && self.pause(deadline).await => {}
                found => {
                    let code = found.map_or(-1, |found| found.error_code);
                    return Err(ToolProblem::refused(format!("group '{group}'"), code, None));
                }
            }
        }
    }
}

fn is_unknown(code: i16) -> bool {
    ErrorCode::try_from_code(code) == Some(ErrorCode::UnknownTopicOrPartition)
}

fn view_of(answer: &MetadataResponse) -> ClusterView {
    let broker = |broker: &protocol::messages::metadata_response::MetadataResponseBroker| {
        let host = if broker.host.contains(':') { format!("[{}]", broker.host.as_str()) } else { broker.host.to_string() };
        let rack = broker.rack.as_ref().map(ToString::to_string);
        (broker.node_id.0, Broker { id: broker.node_id.0, address: format!("{host}:{}", broker.port), rack })
    };
    ClusterView {
        id: answer.cluster_id.as_ref().map(ToString::to_string),
        controller: Some(answer.controller_id.0).filter(|id| *id >= 0),
        brokers: answer.brokers.iter().map(broker).collect(),
    }
}

fn topics_of(answer: &MetadataResponse) -> Vec<Topic> {
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|broker| broker.0).collect();
    let mut topics = Vec::new();
    for topic in answer.topics.iter().filter(|topic| topic.error_code == 0) {
        let mut partitions: Vec<Partition> = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            partitions.push(Partition {
                index: partition.partition_index,
                leader: Some(partition.leader_id.0).filter(|id| *id >= 0),
                replicas: ids(&partition.replica_nodes),
                in_sync_replicas: ids(&partition.isr_nodes),
            });
        }
        partitions.sort_by_key(|partition| partition.index);
        let name = topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default();
        topics.push(Topic { name, is_internal: topic.is_internal, partitions });
    }
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    topics
}
