//! `klamm log`: what lies in a data directory, printed and checked, with the broker stopped.
//!
//! The reading is `log_store::inspect`'s; here are the choice of files, the topics' names, and the words.

pub mod args;
mod choice;
mod dump;
mod line;
mod progress;
mod verify;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use log_store::inspect::PlaceError;
use log_store::{OpenError, StorageError};
use thiserror::Error;

use args::LogAction;

/// What prevents a look.
#[derive(Debug, Error)]
pub enum LogProblem {
    /// The path is nothing of klamm's.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A broker has the directory open.
    #[error("data directory {} is in use by a running broker; stop it, or check the segment files alone with --files-only", .0.display())]
    InUse(PathBuf),
    /// A broker has the directory open, and names are in its index.
    #[error(
        "data directory {} is in use by a running broker, and topics' names can be read from a stopped one only; stop it, or name the directory of a partition",
        .0.display()
    )]
    NamesInUse(PathBuf),
    /// The names are in an index that cannot be read.
    #[error("the topics' names in {} cannot be read ({reason}); name the directory of a partition", .directory.display())]
    Names {
        /// The data directory.
        directory: PathBuf,
        /// Why.
        reason: String,
    },
    /// No such topic, or no such partition of it, has been written to.
    #[error("{} has nothing of {what}; 'klamm log dump {}' shows what there is", .directory.display(), .directory.display())]
    Nothing {
        /// The data directory.
        directory: PathBuf,
        /// What was asked for.
        what: String,
    },
    /// The directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Standard output takes no more.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// Runs a command. Its exit code is 1 if a check found a fault.
///
/// # Errors
/// One sentence that says why nothing, or no more, can be shown.
pub fn run(action: &LogAction) -> Result<ExitCode, LogProblem> {
    let outcome = match action {
        LogAction::Dump(args) => dump::run(args).map(|()| ExitCode::SUCCESS),
        LogAction::Verify(args) => verify::run(args),
    };
    match outcome {
        // Whoever reads has seen enough, as in `klamm log dump d | head`.
        Err(LogProblem::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        other => other,
    }
}
