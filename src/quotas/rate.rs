//! How fast something was used over a sliding window (`Rate` over `WindowedSum`).

use core::time::Duration;

use crate::Window;

/// What was used in one part of the window.
#[derive(Clone, Copy, Debug)]
struct Sample {
    value: f64,
    begin: Duration,
    last_event: Duration,
}

impl Sample {
    const fn new(now: Duration) -> Self {
        Self { value: 0.0, begin: now, last_event: now }
    }
}

/// The samples of one rate. One more than the window has is kept: the oldest may overlap the window's edge.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    samples: Vec<Sample>,
    current: usize,
}

impl Rate {
    /// Adds a value; a negative one takes back what was added before.
    pub(crate) fn record(&mut self, window: &Window, value: f64, now: Duration) {
        match self.samples.get(self.current) {
            Some(sample) if now.saturating_sub(sample.begin) < window.length => {}
            Some(_) => self.advance(window, now),
            None => self.samples.push(Sample::new(now)),
        }
        if let Some(sample) = self.samples.get_mut(self.current) {
            sample.value += value;
            sample.last_event = now;
        }
    }

    fn advance(&mut self, window: &Window, now: Duration) {
        self.current += 1;
        if u32::try_from(self.current).map_or(true, |current| current > window.samples) {
            self.current = 0;
        }
        match self.samples.get_mut(self.current) {
            Some(oldest) => *oldest = Sample::new(now),
            None => {
                self.current = self.samples.len();
                self.samples.push(Sample::new(now));
            }
        }
    }

    /// What was used per second, and the span that this was taken over.
    pub(crate) fn measure(&mut self, window: &Window, now: Duration) -> (f64, Duration) {
        let expiry = window.span();
        for sample in self.samples.iter_mut().filter(|sample| now.saturating_sub(sample.last_event) >= expiry) {
            *sample = Sample::new(now);
        }
        let total: f64 = self.samples.iter().map(|sample| sample.value).sum();
        let span = self.span(window, now);
        (total / span.as_secs_f64(), span)
    }

    /// The time since the oldest sample began, but at least all but one of the windows and what has passed of the last: a burst after a rest
    /// shall not look endlessly fast.
    fn span(&self, window: &Window, now: Duration) -> Duration {
        let oldest = self.samples.iter().map(|sample| sample.begin).min().unwrap_or(now);
        let elapsed = now.saturating_sub(oldest);
        let full = elapsed.as_nanos().checked_div(window.length.as_nanos()).and_then(|full| u32::try_from(full).ok()).unwrap_or(u32::MAX);
        let missing = window.samples.saturating_sub(1).saturating_sub(full);
        (elapsed + window.length.saturating_mul(missing)).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_burst_in_a_fresh_window_counts_as_spread_over_all_but_one_of_the_windows() {
        let mut rate = Rate::default();
        rate.record(&Window::default(), 1000.0, seconds(50.0));
        assert_eq!(rate.measure(&Window::default(), seconds(50.0)), (100.0, seconds(10.0)));
        assert_eq!(rate.measure(&Window::default(), seconds(50.5)), (1000.0 / 10.5, seconds(10.5)));
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut rate = Rate::default();
        rate.record(&Window::default(), 1000.0, seconds(0.0));
        assert!(rate.measure(&Window::default(), seconds(10.999)).0 > 90.0);
        assert_eq!(rate.measure(&Window::default(), seconds(11.0)).0, 0.0);
    }

    #[test]
    fn a_value_taken_back_leaves_no_trace() {
        let mut rate = Rate::default();
        rate.record(&Window::default(), 500.0, seconds(1.0));
        rate.record(&Window::default(), 7.0, seconds(1.2));
        rate.record(&Window::default(), -7.0, seconds(1.2));
        assert_eq!(rate.measure(&Window::default(), seconds(1.2)).0, 500.0 / 10.2);
    }

    proptest! {
        #[test]
        fn a_steady_rate_is_measured_as_such_once_the_window_is_full(per_second in 1_u32..100_000, events in 1_u32..20) {
            let mut rate = Rate::default();
            let step = 1.0 / f64::from(events);
            let mut now = 0.0;
            while now < 40.0 {
                rate.record(&Window::default(), f64::from(per_second) * step, seconds(now));
                now += step;
            }
            let (measured, _) = rate.measure(&Window::default(), seconds(now));
            prop_assert!((measured / f64::from(per_second) - 1.0).abs() < 0.02, "{measured} for {per_second}");
            prop_assert!(rate.samples.len() <= 12);
        }
    }
}
