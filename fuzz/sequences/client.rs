//! The run of one sequence: requests out, answers in.

use std::fmt::Debug;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use model::Piece;
use protocol::fixtures::request_frame;
use protocol::{Request, StrBytes};
use tokio::task::JoinHandle;
use wire::{ConnectionContext, ConnectionId, Dispatch, ListenerName, Outcome};

use super::source::Source;
use super::world::{Wanted, World};
use super::{ANSWER_MAX, Checked, Finding, STEPS_MAX, Served, ensure};

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    Reply(T),
    Nothing,
    Closed(String),
}

/// A request that may wait for others, with what its answer is checked against.
pub(crate) struct Parked {
    pub(crate) what: Waiting,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    task: JoinHandle<Outcome>,
}

pub(crate) enum Waiting {
    Join { group: usize, member: usize },
    Sync { member_id: String, generation: i32 },
    Fetch { wanted: Vec<Wanted> },
}

pub(crate) struct Run<'a> {
    served: &'a Served,
    pub(crate) source: Source<'a>,
    pub(crate) world: World,
    pub(crate) parked: Vec<Parked>,
    connection: Arc<ConnectionContext>,
    requests: usize,
    trace: Vec<String>,
    verbose: bool,
}

impl<'a> Run<'a> {
    pub(crate) fn new(served: &'a Served, number: u64, data: &'a [u8], verbose: bool) -> Self {
        let address = "127.0.0.1:1".parse().unwrap();
        let connection = ConnectionContext::new(ConnectionId(number), address, address, ListenerName::from("PLAINTEXT"));
        let (source, world) = (Source::new(data), World::new(number));
        Self { served, source, world, parked: Vec::new(), connection, requests: 0, trace: Vec::new(), verbose }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests
    }

    pub(crate) fn trace(&self) -> String {
        self.trace.join("\n")
    }

    pub(crate) fn note(&mut self, text: String) {
        if self.verbose {
            eprintln!("{text}");
        }
        self.trace.push(text);
    }

    /// The whole sequence.
    pub(crate) async fn play(&mut self) -> Checked {
        let steps = 1 + self.source.below(STEPS_MAX);
        self.create_topic(0).await?;
        self.create_topic(1).await?;
        self.init_producer_id().await?;
        for _ in 0..steps {
            self.step().await?;
            self.look_after_parked().await?;
        }
        self.end().await
    }

    async fn step(&mut self) -> Checked {
        // Mostly the first topic, so that requests meet.
        let slot = self.source.pick(&[0, 0, 0, 1, 1, 2]);
        match self.source.below(32) {
            0 => self.create_topic(slot).await,
            1 => self.delete_topic(slot).await,
            2 => self.create_partitions(slot).await,
            3 => self.metadata(slot).await,
            4 => self.describe(slot).await,
            5 => self.init_producer_id().await,
            6..=11 => self.produce(slot).await,
            12..=14 => self.fetch().await,
            15..=16 => self.fetch_in_session().await,
            17 => self.list_offsets(slot).await,
            18 => self.offset_for_leader_epoch(slot).await,
            19..=21 => self.join().await,
            22..=23 => self.sync().await,
            24 => self.heartbeat().await,
            25 => self.leave().await,
            26..=27 => self.commit(slot).await,
            28 => self.fetch_offsets(slot).await,
            29 => self.delete_offsets(slot).await,
            30 => self.administer_groups().await,
            _ => {
                let by = self.source.pick(&[1, 20, 600, 7_000, 61_000, 700_000]);
                self.advance(by).await
            }
        }
    }

    /// Looks at all that must be there, lets everything that waits come to its end, and takes the topics away.
    async fn end(&mut self) -> Checked {
        self.read_back().await?;
        self.read_back_offsets().await?;
        // Join, sync and session timeouts follow one another; none is longer than this.
        for _ in 0..4 {
            self.advance(700_000).await?;
        }
        // Whatever waited for time has had it; what is left is the machine's.
        let deadline = tokio::time::Instant::now() + ANSWER_MAX;
        while let Some(parked) = self.parked.first() {
            let what = match &parked.what {
                Waiting::Join { member, .. } => format!("the join of member {member}"),
                Waiting::Sync { member_id, .. } => format!("the sync of {member_id}"),
                Waiting::Fetch { wanted } => format!("the fetch of {wanted:?}"),
            };
            let late = tokio::time::Instant::now() > deadline;
            ensure!(!late, "{what} (request {}) was never answered", parked.correlation_id);
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.look_after_parked().await?;
        }
        self.close_sessions().await?;
        for slot in 0..self.world.topics.len() {
            if self.world.topics[slot].live.is_some() {
                self.delete_topic(slot).await?;
            }
        }
        Ok(())
    }

    async fn advance(&mut self, by_ms: u64) -> Checked {
        self.note(format!("-- {by_ms} ms later"));
        self.served.clock.advance(Duration::from_millis(by_ms));
        self.look_after_parked().await
    }

    /// The broker's wall clock in milliseconds.
    pub(crate) fn now(&self) -> i64 {
        wire::clock::Clock::now(&self.served.clock).millis()
    }

    /// A version of the API, drawn from those that the broker serves.
    pub(crate) fn version<R: Request>(&mut self) -> i16 {
        let row = apis::table::support().into_iter().find(|row| row.key == R::KEY).unwrap();
        row.version_min + self.source.below(usize::from((row.version_max - row.version_min).unsigned_abs()) + 1) as i16
    }

    fn begin<R: Request + Debug>(&mut self, version: i16, request: &R) -> Checked<Outcome> {
        let mut body = BytesMut::new();
        self.requests += 1;
        self.note(format!("{}: {version} {request:?}", self.requests));
        let encoded = request.encode(&mut body, version);
        ensure!(encoded.is_ok(), "the sequence made a request that its version cannot say: {encoded:?}");
        let frame = Bytes::from(request_frame(R::KEY, version, self.correlation_id(), &body));
        Ok(self.served.apis.dispatch(&self.connection, frame))
    }

    fn correlation_id(&self) -> i32 {
        i32::try_from(self.requests).unwrap()
    }

    /// Sends a request and waits for what becomes of it.
    pub(crate) async fn exchange<R: Request + Debug>(&mut self, version: i16, request: &R) -> Checked<Answer<R::Response>>
    where
        R::Response: Debug,
    {
        let outcome = self.begin(version, request)?;
        let Ok(outcome) = tokio::time::timeout(ANSWER_MAX, settle(outcome)).await else {
            return Err(Finding(format!("no answer within {} s", ANSWER_MAX.as_secs())));
        };
        let id = self.correlation_id();
        let answer = answer::<R>(version, id, outcome)?;
        self.note(format!("   {id}: {answer:?}"));
        Ok(answer)
    }

    /// Sends a request that must be answered.
    pub(crate) async fn call<R: Request + Debug>(&mut self, version: i16, request: &R) -> Checked<R::Response>
    where
        R::Response: Debug,
    {
        match self.exchange(version, request).await? {
            Answer::Reply(response) => Ok(response),
            other => Err(Finding(format!("API {} version {version} must be answered: {other:?}", R::KEY))),
        }
    }

    /// Sends a request that may wait for others, and goes on.
    pub(crate) fn park<R: Request + Debug>(&mut self, version: i16, request: &R, what: Waiting) -> Checked {
        let outcome = self.begin(version, request)?;
        let correlation_id = self.correlation_id();
        self.parked.push(Parked { what, version, correlation_id, task: tokio::spawn(settle(outcome)) });
        Ok(())
    }

    /// Takes in the answers that have come.
    ///
    /// IMPORTANT: a coordinator works off its requests one after the other, so when it has answered a later one, the earlier ones are either
    /// answered or wait for others. That, and not time, decides here whether a request is parked.
    async fn look_after_parked(&mut self) -> Checked {
        if self.parked.is_empty() {
            return Ok(());
        }
        // Twice: what a timer sets off at one step may let another go on.
        for _ in 0..2 {
            self.ask_coordinators().await?;
        }
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        let (done, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.parked).into_iter().partition(|parked| parked.task.is_finished());
        self.parked = waiting;
        let before: Vec<_> = self.world.groups.iter().map(|group| group.generation).collect();
        for parked in done {
            let outcome = parked.task.await.map_err(|error| Finding(format!("a request's task ended: {error}")))?;
            let (version, id) = (parked.version, parked.correlation_id);
            match parked.what {
                Waiting::Join { group, member } => {
                    let answer = reply::<protocol::messages::JoinGroupRequest>(version, id, outcome)?;
                    self.note(format!("   {id}: {answer:?}"));
                    self.joined(group, member, before[group], &answer)?;
                }
                Waiting::Sync { member_id, generation } => {
                    let answer = reply::<protocol::messages::SyncGroupRequest>(version, id, outcome)?;
                    self.note(format!("   {id}: {answer:?}"));
                    super::groups::synced(&member_id, generation, &answer)?;
                }
                Waiting::Fetch { wanted } => {
                    let answer = reply::<protocol::messages::FetchRequest>(version, id, outcome)?;
                    self.note(format!("   {id}: {answer:?}"));
                    self.fetched_late(&wanted, version, &answer)?;
                }
            }
        }
        Ok(())
    }

    /// Ends what still waits, as the end of a connection does.
    pub(crate) fn drop_parked(&mut self) {
        for parked in self.parked.drain(..) {
            parked.task.abort();
        }
    }
}

async fn settle(mut outcome: Outcome) -> Outcome {
    while let Outcome::Later { reply, .. } = outcome {
        outcome = reply.await;
    }
    outcome
}

fn answer<R: Request>(version: i16, correlation_id: i32, outcome: Outcome) -> Checked<Answer<R::Response>>
where
    R::Response: Debug,
{
    let frame = match outcome {
        Outcome::Reply(frame) => frame,
        Outcome::NoReply => return Ok(Answer::Nothing),
        Outcome::Close(reason) => return Ok(Answer::Closed(reason.to_string())),
        Outcome::Later { .. } => return Err(Finding("an answer that never settles".to_owned())),
    };
    let mut bytes = Vec::new();
    for piece in &frame.pieces {
        match piece {
            Piece::Memory(memory) => bytes.extend_from_slice(memory),
            Piece::File(range) => {
                let start = bytes.len();
                bytes.resize(start + range.length_bytes, 0);
                let read = range.file.read_exact_at(&mut bytes[start..], range.position);
                ensure!(read.is_ok(), "a range of a file is shorter than was said: {read:?}");
            }
        }
    }
    let bytes = Bytes::from(bytes);
    let header = if protocol::response_header_version(R::KEY, version) == Some(1) { 5 } else { 4 };
    ensure!(bytes.len() >= header && bytes[..4] == correlation_id.to_be_bytes(), "the answer's header is wrong: {bytes:?}");
    let decoded = protocol::decode_response::<R>(version, &bytes.slice(header..), 64 << 20);
    let response = decoded.map_err(|error| Finding(format!("API {} version {version}: the answer does not decode: {error}", R::KEY)))?;
    let text = format!("{response:?}");
    ensure!(!text.contains("error_code: -1,"), "UNKNOWN_SERVER_ERROR in API {} version {version}: {text}", R::KEY);
    Ok(Answer::Reply(response))
}

fn reply<R: Request>(version: i16, correlation_id: i32, outcome: Outcome) -> Checked<R::Response>
where
    R::Response: Debug,
{
    match answer::<R>(version, correlation_id, outcome)? {
        Answer::Reply(response) => Ok(response),
        other => Err(Finding(format!("API {} version {version} must be answered: {other:?}", R::KEY))),
    }
}

/// A string as the messages have it.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
