//! A broker is a value: many fit in one process and know nothing of each other.

use protocol::messages::MetadataRequest;

use crate::support::TestBroker;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_in_one_process_are_three_clusters() {
    let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut brokers = Vec::new();
    for directory in &directories {
        brokers.push(TestBroker::start(directory.path(), &[]).await);
    }
    let mut cluster_ids = Vec::new();
    for (number, broker) in brokers.iter().enumerate() {
        let mut client = broker.client().await;
        client.create_topic(&format!("of-{number}"), 2, &[]).await;
        let response = client.call(12, &MetadataRequest::default().with_topics(None)).await;
        let names: Vec<_> = response.topics.iter().map(|topic| topic.name.as_ref().unwrap().to_string()).collect();
        assert_eq!(names, vec![format!("of-{number}")]);
        cluster_ids.push(response.cluster_id.unwrap().to_string());
    }
    cluster_ids.dedup();
    assert_eq!(cluster_ids.len(), 3);
    for broker in brokers {
        broker.stop().await;
    }
}
