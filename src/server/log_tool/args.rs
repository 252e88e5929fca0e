//! The arguments of `klamm log`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use client_tools::values::number;

const EXAMPLES: &str = "\
Examples:
  klamm log dump ./klamm-data --topic orders --records      what is stored of a topic, record by record
  klamm log dump 00000000000000000000.0.log                 the batches of one segment file, as kafka-dump-log prints them
  klamm log dump ./klamm-data --topic orders --json         the same, a JSON object a line
  klamm log verify ./klamm-data                             whether all is as recovery and reads need it; exit code 1 if not

The broker of a data directory must be stopped, but for what --files-only and dump read: they look at the segment files alone.
Nothing in the directory is changed.";

/// `klamm log`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = EXAMPLES)]
pub struct LogArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: LogAction,
}

/// What to do with what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum LogAction {
    /// Print the batches of segment files, or their records
    #[command(after_help = DUMP_EXAMPLES)]
    Dump(DumpArgs),
    /// Check segment files and what the index says of them
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
}

const DUMP_EXAMPLES: &str = "\
Examples:
  klamm log dump ./klamm-data
  klamm log dump ./klamm-data --topic orders --partition 0 --from 1000 --count 5 --records
  klamm log dump ./klamm-data/partitions/<topic id>-0 --json
  klamm log dump 00000000000000000000.0.log --records       also one of Apache Kafka's segment files
  klamm log dump ./klamm-data --topic __consumer_offsets --offsets-decoder
  klamm log dump ./klamm-data --topic __transaction_state --transaction-log-decoder

Batches and records are printed as kafka-dump-log (DumpLogSegments) prints them.";

const VERIFY_EXAMPLES: &str = "\
Examples:
  klamm log verify ./klamm-data
  klamm log verify ./klamm-data --topic orders --json
  klamm log verify ./klamm-data --files-only                while the broker runs; the index is left out

Checked are frames, checksums, offsets, epochs, decompression and records of each batch, missing files, index rows against the bytes,
the states of producers, and what RocksDB says of its own files. Exit code 1 if there is a fault. What a crash leaves and the next start
puts right is a note and no fault.";

/// Which part of a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Part {
    /// A data directory, a partition's directory in it, or a segment file
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Only this topic of a data directory; its id does too
    #[arg(short, long)]
    pub topic: Option<String>,
    /// Only this partition; may be repeated
    #[arg(short, long = "partition", value_name = "N", value_parser = number::<i32>)]
    pub partitions: Vec<i32>,
    /// Print a JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// `klamm log dump`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DumpArgs {
    /// Which part.
    #[command(flatten)]
    pub part: Part,
    /// Print the records too: key, value, headers
    #[arg(short, long, visible_alias = "print-data-log")]
    pub records: bool,
    /// Print the records without keys and values
    #[arg(long)]
    pub deep_iteration: bool,
    /// Print the records as those of __consumer_offsets: commits and groups as JSON
    #[arg(long)]
    pub offsets_decoder: bool,
    /// Print the records as those of __transaction_state: transactional ids as JSON
    #[arg(long, conflicts_with = "offsets_decoder")]
    pub transaction_log_decoder: bool,
    /// Begin with the batch of this offset
    #[arg(short = 'o', long, value_name = "OFFSET", value_parser = number::<i64>)]
    pub from: Option<i64>,
    /// Stop after so many batches of each partition
    #[arg(short, long, value_name = "N", value_parser = number::<u64>)]
    pub count: Option<u64>,
}

/// `klamm log verify`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct VerifyArgs {
    /// Which part.
    #[command(flatten)]
    pub part: Part,
    /// Leave the index out; possible while a broker runs
    #[arg(long)]
    pub files_only: bool,
}
