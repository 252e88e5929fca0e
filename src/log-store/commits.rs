//! Who works with the committer: its own thread, or whoever has appended little while that thread sleeps.
//!
//! Waking a thread and being woken by it costs more time than a small append does, so such a one is written where it was asked for
//! ([`crate::Appends::commit`]). Only if nothing is in its way: the committer's thread is at rest and had little to do a moment ago (what comes together
//! it writes together, and for less), the append is answered without a sync or is the only one that waits for one, there is space, and no such append has taken long
//! a moment ago, as they do when the disk cannot keep up with the page cache, or is slow. Whatever else an append entails (rows of full blocks, other syncs) is left
//! to the thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::committer::Committer;
use crate::queue::{CommandQueue, Waited};

/// So many bytes may be written on the caller's thread: a batch of the usual size.
const HERE_BYTES_MAX: usize = 17 << 10;
/// So many appends.
const HERE_COUNT_MAX: usize = 3;
/// With more at once the committer's thread has enough to do,
const BUSY_COUNT_MIN: usize = 4;
/// and does all for so long.
const REST_AFTER_BUSY: Duration = Duration::from_millis(1);
/// An append that took longer was held up.
const SLOW: Duration = Duration::from_millis(2);
/// So long after it the committer's thread does all.
const REST_AFTER_SLOW: Duration = Duration::from_secs(1);

/// The committer of a store.
pub(crate) struct Commits {
    commands: Arc<CommandQueue>,
    /// IMPORTANT: commands are taken only while this is held, so that none overtakes another.
    work: Mutex<Work>,
    /// The thread that works without being the committer's.
    guest: Mutex<Option<ThreadId>>,
}

struct Work {
    committer: Committer,
    /// Before that no guest works.
    no_guest_before: Option<Instant>,
    /// It has ended: nothing is appended any more.
    has_ended: bool,
}

impl Work {
    fn no_guest_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.no_guest_before = Some(self.no_guest_before.map_or(end, |known| known.max(end)));
    }
}

impl Commits {
    pub(crate) fn new(committer: Committer, commands: Arc<CommandQueue>) -> Self {
        Self { commands, work: Mutex::new(Work { committer, no_guest_before: None, has_ended: false }), guest: Mutex::default() }
    }

    /// The committer's thread: works until a clean stop or until nobody can send any more.
    pub(crate) fn run(&self) {
        // Also when it panics: nobody may wait for it.
        let _end = Abandon(&self.commands);
        loop {
            let due = self.work.lock().committer.next_due();
            match self.commands.wait(due) {
                Waited::Arrived => {
                    let mut work = self.work.lock();
                    // A guest may have taken them.
                    let commands = self.commands.take();
                    let is_busy = commands.len() >= BUSY_COUNT_MIN;
                    if work.committer.round(commands) {
                        work.has_ended = true;
                        return;
                    }
                    if is_busy {
                        work.no_guest_for(REST_AFTER_BUSY);
                    }
                    work.committer.work_off_due();
                }
                Waited::Due => self.work.lock().committer.work_off_due(),
                Waited::Ended => return,
            }
        }
    }

    /// Appends what has arrived on this thread, if that is little and nothing is in the way; else has the committer's thread do it.
    pub(crate) fn commit_or_wake(&self) {
        if self.commands.is_empty() {
            return;
        }
        if !self.commit() {
            self.commands.wake();
        }
    }

    fn commit(&self) -> bool {
        let Some(mut work) = self.work.try_lock() else { return false };
        let began = Instant::now();
        if work.has_ended || work.no_guest_before.is_some_and(|end| began < end) {
            return false;
        }
        let count_max = work.committer.at_ease_with(HERE_BYTES_MAX, HERE_COUNT_MAX);
        let Some(commands) = self.commands.take_few(count_max, HERE_BYTES_MAX) else { return false };
        *self.guest.lock() = Some(thread::current().id());
        let due = work.committer.next_due();
        let appended = catch_unwind(AssertUnwindSafe(|| work.committer.append_here(commands)));
        *self.guest.lock() = None;
        if appended.is_err() {
            // As if the committer's thread had panicked.
            work.has_ended = true;
            self.commands.abandon();
            return true;
        }
        if began.elapsed() > SLOW {
            work.no_guest_for(REST_AFTER_SLOW);
        }
        let next = work.committer.next_due();
        if next.is_some_and(|next| due.is_none_or(|due| next < due)) {
            self.commands.note_due_sooner();
        }
        true
    }

    /// Whether this thread works as a guest just now.
    pub(crate) fn is_guest(&self) -> bool {
        *self.guest.lock() == Some(thread::current().id())
    }
}

struct Abandon<'a>(&'a CommandQueue);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
