//! A partition whose stored bytes are damaged: it is offline with a clear error, everything else is served, and deleting its topic ends it.

use std::path::{Path, PathBuf};

use crate::tools::{fed, refusal, said};
use crate::{Running, klamm};

fn start(data: &Path) -> Running {
    Running::start(&mut klamm(&["--listen", "127.0.0.1:0", "--data", &data.display().to_string()]))
}

/// The segment files with the given text in them.
fn segments_with(data: &Path, text: &str) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(data.join("partitions")).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    files.filter(|path| std::fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())).collect()
}

#[test]
fn a_missing_segment_file_takes_one_partition_offline_and_leaves_all_others_served() {
    let data = tempfile::tempdir().unwrap();
    let broker = start(data.path());
    for topic in ["lost", "kept"] {
        assert!(fed(&broker, &["produce", topic], format!("in {topic}\n").as_bytes()).status.success());
    }
    broker.signal("TERM");
    assert!(broker.wait().success());
    let files = segments_with(data.path(), "in lost");
    assert_eq!(files.len(), 1);
    std::fs::remove_file(&files[0]).unwrap();

    let broker = start(data.path());
    assert_eq!(said(&broker, &["consume", "kept", "-e"]), "in kept\n");
    assert!(fed(&broker, &["produce", "kept"], b"more\n").status.success());
    let refused = refusal(&broker, &["consume", "lost", "-e", "--timeout-ms", "1000"]);
    assert!(refused.contains("KAFKA_STORAGE_ERROR"), "{refused}");
    // What is gone is not taken for a partition that is empty, nor written over.
    assert!(!fed(&broker, &["produce", "lost", "--timeout-ms", "1000"], b"over it\n").status.success());
    assert_eq!(said(&broker, &["topics", "delete", "lost"]), "deleted topic lost\n");
    assert!(fed(&broker, &["produce", "lost"], b"anew\n").status.success());
    assert_eq!(said(&broker, &["consume", "lost", "-e"]), "anew\n");
    broker.signal("TERM");
    assert!(broker.wait().success());
    let broker = start(data.path());
    assert_eq!(said(&broker, &["consume", "kept", "-e"]), "in kept\nmore\n");
    assert_eq!(said(&broker, &["consume", "lost", "-e"]), "anew\n");
}
