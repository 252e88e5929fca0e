//! Failpoints: named moments at which a test (or a chaos run) lets the process die, an operation fail, or code of its own run.
//!
//! They are a value that belongs to one store, so two brokers of a process have their own.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

/// All names, in the order in which a partition's life meets them.
pub const FAILPOINTS: &[&str] = &[
    "create.after_row",
    "create.after_directory",
    "append.before_write",
    "append.after_partial_write",
    "append.after_write",
    "roll.before_create",
    "roll.after_create",
    "index_commit.before",
    "index_commit.after",
    "recovery.before_sync",
    "sync.before",
    "sync.before_directory",
    "journal.before_write",
    "journal.before_sync",
    "journal.after_sync",
    "journal.before_release",
    "release.before_syncs",
    "compaction.after_create",
    "compaction.before_sync",
    "compaction.before_swap",
    "compaction.after_swap",
    "compaction.after_rename",
    "compaction.before_retire",
    "truncate.after_intent",
    "truncate.after_cut",
    "retention.before_row",
    "retention.after_row",
    "retention.after_unlink",
    "delete.after_mark",
    "delete.after_first_unlink",
    "delete.after_files",
];

/// What happens at a failpoint.
#[derive(Clone)]
pub enum FailAction {
    /// The process ends at once, as by kill -9.
    Kill,
    /// The operation fails with an I/O error.
    Fail,
    /// The operation fails as on a full disk.
    NoSpace,
    /// The step behind it is left out, from this hit on: a planted fault, where the code asks for it, to show that tests would notice.
    Skip,
    /// A test's own code runs, for instance to copy the directory as it would be found after a kill.
    Call(Arc<dyn Fn() + Send + Sync>),
}

/// An unknown failpoint or one written wrongly.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("invalid failpoint '{entry}': expected name=hit[:kill|:fail|:nospace|:skip] with one of the names {}", FAILPOINTS.join(", "))]
pub struct InvalidFailpoint {
    /// The text.
    pub entry: String,
}

struct Armed {
    /// Hits left until it fires; it fires once, at 1, but for one that always does.
    left: AtomicU64,
    always: bool,
    action: FailAction,
}

/// The armed failpoints of one store. Empty by default, and then a check costs one comparison.
#[derive(Clone, Default)]
pub struct Failpoints(Option<Arc<HashMap<&'static str, Armed>>>);

impl fmt::Debug for Failpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().flat_map(|armed| armed.keys()).collect();
        f.debug_tuple("Failpoints").field(&names).finish()
    }
}

impl Failpoints {
    /// Reads `name=hit[:action],...`: the action (by default the process's end) happens at the given hit, counted from 1.
    ///
    /// # Errors
    /// Names the entry that is not understood.
    pub fn parse(text: &str) -> Result<Self, InvalidFailpoint> {
        let mut armed = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let invalid = || InvalidFailpoint { entry: entry.to_owned() };
            let (name, rest) = entry.split_once('=').ok_or_else(invalid)?;
            let (hit, action) = rest.split_once(':').unwrap_or((rest, "kill"));
            let action = match action {
                "kill" => FailAction::Kill,
                "fail" => FailAction::Fail,
                "nospace" => FailAction::NoSpace,
                "skip" => FailAction::Skip,
                _ => return Err(invalid()),
            };
            armed.push((name, hit.parse().map_err(|_| invalid())?, action));
        }
        Self::arm(armed)
    }

    /// Arms the given failpoints: name, hit (from 1), action.
    ///
    /// # Errors
    /// If a name is unknown or a hit is 0.
    pub fn arm<'a>(points: impl IntoIterator<Item = (&'a str, u64, FailAction)>) -> Result<Self, InvalidFailpoint> {
        let mut map = HashMap::new();
        for (name, hit, action) in points {
            let known = FAILPOINTS.iter().find(|known| **known == name && hit > 0);
            let known = known.ok_or_else(|| InvalidFailpoint { entry: format!("{name}={hit}") })?;
            map.insert(*known, Armed { left: AtomicU64::new(hit), always: false, action });
        }
        Ok(if map.is_empty() { Self(None) } else { Self(Some(Arc::new(map))) })
    }

    /// Runs a test's own code at each hit of one failpoint.
    ///
    /// # Errors
    /// If the name is unknown.
    pub fn every(name: &str, call: Arc<dyn Fn() + Send + Sync>) -> Result<Self, InvalidFailpoint> {
        let known = FAILPOINTS.iter().find(|known| **known == name).ok_or_else(|| InvalidFailpoint { entry: name.to_owned() })?;
        let armed = Armed { left: AtomicU64::new(1), always: true, action: FailAction::Call(call) };
        Ok(Self(Some(Arc::new(HashMap::from([(*known, armed)])))))
    }

    /// Whether the next [`Failpoints::hit`] of `name` fires.
    pub(crate) fn is_due(&self, name: &'static str) -> bool {
        self.0.as_ref().and_then(|map| map.get(name)).is_some_and(|armed| armed.left.load(Ordering::Relaxed) == 1)
    }

    /// Whether the step behind `name` is to be left out.
    pub(crate) fn skips(&self, name: &'static str) -> bool {
        debug_assert!(FAILPOINTS.contains(&name), "unlisted failpoint {name}");
        let Some(armed) = self.0.as_ref().and_then(|map| map.get(name)) else { return false };
        if !matches!(armed.action, FailAction::Skip) {
            return false;
        }
        // From its hit on, so the count stays at 1.
        let before = armed.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| (left > 1).then(|| left - 1));
        before.is_err()
    }

    /// Passes a failpoint.
    pub(crate) fn hit(&self, name: &'static str) -> std::io::Result<()> {
        debug_assert!(FAILPOINTS.contains(&name), "unlisted failpoint {name}");
        let Some(armed) = self.0.as_ref().and_then(|map| map.get(name)) else { return Ok(()) };
        if matches!(armed.action, FailAction::Skip) {
            return Ok(());
        }
        let before = armed.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if before != Ok(1) && !armed.always {
            return Ok(());
        }
        match &armed.action {
            FailAction::Kill => {
                // No destructor, no flush: what the operating system has is what is left.
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                std::process::abort()
            }
            FailAction::Skip => Ok(()),
            FailAction::Fail => Err(std::io::Error::other("failpoint")),
            FailAction::NoSpace => Err(std::io::Error::from(std::io::ErrorKind::StorageFull)),
            FailAction::Call(call) => {
                call();
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failpoint_fires_once_at_its_hit() {
        let points = Failpoints::parse("append.before_write=2:fail").unwrap();
        assert!(points.hit("append.before_write").is_ok());
        assert!(points.is_due("append.before_write"));
        assert!(points.hit("append.before_write").is_err());
        assert!(points.hit("append.before_write").is_ok());
    }

    #[test]
    fn a_step_is_left_out_from_its_hit_on() {
        let points = Failpoints::parse("journal.before_sync=2:skip").unwrap();
        assert_eq!([(); 4].map(|()| points.skips("journal.before_sync")), [false, true, true, true]);
        assert!(points.hit("journal.before_sync").is_ok() && !points.skips("sync.before_directory"));
    }

    #[test]
    fn an_unknown_name_or_action_is_refused() {
        assert!(Failpoints::parse("append.nowhere=1").is_err());
        assert!(Failpoints::parse("append.before_write=0").is_err());
        assert!(Failpoints::parse("append.before_write=1:dance").is_err());
        assert!(Failpoints::parse("").unwrap().0.is_none());
    }
}
