//! One life of one of several brokers.

use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::config::BrokerConfig;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use wire::Life;
use wire::clock::Clock;

use super::State;
use crate::Problem;
use crate::node::{Address, Node, NodeParts};
use crate::process;

/// How long the threads of a broker that was killed may take to reach the end of what they do at that moment.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How long after that the last of them may take to let go of the data directory, which the committer does once it has written what it was given.
pub(super) const FREE_WITHIN: Duration = Duration::from_secs(10);

/// Who waits for that looks again after this time.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// How a start goes.
#[derive(Clone)]
pub(super) enum Started {
    NotYet,
    /// It listens there.
    Serves(Vec<Address>),
    /// Why not.
    Failed(String),
}

/// A broker with threads of its own.
pub(super) struct Run {
    /// Always there but while it is taken down.
    runtime: Option<Runtime>,
    life: Arc<Life>,
    /// Once it serves.
    node: Arc<Mutex<Option<Node>>>,
    started: watch::Receiver<Started>,
    is_paused: bool,
}

impl Drop for Run {
    /// Whoever drops it must not wait.
    fn drop(&mut self) {
        self.life.end();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Run {
    /// Begins to start it.
    pub(super) fn begin(config: BrokerConfig, parts: NodeParts) -> Result<Self, Problem> {
        let runtime = process::runtime(config.broker_id.get())?;
        let (life, node) = (Arc::clone(&parts.life), Arc::<Mutex<Option<Node>>>::default());
        let (tell, started) = watch::channel(Started::NotYet);
        let place = Arc::clone(&node);
        runtime.spawn(async move {
            let outcome = match Node::start(config, parts).await {
                Ok(node) => {
                    let addresses = node.addresses().to_vec();
                    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(node);
                    Started::Serves(addresses)
                }
                Err(problem) => Started::Failed(problem.to_string()),
            };
            tell.send_replace(outcome);
        });
        Ok(Self { runtime: Some(runtime), life, node, started, is_paused: false })
    }

    /// A watch on how its start goes.
    pub(super) fn started(&self) -> watch::Receiver<Started> {
        self.started.clone()
    }

    pub(super) fn state(&self) -> State {
        match &*self.started.borrow() {
            Started::Failed(_) => State::Failed,
            _ if self.is_paused => State::Paused,
            Started::Serves(_) => State::Running,
            Started::NotYet => State::Starting,
        }
    }

    /// Why it did not start.
    pub(super) fn problem(&self) -> Option<String> {
        match &*self.started.borrow() {
            Started::Failed(sentence) => Some(sentence.clone()),
            Started::NotYet | Started::Serves(_) => None,
        }
    }

    /// Notes that it stands still; whom to tell, unless it does already.
    pub(super) fn pause(&mut self) -> Option<(Arc<Life>, Handle)> {
        let runtime = self.runtime.as_ref()?.handle().clone();
        let was_paused = mem::replace(&mut self.is_paused, true);
        (!was_paused).then(|| (Arc::clone(&self.life), runtime))
    }

    /// Lets it go on.
    pub(super) fn go_on(&mut self) {
        self.is_paused = false;
        self.life.go_on();
    }

    /// Ends its threads wherever they are, and waits until the data directory is free.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) async fn end(mut self, directory: &Path, clock: &dyn Clock) -> Result<(), String> {
        let ended = tokio::task::spawn_blocking(move || {
            self.life.end();
            if let Some(node) = &*self.node.lock().unwrap_or_else(PoisonError::into_inner) {
                node.end_waits();
            }
            if let Some(runtime) = self.runtime.take() {
                runtime.shutdown_timeout(END_WITHIN);
            }
            // With it goes the last handle to the store that is not a thread's.
            drop(self);
        });
        ended.await.map_err(|error| error.to_string())?;
        await_free(directory, clock, FREE_WITHIN).await
    }

    /// Stops it in order; if it does not serve yet, it just ends.
    pub(super) async fn stop(mut self, directory: &Path, clock: &dyn Clock) {
        self.go_on();
        let node = self.node.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(node), Some(runtime)) = (node, &self.runtime)
            && let Err(error) = runtime.spawn(node.stop()).await
        {
            tracing::error!(%error, "a broker did not stop in order");
        }
        if let Err(sentence) = self.end(directory, clock).await {
            tracing::error!("a broker has not ended: {sentence}");
        }
    }
}

/// Waits until no thread has the data directory open any more.
///
/// # Errors
/// That one has.
pub(super) async fn await_free(directory: &Path, clock: &dyn Clock, within: Duration) -> Result<(), String> {
    let until = clock.monotonic() + within;
    // The system tells nobody when a lock goes.
    while log_store::is_in_use(directory) {
        let now = clock.monotonic();
        if now >= until {
            return Err(format!("{} is still in use after {} s", directory.display(), within.as_secs()));
        }
        clock.sleep_until(now + ASK_AGAIN_AFTER).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use wire::clock::SystemClock;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_directory_that_stays_in_use_is_told_so() {
        let (scratch, clock) = (tempfile::tempdir().unwrap(), SystemClock::new());
        await_free(&scratch.path().join("not-there"), &clock, FREE_WITHIN).await.unwrap();
        let store = log_store::Store::open(log_store::StoreOptions::new(scratch.path())).unwrap();
        let sentence = await_free(scratch.path(), &clock, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(sentence, format!("{} is still in use after 0 s", scratch.path().display()));
        drop(store);
        await_free(scratch.path(), &clock, FREE_WITHIN).await.unwrap();
    }
}
