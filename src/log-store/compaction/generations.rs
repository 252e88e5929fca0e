//! Which segment files count: a compaction writes a file of a newer generation beside those that it stands for, and one row makes it count.
//!
//! ```text
//! 0.0.log  100.0.log  200.0.log                    before
//! 0.0.log  100.0.log  200.0.log  0.1.cleaned       written and synced; nobody reads it, and an open removes it
//!                                                  the row "0 to 300 is generation 1" is written and synced, with its index rows
//! 0.0.log  100.0.log  200.0.log  0.1.log           the file gets its name; an open does that, too
//! 0.1.log  0.0.log.7.deleted ...                  the others are renamed, and go later; an open removes them, too
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use model::{Offset, TopicIdPartition};
use rocksdb::WriteBatch;

use crate::StorageError;
use crate::engine::Engine;
use crate::keys::cleaned_segment::Row;
use crate::keys::{self, Family};
use crate::segment::{self, Segment};

/// How a file ends that does not count yet.
const DRAFT_END: &str = "cleaned";

/// The path of a segment's file before it counts.
pub(crate) fn draft_path(path: &Path) -> std::path::PathBuf {
    path.with_extension(DRAFT_END)
}

/// Base offset and generation of a file that does not count yet; `None` if it is none.
fn parse_draft_name(name: &str) -> Option<(Offset, u32)> {
    segment::parse_file_name(&format!("{}.log", name.strip_suffix(DRAFT_END)?.strip_suffix('.')?))
}

/// What a file in a partition's directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A segment, with its base offset and generation.
    Counts(Offset, u32),
    /// One that a compaction made and that has not got its name yet.
    Unnamed(Offset, u32),
    /// What a compaction was writing when it was interrupted.
    Draft,
    /// A segment in whose place a compaction has put another.
    Replaced,
    /// Something else.
    NoSegment,
}

/// A partition's rows of cleaned segments.
#[derive(Debug, Default)]
pub(crate) struct Cleaned(BTreeMap<Offset, Row>);

impl Cleaned {
    pub(crate) fn load(engine: &Engine, id: TopicIdPartition) -> Result<Self, StorageError> {
        let mut rows = BTreeMap::new();
        let prefix = keys::cleaned_segment::prefix(id);
        engine.scan(Family::Default, &prefix, &keys::prefix_end(&prefix), |key, value| {
            let row = Row::decode(key, value).ok_or(StorageError::UnreadableRow { family: "cleaned_segment" })?;
            rows.insert(row.base_offset, row);
            Ok(true)
        })?;
        Ok(Self(rows))
    }

    /// Whether no compaction wrote any of its segments.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a compaction put something into this file's place. A later generation than the row's own comes from a truncation of it.
    fn is_replaced(&self, base_offset: Offset, generation: u32) -> bool {
        let before = self.0.range(..=base_offset).next_back().map(|(_, row)| row);
        before.is_some_and(|row| row.covers(base_offset) && !(row.base_offset == base_offset && generation >= row.generation))
    }

    /// What a file in the partition's directory is.
    pub(crate) fn standing(&self, name: &str) -> Standing {
        if let Some((base_offset, generation)) = parse_draft_name(name) {
            let is_whole = self.0.get(&base_offset).is_some_and(|row| row.generation == generation);
            return if is_whole { Standing::Unnamed(base_offset, generation) } else { Standing::Draft };
        }
        match segment::parse_file_name(name) {
            Some((base_offset, generation)) if self.is_replaced(base_offset, generation) => Standing::Replaced,
            Some((base_offset, generation)) => Standing::Counts(base_offset, generation),
            None => Standing::NoSegment,
        }
    }

    /// Finishes what an interrupted compaction left among these files, of which `log` is what the partition's rows and an intent to truncate keep;
    /// base offset and generation of those that count.
    ///
    /// IMPORTANT: what was replaced goes last, beside what stands for it and has its name on the disk. Is that not there, nothing goes: the partition
    /// is damaged, and its records may be in what was replaced.
    pub(crate) fn settle(
        &self,
        id: TopicIdPartition,
        directory: &Path,
        names: &[&str],
        log: &std::ops::Range<Offset>,
    ) -> Result<Vec<(Offset, u32)>, StorageError> {
        let (mut counting, mut drafts, mut replaced, mut is_renamed) = (Vec::new(), Vec::new(), Vec::new(), false);
        for name in names {
            let file = directory.join(name);
            match self.standing(name) {
                Standing::Counts(base_offset, generation) => counting.push((base_offset, generation)),
                Standing::Unnamed(base_offset, generation) => {
                    let path = directory.join(segment::file_name(base_offset, generation));
                    std::fs::rename(&file, &path).map_err(|error| StorageError::io("name cleaned segment", &path, error))?;
                    is_renamed = true;
                    counting.push((base_offset, generation));
                }
                Standing::Draft => drafts.push(file),
                Standing::Replaced => replaced.push(file),
                Standing::NoSegment => {}
            }
        }
        let missing =
            self.0.values().filter(|row| row.end_offset > log.start && row.base_offset < log.end).find(|row| {
                !counting.iter().any(|(base_offset, generation)| *base_offset == row.base_offset && *generation >= row.generation)
            });
        if let Some(row) = missing.filter(|_| !replaced.is_empty()) {
            let path = directory.join(segment::file_name(row.base_offset, row.generation));
            return Err(StorageError::MissingSegment { partition: id, path });
        }
        if is_renamed && !replaced.is_empty() {
            segment::sync_directory(directory).map_err(|error| StorageError::io("sync", directory, error))?;
        }
        for file in &drafts {
            std::fs::remove_file(file).map_err(|error| StorageError::io("remove half-made segment", file, error))?;
        }
        for file in &replaced {
            std::fs::remove_file(file).map_err(|error| StorageError::io("remove segment", file, error))?;
        }
        Ok(counting)
    }

    /// Up to where the segment stands for the log, if a compaction wrote it.
    pub(crate) fn end_of(&self, segment: &Segment) -> Option<Offset> {
        self.0.get(&segment.base_offset).filter(|row| segment.generation >= row.generation).map(|row| row.end_offset)
    }

    /// Brings the rows in line with where the log begins and ends. `true` if one was shortened: then the write must be synced before anything is
    /// appended, or a file that is begun there would count as replaced.
    pub(crate) fn clip(
        &self,
        engine: &Engine,
        batch: &mut WriteBatch,
        id: TopicIdPartition,
        log: std::ops::Range<Offset>,
    ) -> Result<bool, StorageError> {
        let mut is_shortened = false;
        for row in self.0.values() {
            let key = keys::cleaned_segment::key(id, row.base_offset);
            if row.end_offset <= log.start || row.base_offset >= log.end {
                engine.delete(batch, Family::Default, &key)?;
                is_shortened |= row.base_offset >= log.end;
            } else if row.end_offset > log.end {
                engine.put(batch, Family::Default, &key, &Row { end_offset: log.end, ..*row }.encode())?;
                is_shortened = true;
            }
        }
        Ok(is_shortened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: i64) -> Offset {
        Offset::new_or_zero(value)
    }

    #[test]
    fn of_the_files_in_a_rows_range_only_its_own_counts() {
        let row = Row { base_offset: offset(100), generation: 2, end_offset: offset(300) };
        let cleaned = Cleaned(BTreeMap::from([(row.base_offset, row)]));
        let replaced = [(0, 0), (100, 0), (100, 1), (100, 2), (100, 3), (200, 0), (299, 5), (300, 0)];
        let replaced = replaced.map(|(base, generation)| cleaned.is_replaced(offset(base), generation));
        assert_eq!(replaced, [false, true, true, false, false, true, true, false]);
    }

    #[test]
    fn a_draft_is_named_after_what_it_will_be() {
        let path = Path::new("/p/00000000000000000100.2.log");
        let draft = draft_path(path);
        assert_eq!(draft, Path::new("/p/00000000000000000100.2.cleaned"));
        assert_eq!(parse_draft_name("00000000000000000100.2.cleaned"), Some((offset(100), 2)));
        assert_eq!(parse_draft_name("00000000000000000100.2.log"), None);
        assert_eq!(parse_draft_name("cleaned"), None);
    }
}
