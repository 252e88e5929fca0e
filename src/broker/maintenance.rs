//! The one task that looks after the logs from time to time: retention each `log.retention.check.interval.ms`, and the removal of what was dropped.
//!
//! It sleeps until the next of both is due, and no shorter than [`PAUSE_MIN`], so that an idle broker stays idle whatever is configured. Where much is to
//! be removed it rests in between for as long as the store asks for.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::Broker;
use crate::read_pool::off_thread;

/// The shortest sleep between two rounds.
const PAUSE_MIN: Duration = Duration::from_millis(100);

pub(crate) async fn run(broker: Arc<Broker>, stopping: CancellationToken) {
    let clock = &broker.clock;
    let mut next_check = clock.monotonic().saturating_add(broker.config.log_initial_task_delay);
    let mut awake_from = Duration::ZERO;
    // Since when there is more to remove than one round takes.
    let mut behind_since = None;
    loop {
        let due = broker.partitions.next_removal().map_or(next_check, |removal| removal.min(next_check));
        tokio::select! {
            () = stopping.cancelled() => return,
            () = broker.partitions.removal_added() => continue,
            () = clock.sleep_until(due.max(awake_from)) => {}
        }
        let is_check = clock.monotonic() >= next_check;
        let partitions = Arc::clone(&broker.partitions);
        off_thread(move || {
            if is_check {
                partitions.retain();
            }
            partitions.remove_due();
        })
        .await;
        let now = clock.monotonic();
        let is_behind = broker.partitions.next_removal().is_some_and(|due| due <= now);
        behind_since = is_behind.then(|| behind_since.unwrap_or(now));
        let rest = behind_since.map_or(Duration::ZERO, |since| broker.partitions.removal_pause(now.saturating_sub(since)));
        awake_from = now.saturating_add(rest.min(broker.config.log_retention_check_interval).max(PAUSE_MIN));
        if is_check {
            next_check = now.saturating_add(broker.config.log_retention_check_interval);
        }
    }
}
