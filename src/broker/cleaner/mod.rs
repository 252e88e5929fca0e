//! The log cleaner at work: looks for compacted topics that are due, cleans as many logs at once as it has threads, slows down as it is told.
//!
//! While there is no compacted topic nothing ticks. What is decided and done to a log is the store's; here are time, threads and pace. A cleaning
//! runs on a thread of its own with the least right to the processor, and never on one that serves requests; an idle cleaner has none.
//!
//! Invariants:
//! - A log is cleaned by one thread at a time, and all maps of keys together are within `log.cleaner.dedupe.buffer.size`. A changed setting ends the
//!   cleanings that are under way, which keeps what they have swapped in, and others begin with it.
//! - Each look also drops the old segments of the compacted logs that it may clean, as Kafka's does; a topic that is not compacted any more has its
//!   cleaning stopped.
//! - Who fails rests for the backoff; what would fail again is given up until the broker starts again, and said in the metrics.
//!
//! In Kafka: `LogCleaner`, `LogCleaner.CleanerThread`, `LogCleanerManager.deletableLogs`, `Throttler`.

mod settings;
mod throttle;
mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use log_store::{Choice, Chosen, CleanError, choose_logs};
use model::TopicIdPartition;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Broker;
use crate::metrics::LastCleaning;
use crate::read_pool::off_thread;
use settings::Settings;
use throttle::Throttle;
use worker::{Outcome, Task, clean};

/// Cleans until the broker stops.
pub(crate) async fn run(broker: Arc<Broker>, stopping: CancellationToken) {
    let mut crew = Crew::new(&broker, Settings::now(&broker), &stopping);
    loop {
        let settings = Settings::now(&broker);
        if settings != crew.settings {
            crew.dismiss().await;
            crew = Crew::new(&broker, settings, &stopping);
        }
        let found = crew.look().await;
        if stopping.is_cancelled() {
            return crew.dismiss().await;
        }
        crew.begin(found.choice);
        let backoff = crew.backoff(found.has_compacted);
        tokio::select! {
            () = stopping.cancelled() => return crew.dismiss().await,
            Some(done) = crew.running.join_next() => crew.take_note(done),
            () = until_due(&broker, backoff) => {}
        }
    }
}

/// The cleanings that are under way, all with the same settings.
struct Crew {
    broker: Arc<Broker>,
    settings: Settings,
    throttle: Arc<Throttle>,
    running: JoinSet<Done>,
    /// By thread, the log that it cleans, and what stops it.
    threads: Vec<Option<(TopicIdPartition, CancellationToken)>>,
    /// Logs whose cleaning failed, and until when they are left alone.
    resting: HashMap<TopicIdPartition, Duration>,
    stop: CancellationToken,
}

/// A cleaning that has ended.
struct Done {
    thread: usize,
    elapsed: Duration,
    outcome: Outcome,
}

/// What a look found.
struct Found {
    choice: Choice,
    has_compacted: bool,
}

impl Crew {
    fn new(broker: &Arc<Broker>, settings: Settings, stopping: &CancellationToken) -> Self {
        let threads = vec![None; settings.slots()];
        broker.metrics.cleaner.change(|state| {
            (state.threads, state.died, state.looked_at) = (vec![LastCleaning::default(); threads.len()], 0, None);
        });
        Self {
            broker: Arc::clone(broker),
            settings,
            throttle: Arc::new(Throttle::new(settings.bytes_per_second)),
            running: JoinSet::new(),
            threads,
            resting: HashMap::new(),
            stop: stopping.child_token(),
        }
    }

    fn idle_count(&self) -> usize {
        self.threads.iter().filter(|log| log.is_none()).count()
    }

    /// How long to wait before looking again for who has nothing to do.
    fn backoff(&self, has_compacted: bool) -> Option<Duration> {
        (has_compacted && self.idle_count() > 0).then_some(self.settings.backoff)
    }

    /// Stops the cleanings of logs whose topics are not compacted any more (`LogManager.updateTopicConfig`).
    fn stop_unwanted(&self) {
        for (id, stop) in self.threads.iter().flatten() {
            if self.broker.partitions.get(*id).is_none_or(|partition| !partition.config().compact) {
                stop.cancel();
            }
        }
    }

    /// Looks at all logs, chooses as many as there are idle threads, and drops what compacted topics do not keep.
    async fn look(&mut self) -> Found {
        self.stop_unwanted();
        let broker = &self.broker;
        let all = Arc::clone(&broker.partitions);
        let partitions = all.all();
        let (now, monotonic) = (broker.clock.now(), broker.clock.monotonic());
        self.resting.retain(|_, until| *until > monotonic);
        let mut skipped = broker.metrics.cleaner.change(|state| {
            state.uncleanable.retain(|id| broker.partitions.get(*id).is_some());
            state.uncleanable.clone()
        });
        skipped.extend(self.resting.keys().copied().chain(self.threads.iter().flatten().map(|(id, _)| *id)));
        let (idle, is_enabled) = (self.idle_count(), self.settings.slots() > 0);
        let looked = off_thread(move || {
            let logs: Vec<_> = partitions.iter().filter_map(|partition| partition.to_clean()).collect();
            let has_compacted = is_enabled && !logs.is_empty();
            let logs: Vec<_> = logs.into_iter().filter(|candidate| !skipped.contains(&candidate.log.id())).collect();
            let choice = (has_compacted && idle > 0).then(|| {
                // Also without `delete`: there may be segments before the log start.
                let checks: HashSet<_> = logs.iter().map(|candidate| candidate.log.id()).collect();
                all.retain_those(|id| checks.contains(&id));
                choose_logs(logs, now, idle)
            });
            (choice, has_compacted)
        });
        let Some((choice, has_compacted)) = looked.await else {
            return Found { choice: Choice::default(), has_compacted: true };
        };
        broker.metrics.cleaner.change(|state| {
            state.looked_at = state.looked_at.filter(|_| has_compacted);
            if let Some(choice) = &choice {
                (state.looked_at, state.dirtiest_ratio) = (Some(monotonic), choice.dirtiest_ratio);
            } else if !has_compacted {
                state.dirtiest_ratio = 0.0;
            }
        });
        let mut choice = choice.unwrap_or_default();
        for (id, error) in std::mem::take(&mut choice.failed) {
            self.give_up(id, &error);
        }
        Found { choice, has_compacted }
    }

    /// Lets idle threads clean what was chosen.
    fn begin(&mut self, choice: Choice) {
        let overdue_ms = choice.overdue_ms;
        let idle: Vec<usize> = self.threads.iter().enumerate().filter(|(_, log)| log.is_none()).map(|(thread, _)| thread).collect();
        for (thread, chosen) in idle.into_iter().zip(choice.chosen) {
            let id = chosen.id();
            let stop = self.stop.child_token();
            if let Some(place) = self.threads.get_mut(thread) {
                *place = Some((id, stop.clone()));
            }
            self.broker.metrics.cleaner.change(|state| {
                state.running.insert(id);
                if let Some(last) = state.threads.get_mut(thread) {
                    last.overdue_ms = overdue_ms;
                }
            });
            self.spawn(thread, chosen, stop);
        }
    }

    fn spawn(&mut self, thread: usize, chosen: Chosen, stop: CancellationToken) {
        let broker = &self.broker;
        let task = Task {
            thread_name: format!("clean-{}-{thread}", broker.config.broker_id),
            settings: self.settings,
            throttle: Arc::clone(&self.throttle),
            file_delete_delay: broker.partitions.get(chosen.id()).map_or(Duration::ZERO, |partition| partition.file_delete_delay()),
            chosen,
            clock: Arc::clone(&broker.clock),
            stop,
        };
        let (clock, began) = (Arc::clone(&broker.clock), broker.clock.monotonic());
        self.running.spawn(async move {
            let outcome = clean(task).await;
            Done { thread, elapsed: clock.monotonic().saturating_sub(began), outcome }
        });
    }

    /// Takes note of a cleaning's end.
    fn take_note(&mut self, done: Result<Done, tokio::task::JoinError>) {
        // A task that waits for a thread neither panics nor is aborted before the crew is gone.
        let Ok(Done { thread, elapsed, outcome }) = done else { return };
        let Some((id, _)) = self.threads.get_mut(thread).and_then(Option::take) else { return };
        // However it ended, it may have swapped something.
        self.broker.partitions.note_removals();
        let metrics = &self.broker.metrics.cleaner;
        metrics.change(|state| state.running.remove(&id));
        match outcome {
            Outcome::Ended(Ok(cleaning)) => {
                tracing::debug!(partition = %id, ?cleaning, "cleaned a log");
                metrics.cleaned(thread, cleaning, elapsed);
            }
            Outcome::Ended(Err(CleanError::Stopped | CleanError::Changed)) => {}
            Outcome::Ended(Err(error)) => self.give_up(id, &error),
            Outcome::Died => {
                tracing::error!(partition = %id, "a cleaning panicked; the log is not cleaned any more until the broker starts again");
                metrics.change(|state| {
                    state.died += 1;
                    state.uncleanable.insert(id);
                });
            }
            Outcome::NotStarted(error) => {
                tracing::warn!(partition = %id, %error, "there is no thread for the cleaner");
                self.rest(id);
            }
        }
    }

    fn give_up(&mut self, id: TopicIdPartition, error: &CleanError) {
        if error.is_lasting() {
            tracing::error!(partition = %id, %error, "the log is not cleaned any more until the broker starts again");
            self.broker.metrics.cleaner.change(|state| state.uncleanable.insert(id));
        } else {
            tracing::warn!(partition = %id, %error, "the log was not cleaned");
            self.rest(id);
        }
    }

    fn rest(&mut self, id: TopicIdPartition) {
        self.resting.insert(id, self.broker.clock.monotonic().saturating_add(self.settings.backoff));
    }

    /// Ends all cleanings and waits until they have ended. What they have swapped in stays.
    async fn dismiss(&mut self) {
        self.stop.cancel();
        while let Some(done) = self.running.join_next().await {
            self.take_note(done);
        }
    }
}

/// Waits until looking again is worth it.
async fn until_due(broker: &Broker, backoff: Option<Duration>) {
    let sleep = async {
        match backoff {
            Some(due) => broker.clock.sleep_until(broker.clock.monotonic().saturating_add(due)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = sleep => {}
        () = broker.partitions.changed() => {}
    }
}
