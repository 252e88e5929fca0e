//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use client_tools::args::{ConsumeArgs, DescribeArgs, DrainArgs, GroupsArgs, ProduceArgs, ToolCommand, TopicsArgs, VotersArgs};
use client_tools::values::{address, broker_id, number};

use crate::Problem;
use crate::brokers_tool::BrokersArgs;
use crate::log_tool::args::{LogAction, LogArgs};

const EXAMPLES: &str = "\
Examples:
  klamm                                         a broker on 127.0.0.1:9092, data in ./klamm-data
  klamm --ephemeral --listen 127.0.0.1:0        a broker for a test: any free port, data gone at exit
  klamm --brokers 3                             three brokers in one process, one cluster, on ports 9092 to 9094
  klamm --brokers 3 --http 127.0.0.1:9080       the same; 'klamm brokers' then pauses, kills and restarts them
  klamm --join 127.0.0.1:9092 --data ./second   one more broker, in the cluster of that one
  klamm server -c server.properties             Apache Kafka's own file, with Kafka's defaults
  KAFKA_NUM_PARTITIONS=3 klamm                  any key by its variable, as Kafka's image reads them
  klamm --http 127.0.0.1:9080                   the same, with a status page, /metrics, /healthz and /readyz
  KLAMM_LOG=info klamm                          with more of its log, on standard error
  klamm health --address 127.0.0.1:9092         exit code 0 if a broker answers there

Send and read, or use any Kafka client:
  echo hello | klamm produce greetings
  klamm consume greetings -e
  echo hello | kcat -b 127.0.0.1:9092 -P -t greetings";

const SERVER_EXAMPLES: &str = "\
Examples:
  klamm server -c server.properties
  klamm server -c server.properties --override log.dirs=/data --override num.partitions=3
  KAFKA_LISTENERS=PLAINTEXT://:9092 KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://broker:9092 klamm server";

/// A broker that speaks the Apache Kafka protocol, on a RocksDB-backed store.
#[derive(Debug, Parser)]
#[command(name = "klamm", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Sub>,
    #[command(flatten)]
    developer: DeveloperArgs,
}

#[derive(Debug, Args)]
struct DeveloperArgs {
    /// Where to listen [default: 127.0.0.1:9092]; port 0 is any free one
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The data directory [default: ./klamm-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to serve metrics, health and a status page over HTTP [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// How many brokers to run in this process, as one cluster; each has its own port, from that of --listen on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = how_many)]
    brokers: u16,
    /// Join the cluster of the broker at this address
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "brokers")]
    join: Option<String>,
    /// The number of this broker in the cluster that it joins [default: the first free one]
    #[arg(long, value_name = "N", requires = "join", allow_negative_numbers = true, value_parser = broker_id)]
    broker_id: Option<i32>,
    /// Keep the data in a temporary directory that is gone at exit (after a kill, at the next start)
    #[arg(long, conflicts_with = "data")]
    ephemeral: bool,
    /// Set a configuration key
    #[arg(long = "override", value_name = "KEY=VALUE", value_parser = parse_override)]
    overrides: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Start a broker with Kafka's own defaults and configuration file
    #[command(after_help = SERVER_EXAMPLES)]
    Server(ServerArgs),
    /// Ask a broker whether it answers; exit code 0 or 1
    Health(HealthArgs),
    /// List, create, delete and describe topics
    Topics(TopicsArgs),
    /// List, describe, reset and delete consumer groups
    Groups(GroupsArgs),
    /// Send the lines of standard input to a topic
    Produce(ProduceArgs),
    /// Print a topic's records
    Consume(ConsumeArgs),
    /// Show the cluster: brokers, controller, features
    Describe(DescribeArgs),
    /// Move all replicas of a broker to others, so that it can be taken away
    Drain(DrainArgs),
    /// Show and change who votes in the metadata quorum
    Voters(VotersArgs),
    /// Pause, kill and restart the brokers of a process that runs several
    Brokers(BrokersArgs),
    /// Print or check what a stopped broker has stored
    Log(LogArgs),
}

#[derive(Debug, Args)]
struct ServerArgs {
    /// Kafka's properties file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to serve metrics, health and a status page over HTTP [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Set a configuration key
    #[arg(long = "override", value_name = "KEY=VALUE", value_parser = parse_override)]
    overrides: Vec<(String, String)>,
}

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct HealthArgs {
    /// The broker's address
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092", value_parser = address)]
    pub address: String,
    /// How long to wait for the answer
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 5000, value_parser = number::<u64>)]
    pub timeout_ms: u64,
}

/// What a broker is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerArgs {
    /// `klamm server`, as opposed to `klamm`.
    pub is_server: bool,
    /// Kafka's properties file.
    pub config_file: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--http`.
    pub http: Option<String>,
    /// `--brokers`.
    pub brokers: u16,
    /// `--join`.
    pub join: Option<String>,
    /// `--broker-id`.
    pub broker_id: Option<i32>,
    /// `--data`.
    pub data: Option<PathBuf>,
    /// `--ephemeral`.
    pub is_ephemeral: bool,
    /// `--override`, in order.
    pub overrides: Vec<(String, String)>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run a broker.
    Broker(BrokerArgs),
    /// Ask one.
    Health(HealthArgs),
    /// Use one, klamm or Apache Kafka.
    Tool(ToolCommand),
    /// Order the brokers of one process about.
    Brokers(BrokersArgs),
    /// Look at what is stored.
    Log(LogAction),
}

/// A command line that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// Do something.
    Command(Command),
    /// Print this (help, version).
    Text(String),
}

/// Reads a command line, the program's name first.
///
/// # Errors
/// One sentence that names what is not understood.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, Problem> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Parsed::Text(error.to_string()));
        }
        Err(error) => {
            let (name, command) = named_command(&arguments);
            // The parser's text is the whole help then, which begins with what the command is for.
            let sentence = if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
                format!("a command is missing ({})", names.join(" or "))
            } else {
                first_sentence(&error.to_string())
            };
            return Err(Problem::ArgumentsOf { command: name, sentence });
        }
    };
    Ok(Parsed::Command(match cli.command {
        Some(Sub::Health(health)) => Command::Health(health),
        Some(Sub::Topics(args)) => Command::Tool(ToolCommand::Topics(args)),
        Some(Sub::Groups(args)) => Command::Tool(ToolCommand::Groups(args)),
        Some(Sub::Produce(args)) => Command::Tool(ToolCommand::Produce(args)),
        Some(Sub::Consume(args)) => Command::Tool(ToolCommand::Consume(args)),
        Some(Sub::Describe(args)) => Command::Tool(ToolCommand::Describe(args)),
        Some(Sub::Voters(args)) => Command::Tool(ToolCommand::Voters(args)),
        Some(Sub::Drain(args)) => Command::Tool(ToolCommand::Drain(args)),
        Some(Sub::Brokers(args)) => Command::Brokers(args),
        Some(Sub::Log(args)) => Command::Log(args.action),
        Some(Sub::Server(ServerArgs { config, http, overrides })) => {
            let (listen, data, brokers) = (None, None, 1);
            Command::Broker(BrokerArgs {
                is_server: true,
                config_file: config,
                listen,
                http,
                brokers,
                join: None,
                broker_id: None,
                data,
                is_ephemeral: false,
                overrides,
            })
        }
        None => {
            let DeveloperArgs { listen, data, http, brokers, join, broker_id, ephemeral, overrides } = cli.developer;
            Command::Broker(BrokerArgs {
                is_server: false,
                config_file: None,
                listen,
                http,
                brokers,
                join,
                broker_id,
                data,
                is_ephemeral: ephemeral,
                overrides,
            })
        }
    }))
}

fn how_many(text: &str) -> Result<u16, &'static str> {
    text.parse().ok().filter(|count| (1..=9).contains(count)).ok_or("expected a number from 1 to 9")
}

fn parse_override(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE"),
    }
}

/// The command that the first words name, whose help tells more.
fn named_command(arguments: &[OsString]) -> (String, clap::Command) {
    let mut command = Cli::command();
    let mut name = command.get_name().to_owned();
    for word in arguments.iter().skip(1) {
        let Some(found) = command.find_subcommand(word).cloned() else { break };
        name = format!("{name} {}", found.get_name());
        command = found;
    }
    (name, command)
}

/// The parser's message is a paragraph with advice; its first line says what is wrong, or ends with a colon before lines that do. Where a value is
/// one of a few, the next line lists them.
fn first_sentence(message: &str) -> String {
    let mut lines = message.lines();
    let line = lines.next().unwrap_or_default();
    let mut sentence = line.strip_prefix("error: ").unwrap_or(line).to_owned();
    if sentence.ends_with(':') {
        for item in lines.map_while(|line| line.strip_prefix("  ")) {
            sentence = format!("{sentence} {}", item.trim());
        }
    } else if let Some(values) = lines.next().and_then(|line| line.strip_prefix("  [possible values: ")?.strip_suffix(']')) {
        sentence = format!("{sentence}, which may be {values}");
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Parsed, Problem> {
        parse(line.split(' ').map(OsString::from))
    }

    fn broker(line: &str) -> BrokerArgs {
        match parsed(line) {
            Ok(Parsed::Command(Command::Broker(broker))) => broker,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_name_alone_starts_a_developers_broker() {
        let args = broker("klamm");
        assert!(!args.is_server && !args.is_ephemeral && args.listen.is_none() && args.data.is_none() && args.http.is_none());
    }

    #[test]
    fn flags_of_both_faces_are_read() {
        let developer = broker("klamm --listen [::1]:0 --http :9080 --ephemeral --override num.partitions=3");
        assert_eq!(developer.listen.as_deref(), Some("[::1]:0"));
        assert_eq!(developer.http.as_deref(), Some(":9080"));
        assert!(developer.is_ephemeral);
        assert_eq!(developer.overrides, [("num.partitions".to_owned(), "3".to_owned())]);
        let server = broker("klamm server -c server.properties --http a:1 --override a=b=c --override d=");
        assert_eq!(server.http.as_deref(), Some("a:1"));
        assert!(server.is_server);
        assert_eq!(server.config_file, Some(PathBuf::from("server.properties")));
        assert_eq!(server.overrides, [("a".to_owned(), "b=c".to_owned()), ("d".to_owned(), String::new())]);
    }

    #[test]
    fn what_is_not_understood_is_one_sentence() {
        let refusal = |line| parsed(line).expect_err("refused").to_string();
        assert_eq!(refusal("klamm --lisen 1"), "unexpected argument '--lisen' found; see klamm --help");
        assert_eq!(refusal("klamm serve"), "unrecognized subcommand 'serve'; see klamm --help");
        assert_eq!(
            refusal("klamm --ephemeral --data x"),
            "the argument '--ephemeral' cannot be used with '--data <DIR>'; see klamm --help"
        );
        assert_eq!(refusal("klamm --override x"), "invalid value 'x' for '--override <KEY=VALUE>': expected KEY=VALUE; see klamm --help");
        assert!(!refusal("klamm --listen").contains('\n'));
        assert_eq!(refusal("klamm produce"), "the following required arguments were not provided: <TOPIC>; see klamm produce --help");
    }

    #[test]
    fn a_refusal_names_the_help_of_the_command_that_was_meant() {
        let refusal = |line| parsed(line).expect_err("refused").to_string();
        assert_eq!(refusal("klamm log"), "a command is missing (dump or verify); see klamm log --help");
        assert_eq!(
            refusal("klamm topics create"),
            "the following required arguments were not provided: <NAME>...; see klamm topics create --help"
        );
        assert_eq!(refusal("klamm topics --internl"), "unexpected argument '--internl' found; see klamm topics --help");
        assert_eq!(
            refusal("klamm produce t --acks 5"),
            "invalid value '5' for '--acks <ACKS>', which may be all, 1; see klamm produce --help"
        );
        assert_eq!(refusal("klamm server -x"), "unexpected argument '-x' found; see klamm server --help");
    }

    #[test]
    fn a_value_that_is_none_is_refused_with_what_is_wanted() {
        let refusal = |line| parsed(line).expect_err("refused").to_string();
        let id = "expected a broker id, a whole number such as 1";
        assert_eq!(refusal("klamm drain x"), format!("invalid value 'x' for '<BROKER>': {id}; see klamm drain --help"));
        assert_eq!(refusal("klamm voters add two"), format!("invalid value 'two' for '<BROKER>': {id}; see klamm voters add --help"));
        assert_eq!(refusal("klamm brokers kill b1"), format!("invalid value 'b1' for '<ID>...': {id}; see klamm brokers kill --help"));
        assert_eq!(refusal("klamm --join a:1 --broker-id -1"), format!("invalid value '-1' for '--broker-id <N>': {id}; see klamm --help"));
        assert_eq!(
            refusal("klamm --brokers 10"),
            "invalid value '10' for '--brokers <N>': expected a number from 1 to 9; see klamm --help"
        );
        assert_eq!(
            refusal("klamm topics create t -p six"),
            "invalid value 'six' for '--partitions <N>': expected a whole number; see klamm topics create --help"
        );
        assert_eq!(
            refusal("klamm topics -b h:99999"),
            "invalid value 'h:99999' for '--bootstrap-server <HOST:PORT>': port 99999 is out of range, which is 1 to 65535; see klamm topics --help"
        );
        assert_eq!(
            refusal("klamm health --address h:0"),
            "invalid value 'h:0' for '--address <HOST:PORT>': port 0 is out of range, which is 1 to 65535; see klamm health --help"
        );
    }

    #[test]
    fn help_shows_examples() {
        let Ok(Parsed::Text(text)) = parsed("klamm --help") else { panic!("no text") };
        assert!(text.contains("klamm server -c server.properties") && text.contains("kcat -b 127.0.0.1:9092"));
        assert!(matches!(parsed("klamm server --help"), Ok(Parsed::Text(text)) if text.contains("KAFKA_LISTENERS")));
        for tool in ["topics", "groups", "produce", "consume", "describe", "drain", "brokers", "log", "log dump", "log verify"] {
            let help = parsed(&format!("klamm {tool} --help"));
            assert!(
                matches!(help, Ok(Parsed::Text(text)) if text.contains("Examples:") && text.contains(&format!("klamm {tool}"))),
                "{tool}"
            );
        }
    }

    #[test]
    fn help_is_a_command_too() {
        let help = |line: &str| match parsed(line) {
            Ok(Parsed::Text(text)) => text,
            other => panic!("{line}: {other:?}"),
        };
        for command in ["", " topics", " topics create", " log", " log dump", " server", " brokers kill"] {
            assert_eq!(help(&format!("klamm help{command}")), help(&format!("klamm{command} --help")), "{command}");
        }
        assert_eq!(help("klamm topics help create"), help("klamm topics create --help"));
        assert_eq!(parsed("klamm help topic").expect_err("refused").to_string(), "unrecognized subcommand 'topic'; see klamm --help");
    }

    #[test]
    fn the_version_is_told_and_is_one() {
        for flag in ["--version", "-V"] {
            let told = parsed(&format!("klamm {flag}"));
            assert!(matches!(told, Ok(Parsed::Text(text)) if text == concat!("klamm ", env!("CARGO_PKG_VERSION"), "\n")));
        }
        assert_ne!(env!("CARGO_PKG_VERSION"), "0.0.0");
    }

    #[test]
    fn health_has_an_address_by_default() {
        let Ok(Parsed::Command(Command::Health(health))) = parsed("klamm health") else { panic!("no command") };
        assert_eq!(health.address, "127.0.0.1:9092");
    }
}
