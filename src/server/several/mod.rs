//! `klamm --brokers N`: several brokers in one process, which replicate among themselves as if they stood on machines of their own.
//!
//! Each has a runtime, a thread for its quorum, a store and sockets of its own, so that it can be treated as a process is by signals: paused,
//! killed, started again ([`crate::http::control`], [`crate::brokers_tool`]).
//!
//! - To kill one ends its threads where they are: nothing is handed over, flushed or closed in order. What it had given to the operating system is
//!   there at the next start, as after `kill -9` of a process.
//! - The memory that is the process's (allocator, RocksDB's background threads) is not cut off with it, and a panic that aborts takes all.
//! - Its ports stay reserved while it is dead, so that nobody else gets them.
mod plan;
mod run;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use log_store::Failpoints;
use model::BrokerId;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use wire::clock::{Clock, SharedClock, SystemClock, timeout_at};

use crate::Problem;
use crate::http::{HttpServer, Told};
use crate::node::{Address, NodeParts};

use plan::Planned;
pub(crate) use plan::plan;
use run::{FREE_WITHIN, Run, Started, await_free};

/// An order waits so long for a broker that starts.
const RESTART_WITHIN: Duration = Duration::from_secs(20);

/// After this time who gave an order is told that it is not carried out yet: before his connection ends.
const ORDER_WITHIN: Duration = Duration::from_secs(25);
const _: () = assert!(ORDER_WITHIN.as_secs() < crate::http::ANSWER_MAX.as_secs());

/// What a broker is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// End at once.
    Kill,
    /// Start from the data directory.
    Restart,
}

impl Order {
    /// The order of this word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Pause, Self::Resume, Self::Kill, Self::Restart].into_iter().find(|order| order.word() == word)
    }

    /// Its word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Kill => "kill",
            Self::Restart => "restart",
        }
    }
}

/// What a broker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It opens its data or waits for others.
    Starting,
    /// It serves.
    Running,
    /// It stands still.
    Paused,
    /// It is dead.
    Killed,
    /// Its start failed.
    Failed,
}

impl State {
    /// Its word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Killed => "killed",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why an order is not carried out.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    /// No broker has the id.
    #[error("There is no broker {0} in this process.")]
    Unknown(i32),
    /// The broker is dead.
    #[error("Broker {0} does not run; restart it.")]
    Dead(i32),
    /// The broker does not start.
    #[error("Broker {id} did not start: {sentence}.")]
    Failed {
        /// The broker.
        id: i32,
        /// Why.
        sentence: String,
    },
    /// The broker answers nobody any more, but cannot be started again either: a defect.
    #[error("Broker {id} did not end in order: {sentence}; end the process and start it anew.")]
    NotEnded {
        /// The broker.
        id: i32,
        /// Why.
        sentence: String,
    },
    /// The order is not carried out yet.
    #[error("Broker {id} has not carried out the order to {order} within {} s; it may yet.", ORDER_WITHIN.as_secs())]
    Late {
        /// The broker.
        id: i32,
        /// The order's word.
        order: &'static str,
    },
}

/// A broker as it is shown.
pub(crate) struct Shown {
    pub(crate) id: BrokerId,
    pub(crate) state: State,
    pub(crate) addresses: Vec<Address>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) data: PathBuf,
    /// Why its start failed.
    pub(crate) problem: Option<String>,
}

/// The place of one broker, over all its lives.
struct Seat {
    planned: Planned,
    told: Told,
    http: Option<SocketAddr>,
    request_bytes_max: usize,
    failpoints: String,
    /// Since its first start.
    addresses: OnceLock<Vec<Address>>,
    /// Held by an order while it is carried out.
    turn: tokio::sync::Mutex<()>,
    /// Its present life.
    run: Mutex<Option<Run>>,
}

impl Seat {
    fn id(&self) -> i32 {
        self.planned.config.broker_id.get()
    }

    fn run(&self) -> MutexGuard<'_, Option<Run>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> State {
        self.run().as_ref().map_or(State::Killed, Run::state)
    }

    /// Begins a life; it starts by itself.
    fn begin(&self) -> Result<watch::Receiver<Started>, Problem> {
        self.told.starting();
        let parts = NodeParts {
            failpoints: Failpoints::parse(&self.failpoints)?,
            request_bytes_max: self.request_bytes_max,
            told: Some(self.told.clone()),
            ..NodeParts::default()
        };
        let run = Run::begin(self.planned.config.clone(), parts)?;
        let started = run.started();
        *self.run() = Some(run);
        Ok(started)
    }

    /// Ends the present life, if there is one.
    ///
    /// # Errors
    /// If its data is not free for the next one.
    async fn kill(&self, clock: &dyn Clock) -> Result<(), Refusal> {
        self.told.killed();
        let (run, directory) = (self.run().take(), &self.planned.config.data_directory);
        let ended = match run {
            Some(run) => run.end(directory, clock).await,
            // It may have been killed, and not ended.
            None => await_free(directory, clock, FREE_WITHIN).await,
        };
        ended.map_err(|sentence| Refusal::NotEnded { id: self.id(), sentence })
    }

    async fn pause(&self) -> Result<State, Refusal> {
        let order = match self.run().as_mut() {
            Some(run) if run.state() != State::Failed => run.pause(),
            _ => return Err(Refusal::Dead(self.id())),
        };
        if let Some((life, runtime)) = order {
            life.stand_still(&runtime).await;
        }
        self.told.paused(true);
        Ok(State::Paused)
    }

    fn resume(&self) -> Result<State, Refusal> {
        let mut run = self.run();
        let run = run.as_mut().filter(|run| run.state() != State::Failed).ok_or(Refusal::Dead(self.id()))?;
        run.go_on();
        self.told.paused(false);
        Ok(run.state())
    }
}

/// The brokers of this process.
pub(crate) struct Brokers {
    seats: Vec<Seat>,
    clock: SharedClock,
}

impl Brokers {
    /// The places for these, none of which lives yet; and the listeners for operators of those that have one.
    pub(crate) fn new(planned: Vec<Planned>, failpoints: &str, request_bytes_max: usize) -> (Arc<Self>, Vec<HttpServer>) {
        let (clock, share) = (SystemClock::shared(), request_bytes_max / planned.len().max(1));
        let (mut seats, mut listeners) = (Vec::new(), Vec::new());
        for mut planned in planned {
            let (told, http) = (Told::default(), planned.http.take());
            seats.push(Seat {
                told: told.clone(),
                http: http.as_ref().map(|(_, address)| *address),
                request_bytes_max: share,
                failpoints: failpoints.to_owned(),
                addresses: OnceLock::new(),
                turn: tokio::sync::Mutex::default(),
                run: Mutex::default(),
                planned,
            });
            listeners.extend(http.map(|bound| (bound, told)));
        }
        let brokers = Arc::new(Self { seats, clock: Arc::clone(&clock) });
        let open = |(bound, told)| HttpServer::begin(bound, told, Some(Arc::clone(&brokers)), Arc::clone(&clock));
        let listeners = listeners.into_iter().map(open).collect();
        (brokers, listeners)
    }

    /// Starts all; ends when they serve.
    ///
    /// # Errors
    /// The sentence of the first one that does not start.
    pub(crate) async fn start_all(&self) -> Result<(), Problem> {
        let mut starting = JoinSet::new();
        for (place, seat) in self.seats.iter().enumerate() {
            let mut started = seat.begin()?;
            starting.spawn(async move { (place, outcome(&mut started).await) });
        }
        while let Some(Ok((place, started))) = starting.join_next().await {
            match started {
                Started::Serves(addresses) => {
                    if let Some(seat) = self.seats.get(place) {
                        let _is_first = seat.addresses.set(addresses);
                    }
                }
                Started::Failed(sentence) => return Err(Problem::OfOneBroker(sentence)),
                // Somebody has killed it already.
                Started::NotYet => {}
            }
        }
        Ok(())
    }

    /// Stops all in order; those that stand still go on for it, those that only start end at once.
    pub(crate) async fn stop_all(&self) {
        // All go at once, so that nobody waits for leaders who are about to go too.
        let mut stopping = JoinSet::new();
        for seat in &self.seats {
            seat.told.paused(false);
            let run = seat.run().take();
            if let Some(run) = run {
                let (directory, clock) = (seat.planned.config.data_directory.clone(), Arc::clone(&self.clock));
                stopping.spawn(async move { run.stop(&directory, &*clock).await });
            }
        }
        let _ended = stopping.join_all().await;
    }

    /// The brokers as they are.
    pub(crate) fn list(&self) -> Vec<Shown> {
        let shown = self.seats.iter().map(|seat| Shown {
            id: seat.planned.config.broker_id,
            state: seat.state(),
            addresses: seat.addresses.get().cloned().unwrap_or_default(),
            http: seat.http,
            data: seat.planned.config.data_directory.clone(),
            problem: seat.run().as_ref().and_then(Run::problem),
        });
        shown.collect()
    }

    /// Gives an order to a broker; ends when it is carried out, with what the broker does then.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) async fn order(self: &Arc<Self>, id: i32, order: Order) -> Result<State, Refusal> {
        let brokers = Arc::clone(self);
        // A task of its own: who ordered may go away in the middle.
        let carried_out = tokio::spawn(async move { brokers.carry_out(id, order).await });
        match timeout_at(&*self.clock, self.clock.monotonic() + ORDER_WITHIN, carried_out).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panicked)) => Err(Refusal::NotEnded { id, sentence: panicked.to_string() }),
            Err(_elapsed) => Err(Refusal::Late { id, order: order.word() }),
        }
    }

    async fn carry_out(&self, id: i32, order: Order) -> Result<State, Refusal> {
        let seat = self.seats.iter().find(|seat| seat.id() == id).ok_or(Refusal::Unknown(id))?;
        let turn = seat.turn.lock().await;
        tracing::warn!(broker = id, order = order.word(), "an operator's order");
        match order {
            Order::Pause => seat.pause().await,
            Order::Resume => seat.resume(),
            Order::Kill => {
                seat.kill(&*self.clock).await?;
                Ok(State::Killed)
            }
            Order::Restart => {
                seat.kill(&*self.clock).await?;
                let mut started = seat.begin().map_err(|problem| Refusal::Failed { id, sentence: problem.to_string() })?;
                drop(turn);
                if self.is_majority_up() {
                    let _starts_yet = timeout_at(&*self.clock, self.clock.monotonic() + RESTART_WITHIN, outcome(&mut started)).await;
                }
                let problem = seat.run().as_ref().and_then(Run::problem);
                problem.map_or_else(|| Ok(seat.state()), |sentence| Err(Refusal::Failed { id, sentence }))
            }
        }
    }

    /// Whether enough brokers run for one to start: it takes a majority.
    fn is_majority_up(&self) -> bool {
        let up = self.seats.iter().filter(|seat| matches!(seat.state(), State::Starting | State::Running)).count();
        up * 2 > self.seats.len()
    }
}

/// How a start ends; not at all if the broker was killed before.
async fn outcome(started: &mut watch::Receiver<Started>) -> Started {
    match started.wait_for(|started| !matches!(started, Started::NotYet)).await {
        Ok(started) => started.clone(),
        Err(_killed) => Started::NotYet,
    }
}
