use std::sync::Arc;

use broker::config::{BrokerConfig, Mode, Origin, RawConfig};
use server::node::{Node, NodeParts};

async fn start(directory: &std::path::Path, node_id: &str) -> Node {
    let mut raw = RawConfig::default();
    for (key, value) in [("listeners", "PLAINTEXT://127.0.0.1:0"), ("node.id", node_id), ("log.dirs", &directory.display().to_string())] {
        raw.set(key, value, Origin::Flag { flag: "--override" });
    }
    let config = BrokerConfig::from_map(&raw, Mode::Developer).expect("a good configuration");
    Node::start(config, NodeParts::default()).await.expect("starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_independent_brokers_live_in_one_process() {
    let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut nodes = Vec::new();
    for (directory, id) in directories.iter().zip(["1", "2", "3"]) {
        nodes.push(start(directory.path(), id).await);
    }
    let mut clusters: Vec<String> = Vec::new();
    let mut ports = Vec::new();
    for node in &nodes {
        let image = node.broker().metadata.image();
        assert_eq!(image.brokers().count(), 1, "each is a cluster of its own");
        clusters.push(image.cluster_id().expect("an id").to_owned());
        ports.push(node.addresses()[0].bound.port());
    }
    clusters.sort();
    clusters.dedup();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!((clusters.len(), ports.len()), (3, 3));
    // One stops, the others go on, and it comes back with its own id.
    let first = nodes.remove(0);
    let id = first.broker().metadata.image().cluster_id().expect("an id").to_owned();
    let broker = Arc::downgrade(first.broker());
    first.stop().await;
    assert_eq!(broker.strong_count(), 0, "nothing of a stopped broker lives on");
    let again = start(directories[0].path(), "1").await;
    assert_eq!(again.broker().metadata.image().cluster_id(), Some(id.as_str()));
    for node in nodes.into_iter().chain([again]) {
        let broker = Arc::downgrade(node.broker());
        node.stop().await;
        assert_eq!(broker.strong_count(), 0, "nothing of a stopped broker lives on");
    }
}
