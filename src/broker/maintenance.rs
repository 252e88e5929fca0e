//! The one task that looks after the logs from time to time: retention each `log.retention.check.interval.ms`, and the removal of what was dropped.
//!
//! It sleeps until the next of both is due, and no shorter than [`PAUSE_MIN`], so that an idle broker stays idle whatever is configured.

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
        awake_from = now.saturating_add(PAUSE_MIN);
        if is_check {
            next_check = now.saturating_add(broker.config.log_retention_check_interval);
        }
    }
}
