//! Connections that have to wait.

use std::time::Duration;

use wire::{ConnectionLimits, Outcome};

use crate::harness::{Harness, is_cut, reply, text};

const FIVE: Duration = Duration::from_secs(5);

fn echo() -> Harness {
    Harness::start(ConnectionLimits::default(), |log, frame| {
        log.add(text(&frame));
        reply(frame)
    })
}

#[tokio::test]
async fn a_muted_connection_is_answered_at_once_and_takes_no_request_until_its_time() {
    let harness = echo();
    let mut client = harness.client().await;
    client.send(b"mute 5").await.unwrap();
    client.send(b"next").await.unwrap();
    assert_eq!(text(&client.receive().await.unwrap()), "mute 5");
    harness.clock.until_armed(FIVE).await;
    assert_eq!(harness.log.events(), ["mute 5"]);
    harness.clock.advance(FIVE - Duration::from_millis(1));
    assert_eq!(harness.log.events(), ["mute 5"]);
    harness.clock.advance(Duration::from_millis(1));
    assert_eq!(text(&client.receive().await.unwrap()), "next");
}

#[tokio::test]
async fn a_shorter_wait_does_not_end_a_longer_one_and_others_do_not_wait() {
    let harness = echo();
    let mut client = harness.client().await;
    client.exchange(b"mute 5").await.unwrap();
    harness.clock.until_armed(FIVE).await;
    let mut other = harness.client().await;
    assert_eq!(text(&other.exchange(b"free").await.unwrap()), "free");
    harness.clock.advance(FIVE);
    client.exchange(b"mute 9").await.unwrap();
    harness.clock.until_armed(FIVE + Duration::from_secs(9)).await;
    assert_eq!(harness.log.events(), ["mute 5", "free", "mute 9"]);
}

#[tokio::test]
async fn an_answer_that_is_under_way_leaves_a_muted_connection() {
    let (release, wait) = tokio::sync::oneshot::channel::<()>();
    let wait = std::sync::Mutex::new(Some(wait));
    let harness = Harness::start(ConnectionLimits::default(), move |_, frame| match wait.lock().unwrap().take() {
        Some(wait) => Outcome::pipelined(async move {
            let _released = wait.await;
            reply(frame)
        }),
        None => reply(frame),
    });
    let mut client = harness.client().await;
    client.send(b"first").await.unwrap();
    client.send(b"mute 5").await.unwrap();
    harness.clock.until_armed(FIVE).await;
    release.send(()).unwrap();
    assert_eq!(text(&client.receive().await.unwrap()), "first");
    assert_eq!(text(&client.receive().await.unwrap()), "mute 5");
}

#[tokio::test]
async fn a_connection_that_comes_too_fast_is_kept_without_an_answer_and_then_closed() {
    let harness = echo();
    harness.waits.lock().unwrap().push_back(FIVE);
    let mut refused = harness.client().await;
    refused.send(b"hello").await.unwrap();
    harness.clock.until_armed(FIVE).await;
    let mut next = harness.client().await;
    assert_eq!(text(&next.exchange(b"served").await.unwrap()), "served");
    harness.clock.advance(FIVE);
    assert!(is_cut(&mut refused).await);
    assert_eq!(harness.log.events(), ["served"]);
}
