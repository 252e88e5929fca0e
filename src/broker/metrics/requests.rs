//! Requests and their answers, by API (Kafka's `RequestMetrics`).

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::core::Metric as _;
use prometheus::{Histogram, HistogramOpts, proto};

use super::Counter;

/// The upper bounds of the histogram's buckets, in milliseconds. Long polls and rebalances reach into the seconds.
const BUCKETS_MS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 5000.0, 30000.0];

/// Kafka's codes go from -1 to about 135; one that lies beyond is counted as -1, which is its meaning to a client that does not know it.
const CODES: usize = 192;

const UNKNOWN_SERVER_ERROR: i16 = -1;

/// What the counters must know of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiLabel {
    /// Kafka's name.
    pub name: &'static str,
    /// The lowest served version.
    pub version_min: i16,
    /// The highest served version.
    pub version_max: i16,
}

/// Whose fetch it is: Kafka counts the two apart, and together as `Fetch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchBy {
    /// A consumer's.
    Consumer,
    /// Another broker's.
    Follower,
}

/// The counters of one API.
#[derive(Debug)]
pub struct RequestMetrics {
    label: ApiLabel,
    /// Made by the first request: most brokers are asked for a few APIs only, and an idle one shall be small.
    counts: OnceLock<Counts>,
}

#[derive(Debug)]
struct Counts {
    by_version: Box<[Counter]>,
    by_code: Box<[Counter]>,
    total_time_ms: Histogram,
}

impl Counts {
    fn new(label: ApiLabel) -> Self {
        let versions = usize::try_from(label.version_max.saturating_sub(label.version_min)).map_or(1, |span| span + 1);
        let buckets = HistogramOpts::new("total_time_ms", "-").buckets(BUCKETS_MS.to_vec());
        let counters = |count| std::iter::repeat_with(Counter::default).take(count).collect();
        Self {
            by_version: counters(versions),
            by_code: counters(CODES),
            // The bounds are sorted, which is all that can be wrong with them.
            total_time_ms: Histogram::with_opts(buckets).unwrap_or_else(|error| unreachable!("the buckets are a constant: {error}")),
        }
    }
}

impl RequestMetrics {
    const fn new(label: ApiLabel) -> Self {
        Self { label, counts: OnceLock::new() }
    }

    fn counts(&self) -> &Counts {
        self.counts.get_or_init(|| Counts::new(self.label))
    }

    /// Kafka's name of the API.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.label.name
    }

    /// Counts a request of a served version.
    pub fn began(&self, version: i16) {
        let place = usize::try_from(version.saturating_sub(self.label.version_min)).unwrap_or(0);
        if let Some(counter) = self.counts().by_version.get(place) {
            counter.add(1);
        }
    }

    /// Counts the time from a request's last byte to its answer.
    pub fn took(&self, time: Duration) {
        self.counts().total_time_ms.observe(time.as_secs_f64() * 1000.0);
    }

    /// Counts one code of an answer, zero too.
    pub fn told(&self, code: i16) {
        let by_code = &self.counts().by_code;
        if let Some(counter) = by_code.get(code_place(code)).or_else(|| by_code.get(code_place(UNKNOWN_SERVER_ERROR))) {
            counter.add(1);
        }
    }

    /// The versions that were asked for, and how often.
    pub fn versions(&self) -> impl Iterator<Item = (i16, u64)> + '_ {
        numbered(self.label.version_min, self.counts.get().map(|counts| &*counts.by_version))
    }

    /// The codes that were told, and how often.
    pub fn codes(&self) -> impl Iterator<Item = (i16, u64)> + '_ {
        numbered(UNKNOWN_SERVER_ERROR, self.counts.get().map(|counts| &*counts.by_code))
    }

    /// How many requests were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.counts.get().map_or(0, |counts| counts.total_time_ms.get_sample_count())
    }

    /// What an answered request took on average; zero if there is none.
    #[must_use]
    pub fn mean_time_ms(&self) -> f64 {
        match self.counts.get() {
            Some(counts) if self.answered() > 0 => counts.total_time_ms.get_sample_sum() / self.answered() as f64,
            _ => 0.0,
        }
    }

    pub(super) fn total_time_ms(&self) -> proto::Histogram {
        self.counts().total_time_ms.metric().get_histogram().clone()
    }
}

/// The counters that are not zero, with the numbers that they stand for.
fn numbered(first: i16, counters: Option<&[Counter]>) -> impl Iterator<Item = (i16, u64)> + '_ {
    (first..).zip(counters.unwrap_or_default()).map(|(number, counter)| (number, counter.get())).filter(|(_, count)| *count > 0)
}

/// Where a code's counter stands.
fn code_place(code: i16) -> usize {
    usize::try_from(i32::from(code) - i32::from(UNKNOWN_SERVER_ERROR)).unwrap_or(0)
}

/// The counters of all APIs.
#[derive(Debug)]
pub struct Requests {
    by_place: Box<[RequestMetrics]>,
    fetch_consumer: RequestMetrics,
    fetch_follower: RequestMetrics,
}

impl Requests {
    pub(super) fn new(apis: &[ApiLabel]) -> Self {
        let fetch = apis.iter().find(|api| api.name == "Fetch").copied();
        let fetch = fetch.unwrap_or(ApiLabel { name: "Fetch", version_min: 0, version_max: 0 });
        Self {
            by_place: apis.iter().map(|api| RequestMetrics::new(*api)).collect(),
            fetch_consumer: RequestMetrics::new(ApiLabel { name: "FetchConsumer", ..fetch }),
            fetch_follower: RequestMetrics::new(ApiLabel { name: "FetchFollower", ..fetch }),
        }
    }

    /// The counters of the API at this place of the list.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<&RequestMetrics> {
        self.by_place.get(place)
    }

    /// The counters of one kind of fetch, beside those of the API.
    #[must_use]
    pub fn fetch(&self, by: FetchBy) -> &RequestMetrics {
        match by {
            FetchBy::Consumer => &self.fetch_consumer,
            FetchBy::Follower => &self.fetch_follower,
        }
    }

    /// All counters, those of the kinds of fetch last.
    pub fn all(&self) -> impl Iterator<Item = &RequestMetrics> {
        self.by_place.iter().chain([&self.fetch_consumer, &self.fetch_follower])
    }

    /// How often a client was told UNKNOWN_SERVER_ERROR, which says that the broker met something it has no answer to.
    #[must_use]
    pub fn unknown_server_errors(&self) -> u64 {
        let of_api = |api: &RequestMetrics| api.counts.get().and_then(|counts| counts.by_code.first()).map_or(0, Counter::get);
        self.by_place.iter().map(of_api).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APIS: &[ApiLabel] = &[ApiLabel { name: "Produce", version_min: 3, version_max: 13 }];

    #[test]
    fn requests_are_counted_by_version_and_answers_by_code() {
        let requests = Requests::new(APIS);
        let produce = requests.at(0).expect("there");
        for version in [3, 13, 13] {
            produce.began(version);
        }
        for code in [0, 0, -1, 6, 30_000] {
            produce.told(code);
        }
        assert_eq!(produce.versions().collect::<Vec<_>>(), [(3, 1), (13, 2)]);
        assert_eq!(produce.codes().collect::<Vec<_>>(), [(-1, 2), (0, 2), (6, 1)]);
        assert_eq!(requests.unknown_server_errors(), 2);
        assert!(requests.at(1).is_none());
    }

    #[test]
    fn a_time_falls_into_the_buckets_that_hold_it() {
        let requests = Requests::new(APIS);
        let produce = requests.at(0).expect("there");
        produce.took(Duration::from_micros(200));
        produce.took(Duration::from_millis(40));
        let histogram = produce.total_time_ms();
        let below = |bound: f64| histogram.get_bucket().iter().find(|bucket| bucket.upper_bound() == bound).map(|b| b.cumulative_count());
        assert_eq!((below(0.1), below(0.25), below(50.0)), (Some(0), Some(1), Some(2)));
        assert!((histogram.get_sample_sum() - 40.2).abs() < 0.001);
        assert_eq!(produce.answered(), 2);
    }
}
