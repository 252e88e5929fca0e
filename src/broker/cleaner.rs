//! The log cleaner at work: looks for compacted topics that are due, cleans one log after the other, slows down as it is told.
//!
//! While there is no compacted topic nothing ticks. What is decided and done to a log is the store's; here are time, thread and pace. A cleaning
//! runs on a thread of its own with the least right to the processor, and never on one that serves requests.
//!
//! In Kafka: `LogCleaner.CleanerThread`, `Throttler`.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use log_store::{Choice, Chosen, CleanError, Cleaner, Cleaning};
use model::{Timestamp, TopicIdPartition};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::Broker;
use crate::read_pool::off_thread;

/// A wait shorter than this is put off to the next one.
const WAIT_MIN: Duration = Duration::from_millis(50);

/// What the broker's configuration says at this moment.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Settings {
    is_enabled: bool,
    backoff: Duration,
    map_bytes: usize,
    load_factor: f64,
    bytes_per_second: f64,
}

impl Settings {
    fn now(broker: &Broker) -> Self {
        let image = broker.metadata.image();
        let text = |key: &str| broker.config.effective(&image, key);
        let number = |key: &str| text(key).parse::<u64>().unwrap_or(0);
        let float = |key: &str, otherwise: f64| text(key).parse::<f64>().unwrap_or(otherwise);
        let shared = number("log.cleaner.dedupe.buffer.size") / number("log.cleaner.threads").max(1);
        Self {
            is_enabled: text("log.cleaner.enable").eq_ignore_ascii_case("true"),
            // Kafka takes 0, too; a broker that does nothing else must not be one that never rests.
            backoff: Duration::from_millis(number("log.cleaner.backoff.ms").max(1)),
            map_bytes: usize::try_from(shared).unwrap_or(usize::MAX),
            load_factor: float("log.cleaner.io.buffer.load.factor", 0.9),
            bytes_per_second: float("log.cleaner.io.max.bytes.per.second", f64::MAX),
        }
    }
}

/// Cleans until the broker stops.
pub(crate) async fn run(broker: Arc<Broker>, stopping: CancellationToken) {
    let mut uncleanable: HashSet<TopicIdPartition> = HashSet::new();
    loop {
        let settings = Settings::now(&broker);
        let found = look(&broker, settings, &mut uncleanable).await;
        if let Some(chosen) = found.chosen {
            if stopping.is_cancelled() {
                return;
            }
            let id = chosen.id();
            let delay_ms = broker.partitions.get(id).map_or(0, |partition| partition.config().file_delete_delay_ms);
            match clean(&broker, settings, chosen, delay_ms, &stopping).await {
                Ok(cleaning) => tracing::debug!(partition = %id, ?cleaning, "cleaned a log"),
                Err(CleanError::Stopped | CleanError::Changed) => {}
                Err(error) => give_up(&mut uncleanable, id, &error),
            }
            if !uncleanable.contains(&id) && !stopping.is_cancelled() {
                continue;
            }
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = until_due(&broker, settings, found.has_compacted, found.next_removal) => {}
        }
    }
}

struct Found {
    chosen: Option<Chosen>,
    has_compacted: bool,
    /// When the next replaced file may go.
    next_removal: Option<Timestamp>,
}

/// Looks at all logs, and removes replaced files whose time has come.
async fn look(broker: &Arc<Broker>, settings: Settings, uncleanable: &mut HashSet<TopicIdPartition>) -> Found {
    let partitions = broker.partitions.all();
    uncleanable.retain(|id| broker.partitions.get(*id).is_some());
    let skipped = uncleanable.clone();
    let now = broker.clock.now();
    let looked = off_thread(move || {
        for partition in &partitions {
            if let Err(error) = partition.remove_replaced_files(now) {
                tracing::warn!(partition = %partition.id(), %error, "a replaced segment file cannot be removed; the next start tries again");
            }
        }
        let next_removal = partitions.iter().filter_map(|partition| partition.next_removal()).min();
        let logs: Vec<_> = partitions.iter().filter_map(|partition| partition.to_clean()).collect();
        let has_compacted = settings.is_enabled && !logs.is_empty();
        let logs = logs.into_iter().filter(|candidate| !skipped.contains(&candidate.log.id())).collect();
        let choice = if has_compacted { Cleaner::new(0, 1.0).choose(logs, now) } else { Choice::default() };
        (choice, has_compacted, next_removal)
    });
    let Some((choice, has_compacted, next_removal)) = looked.await else {
        return Found { chosen: None, has_compacted: true, next_removal: None };
    };
    for (id, error) in &choice.failed {
        give_up(uncleanable, *id, error);
    }
    Found { chosen: choice.chosen, has_compacted, next_removal }
}

fn give_up(uncleanable: &mut HashSet<TopicIdPartition>, id: TopicIdPartition, error: &CleanError) {
    if error.is_lasting() {
        tracing::error!(partition = %id, %error, "the log is not cleaned any more until the broker starts again");
        uncleanable.insert(id);
    } else {
        tracing::warn!(partition = %id, %error, "the log was not cleaned");
    }
}

/// Waits until looking again is worth it.
async fn until_due(broker: &Broker, settings: Settings, has_compacted: bool, next_removal: Option<Timestamp>) {
    let backoff = has_compacted.then_some(settings.backoff);
    let removal = next_removal.map(|at| {
        let wait_ms = at.millis().saturating_sub(broker.clock.now().millis());
        Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)).max(WAIT_MIN)
    });
    let due = backoff.into_iter().chain(removal).min();
    let sleep = async {
        match due {
            Some(due) => broker.clock.sleep_until(broker.clock.monotonic().saturating_add(due)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = sleep => {}
        () = broker.partitions.changed() => {}
    }
}

/// A cleaning that has gone too fast asks for the time at which it may go on.
struct WaitUntil {
    deadline: Duration,
    go_on: SyncSender<()>,
}

/// Cleans one log on a thread of its own.
async fn clean(
    broker: &Arc<Broker>,
    settings: Settings,
    chosen: Chosen,
    file_delete_delay_ms: i64,
    stopping: &CancellationToken,
) -> Result<Cleaning, CleanError> {
    let (waits, mut waiting) = mpsc::channel::<WaitUntil>(1);
    let (done, mut cleaned) = oneshot::channel();
    let clock = Arc::clone(&broker.clock);
    // Dropped with this future, so that a broker whose tasks are aborted leaves no thread behind.
    let stop = stopping.child_token();
    let _stop_when_dropped = stop.clone().drop_guard();
    let name = format!("clean-{}", broker.config.broker_id);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        log_store::give_way_to_other_threads();
        let mut throttle = Throttle::new(settings.bytes_per_second);
        let mut pace = |bytes: u64| {
            if stop.is_cancelled() {
                return ControlFlow::Break(());
            }
            let Some(deadline) = throttle.charge(bytes, clock.monotonic()) else { return ControlFlow::Continue(()) };
            let (go_on, told) = sync_channel(1);
            match waits.blocking_send(WaitUntil { deadline, go_on }).is_ok() && told.recv().is_ok() {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        let cleaner = Cleaner::new(settings.map_bytes, settings.load_factor);
        // Nobody waits for it any more if the broker stops.
        let _nobody_waits = done.send(cleaner.clean(&chosen, clock.now(), file_delete_delay_ms, &mut pace));
    });
    if thread.is_err() {
        return Err(CleanError::Stopped);
    }
    loop {
        tokio::select! {
            result = &mut cleaned => return result.unwrap_or(Err(CleanError::Stopped)),
            Some(wait) = waiting.recv() => {
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = broker.clock.sleep_until(wait.deadline) => {
                        // A thread that has gone needs no answer.
                        let _gone = wait.go_on.send(());
                    }
                }
            }
        }
    }
}

/// Turns a rate into waits.
struct Throttle {
    bytes_per_second: f64,
    /// When what was read and written so far is paid for.
    paid_at: Duration,
}

impl Throttle {
    fn new(bytes_per_second: f64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1.0), paid_at: Duration::ZERO }
    }

    /// Takes note of some I/O; until when to wait, if it is long enough to be worth it.
    fn charge(&mut self, bytes: u64, now: Duration) -> Option<Duration> {
        // Single pieces are far below 4 GiB; what is not costs the most that there is.
        let cost = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / self.bytes_per_second;
        self.paid_at = self.paid_at.max(now).saturating_add(Duration::try_from_secs_f64(cost).unwrap_or(Duration::MAX));
        (self.paid_at.saturating_sub(now) >= WAIT_MIN).then_some(self.paid_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_becomes_waits_that_add_up() {
        let mut throttle = Throttle::new(1_000.0);
        let mut now = Duration::from_secs(7);
        let began = now;
        for _ in 0..100 {
            if let Some(deadline) = throttle.charge(30, now) {
                assert!(deadline >= now + WAIT_MIN);
                now = deadline;
            }
        }
        assert_eq!((now - began).as_millis() / 100, 30);
    }

    #[test]
    fn without_a_limit_nothing_waits_and_time_without_work_is_not_saved_up() {
        let mut throttle = Throttle::new(f64::MAX);
        assert_eq!(throttle.charge(u64::MAX, Duration::ZERO), None);
        let mut throttle = Throttle::new(10.0);
        assert_eq!(throttle.charge(10, Duration::from_secs(100)), Some(Duration::from_secs(101)));
    }
}
