//! Topics come, go and come again.

use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::{DeleteTopicsRequest, MetadataRequest};

use crate::support::{TestBroker, TestClient, topic_name};

async fn ask(client: &mut TestClient, name: &str, create: bool) -> protocol::messages::metadata_response::MetadataResponseTopic {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let request = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(create);
    client.call(12, &request).await.topics.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_topic_is_created_with_a_leader_only_if_the_request_allows_it() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    assert_eq!(ask(&mut client, "t", false).await.error_code, 3);
    let created = ask(&mut client, "t", true).await;
    assert_eq!(created.error_code, 0);
    assert_eq!(created.partitions[0].leader_id.0, broker.running.broker.config.broker_id.get());
    assert_eq!(ask(&mut client, "not a name", true).await.error_code, 17);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_deleted_and_created_again_has_a_new_id_and_the_old_id_is_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    let old = client.create_topic("t", 3, &[]).await;
    let request = DeleteTopicsRequest::default().with_topics(vec![DeleteTopicState::default().with_topic_id(old)]);
    assert_eq!(client.call(6, &request).await.responses[0].error_code, 0);
    let new = client.create_topic("t", 3, &[]).await;
    assert_ne!(old, new);
    let by_id = MetadataRequestTopic::default().with_topic_id(old).with_name(None);
    let request = MetadataRequest::default().with_topics(Some(vec![by_id]));
    assert_eq!(client.call(12, &request).await.topics[0].error_code, 100);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_topics_and_raises_their_leader_epochs() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    let before = ask(&mut client, "t", false).await;
    broker.stop().await;
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    let after = ask(&mut client, "t", false).await;
    assert_eq!(after.topic_id, before.topic_id);
    assert!(after.partitions[0].leader_epoch > before.partitions[0].leader_epoch);
    broker.stop().await;
}
