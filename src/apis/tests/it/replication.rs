//! Partitions on several brokers whose metadata the test writes by hand, so that it decides which broker knows what, and when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use broker::isr_changes::IsrProposer;
use broker::partitions::{FetchBound, Partition, PartitionFetch, PartitionProposal, ProposalAnswer};
use broker::replication_throttle::ReplicationSide;
use metadata::{ConfigResource, Endpoint, MetadataRecord};
use model::{BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicIdPartition};
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{DeleteRecordsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;
use wire::BoxFuture;

use crate::support::{TestBroker, TestClient, batch, topic_name};

const LEADER_NOT_AVAILABLE: i16 = 5;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const REQUEST_TIMED_OUT: i16 = 7;
const NOT_ENOUGH_REPLICAS: i16 = 19;
const FENCED_LEADER_EPOCH: i16 = 74;
const TOPIC: Uuid = Uuid::from_u128(0x7091c);

/// Proposals, each with where the answer goes.
type Proposed = mpsc::UnboundedReceiver<(PartitionProposal, oneshot::Sender<ProposalAnswer>)>;

fn ids(numbers: &[i32]) -> Vec<BrokerId> {
    numbers.iter().map(|number| BrokerId::new(*number).unwrap()).collect()
}

fn partition_id() -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId(TOPIC), partition: PartitionIndex::ZERO }
}

/// Brokers 1, 2, ... with a metadata log each, which the test keeps alike, or not.
struct Cluster {
    brokers: Vec<TestBroker>,
    directories: Vec<TempDir>,
    /// What each of them asks for. Nothing is granted but by the test.
    proposed: Vec<Proposed>,
}

impl Cluster {
    /// Each stands in a rack of its own: `rack-1`, `rack-2`, ...
    async fn start(count: usize, settings: &[(&str, &str)]) -> Self {
        let mut cluster = Self { brokers: Vec::new(), directories: Vec::new(), proposed: Vec::new() };
        for number in 1..=count {
            let directory = tempfile::tempdir().unwrap();
            let number = number.to_string();
            // Each of them is the controller of its own world, in which the others never tell that they live.
            let own = [("node.id", number.as_str()), ("broker.session.timeout.ms", "3600000")];
            let settings: Vec<_> = settings.iter().copied().chain(own).collect();
            let broker = TestBroker::start(directory.path(), &settings).await;
            cluster.proposed.push(proposals(&broker));
            cluster.brokers.push(broker);
            cluster.directories.push(directory);
        }
        // At the same index in each log, so that all know the same broker epochs.
        for place in 0..count {
            let endpoint = Endpoint {
                listener: "PLAINTEXT".to_owned(),
                host: "127.0.0.1".to_owned(),
                port: cluster.brokers[place].address.port(),
                security_protocol: 0,
            };
            let record = MetadataRecord::RegisterBroker {
                broker_id: ids(&[i32::try_from(place + 1).unwrap()])[0],
                incarnation_id: Uuid::from_u128(u128::try_from(place).unwrap()),
                listeners: vec![endpoint],
                rack: Some(format!("rack-{}", place + 1)),
                features: std::collections::BTreeMap::new(),
                fenced: false,
            };
            cluster.tell_all(&record).await;
        }
        cluster
    }

    /// Writes a record into the metadata logs of some brokers.
    async fn tell(&self, numbers: &[usize], record: &MetadataRecord) {
        for number in numbers {
            self.brokers[number - 1].running.propose_metadata(vec![record.clone()]).await.unwrap();
        }
    }

    async fn tell_all(&self, record: &MetadataRecord) {
        let all: Vec<_> = (1..=self.brokers.len()).collect();
        self.tell(&all, record).await;
    }

    /// A topic `t` of one partition, known to all. All replicas are in sync, and the first one leads under epoch 0.
    async fn create(&self, replicas: &[i32]) {
        self.tell_all(&MetadataRecord::Topic { name: "t".to_owned(), topic_id: TopicId(TOPIC) }).await;
        self.tell_all(&MetadataRecord::Partition {
            topic_id: TopicId(TOPIC),
            partition: PartitionIndex::ZERO,
            replicas: ids(replicas),
            isr: ids(replicas),
            leader: Some(ids(replicas)[0]),
            leader_epoch: LeaderEpoch::ZERO,
            partition_epoch: 0,
        })
        .await;
    }

    fn partition(&self, number: usize) -> Arc<Partition> {
        self.brokers[number - 1].running.broker.partitions.get(partition_id()).unwrap()
    }

    async fn client(&self, number: usize) -> TestClient {
        self.brokers[number - 1].client().await
    }

    /// The bytes of a replica's segment files.
    fn bytes(&self, number: usize) -> Vec<u8> {
        let directory = self.directories[number - 1].path().join("partitions").join(partition_id().to_string());
        let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        files.sort();
        files.iter().flat_map(|file| std::fs::read(file).unwrap()).collect()
    }

    async fn stop(self) {
        for broker in self.brokers {
            broker.stop().await;
        }
    }
}

/// A new leader, with other replicas in sync or not.
fn elect(leader: i32, isr: Option<&[i32]>) -> MetadataRecord {
    change(Some(leader), isr, None)
}

fn change(leader: Option<i32>, isr: Option<&[i32]>, replicas: Option<&[i32]>) -> MetadataRecord {
    MetadataRecord::PartitionChange {
        topic_id: TopicId(TOPIC),
        partition: PartitionIndex::ZERO,
        isr: isr.map(ids),
        leader: leader.map(BrokerId::new),
        replicas: replicas.map(ids),
    }
}

/// Waits for a fact.
async fn until(what: &str, mut fact: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !fact() {
        assert!(std::time::Instant::now() < deadline, "{what} does not come true");
        tokio::task::yield_now().await;
    }
}

async fn produce(client: &mut TestClient, acks: i16, timeout_ms: i32, value: &str) -> (i16, i64) {
    produce_to("t", client, acks, timeout_ms, value).await
}

async fn produce_to(topic: &str, client: &mut TestClient, acks: i16, timeout_ms: i32, value: &str) -> (i16, i64) {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch(1, &[value])));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(acks).with_timeout_ms(timeout_ms).with_topic_data(vec![topic]);
    let response = client.call(9, &request).await.responses.remove(0).partition_responses.remove(0);
    (response.error_code, response.base_offset)
}

/// Error code and offset of the end, for consumers.
async fn latest(client: &mut TestClient) -> (i16, i64) {
    let partition = ListOffsetsPartition::default().with_timestamp(-1).with_current_leader_epoch(-1);
    let topic = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
    let row = client.call(7, &request).await.topics.remove(0).partitions.remove(0);
    (row.error_code, row.offset)
}

/// A consumer's fetch by topic id.
fn consumers_fetch(offset: i64, leader_epoch: i32, rack: &str) -> FetchRequest {
    let partition =
        FetchPartition::default().with_fetch_offset(offset).with_current_leader_epoch(leader_epoch).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic_id(TOPIC).with_partitions(vec![partition]);
    let rack = protocol::StrBytes::from_string(rack.to_owned());
    FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![topic]).with_session_epoch(-1).with_rack_id(rack)
}

/// A controller that grants what is asked for, to all brokers.
struct Granting(mpsc::UnboundedSender<(PartitionProposal, oneshot::Sender<ProposalAnswer>)>);

impl IsrProposer for Granting {
    fn propose<'a>(&'a self, proposal: &'a PartitionProposal) -> BoxFuture<'a, ProposalAnswer> {
        let (reply, answer) = oneshot::channel();
        self.0.send((proposal.clone(), reply)).unwrap();
        Box::pin(async move { answer.await.unwrap_or(ProposalAnswer::Unknown) })
    }
}

/// What a broker proposes comes out of the receiver.
fn proposals(broker: &TestBroker) -> Proposed {
    let (sender, receiver) = mpsc::unbounded_channel();
    broker.running.change_isr_by(Arc::new(Granting(sender)));
    receiver
}

fn committed(proposal: &PartitionProposal) -> ProposalAnswer {
    ProposalAnswer::Committed { isr: proposal.proposal.isr.clone(), partition_epoch: proposal.proposal.partition_epoch + 1 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_replicas_have_what_acks_all_acknowledges_byte_for_byte() {
    for durability in ["os", "group"] {
        let cluster = Cluster::start(3, &[("klamm.durability", durability)]).await;
        cluster.create(&[1, 2, 3]).await;
        let mut client = cluster.client(1).await;
        for number in 0..50 {
            let began = std::time::Instant::now();
            assert_eq!(produce(&mut client, -1, 30_000, &format!("value {number}")).await, (0, number));
            assert!(began.elapsed() < Duration::from_secs(10), "a follower's long poll was not woken");
            for follower in [2, 3] {
                assert!(cluster.partition(follower).offsets().log_end() > Offset::new(number).unwrap(), "acknowledged too early");
            }
        }
        assert_eq!(latest(&mut client).await, (0, 50));
        let bytes = cluster.bytes(1);
        assert!(!bytes.is_empty() && bytes == cluster.bytes(2) && bytes == cluster.bytes(3));
        until("the high watermark on a follower", || cluster.partition(2).offsets().high_watermark() == Offset::new(50).unwrap()).await;
        assert_eq!(produce(&mut cluster.client(2).await, -1, 1_000, "elsewhere").await.0, NOT_LEADER_OR_FOLLOWER);
        cluster.stop().await;
    }
}

/// Leader and error code of the partition, and the listed brokers.
async fn led_by(client: &mut TestClient) -> (i32, i16, Vec<i32>) {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name("t")));
    let response = client.call(12, &MetadataRequest::default().with_topics(Some(vec![topic]))).await;
    let partition = &response.topics[0].partitions[0];
    (partition.leader_id.0, partition.error_code, response.brokers.iter().map(|broker| broker.node_id.0).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_when_a_leader_has_just_gone_is_told_the_next_one_or_that_there_is_none() {
    let cluster = Cluster::start(3, &[]).await;
    // Broker 3 follows nobody, so it is the test that tells it who is gone.
    cluster.create(&[1, 2]).await;
    let (first, asked) = (ids(&[1])[0], Arc::clone(&cluster.brokers[2].running.broker));
    let (mut client, mut other) = (cluster.client(3).await, cluster.client(3).await);
    assert_eq!(led_by(&mut client).await, (1, 0, vec![1, 2, 3]));
    asked.absences.lost(first);
    assert_eq!(led_by(&mut client).await, (-1, LEADER_NOT_AVAILABLE, vec![1, 2, 3]));
    asked.absences.found(first);
    assert_eq!(led_by(&mut client).await, (1, 0, vec![1, 2, 3]));
    asked.absences.lost(first);
    let waiting = tokio::spawn(async move { led_by(&mut client).await });
    let broker_epoch = asked.metadata.image().broker(first).unwrap().epoch;
    let fenced = MetadataRecord::BrokerChange { broker_id: first, broker_epoch, fenced: Some(true), in_controlled_shutdown: None };
    cluster.brokers[2].running.propose_metadata(vec![elect(2, None), fenced]).await.unwrap();
    let (leader, code, brokers) = waiting.await.unwrap();
    assert!((leader, code) == (2, 0) || (leader, code) == (-1, LEADER_NOT_AVAILABLE), "not the one that is gone: {leader}");
    // One that is fenced is listed for a while.
    assert_eq!(brokers, [1, 2, 3]);
    assert_eq!(led_by(&mut other).await, (2, 0, vec![1, 2, 3]));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_a_member_in_sync_lacks_is_not_acknowledged_and_not_shown() {
    let cluster = Cluster::start(3, &[]).await;
    let topic = MetadataRecord::Topic { name: "t".to_owned(), topic_id: TopicId(TOPIC) };
    let partition = MetadataRecord::Partition {
        topic_id: TopicId(TOPIC),
        partition: PartitionIndex::ZERO,
        replicas: ids(&[1, 2, 3]),
        isr: ids(&[1, 2, 3]),
        leader: BrokerId::new(1),
        leader_epoch: LeaderEpoch::ZERO,
        partition_epoch: 0,
    };
    // Broker 3 does not know of it yet.
    cluster.tell(&[1, 2], &topic).await;
    cluster.tell(&[1, 2], &partition).await;
    let mut client = cluster.client(1).await;
    assert_eq!(produce(&mut client, -1, 300, "a").await.0, REQUEST_TIMED_OUT);
    assert_eq!(produce(&mut client, 1, 300, "b").await, (0, 1));
    until("broker 2 has both", || cluster.partition(2).offsets().log_end() == Offset::new(2).unwrap()).await;
    assert_eq!(cluster.partition(1).offsets().high_watermark(), Offset::ZERO);
    cluster.tell(&[3], &topic).await;
    cluster.tell(&[3], &partition).await;
    until("the high watermark", || cluster.partition(1).offsets().high_watermark() == Offset::new(2).unwrap()).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_leader_refuses_what_waits_cuts_what_nobody_else_has_and_follows() {
    let cluster = Cluster::start(3, &[]).await;
    cluster.create(&[1, 2, 3]).await;
    let mut old = cluster.client(1).await;
    for number in 0..5 {
        assert_eq!(produce(&mut old, -1, 30_000, "kept").await, (0, number));
    }
    // The others elect 2; 1 is cut off and goes on to lead for itself.
    cluster.tell(&[2, 3], &elect(2, Some(&[2, 3]))).await;
    let waiting = tokio::spawn(async move { produce(&mut old, -1, 60_000, "lost").await });
    until("the zombie has appended", || cluster.partition(1).offsets().log_end() == Offset::new(6).unwrap()).await;
    let mut new = cluster.client(2).await;
    assert_eq!(produce(&mut new, -1, 30_000, "won").await, (0, 5));
    assert_eq!(produce(&mut new, -1, 30_000, "won, too").await, (0, 6));
    assert!(!waiting.is_finished(), "the zombie acknowledged what nobody has");
    // It learns of it.
    cluster.tell(&[1], &elect(2, Some(&[2, 3]))).await;
    assert_eq!(waiting.await.unwrap().0, NOT_LEADER_OR_FOLLOWER);
    until("1 has caught up", || cluster.partition(1).offsets().log_end() == Offset::new(7).unwrap()).await;
    assert!(cluster.bytes(1) == cluster.bytes(2) && cluster.bytes(2) == cluster.bytes(3));
    // And leads again, with its high watermark.
    cluster.tell_all(&elect(1, Some(&[1, 2, 3]))).await;
    assert_eq!(produce(&mut cluster.client(1).await, -1, 30_000, "back").await, (0, 7));
    assert!(cluster.bytes(1) == cluster.bytes(2) && cluster.bytes(2) == cluster.bytes(3));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_elections_without_acknowledgements_the_replicas_agree_again() {
    let cluster = Cluster::start(3, &[]).await;
    cluster.create(&[1, 2, 3]).await;
    assert_eq!(produce(&mut cluster.client(1).await, -1, 30_000, "common").await, (0, 0));
    // Each leads in its own idea of the world and writes what the others never see, under epochs 1 to 3; then 3 leads all under epoch 4.
    let apart = [(1, 1, 4), (2, 2, 1), (3, 3, 2)];
    for (number, terms, records) in apart {
        for _ in 0..terms {
            let leader = i32::try_from(number).unwrap();
            cluster.tell(&[number], &elect(leader, Some(&[1, 2, 3]))).await;
        }
        for _ in 0..records {
            assert_eq!(produce(&mut cluster.client(number).await, 1, 1_000, &format!("only on {number}")).await.0, 0);
        }
    }
    for (number, terms, _) in apart {
        for _ in terms..4 {
            cluster.tell(&[number], &elect(3, None)).await;
        }
    }
    let mut client = cluster.client(3).await;
    let (error, offset) = produce(&mut client, -1, 30_000, "agreed").await;
    assert_eq!((error, offset), (0, 3));
    assert!(cluster.bytes(3) == cluster.bytes(1) && cluster.bytes(3) == cluster.bytes(2));
    assert_eq!(latest(&mut client).await, (0, 4));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_lags_leaves_the_in_sync_replicas_and_comes_back() {
    let mut cluster = Cluster::start(3, &[("replica.lag.time.max.ms", "400")]).await;
    cluster.create(&[1, 2, 3]).await;
    let mut proposed = cluster.proposed.remove(0);
    let mut client = cluster.client(1).await;
    assert_eq!(produce(&mut client, -1, 30_000, "a").await, (0, 0));
    // Broker 3 stops to fetch: in its idea of the world nobody leads.
    let nobody = MetadataRecord::PartitionChange {
        topic_id: TopicId(TOPIC),
        partition: PartitionIndex::ZERO,
        isr: None,
        leader: Some(None),
        replicas: None,
    };
    cluster.tell(&[3], &nobody).await;
    let waiting = tokio::spawn(async move {
        let answer = produce(&mut client, -1, 60_000, "b").await;
        (client, answer)
    });
    let (proposal, reply) = proposed.recv().await.unwrap();
    assert_eq!(proposal.proposal.isr, BTreeSet::from_iter(ids(&[1, 2])));
    assert!(!waiting.is_finished(), "the lagging member counts until the controller has agreed");
    reply.send(committed(&proposal)).unwrap();
    let (mut client, answer) = waiting.await.unwrap();
    assert_eq!(answer, (0, 1));
    // All learn of it, and 3 of its leader. Its epochs have grown by one more, as those of the others do now.
    cluster.tell(&[1, 2], &elect(1, Some(&[1, 2]))).await;
    cluster.tell(&[1, 2], &elect(1, Some(&[1, 2]))).await;
    // What is acknowledged has been fetched by 2 in this term, so that its registration is known when 3 comes.
    assert_eq!(produce(&mut client, -1, 30_000, "c").await, (0, 2));
    cluster.tell(&[3], &elect(1, Some(&[1, 2]))).await;
    let (proposal, reply) = proposed.recv().await.unwrap();
    assert_eq!(proposal.proposal.isr, BTreeSet::from_iter(ids(&[1, 2, 3])));
    let image = cluster.brokers[0].running.broker.metadata.image();
    for member in ids(&[2, 3]) {
        assert_eq!(proposal.broker_epochs.get(&member), image.broker(member).map(|broker| &broker.epoch), "the registration that fetched");
    }
    reply.send(committed(&proposal)).unwrap();
    until("3 is in sync", || cluster.partition(1).in_sync().is_some_and(|in_sync| in_sync.len() == 3)).await;
    assert_eq!(produce(&mut client, -1, 30_000, "d").await, (0, 3));
    assert_eq!(cluster.partition(3).offsets().log_end(), Offset::new(4).unwrap());
    let last = cluster.brokers.pop().unwrap();
    last.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_in_sync_refuse_acks_all_and_hold_the_high_watermark() {
    let cluster = Cluster::start(2, &[("min.insync.replicas", "2")]).await;
    cluster.create(&[1, 2]).await;
    let mut client = cluster.client(1).await;
    assert_eq!(produce(&mut client, -1, 30_000, "a").await, (0, 0));
    cluster.tell_all(&change(None, Some(&[1]), None)).await;
    assert_eq!(produce(&mut client, -1, 30_000, "b").await.0, NOT_ENOUGH_REPLICAS);
    assert_eq!(produce(&mut client, 1, 30_000, "c").await, (0, 1));
    until("broker 2 has it", || cluster.partition(2).offsets().log_end() == Offset::new(2).unwrap()).await;
    assert_eq!(cluster.partition(1).offsets().high_watermark(), Offset::new(1).unwrap());
    cluster.tell_all(&change(None, Some(&[1, 2]), None)).await;
    assert_eq!(produce(&mut client, -1, 30_000, "d").await, (0, 2));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_begins_where_the_leaders_log_begins() {
    let cluster = Cluster::start(2, &[]).await;
    cluster.create(&[1]).await;
    let mut client = cluster.client(1).await;
    for number in 0..10 {
        assert_eq!(produce(&mut client, -1, 30_000, "value").await, (0, number));
    }
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(6);
    let topic = DeleteRecordsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(1_000);
    assert_eq!(client.call(2, &request).await.topics[0].partitions[0].low_watermark, 6);
    cluster.tell_all(&change(None, None, Some(&[1, 2]))).await;
    until("the new replica has all", || {
        let offsets = cluster.partition(2).offsets();
        (offsets.log_start().get(), offsets.log_end().get()) == (6, 10)
    })
    .await;
    // It leads with what it has.
    cluster.tell_all(&elect(2, Some(&[1, 2]))).await;
    let read = cluster.partition(2).read(&PartitionFetch {
        offset: Offset::new(6).unwrap(),
        bytes_max: 1 << 20,
        at_least_one_batch: true,
        bound: FetchBound::LogEnd,
        leader_only: true,
        current_leader_epoch: None,
        last_fetched_epoch: None,
    });
    assert!(read.unwrap().length_bytes > 0);
    assert_eq!(produce(&mut cluster.client(2).await, -1, 30_000, "more").await, (0, 10));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_only_claims_to_be_a_followers_moves_nothing() {
    let cluster = Cluster::start(2, &[]).await;
    cluster.create(&[1, 2]).await;
    // Broker 2 does not follow any more, so that its fetches are this test's.
    cluster.tell(&[2], &change(Some(2), None, None)).await;
    let mut client = cluster.client(1).await;
    assert_eq!(produce(&mut client, 1, 30_000, "a").await, (0, 0));
    let epoch = cluster.brokers[0].running.broker.metadata.image().broker(ids(&[2])[0]).unwrap().epoch.get();
    let fetch = |broker: i32, broker_epoch: i64, leader_epoch: i32| {
        let partition = FetchPartition::default()
            .with_fetch_offset(1)
            .with_current_leader_epoch(leader_epoch)
            .with_partition_max_bytes(1 << 20)
            .with_last_fetched_epoch(0);
        let topic = FetchTopic::default().with_topic_id(TOPIC).with_partitions(vec![partition]);
        let replica = ReplicaState::default().with_replica_id(broker.into()).with_replica_epoch(broker_epoch);
        FetchRequest::default().with_replica_state(replica).with_max_bytes(1 << 20).with_topics(vec![topic]).with_session_epoch(-1)
    };
    for (broker, broker_epoch, leader_epoch, expected) in
        [(3, epoch, 0, NOT_LEADER_OR_FOLLOWER), (2, epoch - 1, 0, NOT_LEADER_OR_FOLLOWER), (2, epoch, 1, 75)]
    {
        let response = client.call(17, &fetch(broker, broker_epoch, leader_epoch)).await;
        assert_eq!(response.responses[0].partitions[0].error_code, expected, "{broker} {broker_epoch} {leader_epoch}");
        assert_eq!(cluster.partition(1).offsets().high_watermark(), Offset::ZERO);
    }
    let response = client.call(17, &fetch(2, epoch, 0)).await;
    assert_eq!((response.responses[0].partitions[0].error_code, response.responses[0].partitions[0].high_watermark), (0, 1));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_tells_no_end_before_it_knows_what_its_predecessor_showed() {
    let cluster = Cluster::start(3, &[]).await;
    cluster.create(&[1, 2, 3]).await;
    let mut old = cluster.client(1).await;
    assert_eq!(produce(&mut old, -1, 30_000, "a").await, (0, 0));
    until("2 knows that it is replicated", || cluster.partition(2).offsets().high_watermark() == Offset::new(1).unwrap()).await;
    // 3 stops to fetch, and 2 has more than it knows to be replicated.
    let nobody = MetadataRecord::PartitionChange {
        topic_id: TopicId(TOPIC),
        partition: PartitionIndex::ZERO,
        isr: None,
        leader: Some(None),
        replicas: None,
    };
    cluster.tell(&[3], &nobody).await;
    assert_eq!(produce(&mut old, 1, 30_000, "b").await, (0, 1));
    until("2 has it", || cluster.partition(2).offsets().log_end() == Offset::new(2).unwrap()).await;
    cluster.tell(&[2], &elect(2, Some(&[1, 2, 3]))).await;
    let mut client = cluster.client(2).await;
    assert_eq!(latest(&mut client).await, (78, -1));
    // A consumer of what is known to be replicated waits as well, but not for longer than it wants to.
    let mut reader = cluster.client(2).await;
    let response = reader.call(16, &consumers_fetch(0, 1, "").with_max_wait_ms(1)).await;
    let row = &response.responses[0].partitions[0];
    assert_eq!((row.error_code, row.high_watermark), (0, 1));
    assert!(row.records.as_ref().is_some_and(|records| !records.is_empty()));
    let waiting = tokio::spawn(async move { reader.call(16, &consumers_fetch(0, 1, "").with_max_wait_ms(60_000).with_min_bytes(1)).await });
    until("it waits", || !cluster.partition(2).watchers.is_empty()).await;
    cluster.tell(&[1], &elect(2, Some(&[1, 2]))).await;
    cluster.tell(&[2], &change(None, Some(&[1, 2]), None)).await;
    assert_eq!(waiting.await.unwrap().responses[0].partitions[0].high_watermark, 2);
    assert_eq!(latest(&mut client).await, (0, 2));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_to_a_follower_is_told_who_leads_and_where() {
    let cluster = Cluster::start(2, &[]).await;
    cluster.create(&[1, 2]).await;
    cluster.tell_all(&elect(1, Some(&[1, 2]))).await;
    let mut client = cluster.client(2).await;
    let leader_port = i32::from(cluster.brokers[0].address.port());
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch(1, &["a"])));
    let topic = TopicProduceData::default().with_name(topic_name("t")).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1_000).with_topic_data(vec![topic]);
    let response = client.call(10, &request).await;
    let row = &response.responses[0].partition_responses[0];
    assert_eq!((row.error_code, row.current_leader.leader_id.0, row.current_leader.leader_epoch), (NOT_LEADER_OR_FOLLOWER, 1, 1));
    assert_eq!((response.node_endpoints[0].node_id.0, response.node_endpoints[0].port), (1, leader_port));
    assert!(client.call(9, &request).await.node_endpoints.is_empty());
    let response = client.call(16, &consumers_fetch(0, 0, "")).await;
    let row = &response.responses[0].partitions[0];
    assert_eq!((row.error_code, row.current_leader.leader_id.0, row.current_leader.leader_epoch), (FENCED_LEADER_EPOCH, 1, 1));
    assert_eq!((response.node_endpoints[0].node_id.0, response.node_endpoints[0].port), (1, leader_port));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_is_sent_to_the_replica_in_its_rack_and_reads_there_what_is_replicated() {
    let cluster = Cluster::start(3, &[("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector")]).await;
    cluster.create(&[1, 2, 3]).await;
    let mut leader = cluster.client(1).await;
    for number in 0..3 {
        assert_eq!(produce(&mut leader, -1, 30_000, "value").await, (0, number));
    }
    let mut preferred = Vec::new();
    for (offset, rack) in [(0, "rack-2"), (3, "rack-3"), (0, "rack-1"), (0, "nowhere"), (0, "")] {
        let response = leader.call(16, &consumers_fetch(offset, 0, rack)).await;
        let row = &response.responses[0].partitions[0];
        assert_eq!((row.error_code, row.high_watermark), (0, 3), "{rack}");
        let has_records = row.records.as_ref().is_some_and(|records| !records.is_empty());
        preferred.push((row.preferred_read_replica.0, has_records));
    }
    assert_eq!(preferred, [(2, false), (3, false), (-1, true), (-1, true), (-1, true)]);
    until("2 knows that all is replicated", || cluster.partition(2).offsets().high_watermark() == Offset::new(3).unwrap()).await;
    let mut follower = cluster.client(2).await;
    let response = follower.call(16, &consumers_fetch(0, 0, "rack-2")).await;
    let row = &response.responses[0].partitions[0];
    assert_eq!((row.error_code, row.preferred_read_replica.0), (0, -1));
    assert!(row.records.as_ref().is_some_and(|records| !records.is_empty()));
    // A consumer that waits at a follower is answered by what is replicated later.
    let waiting =
        tokio::spawn(async move { follower.call(16, &consumers_fetch(3, 0, "rack-2").with_max_wait_ms(60_000).with_min_bytes(1)).await });
    until("it waits", || !cluster.partition(2).watchers.is_empty()).await;
    assert_eq!(produce(&mut leader, -1, 30_000, "later").await, (0, 3));
    let response = waiting.await.unwrap();
    assert!(response.responses[0].partitions[0].records.as_ref().is_some_and(|records| !records.is_empty()));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_replica_that_catches_up_gets_nothing_beyond_its_rate_while_others_do() {
    for (side, throttling) in [(ReplicationSide::Leader, 1), (ReplicationSide::Follower, 2)] {
        let word = format!("{side:?}").to_lowercase();
        let cluster = Cluster::start(2, &[]).await;
        let free = TopicIdPartition { topic_id: TopicId(Uuid::from_u128(0xf3ee)), partition: PartitionIndex::ZERO };
        let throttled = MetadataRecord::Config {
            resource: ConfigResource::topic("t"),
            key: format!("{word}.replication.throttled.replicas"),
            value: Some(format!("0:{throttling}")),
        };
        for (name, id) in [("t", partition_id()), ("free", free)] {
            cluster.tell_all(&MetadataRecord::Topic { name: name.to_owned(), topic_id: id.topic_id }).await;
            let partition = MetadataRecord::Partition {
                topic_id: id.topic_id,
                partition: id.partition,
                replicas: ids(&[1, 2]),
                isr: ids(&[1]),
                leader: BrokerId::new(1),
                leader_epoch: LeaderEpoch::ZERO,
                partition_epoch: 0,
            };
            cluster.tell_all(&partition).await;
        }
        cluster.tell_all(&throttled).await;
        let rate = |value: Option<&str>| MetadataRecord::Config {
            resource: ConfigResource::cluster_default(),
            key: format!("{word}.replication.throttled.rate"),
            value: value.map(str::to_owned),
        };
        cluster.tell_all(&rate(Some("0"))).await;
        let mut client = cluster.client(1).await;
        let at_follower = |id: TopicIdPartition| {
            let partition = cluster.brokers[1].running.broker.partitions.get(id).unwrap();
            move |end: i64| partition.offsets().log_end() == Offset::new(end).unwrap()
        };
        let (followed, free) = (at_follower(partition_id()), at_follower(free));
        // What comes first uses the rate up.
        assert_eq!(produce(&mut client, 1, 30_000, "a").await, (0, 0));
        until("the first record at the follower", || followed(1)).await;
        let throttle = &cluster.brokers[throttling - 1].running.broker.replication_throttle;
        until("the throttle", || throttle.holds_up(side, partition_id())).await;
        for number in 0..3 {
            assert_eq!(produce(&mut client, 1, 30_000, "held up").await, (0, number + 1));
            assert_eq!(produce_to("free", &mut client, 1, 30_000, "b").await, (0, number));
            until("the other topic's record", || free(number + 1)).await;
            assert!(followed(1), "{side:?}");
        }
        cluster.tell_all(&rate(None)).await;
        until("the rest", || followed(4)).await;
        cluster.stop().await;
    }
}
