//! Time as a value that is passed in: the one file that may use tokio's timers.
//!
//! Everything that waits asks a [`Clock`]; tests hand in a [`ManualClock`] and move it themselves, so no test sleeps.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::Timestamp;
use thiserror::Error;

use crate::BoxFuture;

/// A source of time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock. It may jump.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment. It never goes back; deadlines are values of it.
    fn monotonic(&self) -> Duration;

    /// Completes once [`Clock::monotonic`] has reached the deadline.
    fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()>;
}

/// A clock that is handed around.
pub type SharedClock = Arc<dyn Clock>;

/// The deadline passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the deadline passed")]
pub struct Elapsed;

/// Waits for the future, at most until the deadline.
///
/// # Errors
/// The deadline passed before the future was ready.
pub async fn timeout_at<F: Future>(clock: &dyn Clock, deadline: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut sleep = clock.sleep_until(deadline);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        sleep.as_mut().poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

/// The machine's clocks and tokio's timers.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// The same, ready to be handed around.
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self::new())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        match self.origin.checked_add(deadline) {
            Some(instant) => Box::pin(tokio::time::sleep_until(instant.into())),
            // So far away that the machine's clock cannot say it.
            None => Box::pin(std::future::pending()),
        }
    }
}

/// A clock that stands still until a test moves it.
#[derive(Clone, Debug)]
pub struct ManualClock {
    state: Arc<Mutex<ManualState>>,
    armed: Arc<tokio::sync::Notify>,
}

#[derive(Debug)]
struct ManualState {
    monotonic: Duration,
    now_ms: i64,
    next_sleeper: u64,
    sleepers: BTreeMap<(Duration, u64), Waker>,
}

impl ManualClock {
    /// A clock that shows this wall time, and a monotonic time of zero.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let state = ManualState { monotonic: Duration::ZERO, now_ms: now.millis(), next_sleeper: 0, sleepers: BTreeMap::new() };
        Self { state: Arc::new(Mutex::new(state)), armed: Arc::default() }
    }

    /// The same clock, as handed around.
    #[must_use]
    pub fn shared(&self) -> SharedClock {
        Arc::new(self.clone())
    }

    /// Moves both times forward and wakes the sleepers that are due.
    pub fn advance(&self, by: Duration) {
        let due: Vec<Waker> = {
            let mut state = self.lock();
            state.monotonic += by;
            state.now_ms = state.now_ms.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
            let last_due = (state.monotonic, u64::MAX);
            let later = state.sleepers.split_off(&last_due);
            std::mem::replace(&mut state.sleepers, later).into_values().collect()
        };
        due.into_iter().for_each(Waker::wake);
    }

    /// The earliest deadline that anybody sleeps for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.lock().sleepers.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Waits until somebody sleeps for a deadline at or before this one: what a test needs before it moves the clock.
    pub async fn until_armed(&self, deadline: Duration) {
        loop {
            let armed = self.armed.notified();
            let mut armed = pin!(armed);
            armed.as_mut().enable();
            if self.next_deadline().is_some_and(|earliest| earliest <= deadline) {
                return;
            }
            armed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, ManualState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.lock().now_ms)
    }

    fn monotonic(&self) -> Duration {
        self.lock().monotonic
    }

    fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        let number = {
            let mut state = self.lock();
            state.next_sleeper += 1;
            state.next_sleeper
        };
        Box::pin(ManualSleep { clock: self.clone(), key: (deadline, number) })
    }
}

struct ManualSleep {
    clock: ManualClock,
    key: (Duration, u64),
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.clock.lock();
            if state.monotonic >= self.key.0 {
                state.sleepers.remove(&self.key);
                return Poll::Ready(());
            }
            state.sleepers.insert(self.key, cx.waker().clone());
        }
        self.clock.armed.notify_waiters();
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        self.clock.lock().sleepers.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_clock_reaches_its_deadline_and_not_before() {
        let clock = ManualClock::new(Timestamp(1000));
        let sleep = clock.sleep_until(Duration::from_secs(5));
        let task = tokio::spawn(sleep);
        clock.until_armed(Duration::from_secs(5)).await;
        clock.advance(Duration::from_secs(4));
        assert_eq!(clock.next_deadline(), Some(Duration::from_secs(5)));
        clock.advance(Duration::from_secs(1));
        task.await.expect("wakes");
        assert_eq!(clock.now(), Timestamp(6000));
        assert_eq!(clock.next_deadline(), None);
    }

    #[tokio::test]
    async fn a_timeout_gives_up_at_its_deadline_and_leaves_no_sleeper() {
        let clock = ManualClock::new(Timestamp(0));
        let waiting = clock.clone();
        let task = tokio::spawn(async move { timeout_at(&waiting, Duration::from_secs(1), std::future::pending::<()>()).await });
        clock.until_armed(Duration::from_secs(1)).await;
        clock.advance(Duration::from_secs(1));
        assert_eq!(task.await.expect("joins"), Err(Elapsed));
        assert_eq!(timeout_at(&clock, Duration::from_secs(9), async { 7 }).await, Ok(7));
        assert_eq!(clock.next_deadline(), None);
    }
}
