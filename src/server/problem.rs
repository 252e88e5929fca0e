//! What prevents a start. Each text is the one sentence that a person sees.

use std::io;
use std::path::PathBuf;

use broker::StartError;
use broker::config::ConfigProblem;
use client_tools::ToolProblem;
use log_store::InvalidFailpoint;
use thiserror::Error;

/// What prevents a start.
#[derive(Debug, Error)]
pub enum Problem {
    /// The command line is not understood.
    #[error("{0}; see klamm --help")]
    Arguments(String),
    /// The command line is not understood, of a command that has a help of its own.
    #[error("{sentence}; see {command} --help")]
    ArgumentsOf {
        /// The command, with the program's name.
        command: String,
        /// What is wrong.
        sentence: String,
    },
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigProblem),
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no properties file.
    #[error("cannot read the configuration file {}: {source}", .path.display())]
    Properties {
        /// The file.
        path: PathBuf,
        /// Why.
        source: crate::properties::MalformedEscape,
    },
    /// The data directory cannot be looked into.
    #[error("cannot use data directory {}: {source}", .path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A host name leads nowhere.
    #[error("cannot listen on {address}: the host is not known here ({source})")]
    UnknownHost {
        /// The address as configured.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The port is taken.
    #[error("cannot listen on {address}: the port is in use by another process")]
    PortInUse {
        /// The address as configured.
        address: String,
    },
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address as configured.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The broker does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// One of the brokers of this process does not start; its own sentence.
    #[error("{0}")]
    OfOneBroker(String),
    /// No orders can be given to brokers.
    #[error("{0}")]
    Brokers(String),
    /// A cluster that cannot be joined.
    #[error("cannot join: {0}")]
    Join(String),
    /// The process lacks something of the system.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The filter of logs is not understood.
    #[error("the environment variable KLAMM_LOG is not understood: {0}")]
    LogFilter(String),
    /// The format of logs is not one.
    #[error("the environment variable KLAMM_LOG_FORMAT is {0}; it may be text or json")]
    LogFormat(String),
    /// The failpoints of a test are not understood.
    #[error("the environment variable KLAMM_FAILPOINTS is not understood: {0}")]
    Failpoints(#[from] InvalidFailpoint),
    /// A tool does not get what it asked for.
    #[error(transparent)]
    Tool(#[from] ToolProblem),
    /// What is stored cannot be shown.
    #[error(transparent)]
    Log(#[from] crate::log_tool::LogProblem),
    /// The broker that was asked does not answer.
    #[error("{address} is not ready: {reason}")]
    NotReady {
        /// The address that was asked.
        address: String,
        /// What happened.
        reason: String,
    },
}

impl Problem {
    /// A flag's address that is none.
    pub(crate) fn address(flag: &str, text: &str, example: &str) -> Self {
        let port = text.rsplit_once(':').map_or("", |(_, port)| port);
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let why = if is_number && port.parse::<u16>().is_err() {
            format!("port {port} is out of range, which is 0 to 65535")
        } else {
            format!("expected HOST:PORT, as {example}")
        };
        Self::Arguments(format!("invalid value '{text}' for '{flag} <HOST:PORT>': {why}"))
    }
}
