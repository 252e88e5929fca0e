//! The signals that end a process: the first one cleanly, a later one at once. A broker's process waits with it too.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use wire::clock::{Clock as _, SystemClock};

/// `timeout` of the coreutils sends its signal to the process and then to its group: what comes within this time is the same wish once more.
const ECHO: Duration = Duration::from_millis(500);

/// SIGTERM and SIGINT, from [`Signals::install`] on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on these signals no longer end the process by themselves.
    ///
    /// # Errors
    /// The system does not give them.
    pub fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The number of the next one.
    pub async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }

    /// The number of the next one that is no echo of the one that just came.
    pub async fn again(&mut self) -> i32 {
        let clock = SystemClock::new();
        let echo_ends = clock.monotonic() + ECHO;
        loop {
            let number = self.next().await;
            if clock.monotonic() >= echo_ends {
                return number;
            }
        }
    }
}
