//! The `klamm` process: command line, `server.properties` and `KAFKA_*` become one typed configuration; then listeners, signals, and one broker.
//!
//! What it is *not*: it serves no client's request (only an operator's, by [`http`]) and stores nothing; it is the only crate that reads the environment and configuration files.
//!
//! Invariants:
//! - Flags beat the environment, the environment beats the file ([`settings`]); merging is a pure function.
//! - What prevents a start is one sentence on standard error and exit code 1, before anything is written to the data directory; listeners are
//!   bound before the directory is opened.
//! - The ready text is the only thing on standard output, and it comes when requests are answered. Logs go to standard error.
//! - A [`node::Node`] holds no global state; tests start several in one process. Only [`run`] touches what belongs to the process: the
//!   subscriber of logs, signals, the descriptor limit, huge pages.
//!
//! In Kafka: `kafka.Kafka`, `KafkaDockerWrapper` (the rule for `KAFKA_*`), `SocketServer`'s acceptors.
//!
//! The path: `main` -> [`args`] -> [`settings`] (with [`properties`] and [`environment`]) -> `broker::config` -> [`node`] (with [`listener`])
//! -> `ready` -> a signal -> [`node::Node::stop`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod args;
pub mod brokers_tool;
mod controller_door;
pub mod environment;
mod ephemeral;
mod health;
pub mod http;
mod join;
pub mod listener;
pub mod log_tool;
mod memory;
pub mod node;
mod problem;
mod process;
pub mod properties;
mod ready;
pub mod settings;
mod several;

use std::ffi::OsString;
use std::process::ExitCode;

pub use problem::Problem;

use args::{Command, Parsed};

/// Runs the process and gives its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>, variables: impl IntoIterator<Item = (OsString, OsString)>) -> ExitCode {
    memory::refuse_huge_pages();
    // A variable that is not text cannot be one of ours.
    let variables = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    let outcome = match args::parse(arguments) {
        Ok(Parsed::Text(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Ok(Parsed::Command(Command::Health(health))) => {
            process::small_runtime().and_then(|runtime| runtime.block_on(health::check(&health)))
        }
        Ok(Parsed::Command(Command::Tool(tool))) => process::small_runtime().and_then(|runtime| {
            runtime.block_on(client_tools::run(&tool))?;
            Ok(ExitCode::SUCCESS)
        }),
        Ok(Parsed::Command(Command::Brokers(brokers))) => process::small_runtime().and_then(|runtime| {
            runtime.block_on(brokers_tool::run(&brokers))?;
            Ok(ExitCode::SUCCESS)
        }),
        Ok(Parsed::Command(Command::Log(action))) => log_tool::run(&action).map_err(Problem::from),
        Ok(Parsed::Command(Command::Broker(broker))) => process::run_broker(&broker, &variables),
        Err(problem) => Err(problem),
    };
    match outcome {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("klamm: {problem}");
            ExitCode::FAILURE
        }
    }
}
