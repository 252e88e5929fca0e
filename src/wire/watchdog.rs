//! One timer for all deadlines of a connection, moved as rarely as possible.

use std::task::Context;
use std::time::Duration;

use crate::BoxFuture;
use crate::clock::Clock;

/// A timer that is armed for some moment at or before the nearest deadline. Deadlines that move away cost nothing: when the timer fires too
/// early it is armed again.
#[derive(Default)]
pub(crate) struct Watchdog {
    armed: Option<(Duration, BoxFuture<'static, ()>)>,
}

impl Watchdog {
    /// Whether the deadline has passed; if not, the task will be woken at the deadline or before it.
    ///
    /// IMPORTANT: it must always be called from the same task, because an armed timer is not polled again before its time.
    pub(crate) fn has_passed(&mut self, cx: &mut Context<'_>, clock: &dyn Clock, now: Duration, deadline: Duration) -> bool {
        if now >= deadline {
            return true;
        }
        loop {
            match &mut self.armed {
                Some((at, _)) if *at <= deadline && now < *at => return false,
                Some((at, sleep)) if *at <= deadline => {
                    if sleep.as_mut().poll(cx).is_pending() {
                        return false;
                    }
                    self.armed = None;
                }
                _ => {
                    let mut sleep = clock.sleep_until(deadline);
                    if sleep.as_mut().poll(cx).is_ready() {
                        return true;
                    }
                    self.armed = Some((deadline, sleep));
                    return false;
                }
            }
        }
    }
}
