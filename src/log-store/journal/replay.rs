//! What the journal has, written again to where it belongs: the first thing at an open, before any partition is looked at.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use model::{Offset, TopicIdPartition};

use super::format::{self, Place};
use crate::StorageError;
use crate::engine::Engine;
use crate::keys;
use crate::segment;

/// Files that are open at once.
const OPEN_FILES_MAX: usize = 256;

/// What a replay found.
#[derive(Default)]
pub(crate) struct Replayed {
    /// The files with entries, to be released after `segments` are synced.
    pub(crate) files: Vec<PathBuf>,
    /// All files, also those without entries.
    pub(crate) file_count: usize,
    /// Above the numbers of all files.
    pub(crate) next_index: usize,
    /// The segments that the entries belong to; not all of their bytes may be on the disk.
    pub(crate) segments: BTreeSet<PathBuf>,
}

/// What says of one partition which entries count.
struct Facts {
    /// Entries with this stamp or a smaller one are void.
    fence: Option<u64>,
    /// Entries that end here or before are void: the disk has them, or they are gone on purpose.
    floor: Offset,
    directory: PathBuf,
    /// Base offset and generation of the segments there.
    segments: HashSet<(Offset, u32)>,
}

struct Replay<'a> {
    engine: &'a Engine,
    deleted: &'a HashSet<TopicIdPartition>,
    facts: HashMap<TopicIdPartition, Facts>,
    open: HashMap<PathBuf, File>,
    segments: BTreeSet<PathBuf>,
    buffer: Vec<u8>,
}

/// Replays all files. Entries of the `deleted` partitions do not count.
pub(crate) fn replay(engine: &Engine, deleted: &HashSet<TopicIdPartition>) -> Result<Replayed, StorageError> {
    let files = super::list(&super::directory(engine))?;
    let next_index = files.iter().map(|(index, _)| index + 1).max().unwrap_or(0);
    let file_count = files.len();
    let mut ordered = Vec::new();
    for (_, path) in files {
        if let Some(number) = first_number(&path)? {
            ordered.push((number, path));
        }
    }
    ordered.sort_unstable();
    let (facts, open) = (HashMap::new(), HashMap::new());
    let mut replay = Replay { engine, deleted, facts, open, segments: BTreeSet::new(), buffer: Vec::new() };
    for (_, path) in &ordered {
        let bytes = std::fs::read(path).map_err(|error| StorageError::io("read journal", path, error))?;
        for group in format::groups(&bytes) {
            for (place, bytes) in group.entries {
                replay.entry(&place, bytes)?;
            }
        }
    }
    let files = ordered.into_iter().map(|(_, path)| path).collect();
    Ok(Replayed { files, file_count, next_index, segments: replay.segments })
}

/// How many groups lie in the files, to be replayed at the next open or known to be on the disk.
pub(crate) fn pending_groups(engine: &Engine) -> Result<usize, StorageError> {
    let mut count = 0;
    for (_, path) in super::list(&super::directory(engine))? {
        if first_number(&path)?.is_some() {
            let bytes = std::fs::read(&path).map_err(|error| StorageError::io("read journal", &path, error))?;
            count += format::groups(&bytes).len();
        }
    }
    Ok(count)
}

/// The number of a file's first group; `None` if it holds nothing.
fn first_number(path: &Path) -> Result<Option<u64>, StorageError> {
    let mut header = [0; format::GROUP_HEADER_BYTES];
    let file = File::open(path).map_err(|error| StorageError::io("open journal", path, error))?;
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => Ok(format::number_of(&header)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(StorageError::io("read journal", path, error)),
    }
}

impl Replay<'_> {
    fn entry(&mut self, place: &Place, bytes: &[u8]) -> Result<(), StorageError> {
        if self.deleted.contains(&place.id) {
            return Ok(());
        }
        if !self.facts.contains_key(&place.id) {
            let facts = facts(self.engine, place.id)?;
            self.facts.insert(place.id, facts);
        }
        let Some(facts) = self.facts.get_mut(&place.id) else { return Ok(()) };
        let is_void = facts.fence.is_some_and(|fence| place.stamp <= fence)
            || place.end_offset <= facts.floor
            || facts.segments.iter().any(|(base, generation)| *base == place.segment_base && *generation > place.generation);
        if is_void {
            return Ok(());
        }
        let path = facts.directory.join(segment::file_name(place.segment_base, place.generation));
        if !facts.segments.contains(&(place.segment_base, place.generation)) {
            // A segment begins at its beginning; without that, what was before is gone on purpose.
            if place.position > 0 {
                return Ok(());
            }
            std::fs::create_dir_all(&facts.directory).map_err(|error| StorageError::io("create", &facts.directory, error))?;
            facts.segments.insert((place.segment_base, place.generation));
        }
        self.restore(path, place.position, bytes)
    }

    /// Sees to it that the file has these bytes at this position.
    fn restore(&mut self, path: PathBuf, position: u64, bytes: &[u8]) -> Result<(), StorageError> {
        if self.open.len() >= OPEN_FILES_MAX {
            self.open.clear();
        }
        if !self.open.contains_key(&path) {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            self.open.insert(path.clone(), file.map_err(|error| StorageError::io("open segment", &path, error))?);
        }
        let Some(file) = self.open.get(&path) else { return Ok(()) };
        let fail = |error| StorageError::io("restore segment", &path, error);
        let length = file.metadata().map_err(fail)?.len();
        if length < position {
            // All bytes that are not on the disk are in the journal, so what lies before was taken back.
            return Ok(());
        }
        self.buffer.resize(bytes.len(), 0);
        let is_there = length.saturating_sub(position) >= u64::try_from(bytes.len()).unwrap_or(u64::MAX)
            && file.read_exact_at(&mut self.buffer, position).is_ok()
            && self.buffer == bytes;
        if !is_there {
            file.write_all_at(bytes, position).map_err(fail)?;
        }
        self.segments.insert(path);
        Ok(())
    }
}

fn facts(engine: &Engine, id: TopicIdPartition) -> Result<Facts, StorageError> {
    let row = engine.row("partition", &keys::partition::key(id), keys::partition::Row::decode)?;
    let point = engine.row("recovery_point", &keys::recovery_point::key(id), keys::recovery_point::Row::decode)?;
    let fence = engine.row("journal_fence", &keys::journal::fence_key(id), keys::journal::decode)?;
    let directory = engine.partition_directory(id);
    let mut segments = HashSet::new();
    match std::fs::read_dir(&directory) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(|error| StorageError::io("read", &directory, error))?;
                segments.extend(entry.file_name().to_str().and_then(segment::parse_file_name));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(StorageError::io("read", &directory, error)),
    }
    let floor = row.map_or(Offset::ZERO, |row| row.log_start).max(point.map_or(Offset::ZERO, |point| point.offset));
    Ok(Facts { fence, floor, directory, segments })
}

/// Brings the segments to the disk, with all directories that name them.
pub(crate) fn settle(engine: &Engine, segments: &BTreeSet<PathBuf>) -> Result<(), StorageError> {
    let mut directories = BTreeSet::new();
    for path in segments {
        match File::open(path).and_then(|file| file.sync_data()) {
            // Retention or a deletion came first.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(|error| StorageError::io("sync segment", path, error))?,
        }
        directories.extend(path.parent().map(Path::to_owned));
    }
    if !directories.is_empty() {
        directories.insert(engine.partitions_directory.clone());
    }
    for directory in directories {
        match segment::sync_directory(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(StorageError::io("sync", &directory, error)),
            _ => {}
        }
    }
    Ok(())
}
