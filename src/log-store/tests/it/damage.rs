//! Damage to every kind of file of a data directory: a flipped bit, a cut, a zeroed sector, a deletion, two files swapped. The oracle is the bytes
//! from before. What is read afterwards is equal, or there is a clear error; records may be missing only at a log's end, and only those that no
//! index row spoke of yet when the process died. (Which damage nobody can notice the table says too.)
//!
//! `LOG_STORE_DAMAGES` (100 for each base) and `LOG_STORE_DAMAGE_SEED` (a number that is printed) make it longer or other; `docs/damage.md` has
//! the table of a long run.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use log_store::inspect::StoppedStore;
use log_store::{Durability, LogConfig, ReadError, Store, StoreOptions};
use model::Offset;

use crate::scratch::*;

const PARTITIONS: u16 = 4;
const BATCHES: i32 = 60;
/// The batches of each partition that have index rows.
const WITH_ROWS: i32 = 40;
const ENTRIES: u64 = 50;

/// A small generator, so that a seed names a damage for ever (splitmix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % end.max(1)
    }

    fn of<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        &values[usize::try_from(self.below(values.len() as u64)).unwrap()]
    }
}

/// How the process ended whose directory is damaged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Clean,
    Killed,
    /// With `Durability::Group`, and the segments lost what was not synced.
    PowerCut,
}

struct Base {
    ending: Ending,
    name: &'static str,
    directory: tempfile::TempDir,
    truth: Vec<Vec<u8>>,
    /// What must be there, by the rows.
    bytes_with_rows: Vec<usize>,
}

impl Base {
    fn options(&self, directory: &Path) -> StoreOptions {
        let durability = if self.ending == Ending::PowerCut { Durability::Group } else { Durability::Os };
        StoreOptions { durability, write_buffer_bytes: 64 << 10, ..options(directory) }
    }

    fn make(name: &'static str, ending: Ending) -> Self {
        let (live, directory) = (scratch(), scratch());
        let mut base = Self { ending, name, directory, truth: Vec::new(), bytes_with_rows: Vec::new() };
        let store = Store::open(base.options(live.path())).unwrap();
        let logs: Vec<_> = (0..PARTITIONS).map(|number| store.open_partition(partition(number), small_segments(9_000)).unwrap()).collect();
        let entries = |range: std::ops::Range<u64>| range.map(|index| (index, index.to_be_bytes().repeat(500)));
        store.synced_log("metadata").append(entries(0..ENTRIES / 2)).unwrap();
        for sequence in 0..BATCHES {
            for (number, log) in logs.iter().enumerate() {
                // Each batch differs from all others, also from those of other partitions.
                let value = format!("{number}:{sequence};").repeat(60);
                let mut builder = record_batch::BatchBuilder::new();
                builder.append(NOW + i64::from(sequence), Some(b"key"), Some(value.as_bytes()), &[]);
                append(&store, log, record_batch::CheckedBatch::from_trusted(builder.build()).unwrap()).unwrap();
            }
            if sequence + 1 == WITH_ROWS {
                store.flush_index().unwrap();
                base.bytes_with_rows = logs.iter().map(|log| read_all(log).unwrap().len()).collect();
            }
        }
        store.synced_log("metadata").append(entries(ENTRIES / 2..ENTRIES)).unwrap();
        base.truth = logs.iter().map(|log| read_all(log).unwrap()).collect();
        if ending == Ending::Clean {
            base.bytes_with_rows = base.truth.iter().map(Vec::len).collect();
            store.close().unwrap();
            drop((logs, store));
        }
        copy_directory(live.path(), base.directory.path());
        if ending == Ending::PowerCut {
            for file in (0..PARTITIONS).flat_map(|number| segment_files(base.directory.path(), number).pop()) {
                OpenOptions::new().write(true).open(file).unwrap().set_len(1_000).unwrap();
            }
        }
        base
    }
}

/// What a file is, by its place.
fn kind(path: &Path) -> &'static str {
    let name = path.file_name().unwrap().to_str().unwrap();
    let folder = path.parent().and_then(Path::file_name).and_then(std::ffi::OsStr::to_str).unwrap_or_default();
    match folder {
        "index" if name.starts_with("MANIFEST") => "index: MANIFEST",
        "index" if name.starts_with("OPTIONS") => "index: OPTIONS",
        "index" if name.ends_with(".sst") => "index: table",
        "index" if name.ends_with(".log") => "index: write-ahead log",
        "index" if name == "CURRENT" => "index: CURRENT",
        "index" => "index: IDENTITY, LOCK",
        _ if name == "klamm.sequence" => "klamm.sequence",
        "journal" => "journal",
        _ if name == "klamm.layout" => "klamm.layout",
        _ => "segment",
    }
}

fn files(directory: &Path) -> BTreeMap<&'static str, Vec<PathBuf>> {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.entry(kind(&entry.path())).or_default().push(entry.path());
            }
        }
    }
    found.values_mut().for_each(|paths| paths.sort());
    found
}

/// Damages one file (or two) and says what was done to what kind.
fn damage(directory: &Path, draw: &mut Draw) -> (&'static str, &'static str, String) {
    let found = files(directory);
    let kinds: Vec<_> = found.keys().copied().collect();
    let kind = *draw.of(&kinds);
    let paths = &found[kind];
    let path = draw.of(paths);
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let at = draw.below(length);
    let (what, where_) = match draw.below(5) {
        0 if length > 0 => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ (1 << draw.below(8))], at).unwrap();
            ("a flipped bit", format!("at {at}"))
        }
        1 if length > 0 => {
            let from = at / 512 * 512;
            let count = usize::try_from((length - from).min(512)).unwrap();
            file.write_all_at(&vec![0; count], from).unwrap();
            ("a zeroed sector", format!("from {from}"))
        }
        2 => {
            std::fs::remove_file(path).unwrap();
            ("deleted", String::new())
        }
        3 if paths.len() > 1 => {
            let other = draw.of(paths);
            let aside = directory.join("aside");
            std::fs::rename(path, &aside).unwrap();
            if other != path {
                std::fs::rename(other, path).unwrap();
                std::fs::rename(&aside, other).unwrap();
            } else {
                std::fs::rename(&aside, path).unwrap();
            }
            ("swapped", format!("with {}", other.display()))
        }
        _ => {
            file.set_len(at).unwrap();
            ("cut", format!("to {at} of {length}"))
        }
    };
    (kind, what, format!("{} {what} {where_}", path.strip_prefix(directory).unwrap().display()))
}

/// What became of a directory, from the best to the worst; the worst of its parts counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    Equal,
    /// The end of a log that no row spoke of is gone, as after a power cut without the damage.
    ShorterBeyondRows,
    /// Two partitions' ends that no row spoke of were exchanged: batches do not say whose they are, so nobody can notice it.
    ExchangedBeyondRows,
    /// A read is refused, all others are equal.
    ReadRefused,
    PartitionRefused,
    OpenRefused,
}

/// `Err` for what must not be.
fn outcome(base: &Base, directory: &Path, what: &str) -> Result<Outcome, String> {
    let store = match Store::open(base.options(directory)) {
        Ok(store) => store,
        Err(error) if error.to_string().is_empty() => return Err("refused without a word".to_owned()),
        Err(_) => return Ok(Outcome::OpenRefused),
    };
    let mut worst = Outcome::Equal;
    match store.synced_log("metadata").read(0..) {
        Ok(entries) => {
            let expected: Vec<_> = (0..ENTRIES).map(|index| (index, index.to_be_bytes().repeat(500))).collect();
            if entries != expected {
                return Err(format!("the metadata log has {} entries", entries.len()));
            }
        }
        Err(_) => worst = Outcome::OpenRefused,
    }
    for number in 0..PARTITIONS {
        let place = usize::from(number);
        worst = worst.max(of_partition(&store, number, &base.truth[place], base.bytes_with_rows[place], what)?);
    }
    Ok(worst)
}

fn of_partition(store: &Store, number: u16, truth: &[u8], with_rows: usize, what: &str) -> Result<Outcome, String> {
    let Ok(log) = store.open_partition(partition(number), LogConfig::default()) else { return Ok(Outcome::PartitionRefused) };
    let (mut outcome, mut end) = (Outcome::Equal, 0);
    // From each batch on, so that what lies behind a refused one is looked at too.
    for (from, _) in offsets(truth) {
        let place = position_of(truth, from);
        match read_bytes(&log, offset(from), Offset::MAX, 2_000) {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => {
                if *bytes != truth[place..truth.len().min(place + bytes.len())] {
                    if place >= with_rows && what == "swapped" {
                        return Ok(Outcome::ExchangedBeyondRows);
                    }
                    return Err(format!("partition {number} serves other bytes at offset {from}"));
                }
                end = end.max(place + bytes.len());
            }
            Err(ReadError::OutOfRange { .. }) => break,
            Err(_) => {
                outcome = Outcome::ReadRefused;
                end = truth.len();
            }
        }
    }
    if log.log_start_offset() != Offset::ZERO || log.log_end_offset() > offset(i64::from(BATCHES)) {
        return Err(format!("partition {number} reaches from {} to {}", log.log_start_offset(), log.log_end_offset()));
    }
    if end >= truth.len() {
        Ok(outcome)
    } else if end >= with_rows {
        Ok(outcome.max(Outcome::ShorterBeyondRows))
    } else {
        Err(format!("partition {number} ends at byte {end} of {}, and rows spoke of {with_rows}", truth.len()))
    }
}

/// What a check says before anything is opened.
fn faults(directory: &Path) -> Vec<String> {
    match StoppedStore::open(directory) {
        Ok(_) => crate::inspecting::verified(directory).0.faults(),
        Err(error) => vec![error.to_string()],
    }
}

fn position_of(truth: &[u8], base_offset: i64) -> usize {
    let views = record_batch::BatchIter::new(truth).map(|view| view.unwrap());
    views.take_while(|view| view.header().base_offset < base_offset).map(|view| view.bytes().len()).sum()
}

fn number_of(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn damaged_files_are_noticed_and_never_served() {
    let (damages, seed) = (number_of("LOG_STORE_DAMAGES", 100), number_of("LOG_STORE_DAMAGE_SEED", 1));
    println!("{damages} damages for each base, seed {seed}");
    let bases = [("clean stop", Ending::Clean), ("kill -9", Ending::Killed), ("power cut", Ending::PowerCut)]
        .map(|(name, ending)| Base::make(name, ending));
    let mut table = BTreeMap::<(&str, &str), [u32; 6]>::new();
    let mut failures = Vec::new();
    for base in &bases {
        let whole = scratch();
        copy_directory(base.directory.path(), whole.path());
        assert_eq!(outcome(base, whole.path(), ""), Ok(Outcome::Equal), "{} without damage", base.name);
        for number in 0..damages {
            let mut draw = Draw(seed.wrapping_mul(1_000_003).wrapping_add(number * 3 + base.ending as u64));
            let copy = scratch();
            copy_directory(base.directory.path(), copy.path());
            let (kind, what, context) = damage(copy.path(), &mut draw);
            let faults = faults(copy.path());
            match outcome(base, copy.path(), what) {
                Ok(outcome) if outcome > Outcome::ExchangedBeyondRows && faults.is_empty() => {
                    failures.push(format!("{}, damage {number}, {context}: {outcome:?}, but the check finds no fault", base.name));
                }
                Ok(outcome) => table.entry((kind, what)).or_default()[outcome as usize] += 1,
                Err(wrong) => failures.push(format!("{}, damage {number}, {context}: {wrong}", base.name)),
            }
        }
    }
    println!(
        "| file | damage | equal | end without rows gone | ends without rows exchanged | read refused | partition refused | open refused |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|");
    for ((kind, what), counts) in &table {
        println!("| {kind} | {what} | {} |", counts.map(|count| count.to_string()).join(" | "));
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    assert!(table.len() > 20, "{table:?}");
}
