//! One segment file: its name, its descriptor (opened when first used), and which of its bytes are known to be good.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use model::Offset;
use parking_lot::Mutex;

use crate::StorageError;

/// A segment file. Its length is known by the partition's view, since only that is in step with the log end.
pub(crate) struct Segment {
    pub(crate) base_offset: Offset,
    pub(crate) generation: u32,
    pub(crate) path: PathBuf,
    handle: Mutex<Handle>,
    /// Used since the cache last looked.
    used: AtomicBool,
    /// Whether the directory entry is on the disk.
    pub(crate) entry_synced: AtomicBool,
    verified: Mutex<Intervals>,
    newest: Mutex<Newest>,
}

/// An open file, and whether somebody still has it after it was let go of. There is never more than one.
#[derive(Default)]
struct Handle {
    file: Option<Arc<File>>,
    lent: Weak<File>,
    /// What lies by its name from now on is another file.
    is_retired: bool,
}

impl Handle {
    fn of(file: Arc<File>) -> Self {
        Self { lent: Arc::downgrade(&file), file: Some(file), is_retired: false }
    }
}

/// The largest timestamp of a segment's bytes up to a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newest {
    /// Where the rest begins.
    pub(crate) offset: Offset,
    pub(crate) position: u64,
    /// -1 if there is none.
    pub(crate) timestamp: i64,
}

/// The file name of a segment.
pub(crate) fn file_name(base_offset: Offset, generation: u32) -> String {
    format!("{:020}.{generation}.log", base_offset.get())
}

/// Base offset and generation in a file name; `None` if it is no segment's.
pub(crate) fn parse_file_name(name: &str) -> Option<(Offset, u32)> {
    let (base, rest) = name.split_once('.')?;
    let generation = rest.strip_suffix(".log")?;
    let (base_offset, generation) = (Offset::new(base.parse().ok()?)?, generation.parse().ok()?);
    (file_name(base_offset, generation) == name).then_some((base_offset, generation))
}

impl Segment {
    /// A segment that lies there already.
    pub(crate) fn existing(directory: &Path, base_offset: Offset, generation: u32) -> Arc<Self> {
        Arc::new(Self::with_handle(directory, base_offset, generation, None))
    }

    /// Makes the file. One that lies there already is an error: nobody may write over bytes.
    pub(crate) fn create(directory: &Path, base_offset: Offset, handles: &HandleCache) -> Result<Arc<Self>, StorageError> {
        let path = directory.join(file_name(base_offset, 0));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|error| StorageError::io("create segment", &path, error))?;
        let segment = Arc::new(Self::with_handle(directory, base_offset, 0, Some(Arc::new(file))));
        handles.opened(&segment);
        Ok(segment)
    }

    fn with_handle(directory: &Path, base_offset: Offset, generation: u32, file: Option<Arc<File>>) -> Self {
        Self {
            base_offset,
            generation,
            path: directory.join(file_name(base_offset, generation)),
            entry_synced: AtomicBool::new(file.is_none()),
            handle: Mutex::new(file.map(Handle::of).unwrap_or_default()),
            used: AtomicBool::new(true),
            verified: Mutex::default(),
            newest: Mutex::new(Newest { offset: base_offset, position: 0, timestamp: -1 }),
        }
    }

    pub(crate) fn newest(&self) -> Newest {
        *self.newest.lock()
    }

    pub(crate) fn set_newest(&self, newest: Newest) {
        *self.newest.lock() = newest;
    }

    /// Lets go of the file for good: nobody finds it by its name any more. Who uses it has a handle of his own; what is given tells whether somebody
    /// does.
    pub(crate) fn retire(&self) -> Weak<File> {
        let mut handle = self.handle.lock();
        handle.file = None;
        handle.is_retired = true;
        handle.lent.clone()
    }

    /// The open file.
    pub(crate) fn file(self: &Arc<Self>, handles: &HandleCache) -> Result<Arc<File>, StorageError> {
        let file = {
            let mut handle = self.handle.lock();
            if let Some(file) = &handle.file {
                self.used.store(true, Ordering::Relaxed);
                return Ok(Arc::clone(file));
            }
            let file = match handle.lent.upgrade() {
                Some(file) if handle.is_retired => return Ok(file),
                Some(file) => file,
                None if handle.is_retired => return Err(StorageError::io("open segment", &self.path, io::ErrorKind::NotFound.into())),
                None => {
                    let file = OpenOptions::new().read(true).write(true).open(&self.path);
                    Arc::new(file.map_err(|error| StorageError::io("open segment", &self.path, error))?)
                }
            };
            *handle = Handle::of(Arc::clone(&file));
            file
        };
        handles.opened(self);
        Ok(file)
    }

    /// The file, if it is open.
    pub(crate) fn opened(&self) -> Option<Arc<File>> {
        let file = self.handle.lock().file.as_ref().map(Arc::clone)?;
        self.used.store(true, Ordering::Relaxed);
        Some(file)
    }

    /// Takes note that the bytes `from..end` were written or checked in this life of the process.
    pub(crate) fn mark_verified(&self, from: u64, end: u64) {
        self.verified.lock().add(from, end);
    }

    /// Whether all of `from..end` was written or checked in this life of the process.
    pub(crate) fn is_verified(&self, from: u64, end: u64) -> bool {
        self.verified.lock().contains(from, end)
    }

    /// Forgets what is known of the bytes from `end` on.
    pub(crate) fn cut_verified(&self, end: u64) {
        self.verified.lock().cut(end);
        *self.newest.lock() = Newest { offset: self.base_offset, position: 0, timestamp: -1 };
    }

    /// Fills the buffer from the given position. A file that ends before is an error.
    pub(crate) fn read_exact_at(self: &Arc<Self>, handles: &HandleCache, buffer: &mut [u8], position: u64) -> Result<(), StorageError> {
        let file = self.file(handles)?;
        std::os::unix::fs::FileExt::read_exact_at(&*file, buffer, position)
            .map_err(|error| StorageError::io("read segment", &self.path, error))
    }

    /// Fills the buffer from the page cache; an error where that does not hold all of it, or the file is not open.
    pub(crate) fn read_cached_at(&self, buffer: &mut [u8], position: u64) -> Result<(), StorageError> {
        let fail = |error| StorageError::io("read segment", &self.path, error);
        let file = self.opened().ok_or_else(|| fail(io::ErrorKind::WouldBlock.into()))?;
        if read_without_waiting(&file, buffer, position).map_err(fail)? == buffer.len() {
            return Ok(());
        }
        Err(fail(io::ErrorKind::WouldBlock.into()))
    }
}

/// How many bytes of the range the page cache gave at once.
#[cfg(target_os = "linux")]
fn read_without_waiting(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    Ok(rustix::io::preadv2(file, &mut [io::IoSliceMut::new(buffer)], position, rustix::io::ReadWriteFlags::NOWAIT)?)
}

/// Elsewhere nobody tells what the page cache holds.
#[cfg(not(target_os = "linux"))]
fn read_without_waiting(_file: &File, _buffer: &mut [u8], _position: u64) -> io::Result<usize> {
    Ok(0)
}

/// Disjoint ranges in order.
#[derive(Debug, Default)]
struct Intervals(Vec<(u64, u64)>);

impl Intervals {
    fn add(&mut self, from: u64, end: u64) {
        if from >= end {
            return;
        }
        // The usual case: the log grows at its end.
        if let Some((_, last_end)) = self.0.last_mut()
            && *last_end == from
        {
            *last_end = end;
            return;
        }
        let first = self.0.partition_point(|(_, other_end)| *other_end < from);
        let last = self.0.partition_point(|(other_from, _)| *other_from <= end);
        let merged = self.0.get(first..last).unwrap_or_default().iter();
        let merged = merged.fold((from, end), |(from, end), (other_from, other_end)| (from.min(*other_from), end.max(*other_end)));
        self.0.splice(first..last.max(first), [merged]);
    }

    fn contains(&self, from: u64, end: u64) -> bool {
        let index = self.0.partition_point(|(_, other_end)| *other_end < end);
        from >= end || self.0.get(index).is_some_and(|(other_from, other_end)| *other_from <= from && end <= *other_end)
    }

    fn cut(&mut self, end: u64) {
        self.0.retain(|(from, _)| *from < end);
        if let Some((_, last_end)) = self.0.last_mut() {
            *last_end = (*last_end).min(end);
        }
    }
}

/// Bounds the number of open segment files by closing those that were not used for long (the clock algorithm). A range that is on its way to a
/// socket holds its own handle.
pub(crate) struct HandleCache {
    max: usize,
    open: Mutex<VecDeque<Weak<Segment>>>,
}

impl HandleCache {
    pub(crate) fn new(max: usize) -> Self {
        Self { max: max.max(1), open: Mutex::default() }
    }

    fn opened(&self, segment: &Arc<Segment>) {
        let mut open = self.open.lock();
        open.push_back(Arc::downgrade(segment));
        let mut chances = open.len();
        while open.len() > self.max {
            let Some(oldest) = open.pop_front() else { break };
            let Some(oldest) = oldest.upgrade() else { continue };
            chances = chances.saturating_sub(1);
            if chances > 0 && oldest.used.swap(false, Ordering::Relaxed) {
                open.push_back(Arc::downgrade(&oldest));
            } else {
                oldest.handle.lock().file = None;
            }
        }
    }
}

/// Makes a directory entry durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segments_file_name_reads_as_itself() {
        let base = Offset::new_or_zero(42);
        assert_eq!(file_name(base, 3), "00000000000000000042.3.log");
        assert_eq!(parse_file_name("00000000000000000042.3.log"), Some((base, 3)));
        assert_eq!(parse_file_name("42.3.log"), None);
        assert_eq!(parse_file_name("00000000000000000042.log"), None);
    }

    #[test]
    fn ranges_merge_when_they_touch() {
        let mut ranges = Intervals::default();
        ranges.add(10, 20);
        ranges.add(30, 40);
        assert!(!ranges.contains(10, 40));
        ranges.add(20, 30);
        assert!(ranges.contains(10, 40));
        ranges.add(0, 5);
        assert!(ranges.contains(0, 5) && !ranges.contains(4, 11));
        ranges.cut(15);
        assert!(ranges.contains(10, 15) && !ranges.contains(10, 16));
        assert_eq!(ranges.0, [(0, 5), (10, 15)]);
    }
}
