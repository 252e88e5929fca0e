//! The commands' arguments.

use clap::{Args, Subcommand, ValueEnum};

use crate::moments;
use crate::values::{addresses, broker_id, number};

/// What every command takes.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Common {
    /// Brokers to ask first, separated by commas
    #[arg(short = 'b', long = "bootstrap-server", value_name = "HOST:PORT", default_value = "127.0.0.1:9092", value_parser = addresses, global = true)]
    pub bootstrap: String,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// How long a broker may take to answer, and to recover from a passing error
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 15_000, value_parser = number::<u64>, global = true)]
    pub timeout_ms: u64,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolCommand {
    /// `klamm topics`.
    Topics(TopicsArgs),
    /// `klamm groups`.
    Groups(GroupsArgs),
    /// `klamm produce`.
    Produce(ProduceArgs),
    /// `klamm consume`.
    Consume(ConsumeArgs),
    /// `klamm describe`.
    Describe(DescribeArgs),
    /// `klamm drain`.
    Drain(DrainArgs),
    /// `klamm voters`.
    Voters(VotersArgs),
}

/// The examples of `klamm topics --help`.
pub const TOPICS_EXAMPLES: &str = "\
Examples:
  klamm topics                                              all topics but the internal ones
  klamm topics create orders --partitions 6 --config retention.ms=3600000
  klamm topics describe orders                              partitions, leaders, offsets, configuration
  klamm topics delete orders
  klamm topics --json -b broker:9092";

/// The examples of `klamm groups --help`.
pub const GROUPS_EXAMPLES: &str = "\
Examples:
  klamm groups                                              all groups with their states
  klamm groups describe readers                             members, offsets, lag
  klamm groups reset readers --topic orders --to earliest   or latest, an offset, -PT1H, @MILLISECONDS
  klamm groups delete readers";

/// The examples of `klamm voters --help`.
pub const VOTERS_EXAMPLES: &str = "\
Examples:
  klamm voters                     who votes in the metadata quorum, and who has the metadata without a vote
  klamm voters add 2               while a majority of the voters lives, the cluster can change: three voters bear the loss of one
  klamm voters remove 1            also the active controller; the others elect the next one";

/// The examples of `klamm produce --help`.
pub const PRODUCE_EXAMPLES: &str = "\
Examples:
  echo hello | klamm produce greetings
  echo k1:v1 | klamm produce greetings -K :                 what stands before the first ':' is the key
  klamm produce greetings -z zstd -H source=file < lines.txt
  echo k1: | klamm produce greetings -K : -Z                a tombstone for k1";

/// The examples of `klamm consume --help`.
pub const CONSUME_EXAMPLES: &str = "\
Examples:
  klamm consume greetings                                   from the beginning, and then what comes
  klamm consume greetings -e                                up to the end, then exit
  klamm consume greetings --from -10 -e                     the last 10 of each partition
  klamm consume greetings --from @1767225600000 -p 0 -c 5   five records from a time on (ms since 1970)
  klamm consume greetings --from @2026-01-31T12:00:00Z -e   the same by date
  klamm consume greetings --from -PT10M -e                  the last ten minutes
  klamm consume greetings -f '%p %o %k: %s\\n'
  klamm consume greetings --group readers                   as a member of a group, which remembers where it was
  klamm consume greetings --json -e

Format: %s value, %k key, %S and %K their lengths (-1: null), %o offset, %p partition, %t topic, %T timestamp, %h headers, %% percent;
\\n \\t \\r \\\\ and \\xHH";

/// The examples of `klamm describe --help`.
pub const DESCRIBE_EXAMPLES: &str = "\
Examples:
  klamm describe
  klamm describe --json -b broker:9092";

/// The examples of `klamm drain --help`.
pub const DRAIN_EXAMPLES: &str = "\
Examples:
  klamm drain 3                                             ends when broker 3 holds no replica; may be started again
  klamm drain 3 -b broker:9092";

/// `klamm topics`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = TOPICS_EXAMPLES)]
pub struct TopicsArgs {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// Also list Kafka's internal topics
    #[arg(long)]
    pub internal: bool,
    /// What to do; without it, list.
    #[command(subcommand)]
    pub action: Option<TopicsAction>,
}

/// What to do with topics.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum TopicsAction {
    /// Create topics
    Create {
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// How many partitions [default: the broker's num.partitions]
        #[arg(short, long, value_name = "N", value_parser = number::<i32>)]
        partitions: Option<i32>,
        /// How many replicas [default: the broker's default.replication.factor]
        #[arg(short, long, value_name = "N", value_parser = number::<i16>)]
        replication_factor: Option<i16>,
        /// A topic configuration
        #[arg(short, long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
        configs: Vec<(String, String)>,
        /// A topic that exists is no error
        #[arg(long)]
        if_not_exists: bool,
    },
    /// Delete topics with all their records
    Delete {
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Show partitions, leaders, offsets and configuration
    Describe {
        /// Their names [default: all but the internal ones]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}

/// `klamm groups`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = GROUPS_EXAMPLES)]
pub struct GroupsArgs {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// What to do; without it, list.
    #[command(subcommand)]
    pub action: Option<GroupsAction>,
}

/// What to do with groups.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum GroupsAction {
    /// Show members, committed offsets and lag
    Describe {
        /// Its name
        group: String,
    },
    /// Commit other offsets for a group without members
    Reset {
        /// Its name
        group: String,
        /// Of which topic
        #[arg(short, long)]
        topic: String,
        /// Of which partition [default: all]; may be repeated
        #[arg(short, long = "partition", value_name = "N", value_parser = number::<i32>)]
        partitions: Vec<i32>,
        /// earliest, latest, an offset, a time as @MILLISECONDS since 1970 or @2026-01-31T12:00:00Z, or -PT1H (that long ago)
        #[arg(long, value_name = "WHERE", allow_hyphen_values = true, value_parser = Position::parse_absolute)]
        to: Position,
        /// Show what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete groups without members, with their offsets
    Delete {
        /// Their names
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
}

/// When the leader may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    /// All in-sync replicas have the records.
    All,
    /// The leader has them.
    #[value(name = "1")]
    Leader,
}

/// How records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum CodecName {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// `klamm produce`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = PRODUCE_EXAMPLES)]
pub struct ProduceArgs {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// Where the lines of standard input go
    pub topic: String,
    /// What stands between key and value in a line; a line without it has no key
    #[arg(short = 'K', long, value_name = "DELIMITER", value_parser = not_empty)]
    pub key_delimiter: Option<String>,
    /// A header of each record; may be repeated
    #[arg(short = 'H', long = "header", value_name = "KEY=VALUE", value_parser = key_value)]
    pub headers: Vec<(String, String)>,
    /// The partition [default: by the key as the Java client does it; without a key, by batches in turn]
    #[arg(short, long, value_name = "N", value_parser = number::<i32>)]
    pub partition: Option<i32>,
    /// How to compress
    #[arg(short = 'z', long = "compression", value_name = "CODEC", value_enum, default_value_t = CodecName::None)]
    pub codec: CodecName,
    /// Whose acknowledgement counts; all is idempotent too
    #[arg(long, value_enum, default_value_t = Acks::All)]
    pub acks: Acks,
    /// An empty key or value is null
    #[arg(short = 'Z', long)]
    pub null_if_empty: bool,
}

/// `klamm consume`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = CONSUME_EXAMPLES)]
pub struct ConsumeArgs {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// The topic
    pub topic: String,
    /// beginning, end, an offset, -N (the last N of each partition), a time as @MILLISECONDS since 1970 or @2026-01-31T12:00:00Z, or -PT1H (that
    /// long ago); with --group only where it has no offset
    #[arg(short = 'o', long, value_name = "WHERE", default_value = "beginning", allow_hyphen_values = true, value_parser = Position::parse)]
    pub from: Position,
    /// The partition [default: all]; may be repeated
    #[arg(short, long = "partition", value_name = "N", value_parser = number::<i32>)]
    pub partitions: Vec<i32>,
    /// Read as a member of this group: it shares the partitions among its members and keeps their offsets
    #[arg(short, long, value_name = "NAME", conflicts_with = "partitions", value_parser = not_empty)]
    pub group: Option<String>,
    /// With --group: how long the group waits for a member that is silent
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 45_000, value_parser = number::<i32>, requires = "group")]
    pub session_timeout_ms: i32,
    /// Exit at the end of all partitions. Without it, a broker that is gone is waited for, however long it takes
    #[arg(short = 'e', long)]
    pub exit_at_end: bool,
    /// Exit after so many records
    #[arg(short, long, value_name = "N", value_parser = number::<u64>)]
    pub count: Option<u64>,
    /// How to print a record [default: the value and a newline]
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "json")]
    pub format: Option<String>,
}

/// `klamm describe`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = DESCRIBE_EXAMPLES)]
pub struct DescribeArgs {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
}

/// `klamm drain`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = DRAIN_EXAMPLES)]
pub struct DrainArgs {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// The broker's id
    #[arg(value_name = "BROKER", value_parser = broker_id)]
    pub broker: i32,
}

/// `klamm voters`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = VOTERS_EXAMPLES)]
pub struct VotersArgs {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// What to do; list if nothing is said
    #[command(subcommand)]
    pub action: Option<VotersAction>,
}

/// What is to be done about voters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum VotersAction {
    /// List the brokers that have the metadata, and which of them vote
    List,
    /// Have a broker vote
    Add {
        /// The broker's id
        #[arg(value_name = "BROKER", value_parser = broker_id)]
        broker: i32,
    },
    /// Have a broker vote no more
    Remove {
        /// The broker's id
        #[arg(value_name = "BROKER", value_parser = broker_id)]
        broker: i32,
    },
}

/// A place in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The first record that is there.
    Earliest,
    /// Behind the last record.
    Latest,
    /// An offset.
    Offset(i64),
    /// So many records before the end.
    BeforeEnd(i64),
    /// The first record of this time, in ms since 1970, or of a later one.
    Timestamp(i64),
    /// The first record that is not older than this, in ms.
    Age(i64),
}

impl Position {
    /// Reads any of them.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected beginning, end, an offset, -N, -PT1H (a duration ago), @MILLISECONDS or @2026-01-31T12:00:00Z";
        let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
        match text {
            "beginning" | "earliest" => return Ok(Self::Earliest),
            "end" | "latest" => return Ok(Self::Latest),
            _ => {}
        }
        let found = match (text.strip_prefix('@'), text.strip_prefix('-')) {
            (Some(time), _) => number(time).or_else(|| moments::datetime(time)).map(Self::Timestamp),
            (_, Some(duration)) if duration.starts_with('P') => moments::duration(duration).map(Self::Age),
            (_, Some(count)) => number(count).map(Self::BeforeEnd),
            _ => number(text).map(Self::Offset),
        };
        found.ok_or(EXPECTED)
    }

    /// Reads all but `-N`.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse_absolute(text: &str) -> Result<Self, &'static str> {
        match Self::parse(text) {
            Ok(Self::BeforeEnd(_)) | Err(_) => {
                Err("expected earliest, latest, an offset, -PT1H (a duration ago), @MILLISECONDS or @2026-01-31T12:00:00Z")
            }
            position => position,
        }
    }
}

fn key_value(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE"),
    }
}

fn not_empty(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("expected at least one character") } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_word_an_offset_a_count_or_a_time() {
        let table = [
            ("beginning", Position::Earliest),
            ("latest", Position::Latest),
            ("0", Position::Offset(0)),
            ("-3", Position::BeforeEnd(3)),
            ("@1700000000000", Position::Timestamp(1_700_000_000_000)),
            ("@2026-01-01T01:00:00+01:00", Position::Timestamp(1_767_225_600_000)),
            ("-PT1H30M", Position::Age(5_400_000)),
        ];
        for (text, position) in table {
            assert_eq!(Position::parse(text), Ok(position), "{text}");
        }
        for text in ["", "-", "@", "@-1", "1.5", "begin", "--1", "@2026-01-01", "-P", "P1D"] {
            assert!(Position::parse(text).is_err(), "{text}");
        }
        assert!(Position::parse_absolute("-3").is_err() && Position::parse_absolute("-P1D").is_ok());
    }
}
