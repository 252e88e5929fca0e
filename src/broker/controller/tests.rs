//! The active controller over a quorum that is only a list of records, on a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metadata::controller::{BrokerRegistration, Heartbeat, HeartbeatReply, InternalTopic, RegistrationWish, TopicDefaults};
use metadata::{Delta, Image, MetadataRecord};
use model::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionIndex, Timestamp, TopicId, TopicIdPartition};
use parking_lot::Mutex;
use protocol::ErrorCode;
use quorum::{BoxFuture, MetadataQuorum, Observer, ProposeError, ReceiveError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::clock::ManualClock;
use wire::{ConnectionContext, ConnectionId, ListenerName};

use super::{ControlError, Controller, ControllerSettings, Probe};
use crate::entropy::SystemEntropy;

const SESSION: Duration = Duration::from_secs(9);
const REBALANCE: Duration = Duration::from_secs(300);

fn id(id: i32) -> BrokerId {
    BrokerId::new(id).unwrap()
}

/// A quorum whose records are agreed on as soon as they are proposed. Broker 1 leads it, unless the test says otherwise.
struct ListQuorum {
    image: Mutex<Arc<Image>>,
    term: AtomicU64,
    published: watch::Sender<u64>,
    leadership: watch::Sender<Option<BrokerId>>,
}

impl MetadataQuorum for ListQuorum {
    fn voters(&self) -> Vec<quorum::VoterProgress> {
        Vec::new()
    }

    fn add_voter(&self, _broker_id: BrokerId) -> BoxFuture<Result<(), quorum::VoterChangeError>> {
        Box::pin(async { Ok(()) })
    }

    fn remove_voter(&self, _broker_id: BrokerId) -> BoxFuture<Result<(), quorum::VoterChangeError>> {
        Box::pin(async { Ok(()) })
    }

    fn voting(&self) -> watch::Receiver<std::collections::BTreeSet<BrokerId>> {
        watch::channel(std::collections::BTreeSet::new()).1
    }

    fn observers(&self) -> Vec<quorum::VoterProgress> {
        Vec::new()
    }

    fn admit_observer(&self, _broker_id: BrokerId) -> BoxFuture<Result<(), ProposeError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn forget_observer(&self, _broker_id: BrokerId) -> BoxFuture<Result<(), ProposeError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn propose(&self, _term: u64, records: Vec<MetadataRecord>) -> BoxFuture<Result<u64, ProposeError>> {
        let mut image = self.image.lock();
        let index = image.index() + 1;
        let (next, delta) = image.apply(index, &records);
        assert_eq!(delta.ignored_records, 0);
        *image = Arc::new(next);
        self.published.send_replace(index);
        Box::pin(std::future::ready(Ok(index)))
    }

    fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image.lock())
    }

    fn subscribe(&self, _observer: Observer) -> Arc<Image> {
        let _: fn(&Image) -> Delta = Delta::from_nothing;
        self.image()
    }

    fn leader(&self) -> Option<BrokerId> {
        *self.leadership.borrow()
    }

    fn leader_term(&self) -> u64 {
        self.term.load(Ordering::SeqCst)
    }

    fn is_active(&self) -> bool {
        self.leader() == Some(id(1))
    }

    fn caught_up(&self) -> BoxFuture<Result<(), ProposeError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn receive(&self, message: Vec<u8>) -> BoxFuture<Result<Vec<u8>, ReceiveError>> {
        Box::pin(std::future::ready(Ok(message)))
    }

    fn published(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    fn leadership(&self) -> watch::Receiver<Option<BrokerId>> {
        self.leadership.subscribe()
    }

    fn resign(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }

    fn shutdown(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }
}

/// Refuses for the brokers that a test lets die.
#[derive(Default)]
struct Dead(Mutex<Vec<BrokerId>>);

impl Probe for Dead {
    fn is_refused(&self, id: BrokerId) -> BoxFuture<bool> {
        Box::pin(std::future::ready(self.0.lock().contains(&id)))
    }
}

/// Brokers 1 to 3 with one partition on all of them; broker 1 is the active controller and looks after them.
struct Cluster {
    quorum: Arc<ListQuorum>,
    clock: ManualClock,
    controller: Controller,
    dead: Arc<Dead>,
    stopping: CancellationToken,
    /// Of each broker, in order of their ids.
    connections: Vec<Arc<ConnectionContext>>,
}

/// A connection with this number on some listener.
fn connection(number: u64) -> Arc<ConnectionContext> {
    let address = ([127, 0, 0, 1], 9).into();
    ConnectionContext::new(ConnectionId(number), address, address, ListenerName::from("CONTROLLER"))
}

impl Cluster {
    async fn start() -> Self {
        let quorum = Arc::new(ListQuorum {
            image: Mutex::default(),
            term: AtomicU64::new(1),
            published: watch::Sender::new(0),
            leadership: watch::Sender::new(Some(id(1))),
        });
        let clock = ManualClock::new(Timestamp(0));
        let settings = ControllerSettings {
            broker_id: id(1),
            given: metadata::configs::StaticConfig::new(),
            defaults: TopicDefaults { num_partitions: 1, replication_factor: 3 },
            offsets_topic: InternalTopic::ConsumerOffsets { partitions: 1, replication_factor: 3, segment_bytes: 1 << 20 },
            transactions_topic: InternalTopic::TransactionState {
                partitions: 1,
                replication_factor: 3,
                min_insync_replicas: 2,
                segment_bytes: 1 << 20,
            },
            broker_rows: Vec::new(),
            session_timeout: SESSION,
            rebalance_interval: Some(REBALANCE),
        };
        let shared: Arc<dyn MetadataQuorum> = Arc::<ListQuorum>::clone(&quorum);
        let dead = Arc::new(Dead::default());
        let probe: Arc<dyn Probe> = Arc::<Dead>::clone(&dead);
        let controller = Controller::with_probe(shared, Arc::new(SystemEntropy), settings, None, (clock.shared(), Some(probe)));
        let stopping = CancellationToken::new();
        let connections = (0..3).map(connection).collect();
        let cluster = Self { quorum, clock, controller, dead, stopping, connections };
        cluster.propose(vec![MetadataRecord::Cluster { cluster_id: "c".to_owned() }]).await;
        for broker in 1..=3 {
            cluster.register(broker, 1).await.unwrap();
            assert!(cluster.beat(broker).await.is_caught_up);
        }
        let replicas = vec![id(2), id(1), id(3)];
        let topic_id = TopicId(Uuid::from_u128(1));
        let partition = MetadataRecord::Partition {
            topic_id,
            partition: PartitionIndex::ZERO,
            isr: replicas.clone(),
            leader: Some(id(2)),
            replicas,
            leader_epoch: LeaderEpoch::ZERO,
            partition_epoch: 0,
        };
        cluster.propose(vec![MetadataRecord::Topic { name: "t".to_owned(), topic_id }, partition]).await;
        tokio::spawn(cluster.controller.clone().watch_members(cluster.stopping.clone()));
        cluster
    }

    async fn propose(&self, records: Vec<MetadataRecord>) {
        self.quorum.propose(self.quorum.leader_term(), records).await.unwrap();
    }

    async fn register(&self, broker: i32, incarnation: u128) -> Result<BrokerEpoch, ErrorCode> {
        let registration = BrokerRegistration {
            broker_id: id(broker),
            incarnation_id: Uuid::from_u128(incarnation),
            listeners: Vec::new(),
            rack: None,
            features: std::collections::BTreeMap::new(),
            directory_id: None,
        };
        let wish = RegistrationWish { cluster_id: "c".to_owned(), registration, previous_epoch: None };
        self.controller.admit_broker(wish).await.unwrap().map_err(|refusal| refusal.code)
    }

    fn connection(&self, broker: i32) -> &Arc<ConnectionContext> {
        &self.connections[usize::try_from(broker).unwrap() - 1]
    }

    /// A heartbeat of a broker that knows everything, on its connection.
    async fn beat(&self, broker: i32) -> HeartbeatReply {
        let image = self.quorum.image();
        let beat = Heartbeat {
            broker_id: id(broker),
            broker_epoch: image.broker(id(broker)).unwrap().epoch,
            metadata_index: image.index(),
            wants_fence: false,
            wants_shutdown: false,
        };
        self.controller.heartbeat(beat, self.connection(broker)).await.unwrap().unwrap()
    }

    /// Waits until the image is so.
    async fn until(&self, holds: impl Fn(&Image) -> bool) {
        let mut published = self.quorum.published();
        while !holds(&self.quorum.image()) {
            published.changed().await.unwrap();
        }
    }

    /// Lets time pass up to a moment, from one deadline to the next.
    async fn advance_to(&self, time: Duration) {
        loop {
            let Some(next) = self.clock.next_deadline() else {
                tokio::task::yield_now().await;
                continue;
            };
            let now = self.clock.shared().monotonic();
            if next > now {
                self.clock.advance(next.min(time).saturating_sub(now));
            }
            if next >= time {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    fn leader(&self) -> Option<BrokerId> {
        let id = TopicIdPartition { topic_id: TopicId(Uuid::from_u128(1)), partition: PartitionIndex::ZERO };
        self.quorum.image().partition(id).unwrap().leader
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

fn is_fenced(image: &Image, broker: i32) -> bool {
    image.broker(id(broker)).is_some_and(|broker| broker.fenced)
}

#[tokio::test]
async fn a_silent_broker_is_fenced_when_its_session_is_over_and_no_other() {
    let cluster = Cluster::start().await;
    cluster.advance_to(SESSION).await;
    cluster.until(|image| is_fenced(image, 2) && is_fenced(image, 3)).await;
    assert_eq!(cluster.leader(), Some(id(1)), "the controller's own broker lives");
    assert!(!is_fenced(&cluster.quorum.image(), 1));
}

#[tokio::test]
async fn a_broker_whose_connection_closed_is_fenced_at_once_unless_it_comes_back() {
    let cluster = Cluster::start().await;
    cluster.controller.connection_closed(cluster.connection(3));
    cluster.controller.connection_closed(cluster.connection(2));
    assert!(!cluster.beat(3).await.is_fenced);
    cluster.advance_to(Duration::from_millis(500)).await;
    cluster.until(|image| is_fenced(image, 2)).await;
    assert_eq!((cluster.leader(), is_fenced(&cluster.quorum.image(), 3)), (Some(id(1)), false));
    // The same process, still alive, is taken back.
    assert!(!cluster.beat(2).await.is_fenced);
}

#[tokio::test]
async fn a_connection_of_the_same_number_on_another_listener_is_another_one() {
    let cluster = Cluster::start().await;
    for number in 0..3 {
        cluster.controller.connection_closed(&connection(number));
    }
    cluster.advance_to(SESSION - Duration::from_millis(1)).await;
    assert!((1..=3).all(|broker| !is_fenced(&cluster.quorum.image(), broker)));
}

#[tokio::test]
async fn a_broker_whose_host_refuses_connections_is_fenced_without_any_grace() {
    let cluster = Cluster::start().await;
    cluster.dead.0.lock().push(id(2));
    cluster.controller.connection_closed(cluster.connection(2));
    cluster.until(|image| is_fenced(image, 2)).await;
    assert_eq!((cluster.clock.shared().monotonic(), cluster.leader()), (Duration::ZERO, Some(id(1))));
}

#[tokio::test]
async fn a_new_controller_finds_out_at_once_who_died_before_it_heard_of_anybody() {
    let cluster = Cluster::start().await;
    cluster.dead.0.lock().push(id(2));
    cluster.quorum.term.fetch_add(1, Ordering::SeqCst);
    cluster.quorum.leadership.send_replace(None);
    cluster.quorum.leadership.send_replace(Some(id(1)));
    cluster.until(|image| is_fenced(image, 2)).await;
    assert_eq!((cluster.clock.shared().monotonic(), is_fenced(&cluster.quorum.image(), 3)), (Duration::ZERO, false));
}

#[tokio::test]
async fn the_connection_of_an_earlier_run_means_nothing() {
    let cluster = Cluster::start().await;
    cluster.controller.connection_closed(cluster.connection(2));
    cluster.advance_to(Duration::from_millis(500)).await;
    cluster.until(|image| is_fenced(image, 2)).await;
    cluster.register(2, 2).await.unwrap();
    assert!(!cluster.beat(2).await.is_fenced);
    cluster.controller.connection_closed(cluster.connection(2));
    assert!(!cluster.beat(2).await.is_fenced);
    cluster.advance_to(SESSION).await;
    cluster.until(|image| is_fenced(image, 3)).await;
    assert!(!is_fenced(&cluster.quorum.image(), 2), "its session runs from its last heartbeat");
}

#[tokio::test]
async fn another_process_is_refused_while_a_broker_lives_but_not_by_a_controller_that_never_heard_of_it() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.register(2, 2).await, Err(ErrorCode::DuplicateBrokerRegistration));
    cluster.quorum.leadership.send_replace(None);
    assert!(matches!(
        cluster.controller.elect_leaders(protocol::messages::ElectLeadersRequest::default()).await,
        Err(ControlError::NotController)
    ));
    cluster.quorum.term.fetch_add(1, Ordering::SeqCst);
    cluster.quorum.leadership.send_replace(Some(id(1)));
    assert!(!cluster.beat(3).await.is_fenced);
    cluster.register(2, 2).await.unwrap();
    assert_eq!(cluster.leader(), Some(id(1)));
    assert_eq!(cluster.register(3, 2).await, Err(ErrorCode::DuplicateBrokerRegistration));
}

#[tokio::test]
async fn a_preferred_leader_leads_again_after_a_while() {
    let cluster = Cluster::start().await;
    let change = MetadataRecord::PartitionChange {
        topic_id: TopicId(Uuid::from_u128(1)),
        partition: PartitionIndex::ZERO,
        isr: None,
        leader: Some(Some(id(1))),
        replicas: None,
    };
    cluster.propose(vec![change]).await;
    let mut next = SESSION;
    while next < REBALANCE {
        cluster.advance_to(next).await;
        for broker in 1..=3 {
            // Just in time: the controller sleeps no longer than to the end of the session.
            assert!(!cluster.beat(broker).await.should_shut_down);
        }
        next += SESSION;
    }
    cluster.advance_to(REBALANCE).await;
    cluster.until(|image| image.topics().all(|topic| topic.partitions.iter().all(|partition| partition.leader == Some(id(2))))).await;
}
