//! Hostile and careless peers.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use wire::{ConnectionBounds, ConnectionLimits, IpOverride, ListenerBound, ListenerName, Outcome};

use crate::harness::{Harness, is_cut, reply, text};

#[tokio::test]
async fn a_peer_that_does_not_complete_its_frame_is_cut() {
    let limits = ConnectionLimits { partial_frame_timeout: Duration::from_secs(10), ..ConnectionLimits::default() };
    let mut harness = Harness::start(limits, |_, frame| reply(frame));
    let mut client = harness.client().await;
    client.send_raw(&[0, 0]).await.unwrap();
    harness.clock.until_armed(Duration::from_secs(10)).await;
    harness.clock.advance(Duration::from_secs(9));
    client.send_raw(&[0, 5, b'a']).await.unwrap();
    // One byte more is no progress: the first deadline holds.
    harness.clock.until_armed(Duration::from_secs(10)).await;
    harness.clock.advance(Duration::from_secs(1));
    assert!(is_cut(&mut client).await);
    harness.closed().await;
}

#[tokio::test]
async fn a_peer_that_never_reads_is_cut() {
    let limits = ConnectionLimits {
        write_timeout: Duration::from_secs(10),
        progress_bytes_min: 1 << 30,
        send_buffer_bytes: Some(8 << 10),
        ..ConnectionLimits::default()
    };
    let mut harness = Harness::start(limits, |_, _| reply(vec![7; 32 << 20]));
    let mut client = harness.client().await;
    client.send(b"much").await.unwrap();
    harness.clock.until_armed(Duration::from_secs(10)).await;
    harness.clock.advance(Duration::from_secs(10));
    harness.closed().await;
    assert!(is_cut(&mut client).await);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let limits = ConnectionLimits { idle_max: Some(Duration::from_secs(60)), ..ConnectionLimits::default() };
    let mut harness = Harness::start(limits, |_, frame| reply(frame));
    let mut idle = harness.client().await;
    harness.clock.until_armed(Duration::from_secs(60)).await;
    let mut busy = harness.client().await;
    busy.exchange(b"hello").await.unwrap();
    harness.clock.advance(Duration::from_secs(40));
    busy.exchange(b"again").await.unwrap();
    harness.clock.advance(Duration::from_secs(20));
    assert!(is_cut(&mut idle).await);
    harness.closed().await;
    assert_eq!(text(&busy.exchange(b"still").await.unwrap()), "still");
}

#[tokio::test]
async fn an_impossible_length_closes_the_connection() {
    let limits = ConnectionLimits { frame_bytes_max: 1000, ..ConnectionLimits::default() };
    let harness = Harness::start(limits, |_, frame| reply(frame));
    for length in [-1_i32, i32::MIN, 1001, i32::MAX] {
        let mut client = harness.client().await;
        client.send_raw(&length.to_be_bytes()).await.unwrap();
        assert!(is_cut(&mut client).await, "{length}");
    }
    assert_eq!(harness.client().await.exchange(&[1; 1000]).await.unwrap().len(), 1000);
}

#[tokio::test]
async fn frames_of_all_sizes_arrive_byte_for_byte() {
    let harness = Harness::start(ConnectionLimits::default(), |_, frame| reply(frame));
    let mut client = harness.client().await;
    for length in [0, 1, 3, 4, 5, 4095, 65_531, 65_532, 65_533, 65_536, 200_000, 5 << 20, 1000, 4 << 20] {
        let frame: Bytes = (0..length).map(|index| (index % 251) as u8).collect::<Vec<u8>>().into();
        client.send(&frame).await.unwrap();
        client.send(b"next").await.unwrap();
        assert!(client.receive().await.unwrap() == frame, "{length}");
        assert_eq!(text(&client.receive().await.unwrap()), "next");
    }
}

#[tokio::test]
async fn the_budget_holds_a_frame_back_until_another_is_answered() {
    let (open, gate) = oneshot::channel::<()>();
    let gate = std::sync::Mutex::new(Some(gate));
    let harness = Harness::with_budget(ConnectionLimits::default(), 1000, move |log, frame| {
        log.add(format!("dispatch {}", frame.len()));
        let Some(gate) = gate.lock().unwrap().take() else { return reply(frame) };
        let log = log.clone();
        Outcome::serial(async move {
            gate.await.unwrap();
            log.add("release");
            reply(frame)
        })
    });
    let mut first = harness.client().await;
    let mut second = harness.client().await;
    first.send(&[1; 900]).await.unwrap();
    while harness.log.events().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(harness.budget.available_bytes(), 100);
    second.send(&[2; 500]).await.unwrap();
    // A waiter takes what is free toward its share, which shows that the second frame has come and waits.
    while harness.budget.available_bytes() != 0 {
        tokio::task::yield_now().await;
    }
    open.send(()).unwrap();
    assert_eq!(first.receive().await.unwrap().len(), 900);
    assert_eq!(second.receive().await.unwrap().len(), 500);
    assert_eq!(harness.log.events(), ["dispatch 900", "release", "dispatch 500"]);
    assert_eq!(harness.budget.waits(), 1, "the second frame had to wait");
    // A frame above the whole budget runs alone.
    assert_eq!(first.exchange(&[3; 5000]).await.unwrap().len(), 5000);
    assert_eq!(harness.budget.available_bytes(), 1000);
}

#[tokio::test]
async fn connections_over_the_limits_are_refused_and_places_come_back() {
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ip_overrides = vec![IpOverride { address: localhost, connections_max: 2 }];
    let bounds = ConnectionBounds { connections_per_ip_max: 1, ip_overrides, ..ConnectionBounds::default() };
    let limits = ConnectionLimits { bounds: bounds.into(), ..ConnectionLimits::default() };
    let mut harness = Harness::start(limits, |_, frame| reply(frame));
    let mut first = harness.client().await;
    let mut second = harness.client().await;
    first.exchange(b"a").await.unwrap();
    second.exchange(b"b").await.unwrap();
    let mut third = harness.client().await;
    assert!(third.exchange(b"c").await.is_err());
    let counters = harness.server.counters();
    assert_eq!((counters.accepted_total(), counters.refused_total()), (2, 1));
    let open: Vec<_> = harness.server.open().iter().map(|connection| connection.peer()).collect();
    assert_eq!(open, [first.stream().local_addr().unwrap(), second.stream().local_addr().unwrap()]);
    drop(first);
    harness.closed().await;
    loop {
        // The place comes back right after the connection was reported closed.
        if harness.client().await.exchange(b"d").await.is_ok() {
            break;
        }
    }
    let closed: u64 = harness.server.counters().closed_totals().map(|(_, count)| count).sum();
    assert!(closed >= 1);
}

#[tokio::test]
async fn a_full_listener_takes_the_next_connection_when_one_has_ended_and_answers_it_then() {
    let bounds = ConnectionBounds { connections_max: 1, ..ConnectionBounds::default() };
    let limits = ConnectionLimits { bounds: bounds.into(), ..ConnectionLimits::default() };
    let harness = Harness::start(limits, |log, frame| {
        log.add(text(&frame));
        reply(frame)
    });
    let mut first = harness.client().await;
    first.exchange(b"first").await.unwrap();
    let mut waits = harness.client().await;
    waits.send(b"waits").await.unwrap();
    // What the first one says later comes before it.
    first.exchange(b"again").await.unwrap();
    drop(first);
    assert_eq!(waits.receive().await.unwrap(), "waits");
    assert_eq!(harness.log.events(), ["first", "again", "waits"]);
    assert_eq!(harness.server.counters().refused_total(), 0);
    // One that still waits does not hold up the end.
    let mut late = harness.client().await;
    late.send(b"late").await.unwrap();
    harness.shutdown.cancel();
    harness.serving.await.unwrap();
    assert!(is_cut(&mut late).await);
}

#[tokio::test]
async fn where_the_limit_is_lowered_the_connections_that_were_silent_for_longest_end() {
    let mut harness = Harness::start(ConnectionLimits::default(), |_, frame| reply(frame));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = harness.client().await;
        client.exchange(b"hello").await.unwrap();
        clients.push(client);
        harness.clock.advance(Duration::from_secs(1));
    }
    clients[0].exchange(b"again").await.unwrap();
    harness.bounds.send_replace(ConnectionBounds { connections_max: 2, ..ConnectionBounds::default() }.into());
    harness.closed().await;
    harness.closed().await;
    assert!(is_cut(&mut clients[1]).await && is_cut(&mut clients[2]).await);
    assert_eq!(text(&clients[0].exchange(b"first").await.unwrap()), "first");
    assert_eq!(text(&clients[3].exchange(b"last").await.unwrap()), "last");
    let excess =
        |harness: &Harness| harness.server.counters().closed_totals().find(|(reason, _)| *reason == "excess").map(|(_, count)| count);
    assert_eq!(excess(&harness), Some(2));
    // The listener of the brokers among themselves is spared.
    let protected = Some(ListenerName::from("PLAINTEXT"));
    let listeners = vec![ListenerBound { listener: ListenerName::from("PLAINTEXT"), connections_max: 9 }];
    harness.bounds.send_replace(ConnectionBounds { connections_max: 1, listeners, protected, ..ConnectionBounds::default() }.into());
    let mut third = harness.client().await;
    assert_eq!(text(&third.exchange(b"third").await.unwrap()), "third");
    assert_eq!(text(&clients[0].exchange(b"first").await.unwrap()), "first");
    assert_eq!(excess(&harness), Some(2));
}
