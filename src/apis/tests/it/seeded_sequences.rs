//! The fuzz target's sequences of requests, from fixed seeds; and what they once found.

use protocol::StrBytes;
use protocol::messages::{FindCoordinatorRequest, GroupId, SyncGroupRequest};

use crate::sequences::Harness;
use crate::support::TestBroker;

#[test]
fn two_hundred_seeded_sequences_of_requests_agree_with_the_model() {
    let mut harness = Harness::new();
    for seed in 0..200_u64 {
        if let Err(finding) = harness.play(&seed.to_le_bytes()) {
            panic!("seed {seed}: {finding}");
        }
    }
    harness.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_of_version_5_must_name_protocol_type_and_protocol() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    client.call(0, &FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("g"))).await;
    let nameless = SyncGroupRequest::default().with_group_id(GroupId(StrBytes::from_static_str("g")));
    assert_eq!(client.call(5, &nameless).await.error_code, 23);
    let named = nameless.with_protocol_type(Some(StrBytes::from_static_str("consumer")));
    let named = named.with_protocol_name(Some(StrBytes::from_static_str("range")));
    assert_eq!(client.call(5, &named).await.error_code, 25);
    broker.stop().await;
}
