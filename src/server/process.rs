//! What belongs to the process: runtime, logs, signals, limits. Here one broker is run from start to stop.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use broker::config::{BrokerConfig, Mode, RawConfig};
use client_tools::signals::Signals;
use log_store::Failpoints;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

use crate::args::BrokerArgs;
use crate::ephemeral::{self, Ephemeral};
use crate::node::{Node, NodeParts};
use crate::settings::{self, PropertiesFile, Variables};
use crate::several::{self, Brokers};
use crate::{Problem, join, memory, properties, ready};

/// How long the runtime waits for work that does not end by itself.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

/// Runs a broker until a signal stops it.
///
/// # Errors
/// One sentence that says why it does not start.
pub(crate) fn run_broker(args: &BrokerArgs, variables: &Variables) -> Result<ExitCode, Problem> {
    let mode = settings::mode(args);
    begin_logs(mode, variables)?;
    let file = args.config_file.as_deref().map(read_file).transpose()?;
    let ephemeral = if args.is_ephemeral { Some(Ephemeral::make()?) } else { None };
    if mode == Mode::Developer {
        ephemeral::remove_dead_in_background();
    }
    let mut raw = settings::merge(args, variables, file, ephemeral.as_ref().map(Ephemeral::path), &host_name())?;
    let mut config = BrokerConfig::from_map(&raw, mode)?;
    let mut note = None;
    if mode == Mode::Developer && args.brokers == 1 {
        let wish = join::Wish { seed: args.join.as_deref(), broker_id: args.broker_id };
        note = small_runtime()?.block_on(join::plan(&mut raw, &config.data_directory, wish))?;
        if note.is_some() {
            config = BrokerConfig::from_map(&raw, mode)?;
        }
    }
    note_strange_keys(&config);
    raise_descriptor_limit();
    if args.brokers > 1 {
        // The brokers have runtimes of their own; this one is for what orders them about.
        let runtime = runtime_of("main", 1)?;
        let outcome = runtime.block_on(serve_several(&raw, args.brokers, variables, ephemeral.is_some()));
        runtime.shutdown_timeout(RUNTIME_GRACE);
        return outcome;
    }
    let member = note.as_ref().map(join::Note::member);
    let parts = NodeParts {
        failpoints: Failpoints::parse(variables.get("KLAMM_FAILPOINTS").map_or("", String::as_str))?,
        request_bytes_max: memory::request_bytes_max(),
        membership: note,
        ..NodeParts::default()
    };
    let runtime = runtime(config.broker_id.get())?;
    let outcome = runtime.block_on(serve(config, parts, ephemeral.is_some(), member));
    runtime.shutdown_timeout(RUNTIME_GRACE);
    outcome
}

async fn serve(config: BrokerConfig, parts: NodeParts, is_ephemeral: bool, member: Option<String>) -> Result<ExitCode, Problem> {
    let mut signals = signals()?;
    let (mode, data) = (config.mode, config.data_directory.clone());
    let node = tokio::select! {
        node = Node::start(config, parts) => node?,
        // Nothing was acknowledged yet; what is on disk is as after a kill.
        number = signals.next() => return Ok(interrupted(number)),
    };
    announce(&ready::text(node.addresses(), node.http_address(), mode, &data, is_ephemeral, member.as_deref()));
    if mode == Mode::Server {
        // The words that test harnesses for Kafka's container wait for.
        tracing::info!("Transitioning from RECOVERY to RUNNING");
    }
    let number = signals.next().await;
    tracing::info!(signal = number, "stopping");
    tokio::select! {
        () = node.stop() => Ok(ExitCode::SUCCESS),
        number = signals.again() => Ok(interrupted(number)),
    }
}

/// Runs several brokers of one cluster until a signal stops them.
async fn serve_several(raw: &RawConfig, count: u16, variables: &Variables, is_ephemeral: bool) -> Result<ExitCode, Problem> {
    let mut signals = signals()?;
    let planned = several::plan(raw, count).await?;
    let failpoints = variables.get("KLAMM_FAILPOINTS").map_or("", String::as_str);
    let (brokers, listeners) = Brokers::new(planned, failpoints, memory::request_bytes_max());
    tokio::select! {
        started = brokers.start_all() => started?,
        // Nothing was acknowledged yet; what is on disk is as after a kill.
        number = signals.next() => return Ok(interrupted(number)),
    }
    announce(&ready::text_of_several(&brokers.list(), is_ephemeral));
    let number = signals.next().await;
    tracing::info!(signal = number, "stopping");
    let stop = async {
        brokers.stop_all().await;
        for listener in listeners {
            listener.stop().await;
        }
    };
    tokio::select! {
        () = stop => Ok(ExitCode::SUCCESS),
        number = signals.again() => Ok(interrupted(number)),
    }
}

/// The exit code that a shell gives to a process that a signal ended.
fn interrupted(number: i32) -> ExitCode {
    ExitCode::from(u8::try_from(128 + number).unwrap_or(u8::MAX))
}

/// A closed standard output is no reason to end.
fn announce(text: &str) {
    let mut output = std::io::stdout().lock();
    if output.write_all(text.as_bytes()).and_then(|()| output.flush()).is_err() {
        tracing::debug!("nobody reads standard output");
    }
}

/// The signals that stop a broker.
fn signals() -> Result<Signals, Problem> {
    Signals::install().map_err(|source| Problem::System { action: "listen for signals", source })
}

/// Reads from the disk run on threads of their own; so many at the most.
const READ_THREADS_MAX: usize = 16;
/// A thread that nobody needs goes after this time.
const READ_THREAD_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The runtime of a broker. The network's work is short, so there are as many workers as processors and not more.
pub(crate) fn runtime(broker_id: i32) -> Result<Runtime, Problem> {
    let workers = std::thread::available_parallelism().map_or(2, NonZeroUsize::get).clamp(1, 16);
    runtime_of(&format!("net-{broker_id}"), workers)
}

fn runtime_of(thread_name: &str, workers: usize) -> Result<Runtime, Problem> {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name(thread_name)
        .max_blocking_threads(READ_THREADS_MAX)
        .thread_keep_alive(READ_THREAD_KEEP_ALIVE)
        .enable_all()
        .build()
        .map_err(|source| Problem::System { action: "start threads", source })
}

/// A runtime for one question.
pub(crate) fn small_runtime() -> Result<Runtime, Problem> {
    Builder::new_current_thread().enable_all().build().map_err(|source| Problem::System { action: "start a runtime", source })
}

fn read_file(path: &Path) -> Result<PropertiesFile, Problem> {
    let bytes = std::fs::read(path).map_err(|source| Problem::File { path: path.to_owned(), source })?;
    let entries = properties::parse(&properties::decode(&bytes)).map_err(|source| Problem::Properties { path: path.to_owned(), source })?;
    Ok(PropertiesFile { path: path.display().to_string(), entries })
}

/// The machine's name, for a listener on every address that nobody named otherwise.
fn host_name() -> String {
    rustix::system::uname().nodename().to_str().ok().filter(|name| !name.is_empty()).unwrap_or("localhost").to_owned()
}

/// One warning for each key that nobody knows, or that nothing acts on.
fn note_strange_keys(config: &BrokerConfig) {
    for key in &config.unknown_keys {
        tracing::warn!("unknown configuration {key}; it is ignored");
    }
    for key in &config.unused_keys {
        tracing::warn!("configuration {key} has no effect in klamm");
    }
}

/// Connections and segment files need descriptors: take as many as the system allows.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// A filter that says nothing of openraft leaves out what that tells of its insides at each step.
fn log_filter(asked: &str) -> String {
    if asked.contains("openraft") { asked.to_owned() } else { format!("openraft=warn,{asked}") }
}

/// Logs go to standard error. A developer reads warnings, and of openraft nothing: voters that are not up yet, or not any more, are errors to it,
/// and what ends the quorum is told by it in its own words. A server's log tells more; KLAMM_LOG says otherwise (as `debug` or `wire=trace,info`).
/// KLAMM_LOG_FORMAT=json writes each line as one JSON object.
fn begin_logs(mode: Mode, variables: &Variables) -> Result<(), Problem> {
    let default = match mode {
        Mode::Developer => "warn,openraft=off",
        Mode::Server => "info,openraft=warn",
    };
    let filter = log_filter(variables.get("KLAMM_LOG").map_or(default, String::as_str));
    let filter = EnvFilter::builder().parse(filter).map_err(|error| Problem::LogFilter(error.to_string()))?;
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    let begun = match variables.get("KLAMM_LOG_FORMAT").map_or("text", String::as_str) {
        "text" => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        "json" => builder.json().flatten_event(true).try_init(),
        other => return Err(Problem::LogFormat(other.to_owned())),
    };
    // A process that has a subscriber already keeps it.
    if begun.is_err() {
        tracing::debug!("logs were set up earlier");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_asks_for_openrafts_insides_only_by_name() {
        assert_eq!(log_filter("info"), "openraft=warn,info");
        assert_eq!(log_filter("debug,openraft=info"), "debug,openraft=info");
        assert!(EnvFilter::builder().parse(log_filter("wire=trace,info")).is_ok());
    }
}
