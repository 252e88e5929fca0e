//! Three brokers in one process, each of which is paused, killed and started again from outside.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Child;
use std::time::{Duration, Instant};

use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::metadata_response::MetadataResponsePartition;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{ApiVersionsRequest, CreateTopicsRequest, FetchRequest, MetadataRequest, ProduceRequest};
use record_batch::{BatchBuilder, BatchIter};

use crate::client::{Client, PATIENCE, now_ms, topic_name};
use crate::{Running, klamm, output};

const TOPIC: &str = "ordered";

/// One process with three brokers.
struct Brokers {
    child: Child,
    /// Of the clients' listeners, by id - 1.
    addresses: Vec<String>,
    /// Of the operators' listeners.
    https: Vec<String>,
}

impl Drop for Brokers {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Brokers {
    fn start() -> Self {
        let arguments = ["--brokers", "3", "--ephemeral", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
        let mut child = klamm(&arguments).env("KLAMM_LOG", "error,openraft=off").stderr(std::process::Stdio::inherit()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let ready = lines.next().unwrap();
        let addresses = ready.strip_prefix("klamm is ready on ").unwrap().split(' ').next().unwrap();
        let addresses = addresses.split(',').map(str::to_owned).collect();
        let https = lines.by_ref().take(3).map(|line| line.split_once("http://").unwrap().1.trim_end_matches('/').to_owned()).collect();
        std::thread::spawn(move || lines.count());
        Self { child, addresses, https }
    }

    /// Asks the operators' listener of the first broker.
    fn ask(&self, line: &str) -> (u16, String) {
        self.ask_with(line, &format!("Host: {}\r\n", self.https[0]))
    }

    fn ask_with(&self, line: &str, headers: &str) -> (u16, String) {
        ask_at(&self.https[0], line, headers)
    }

    fn tool(&self, words: &[&str]) -> (Option<i32>, String) {
        let arguments = [&["brokers", "--at", &self.https[0]], words].concat();
        let ended = output(&mut klamm(&arguments));
        (ended.status.code(), String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap())
    }

    fn states(&self) -> Vec<String> {
        let (code, text) = self.tool(&["list"]);
        assert_eq!(code, Some(0), "{text}");
        text.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect()
    }

    fn states_become(&self, wanted: [&str; 3]) {
        let patience = Instant::now() + PATIENCE;
        loop {
            let states = self.states();
            if states == wanted {
                return;
            }
            assert!(Instant::now() < patience, "{states:?}");
        }
    }

    /// Asks a broker until the topic's partition is as wanted.
    fn partition_when(&self, at: usize, wanted: impl Fn(&MetadataResponsePartition) -> bool) -> MetadataResponsePartition {
        let patience = Instant::now() + PATIENCE;
        loop {
            let topic = MetadataRequestTopic::default().with_name(Some(topic_name(TOPIC)));
            let request = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
            let response = Client::honest(&self.addresses[at - 1]).call(12, &request);
            match response.topics[0].partitions.first() {
                Some(partition) if wanted(partition) => return partition.clone(),
                other => assert!(Instant::now() < patience, "{other:?}"),
            }
        }
    }

    /// Makes the topic; who leads it.
    fn create(&self) -> usize {
        let topic = CreatableTopic::default().with_name(topic_name(TOPIC)).with_num_partitions(1).with_replication_factor(3);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        assert_eq!(Client::honest(&self.addresses[0]).call(7, &request).topics[0].error_code, 0);
        usize::try_from(self.partition_when(1, |partition| partition.isr_nodes.len() == 3).leader_id.0).unwrap()
    }

    /// Appends a value, with the help of a broker that is alive; who took it.
    fn append(&self, at: usize, value: &str) -> usize {
        let patience = Instant::now() + PATIENCE;
        loop {
            let leader = usize::try_from(self.partition_when(at, |partition| partition.leader_id.0 > 0).leader_id.0).unwrap();
            let mut batch = BatchBuilder::new();
            batch.append(now_ms(), None, Some(value.as_bytes()), &[]);
            let data = PartitionProduceData::default().with_index(0).with_records(Some(batch.build()));
            let topic = TopicProduceData::default().with_name(topic_name(TOPIC)).with_partition_data(vec![data]);
            let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic]);
            let connected = Client::try_connect(&self.addresses[leader - 1], Duration::from_secs(2));
            match connected.and_then(|mut client| client.try_call(9, &request)) {
                Ok(response) if response.responses[0].partition_responses[0].error_code == 0 => return leader,
                other => assert!(Instant::now() < patience, "{value}: {other:?}"),
            }
        }
    }

    /// How many records a broker that leads has.
    fn count(&self, leader: usize) -> usize {
        let asked = FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default().with_topic(topic_name(TOPIC)).with_partitions(vec![asked]);
        let request = FetchRequest::default().with_max_wait_ms(0).with_max_bytes(1 << 20).with_topics(vec![topic]);
        let response = Client::honest(&self.addresses[leader - 1]).call(12, &request);
        let row = &response.responses[0].partitions[0];
        assert_eq!(row.error_code, 0);
        BatchIter::new(row.records.as_ref().unwrap()).count()
    }
}

fn ask_at(address: &str, line: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("{line} HTTP/1.1\r\n{headers}\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn a_broker_of_several_is_killed_as_a_process_is_and_comes_back_with_its_data_on_its_port() {
    let brokers = Brokers::start();
    let mut leader = brokers.create();
    for round in 0..3 {
        let (id, other) = (leader.to_string(), leader % 3 + 1);
        assert_eq!(brokers.append(other, &format!("{round}-before")), leader);
        let mut connected = TcpStream::connect(&brokers.addresses[leader - 1]).unwrap();
        assert_eq!(brokers.tool(&["kill", &id]), (Some(0), format!("broker {id} is killed\n")));
        // The connection has ended, and there is no new one.
        connected.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(matches!(connected.read(&mut [0; 1]), Ok(0)));
        let refused = TcpStream::connect(&brokers.addresses[leader - 1]).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let health = ask_at(&brokers.https[leader - 1], "GET /healthz", "Host: localhost\r\n");
        assert_eq!(health, (503, "The broker was killed.\n".to_owned()));
        assert_eq!(brokers.states()[leader - 1], "killed");
        assert_ne!(brokers.append(other, &format!("{round}-after")), leader);
        assert_eq!(brokers.ask(&format!("POST /brokers/{id}/restart")), (200, format!(r#"{{"id":{id},"state":"running"}}"#)));
        leader = usize::try_from(brokers.partition_when(leader, |partition| partition.isr_nodes.len() == 3).leader_id.0).unwrap();
        assert_eq!(brokers.count(leader), 2 * (round + 1));
    }
}

#[test]
fn a_paused_broker_of_several_keeps_its_connections_and_answers_when_it_goes_on() {
    let brokers = Brokers::start();
    let leader = brokers.create();
    let (id, other) = (leader.to_string(), leader % 3 + 1);
    brokers.append(other, "before");
    let mut client = Client::connect(&brokers.addresses[leader - 1], Duration::from_millis(50));
    client.try_call(0, &ApiVersionsRequest::default()).unwrap();
    assert_eq!(brokers.tool(&["pause", &id]), (Some(0), format!("broker {id} is paused\n")));
    let asked = client.post(0, &ApiVersionsRequest::default()).unwrap();
    // The system accepts for it.
    let mut late = Client::connect(&brokers.addresses[leader - 1], PATIENCE);
    assert_eq!(ask_at(&brokers.https[leader - 1], "GET /readyz", "Host: localhost\r\n"), (503, "The broker is paused.\n".to_owned()));
    let next = brokers.append(other, "meanwhile");
    assert_ne!(next, leader);
    let silence = client.receive().unwrap_err();
    assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(brokers.tool(&["resume", &id]), (Some(0), format!("broker {id} is running\n")));
    let patience = Instant::now() + PATIENCE;
    while let Err(error) = client.receive_until(asked) {
        assert!(error.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < patience, "{error}");
    }
    late.call(0, &ApiVersionsRequest::default());
    brokers.partition_when(leader, |partition| partition.isr_nodes.len() == 3);
    let leader = brokers.append(other, "after");
    assert_eq!(brokers.count(leader), 3);
}

#[test]
fn a_process_whose_brokers_are_paused_or_dead_stops_in_order() {
    let mut brokers = Brokers::start();
    brokers.create();
    assert_eq!(brokers.tool(&["kill", "1"]).0, Some(0));
    assert_eq!(brokers.tool(&["pause", "2"]).0, Some(0));
    assert_eq!(brokers.states(), ["killed", "paused", "running"]);
    let told = std::process::Command::new("kill").args(["-TERM", &brokers.child.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert!(brokers.child.wait().unwrap().success());
}

#[test]
fn several_brokers_that_stop_together_warn_of_nothing() {
    let mut running = Running::start(&mut klamm(&["--brokers", "3", "--ephemeral", "--listen", "127.0.0.1:0"]));
    running.signal("TERM");
    let mut told = String::new();
    running.child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(running.wait().success());
    assert_eq!(told, "");
}

#[test]
fn brokers_that_are_no_majority_start_when_the_next_one_does() {
    let brokers = Brokers::start();
    brokers.create();
    brokers.append(1, "one");
    assert_eq!(brokers.tool(&["kill", "1", "2", "3"]).0, Some(0));
    assert_eq!(brokers.states(), ["killed"; 3]);
    let waits = "broker 2 is starting; it serves when a majority of the brokers runs\n";
    assert_eq!(brokers.tool(&["restart", "2"]), (Some(0), waits.to_owned()));
    // One that waits can be killed, too.
    assert_eq!(brokers.tool(&["kill", "2"]).0, Some(0));
    assert_eq!(brokers.tool(&["restart", "2", "3"]).0, Some(0));
    // The order waits for the one that makes a majority; the other serves as soon.
    brokers.states_become(["killed", "running", "running"]);
    let leader = brokers.append(3, "two");
    assert_eq!(brokers.count(leader), 2);
}

#[test]
fn orders_that_fit_nothing_or_come_from_elsewhere_change_nothing() {
    let brokers = Brokers::start();
    let kill = "POST /brokers/1/kill";
    assert_eq!(brokers.ask_with(kill, "Host: rebound.example\r\n").0, 403);
    assert_eq!(brokers.ask_with(kill, &format!("Host: {}\r\nOrigin: http://example.org\r\n", brokers.https[0])).0, 403);
    for (line, status) in [
        ("GET /brokers/1/kill", 405),
        ("POST /brokers", 405),
        ("POST /brokers/9/kill", 404),
        ("POST /brokers/1/burn", 404),
        ("POST /brokers/x/kill", 404),
        ("GET /brokers", 200),
        ("POST /metrics", 405),
    ] {
        assert_eq!(brokers.ask(line).0, status, "{line}");
    }
    assert_eq!(brokers.states(), ["running"; 3]);
    assert_eq!(brokers.tool(&["kill", "9"]), (Some(1), "klamm: There is no broker 9 in this process\n".to_owned()));
    assert_eq!(brokers.tool(&["kill", "1"]).0, Some(0));
    assert_eq!(brokers.tool(&["kill", "1"]).0, Some(0));
    for order in ["pause", "resume"] {
        assert_eq!(brokers.tool(&[order, "1"]), (Some(1), "klamm: Broker 1 does not run; restart it\n".to_owned()));
    }
    let nobody = output(&mut klamm(&["brokers", "--at", "127.0.0.1:1"]));
    let sentence = String::from_utf8(nobody.stderr).unwrap();
    assert!(nobody.status.code() == Some(1) && sentence.starts_with("klamm: nobody takes orders at 127.0.0.1:1 ("), "{sentence}");
}
