//! `klamm log` as a process, on directories that the real broker wrote.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::tools::{fed, said};
use crate::{Running, klamm, listing, output};

fn start(data: &Path) -> Running {
    Running::start(&mut klamm(&["--listen", "127.0.0.1:0", "--data", &data.display().to_string()]))
}

/// Exit code, standard output, standard error.
fn told(arguments: &[&str]) -> (i32, String, String) {
    let output = output(&mut klamm(arguments));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn filled(data: &Path) -> Running {
    let broker = start(data);
    assert_eq!(said(&broker, &["topics", "create", "orders", "-p", "2"]), "created topic orders with 2 partitions\n");
    let sent = ["produce", "orders", "-p", "1", "-K", ":", "-H", "source=test", "-z", "zstd"];
    assert!(fed(&broker, &sent, b"k1:v1\nk2:v2\n").status.success());
    assert!(fed(&broker, &["produce", "others"], b"else\n").status.success());
    broker
}

fn segment(data: &Path, topic: &str) -> PathBuf {
    let (_, text, _) = told(&["log", "dump", &data.display().to_string(), "--topic", topic, "--json"]);
    let batch: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    PathBuf::from(batch["file"].as_str().unwrap())
}

#[test]
fn a_stopped_brokers_records_are_printed_by_topic_as_text_and_as_json() {
    let data = tempfile::tempdir().unwrap();
    let broker = filled(data.path());
    broker.signal("TERM");
    assert!(broker.wait().success());
    let before = listing(data.path());
    let directory = data.path().display().to_string();
    let (code, text, errors) = told(&["log", "dump", &directory, "--topic", "orders", "--records"]);
    assert_eq!((code, errors.as_str()), (0, ""));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("Dumping ") && lines[0].ends_with("00000000000000000000.0.log (orders-1)"), "{text}");
    assert_eq!(lines[1], "Log starting offset: 0");
    assert!(lines[2].starts_with("baseOffset: 0 lastOffset: 1 count: 2 baseSequence: 0 lastSequence: 1 producerId: "), "{text}");
    assert!(lines[2].contains(" position: 0 CreateTime: ") && lines[2].ends_with(" isvalid: true"), "{text}");
    assert!(lines[2].contains(" compresscodec: zstd "), "{text}");
    assert!(lines[3].ends_with(" keySize: 2 valueSize: 2 sequence: 0 headerKeys: [source] key: k1 payload: v1"), "{text}");
    assert_eq!(lines.len(), 5, "{text}");

    let (_, text, _) = told(&["log", "dump", &directory, "-t", "orders", "-p", "1", "--records", "--json", "--from", "1"]);
    let values: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(values.len(), 2, "{text}");
    assert_eq!((&values[0]["type"], &values[0]["topic"], &values[0]["codec"]), (&json!("batch"), &json!("orders"), &json!("zstd")));
    assert_eq!(
        (&values[0]["crc_ok"], &values[0]["producer_epoch"], &values[0]["delete_horizon_ms"]),
        (&json!(true), &json!(0), &Value::Null)
    );
    let record = json!({"type": "record", "topic": "orders", "partition": 1, "offset": 1, "ts": values[1]["ts"], "sequence": 1,
        "headers": ["source", "test"], "key": "k2", "payload": "v2"});
    assert_eq!(values[1], record);

    // The whole directory, and what is not in it.
    assert!(told(&["log", "dump", &directory]).1.contains("(others-0)"));
    let (code, _, error) = told(&["log", "dump", &directory, "--topic", "nothing"]);
    assert_eq!((code, error.contains("has nothing of topic 'nothing'")), (1, true), "{error}");
    let (code, _, error) = told(&["log", "dump", &format!("{directory}/index")]);
    assert_eq!((code, error.contains("is neither a data directory of klamm")), (1, true), "{error}");
    assert_eq!(listing(data.path()), before);
}

#[test]
fn a_check_finds_nothing_after_a_stop_or_a_kill_and_names_what_is_damaged() {
    let data = tempfile::tempdir().unwrap();
    let directory = data.path().display().to_string();
    let broker = filled(data.path());
    broker.signal("KILL");
    broker.wait();
    let (code, text, errors) = told(&["log", "verify", &directory]);
    assert_eq!((code, errors.as_str()), (0, ""), "{text}");
    assert!(text.starts_with("checked ") && text.ends_with(": no fault\n"), "{text}");
    let broker = start(data.path());
    broker.signal("TERM");
    assert!(broker.wait().success());
    let (code, text, _) = told(&["log", "verify", &directory, "--json"]);
    let end: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((code, &end["faults"], &end["notes"]), (0, &json!(0), &json!(0)), "{text}");

    let file = segment(data.path(), "orders");
    std::fs::File::options().write(true).open(&file).unwrap().write_all_at(&[0xff], 70).unwrap();
    let (code, text, _) = told(&["log", "verify", &directory]);
    assert_eq!(code, 1);
    let fault = format!("fault in orders-1: {} at position 0: the batch at offset 0 has a wrong checksum", file.display());
    assert!(text.starts_with(&fault) && text.ends_with(": 1 fault\n"), "{text}");
    // Only what was asked for.
    assert_eq!(told(&["log", "verify", &directory, "--topic", "others"]).0, 0);
    for part in [file.display().to_string(), file.parent().unwrap().display().to_string()] {
        assert_eq!(told(&["log", "verify", &part]).0, 1, "{part}");
    }
    let (code, text, _) = told(&["log", "verify", &directory, "--json", "--files-only", "-t", "orders"]);
    let fault: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((code, &fault["fault"], &fault["topic"], &fault["position"]), (1, &json!(true), &json!("orders"), &json!(0)), "{text}");
}

#[test]
fn while_a_broker_runs_the_plain_files_can_be_looked_at_and_the_rest_is_refused_in_one_sentence() {
    let data = tempfile::tempdir().unwrap();
    let directory = data.path().display().to_string();
    let broker = filled(data.path());
    let refused = "is in use by a running broker; stop it, or check the segment files alone with --files-only\n";
    let (code, out, error) = told(&["log", "verify", &directory]);
    assert_eq!((code, out.as_str(), error.ends_with(refused)), (1, "", true), "{error}");
    let (code, text, _) = told(&["log", "verify", &directory, "--files-only"]);
    assert!(code == 0 && text.ends_with(": no fault\n"), "{text}");
    let (code, _, error) = told(&["log", "dump", &directory, "--topic", "orders"]);
    assert_eq!((code, error.contains("topics' names can be read from a stopped one only")), (1, true), "{error}");
    let (code, text, _) = told(&["log", "dump", &directory, "--records"]);
    assert!(code == 0 && text.contains("key: k1 payload: v1") && text.contains("payload: else"), "{text}");
    assert_eq!(said(&broker, &["consume", "others", "-e"]), "else\n");
}
