//! `klamm brokers`: orders to the brokers of a process that runs several, over its listener for operators ([`crate::http::control`]).

use std::io::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use client_tools::values::{broker_id, number};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wire::clock::{Clock as _, SystemClock, timeout_at};

use crate::Problem;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// The examples of `klamm brokers --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  klamm --brokers 3 --http 127.0.0.1:9080       three brokers that take these orders
  klamm brokers                                 who they are, and what each does
  klamm brokers kill 2                          as kill -9: its connections are closed, its data stays
  klamm brokers restart 2                       start it again, on its ports
  klamm brokers pause 3                         as SIGSTOP: its connections stay open, nothing is answered
  klamm brokers resume 3";

/// `klamm brokers`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = EXAMPLES)]
pub struct BrokersArgs {
    /// Where the process that runs the brokers takes orders: its --http
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9080", global = true)]
    pub at: String,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// How long an order may take
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 60_000, value_parser = number::<u64>, global = true)]
    pub timeout_ms: u64,
    /// What to do; list if nothing is said
    #[command(subcommand)]
    pub action: Option<BrokersAction>,
}

/// What brokers are to do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum BrokersAction {
    /// List the brokers and what each does
    List,
    /// Have a broker stand still, as SIGSTOP does with a process
    Pause(Ids),
    /// Have it go on
    Resume(Ids),
    /// End a broker at once, as kill -9 does with a process
    Kill(Ids),
    /// Start a broker from its data directory; kill it first if it runs
    Restart(Ids),
}

/// Whom an order is for.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Ids {
    /// The broker, or several
    #[arg(value_name = "ID", required = true, value_parser = broker_id)]
    pub ids: Vec<i32>,
}

/// Gives the orders, one after the other.
///
/// # Errors
/// One sentence.
pub(crate) async fn run(args: &BrokersArgs) -> Result<(), Problem> {
    let (word, ids) = match &args.action {
        None | Some(BrokersAction::List) => return list(args).await,
        Some(BrokersAction::Pause(Ids { ids })) => ("pause", ids),
        Some(BrokersAction::Resume(Ids { ids })) => ("resume", ids),
        Some(BrokersAction::Kill(Ids { ids })) => ("kill", ids),
        Some(BrokersAction::Restart(Ids { ids })) => ("restart", ids),
    };
    for id in ids {
        let answer = ask(args, "POST", &format!("/brokers/{id}/{word}")).await?;
        let state = answer.get("state").and_then(Value::as_str).unwrap_or_default();
        let line = match (args.json, state) {
            (true, _) => answer.to_string(),
            (false, "starting") => format!("broker {id} is starting; it serves when a majority of the brokers runs"),
            (false, state) => format!("broker {id} is {state}"),
        };
        say(&line)?;
    }
    Ok(())
}

async fn list(args: &BrokersArgs) -> Result<(), Problem> {
    let brokers = ask(args, "GET", "/brokers").await?;
    if args.json {
        return say(&brokers.to_string());
    }
    say(&format!("{:>2}  {:<8}  {:<21}  {:<21}  {}", "ID", "STATE", "LISTENERS", "HTTP", "DATA"))?;
    for row in brokers.as_array().into_iter().flatten() {
        let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
        let listeners = row.get("listeners").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let listeners = listeners.collect::<Vec<_>>().join(",");
        let id = row.get("id").and_then(Value::as_i64).unwrap_or_default();
        say(&format!("{id:>2}  {:<8}  {listeners:<21}  {:<21}  {}", text("state"), text("http"), text("data")))?;
        if let Some(problem) = row.get("problem").and_then(Value::as_str) {
            say(&format!("    {problem}"))?;
        }
    }
    Ok(())
}

fn say(line: &str) -> Result<(), Problem> {
    writeln!(std::io::stdout(), "{line}").map_err(|source| Problem::System { action: "write to standard output", source })
}

/// One request; what is answered.
async fn ask(args: &BrokersArgs, method: &str, path: &str) -> Result<Value, Problem> {
    let clock = SystemClock::new();
    let within = Duration::from_millis(args.timeout_ms);
    let asked = timeout_at(&clock, clock.monotonic() + within, exchange(&args.at, method, path)).await;
    let silent = |reason: String| {
        Problem::Brokers(format!(
            "nobody takes orders at {} ({reason}); start the brokers with --brokers N --http HOST:PORT, and say --at",
            args.at
        ))
    };
    let answer = match asked {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(silent(error.to_string())),
        Err(_) => return Err(silent(format!("no answer within {} ms", args.timeout_ms))),
    };
    match read(&answer) {
        Some((200..300, body)) => Ok(body),
        Some((_, body)) => {
            let sentence = body.get("error").and_then(Value::as_str).unwrap_or("the order was refused");
            Err(Problem::Brokers(sentence.trim_end_matches('.').to_owned()))
        }
        None => Err(silent("the answer is not that of a process with several brokers".to_owned())),
    }
}

async fn exchange(at: &str, method: &str, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(at).await?;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {at}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Status and body of an answer in JSON.
fn read(answer: &[u8]) -> Option<(u16, Value)> {
    let (head, body) = std::str::from_utf8(answer).ok()?.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_what_is_none_is_not() {
        let answer = b"HTTP/1.1 409 Conflict\r\ncontent-length: 15\r\n\r\n{\"error\":\"no.\"}";
        let (status, body) = read(answer).expect("an answer");
        assert_eq!((status, body["error"].as_str()), (409, Some("no.")));
        for other in [&b"HTTP/1.1 404 Not Found\r\n\r\nThere are /.\n"[..], b"", b"\0\0\0\x01x", b"HTTP/1.1 \r\n\r\n{}"] {
            assert!(read(other).is_none());
        }
    }
}
