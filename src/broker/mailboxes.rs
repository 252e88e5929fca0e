//! Messages of the metadata quorum to observers, which fetch them.
//!
//! A message waits here until its observer asks for the next one; the observer's next question brings the answer. What was under way when the
//! observer's connection broke is given up at once, so that whoever sent it sends it again.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::BrokerId;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use wire::clock::{Clock, timeout_at};

use crate::quorum_frames::{Poll, Polled};

/// An observer that does not ask, and has not asked for so long, is gone: its id is free. It takes about as long to answer a message.
const GONE_AFTER: Duration = Duration::from_millis(300);
/// Observers at once. More than a cluster has; whoever asks under ever new ids must not fill the memory.
const OBSERVERS_MAX: usize = 1000;
/// How long a question waits for a message.
const PARK: Duration = Duration::from_secs(2);

/// The mailboxes of all observers that ask this broker.
#[derive(Default)]
pub(crate) struct Mailboxes {
    boxes: Mutex<BTreeMap<BrokerId, Arc<Mailbox>>>,
}

struct Mailbox {
    incarnation: u128,
    state: Mutex<State>,
    arrived: Notify,
}

/// A message and where its answer goes.
struct Letter {
    message: Bytes,
    answer: oneshot::Sender<Vec<u8>>,
}

#[derive(Default)]
struct State {
    /// Not fetched yet.
    waiting: Option<Letter>,
    /// Fetched: its number, and where the answer goes.
    fetched: Option<(u64, oneshot::Sender<Vec<u8>>)>,
    number: u64,
    /// When the observer asked last.
    asked: Duration,
    /// How many of its questions wait now.
    open: usize,
}

impl State {
    fn is_gone(&self, now: Duration) -> bool {
        self.open == 0 && now >= self.asked + GONE_AFTER
    }
}

/// What a question of an observer comes to at first.
pub(crate) enum Visit {
    /// Its mailbox; whether this is a new observer or a new connection of one.
    Open(OpenBox),
    /// The id belongs to another process.
    IdInUse,
}

/// A mailbox that its owner looks into.
pub(crate) struct OpenBox {
    mailbox: Arc<Mailbox>,
    /// Whether what was sent to it before is lost.
    pub(crate) is_new: bool,
}

impl Mailboxes {
    /// An observer asks. Its answer to the message before is passed on.
    pub(crate) fn visit(&self, poll: Poll, clock: &dyn Clock) -> Visit {
        let now = clock.monotonic();
        let mut boxes = self.boxes.lock();
        let known = boxes.get(&poll.observer).filter(|known| known.incarnation == poll.incarnation).cloned();
        let mailbox = match known {
            Some(known) => known,
            None => {
                if boxes.get(&poll.observer).is_some_and(|other| !other.state.lock().is_gone(now)) {
                    return Visit::IdInUse;
                }
                if boxes.len() >= OBSERVERS_MAX {
                    boxes.retain(|_, other| !other.state.lock().is_gone(now));
                    if boxes.len() >= OBSERVERS_MAX {
                        return Visit::IdInUse;
                    }
                }
                let mailbox = Arc::new(Mailbox { incarnation: poll.incarnation, state: Mutex::default(), arrived: Notify::new() });
                if let Some(former) = boxes.insert(poll.observer, Arc::clone(&mailbox)) {
                    // Whoever waits for the former run's answer waits for nothing.
                    let mut former = former.state.lock();
                    (former.waiting, former.fetched) = (None, None);
                }
                mailbox
            }
        };
        drop(boxes);
        {
            let mut state = mailbox.state.lock();
            state.asked = now;
            state.open += 1;
            if poll.is_first {
                state.fetched = None;
            }
            if let Some((number, answer)) = poll.answer
                && let Some((_, asker)) = state.fetched.take_if(|(fetched, _)| *fetched == number)
            {
                // Whoever asked may have given up.
                let _gone = asker.send(answer.to_vec());
            }
        }
        Visit::Open(OpenBox { mailbox, is_new: poll.is_first })
    }

    /// Leaves a message for an observer; ends with its answer.
    pub(crate) fn send(&self, observer: BrokerId, message: Vec<u8>) -> impl Future<Output = io::Result<Vec<u8>>> + use<> {
        let mailbox = self.boxes.lock().get(&observer).cloned();
        async move {
            let mailbox = mailbox.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the observer has not asked yet"))?;
            let (answer, answered) = oneshot::channel();
            mailbox.state.lock().waiting = Some(Letter { message: message.into(), answer });
            mailbox.arrived.notify_one();
            answered.await.map_err(|_| io::Error::new(io::ErrorKind::ConnectionReset, "the observer's connection broke"))
        }
    }
}

impl Drop for OpenBox {
    fn drop(&mut self) {
        self.mailbox.state.lock().open -= 1;
    }
}

impl OpenBox {
    /// The next message, or nothing if none comes in time.
    pub(crate) async fn next(&self, clock: &dyn Clock) -> Polled {
        let until = clock.monotonic() + PARK;
        loop {
            {
                let mut state = self.mailbox.state.lock();
                if let Some(Letter { message, answer }) = state.waiting.take().filter(|letter| !letter.answer.is_closed()) {
                    state.number += 1;
                    let number = state.number;
                    state.fetched = Some((number, answer));
                    return Polled::Message(number, message);
                }
            }
            if timeout_at(clock, until, self.mailbox.arrived.notified()).await.is_err() {
                return Polled::Nothing;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBSERVER: BrokerId = BrokerId::new(4).unwrap();

    fn poll(incarnation: u128, is_first: bool, answer: Option<(u64, Bytes)>) -> Poll {
        Poll { observer: OBSERVER, incarnation, cluster_id: String::new(), is_first, answer }
    }

    fn open(mailboxes: &Mailboxes, poll: Poll, clock: &dyn Clock) -> OpenBox {
        match mailboxes.visit(poll, clock) {
            Visit::Open(open) => open,
            Visit::IdInUse => panic!("refused"),
        }
    }

    #[tokio::test]
    async fn a_message_is_fetched_once_and_its_answer_comes_with_the_next_question() {
        let (mailboxes, clock) = (Mailboxes::default(), wire::clock::ManualClock::new(model::Timestamp(0)).shared());
        assert_eq!(mailboxes.send(OBSERVER, vec![1]).await.unwrap_err().kind(), io::ErrorKind::NotConnected);
        let first = open(&mailboxes, poll(7, true, None), &*clock);
        let sent = tokio::spawn(mailboxes.send(OBSERVER, vec![1]));
        let Polled::Message(number, message) = first.next(&*clock).await else { panic!("nothing") };
        assert_eq!(message, vec![1]);
        let _second = open(&mailboxes, poll(7, false, Some((number, Bytes::from_static(b"yes")))), &*clock);
        assert_eq!(sent.await.unwrap().unwrap(), b"yes");
    }

    #[tokio::test]
    async fn what_was_under_way_on_a_broken_connection_is_given_up() {
        let (mailboxes, clock) = (Mailboxes::default(), wire::clock::ManualClock::new(model::Timestamp(0)).shared());
        let first = open(&mailboxes, poll(7, true, None), &*clock);
        let sent = tokio::spawn(mailboxes.send(OBSERVER, vec![1]));
        assert!(matches!(first.next(&*clock).await, Polled::Message(1, _)));
        let again = open(&mailboxes, poll(7, true, None), &*clock);
        assert!(again.is_new);
        assert_eq!(sent.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn what_was_under_way_to_a_former_run_is_given_up() {
        let manual = wire::clock::ManualClock::new(model::Timestamp(0));
        let (mailboxes, clock) = (Mailboxes::default(), manual.shared());
        let former = open(&mailboxes, poll(7, true, None), &*clock);
        let sent = tokio::spawn(mailboxes.send(OBSERVER, vec![1]));
        assert!(matches!(former.next(&*clock).await, Polled::Message(1, _)));
        drop(former);
        manual.advance(GONE_AFTER);
        let _next = open(&mailboxes, poll(8, true, None), &*clock);
        assert_eq!(sent.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_newcomer_does_not_take_the_id_of_an_observer_that_asks() {
        let manual = wire::clock::ManualClock::new(model::Timestamp(0));
        let (mailboxes, clock) = (Mailboxes::default(), manual.shared());
        let waits = open(&mailboxes, poll(7, true, None), &*clock);
        manual.advance(2 * GONE_AFTER);
        assert!(matches!(mailboxes.visit(poll(8, true, None), &*clock), Visit::IdInUse), "it waits for a message");
        drop(waits);
        drop(open(&mailboxes, poll(7, false, None), &*clock));
        assert!(matches!(mailboxes.visit(poll(8, true, None), &*clock), Visit::IdInUse), "it has only just asked");
        manual.advance(GONE_AFTER);
        let _open = open(&mailboxes, poll(8, true, None), &*clock);
    }
}
