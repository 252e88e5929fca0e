//! Sequences of requests against a broker in this process, checked against a model as they go.
//!
//! An input's bytes become up to forty requests over a few topics, partitions, groups, members and producers; keys and versions are drawn from the
//! table that the broker advertises. What the broker acknowledges goes into the model (`world`), and later answers must agree with it.
//!
//! Checked:
//! - Each request is answered in bounded time or closes the connection, and the answer decodes at its version.
//! - No answer holds UNKNOWN_SERVER_ERROR.
//! - A well-formed batch is appended at the partition's end, a repeated one answered with its first offset, a bad one refused.
//! - What was acknowledged is fetched back, in order, once, byte for byte; the high watermark is the end of what was acknowledged.
//! - A committed offset is read back until it is committed anew or deleted.
//! - A group's generation never goes back, and a member gets only the assignment that was made for it in its generation.
//!
//! The fuzz target and a test of `apis` with fixed seeds include this folder. Time stands still but for steps that move it, so no run depends on the
//! machine's speed; the limit on an answer is the one exception.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod client;
mod fetches;
mod groups;
mod logs;
mod offsets;
mod source;
mod topics;
mod world;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use apis::Apis;
use broker::config::{BrokerConfig, Mode, Origin, RawConfig};
use broker::entropy::SystemEntropy;
use broker::{BrokerParts, Failpoints, RunningBroker};
use model::Timestamp;
use protocol::StrBytes;
use protocol::messages::FindCoordinatorRequest;
use tempfile::TempDir;
use wire::clock::ManualClock;

use client::Run;

/// The most requests of one sequence, beside those that look at the end.
const STEPS_MAX: usize = 40;

/// A fresh broker after so many sequences, so that what they leave behind does not pile up.
const SEQUENCES_PER_BROKER: u64 = 500;

/// The wall clock's start.
const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// What the broker did wrong, and the requests up to there.
#[derive(Debug)]
pub(crate) struct Finding(pub(crate) String);

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The result of a check.
pub(crate) type Checked<T = ()> = Result<T, Finding>;

/// Returns a finding unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::sequences::Finding(format!($($text)+)));
        }
    };
}
pub(crate) use ensure;

/// A broker that serves one sequence after another.
pub(crate) struct Harness {
    runtime: tokio::runtime::Runtime,
    broker: Option<Served>,
    sequences: u64,
    /// Whether each request is written to standard error as it goes: what a replay wants to see.
    pub(crate) verbose: bool,
}

pub(crate) struct Served {
    running: RunningBroker,
    pub(crate) apis: Arc<Apis>,
    pub(crate) clock: ManualClock,
    _directory: TempDir,
}

impl Harness {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, broker: None, sequences: 0, verbose: false }
    }

    /// Plays the sequence that the bytes describe; returns how many requests that were.
    pub(crate) fn play(&mut self, data: &[u8]) -> Checked<usize> {
        if self.sequences.is_multiple_of(SEQUENCES_PER_BROKER) {
            self.renew()?;
        }
        self.sequences += 1;
        let Some(served) = &self.broker else { return Err(Finding("there is no broker".to_owned())) };
        let mut run = Run::new(served, self.sequences, data, self.verbose);
        let result = self.runtime.block_on(async {
            let result = run.play().await;
            run.drop_parked();
            result
        });
        result.map(|()| run.requests()).map_err(|finding| Finding(format!("{}\nafter:\n{}", finding.0, run.trace())))
    }

    /// Stops the broker.
    pub(crate) fn stop(&mut self) {
        if let Some(served) = self.broker.take() {
            self.runtime.block_on(served.running.stop());
        }
    }

    fn renew(&mut self) -> Checked {
        self.stop();
        let served = self.runtime.block_on(start());
        // The offsets topic is there before the first sequence, as a client's first question would see to.
        let mut run = Run::new(&served, 0, &[], self.verbose);
        self.runtime.block_on(async {
            let request = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("any"));
            let answer = run.call(0, &request).await?;
            ensure!(answer.error_code == 0, "no coordinator: {answer:?}");
            Ok(())
        })?;
        self.broker = Some(served);
        Ok(())
    }
}

async fn start() -> Served {
    let directory = tempfile::tempdir().unwrap();
    let mut raw = RawConfig::default();
    let settings = [
        ("listeners", "PLAINTEXT://127.0.0.1:9"),
        ("log.dirs", directory.path().to_str().unwrap()),
        ("offsets.topic.num.partitions", "2"),
        // Expiry would take groups away behind the model's back.
        ("offsets.retention.check.interval.ms", "9000000000000"),
        ("max.incremental.fetch.session.cache.slots", "100000"),
    ];
    for (key, value) in settings {
        raw.set(key, value, Origin::Flag { flag: "sequences" });
    }
    let clock = ManualClock::new(NOW);
    let parts = BrokerParts {
        clock: clock.shared(),
        entropy: Arc::new(SystemEntropy),
        bound_ports: HashMap::from([("PLAINTEXT".to_owned(), 9)]),
        failpoints: Failpoints::default(),
        metrics: apis::new_metrics(),
        life: Arc::default(),
        quorum_started: None,
    };
    let running = broker::start(BrokerConfig::from_map(&raw, Mode::Developer).unwrap(), parts).await.unwrap();
    let apis = Arc::new(Apis::new(Arc::clone(&running.broker)));
    Served { running, apis, clock, _directory: directory }
}

/// How long anything may take that waits for nobody: far more than it takes, since it is real time.
const ANSWER_MAX: Duration = Duration::from_secs(20);
