//! What both libraries share: the contract with the runner, the checks, and records as the scenarios see them.

use std::env;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

/// Scenarios with their names.
pub type Table<Client> = Vec<(&'static str, fn(&Client) -> Played)>;

/// A played scenario, or the sentence that says what was wrong.
pub type Played<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// The largest value of a lone record whose batch is exactly 1048588 bytes, Kafka's default max.message.bytes.
pub const LARGEST_VALUE_BYTES: usize = 1_048_516;
pub const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds; none where the library is to stamp it.
    pub timestamp: Option<i64>,
    /// None where the partitioner is to choose.
    pub partition: Option<i32>,
    pub offset: i64,
}

impl Record {
    pub fn of(value: impl Into<Vec<u8>>) -> Record {
        Record { value: Some(value.into()), partition: Some(0), ..Record::default() }
    }
}

pub fn bootstrap() -> String {
    env::var("COMPAT_BOOTSTRAP").unwrap_or_default()
}

pub fn check(condition: bool, what: impl FnOnce() -> String) -> Played {
    if condition { Ok(()) } else { Err(what().into()) }
}

pub fn equal<T: PartialEq + Debug>(got: T, expected: T, what: &str) -> Played {
    check(got == expected, || format!("{what}: expected {:.300}, got {:.300}", format!("{expected:?}"), format!("{got:?}")))
}

/// Polls the condition until it holds; what is told on time-out is made then.
pub fn until(patience: Duration, what: impl Fn() -> String, mut condition: impl FnMut() -> Played<bool>) -> Played {
    let deadline = Instant::now() + patience;
    while !condition()? {
        check(Instant::now() < deadline, || format!("not within {} s: {}", patience.as_secs(), what()))?;
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub fn names(count: usize, prefix: &str) -> Vec<String> {
    (0..count).map(|i| format!("{prefix}{i}")).collect()
}

/// Records with these values, dealt to the partitions in turn.
pub fn records(values: &[String], partitions: i32) -> Vec<Record> {
    let turns = (0..partitions).cycle();
    values.iter().zip(turns).map(|(value, partition)| Record { partition: Some(partition), ..Record::of(value.as_bytes()) }).collect()
}

pub fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned()).collect()
}

pub fn now_ms() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Asks the runner for /kill9, /start or /kill9-and-restart and returns when that is done.
pub fn control(step: &str) -> Played {
    let address = env::var("COMPAT_CONTROL")?;
    let host = address.trim_start_matches("http://");
    let mut connection = TcpStream::connect(host)?;
    connection.set_read_timeout(Some(Duration::from_secs(80)))?;
    write!(connection, "POST {step} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    check(answer.split(' ').nth(1) == Some("200"), || format!("control {step}: {answer}"))
}

/// Plays the scenarios that the runner asks for and this client knows, in the runner's order.
pub fn play<Client>(client: &Client, table: &Table<Client>) {
    let asked = env::var("COMPAT_SCENARIOS").unwrap_or_default();
    for name in asked.split(',') {
        let Some((_, scenario)) = table.iter().find(|(known, _)| *known == name) else { continue };
        println!("{}", json!({ "scenario": name }));
        let started = Instant::now();
        let played = scenario(client);
        let (result, reason) = played.map_or_else(|error| ("fail", error.to_string()), |()| ("pass", String::new()));
        println!("{}", json!({ "scenario": name, "result": result, "reason": reason, "seconds": started.elapsed().as_secs_f32() }));
    }
}
