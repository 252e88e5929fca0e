//! Each API at each version on a rich and on a minimal fixture: the answer must encode.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use protocol::fixtures::{self, request_frame};
use wire::{ConnectionContext, ConnectionId, Dispatch, ListenerName, Outcome};

use crate::quotas::set_quota;
use crate::support::TestBroker;

async fn answer(broker: &TestBroker, frame: Vec<u8>) -> (Outcome, Duration) {
    let address = "127.0.0.1:1".parse().unwrap();
    let connection = ConnectionContext::new(ConnectionId(0), address, address, ListenerName::from("PLAINTEXT"));
    let mut outcome = broker.apis.dispatch(&connection, Bytes::from(frame));
    while let Outcome::Later { reply, .. } = outcome {
        outcome = reply.await;
    }
    (outcome, connection.muted_until())
}

/// Each API at each version; says of each answer for how long it mutes the connection.
async fn answer_all(broker: &TestBroker, check: impl Fn(&str, Duration)) {
    for row in apis::table::support() {
        for version in row.version_min..=row.version_max {
            let rich = fixtures::rich_request(row.key, version);
            let minimal = fixtures::minimal_request(row.key, version);
            for body in [minimal, rich] {
                let body = body.unwrap_or_else(|| panic!("no fixture for {} v{version}", row.name));
                let (outcome, muted_until) = answer(broker, request_frame(row.key, version, 7, &body)).await;
                match outcome {
                    Outcome::Reply(frame) => {
                        assert!(frame.length_bytes() >= 4);
                        check(row.name, muted_until);
                    }
                    Outcome::NoReply => assert_eq!(row.name, "Produce"),
                    other => panic!("{} v{version}: {other:?}", row.name),
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_api_answers_every_version_that_it_serves() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[("group.initial.rebalance.delay.ms", "0")]).await;
    answer_all(&broker, |name, muted_until| assert_eq!(muted_until, Duration::ZERO, "{name}")).await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_api_can_make_its_client_wait_at_every_version() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[("group.initial.rebalance.delay.ms", "0")]).await;
    set_quota(&mut broker.client().await, &[("user", None)], "request_percentage", 1e-9).await;
    let fetch_waits = Cell::new(false);
    answer_all(&broker, |name, muted_until| match name {
        // A follower, which one of the fixtures is, never waits.
        "Fetch" => fetch_waits.set(fetch_waits.get() || muted_until > Duration::ZERO),
        // Coordinators send it.
        "WriteTxnMarkers" => {}
        name => assert!(muted_until > Duration::ZERO, "{name}"),
    })
    .await;
    assert!(fetch_waits.get());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_version_of_api_versions_is_answered_and_of_others_closes() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path(), &[]).await;
    let mut client = broker.client().await;
    let answer = client.peer.exchange(&request_frame(18, 99, 5, &[])).await.unwrap();
    assert_eq!(&answer[..6], &[0, 0, 0, 5, 0, 35]);
    client.peer.send(&request_frame(0, 2, 6, &[0; 20])).await.unwrap();
    assert!(client.peer.receive().await.is_err());
    broker.stop().await;
}
