//! Three processes that are one cluster: what was acknowledged is there whoever dies.

use std::path::PathBuf;
use std::time::Instant;

use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::describe_quorum_response::ReplicaState;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::metadata_response::MetadataResponsePartition;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{
    CreateTopicsRequest, DescribeQuorumRequest, FetchRequest, MetadataRequest, MetadataResponse, ProduceRequest, describe_quorum_request,
};
use record_batch::{BatchBuilder, BatchIter};
use tempfile::TempDir;

use crate::client::{Client, PATIENCE, now_ms, topic_name};
use crate::{Running, klamm};

const TOPIC: &str = "replicated";
const PARTITIONS: i32 = 3;

/// A cluster of three processes. Its controller listeners have loopback addresses of their own, so that no other test takes their ports.
struct Cluster {
    folder: TempDir,
    network: String,
    /// Of the controller listeners.
    port: u16,
    /// By id - 1.
    brokers: Vec<Option<Running>>,
}

impl Drop for Cluster {
    /// A test that fails shows what the brokers said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for id in 1..=self.brokers.len().max(3) {
                eprintln!("--- broker {id}:\n{}", std::fs::read_to_string(self.log(id)).unwrap_or_default());
            }
        }
    }
}

impl Cluster {
    /// Each test has a port of its own.
    fn start(port: u16) -> Self {
        let process = std::process::id();
        let network = format!("127.{}.{}", 10 + (process >> 8) % 200, 1 + process % 250);
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = Self { folder, network, port, brokers: vec![None, None, None] };
        let begun: Vec<_> = (1..=3).map(|id| cluster.command(id).spawn().unwrap()).collect();
        cluster.brokers = begun.into_iter().map(|child| Some(Running::take(child))).collect();
        cluster
    }

    fn log(&self, id: usize) -> PathBuf {
        self.folder.path().join(format!("log-{id}"))
    }

    fn command(&self, id: usize) -> std::process::Command {
        let voter = |id: usize| format!("{id}@{}.{id}:{}", self.network, self.port);
        let voters: Vec<String> = (1..=3).map(voter).collect();
        let is_voter = id <= 3;
        let controller = if is_voter { format!(",CONTROLLER://{}.{id}:{}", self.network, self.port) } else { String::new() };
        let settings = [
            format!("node.id={id}"),
            format!("process.roles={}", if is_voter { "broker,controller" } else { "broker" }),
            format!("listeners=PLAINTEXT://127.0.0.1:0{controller}"),
            "controller.listener.names=CONTROLLER".to_owned(),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            format!("controller.quorum.voters={}", voters.join(",")),
            format!("log.dirs={}", self.folder.path().join(format!("data-{id}")).display()),
            "broker.heartbeat.interval.ms=100".to_owned(),
            "broker.session.timeout.ms=2000".to_owned(),
            "min.insync.replicas=2".to_owned(),
            "offsets.topic.num.partitions=3".to_owned(),
        ];
        let mut arguments = vec!["server"];
        for setting in &settings {
            arguments.extend(["--override", setting]);
        }
        let mut command = klamm(&arguments);
        let log = std::fs::File::options().create(true).append(true).open(self.log(id)).unwrap();
        command.env("KLAMM_LOG", "info,openraft=error").stderr(log);
        command
    }

    fn kill(&mut self, id: usize) {
        let mut running = self.brokers[id - 1].take().expect("it runs");
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }

    fn start_again(&mut self, id: usize) {
        let child = self.command(id).spawn().unwrap();
        self.brokers[id - 1] = Some(Running::take(child));
    }

    /// A connection to any broker that runs, but not to this one if another does.
    fn client_beside(&self, id: usize) -> Client {
        let others = self.brokers.iter().enumerate().filter(|(place, _)| place + 1 != id);
        let running = others.filter_map(|(_, running)| running.as_ref()).next().expect("one runs");
        Client::honest(&running.address)
    }

    fn client(&self, id: i32) -> std::io::Result<Client> {
        let running = self.brokers[usize::try_from(id - 1).unwrap()].as_ref();
        running.map_or(Err(std::io::ErrorKind::NotConnected.into()), |running| Client::try_connect(&running.address, PATIENCE))
    }

    fn metadata(&self, beside: usize) -> MetadataResponse {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(TOPIC)));
        let request = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
        self.client_beside(beside).call(12, &request)
    }

    /// Asks until the partition is as wanted.
    fn partition_when(&self, beside: usize, index: i32, wanted: impl Fn(&MetadataResponsePartition) -> bool) -> MetadataResponsePartition {
        let patience = Instant::now() + PATIENCE;
        loop {
            let response = self.metadata(beside);
            let found = response.topics[0].partitions.iter().find(|partition| partition.partition_index == index).cloned();
            match found {
                Some(found) if wanted(&found) => return found,
                other => assert!(Instant::now() < patience, "{other:?}\n{}", self.logs()),
            }
        }
    }

    fn logs(&self) -> String {
        (1..=self.brokers.len()).map(|id| format!("--- {id}\n{}", std::fs::read_to_string(self.log(id)).unwrap_or_default())).collect()
    }

    fn create(&self, beside: usize) {
        let replicas = i16::try_from(self.brokers.len()).unwrap();
        let topic = CreatableTopic::default().with_name(topic_name(TOPIC)).with_num_partitions(PARTITIONS);
        let topic = topic.with_replication_factor(replicas);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let response = self.client_beside(beside).call(7, &request);
        assert_eq!(response.topics[0].error_code, 0, "{response:?}\n{}", self.logs());
    }

    /// One attempt to append a value; the offset, if it was acknowledged.
    fn produce(&self, leader: i32, partition: i32, value: &str) -> Option<i64> {
        let mut batch = BatchBuilder::new();
        batch.append(now_ms(), None, Some(value.as_bytes()), &[]);
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch.build()));
        let topic = TopicProduceData::default().with_name(topic_name(TOPIC)).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic]);
        let response = self.client(leader).and_then(|mut client| client.try_call(9, &request)).ok()?;
        let row = &response.responses[0].partition_responses[0];
        assert_ne!(row.error_code, -1);
        (row.error_code == 0).then_some(row.base_offset)
    }

    /// Appends a value to partition 0, as often as it takes; who took it, and at which offset. It may lie there more than once.
    fn append(&self, beside: usize, value: &str) -> (i32, i64) {
        let patience = Instant::now() + PATIENCE;
        loop {
            let leader =
                self.metadata(beside).topics[0].partitions.iter().find(|row| row.partition_index == 0).map_or(-1, |row| row.leader_id.0);
            let is_alive = leader > 0 && usize::try_from(leader).unwrap() != beside;
            if let Some(offset) = is_alive.then(|| self.produce(leader, 0, value)).flatten() {
                return (leader, offset);
            }
            assert!(Instant::now() < patience, "{value} is not taken\n{}", self.logs());
        }
    }

    /// All values of a partition, by offset, once its high watermark has reached `end`.
    fn values(&self, leader: i32, partition: i32, end: i64) -> Vec<(i64, String)> {
        let mut client = self.client(leader).unwrap();
        let mut found: Vec<(i64, String)> = Vec::new();
        let patience = Instant::now() + PATIENCE;
        loop {
            let next = found.last().map_or(0, |(offset, _)| offset + 1);
            let asked = FetchPartition::default().with_partition(partition).with_fetch_offset(next).with_partition_max_bytes(1 << 20);
            let topic = FetchTopic::default().with_topic(topic_name(TOPIC)).with_partitions(vec![asked]);
            let request = FetchRequest::default().with_max_wait_ms(100).with_min_bytes(1).with_max_bytes(1 << 20).with_topics(vec![topic]);
            let response = client.call(12, &request);
            let row = &response.responses[0].partitions[0];
            assert_eq!(row.error_code, 0);
            for batch in BatchIter::new(row.records.as_ref().unwrap_or(&bytes::Bytes::new())) {
                let batch = batch.unwrap();
                let mut offset = batch.header().base_offset;
                let mut take = |record: record_batch::RecordView<'_>| {
                    found.push((offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
                    offset += 1;
                    std::ops::ControlFlow::Continue(())
                };
                record_batch::walk_records(batch.bytes(), record_batch::DecompressLimits::default(), &mut take).unwrap();
            }
            if found.last().is_some_and(|(offset, _)| *offset >= end) {
                return found;
            }
            assert!(Instant::now() < patience, "the high watermark stays at {} of {end}\n{}", row.high_watermark, self.logs());
        }
    }
}

#[test]
fn three_processes_are_one_cluster_and_what_they_acknowledged_survives_the_death_of_each_leader() {
    let mut cluster = Cluster::start(9093);
    cluster.create(1);
    let mut acknowledged: Vec<(i64, String)> = Vec::new();
    let mut gaps = Vec::new();
    for round in 0..3 {
        let leader = cluster.partition_when(0, 0, |partition| partition.leader_id.0 > 0 && partition.isr_nodes.len() == 3).leader_id.0;
        for number in 0..20 {
            let value = format!("{round}-{number}");
            acknowledged.push((cluster.append(0, &value).1, value));
        }
        let victim = usize::try_from(leader).unwrap();
        cluster.kill(victim);
        let died = Instant::now();
        let value = format!("{round}-after");
        let (next, offset) = cluster.append(victim, &value);
        gaps.push(died.elapsed());
        acknowledged.push((offset, value));
        let found = cluster.values(next, 0, offset);
        for entry in &acknowledged {
            assert!(found.contains(entry), "{entry:?} is lost\n{found:?}\n{}", cluster.logs());
        }
        cluster.start_again(victim);
    }
    println!("acknowledged again after {gaps:?}");
    let last = cluster.partition_when(0, 0, |partition| partition.isr_nodes.len() == 3);
    let end = acknowledged.iter().map(|(offset, _)| *offset).max().unwrap();
    let found = cluster.values(last.leader_id.0, 0, end);
    assert!(acknowledged.iter().all(|entry| found.contains(entry)));
    // Each ran longer than a voter waits for another to begin the metadata log.
    assert!(!cluster.logs().contains("Can not initialize"), "{}", cluster.logs());
}

/// The ids of the metadata quorum's voters and observers, as its leader tells them.
pub(crate) fn quorum_of(client: &mut Client) -> (Vec<i32>, Vec<i32>) {
    let asked = describe_quorum_request::PartitionData::default().with_partition_index(0);
    let topic =
        describe_quorum_request::TopicData::default().with_topic_name(topic_name("__cluster_metadata")).with_partitions(vec![asked]);
    let response = client.call(2, &DescribeQuorumRequest::default().with_topics(vec![topic]));
    let row = &response.topics[0].partitions[0];
    let ids = |rows: &[ReplicaState]| rows.iter().map(|row| row.replica_id.0).collect();
    (ids(&row.current_voters), ids(&row.observers))
}

#[test]
fn a_broker_that_does_not_vote_replicates_and_is_told_of_as_an_observer_whoever_leads_the_quorum() {
    let mut cluster = Cluster::start(9094);
    cluster.brokers.push(None);
    cluster.start_again(4);
    cluster.create(4);
    cluster.partition_when(0, 0, |partition| partition.isr_nodes.len() == 4);
    assert_eq!(quorum_of(&mut cluster.client_beside(0)), (vec![1, 2, 3], vec![4]));
    // Each voter dies in turn, so whoever leads the quorum does.
    for victim in 1..=3 {
        cluster.kill(victim);
        let value = format!("without {victim}");
        let (leader, offset) = cluster.append(victim, &value);
        assert!(cluster.values(leader, 0, offset).contains(&(offset, value)));
        cluster.start_again(victim);
        cluster.partition_when(0, 0, |partition| partition.isr_nodes.len() == 4);
    }
    assert_eq!(quorum_of(&mut cluster.client_beside(0)), (vec![1, 2, 3], vec![4]));
}
