//! The way to the committer: commands in order, and a wake-up that can be put off.
//!
//! A network thread that reads several produce requests at once queues their appends one by one; waking the committer for each would cost two
//! context switches a batch. So whoever will soon queue more may leave the waking to [`CommandQueue::wake`]; a committer that is awake takes
//! what has come anyway. Past [`ASLEEP_BYTES_MAX`] the committer is woken without being asked, so that large batches do not wait for each other.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::committer::Command;

/// As much may lie before a sleeping committer.
const ASLEEP_BYTES_MAX: usize = 128 << 10;

/// What the committer has waited for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// There were commands.
    Arrived,
    /// Nothing came until the given time, or there may be an earlier one now.
    Due,
    /// Nothing is there, and nobody can send any more.
    Ended,
}

#[derive(Default)]
struct State {
    commands: VecDeque<Command>,
    /// The bytes of the appends among them.
    bytes: usize,
    /// One side has gone: nothing more is sent, or nothing more is taken.
    closed: bool,
    /// The committer is to look anew at what is due.
    is_due_sooner: bool,
}

#[derive(Default)]
pub(crate) struct CommandQueue {
    state: Mutex<State>,
    arrived: Condvar,
}

impl CommandQueue {
    /// Puts a command behind the others. After the end it is dropped, which answers it.
    pub(crate) fn push(&self, command: Command) {
        let size = command.size_bytes();
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            return;
        }
        state.commands.push_back(command);
        state.bytes = state.bytes.saturating_add(size);
        let is_much = state.bytes > ASLEEP_BYTES_MAX;
        drop(state);
        if is_much {
            self.arrived.notify_one();
        }
    }

    /// Sees to it that the committer takes what has been pushed.
    pub(crate) fn wake(&self) {
        let is_empty = self.state.lock().commands.is_empty();
        if !is_empty {
            self.arrived.notify_one();
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().commands.is_empty()
    }

    /// Ends the queue from either side. What is left is still taken, if somebody takes.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Drops what is left, for a committer that takes no more.
    pub(crate) fn abandon(&self) {
        let left = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.commands)
        };
        // Their answers run outside the lock.
        drop(left);
    }

    /// Waits for commands until `due`.
    pub(crate) fn wait(&self, due: Option<Instant>) -> Waited {
        let mut state = self.state.lock();
        loop {
            if !state.commands.is_empty() {
                return Waited::Arrived;
            }
            if state.closed {
                return Waited::Ended;
            }
            if std::mem::take(&mut state.is_due_sooner) {
                return Waited::Due;
            }
            match due {
                None => self.arrived.wait(&mut state),
                Some(due) => {
                    if self.arrived.wait_until(&mut state, due).timed_out() && state.commands.is_empty() {
                        return Waited::Due;
                    }
                }
            }
        }
    }

    /// Has the committer look anew at what is due.
    pub(crate) fn note_due_sooner(&self) {
        self.state.lock().is_due_sooner = true;
        self.arrived.notify_one();
    }

    /// All that is there. IMPORTANT: whoever takes must hold what keeps others from taking until it is worked off, or appends overtake each other.
    pub(crate) fn take(&self) -> VecDeque<Command> {
        let mut state = self.state.lock();
        state.bytes = 0;
        std::mem::take(&mut state.commands)
    }

    /// The same if it is nothing but few appends of few bytes.
    pub(crate) fn take_few(&self, count_max: usize, bytes_max: usize) -> Option<VecDeque<Command>> {
        let mut state = self.state.lock();
        let is_few = !state.closed && (1..=count_max).contains(&state.commands.len()) && state.bytes <= bytes_max;
        if !is_few || !state.commands.iter().all(|command| matches!(command, Command::Append(_))) {
            return None;
        }
        state.bytes = 0;
        Some(std::mem::take(&mut state.commands))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::time::Duration;

    use super::*;
    use crate::StorageError;

    fn flush() -> (Command, Receiver<Result<(), StorageError>>) {
        let (answer, answered) = sync_channel(1);
        (Command::Flush(answer), answered)
    }

    #[test]
    fn commands_are_taken_together_and_in_order() {
        let queue = CommandQueue::default();
        let (answer, _answered) = sync_channel(1);
        queue.push(flush().0);
        queue.push(Command::Close(answer));
        assert_eq!(queue.wait(None), Waited::Arrived);
        assert!(queue.take_few(usize::MAX, usize::MAX).is_none(), "they are no appends");
        assert!(matches!(queue.take().iter().collect::<Vec<_>>()[..], [Command::Flush(_), Command::Close(_)]));
        assert_eq!(queue.wait(Some(Instant::now())), Waited::Due);
    }

    #[test]
    fn a_taker_that_waits_for_a_late_time_is_told_of_an_earlier_one() {
        let queue = CommandQueue::default();
        queue.note_due_sooner();
        assert_eq!(queue.wait(None), Waited::Due);
        assert_eq!(queue.wait(Some(Instant::now())), Waited::Due);
    }

    #[test]
    fn a_sleeping_taker_is_woken_when_asked_and_at_the_end() {
        let queue = Arc::new(CommandQueue::default());
        let taker = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                let mut taken = 0;
                while queue.wait(Some(Instant::now() + Duration::from_secs(3_600))) == Waited::Arrived {
                    for command in queue.take() {
                        taken += 1;
                        if let Command::Flush(answer) = command {
                            answer.send(Ok(())).unwrap();
                        }
                    }
                }
                taken
            }
        });
        for _ in 0..1_000 {
            let (command, answered) = flush();
            queue.push(command);
            queue.wake();
            answered.recv().unwrap().unwrap();
        }
        queue.close();
        assert_eq!(taker.join().unwrap(), 1_000);
    }

    #[test]
    fn a_command_that_nobody_will_take_is_dropped() {
        let queue = CommandQueue::default();
        let (before, before_answered) = flush();
        queue.push(before);
        queue.abandon();
        let (after, after_answered) = flush();
        queue.push(after);
        assert!(before_answered.recv().is_err() && after_answered.recv().is_err());
        assert_eq!(queue.wait(None), Waited::Ended);
    }
}
