//! How many new connections a broker takes per second, from whomever (`max.connection.creation.rate`, KIP-612).

use core::time::Duration;

use crate::rate::Rate;
use crate::{Window, wait};

/// The broker's limit of new connections, and how many there were lately.
#[derive(Debug)]
pub struct ConnectionRate {
    window: Window,
    limit: Option<f64>,
    rate: Rate,
}

impl ConnectionRate {
    /// No limit, measured over a window (`quota.window.*`).
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self { window, limit: None, rate: Rate::default() }
    }

    /// Sets or removes the limit. What came before it was set counts for nothing.
    pub fn set(&mut self, limit: Option<f64>) {
        if self.limit != limit {
            (self.limit, self.rate) = (limit, Rate::default());
        }
    }

    /// Records a connection, and says how long its listener is to rest: at most one sample of the window.
    pub fn accept(&mut self, now: Duration) -> Duration {
        let Some(limit) = self.limit else { return Duration::ZERO };
        self.rate.record(&self.window, 1.0, now);
        let (measured, span) = self.rate.measure(&self.window, now);
        if measured <= limit { Duration::ZERO } else { wait((measured - limit) / limit * span.as_secs_f64()).min(self.window.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_beyond_the_rate_make_the_listener_rest_and_others_do_not() {
        let mut rate = ConnectionRate::new(Window::default());
        assert_eq!(rate.accept(Duration::ZERO), Duration::ZERO);
        rate.set(Some(2.0));
        // A burst of as many as the window has room for: two in each of ten seconds.
        let rests: Vec<Duration> = (0..21).map(|_| rate.accept(Duration::ZERO)).collect();
        assert!(rests.iter().take(20).all(Duration::is_zero), "{rests:?}");
        assert!(rests.last().is_some_and(|rest| !rest.is_zero() && *rest <= Duration::from_secs(1)), "{rests:?}");
        assert_eq!(rate.accept(Duration::from_secs(60)), Duration::ZERO);
        rate.set(None);
        assert_eq!(rate.accept(Duration::from_secs(60)), Duration::ZERO);
    }
}
