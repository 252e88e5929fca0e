//! Voters of the metadata quorum change while the cluster runs: processes that joined vote, die, and vote no more.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use protocol::messages::add_raft_voter_request::Listener;
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use protocol::messages::describe_quorum_response::{self, ReplicaState};
use protocol::messages::{AddRaftVoterRequest, CreateTopicsRequest, DescribeQuorumRequest, MetadataRequest, RemoveRaftVoterRequest};
use protocol::{ErrorCode, StrBytes};

use crate::client::{Client, PATIENCE, topic_name};
use crate::{Running, klamm, output};

/// Three brokers: one that began a cluster and two that joined it.
struct Cluster {
    folder: tempfile::TempDir,
    seed: String,
    /// By id - 1.
    brokers: Vec<Option<Running>>,
    /// Whether those that join ask for a vote themselves.
    ask_for_votes: bool,
}

impl Drop for Cluster {
    /// A test that fails shows what the brokers said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for id in 1..=3 {
                eprintln!(
                    "--- broker {id}:\n{}",
                    std::fs::read_to_string(self.folder.path().join(format!("log-{id}"))).unwrap_or_default()
                );
            }
        }
    }
}

impl Cluster {
    fn start() -> Self {
        Self::start_as(false)
    }

    fn start_as(ask_for_votes: bool) -> Self {
        let (folder, seed) = (tempfile::tempdir().unwrap(), "127.0.0.1:0".to_owned());
        let mut cluster = Self { folder, seed, brokers: vec![None, None, None], ask_for_votes };
        cluster.run(1);
        cluster.seed = cluster.address(1);
        cluster.run(2);
        cluster.run(3);
        cluster
    }

    fn data(&self, id: usize) -> String {
        self.folder.path().join(format!("data-{id}")).display().to_string()
    }

    fn command(&self, id: usize) -> Command {
        let data = self.data(id);
        let mut command = match id {
            1 => klamm(&["--listen", &self.seed, "--data", &data]),
            // It knows who it is once it has joined.
            _ if Path::new(&data).exists() => klamm(&["--data", &data]),
            _ => klamm(&["--join", &self.seed, "--broker-id", &id.to_string(), "--data", &data]),
        };
        if self.ask_for_votes && id > 1 {
            command.args(["--override", "controller.quorum.auto.join.enable=true"]);
        }
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join(format!("log-{id}"))).unwrap();
        command.stderr(log);
        command
    }

    fn run(&mut self, id: usize) {
        self.brokers[id - 1] = Some(Running::start(&mut self.command(id)));
    }

    fn kill(&mut self, id: usize) {
        let killed = self.brokers[id - 1].take().unwrap();
        killed.signal("KILL");
        killed.wait();
    }

    fn address(&self, id: usize) -> String {
        self.brokers[id - 1].as_ref().unwrap().address.clone()
    }

    /// The broker that leads the quorum, who votes, and who observes, as one of the brokers says.
    fn quorum(&self, at: usize) -> (i32, Vec<ReplicaState>, Vec<ReplicaState>, Vec<describe_quorum_response::Node>) {
        let topic = TopicData::default().with_topic_name(topic_name("__cluster_metadata")).with_partitions(vec![PartitionData::default()]);
        let response = Client::honest(&self.address(at)).call(2, &DescribeQuorumRequest::default().with_topics(vec![topic]));
        let partition = response.topics[0].partitions[0].clone();
        (partition.leader_id.0, partition.current_voters, partition.observers, response.nodes)
    }

    /// Waits until a broker names these voters and one of them as leader.
    fn votes(&self, at: usize, voters: &[i32]) -> i32 {
        let patience = Instant::now() + PATIENCE;
        loop {
            let (leader, known, ..) = self.quorum(at);
            let mut known: Vec<i32> = known.iter().map(|voter| voter.replica_id.0).collect();
            known.sort_unstable();
            if known == voters && voters.contains(&leader) {
                return leader;
            }
            assert!(Instant::now() < patience, "{leader} leads {known:?}, not one of {voters:?}");
        }
    }

    fn create(&self, at: usize, name: &str) {
        let patience = Instant::now() + PATIENCE;
        loop {
            let topic = CreatableTopic::default().with_name(topic_name(name)).with_num_partitions(1).with_replication_factor(1);
            let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
            let code = Client::honest(&self.address(at)).call(7, &request).topics[0].error_code;
            if code == 0 || code == ErrorCode::TopicAlreadyExists.code() {
                return;
            }
            assert!(Instant::now() < patience, "{code}");
        }
    }

    /// Waits until a broker knows these topics.
    fn knows(&self, at: usize, topics: &[&str]) {
        let patience = Instant::now() + PATIENCE;
        loop {
            let response = Client::honest(&self.address(at)).call(12, &MetadataRequest::default().with_topics(None));
            let known: Vec<String> = response.topics.iter().filter_map(|topic| topic.name.as_ref()).map(|name| name.to_string()).collect();
            if topics.iter().all(|topic| known.iter().any(|name| name == topic)) {
                return;
            }
            assert!(Instant::now() < patience, "{known:?}");
        }
    }

    /// What `klamm voters` says.
    fn voters(&self, arguments: &[&str], at: usize) -> Result<String, String> {
        let address = self.address(at);
        let told = output(&mut klamm(&[&["voters"], arguments, &["-b", &address]].concat()));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if told.status.success() { Ok(text(&told.stdout)) } else { Err(text(&told.stderr)) }
    }
}

#[test]
fn brokers_that_joined_become_voters_and_go_on_without_the_first() {
    let mut cluster = Cluster::start();
    cluster.votes(1, &[1]);
    assert_eq!(cluster.voters(&["add", "2"], 3), Ok("broker 2 votes in the metadata quorum\n".to_owned()));
    assert_eq!(cluster.voters(&["add", "3"], 2), Ok("broker 3 votes in the metadata quorum\n".to_owned()));
    for id in 1..=3 {
        cluster.votes(id, &[1, 2, 3]);
    }
    let (_, _, _, nodes) = cluster.quorum(3);
    let told: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.listeners[0].port)).collect();
    assert_eq!(told, (1..=3).map(|id| cluster.address(id)).collect::<Vec<_>>());
    cluster.create(1, "before");

    cluster.kill(1);
    cluster.votes(2, &[1, 2, 3]);
    cluster.create(3, "without-the-first");
    cluster.run(1);
    cluster.knows(1, &["before", "without-the-first"]);

    // All at once, and all on their ports again: nobody can start without a second one.
    for id in 1..=3 {
        cluster.kill(id);
    }
    let begun: Vec<_> = (1..=3).map(|id| cluster.command(id).spawn().unwrap()).collect();
    cluster.brokers = begun.into_iter().map(|child| Some(Running::take(child))).collect();
    for id in 1..=3 {
        cluster.votes(id, &[1, 2, 3]);
        cluster.knows(id, &["before", "without-the-first"]);
    }

    // The active controller is to vote no more.
    let leader = cluster.votes(1, &[1, 2, 3]);
    let removed = cluster.voters(&["remove", &leader.to_string()], 1);
    assert_eq!(removed, Ok(format!("broker {leader} votes in the metadata quorum no more; it observes\n")));
    let left: Vec<i32> = (1..=3).filter(|id| *id != leader).collect();
    for id in 1..=3 {
        cluster.votes(id, &left);
    }
    let gone = usize::try_from(leader).unwrap();
    cluster.create(gone, "without-the-leader");
    cluster.kill(gone);
    cluster.run(gone);
    cluster.votes(gone, &left);
    cluster.knows(gone, &["before", "without-the-first", "without-the-leader"]);
}

#[test]
fn brokers_that_ask_for_a_vote_themselves_get_it_and_get_it_back() {
    let cluster = Cluster::start_as(true);
    for id in 1..=3 {
        cluster.votes(id, &[1, 2, 3]);
    }
    let removed = cluster.voters(&["remove", "2"], 3);
    assert_eq!(removed, Ok("broker 2 votes in the metadata quorum no more; it observes\n".to_owned()));
    cluster.votes(1, &[1, 2, 3]);
}

#[test]
fn a_change_that_cannot_be_is_refused_with_kafkas_code() {
    let cluster = Cluster::start();
    let (_, voters, observers, _) = cluster.quorum(1);
    let directory = |of: &[ReplicaState], id: i32| of.iter().find(|row| row.replica_id.0 == id).unwrap().replica_directory_id;
    let (first, second) = (directory(&voters, 1), directory(&observers, 2));
    assert!(first != second && !first.is_nil() && !second.is_nil());
    let add_as = |version: i16, cluster_id: Option<&'static str>, id: i32, directory| {
        let request = AddRaftVoterRequest::default()
            .with_cluster_id(cluster_id.map(StrBytes::from_static_str))
            .with_timeout_ms(10_000)
            .with_voter_id(id)
            .with_voter_directory_id(directory)
            .with_listeners(vec![Listener::default()])
            .with_ack_when_committed(version == 0);
        // By a broker that is not the controller.
        ErrorCode::try_from_code(Client::honest(&cluster.address(3)).call(version, &request).error_code)
    };
    let add = |cluster_id, id, directory| add_as(0, cluster_id, id, directory);
    let remove = |id: i32, directory| {
        let request = RemoveRaftVoterRequest::default().with_cluster_id(None).with_voter_id(id).with_voter_directory_id(directory);
        ErrorCode::try_from_code(Client::honest(&cluster.address(2)).call(0, &request).error_code)
    };
    // A controller that loses its office while the voters change does not answer, and the broker that was asked asks again: of a change that was
    // made the first time.
    let made = |answer: Option<ErrorCode>, again: ErrorCode| assert!(answer.is_none_or(|code| code == again), "{answer:?}");
    assert_eq!(add(Some("other"), 2, second), Some(ErrorCode::InconsistentClusterId));
    assert_eq!(add(None, 1, first), Some(ErrorCode::DuplicateVoter));
    assert_eq!(add(None, 2, first), Some(ErrorCode::RequestTimedOut), "another directory");
    assert_eq!(add(None, 9, second), Some(ErrorCode::RequestTimedOut), "nobody");
    assert_eq!(add(None, 2, Default::default()), Some(ErrorCode::InvalidRequest));
    assert_eq!(remove(1, first), Some(ErrorCode::VoterNotFound), "the last voter");
    assert_eq!(remove(2, second), Some(ErrorCode::VoterNotFound));
    made(add(None, 2, second), ErrorCode::DuplicateVoter);
    cluster.votes(3, &[1, 2]);
    assert_eq!(remove(2, first), Some(ErrorCode::VoterNotFound), "another directory");
    made(remove(2, second), ErrorCode::VoterNotFound);
    cluster.votes(3, &[1]);
    assert_eq!(add_as(1, None, 9, second), Some(ErrorCode::RequestTimedOut), "nobody");
    // Written, if not agreed upon yet.
    made(add_as(1, None, 2, second), ErrorCode::DuplicateVoter);
    cluster.votes(3, &[1, 2]);
    assert_eq!(add_as(1, None, 2, second), Some(ErrorCode::DuplicateVoter));
    // Until it is agreed upon, there is no other change.
    while remove(2, second) == Some(ErrorCode::RequestTimedOut) {}
    cluster.votes(3, &[1]);
    let refused = cluster.voters(&["remove", "1"], 1).unwrap_err();
    assert!(refused.contains("VOTER_NOT_FOUND"), "{refused}");
    let listed = cluster.voters(&[], 1).unwrap();
    assert!(listed.lines().count() == 4 && listed.contains("leader") && listed.contains("observer"), "{listed}");
}
