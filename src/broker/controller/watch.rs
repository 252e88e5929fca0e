//! What the active controller does by itself: it fences brokers that are dead, and gives partitions back to their preferred leaders.
//!
//! It sleeps until the next session may be over. A broker alone has nobody to look after and never runs it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{ControlError, Controller};

/// Elections at once when leaders are balanced (`QuorumController.MAX_ELECTIONS_PER_IMBALANCE`).
const ELECTIONS_AT_ONCE: usize = 1000;
/// A leader of the quorum that is not the active controller yet becomes it within a moment; so does a change that did not go through.
const SOON: Duration = Duration::from_millis(5);

impl Controller {
    /// Looks after the brokers of the cluster whenever this one is the active controller, until it stops.
    pub(crate) async fn watch_members(self, stopping: CancellationToken) {
        let inner = &self.inner;
        let mut leadership = inner.quorum.leadership();
        let mut published = inner.quorum.published();
        let mut rebalance_at = None;
        loop {
            published.borrow_and_update();
            let leader = *leadership.borrow_and_update();
            let leads = leader == Some(inner.settings.broker_id);
            if let Some(other) = leader.filter(|_| !leads) {
                *inner.members.former_leader.lock() = Some(other);
            }
            let now = inner.clock.monotonic();
            let next = if inner.quorum.is_active() {
                let due = *rebalance_at.get_or_insert_with(|| inner.settings.rebalance_interval.map(|interval| now + interval));
                let is_due = due.is_some_and(|due| due <= now);
                if is_due {
                    rebalance_at = None;
                }
                match self.look_after(is_due).await {
                    Ok(deadline) => [deadline, due.filter(|_| !is_due)].into_iter().flatten().min(),
                    Err(error) => {
                        tracing::debug!(%error, "this broker is not the active controller any more");
                        Some(now + SOON)
                    }
                }
            } else {
                rebalance_at = None;
                leads.then(|| now + SOON)
            };
            let due = async {
                match next {
                    Some(next) => inner.clock.sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = due => {}
                () = inner.members.sooner.notified() => {}
                Ok(()) = leadership.changed() => {}
                Ok(()) = published.changed() => {}
                else => return,
            }
        }
    }

    /// Fences who is dead, one after the other; ends with the moment at which the next may be.
    async fn look_after(&self, rebalances: bool) -> Result<Option<Duration>, ControlError> {
        let inner = &self.inner;
        self.probe_suspects();
        if rebalances {
            self.rebalance(ELECTIONS_AT_ONCE).await?;
        }
        loop {
            let image = inner.quorum.image();
            let (dead, next_ms) = inner.with_sessions(&image, |sessions, now_ms| (sessions.over(now_ms), sessions.next_deadline_ms()));
            match dead {
                Some(id) => self.fence_dead(id).await?,
                None => return Ok(next_ms.map(Duration::from_millis)),
            }
        }
    }
}
