//! What `klamm log` sees: nothing is changed by looking, whole directories have no fault however the process ended, and each planted damage is named.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use log_store::inspect::{
    Checked, Finding, Piece, Place, SegmentFile, Step, StoppedStore, Watcher, place_of, verify_files, verify_segment, verify_stopped,
};
use log_store::{Durability, LogConfig, OpenError, Store, StoreOptions};
use record_batch::{BatchBuilder, BatchHeader, CheckedBatch, Codec, HEADER_BYTES};

use crate::scratch::*;

#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) all: Vec<Finding>,
    bytes: u64,
}

impl Watcher for Findings {
    fn found(&mut self, finding: Finding) {
        self.all.push(finding);
    }

    fn read(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

impl Findings {
    fn sentences(&self, is_fault: bool) -> Vec<String> {
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let told = self.all.iter().filter(|finding| finding.is_fault == is_fault);
        told.map(|finding| format!("{}:{:?}: {}", name(&finding.path), finding.position, finding.flaw)).collect()
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        self.sentences(true)
    }

    fn notes(&self) -> Vec<String> {
        self.sentences(false)
    }
}

pub(crate) fn verified(directory: &Path) -> (Findings, Checked) {
    let mut findings = Findings::default();
    let store = StoppedStore::open(directory).expect("it can be held");
    let checked = verify_stopped(&store, None, &mut findings);
    assert_eq!(findings.bytes, checked.bytes, "progress and sum");
    (findings, checked)
}

/// Names, bytes and times of all files.
fn state(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = if path.is_dir() { Vec::new() } else { std::fs::read(&path).unwrap() };
            found.insert(path.clone(), (bytes, path.metadata().unwrap().modified().unwrap()));
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

/// Two partitions: one of an idempotent producer in small segments, one of two leader epochs. With `rows` for all but the last batches.
fn written(directory: &Path, durability: Durability) -> Store {
    let store = Store::open(StoreOptions { durability, ..options(directory) }).unwrap();
    let small = store.open_partition(partition(0), small_segments(2_000)).unwrap();
    let epochs = store.open_partition(partition(1), LogConfig::default()).unwrap();
    for sequence in 0..60 {
        append(&store, &small, produced(7, 0, sequence * 2, 2)).unwrap();
        append_in(&store, &epochs, batch(&[NOW + i64::from(sequence); 3], 100), epoch(sequence / 20)).unwrap();
        if sequence == 50 {
            store.flush_index().unwrap();
        }
    }
    store
}

fn closed() -> tempfile::TempDir {
    let directory = scratch();
    let store = written(directory.path(), Durability::Os);
    store.close().unwrap();
    directory
}

#[test]
fn looking_at_a_directory_changes_nothing_and_finds_no_fault_after_a_clean_stop() {
    let directory = closed();
    let before = state(directory.path());
    let (findings, checked) = verified(directory.path());
    assert_eq!((findings.faults(), findings.notes()), (vec![], vec![]));
    assert_eq!((checked.partitions, checked.batches, checked.records), (2, 120, 60 * 2 + 60 * 3));
    assert!(checked.segments > 3 && checked.bytes > 10_000, "{checked:?}");
    assert!(before == state(directory.path()), "something changed");
}

#[test]
fn looking_at_what_a_killed_process_left_changes_nothing_and_finds_no_fault() {
    for durability in [Durability::Os, Durability::Group] {
        let (live, found) = (scratch(), scratch());
        let store = written(live.path(), durability);
        copy_directory(live.path(), found.path());
        drop(store);
        let before = state(found.path());
        let (findings, checked) = verified(found.path());
        assert_eq!(findings.faults(), Vec::<String>::new());
        assert_eq!(checked.batches, 120);
        let has_journal = findings.notes().iter().any(|note| note.contains("the journal has"));
        assert_eq!((has_journal, findings.all.len()), (durability == Durability::Group, usize::from(has_journal)));
        assert!(before == state(found.path()), "something changed");
        // A write that the death cut short is no fault either.
        let last = segment_files(found.path(), 0).pop().unwrap();
        let length = last.metadata().unwrap().len();
        OpenOptions::new().write(true).open(&last).unwrap().set_len(length - 5).unwrap();
        let (findings, checked) = verified(found.path());
        assert_eq!((findings.faults(), checked.batches), (vec![], 119));
        assert!(findings.notes().iter().any(|note| note.contains("a start cuts them off")), "{:?}", findings.notes());
        // But a death changes no byte of a whole batch. (Of one that the journal has nothing is lost.)
        let at = std::fs::read(&last).unwrap().len() as u64 - 100;
        set(&last, at, &[0xaa; 8]);
        let faults = verified(found.path()).0.faults();
        assert_eq!(faults.iter().any(|fault| fault.contains("has a wrong checksum")), durability == Durability::Os, "{faults:?}");
    }
}

#[test]
fn a_directory_in_use_is_told_so_and_its_plain_files_can_be_checked() {
    let directory = scratch();
    let store = written(directory.path(), Durability::Os);
    let refused = StoppedStore::open(directory.path()).unwrap_err();
    assert!(matches!(refused, OpenError::AlreadyInUse { .. }), "{refused}");
    for number in 0..2 {
        let mut findings = Findings::default();
        let folder = directory.path().join("partitions").join(partition(number).to_string());
        assert_eq!(verify_files(partition(number), &folder, &mut findings).batches, 60);
        assert!(findings.all.is_empty(), "{:?}", findings.all);
    }
    store.close().unwrap();
    drop(store);
    let held = StoppedStore::open(directory.path()).unwrap();
    assert!(matches!(Store::open(options(directory.path())), Err(OpenError::AlreadyInUse { .. })), "a broker begins while it is held");
    drop(held);
    Store::open(options(directory.path())).unwrap();
    assert!(matches!(StoppedStore::open(&directory.path().join("index")), Err(OpenError::Foreign { .. })));
}

#[test]
fn a_path_is_a_data_directory_a_partitions_or_a_segment_file() {
    let directory = closed();
    let file = segment_files(directory.path(), 0).remove(1);
    let folder = file.parent().unwrap();
    assert_eq!(place_of(directory.path()).unwrap(), Place::Store(directory.path().to_owned()));
    let Place::Partition { id, store, .. } = place_of(folder).unwrap() else { panic!("no partition") };
    assert_eq!((id, store.unwrap()), (partition(0), directory.path().canonicalize().unwrap()));
    let Place::Segment(segment) = place_of(&file).unwrap() else { panic!("no segment") };
    assert_eq!((segment.generation, segment.length_bytes), (Some(0), file.metadata().unwrap().len()));
    for other in ["index", "klamm.layout", "nothing"] {
        assert!(place_of(&directory.path().join(other)).is_err(), "{other}");
    }
    // Apache Kafka's files have no generation.
    let kafkas = directory.path().join("00000000000000000007.log");
    std::fs::write(&kafkas, b"").unwrap();
    assert!(matches!(place_of(&kafkas).unwrap(), Place::Segment(SegmentFile { generation: None, .. })));
}

/// A change of one file, and what must be said of it.
struct Planted {
    name: &'static str,
    file: fn(&Path) -> PathBuf,
    change: fn(&Path),
    /// Each is in one of the faults.
    told: &'static [&'static str],
}

fn first(directory: &Path) -> PathBuf {
    segment_files(directory, 0).remove(0)
}

fn last(directory: &Path) -> PathBuf {
    segment_files(directory, 0).pop().unwrap()
}

fn of_epochs(directory: &Path) -> PathBuf {
    segment_files(directory, 1).remove(0)
}

fn set(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

/// Where the second batch begins.
fn second(path: &Path) -> u64 {
    let mut positions = Vec::new();
    let segment = SegmentFile::at(path).unwrap().unwrap();
    segment
        .walk(0, &mut |piece| {
            if let Piece::Batch { position, .. } = piece {
                positions.push(position);
            }
            Step::Next
        })
        .unwrap();
    positions[1]
}

/// Puts another batch in the place of the second one, of the same size and with a right checksum.
fn replace_second(path: &Path, change: fn(&mut BatchHeader, &mut Vec<u8>)) {
    let at = second(path);
    let all = std::fs::read(path).unwrap();
    let bytes = &all[usize::try_from(at).unwrap()..];
    let mut header = BatchHeader::parse(bytes).unwrap();
    let mut records = bytes[HEADER_BYTES..header.size_bytes()].to_vec();
    change(&mut header, &mut records);
    header.crc = header.checksum(&records);
    let mut head = [0; HEADER_BYTES];
    header.write(&mut head);
    set(path, at, &[&head[..], &records].concat());
}

const PLANTED: &[Planted] = &[
    Planted {
        name: "a flipped bit in a record",
        file: first,
        change: |path| set(path, second(path) + 70, &[0xff]),
        told: &["0.0.log:Some(", "the batch at offset 2 has a wrong checksum"],
    },
    Planted {
        name: "another base offset",
        file: first,
        change: |path| set(path, second(path) + 7, &[3]),
        told: &["offsets 2 to 2 are missing"],
    },
    Planted {
        name: "another leader epoch",
        file: of_epochs,
        change: |path| set(path, second(path) + 15, &[1]),
        told: &["the batch at offset 3 is of leader epoch 1, but the index says 0"],
    },
    Planted {
        name: "another length",
        file: first,
        change: |path| set(path, second(path) + 8, &[0x7f]),
        told: &["no whole batch is here (the batch needs 2130706"],
    },
    Planted {
        name: "a sector of zeros",
        file: first,
        change: |path| set(path, 0, &[0; 512]),
        told: &["0.0.log:Some(0): no whole batch is here (the batch has magic 0, not 2)"],
    },
    Planted {
        name: "a cut file",
        file: last,
        change: |path| OpenOptions::new().write(true).open(path).unwrap().set_len(100).unwrap(),
        told: &["the log ends at offset", "but it was on the disk up to 120"],
    },
    Planted {
        name: "a cut file in the middle",
        file: first,
        change: |path| OpenOptions::new().write(true).open(path).unwrap().set_len(second(path)).unwrap(),
        told: &["does not fit: the file ends before", "are missing"],
    },
    Planted {
        name: "a file that is gone",
        file: first,
        change: |path| std::fs::remove_file(path).unwrap(),
        told: &["0.0.log:None: the segment file is missing; the index knows offsets 0 to "],
    },
    Planted {
        name: "a wrong number of records",
        file: first,
        change: |path| replace_second(path, |header, _| header.record_count = 5),
        told: &["the batch at offset 2 says that it has 5 records, for 2 offsets"],
    },
    Planted {
        name: "records that cannot be read",
        file: first,
        change: |path| replace_second(path, |_, records| records[0] ^= 0x10),
        told: &["the records of the batch at offset 2 cannot be read: invalid record at index 0"],
    },
    Planted {
        name: "compressed records that are none",
        file: first,
        change: |path| replace_second(path, |header, _| header.attributes = header.attributes.with_codec(Codec::Zstd)),
        told: &["the records of the batch at offset 2 cannot be read: failed to decompress the zstd record stream"],
    },
    Planted {
        name: "another largest timestamp",
        file: first,
        change: |path| replace_second(path, |header, _| header.max_timestamp += 1),
        told: &["the batch at offset 2 says that its largest timestamp is 1700000000002, but it is 1700000000001"],
    },
    Planted {
        name: "another producer",
        file: last,
        change: |path| replace_second(path, |header, _| header.producer_id += 1),
        told: &["the index row of offset 98 does not fit: the checksum of its bytes is another one"],
    },
    Planted {
        name: "another good batch",
        file: first,
        change: |path| replace_second(path, |header, _| header.producer_epoch += 1),
        told: &["the index row of offset 0 does not fit: the checksum of its bytes is another one"],
    },
    Planted {
        name: "a damaged index",
        file: |directory| directory.join("index/CURRENT"),
        change: |path| std::fs::write(path, b"nothing\n").unwrap(),
        told: &["cannot open the index in data directory"],
    },
    Planted {
        name: "a sequence mark of later writes",
        file: |directory| directory.join("klamm.sequence"),
        change: |path| std::fs::write(path, format!("{:020}\n", 99_999)).unwrap(),
        told: &["has lost writes that it had"],
    },
];

#[test]
fn each_planted_damage_is_named_with_its_place() {
    let whole = closed();
    for planted in PLANTED {
        let directory = scratch();
        copy_directory(whole.path(), directory.path());
        (planted.change)(&(planted.file)(directory.path()));
        let (findings, _) = verified(directory.path());
        let faults = findings.faults();
        println!("{}: {faults:#?}", planted.name);
        for told in planted.told {
            assert!(faults.iter().any(|fault| fault.contains(told)), "{}: {told:?} is not in {faults:#?}", planted.name);
        }
        assert!(faults.len() <= 4, "{}: one damage, many faults: {faults:#?}", planted.name);
    }
}

#[test]
fn one_file_by_itself_is_checked_as_far_as_its_bytes_tell() {
    let directory = closed();
    let path = first(directory.path());
    let check = || {
        let mut findings = Findings::default();
        verify_segment(&SegmentFile::at(&path).unwrap().unwrap(), &mut findings);
        findings.faults()
    };
    assert_eq!(check(), Vec::<String>::new());
    let mut builder = BatchBuilder::new();
    builder.append(NOW, None, Some(b"again"), &[]);
    let batch = CheckedBatch::from_trusted(builder.build()).unwrap().into_sequenced(offset(1), epoch(0), None);
    let length = path.metadata().unwrap().len();
    set(&path, length, &batch.to_bytes());
    set(&path, length + batch.to_bytes().len() as u64, b"torn");
    let faults = check();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("the batch at offset 1 stands behind offset"), "{faults:?}");
    assert!(faults[1].contains("no whole batch is here (the batch needs 61 bytes but there are 4)"), "{faults:?}");
}
