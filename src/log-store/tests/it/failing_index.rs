//! RocksDB's own writes fail: for want of space, which passes, and by a defect, which does not. The disk's answers are changed by strace.

use std::path::Path;
use std::process::{Command, Stdio};

use log_store::{LogConfig, StorageError, Store};

use crate::scratch::*;

const ENTRIES: u64 = 12;

/// Runs the named test again in a process of its own whose writes to RocksDB's first log fail from the sixth on. What strace tells; `None` without it.
fn run_failing(name: &str, directory: &Path, error: &str) -> Option<String> {
    let out = directory.join("trace");
    let wal = directory.join("data/index/000004.log");
    let mut command = Command::new("strace");
    command.args(["-f", "-P"]).arg(wal).args(["-e", "trace=write", "-e", &format!("inject=write:error={error}:when=6+"), "-o"]).arg(&out);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", name]).env("KLAMM_FAILING_INDEX", directory.join("data"));
    let Ok(output) = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output() else {
        println!("skipped: needs strace");
        return None;
    };
    if String::from_utf8_lossy(&output.stderr).contains("ptrace") {
        println!("skipped: needs the right to use strace");
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Some(std::fs::read_to_string(out).unwrap())
}

fn inside() -> Option<std::path::PathBuf> {
    std::env::var_os("KLAMM_FAILING_INDEX").map(Into::into)
}

fn append_entries(store: &Store) -> Vec<Result<(), StorageError>> {
    let log = store.synced_log("quorum");
    (1..=ENTRIES).map(|index| log.append([(index, format!("entry {index}"))])).collect()
}

fn entries_in(directory: &Path) -> Vec<u64> {
    let store = open(directory);
    let found = store.synced_log("quorum").read(..).unwrap();
    assert!(found.iter().all(|(index, bytes)| *bytes == format!("entry {index}").into_bytes()));
    found.into_iter().map(|(index, _)| index).collect()
}

#[test]
fn a_write_that_finds_no_space_waits_and_nothing_is_lost() {
    if let Some(directory) = inside() {
        let store = open(&directory);
        assert!(append_entries(&store).into_iter().all(|written| written.is_ok()));
        let log = store.open_partition(partition(0), LogConfig::default()).unwrap();
        append(&store, &log, batch(&[NOW], 100)).unwrap();
        store.flush_index().unwrap();
        append(&store, &log, batch(&[NOW], 100)).unwrap();
        return store.close().unwrap();
    }
    let dir = scratch();
    let name = "failing_index::a_write_that_finds_no_space_waits_and_nothing_is_lost";
    let Some(calls) = run_failing(name, dir.path(), "ENOSPC") else { return };
    assert!(calls.contains("(INJECTED)"), "{calls}");
    assert_eq!(entries_in(&dir.path().join("data")), (1..=ENTRIES).collect::<Vec<_>>());
}

#[test]
fn a_write_that_fails_otherwise_is_final_and_stops_the_partitions_until_the_next_open() {
    if let Some(directory) = inside() {
        let store = open(&directory);
        let log = store.open_partition(partition(0), LogConfig::default()).unwrap();
        append(&store, &log, batch(&[NOW], 100)).unwrap();
        let written = append_entries(&store);
        let failed = written.iter().position(Result::is_err).expect("a failure");
        assert!(written[failed..].iter().all(Result::is_err), "{written:?}");
        assert!(written[failed].as_ref().unwrap_err().to_string().contains("Input/output error"), "{written:?}");
        std::fs::write(directory.with_file_name("written"), failed.to_string()).unwrap();
        // Reads go on; what is owed to the index stops its partition.
        assert_eq!(read_all(&log).unwrap().len(), batch(&[NOW], 100).size_bytes());
        assert!(store.flush_index().is_err());
        let refusal = append(&store, &log, batch(&[NOW], 100)).unwrap_err();
        assert!(refusal.to_string().contains("takes no writes since an earlier storage failure"), "{refusal}");
        return;
    }
    let dir = scratch();
    let name = "failing_index::a_write_that_fails_otherwise_is_final_and_stops_the_partitions_until_the_next_open";
    let Some(calls) = run_failing(name, dir.path(), "EIO") else { return };
    assert!(calls.contains("(INJECTED)"), "{calls}");
    let written: u64 = std::fs::read_to_string(dir.path().join("written")).unwrap().parse().unwrap();
    assert_eq!(entries_in(&dir.path().join("data")), (1..=written).collect::<Vec<_>>());
    let store = open(&dir.path().join("data"));
    append(&store, &log(&store, 0), batch(&[NOW], 100)).unwrap();
}
