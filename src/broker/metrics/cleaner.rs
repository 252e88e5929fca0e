//! What the log cleaner did last, and what it cannot clean (`LogCleaner`'s and `LogCleanerManager`'s gauges).

use std::collections::HashSet;
use std::time::Duration;

use log_store::Cleaning;
use model::TopicIdPartition;
use parking_lot::Mutex;

use super::Counter;

/// Told by the cleaner once for each look at the logs and each cleaning, so never on the way of a record.
#[derive(Debug, Default)]
pub struct CleanerMetrics {
    state: Mutex<CleanerState>,
    /// Bytes of segments that were cleaned.
    pub read_bytes: Counter,
    /// Bytes of the segments that took their place.
    pub written_bytes: Counter,
}

/// The cleaner at one moment.
#[derive(Debug, Default, Clone)]
pub struct CleanerState {
    /// The last cleaning of each of its threads.
    pub threads: Vec<LastCleaning>,
    /// The logs that are being cleaned.
    pub running: HashSet<TopicIdPartition>,
    /// How dirty the dirtiest log was at the last look, from 0 to 1.
    pub dirtiest_ratio: f64,
    /// When it last looked, by the monotonic clock; `None` while there is nothing to clean or nobody who would.
    pub looked_at: Option<Duration>,
    /// Logs that it has given up.
    pub uncleanable: HashSet<TopicIdPartition>,
    /// Cleanings that ended by a panic since the cleaner was last configured.
    pub died: u64,
}

/// The last cleaning of one thread.
#[derive(Debug, Default, Clone, Copy)]
pub struct LastCleaning {
    /// For how long a record had waited beyond its log's maximal lag when the thread chose a log, of all logs the most.
    pub overdue_ms: i64,
    /// What its last finished cleaning did.
    pub cleaning: Cleaning,
    /// How long that took.
    pub elapsed: Duration,
}

impl CleanerMetrics {
    /// The cleaner at this moment.
    #[must_use]
    pub fn state(&self) -> CleanerState {
        self.state.lock().clone()
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut CleanerState) -> T) -> T {
        change(&mut self.state.lock())
    }

    /// Counts a finished cleaning.
    pub(crate) fn cleaned(&self, thread: usize, cleaning: Cleaning, elapsed: Duration) {
        self.read_bytes.add(cleaning.bytes_before);
        self.written_bytes.add(cleaning.bytes_after);
        self.change(|state| {
            if let Some(last) = state.threads.get_mut(thread) {
                (last.cleaning, last.elapsed) = (cleaning, elapsed);
            }
        });
    }
}

impl CleanerState {
    /// The most of all threads.
    #[must_use]
    pub fn most(&self, of: impl Fn(&LastCleaning) -> f64) -> f64 {
        self.threads.iter().map(of).fold(0.0, f64::max)
    }

    /// How much of what was read in the last cleanings was written again, in percent.
    #[must_use]
    pub fn recopy_percent(&self) -> f64 {
        let sum = |of: fn(&Cleaning) -> u64| self.threads.iter().map(|last| of(&last.cleaning)).sum::<u64>() as f64;
        100.0 * sum(|cleaning| cleaning.bytes_after) / sum(|cleaning| cleaning.bytes_before).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_threads_the_most_counts_and_what_was_copied_is_taken_together() {
        let metrics = CleanerMetrics::default();
        metrics.change(|state| state.threads = vec![LastCleaning::default(); 2]);
        assert_eq!(metrics.state().recopy_percent(), 0.0);
        let cleaning = |bytes_before, bytes_after| Cleaning { bytes_before, bytes_after, ..Cleaning::default() };
        metrics.cleaned(0, cleaning(100, 10), Duration::from_secs(3));
        metrics.cleaned(1, cleaning(300, 90), Duration::from_secs(2));
        // A thread that is gone since.
        metrics.cleaned(7, cleaning(1, 1), Duration::from_secs(9));
        let state = metrics.state();
        assert_eq!(state.recopy_percent(), 25.0);
        assert_eq!(state.most(|last| last.elapsed.as_secs_f64()), 3.0);
        assert_eq!((metrics.read_bytes.get(), metrics.written_bytes.get()), (401, 101));
    }
}
