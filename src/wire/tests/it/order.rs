//! The order of answers, parked and pipelined requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;
use wire::{ConnectionLimits, Outcome};

use crate::harness::{Harness, is_cut, reply, text};

type Gates = Arc<Mutex<HashMap<String, oneshot::Receiver<()>>>>;

/// A handler whose answers wait for a gate each; requests without a gate are answered at once.
fn gated(limits: ConnectionLimits, serial: bool, names: &[&str]) -> (Harness, HashMap<String, oneshot::Sender<()>>) {
    let gates = Gates::default();
    let mut senders = HashMap::new();
    for name in names {
        let (sender, receiver) = oneshot::channel();
        senders.insert((*name).to_owned(), sender);
        gates.lock().unwrap().insert((*name).to_owned(), receiver);
    }
    let harness = Harness::start(limits, move |log, frame| {
        let name = text(&frame);
        log.add(format!("dispatch {name}"));
        let Some(gate) = gates.lock().unwrap().remove(&name) else { return reply(frame) };
        let log = log.clone();
        let waiting = async move {
            gate.await.unwrap();
            log.add(format!("finish {name}"));
            reply(frame)
        };
        if serial { Outcome::serial(waiting) } else { Outcome::pipelined(waiting) }
    });
    (harness, senders)
}

#[tokio::test]
async fn pipelined_answers_leave_in_request_order_though_later_ones_finish_first() {
    let (harness, mut gates) = gated(ConnectionLimits::default(), false, &["a", "b", "c"]);
    let mut client = harness.client().await;
    for name in ["a", "b", "c", "d"] {
        client.send(name.as_bytes()).await.unwrap();
    }
    for name in ["c", "b", "a"] {
        gates.remove(name).unwrap().send(()).unwrap();
    }
    for name in ["a", "b", "c", "d"] {
        assert_eq!(text(&client.receive().await.unwrap()), name);
    }
}

#[tokio::test]
async fn a_serial_answer_holds_the_next_request_back() {
    let (harness, mut gates) = gated(ConnectionLimits::default(), true, &["park"]);
    let mut client = harness.client().await;
    client.send(b"park").await.unwrap();
    client.send(b"next").await.unwrap();
    gates.remove("park").unwrap().send(()).unwrap();
    assert_eq!(text(&client.receive().await.unwrap()), "park");
    assert_eq!(text(&client.receive().await.unwrap()), "next");
    assert_eq!(harness.log.events(), ["dispatch park", "finish park", "dispatch next"]);
}

#[tokio::test]
async fn no_more_requests_are_in_flight_than_the_limit_says() {
    let names: Vec<String> = (0..40).map(|number| format!("{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let limits = ConnectionLimits { in_flight_max: 4, ..ConnectionLimits::default() };
    let (harness, mut gates) = gated(limits, false, &names);
    let mut client = harness.client().await;
    for name in &names {
        client.send(name.as_bytes()).await.unwrap();
    }
    for name in &names {
        gates.remove(*name).unwrap().send(()).unwrap();
        assert_eq!(text(&client.receive().await.unwrap()), *name);
    }
    let mut in_flight = 0;
    for event in harness.log.events() {
        in_flight += if event.starts_with("dispatch") { 1 } else { -1 };
        assert!(in_flight <= 4);
    }
}

#[tokio::test]
async fn a_later_may_become_another_later() {
    let harness = Harness::start(ConnectionLimits::default(), |_, frame| {
        Outcome::serial(async move { Outcome::pipelined(async move { reply(frame) }) })
    });
    assert_eq!(text(&harness.client().await.exchange(b"twice").await.unwrap()), "twice");
}

#[tokio::test]
async fn a_parked_request_is_dropped_when_its_peer_goes_away() {
    struct Dropped(tokio::sync::mpsc::UnboundedSender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (sender, mut dropped) = unbounded_channel();
    let mut harness = Harness::start(ConnectionLimits::default(), move |_, _| {
        let guard = Dropped(sender.clone());
        Outcome::serial(async move {
            let _guard = guard;
            std::future::pending().await
        })
    });
    let mut client = harness.client().await;
    client.send(b"park").await.unwrap();
    drop(client);
    dropped.recv().await.unwrap();
    harness.closed().await;
}

#[tokio::test]
async fn all_requests_without_answer_are_dispatched_before_a_closed_connection_ends() {
    let mut harness = Harness::start(ConnectionLimits::default(), |log, frame| {
        log.add(text(&frame));
        Outcome::NoReply
    });
    let mut client = harness.client().await;
    for number in 0..1000 {
        client.send(number.to_string().as_bytes()).await.unwrap();
    }
    drop(client);
    harness.closed().await;
    assert_eq!(harness.log.events().len(), 1000);
}

#[tokio::test]
async fn an_outcome_of_close_comes_after_the_earlier_answers() {
    let harness = Harness::start(ConnectionLimits::default(), |_, frame| match text(&frame).as_str() {
        "close" => Outcome::Close(wire::CloseReason::Refused("asked to")),
        _ => Outcome::pipelined(async move { reply(frame) }),
    });
    let mut client = harness.client().await;
    for frame in ["one", "close", "two"] {
        client.send(frame.as_bytes()).await.unwrap();
    }
    assert_eq!(text(&client.receive().await.unwrap()), "one");
    assert!(is_cut(&mut client).await);
}

#[tokio::test]
async fn a_panic_ends_its_connection_and_no_other() {
    let mut harness = Harness::start(ConnectionLimits::default(), |_, frame| match text(&frame).as_str() {
        "now" => panic!("in dispatch"),
        "later" => Outcome::serial(async { panic!("in the future") }),
        _ => reply(frame),
    });
    let mut survivor = harness.client().await;
    for frame in ["now", "later"] {
        let mut client = harness.client().await;
        client.send(frame.as_bytes()).await.unwrap();
        assert!(is_cut(&mut client).await);
        harness.closed().await;
    }
    assert_eq!(text(&survivor.exchange(b"alive").await.unwrap()), "alive");
}

#[tokio::test]
async fn a_shutdown_gives_up_parked_requests_and_finishes_pipelined_ones() {
    let (harness, mut gates) = gated(ConnectionLimits::default(), false, &["slow"]);
    let mut client = harness.client().await;
    client.exchange(b"known").await.unwrap();
    client.send(b"slow").await.unwrap();
    while harness.log.events().len() < 2 {
        tokio::task::yield_now().await;
    }
    harness.shutdown.cancel();
    harness.clock.until_armed(ConnectionLimits::default().shutdown_grace).await;
    gates.remove("slow").unwrap().send(()).unwrap();
    assert_eq!(text(&client.receive().await.unwrap()), "slow");
    assert!(is_cut(&mut client).await);
    harness.serving.await.unwrap();
}

#[tokio::test]
async fn a_shutdown_does_not_wait_longer_than_its_grace() {
    let (harness, _gates) = gated(ConnectionLimits::default(), false, &["slow"]);
    let mut client = harness.client().await;
    client.send(b"slow").await.unwrap();
    while harness.log.events().is_empty() {
        tokio::task::yield_now().await;
    }
    harness.shutdown.cancel();
    harness.clock.until_armed(ConnectionLimits::default().shutdown_grace).await;
    harness.clock.advance(ConnectionLimits::default().shutdown_grace + Duration::from_millis(1));
    harness.serving.await.unwrap();
}
