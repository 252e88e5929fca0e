//! One cleaning, on a thread of its own with the least right to the processor.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use log_store::{Chosen, CleanError, Cleaner, Cleaning};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use wire::clock::SharedClock;

use super::settings::Settings;
use super::throttle::Throttle;

/// How a cleaning ended.
pub(super) enum Outcome {
    /// As it should, or with an error.
    Ended(Result<Cleaning, CleanError>),
    /// Its thread panicked: a defect.
    Died,
    /// There was no thread to be had.
    NotStarted(std::io::Error),
}

/// What a cleaning is given.
pub(super) struct Task {
    pub(super) thread_name: String,
    pub(super) settings: Settings,
    pub(super) throttle: Arc<Throttle>,
    pub(super) chosen: Chosen,
    /// So long a replaced file stays (`file.delete.delay.ms`).
    pub(super) file_delete_delay: Duration,
    pub(super) clock: SharedClock,
    pub(super) stop: CancellationToken,
}

/// A cleaning that has gone too fast asks for the time at which it may go on.
struct WaitUntil {
    deadline: Duration,
    go_on: SyncSender<()>,
}

/// Cleans one log.
pub(super) async fn clean(task: Task) -> Outcome {
    let Task { thread_name, settings, throttle, chosen, file_delete_delay, clock, stop } = task;
    let (waits, mut waiting) = mpsc::channel::<WaitUntil>(1);
    let (done, mut cleaned) = oneshot::channel();
    // Dropped with this future, so that a broker whose tasks are aborted leaves no thread behind.
    let stop = stop.child_token();
    let _stop_when_dropped = stop.clone().drop_guard();
    let thread = std::thread::Builder::new().name(thread_name).spawn({
        let (clock, stop) = (Arc::clone(&clock), stop.clone());
        move || {
            log_store::give_way_to_other_threads();
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
            let due = || clock.monotonic().saturating_add(file_delete_delay);
            let cleaner = Cleaner::new(settings.map_bytes, settings.load_factor);
            // Nobody waits for it any more if the broker's tasks were aborted.
            let _nobody_waits = done.send(cleaner.clean(&chosen, clock.now(), &due, &mut pace));
        }
    });
    if let Err(error) = thread {
        return Outcome::NotStarted(error);
    }
    loop {
        tokio::select! {
            result = &mut cleaned => return result.map_or(Outcome::Died, Outcome::Ended),
            Some(wait) = waiting.recv() => {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = clock.sleep_until(wait.deadline) => {
                        // A thread that has gone needs no answer.
                        let _gone = wait.go_on.send(());
                    }
                }
            }
        }
    }
}
