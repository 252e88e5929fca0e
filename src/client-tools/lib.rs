//! `klamm topics`, `groups`, `produce`, `consume`, `describe` and `drain`: what people without the Java tools need every day, over Kafka's own protocol.
//!
//! What it is *not*: it is no client library. It is a member of classic groups only, opens no transaction, reads uncommitted records, and knows no
//! TLS or SASL. It talks to klamm as to any Apache Kafka from 3.0 on, and uses nothing that only klamm has.
//!
//! Invariants:
//! - The version of each request is the highest that both sides know, by the broker's ApiVersions.
//! - Records and offsets are asked of a partition's leader, groups of their coordinator; after a retriable error the metadata is asked again.
//! - Standard output has the answer and nothing else: text for people, or JSON with `--json`. Progress and summaries go to standard error.
//! - What goes wrong is one sentence that says what to do next; a closed standard output is no error.
//! - A reader whose broker is gone waits for it and goes on where it was: no record is printed twice for that.
//! - A member of a group commits what is on standard output, and nothing else; it leaves the group however it ends, but for a kill.
//! - An idempotent producer sends a batch again with the same sequence, so that each line is there once.
//!
//! In Kafka: `TopicCommand`, `ConsumerGroupCommand`, `ConsoleProducer`, `ConsoleConsumer`, `BuiltInPartitioner`, `ConsumerCoordinator`, `RangeAssignor`; the options of `produce` and
//! `consume` are kcat's where it has them.
//!
//! The path: [`args`] -> a command's file -> `cluster` (who leads what) -> `connection` (versions, headers) -> `wire::PeerClient`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod args;
mod cluster;
mod connection;
mod consume;
mod describe;
mod drain;
mod format;
mod group_consume;
mod group_members;
mod group_protocol;
mod groups;
mod moments;
mod offsets;
mod output;
mod partitioner;
mod patience;
mod problem;
mod produce;
mod produce_batches;
pub mod record_json;
pub mod signals;
mod topics;
pub mod values;
mod voters;

pub use problem::ToolProblem;

use args::ToolCommand;

/// Runs a command and writes what it says.
///
/// # Errors
/// One sentence that says what went wrong and what to do next.
pub async fn run(command: &ToolCommand) -> Result<(), ToolProblem> {
    let outcome = match command {
        ToolCommand::Topics(args) => topics::run(args).await,
        ToolCommand::Groups(args) => groups::run(args).await,
        ToolCommand::Produce(args) => produce::run(args).await,
        ToolCommand::Consume(args) => consume::run(args).await,
        ToolCommand::Describe(args) => describe::run(args).await,
        ToolCommand::Drain(args) => drain::run(args).await,
        ToolCommand::Voters(args) => voters::run(args).await,
    };
    match outcome {
        // Whoever reads has seen enough, as in `klamm consume t | head`.
        Err(ToolProblem::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
