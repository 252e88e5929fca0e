//! What a power cut on ext4 cannot show, because a synced file takes its directory entry along there: the order of system calls.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use super::cuts_wanted;
use crate::Running;
use crate::client::Client;
use crate::kills::load::{Producer, create_topic, places};

const CALLS: &str = "trace=openat,pwrite64,fsync,fdatasync";
const ACKNOWLEDGEMENTS: usize = 600;

/// Whether there is strace; says so if not.
pub(crate) fn has_strace() -> bool {
    let is_there = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok();
    if !is_there {
        println!("skipped: needs strace");
    }
    is_there
}

/// Runs a broker under strace until it has released a file of its journal; the calls, in order. `None` without strace or if nobody asked.
fn trace(folder: &Path, failpoints: &str) -> Option<Vec<String>> {
    if cuts_wanted().is_none() || !has_strace() {
        return None;
    }
    let out = folder.join("trace");
    let mut command = Command::new("strace");
    // With -D the broker is this process's child, not strace's.
    command.args(["-D", "-f", "-y", "-s", "40", "-e", CALLS, "-o"]).arg(&out).arg(env!("CARGO_BIN_EXE_klamm"));
    command.args(["--listen", "127.0.0.1:0", "--override", "klamm.durability=group"]);
    command.args(["--override", "klamm.journal.file.bytes=500000", "--data"]).arg(folder.join("data"));
    command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()).env("KLAMM_FAILPOINTS", failpoints);
    let mut running = Running::start(&mut command);
    let mut client = Client::honest(&running.address);
    create_topic(&mut client, "traced", 4).unwrap();
    let (mut producer, address) = (Producer::new(&mut client, 7), running.address.clone());
    let (sender, acknowledgements) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| producer.produce_until_lost(&address, &places("traced", 4).collect::<Vec<_>>(), 6_000, &sender));
        assert_eq!(acknowledgements.iter().take(ACKNOWLEDGEMENTS).count(), ACKNOWLEDGEMENTS);
        running.child.kill().unwrap();
        drop(acknowledgements);
    });
    running.wait();
    Some(std::fs::read_to_string(out).unwrap().lines().map(str::to_owned).collect())
}

/// The path in the form that strace gives to a descriptor.
fn path_of(call: &str) -> Option<&str> {
    call.split_once('<')?.1.split_once('>').map(|(path, _)| path)
}

/// The directories of segments, made before the journal's first file was left, that were not synced when it was released.
fn directories_released_too_early(calls: &[String]) -> BTreeSet<String> {
    let left = calls.iter().position(|call| call.contains("openat(") && call.contains("journal/1.journal\"")).expect("a second file");
    let is_release =
        |call: &&String| call.contains("pwrite64(") && call.contains(r#"journal/0.journal>, "\0\0\0\0"#) && call.contains(", 4096, 0)");
    let released = calls.iter().position(|call| is_release(&call)).expect("a release");
    let mut made: HashMap<&str, usize> = HashMap::new();
    for (number, call) in calls[..left].iter().enumerate() {
        if call.contains("openat(") && call.contains(".0.log\"") && call.contains("O_EXCL") {
            let path = call.split('"').nth(1).unwrap();
            let directory = path.rsplit_once('/').unwrap().0;
            made.insert(directory, number);
            made.insert(directory.rsplit_once('/').unwrap().0, number);
        }
    }
    assert_eq!(made.len(), 5, "four partitions and the directory of all: {made:?}");
    let is_synced = |directory: &str, since: usize| {
        calls[since..released].iter().any(|call| call.contains("fsync(") && path_of(call) == Some(directory))
    };
    made.into_iter().filter(|(directory, since)| !is_synced(directory, *since)).map(|(directory, _)| directory.to_owned()).collect()
}

#[test]
fn the_journal_is_released_after_the_directories_are_synced() {
    let folder = tempfile::tempdir().unwrap();
    let Some(calls) = trace(folder.path(), "") else { return };
    assert_eq!(directories_released_too_early(&calls), BTreeSet::new());
}

#[test]
fn the_harness_notices_a_directory_that_is_not_synced() {
    let folder = tempfile::tempdir().unwrap();
    let Some(calls) = trace(folder.path(), "sync.before_directory=1:skip") else { return };
    let missing = directories_released_too_early(&calls);
    println!("noticed {} directories that were not synced: {missing:?}", missing.len());
    assert!(!missing.is_empty());
}
