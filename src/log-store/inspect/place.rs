//! What a path is that a person names: a data directory, a partition's directory, a segment file.

use std::io;
use std::path::{Path, PathBuf};

use model::TopicIdPartition;
use thiserror::Error;

use super::SegmentFile;
use super::segment_file::length_of;
use crate::{StorageError, layout, segment, store};

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A data directory.
    Store(PathBuf),
    /// One partition's directory.
    Partition {
        /// Whose.
        id: TopicIdPartition,
        /// The directory.
        directory: PathBuf,
        /// The data directory that it lies in, if it lies in one.
        store: Option<PathBuf>,
    },
    /// One file.
    Segment(SegmentFile),
}

/// Why a path is nothing that can be looked at.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// It is something else.
    #[error(
        "{} is neither a data directory of klamm, nor a partition's directory in one, nor a segment file (as 00000000000000000000.0.log)",
        .0.display()
    )]
    Other(PathBuf),
    /// It cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of it cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Says what a path is.
///
/// # Errors
/// If it is nothing of klamm's, or cannot be read.
pub fn place_of(path: &Path) -> Result<Place, PlaceError> {
    let metadata = std::fs::metadata(path).map_err(|source| PlaceError::Unreadable { path: path.to_owned(), source })?;
    if !metadata.is_dir() {
        return SegmentFile::at(path)?.map(Place::Segment).ok_or_else(|| PlaceError::Other(path.to_owned()));
    }
    if layout::is_marked(path) {
        return Ok(Place::Store(path.to_owned()));
    }
    // A name as `.` says nothing.
    let directory = std::fs::canonicalize(path).map_err(|source| PlaceError::Unreadable { path: path.to_owned(), source })?;
    let id = directory.file_name().and_then(|name| store::parse_directory_name(name.to_str()?));
    let id = id.ok_or_else(|| PlaceError::Other(path.to_owned()))?;
    let store = directory.parent().and_then(Path::parent).filter(|store| layout::is_marked(store)).map(Path::to_owned);
    Ok(Place::Partition { id, directory, store })
}

/// The partitions that have a directory in a data directory, in order.
///
/// # Errors
/// If it cannot be read.
pub fn partitions_in(store: &Path) -> Result<Vec<TopicIdPartition>, StorageError> {
    let directory = store.join("partitions");
    let fail = |error| StorageError::io("read", &directory, error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(fail)? {
        found.extend(entry.map_err(fail)?.file_name().to_str().and_then(store::parse_directory_name));
    }
    found.sort_unstable();
    Ok(found)
}

/// The names in a partition's directory, in order; none if it is not there.
pub(super) fn names_in(directory: &Path) -> Result<Vec<String>, StorageError> {
    let fail = |error| StorageError::io("read", directory, error);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(fail)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// All segment files in a partition's directory by their names, in order of offsets and generations, also those that do not count any more.
///
/// # Errors
/// If it cannot be read.
pub fn segments_in(directory: &Path) -> Result<Vec<SegmentFile>, StorageError> {
    let mut files = Vec::new();
    for name in names_in(directory)? {
        let Some((base_offset, generation)) = segment::parse_file_name(&name) else { continue };
        let path = directory.join(name);
        let length_bytes = length_of(&path)?;
        files.push(SegmentFile { path, base_offset, generation: Some(generation), length_bytes });
    }
    files.sort_by_key(|file| (file.base_offset, file.generation));
    Ok(files)
}
