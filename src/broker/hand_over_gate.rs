//! Produce requests pause while a broker hands its partitions over, so that each is answered by the leader that has it.
//!
//! A broker that stops first waits until the requests that it has taken are answered, and takes no other one meanwhile; then others lead its partitions, and
//! those that wait are told so, having written nothing. Without that, records that the followers have and whose producer is told NOT_LEADER_OR_FOLLOWER are
//! sent again, and a producer without idempotence doubles them. Apache Kafka does not wait.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use wire::clock::{Clock, timeout_at};

/// How long the requests under way may hold the hand-over up.
const DRAIN_WITHIN: Duration = Duration::from_millis(500);

/// The gate. Open until [`HandOverGate::close`].
#[derive(Debug)]
pub struct HandOverGate {
    passes: TaskTracker,
    is_open: watch::Sender<bool>,
}

/// A request under way. The hand-over waits until it is dropped.
#[derive(Debug)]
pub struct Pass {
    _token: TaskTrackerToken,
}

impl Default for HandOverGate {
    fn default() -> Self {
        Self { passes: TaskTracker::new(), is_open: watch::Sender::new(true) }
    }
}

impl HandOverGate {
    /// A pass, if the gate is open.
    #[must_use]
    pub fn try_pass(&self) -> Option<Pass> {
        // The pass counts before the gate is looked at, so that whoever closes it sees the pass or is seen.
        let pass = Pass { _token: self.passes.token() };
        (!self.passes.is_closed()).then_some(pass)
    }

    /// A pass, once the gate is open.
    pub async fn pass(&self) -> Pass {
        let mut is_open = self.is_open.subscribe();
        loop {
            if let Some(pass) = self.try_pass() {
                return pass;
            }
            // The sender lives as long as the gate.
            let _open = is_open.wait_for(|is_open| *is_open).await;
        }
    }

    /// Gives no more passes, and waits a while for those that are out.
    pub(crate) async fn close(&self, clock: &dyn Clock) {
        self.is_open.send_replace(false);
        self.passes.close();
        let drained = timeout_at(clock, clock.monotonic() + DRAIN_WITHIN, self.passes.wait()).await;
        if drained.is_err() {
            tracing::info!(
                requests = self.passes.len(),
                "produce requests that wait for their replicas do not hold up the hand-over any longer"
            );
        }
    }

    /// Lets those that wait go on.
    pub(crate) fn open(&self) {
        self.passes.reopen();
        self.is_open.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};

    use model::Timestamp;
    use wire::clock::{ManualClock, SystemClock};

    use super::*;

    fn is_ready(future: Pin<&mut impl Future>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn whoever_has_a_pass_is_waited_for_and_whoever_comes_later_waits() {
        let (gate, clock) = (HandOverGate::default(), SystemClock::default());
        let first = gate.try_pass().expect("open");
        let mut closing = pin!(gate.close(&clock));
        assert!(!is_ready(closing.as_mut()));
        assert!(gate.try_pass().is_none());
        let mut second = pin!(gate.pass());
        assert!(!is_ready(second.as_mut()));
        drop(first);
        closing.await;
        assert!(!is_ready(second.as_mut()));
        gate.open();
        let _second = second.await;
        assert!(gate.try_pass().is_some());
    }

    #[tokio::test]
    async fn a_request_that_is_not_answered_holds_nothing_up_for_ever() {
        let (gate, clock) = (HandOverGate::default(), ManualClock::new(Timestamp(0)));
        let _never_answered = gate.try_pass().expect("open");
        let mut closing = pin!(gate.close(&clock));
        assert!(!is_ready(closing.as_mut()));
        clock.advance(DRAIN_WITHIN);
        closing.await;
        assert!(gate.try_pass().is_none());
    }
}
