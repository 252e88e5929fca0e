//! The built-in tools as processes, against the real broker. What they print against Apache Kafka too is in `compat-tests/klamm-tools`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::{Running, klamm, output};

fn broker() -> Running {
    Running::start(&mut klamm(&["--ephemeral", "--listen", "127.0.0.1:0"]))
}

/// Runs a tool with a text on standard input.
pub(crate) fn fed(broker: &Running, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = klamm(arguments).args(["-b", &broker.address]).stdin(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("piped").write_all(input).expect("reads");
    child.wait_with_output().expect("ends")
}

/// What a tool prints when all is well.
pub(crate) fn said(broker: &Running, arguments: &[&str]) -> String {
    let output = output(klamm(arguments).args(["-b", &broker.address]));
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The one sentence of a tool that fails.
pub(crate) fn refusal(broker: &Running, arguments: &[&str]) -> String {
    let output = output(klamm(arguments).args(["-b", &broker.address]));
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end().strip_prefix("klamm: ").unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
fn lines_that_are_produced_come_back_in_order() {
    let broker = broker();
    assert_eq!(said(&broker, &["topics", "create", "lines", "-p", "1"]), "created topic lines with 1 partition\n");
    let input: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    let sent = fed(&broker, &["produce", "lines", "-z", "zstd", "--json"], input.as_bytes());
    assert!(sent.status.success(), "{sent:?}");
    let summary: Value = serde_json::from_slice(&sent.stdout).expect("JSON");
    assert_eq!(summary["partitions"], json!([{"partition": 0, "records": 20_000, "first_offset": 0, "last_offset": 19_999}]));
    assert_eq!(said(&broker, &["consume", "lines", "-e"]), input);
    assert_eq!(said(&broker, &["consume", "lines", "-o", "-2", "-e", "-f", "%o:%s;"]), "19998:line 19998;19999:line 19999;");
}

#[test]
fn a_last_line_without_an_end_is_a_record_and_no_input_is_none() {
    let broker = broker();
    assert!(fed(&broker, &["produce", "ends"], b"").status.success());
    assert!(fed(&broker, &["produce", "ends"], b"one\n\ntwo").status.success());
    assert_eq!(said(&broker, &["consume", "ends", "-e", "-f", "[%s]"]), "[one][][two]");
}

#[test]
fn whoever_stops_reading_ends_consume_without_an_error() {
    let broker = broker();
    let input: String = (0..50_000).map(|number| format!("{number}\n")).collect();
    assert!(fed(&broker, &["produce", "long"], input.as_bytes()).status.success());
    let mut child = klamm(&["consume", "long", "-b", &broker.address]).spawn().expect("starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("ends");
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}

#[test]
fn a_member_whose_broker_was_killed_goes_on_when_it_is_back_and_prints_nothing_twice() {
    let data = tempfile::tempdir().expect("a directory");
    let directory = data.path().display().to_string();
    // The member comes back to the same address, so the port that is listened on has to be known before.
    let listen = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound").to_string();
    let arguments = ["--listen", listen.as_str(), "--data", directory.as_str()];
    let mut broker = Running::start(&mut klamm(&arguments));
    assert!(fed(&broker, &["produce", "t", "-p", "0"], b"one\n").status.success());
    let follow = ["consume", "t", "-g", "g", "-c", "2", "-f", "%o:%s\\n", "-b", listen.as_str()];
    let mut member = klamm(&follow).spawn().expect("starts");
    let mut lines = BufReader::new(member.stdout.take().expect("piped")).lines().map(|line| line.expect("text"));
    // It has printed and not committed when the broker dies: only the offset that it remembers keeps it from printing again.
    assert_eq!(lines.next().as_deref(), Some("0:one"));
    broker.child.kill().expect("runs");
    broker.child.wait().expect("ends");
    drop(broker);
    let broker = Running::start(&mut klamm(&arguments));
    assert!(fed(&broker, &["produce", "t", "-p", "0"], b"two\n").status.success());
    assert_eq!(lines.collect::<Vec<String>>(), ["1:two"]);
    assert!(member.wait().expect("ends").success());
    let described: Value = serde_json::from_str(&said(&broker, &["groups", "describe", "g", "--json"])).expect("JSON");
    assert_eq!((&described["partitions"][0]["committed"], &described["state"]), (&json!(2), &json!("Empty")));
}

#[test]
fn groups_are_reset_described_and_deleted() {
    let broker = broker();
    assert!(fed(&broker, &["produce", "t", "-p", "0"], b"a\nb\nc\n").status.success());
    said(&broker, &["groups", "reset", "g", "--topic", "t", "--to", "1"]);
    let described: Value = serde_json::from_str(&said(&broker, &["groups", "describe", "g", "--json"])).expect("JSON");
    assert_eq!((&described["partitions"][0]["committed"], &described["partitions"][0]["lag"]), (&json!(1), &json!(2)));
    assert!(said(&broker, &["groups"]).contains("g      classic"), "listed");
    assert_eq!(said(&broker, &["groups", "delete", "g"]), "deleted group g\n");
    assert_eq!(refusal(&broker, &["groups", "describe", "g"]), "group 'g' does not exist; 'klamm groups' lists those that do");
}

#[test]
fn what_goes_wrong_is_one_sentence_that_says_what_to_do() {
    let broker = broker();
    assert!(refusal(&broker, &["consume", "nope", "-e"]).ends_with("'klamm topics create nope' creates it"));
    assert!(refusal(&broker, &["topics", "delete", "nope"]).starts_with("topic 'nope' does not exist; "));
    assert!(refusal(&broker, &["topics", "create", "x", "-c", "a=b"]).ends_with("; correct the --config that it names"));
    assert!(refusal(&broker, &["consume", "nope", "--from", "somewhere"]).contains("expected beginning, end, an offset"));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound");
    let output = output(&mut klamm(&["describe", "-b", &nobody.to_string()]));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.starts_with(&format!("klamm: no broker answers at {nobody} (")) && text.ends_with("with -b HOST:PORT\n"), "{text}");
}

#[test]
fn an_address_that_clients_cannot_reach_is_named_with_its_setting() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound");
    let advertised = format!("advertised.listeners=PLAINTEXT://{nobody}");
    let data = tempfile::tempdir().expect("a directory");
    // The ready line has the advertised address, so the port that is listened on has to be known before.
    let listen = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound").to_string();
    let directory = data.path().display().to_string();
    let mut running = Running::start(&mut klamm(&["--listen", &listen, "--data", &directory, "--override", &advertised]));
    running.address = listen;
    let sentence = refusal(&running, &["topics", "create", "t"]);
    assert!(sentence.starts_with(&format!("broker 1 says that it is at {nobody}, which does not answer from here (")), "{sentence}");
    assert!(sentence.ends_with("set advertised.listeners of that broker to an address that its clients can reach"), "{sentence}");
}
