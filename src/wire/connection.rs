//! One connection: one task that reads frames, has them dispatched, and writes the answers in order.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::clock::SharedClock;
use crate::intake::{Intake, Read};
use crate::outlet::Outlet;
use crate::watchdog::Watchdog;
use crate::{BoxFuture, BudgetPermit, CloseReason, ConnectionContext, ConnectionLimits, Dispatch, MemoryBudget, Outcome};

/// What all connections of a server share.
pub(crate) struct Shared<D: ?Sized> {
    pub(crate) dispatch: Arc<D>,
    pub(crate) limits: ConnectionLimits,
    pub(crate) clock: SharedClock,
    pub(crate) budget: MemoryBudget,
}

/// A dispatched request that has no written answer.
struct InFlight {
    state: State,
    serial: bool,
    /// The request's share of the budget, until it is answered.
    _permit: BudgetPermit,
}

enum State {
    Waiting(BoxFuture<'static, Outcome>),
    Done(Outcome),
}

/// A span of time in which a side must make progress.
#[derive(Clone, Copy)]
struct Span {
    since: Duration,
    bytes_before: u64,
}

/// What a passed deadline asks for.
enum Due {
    Close(CloseReason),
    /// Requests may be taken again.
    Unmute,
}

/// The task of one connection. It ends with the reason why the connection did.
pub(crate) struct Connection<D: ?Sized> {
    stream: TcpStream,
    context: Arc<ConnectionContext>,
    shared: Arc<Shared<D>>,
    intake: Intake,
    in_flight: VecDeque<InFlight>,
    outlet: Outlet,
    /// Set once nothing more is to be read: the connection ends when the outlet is empty.
    closing: Option<CloseReason>,
    watchdog: Watchdog,
    /// The monotonic time at which the present step began.
    now: Duration,
    /// When bytes last came or went, and how many had by then.
    last_activity: (Duration, u64),
    reading: Option<Span>,
    writing: Option<Span>,
    shutdown: CancellationToken,
    /// Polled once, so that a shutdown wakes the task; whether it came is asked of the token.
    shutdown_wake: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    stopping_since: Option<Duration>,
}

impl<D: Dispatch + ?Sized> Connection<D> {
    pub(crate) fn new(stream: TcpStream, context: Arc<ConnectionContext>, shared: Arc<Shared<D>>, shutdown: CancellationToken) -> Self {
        let now = shared.clock.monotonic();
        context.note_activity(now);
        Self {
            stream,
            context,
            shared,
            intake: Intake::default(),
            in_flight: VecDeque::new(),
            outlet: Outlet::default(),
            closing: None,
            watchdog: Watchdog::default(),
            now,
            last_activity: (now, 0),
            reading: None,
            writing: None,
            shutdown,
            shutdown_wake: None,
            stopping_since: None,
        }
    }

    /// Does all that can be done now. Answers are gathered as long as there is something to read or to finish, and then written together.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            self.now = self.shared.clock.monotonic();
            self.notice_shutdown(cx, self.now);
            if let Err(reason) = self.work(cx) {
                return Poll::Ready(reason);
            }
            if let Some(reason) = self.finished() {
                return Poll::Ready(reason);
            }
            match self.overdue(cx, self.now) {
                Some(Due::Close(reason)) => return Poll::Ready(reason),
                Some(Due::Unmute) => {}
                None => return Poll::Pending,
            }
        }
    }

    /// The reason why nothing is left to do, if there is one.
    fn finished(&mut self) -> Option<CloseReason> {
        if !self.outlet.is_empty() {
            return None;
        }
        if let Some(reason) = self.closing.take() {
            return Some(reason);
        }
        if !self.in_flight.is_empty() {
            return None;
        }
        if self.stopping_since.is_some() {
            return Some(CloseReason::ShuttingDown);
        }
        (self.intake.peer_closed() && !self.intake.waits_for_budget()).then_some(CloseReason::PeerClosed)
    }

    fn work(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        loop {
            // All that has come is dispatched before anything is waited for: what the first poll of an answer sets going (the store's
            // committer) then finds all of it.
            if self.take_requests(cx)? || self.gather_answers(cx)? {
                continue;
            }
            match self.outlet.poll_write(cx, &self.stream) {
                Poll::Ready(wrote) => {
                    if !wrote? {
                        return Ok(());
                    }
                }
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// Moves what is answered, in order, to the outlet. Says whether anything moved.
    fn gather_answers(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        let mut moved = false;
        while let Some(head) = self.in_flight.front_mut() {
            let outcome = match std::mem::replace(&mut head.state, State::Done(Outcome::NoReply)) {
                State::Done(outcome) => outcome,
                State::Waiting(mut reply) => match reply.as_mut().poll(cx) {
                    Poll::Ready(outcome) => outcome,
                    // Nobody is left to read the answer to a parked request.
                    Poll::Pending if head.serial && self.intake.peer_closed() => Outcome::NoReply,
                    Poll::Pending => {
                        head.state = State::Waiting(reply);
                        break;
                    }
                },
            };
            moved = true;
            match outcome {
                Outcome::Later { reply, serial } => {
                    head.state = State::Waiting(reply);
                    head.serial = serial;
                    continue;
                }
                Outcome::Reply(frame) => self.outlet.push(frame)?,
                Outcome::NoReply => {}
                Outcome::Close(reason) => {
                    self.close(reason);
                    break;
                }
            }
            self.in_flight.pop_front();
        }
        Ok(moved)
    }

    /// Dispatches one frame or reads once. Says whether there was anything.
    fn take_requests(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        if self.closing.is_some() || self.stopping_since.is_some() || self.is_muted() {
            return Ok(false);
        }
        if self.may_dispatch() {
            let shared = &self.shared;
            if let Some((frame, permit)) = self.intake.take_frame(cx, &shared.budget, shared.limits.frame_bytes_max)? {
                self.reading = None;
                let outcome = shared.dispatch.dispatch(&self.context, frame);
                self.accept(outcome, permit)?;
                return Ok(true);
            }
        }
        match self.intake.poll_read(cx, &self.stream) {
            Poll::Ready(read) => Ok(read? == Read::Progress),
            Poll::Pending => Ok(false),
        }
    }

    fn accept(&mut self, outcome: Outcome, permit: BudgetPermit) -> Result<(), CloseReason> {
        let (state, serial) = match outcome {
            Outcome::Reply(frame) if self.in_flight.is_empty() => return self.outlet.push(frame),
            Outcome::NoReply if self.in_flight.is_empty() => return Ok(()),
            Outcome::Later { reply, serial } => (State::Waiting(reply), serial),
            outcome => (State::Done(outcome), false),
        };
        self.in_flight.push_back(InFlight { state, serial, _permit: permit });
        Ok(())
    }

    /// Whether the client has to wait for having used too much (KIP-219). As in Kafka, not even its going away is noticed meanwhile.
    fn is_muted(&self) -> bool {
        self.now < self.context.muted_until()
    }

    fn may_dispatch(&self) -> bool {
        let limits = &self.shared.limits;
        !self.in_flight.back().is_some_and(|last| last.serial)
            && self.in_flight.len() + self.outlet.answers() < limits.in_flight_max
            && self.outlet.unwritten_bytes() < limits.unwritten_bytes_max as u64
    }

    fn close(&mut self, reason: CloseReason) {
        self.in_flight.clear();
        self.closing = Some(reason);
    }

    /// At a shutdown no frame is read any more, parked requests are given up, and pipelined ones may finish within the grace.
    fn notice_shutdown(&mut self, cx: &mut Context<'_>, now: Duration) {
        if self.shutdown_wake.is_none() {
            let mut wake = Box::pin(self.shutdown.clone().cancelled_owned());
            let _ = wake.as_mut().poll(cx);
            self.shutdown_wake = Some(wake);
        }
        if !self.shutdown.is_cancelled() {
            return;
        }
        self.stopping_since.get_or_insert(now);
        self.in_flight.retain(|request| !request.serial);
    }

    /// What is to be done, if a deadline has passed; otherwise the task is woken at the next one.
    fn overdue(&mut self, cx: &mut Context<'_>, now: Duration) -> Option<Due> {
        let limits = &self.shared.limits;
        let progress = limits.progress_bytes_min as u64;
        let waits_for_peer = self.intake.is_partial() && self.may_dispatch() && !self.intake.waits_for_budget() && !self.is_muted();
        advance(&mut self.reading, waits_for_peer, self.intake.read_bytes(), progress, now);
        advance(&mut self.writing, !self.outlet.is_empty(), self.outlet.written_bytes(), progress, now);
        let bytes = self.intake.read_bytes() + self.outlet.written_bytes();
        if bytes != self.last_activity.1 {
            self.last_activity = (now, bytes);
            self.context.note_activity(now);
        }
        let is_idle = self.in_flight.is_empty() && self.outlet.is_empty() && !waits_for_peer;
        let candidates = [
            self.reading.map(|span| (span.since + limits.partial_frame_timeout, CloseReason::PartialFrame)),
            self.writing.map(|span| (span.since + limits.write_timeout, CloseReason::WriteStalled)),
            self.stopping_since.map(|since| (since + limits.shutdown_grace, CloseReason::ShuttingDown)),
            limits.idle_max.filter(|_| is_idle).map(|idle_max| (self.last_activity.0.saturating_add(idle_max), CloseReason::Idle)),
        ];
        let closings = candidates.into_iter().flatten().map(|(deadline, reason)| (deadline, Due::Close(reason)));
        let unmute = self.is_muted().then(|| (self.context.muted_until(), Due::Unmute));
        let (deadline, due) = closings.chain(unmute).min_by_key(|(deadline, _)| *deadline)?;
        self.watchdog.has_passed(cx, &*self.shared.clock, now, deadline).then_some(due)
    }
}

/// Begins, renews or ends a span. It is renewed when the side has made progress within it, or has begun something new since.
fn advance(span: &mut Option<Span>, is_waiting: bool, bytes: u64, progress_min: u64, now: Duration) {
    match span {
        _ if !is_waiting => *span = None,
        Some(running) if bytes - running.bytes_before < progress_min => {}
        _ => *span = Some(Span { since: now, bytes_before: bytes }),
    }
}

impl<D: Dispatch + ?Sized> Future for Connection<D> {
    type Output = CloseReason;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let this = self.get_mut();
        // What a panic leaves half done belongs to this connection alone, and the connection ends.
        catch_unwind(AssertUnwindSafe(|| this.step(cx))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Poll::Ready(CloseReason::Panicked(text.unwrap_or_default()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_renewed_by_progress_and_not_by_a_trickle() {
        let second = Duration::from_secs;
        let mut span = None;
        advance(&mut span, true, 100, 10, second(1));
        advance(&mut span, true, 109, 10, second(2));
        assert_eq!(span.map(|span| span.since), Some(second(1)));
        advance(&mut span, true, 110, 10, second(3));
        assert_eq!(span.map(|span| span.since), Some(second(3)));
        advance(&mut span, false, 110, 10, second(4));
        assert!(span.is_none());
    }
}
