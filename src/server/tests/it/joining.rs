//! `klamm --join`: brokers that become one of a cluster that runs.

use std::path::Path;
use std::time::Instant;

use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::metadata_response::MetadataResponsePartition;
use protocol::messages::{CreateTopicsRequest, MetadataRequest, UnregisterBrokerRequest};

use crate::client::{Client, PATIENCE, topic_name};
use crate::cluster::quorum_of;
use crate::{Running, klamm, output};

const TOPIC: &str = "joined";

fn directory(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// The sentence of a command that does not start.
fn refusal(arguments: &[&str]) -> String {
    let output = output(&mut klamm(arguments));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    error.trim_end().strip_prefix("klamm: cannot join: ").unwrap_or_else(|| panic!("{error}")).to_owned()
}

/// The ids of the brokers that are alive.
fn brokers(address: &str) -> Vec<i32> {
    let mut ids: Vec<i32> =
        Client::honest(address).call(12, &MetadataRequest::default()).brokers.iter().map(|broker| broker.node_id.0).collect();
    ids.sort_unstable();
    ids
}

/// Asks until the topic's partition is as wanted.
fn partition_when(address: &str, wanted: impl Fn(&MetadataResponsePartition) -> bool) {
    let patience = Instant::now() + PATIENCE;
    loop {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(TOPIC)));
        let response = Client::honest(address).call(12, &MetadataRequest::default().with_topics(Some(vec![topic])));
        let found = response.topics[0].partitions.first();
        if found.is_some_and(&wanted) {
            return;
        }
        assert!(Instant::now() < patience, "{found:?}");
    }
}

#[test]
fn brokers_join_one_that_was_alone_and_each_is_the_same_broker_after_its_death() {
    let folder = tempfile::tempdir().unwrap();
    let data: Vec<String> = (0..=3).map(|number| directory(folder.path(), &format!("data-{number}"))).collect();
    let first = Running::start(&mut klamm(&["--listen", "127.0.0.1:0", "--data", &data[1]]));
    let seed = first.address.clone();
    let second = Running::start(&mut klamm(&["--join", &seed, "--data", &data[2]]));
    let third = Running::start(&mut klamm(&["--join", &second.address, "--data", &data[3], "--broker-id", "7"]));
    assert_eq!(brokers(&third.address), [1, 2, 7]);
    let metadata = Client::honest(&seed).call(12, &MetadataRequest::default());
    let member = format!(" (broker 7 of cluster {}, data in {})", metadata.cluster_id.unwrap().as_str(), data[3]);
    assert!(third.ready_line.ends_with(&member), "{}", third.ready_line);

    let topic = CreatableTopic::default().with_name(topic_name(TOPIC)).with_num_partitions(1).with_replication_factor(3);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    assert_eq!(Client::honest(&third.address).call(7, &request).topics[0].error_code, 0);
    partition_when(&seed, |partition| partition.isr_nodes.len() == 3);

    third.signal("KILL");
    third.wait();
    partition_when(&seed, |partition| partition.isr_nodes.len() == 2);
    // It knows who it is.
    let third = Running::start(&mut klamm(&["--data", &data[3]]));
    assert!(third.ready_line.ends_with(&member), "{}", third.ready_line);
    partition_when(&third.address, |partition| partition.isr_nodes.len() == 3);

    // The one that votes comes back under its address: the others have waited for it.
    first.signal("KILL");
    first.wait();
    let first = Running::start(&mut klamm(&["--listen", &seed, "--data", &data[1]]));
    partition_when(&second.address, |partition| partition.isr_nodes.len() == 3 && partition.leader_id.0 > 0);
    let patience = Instant::now() + PATIENCE;
    while brokers(&first.address) != [1, 2, 7] {
        assert!(Instant::now() < patience, "{:?}", brokers(&first.address));
    }
}

#[test]
fn a_broker_that_joined_is_drained_and_leaves_and_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let first = Running::start(&mut klamm(&["--listen", "127.0.0.1:0", "--ephemeral"]));
    let seed = first.address.clone();
    // At the same time: neither takes the other's id.
    let join = |name: &str| klamm(&["--join", &seed, "--data", &directory(folder.path(), name)]).spawn().unwrap();
    let both = [join("2"), join("3")].map(Running::take);
    assert_eq!(brokers(&seed), [1, 2, 3]);
    let rows = Client::honest(&seed).call(12, &MetadataRequest::default()).brokers;
    let port = rows.iter().find(|broker| broker.node_id.0 == 2).unwrap().port;
    let [one, other] = both;
    let (second, _third) = if one.address.ends_with(&format!(":{port}")) { (one, other) } else { (other, one) };
    let topic = CreatableTopic::default().with_name(topic_name(TOPIC)).with_num_partitions(6).with_replication_factor(2);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    assert_eq!(Client::honest(&seed).call(7, &request).topics[0].error_code, 0);

    let drained = output(&mut klamm(&["drain", "2", "-b", &seed]));
    let progress = String::from_utf8_lossy(&drained.stderr).into_owned();
    assert!(drained.status.success() && progress.ends_with("broker 2: 0 of 4 partitions left\n"), "{progress}");
    assert_eq!(String::from_utf8_lossy(&drained.stdout), "broker 2 holds no replica any more; 4 partitions moved\n");
    partition_when(&seed, |partition| !partition.replica_nodes.contains(&2.into()) && partition.isr_nodes.len() == 2);
    second.signal("TERM");
    assert!(second.wait().success());
    let request = UnregisterBrokerRequest::default().with_broker_id(2.into());
    assert_eq!(Client::honest(&seed).call(0, &request).error_code, 0);
    assert_eq!(quorum_of(&mut Client::honest(&seed)), (vec![1], vec![3]));
    // Nobody is left to take these.
    let refused = output(&mut klamm(&["drain", "3", "-b", &seed]));
    let sentence = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && sentence.contains("no other broker that runs could take that of broker 3"), "{sentence}");
}

#[test]
fn what_cannot_be_joined_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (joined, fresh) = (directory(folder.path(), "joined"), directory(folder.path(), "fresh"));
    let seed = Running::start(&mut klamm(&["--listen", "127.0.0.1:0", "--ephemeral"]));
    let other = Running::start(&mut klamm(&["--listen", "127.0.0.1:0", "--ephemeral"]));
    let second = Running::start(&mut klamm(&["--join", &seed.address, "--data", &joined]));
    let in_use = refusal(&["--join", &seed.address, "--data", &fresh, "--broker-id", "2"]);
    assert_eq!(in_use, "broker id 2 is in use by a running broker; choose another with --broker-id, or leave it out");
    let votes = refusal(&["--join", &seed.address, "--data", &fresh, "--broker-id", "1"]);
    assert!(votes.starts_with("broker id 1 belongs to a voter of the metadata quorum"), "{votes}");
    second.signal("TERM");
    assert!(second.wait().success());
    let other_cluster = refusal(&["--join", &other.address, "--data", &joined]);
    assert!(other_cluster.starts_with(&format!("the broker at {} is of cluster ", other.address)), "{other_cluster}");
    let other_id = refusal(&["--join", &seed.address, "--data", &joined, "--broker-id", "5"]);
    assert!(other_id.contains(" belongs to broker 2; "), "{other_id}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let unreachable = refusal(&["--join", &closed, "--data", &fresh]);
    assert!(unreachable.starts_with(&format!("no broker of a klamm cluster answers at {closed} (")), "{unreachable}");
    assert!(!Path::new(&fresh).exists());
}
